//! Which remembered effects nobody can ask for any more.
//!
//! An effect is asked for by its task, for as long as that may run again: while it is there, and as long as a rollback may bring
//! it back, which is one that was there already when the run began.

use std::collections::HashSet;

use agentry_core::run::Seq;

use crate::effect::Journal;
use crate::ids::{TaskId, is_after};
use crate::machine::Machine;

/// So many are remembered before anybody looks, and then twice as many as were left: looking costs little on the whole.
const ENTRIES_MIN: usize = 16;

#[derive(Default)]
pub(super) struct Forgetting {
    /// Tasks that a rollback may bring back.
    held: HashSet<String>,
    left: usize,
}

impl Forgetting {
    /// As a thread is loaded; `base` is where the run began that has it.
    pub(super) fn loaded(machine: &Machine, journal: &Journal, base: Option<Seq>) -> Self {
        let mut held = HashSet::new();
        if machine.run().is_some() {
            let live = machine.tasks();
            let known: HashSet<_> = live.iter().map(TaskId::text).collect();
            // Of those that are not there any more nobody knows since when they were.
            held.extend(
                journal
                    .keys()
                    .iter()
                    .map(String::as_str)
                    .map(task_of)
                    .filter(|it| !known.contains(*it))
                    .map(str::to_owned),
            );
            let older = |seq: u64| base.is_none_or(|base| !is_after(seq, base.0));
            held.extend(live.iter().filter(|id| older(id.planned_in())).map(TaskId::text));
        }
        Self { held, left: 0 }
    }

    /// A run is about to begin.
    pub(super) fn begins(&mut self, machine: &Machine) {
        self.held = machine.tasks().iter().map(TaskId::text).collect();
    }

    /// What the decision that `machine` has just made lets be forgotten. `rests`: it is the last one for now.
    pub(super) fn due(&mut self, machine: &Machine, journal: &Journal, rests: bool) -> Vec<String> {
        let remembered = journal.len();
        let over = machine.run().is_none();
        if over {
            self.held.clear();
        }
        if remembered == 0 || !(rests || over || remembered >= ENTRIES_MIN.max(self.left * 2)) {
            return Vec::new();
        }
        let live: HashSet<_> = machine.tasks().iter().map(TaskId::text).collect();
        let mut keys = journal.keys();
        keys.retain(|key| {
            let task = task_of(key);
            !live.contains(task) && !self.held.contains(task)
        });
        self.left = remembered - keys.len();
        keys
    }
}

/// Keys begin with the task that they belong to.
fn task_of(key: &str) -> &str {
    key.split_once('/').map_or(key, |(task, _)| task)
}
