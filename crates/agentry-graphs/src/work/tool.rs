//! A call of a tool, without a model in between.

use agentry_core::tool::{Effect, ToolContext, ToolError};
use agentry_engine::{Class, NodeError, effect};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Came, Visit, Work, fatal, undone};
use crate::definition::Tool;
use crate::view::View;

pub(crate) struct ToolWork {
    pub(crate) tool: Tool,
}

impl ToolWork {
    fn arguments(&self, view: &View<'_>) -> Result<Value, String> {
        let arguments = self.tool.arguments.value.value(&|name: &str| view.get(name))?;
        match arguments.is_object() {
            true => Ok(arguments),
            false => Err("the arguments are no object".to_owned()),
        }
    }
}

#[async_trait]
impl Work for ToolWork {
    fn call(&self, view: &View<'_>) -> Result<Option<Value>, String> {
        Ok(Some(json!({ "tool": self.tool.tool.value, "arguments": self.arguments(view)? })))
    }

    async fn run(&self, visit: &Visit<'_>, view: &View<'_>) -> Result<Came, NodeError> {
        let arguments = self.arguments(view).map_err(fatal)?;
        let name = &self.tool.tool.value;
        let tools = &visit.ports.tools;
        let spec = tools.spec(name).ok_or_else(|| fatal(format!("there is no tool `{name}`")))?;
        let cx = visit.call_context(visit.caller().await?);
        let context = |call_id: String| ToolContext {
            call_id,
            tenant: cx.caller.tenant.to_string(),
            caller: cx.caller.name.to_string(),
            deadline: cx.deadline,
        };
        let class = match spec.effect {
            // What only reads is read again rather than remembered: the node is stored as a whole.
            Effect::Read => {
                let output = tools.call(&context("tool".to_owned()), name, arguments).await?;
                return Ok(Came::To(output.0));
            }
            Effect::Idempotent => Class::Idempotent,
            Effect::Once => Class::Once,
        };
        let value = visit.effect("tool", class, |key| async {
            let output = tools.call(&context(key), name, arguments).await;
            output.map(|output| output.0).map_err(|error| match (&error, class) {
                (ToolError::Failed { .. } | ToolError::TimedOut { .. }, Class::Once) => {
                    effect::Undone::Unknown(error.to_string())
                }
                _ => undone(&error),
            })
        });
        Ok(Came::To(value.await?))
    }
}
