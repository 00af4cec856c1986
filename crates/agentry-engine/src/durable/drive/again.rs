//! A decision that was not stored, or not meant to last: the thread is loaded anew, and what runs goes on running.

use std::collections::HashMap;

use agentry_core::run::Seq;
use agentry_core::thread::{Commit, Next, RunStatus};
use agentry_core::threads::{At, From};
use tracing::error;

use super::{Drive, Then};
use crate::machine::{Ended, Held, Key, Machine};
use crate::observe::Came;

/// What would be lost if the store refused the next decision.
#[derive(Default)]
pub(super) struct Unsure {
    /// Tasks that have ended in the decision, as they ran, and what they came to.
    ended: (Vec<Held>, Vec<Ended>),
    refused: bool,
    /// Tasks that run under other keys than they were started with.
    renamed: HashMap<Key, Key>,
}

impl Unsure {
    /// Only a decision about a question can be refused: somebody has answered it.
    pub(super) fn note(&mut self, machine: &Machine, ended: &[Ended]) {
        if machine.is_asking() {
            let keys = ended.iter().map(|one| one.key);
            self.ended = (machine.held(keys), ended.to_vec());
        }
    }

    /// A decision was stored: unless it was about something else, nothing can be lost any more.
    pub(super) fn stored(&mut self) {
        if !self.refused {
            self.ended = Default::default();
        }
    }

    /// What tasks came to in the decision that was refused.
    pub(super) fn once_more(&mut self) -> Option<Vec<Ended>> {
        if !std::mem::take(&mut self.refused) {
            return None;
        }
        let (_, ended) = std::mem::take(&mut self.ended);
        (!ended.is_empty()).then_some(ended)
    }

    /// The key that a task which has ended is known by now.
    pub(super) fn known_as(&self, key: Key) -> Key {
        self.renamed.get(&key).copied().unwrap_or(key)
    }

    fn rename(&mut self, names: &HashMap<Key, Key>) {
        for now in self.renamed.values_mut() {
            *now = names.get(now).copied().unwrap_or(*now);
        }
        for (before, now) in names.iter().filter(|(before, now)| before != now) {
            self.renamed.entry(*before).or_insert(*now);
        }
        for one in &mut self.ended.1 {
            one.key = names.get(&one.key).copied().unwrap_or(one.key);
        }
    }
}

impl Drive {
    /// A run that is to be taken back ends where it began: that it has ended is said when it is so. Where it began may have been
    /// cut from the history: then what it did stays. `None`: the thread is lost to this worker.
    pub(super) async fn take_back(&self, commit: &mut Commit) -> Option<bool> {
        let over = commit.runs.iter_mut().find(|change| change.status == RunStatus::Cancelled);
        let Some(over) = over else { return Some(false) };
        let run = self.desk.run(over.run);
        let wanted = run.filter(|run| run.cancel.as_ref().is_some_and(|cancel| cancel.rollback));
        let Some(base) = wanted.and_then(|run| run.base) else { return Some(false) };
        if base != Seq(0) {
            let call = || self.around.archive.line(self.thread, At::Seq(base), From::Snapshot);
            if self.around.lifeline.insist(call).await?.0.is_none() {
                let reason = over.reason.take().unwrap_or_default();
                over.reason =
                    Some(format!("{reason}; the history before it was cut, so what it did stays"));
                return Some(false);
            }
        }
        crate::machine::outside::without_moves(commit);
        commit.entry.parent = base;
        commit.runs.clear();
        commit.next = Next::Running;
        Some(true)
    }

    /// Starts from what is stored. Tasks that run are taken along, if the thread still has them.
    pub(super) async fn again(&mut self, machine: &mut Machine, expected: Seq) -> Option<Then> {
        let call = || self.around.store.load(self.thread);
        let (loaded, _) = self.around.lifeline.insist(call).await?;
        let loaded = loaded?;
        if loaded.thread.seq.next() != expected {
            error!("the thread has moved under its worker");
            return None;
        }
        let mut fresh = match self.load(loaded) {
            Ok(machine) => machine,
            Err(problem) => {
                self.around.lifeline.give_up(problem.to_string());
                return None;
            }
        };
        let mut held = machine.held(self.handles.keys().copied());
        held.extend(std::mem::take(&mut self.unsure.ended.0));
        let names = fresh.adopt(held, machine);
        for (key, handle) in std::mem::take(&mut self.handles) {
            match names.get(&key) {
                Some(now) => {
                    self.handles.insert(*now, handle);
                }
                None => {
                    handle.cancelled.cancel();
                    handle.abort.abort();
                    self.ended(handle.task, Came::Aborted);
                }
            }
        }
        self.unsure.rename(&names);
        self.unsure.refused = true;
        *machine = fresh;
        self.started = false;
        Some(Then::GoOn)
    }
}
