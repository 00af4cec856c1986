//! What whoever has a machine decides without it.

use agentry_core::run::{Closing, Event};
use agentry_core::thread::{Commit, Interrupt, RunChange, RunStatus};
use agentry_core::{RunId, Timestamp};
use serde_json::json;

use super::op::Body;
use super::rest::{Failed, Rests};
use super::{Decision, Happened, Machine, Mail};

impl Machine {
    /// A worker has taken the thread, for which something has come: that counts before anything is due or is done.
    pub fn taken_with(&mut self, mail: Mail, now: Timestamp) -> Decision {
        self.claimed();
        self.step(Happened::Mail(mail), now)
    }

    /// When the run that has the thread must be done: that is not in the log.
    pub fn due_by(&mut self, deadline: Option<Timestamp>) {
        if let Some(run) = &mut self.run {
            run.deadline = deadline;
        }
    }

    /// Writes down what became of a run that does not have the thread. Nothing else changes; the entry is that run's, so that
    /// whoever follows it reads of its end.
    pub fn dismiss(
        &mut self,
        (run, status, reason): (RunId, RunStatus, String),
        now: Timestamp,
    ) -> Commit {
        self.now = now;
        let detail = json!({ "run": run, "status": status, "reason": reason });
        self.trace.events.push(Event { at: now, kind: "run.ended".to_owned(), detail });
        let reason = Some(reason);
        self.trace.runs.push(RunChange { run, status, base: None, reason });
        let mut commit = self.write_down();
        commit.entry.run = Some(run);
        commit
    }

    /// The run that has the thread fails, whatever it was about to do: that cannot be stored. `None` when no run has it.
    pub fn break_off(&mut self, why: &str, now: Timestamp) -> Option<Commit> {
        self.run.as_ref()?;
        self.now = now;
        self.end_with(Rests::Failed(Failed::unstorable(why)));
        self.decide().commit
    }

    /// Nothing is to be done: the thread is let go of. `unasked` are answers that nobody waits for.
    pub fn give_back(&mut self, unasked: Vec<String>, now: Timestamp) -> Commit {
        self.now = now;
        let closed = unasked.into_iter().map(|interrupt| (interrupt, Closing::Withdrawn));
        self.trace.closed.extend(closed);
        self.write_down()
    }

    /// What is asked, as it is stored.
    #[must_use]
    pub fn interrupts(&self, run: RunId, now: Timestamp) -> Vec<Interrupt> {
        let asked = self.asking.iter().filter_map(|(ix, slot)| {
            let scope = self.scopes.get(*ix)?;
            let task = scope.tasks.get(*slot)?;
            let open = task.question()?;
            Some(Interrupt {
                thread: self.home.thread,
                run,
                id: open.interrupt.clone(),
                ns: scope.ns.to_string(),
                node: scope.plan.name_of(task.node).to_owned(),
                question: open.ask.question.clone(),
                schema: open.ask.schema.clone(),
                opened: now,
                deadline: open.deadline(),
                on_timeout: open.ask.on_timeout.clone(),
                escalations: open.escalations,
                answer: None,
            })
        });
        asked.collect()
    }
}

/// Makes of a commit one that changes nothing of the state.
pub(crate) fn without_moves(commit: &mut Commit) {
    commit.entry.writes.clear();
    commit.entry.checkpoints.clear();
    commit.entry.body =
        serde_json::to_value(Body::V1 { back_to: None, ops: Vec::new() }).unwrap_or_default();
    commit.snapshot = None;
    // Only what nodes said in their own words is still true.
    commit.events.retain(|event| event.detail.get("detail").is_some());
}
