//! Tells people: the ticket, the message, and the escalation when nobody answers.

use std::sync::Arc;

use agentry_core::RunId;
use agentry_core::run::Values;
use agentry_engine::{Class, Node, NodeContext, NodeError, NodeOutput, effect};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Noted, Opening, Shared, Step, read, story, within};
use crate::alert::{Alert, Severity};
use crate::correlate::IncidentNumber;
use crate::report;

/// Names the incident to the outside, so that nothing is told twice.
///
/// The whole id, its time included: another database also has an INC-1, and may share the ticket system or the outbox.
pub(super) fn key(cx: &NodeContext, opening: &Opening) -> String {
    outside(opening.number, cx.run())
}

pub(super) fn outside(number: IncidentNumber, run: RunId) -> String {
    format!("{number}-{run}")
}

const APPROVE: &str =
    "`agentry approvals list` shows what waits, `agentry approvals approve ID` lets it run";
const ESCALATED: &str = "Nobody answered in time, so nothing was done: please take over.";

pub(super) struct Ticket(pub(super) Arc<Shared>);

/// What came of telling somebody. An incident is handled further when nobody can be told.
fn told(
    cx: &NodeContext,
    number: IncidentNumber,
    sent: Result<Value, effect::Error>,
    words: &Words,
) -> Result<NodeOutput, NodeError> {
    let lasting = match &sent {
        Ok(_) => false,
        Err(effect::Error::Refused(_) | effect::Error::Ambiguous { .. }) => true,
        Err(effect::Error::NotDone(_)) => cx.attempt() >= super::SENDING_ATTEMPTS,
    };
    match sent {
        Err(error) if lasting => {
            let what = format!("{} could not be sent: {error}", words.thing);
            let detail = json!({ "error": error.to_string() });
            Ok(NodeOutput::done().noted(
                cx,
                number,
                Step { actor: "agent", action: words.failed, what, detail },
            ))
        }
        Err(error) => Err(error.into()),
        Ok(receipt) => {
            let id = receipt.pointer("/id").and_then(Value::as_str).unwrap_or_default();
            let what = format!("{} {id}", words.thing);
            let step = Step { actor: "agent", action: words.sent, what, detail: receipt.clone() };
            Ok(NodeOutput::done().set(words.channel, receipt).noted(cx, number, step))
        }
    }
}

struct Words {
    thing: &'static str,
    channel: &'static str,
    sent: &'static str,
    failed: &'static str,
}

const TICKET: Words =
    Words { thing: "ticket", channel: "ticket", sent: "ticket.opened", failed: "ticket.failed" };
const MESSAGE: Words = Words {
    thing: "message",
    channel: "message",
    sent: "message.posted",
    failed: "message.failed",
};
const ESCALATION: Words = Words {
    thing: "escalation",
    channel: "escalation",
    sent: "incident.escalated",
    failed: "escalation.failed",
};

#[async_trait]
impl Node for Ticket {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let opening: Opening = read(state, "incident")?;
        let body = report::jira(&story::so_far(state, cx.now())?, &self.0.settings.project);
        let (tickets, key) = (Arc::clone(&self.0.ports.tickets), key(cx, &opening));
        let sent = cx
            .effect("ticket", Class::Idempotent, |_| async move {
                within("the ticket system", tickets.open(&key, &body))
                    .await
                    .map(|receipt| json!(receipt))
            })
            .await;
        told(cx, opening.number, sent, &TICKET)
    }
}

pub(super) struct Message(pub(super) Arc<Shared>);

#[async_trait]
impl Node for Message {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let opening: Opening = read(state, "incident")?;
        let body = report::slack(&story::so_far(state, cx.now())?, Some(APPROVE));
        let (messages, key) = (Arc::clone(&self.0.ports.messages), key(cx, &opening));
        let sent = cx
            .effect("message", Class::Idempotent, |_| async move {
                within("the message sink", messages.post(&key, &body))
                    .await
                    .map(|receipt| json!(receipt))
            })
            .await;
        told(cx, opening.number, sent, &MESSAGE)
    }
}

pub(super) struct Escalate(pub(super) Arc<Shared>);

#[async_trait]
impl Node for Escalate {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let opening: Opening = read(state, "incident")?;
        let alerts: Vec<Alert> = read(state, "alerts")?;
        if super::severity(&alerts) < Severity::Critical {
            return Ok(NodeOutput::done());
        }
        let body = report::slack_update(&story::so_far(state, cx.now())?, ESCALATED);
        let (messages, key) =
            (Arc::clone(&self.0.ports.messages), format!("{}-escalation", key(cx, &opening)));
        let sent = cx
            .effect("escalate", Class::Idempotent, |_| async move {
                within("the message sink", messages.post(&key, &body))
                    .await
                    .map(|receipt| json!(receipt))
            })
            .await;
        told(cx, opening.number, sent, &ESCALATION)
    }
}

#[cfg(test)]
mod tests {
    use agentry_core::Timestamp;

    use super::*;
    use crate::intake::incident_key;

    #[test]
    fn the_first_incidents_of_two_databases_have_different_names_outside() {
        let name = |opened| {
            let number = IncidentNumber(1);
            outside(number, RunId::derived(Timestamp::from_millis(opened), &incident_key(number)))
        };
        assert_ne!(name(1_795_000_000_000), name(1_795_000_000_001));
        assert_eq!(name(1_795_000_000_000), name(1_795_000_000_000));
    }
}
