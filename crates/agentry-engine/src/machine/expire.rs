//! Nobody has answered by the deadline: the next one is asked, or what was agreed on for the end happens.

use std::time::Duration;

use agentry_core::run::Closing;
use agentry_core::schema::Schema;
use serde_json::{Value, json};

use super::scope::{More, Phase, Running, ScopeIx, Slot, Task};
use super::{Machine, Refused};
use crate::context::NodeFailure;
use crate::node::{Ask, AtEnd, Escalation, NodeError, OnMessage, Reply};

impl Machine {
    pub(super) fn expired(&mut self, at: (ScopeIx, Slot)) {
        let Some(open) = self.scopes.task(at.0, at.1).and_then(Task::question) else { return };
        let handed_on = usize::try_from(open.escalations).unwrap_or(usize::MAX);
        match open.ask.escalate.get(handed_on).cloned() {
            Some(next) => self.hand_on(at, &next),
            None => self.end_asking(at),
        }
    }

    /// The new deadline counts from now: whoever is asked next has all the time that was meant for him, however late it is.
    fn hand_on(&mut self, at: (ScopeIx, Slot), next: &Escalation) {
        let deadline = self.now.plus(Duration::from_millis(next.within_ms.max(1)));
        let Some(task) = self.scopes.task_mut(at.0, at.1) else { return };
        let Some(open) = task.more().open.as_mut() else { return };
        open.escalations += 1;
        open.until = Some(deadline);
        let detail = json!({
            "interrupt": open.interrupt, "ask": open.ask.id, "question": open.ask.question,
            "to": next.to, "escalations": open.escalations, "deadline": deadline,
        });
        let interrupt = open.interrupt.clone();
        self.tell("interrupt.escalated", at, detail);
        self.came_to(at, Phase::Asking);
        if self.is_recorded() {
            self.trace.postponed.push((interrupt, Some(deadline)));
        }
    }

    fn end_asking(&mut self, at: (ScopeIx, Slot)) {
        let now = self.now;
        let Some(open) = self.scopes.task(at.0, at.1).and_then(Task::question) else { return };
        let (end, value, id) =
            (open.ask.at_end.clone(), open.ask.on_timeout.clone(), open.ask.id.clone());
        if open.ask.question.is_some() {
            let detail = json!({ "interrupt": open.interrupt, "ask": id, "then": end });
            self.tell("interrupt.expired", at, detail);
        }
        let message = || format!("nobody answered `{id}` in time");
        match end {
            AtEnd::Answer => {
                self.reply(at, Reply { value, actor: None, at: now }, Closing::Expired);
            }
            AtEnd::Fail => {
                self.close(at, Closing::Expired);
                self.wake(at.0);
                self.failed(at, &NodeError::fatal(message()));
            }
            AtEnd::Route(to) => {
                self.close(at, Closing::Expired);
                self.wake(at.0);
                let node = self.scopes.get(at.0).map(|scope| scope.named(at.1));
                let Some(to) = self.plan(at.0).and_then(|plan| plan.find(&to)) else { return };
                let node = node.map_or_else(String::new, |node| node.to_string());
                self.replace(at, to, NodeFailure { node, message: message() });
            }
        }
    }

    /// Whether a question's schema can be held to, and the way that it takes when nobody answers leads anywhere.
    pub(super) fn can_stand(&self, scope: ScopeIx, ask: &Ask) -> Result<(), String> {
        let Ask { id, deadline, question, escalate, at_end, schema, .. } = ask;
        if let Some(Err(problems)) = schema.clone().map(Schema::parse) {
            return Err(format!(
                "what it asked with `{id}` cannot be held to: {}",
                problems.join("; ")
            ));
        }
        let timed = !escalate.is_empty() || *at_end != AtEnd::Answer;
        if timed && (deadline.is_none() || question.is_none()) {
            return Err(format!(
                "what it asked with `{id}` is to go on to others, which needs a question and a deadline"
            ));
        }
        match at_end {
            AtEnd::Route(to) if self.plan(scope).is_none_or(|plan| plan.find(to).is_none()) => Err(
                format!("what it asked with `{id}` leads to `{to}`, which the graph does not have"),
            ),
            AtEnd::Route(_) | AtEnd::Answer | AtEnd::Fail => Ok(()),
        }
    }
}

impl Machine {
    pub(super) fn check_answer(&self, interrupt: &str, value: &Value) -> Result<(), Refused> {
        let asked = self.who_asked(interrupt).and_then(|(ix, slot)| self.scopes.task(ix, slot));
        let schema = asked.and_then(Task::question).and_then(|open| open.ask.schema.clone());
        let complaints = schema.and_then(|schema| Schema::parse(schema).ok());
        let complaints = complaints.map(|schema| schema.complaints(value)).unwrap_or_default();
        if complaints.is_empty() {
            return Ok(());
        }
        Err(Refused::UnfitAnswer { interrupt: interrupt.to_owned(), complaints })
    }
}

impl More {
    /// Whether a task that has come so far may ask this.
    pub(super) fn accepts(
        &self,
        running: &Running,
        (ask, by_order): (&Ask, bool),
    ) -> Result<(), String> {
        let Ask { id, question, deadline, on_message, .. } = ask;
        if question.is_none() && deadline.is_none() && *on_message == OnMessage::Wait {
            return Err(format!(
                "it asked `{id}` without a question, a deadline or messages to wait for"
            ));
        }
        if !by_order && self.replies.contains_key(id) && running.replies >= self.heard() {
            return Err(format!("it asked `{id}` again after it was answered; use another id"));
        }
        Ok(())
    }
}
