//! What a decision has changed, until it is a commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentry_core::run::{Closing, Delta, Event, Seq};
use agentry_core::thread::{Checkpoint, Commit, Entry, Interrupt, RunChange, Write};
use agentry_core::{Timestamp, audit};
use serde_json::{Value, json};

use super::op::{At, Body, Op, Wrote};
use super::scope::{Scope, ScopeIx, Slot};
use super::{Decision, Machine, Record};

#[derive(Default)]
pub(crate) struct Trace {
    pub ops: Vec<Op>,
    pub writes: Vec<Write>,
    pub checkpoints: Vec<Checkpoint>,
    pub runs: Vec<RunChange>,
    pub opened: Vec<Interrupt>,
    pub closed: Vec<(String, Closing)>,
    /// Questions that were handed on, with their new deadlines.
    pub postponed: Vec<(String, Option<Timestamp>)>,
    pub consumed: Vec<String>,
    pub events: Vec<Event>,
    pub audit: Vec<audit::Entry>,
    /// It is stored though nothing has changed: whoever reads the log is to know now.
    pub urgent: bool,
    /// How many checkpoints this entry has, written down or not: a part of their ids.
    pub marks: usize,
}

impl Trace {
    /// Events are stored with the next commit; on their own they do not cause one.
    fn is_empty(&self) -> bool {
        let Self {
            ops, writes, checkpoints, runs, opened, closed, postponed, consumed, audit, ..
        } = self;
        let changes = [ops.len(), writes.len(), checkpoints.len(), runs.len(), opened.len()];
        let others = [closed.len(), postponed.len(), consumed.len(), audit.len()];
        !self.urgent && changes.iter().chain(&others).all(|count| *count == 0)
    }
}

impl Machine {
    pub(crate) fn is_recorded(&self) -> bool {
        self.record == Record::Commits
    }

    pub(super) fn note(&mut self, op: impl FnOnce() -> Op) {
        if self.is_recorded() {
            self.trace.ops.push(op());
        }
    }

    pub(super) fn ns(&self, scope: ScopeIx) -> Arc<str> {
        self.scopes.get(scope).map_or_else(|| Arc::from(""), |scope| Arc::clone(&scope.ns))
    }

    pub(super) fn place(&self, scope: ScopeIx, slot: Slot) -> At {
        At { ns: self.ns(scope), slot }
    }

    /// An event of a task: where it is, and how many of the entry's moves came before it.
    pub(super) fn tell(&mut self, kind: &str, (scope, slot): (ScopeIx, Slot), more: Value) {
        if !self.is_recorded() {
            return;
        }
        let Some(found) = self.scopes.get(scope) else { return };
        let node = found.tasks.get(slot).map(|task| found.plan.name_of(task.node));
        let mut detail = json!({
            "ns": &*found.ns, "node": node, "slot": slot, "step": found.step,
            "at": self.trace.ops.len(),
        });
        if let (Value::Object(detail), Value::Object(more)) = (&mut detail, more) {
            detail.extend(more);
        }
        self.trace.events.push(Event { at: self.now, kind: kind.to_owned(), detail });
    }

    /// An event of a whole graph.
    pub(super) fn tell_scope(&mut self, kind: &str, scope: ScopeIx, more: Value) {
        if !self.is_recorded() {
            return;
        }
        let mut detail = json!({ "ns": &*self.ns(scope), "at": self.trace.ops.len() });
        if let (Value::Object(detail), Value::Object(more)) = (&mut detail, more) {
            detail.extend(more);
        }
        self.trace.events.push(Event { at: self.now, kind: kind.to_owned(), detail });
    }

    /// Ends the decision.
    pub(super) fn conclude(&mut self) -> Decision {
        let actions = std::mem::take(&mut self.actions);
        if !self.is_recorded() {
            self.advance_seq();
            return Decision { commit: None, actions };
        }
        if self.trace.is_empty() {
            return Decision { commit: None, actions };
        }
        Decision { commit: Some(self.write_down()), actions }
    }

    /// What has changed, as an entry; also when nothing has.
    pub(super) fn write_down(&mut self) -> Commit {
        let trace = std::mem::take(&mut self.trace);
        let parent = self.at;
        self.advance_seq();
        let Trace {
            ops,
            writes,
            checkpoints,
            runs,
            opened,
            closed,
            postponed,
            consumed,
            events,
            audit,
            ..
        } = trace;
        let body = serde_json::to_value(Body::V1 { back_to: self.back_to.take(), ops })
            .unwrap_or_default();
        let run = self.run.as_ref().map(|run| run.op.id);
        let run = run.or_else(|| runs.last().map(|change| change.run));
        let entry = Entry { seq: self.at, parent, run, at: self.now, checkpoints, writes, body };
        Commit {
            thread: self.home.thread,
            fence: self.home.fence,
            entry,
            next: self.next(),
            runs,
            opened,
            closed,
            postponed,
            consumed,
            forgotten: Vec::new(),
            events,
            snapshot: None,
            audit,
            program: None,
        }
    }

    fn advance_seq(&mut self) {
        self.trace.marks = 0;
        self.at = Seq(self.home.head.0 + 1);
        self.home.head = self.at;
    }

    /// Writes down what a task has written.
    pub(super) fn note_writes(
        &mut self,
        (scope, slot): (ScopeIx, Slot),
        deltas: Vec<(String, Delta)>,
        raw: BTreeMap<String, Value>,
    ) {
        let at = self.place(scope, slot);
        let n = deltas.len();
        for (channel, delta) in deltas {
            let ns = at.ns.to_string();
            self.trace.writes.push(Write { ns, channel, delta });
        }
        self.trace.ops.push(Op::Wrote(Wrote { at, n, raw }));
    }
}

/// The part of a scope that events and entries name.
impl Scope {
    pub(crate) fn is_root(&self) -> bool {
        self.ns.is_empty()
    }
}
