//! Tells people that an incident has reached another service after they were told of it.
//!
//! The incident's own run may be over by then, so this is a small run of its own, submitted with the alert.

use std::sync::Arc;

use agentry_core::RunId;
use agentry_core::run::Values;
use agentry_core::store;
use agentry_engine::version::Policy;
use agentry_engine::{
    Ask, Class, END, Graph, Node, NodeContext, NodeError, NodeOutput, Program, Reducer, START,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Noted, Opening, Shared, Step, find, read, story, tell, within};
use crate::alert::Alert;
use crate::report;

/// What the intake hands the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    pub opening: Opening,
    /// The incident's own run.
    pub run: RunId,
    pub alert: Alert,
    pub at: agentry_core::Timestamp,
}

pub(super) const GRAPH: &str = "incident-update";

pub(super) fn program(shared: &Arc<Shared>) -> Result<Program, agentry_engine::Error> {
    Graph::builder(GRAPH)
        .on_change(Policy::Migrate)
        .channel("reached", Reducer::Last)
        .channel("timeline", Reducer::Append)
        .node("settle", Settle(Arc::clone(shared)))
        .node_with("tell", super::sending(), Tell(Arc::clone(shared)))
        .edge(START, "settle")
        .edge("settle", "tell")
        .edge("tell", END)
        .build()
}

struct Settle(Arc<Shared>);

#[async_trait]
impl Node for Settle {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let reached: Reached = read(state, "reached")?;
        let moment = reached.at.plus(self.0.settings.settle);
        match cx.now() < moment {
            true => Ok(NodeOutput::ask(Ask::until("settle", moment))),
            false => Ok(NodeOutput::done()),
        }
    }
}

struct Tell(Arc<Shared>);

#[async_trait]
impl Node for Tell {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let reached: Reached = read(state, "reached")?;
        let loaded = self.0.store.load(reached.run.own_thread()).await?;
        let Some(held) = loaded.and_then(|loaded| story::Held::of(reached.run, loaded)) else {
            return Err(
                store::Error::Incompatible(format!("the run {} is gone", reached.run)).into()
            );
        };
        let told = held.values.contains_key("message") || held.standing.is_final();
        if !told {
            // The first message is still to come, and it will name this service too.
            return Ok(NodeOutput::done());
        }
        let alerts: Vec<Alert> = find(&held.values, "alerts")?.unwrap_or_default();
        let report = story::report(&held, &alerts)?;
        let Alert { name, service, .. } = &reached.alert;
        let number = reached.opening.number;
        let lead = format!(
            "{number} has reached {service} ({name}) after it was examined: please look again."
        );
        let body = report::slack_update(&report, &lead);
        let messages = Arc::clone(&self.0.ports.messages);
        let key = format!("{}-also-{service}", tell::outside(number, reached.run));
        let receipt = cx
            .effect("message", Class::Idempotent, |_| async move {
                within("the message sink", messages.post(&key, &body))
                    .await
                    .map(|receipt| json!(receipt))
            })
            .await?;
        let what = format!("{service} is affected too");
        let step = Step { actor: "agent", action: "incident.spread", what, detail: receipt };
        Ok(NodeOutput::done().noted(cx, number, step))
    }
}
