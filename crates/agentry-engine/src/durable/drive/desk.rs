//! What has come for a claimed thread and was not looked at yet, and what of it is next.

use agentry_core::run::{Answer, Message};
use agentry_core::thread::{Commit, Loaded, Next, Pinned, Run, RunStatus};
use agentry_core::{RunId, Timestamp};

use crate::durable::order::Order;
use crate::machine::{Machine, Mail, Rests};

/// What has come for the thread and was not looked at yet.
#[derive(Default)]
pub(super) struct Desk {
    runs: Vec<Run>,
    messages: Vec<Message>,
    answers: Vec<(String, Answer)>,
    /// The run that has been told that it is to end.
    told_to_end: Option<RunId>,
    /// The run that has the thread in what is stored, when the store knows nothing of it: it is another thread's, of which this one
    /// is a copy, or was deleted.
    unknown: Option<RunId>,
}

impl Desk {
    pub(super) fn take(&mut self, loaded: Loaded) {
        let Loaded { runs, inbox, interrupts, .. } = loaded;
        self.runs = runs;
        self.messages = inbox;
        let answered = interrupts.into_iter().filter_map(|it| Some((it.id, it.answer?)));
        self.answers = answered.collect();
    }

    /// As a thread is loaded.
    pub(super) fn loaded(&mut self, machine: &Machine) {
        self.unknown = machine.run().filter(|id| self.run(*id).is_none());
    }

    /// Nobody can be told of a run that the store does not know.
    pub(super) fn leave_out_unknown(&self, commit: &mut Commit) {
        commit.runs.retain(|change| self.unknown != Some(change.run));
    }

    pub(super) fn run(&self, id: RunId) -> Option<&Run> {
        self.runs.iter().find(|run| run.id == id)
    }

    /// Interrupts with an answer that nobody waits for, nor brings.
    pub(super) fn unasked(&mut self) -> Vec<String> {
        let pending = self.runs.iter().filter(|run| run.status == RunStatus::Pending);
        let brought: Vec<_> = pending.flat_map(brought).collect();
        let answers = std::mem::take(&mut self.answers).into_iter();
        answers.map(|(interrupt, _)| interrupt).filter(|it| !brought.contains(it)).collect()
    }

    pub(super) fn has_nothing(&self) -> bool {
        self.messages.is_empty() && self.answers.is_empty()
    }

    pub(super) fn knows_cancel(&self) -> bool {
        self.runs.iter().any(|run| run.cancel.is_some())
    }

    pub(super) fn begun(&mut self, id: RunId) {
        for run in self.runs.iter_mut().filter(|run| run.id == id) {
            run.status = RunStatus::Running;
        }
    }

    pub(super) fn over(&mut self, id: RunId) {
        self.runs.retain(|run| run.id != id);
    }

    /// A run that never had the thread and is to end, or one that had it and was taken back.
    pub(super) fn dismissed(&mut self, machine: &Machine) -> Option<(RunId, RunStatus, String)> {
        let has = machine.run();
        let ended = self.runs.iter().find_map(|run| {
            let cancel = run.cancel.as_ref();
            let status = match run.status {
                RunStatus::Pending if cancel.is_some() => RunStatus::Cancelled,
                RunStatus::Running | RunStatus::Interrupted if has == Some(run.id) => return None,
                RunStatus::Running | RunStatus::Interrupted => match cancel {
                    Some(cancel) if cancel.rollback => RunStatus::RolledBack,
                    Some(_) => RunStatus::Cancelled,
                    None if run.status == RunStatus::Running => RunStatus::Error,
                    None => return None,
                },
                RunStatus::Pending
                | RunStatus::Success
                | RunStatus::Error
                | RunStatus::Timeout
                | RunStatus::Cancelled
                | RunStatus::RolledBack => return None,
            };
            let reason = cancel.map_or("the thread has gone on without it", |it| &it.reason);
            Some((run.id, status, reason.to_owned()))
        });
        if let Some((id, ..)) = &ended {
            self.over(*id);
        }
        ended
    }

    /// What the run that has the thread is to hear.
    pub(super) fn mail(
        &mut self,
        machine: &Machine,
        now: Timestamp,
        program: &Pinned,
    ) -> Option<Mail> {
        let id = machine.run()?;
        let cancel = self.run(id).and_then(|run| run.cancel.as_ref());
        let cancel = cancel.filter(|_| self.told_to_end != Some(id)).map(|it| it.reason.clone());
        if cancel.is_some() {
            self.told_to_end = Some(id);
        }
        // A run that brings these very answers takes the thread instead.
        let taking = self.answering(machine, now, program).filter(|_| cancel.is_none());
        let brings = taking.map(brought).unwrap_or_default();
        let (kept, answers): (Vec<_>, Vec<_>) = std::mem::take(&mut self.answers)
            .into_iter()
            .partition(|(interrupt, _)| brings.contains(interrupt));
        self.answers = kept;
        let messages = std::mem::take(&mut self.messages);
        let mail = Mail { messages, answers, cancel };
        (mail != Mail::default()).then_some(mail)
    }

    /// The run that begins next, when it brings an answer and the run that asked is not to be cancelled.
    pub(super) fn answering(
        &self,
        machine: &Machine,
        now: Timestamp,
        program: &Pinned,
    ) -> Option<&Run> {
        let asking = machine.run().and_then(|id| self.run(id));
        if asking.is_some_and(|run| run.cancel.is_some() && self.told_to_end != Some(run.id)) {
            return None;
        }
        let next = self.next(machine, now, program)?;
        let brought = brought(next);
        self.answers.iter().any(|(interrupt, _)| brought.contains(interrupt)).then_some(next)
    }

    /// The run that begins next, when it can begin now and here.
    pub(super) fn next(&self, machine: &Machine, now: Timestamp, program: &Pinned) -> Option<&Run> {
        match machine.rests() {
            Rests::Running | Rests::Waiting => return None,
            Rests::Idle
            | Rests::Interrupted
            | Rests::Failed(_)
            | Rests::Cancelled { .. }
            | Rests::TimedOut => {}
        }
        // Clocks differ: one that may begin does not wait for one that may not, whichever turn is earlier.
        let due = |run: &&Run| {
            run.status == RunStatus::Pending && run.not_before.is_none_or(|moment| moment <= now)
        };
        let next = self.runs.iter().filter(due).min_by_key(|run| run.turn())?;
        (next.program == *program).then_some(next)
    }

    /// Whether there is more to do at once for this very worker.
    pub(super) fn goes_on(&self, machine: &Machine, commit: &Commit, program: &Pinned) -> bool {
        let Next::Rest { .. } = commit.next else { return false };
        self.next(machine, commit.entry.at, program).is_some()
    }

    /// The store knows by now what these runs have come to.
    pub(super) fn stored(&mut self, commit: &Commit) {
        for change in &commit.runs {
            for run in self.runs.iter_mut().filter(|run| run.id == change.run) {
                run.status = change.status;
                run.base = change.base.or(run.base);
            }
        }
        self.answers.retain(|(id, _)| !commit.closed.iter().any(|(closed, _)| closed == id));
    }
}

/// The interrupts that a run answers.
fn brought(run: &Run) -> Vec<String> {
    let order = Order::from_value(&run.input).ok();
    order.iter().flat_map(Order::answers).map(str::to_owned).collect()
}
