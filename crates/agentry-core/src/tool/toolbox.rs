//! Tools by their names.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::{Tool, ToolContext, ToolError, ToolOutput, ToolSpec};
use crate::schema::Schema;

/// Tools by their names. What they are called with is held against their schemas first.
#[derive(Clone, Default)]
pub struct Toolbox {
    tools: BTreeMap<String, Held>,
}

#[derive(Clone)]
struct Held {
    tool: Arc<dyn Tool>,
    /// Nothing where the schema says more than is understood here: then it is the tool's own business.
    parameters: Option<Arc<Schema>>,
}

impl Toolbox {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tool, in the place of one of the same name.
    #[must_use]
    pub fn with(mut self, tool: Arc<dyn Tool>) -> Self {
        let ToolSpec { name, parameters, .. } = tool.spec();
        let (name, parameters) = (name.clone(), Schema::parse(parameters.clone()).ok());
        self.tools.insert(name, Held { tool, parameters: parameters.map(Arc::new) });
        self
    }

    #[must_use]
    pub fn spec(&self, name: &str) -> Option<&ToolSpec> {
        self.tools.get(name).map(|held| held.tool.spec())
    }

    pub fn specs(&self) -> impl Iterator<Item = &ToolSpec> {
        self.tools.values().map(|held| held.tool.spec())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.keys().map(String::as_str)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// Those that `wanted` names; `files/*` stands for all whose names begin with `files/`. An error is a name that means
    /// none.
    pub fn choose<'n>(&self, wanted: impl IntoIterator<Item = &'n str>) -> Result<Self, &'n str> {
        let mut tools = BTreeMap::new();
        for name in wanted {
            let mut meant = self.tools.iter().filter(|(known, _)| means(name, known)).peekable();
            if meant.peek().is_none() {
                return Err(name);
            }
            tools.extend(meant.map(|(known, held)| (known.clone(), held.clone())));
        }
        Ok(Self { tools })
    }

    /// Calls a tool, unless there is none of that name or it does not take these arguments.
    pub async fn call(
        &self,
        cx: &ToolContext,
        name: &str,
        arguments: Value,
    ) -> Result<ToolOutput, ToolError> {
        let tool = self.accept(name, &arguments)?;
        tool.call(cx, arguments).await
    }

    /// The tool that takes these arguments.
    fn accept(&self, name: &str, arguments: &Value) -> Result<&Arc<dyn Tool>, ToolError> {
        let wrong = |reason: String| ToolError::InvalidArguments { reason };
        let Some(Held { tool, parameters }) = self.tools.get(name) else {
            let known: Vec<&str> = self.names().collect();
            let reason = match known.as_slice() {
                [] => format!("there is no tool `{name}`; there are none"),
                known => format!("there is no tool `{name}`; there are: {}", known.join(", ")),
            };
            return Err(wrong(reason));
        };
        if !arguments.is_object() {
            return Err(wrong("they must be a JSON object".to_owned()));
        }
        let complaints = parameters.as_ref().map(|schema| schema.complaints(arguments));
        match complaints.filter(|complaints| !complaints.is_empty()) {
            Some(complaints) => Err(wrong(complaints.join("; "))),
            None => Ok(tool),
        }
    }
}

fn means(wanted: &str, name: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == wanted,
    }
}

impl fmt::Debug for Toolbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests;
