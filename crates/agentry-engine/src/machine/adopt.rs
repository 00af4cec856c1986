//! Tasks that run on while their thread is loaded anew.

use std::collections::HashMap;

use agentry_core::thread::Commit;

use super::scope::{Phase, Running};
use super::start::Key;
use super::{Decision, Machine};

/// A task that runs, as another machine of the same thread finds it.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    key: Key,
    id: String,
    running: Running,
}

impl Machine {
    /// Whether anything is asked: then somebody may answer while this decides otherwise.
    pub(crate) fn is_asking(&self) -> bool {
        !self.asking.is_empty()
    }

    /// Those of `keys` that run.
    pub(crate) fn held(&self, keys: impl Iterator<Item = Key>) -> Vec<Held> {
        let held = keys.filter_map(|key| {
            let scope = self.scopes.get(key.scope)?;
            let running = scope.tasks.get(key.slot)?.running.clone()?;
            let id = scope.task_id(key.slot)?.text();
            (running.turn == key.turn).then_some(Held { key, id, running })
        });
        held.collect()
    }

    /// Goes on with what runs already, as `before` knew it. Answers by which key each is known from now on; whatever is not
    /// named has nothing to do here any more.
    pub(crate) fn adopt(&mut self, held: Vec<Held>, before: &Self) -> HashMap<Key, Key> {
        // Whatever starts from now on has another number, and has seen all messages that were folded in.
        self.turns = before.turns;
        self.folded = before.folded;
        let mut names = HashMap::new();
        if held.is_empty() {
            return names;
        }
        let mut by_id: HashMap<_, _> =
            held.into_iter().map(|held| (held.id.clone(), held)).collect();
        let places: Vec<_> = self
            .scopes
            .all()
            .flat_map(|(ix, scope)| (0..scope.tasks.len()).map(move |slot| (ix, slot)))
            .collect();
        for (ix, slot) in places {
            let Some(id) = self.scopes.get(ix).and_then(|scope| scope.task_id(slot)) else {
                continue;
            };
            let Some(task) = self.scopes.task_mut(ix, slot) else { continue };
            if task.phase != Phase::Ready || task.running.is_some() {
                continue;
            }
            let Some(Held { key, running, .. }) = by_id.remove(&id.text()) else { continue };
            let (turn, deadline) = (running.turn, running.deadline);
            task.running = Some(running);
            self.running += 1;
            if let Some(deadline) = deadline {
                self.timers.insert((deadline, ix, slot));
            }
            names.insert(key, Key { scope: ix, slot, turn });
        }
        names
    }
}

impl From<Commit> for Decision {
    fn from(commit: Commit) -> Self {
        Self { commit: Some(commit), actions: Vec::new() }
    }
}
