//! A named agent.

use agentry_engine::node::Again;
use agentry_engine::{Class, NodeError, effect};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Came, Visit, Work, fatal};
use crate::definition::Agent;
use crate::view::View;

pub(crate) struct AgentWork {
    pub(crate) agent: Agent,
}

impl AgentWork {
    fn input(&self, view: &View<'_>) -> Result<Value, String> {
        self.agent.input.value.value(&|name: &str| view.get(name))
    }
}

#[async_trait]
impl Work for AgentWork {
    fn call(&self, view: &View<'_>) -> Result<Option<Value>, String> {
        Ok(Some(json!({ "agent": self.agent.agent.value, "input": self.input(view)? })))
    }

    async fn run(&self, visit: &Visit<'_>, view: &View<'_>) -> Result<Came, NodeError> {
        let input = self.input(view).map_err(fatal)?;
        let name = &self.agent.agent.value;
        let agents = visit.ports.agents.as_ref();
        let agents =
            agents.ok_or_else(|| fatal(format!("there are no agents, and so no `{name}`")))?;
        let cx = visit.call_context(visit.caller().await?);
        let value = visit.effect("agent", Class::Idempotent, |_| async {
            agents.run(&cx, name, input).await.map_err(|error| match error.again {
                Again::Never => effect::Undone::Refused(error.message),
                _ => effect::Undone::NotDone(error.message),
            })
        });
        Ok(Came::To(value.await?))
    }
}
