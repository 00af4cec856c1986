use async_trait::async_trait;
use futures_util::FutureExt as _;
use serde_json::json;

use super::*;
use crate::tool::{Effect, Risks};

struct Echo(ToolSpec);

#[async_trait]
impl Tool for Echo {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(&self, _: &ToolContext, arguments: Value) -> Result<ToolOutput, ToolError> {
        Ok(ToolOutput(arguments))
    }
}

fn toolbox(tools: &[(&str, Value)]) -> Toolbox {
    tools.iter().fold(Toolbox::new(), |all, (name, parameters)| {
        let (name, parameters) = ((*name).to_owned(), parameters.clone());
        let (description, effect, risks) = (String::new(), Effect::Read, Risks::default());
        all.with(Arc::new(Echo(ToolSpec { name, description, parameters, effect, risks })))
    })
}

#[test]
fn arguments_are_held_against_the_schema_before_a_tool_sees_them() {
    let count = json!({
        "type": "object", "properties": { "n": { "type": "integer", "minimum": 1 } },
        "required": ["n"], "additionalProperties": false,
    });
    // A word that is not understood leaves the whole schema to the tool.
    let own = json!({ "type": "object", "required": ["n"], "dependentRequired": {} });
    let tools = toolbox(&[("count", count), ("own", own)]);
    let check = |name: &str, arguments: Value, expected: Result<Value, &str>| {
        let (call_id, tenant, caller) = ("c".to_owned(), "t".to_owned(), "c".to_owned());
        let cx = ToolContext { call_id, tenant, caller, deadline: None };
        let called = tools.call(&cx, name, arguments).now_or_never().unwrap();
        let called = called.map(|output| output.0).map_err(|error| error.to_string());
        let expected = expected.map_err(|reason| format!("the arguments are wrong: {reason}"));
        assert_eq!(called, expected, "{name}");
    };
    check("count", json!({ "n": 1 }), Ok(json!({ "n": 1 })));
    check(
        "count",
        json!({ "n": 0, "m": 1 }),
        Err("`n` must be at least 1; it has `m`, which is not asked for"),
    );
    check("count", json!({}), Err("it needs `n`"));
    check("count", json!([1]), Err("they must be a JSON object"));
    check("own", json!({}), Ok(json!({})));
    check("divide", json!({}), Err("there is no tool `divide`; there are: count, own"));
}

#[test]
fn a_name_with_a_star_means_all_that_begin_so() {
    let any = || json!({ "type": "object" });
    let tools = toolbox(&[("files/read", any()), ("files/write", any()), ("sum", any())]);
    let check = |wanted: &[&'static str], expected: Result<Vec<&str>, &str>| {
        let chosen = tools.choose(wanted.iter().copied());
        let names = chosen.as_ref().map(|chosen| chosen.names().collect());
        assert_eq!(names.map_err(|name| *name), expected);
    };
    check(&[], Ok(vec![]));
    check(&["sum", "files/*", "files/read"], Ok(vec!["files/read", "files/write", "sum"]));
    check(&["sum", "files/delete"], Err("files/delete"));
    check(&["sum", "mail/*"], Err("mail/*"));
}
