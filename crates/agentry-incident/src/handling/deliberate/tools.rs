//! The windows through which a model looks at what was observed. They only read.

use std::sync::Arc;

use agentry_core::tool::{Effect, Risks, Tool, ToolContext, ToolError, ToolOutput, ToolSpec};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::diagnose::{Diagnosis, lookup};
use crate::evidence::Observed;

type Answer = Box<dyn Fn(&Arguments) -> Result<Value, ToolError> + Send + Sync>;

struct Window {
    spec: ToolSpec,
    answer: Answer,
}

/// The arguments of one call.
struct Arguments(Value);

impl Arguments {
    fn text(&self, name: &str) -> Result<&str, ToolError> {
        self.0.get(name).and_then(Value::as_str).ok_or_else(|| ToolError::InvalidArguments {
            reason: format!("`{name}` must be a string"),
        })
    }

    fn text_or_empty(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

#[async_trait]
impl Tool for Window {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, _cx: &ToolContext, arguments: Value) -> Result<ToolOutput, ToolError> {
        (self.answer)(&Arguments(arguments)).map(ToolOutput)
    }
}

const LINES_MAX: usize = 30;

pub(super) fn all(diagnosis: &Arc<Diagnosis>, observed: &Arc<Observed>) -> Vec<Arc<dyn Tool>> {
    let diagnosis = Arc::clone(diagnosis);
    let seen = || Arc::clone(observed);
    let (metrics, lines, traces, changed) = (seen(), seen(), seen(), seen());
    vec![
        window("list_evidence", "Every row of evidence with its id.", &[], move |_| {
            Ok(lookup::list_evidence(&diagnosis))
        }),
        window("series", "Metric series of a service.", &["service", "name?"], move |given| {
            Ok(lookup::series(&metrics, given.text("service")?, given.text_or_empty("name")))
        }),
        window(
            "logs",
            "The newest log lines of a service.",
            &["service", "contains?"],
            move |given| {
                Ok(lookup::logs(
                    &lines,
                    given.text("service")?,
                    given.text_or_empty("contains"),
                    LINES_MAX,
                ))
            },
        ),
        window("spans", "The slowest spans of a service.", &["service"], move |given| {
            Ok(lookup::spans(&traces, given.text("service")?))
        }),
        window("changes", "What was deployed or configured.", &[], move |_| {
            Ok(lookup::changes(&changed))
        }),
    ]
}

/// A tool whose parameters are strings; a `?` marks an optional one.
fn window(
    name: &str,
    description: &str,
    parameters: &[&str],
    answer: impl Fn(&Arguments) -> Result<Value, ToolError> + Send + Sync + 'static,
) -> Arc<dyn Tool> {
    let plain = |parameter: &&str| parameter.trim_end_matches('?').to_owned();
    let properties: serde_json::Map<String, Value> = parameters
        .iter()
        .map(|parameter| (plain(parameter), json!({ "type": "string" })))
        .collect();
    let required: Vec<String> =
        parameters.iter().filter(|parameter| !parameter.ends_with('?')).map(plain).collect();
    let spec = ToolSpec {
        name: name.to_owned(),
        description: description.to_owned(),
        parameters: json!({ "type": "object", "properties": properties, "required": required }),
        effect: Effect::Read,
        risks: Risks { untrusted_input: true, private_data: true, acts_outside: false },
    };
    Arc::new(Window { spec, answer: Box::new(answer) })
}
