//! What becomes of one task: done, asking, tried again, failed.

use std::time::Duration;

use agentry_core::run::{Closing, Delta, Interrupt};
use serde_json::{Value, json};

use super::{Action, Again, Decision, NodeError, NodeOutput, Phase, Then};
use crate::graph::Reducer;
use crate::node::{Ask, OnMessage, Reply};
use crate::reducer::Put;
use crate::state::{How, Open, Running, Task};

impl Task {
    /// A message has been folded in: whoever waits for one runs again.
    pub(super) fn rerun_on_message(&mut self) {
        let waits = self.open.as_ref().is_some_and(|open| open.ask.on_message == OnMessage::Rerun);
        if waits && self.phase == Phase::Asking {
            self.phase = Phase::Ready;
        }
    }
}

impl Decision<'_> {
    pub(super) fn ended(&mut self, node: &str, result: Result<NodeOutput, NodeError>) {
        let Some(running) = self.state.running.remove(node) else {
            // It was aborted, and its result crossed the decision.
            return;
        };
        self.changed = true;
        match result {
            Err(error) => self.failed(node, &error),
            Ok(NodeOutput { then, events, audit, goto: _, to_parent: _ }) => {
                self.audit.extend(audit);
                for (kind, detail) in events {
                    self.event(&kind, detail);
                }
                match then {
                    Then::Update(writes) => self.done(node, writes),
                    Then::Ask(ask) => self.asks(node, ask, &running),
                }
            }
        }
    }

    fn done(&mut self, node: &str, puts: Vec<(String, Put)>) {
        let mut writes = Vec::new();
        for (channel, put) in puts {
            let reducer = self.program.graph().channels.get(&channel);
            let reduced = reducer
                .map(|reducer| reducer.reduce(self.program.folds(), None, put.clone()).and(Ok(reducer)));
            let problem = match reduced {
                Some(Ok(reducer)) => match put {
                    Put::Append(items) | Put::Reduce(Value::Array(items))
                        if *reducer == Reducer::Append =>
                    {
                        writes.push((channel, Delta::Append(items)));
                        continue;
                    }
                    Put::Append(items) => {
                        writes.push((channel, Delta::Set(Value::Array(items))));
                        continue;
                    }
                    Put::Set(value) | Put::Reduce(value) | Put::Overwrite(value) => {
                        writes.push((channel, Delta::Set(value)));
                        continue;
                    }
                },
                Some(Err(problem)) => format!("it wrote to `{channel}`: {problem}"),
                None => format!("it wrote to `{channel}`, which the graph does not declare"),
            };
            return self.failed(node, &NodeError::fatal(problem));
        }
        self.close(node, Closing::Withdrawn);
        if let Some(task) = self.state.cursor.tasks.get_mut(node) {
            task.phase = Phase::Done { writes };
        }
        let superstep = self.state.cursor.superstep;
        self.event("node.finished", json!({ "node": node, "superstep": superstep }));
    }

    fn failed(&mut self, node: &str, error: &NodeError) {
        let settings = self.settings(node);
        let Some(task) = self.state.cursor.tasks.get_mut(node) else { return };
        task.failures += 1;
        let failures = task.failures;
        let pause = settings.backoff(failures);
        let pause = match error.again {
            Again::Never => None,
            Again::Backoff => Some(pause),
            Again::AfterMs(ms) => Some(pause.max(Duration::from_millis(ms))),
            Again::Answered => None,
        };
        let detail = json!({ "node": node, "attempt": failures, "error": error.message });
        match pause.filter(|_| failures < settings.attempts_max) {
            Some(pause) => {
                task.phase = Phase::Backoff { until: self.now.plus(pause) };
                self.event("node.retried", detail);
            }
            None => {
                self.event("node.failed", detail);
                self.end_with(How::Failed, format!("`{node}` failed: {}", error.message));
            }
        }
    }

    fn asks(&mut self, node: &str, ask: Ask, running: &Running) {
        let Some(task) = self.state.cursor.tasks.get_mut(node) else { return };
        if let Err(problem) = acceptable(task, &ask, running) {
            return self.failed(node, &NodeError::fatal(problem));
        }
        // The answer may have come, or a message been folded in, while the task ran without seeing it.
        let missed_message =
            ask.on_message == OnMessage::Rerun && running.folded < self.state.folded;
        if task.replies.contains_key(&ask.id) {
            task.phase = Phase::Ready;
            return;
        }
        // Somebody has answered what it asked before: that counts, and the task sees it first.
        let open = task.open.as_ref().map(|open| open.interrupt.as_str());
        let mut interrupts = self.state.interrupts.iter().filter(|it| it.answer.is_some());
        if interrupts.any(|answered| Some(answered.id.as_str()) == open) {
            task.phase = Phase::Asking;
            return;
        }
        task.phase = if missed_message { Phase::Ready } else { Phase::Asking };
        if task.open.as_ref().is_some_and(|open| open.ask == ask) {
            return;
        }
        self.close(node, Closing::Replaced);
        self.open(node, ask);
    }

    fn open(&mut self, node: &str, ask: Ask) {
        let superstep = self.state.cursor.superstep;
        let Some(task) = self.state.cursor.tasks.get_mut(node) else { return };
        let id = format!("{node}-{superstep}-{}", task.asked);
        task.asked += 1;
        let interrupt = Interrupt {
            run: self.state.row.id,
            id: id.clone(),
            question: ask.question.clone(),
            opened: self.now,
            deadline: ask.deadline,
            on_timeout: ask.on_timeout.clone(),
            answer: None,
        };
        task.open = Some(Open { interrupt: id.clone(), ask });
        let detail = json!({ "node": node, "interrupt": id, "question": interrupt.question });
        self.state.interrupts.push(interrupt.clone());
        self.opened.push(interrupt);
        self.event("node.asked", detail);
    }

    pub(super) fn close(&mut self, node: &str, closing: Closing) {
        let Some(task) = self.state.cursor.tasks.get_mut(node) else { return };
        let Some(open) = task.open.take() else { return };
        self.state.interrupts.retain(|interrupt| interrupt.id != open.interrupt);
        self.closed.push((open.interrupt, closing));
        self.changed = true;
    }

    pub(super) fn take_answers(&mut self) {
        let mut answered = Vec::new();
        for (node, task) in &self.state.cursor.tasks {
            let Some(open) = &task.open else { continue };
            let interrupt = self.state.interrupts.iter().find(|one| one.id == open.interrupt);
            if let Some(answer) = interrupt.and_then(|interrupt| interrupt.answer.clone()) {
                let actor = Some(answer.actor);
                let reply = Reply { value: answer.value, actor, at: answer.at };
                answered.push((node.clone(), reply));
            }
        }
        for (node, reply) in answered {
            self.reply(&node, reply, Closing::Answered);
        }
    }

    pub(super) fn expire(&mut self) {
        let mut expired = Vec::new();
        for (node, task) in &self.state.cursor.tasks {
            let ask = task.open.as_ref().map(|open| &open.ask);
            let Some(ask) = ask.filter(|_| task.phase == Phase::Asking) else { continue };
            if ask.deadline.is_some_and(|deadline| deadline <= self.now) {
                let reply = Reply { value: ask.on_timeout.clone(), actor: None, at: self.now };
                expired.push((node.clone(), reply));
            }
        }
        for (node, reply) in expired {
            self.reply(&node, reply, Closing::Expired);
        }
    }

    fn reply(&mut self, node: &str, reply: Reply, closing: Closing) {
        let Some(task) = self.state.cursor.tasks.get_mut(node) else { return };
        let Some(id) = task.open.as_ref().map(|open| open.ask.id.clone()) else { return };
        if task.phase == Phase::Asking {
            task.phase = Phase::Ready;
        }
        let detail = json!({ "node": node, "ask": id, "value": reply.value, "actor": reply.actor });
        task.replies.insert(id, reply);
        self.close(node, closing);
        self.event("node.answered", detail);
    }

    /// Gives up attempts that take too long.
    pub(super) fn time_out(&mut self) {
        if self.state.cursor.ending.is_some() {
            return;
        }
        let late =
            |running: &Running| running.deadline.is_some_and(|deadline| deadline <= self.now);
        let mut nodes: Vec<String> = Vec::new();
        nodes.extend(self.state.running.iter().filter(|(_, it)| late(it)).map(|(n, _)| n.clone()));
        for node in nodes {
            self.state.running.remove(&node);
            self.changed = true;
            let ms = self.settings(&node).deadline_ms.unwrap_or_default();
            let problem = format!("it took longer than {ms} ms");
            self.actions.push(Action::Abort(node.clone()));
            self.failed(&node, &NodeError::transient(problem));
        }
    }

    pub(super) fn wake_from_backoff(&mut self) {
        for task in self.state.cursor.tasks.values_mut() {
            if let Phase::Backoff { until } = task.phase
                && until <= self.now
            {
                task.phase = Phase::Ready;
                self.changed = true;
            }
        }
    }
}

fn acceptable(task: &Task, ask: &Ask, running: &Running) -> Result<(), String> {
    let Ask { id, question, deadline, on_timeout: _, on_message, schema: _ } = ask;
    if question.is_none() && deadline.is_none() && *on_message == OnMessage::Wait {
        return Err(format!(
            "it asked `{id}` without a question, a deadline or messages to wait for"
        ));
    }
    if task.replies.contains_key(id) && running.replies == task.replies.len() {
        return Err(format!("it asked `{id}` again after it was answered; use another id"));
    }
    Ok(())
}
