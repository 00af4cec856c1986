//! How long a graph inside a node may take, and how often it is tried: another attempt goes on with what has failed in it.

use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::run::Closing;
use serde_json::json;

use super::Machine;
use super::op::Op;
use super::rest::Failed;
use super::scope::{Halt, Phase, ScopeIx, Slot, Task};

impl Machine {
    /// When a graph that a task begins now is given up.
    pub(super) fn given_up_at(&self, at: (ScopeIx, Slot)) -> Option<Timestamp> {
        let ms = self.settings(at.0, at.1).deadline_ms?;
        Some(self.now.plus(Duration::from_millis(ms)))
    }

    /// Whether a graph that has failed is tried again after a pause.
    pub(super) fn tried_again(
        &mut self,
        ix: ScopeIx,
        above: (ScopeIx, Slot),
        message: &str,
    ) -> bool {
        let settings = self.settings(above.0, above.1);
        let is_ending = self.run.as_ref().is_none_or(|run| run.ending.is_some());
        let within = self.within(ix);
        let halted = |ix: &ScopeIx| self.scopes.get(*ix).is_some_and(|it| it.halt.is_some());
        if is_ending || within.iter().any(halted) {
            return false;
        }
        let jitter = self.jitter(above, settings.jitter_ms);
        let Some(task) = self.scopes.task_mut(above.0, above.1) else { return false };
        let more = task.more();
        if more.failures + 1 >= settings.attempts_max {
            return false;
        }
        more.failures += 1;
        let attempt = more.failures;
        let until = self.now.plus(settings.backoff(attempt) + jitter);
        self.tell("task.retried", above, json!({ "attempt": attempt, "error": message }));
        self.came_to(above, Phase::Backoff { until });
        self.mend_but(|ix| within.contains(&ix));
        true
    }

    /// Goes on with what has failed in the graph of a task, and with what is left to do there.
    pub(super) fn go_back_in(&mut self, at: (ScopeIx, Slot), child: ScopeIx) {
        let within = self.within(child);
        for ix in within.iter().copied() {
            for slot in 0..self.scopes.get(ix).map_or(0, |scope| scope.tasks.len()) {
                let Some(task) = self.scopes.task_mut(ix, slot) else { continue };
                match task.phase {
                    Phase::Failed { .. } => {
                        task.more().failures = 0;
                        self.came_to((ix, slot), Phase::Ready);
                        self.wake(ix);
                    }
                    Phase::Stuck => task.more().failures = 0,
                    Phase::Ready
                    | Phase::Backoff { .. }
                    | Phase::Asking
                    | Phase::Inside
                    | Phase::Replaced
                    | Phase::Done(_) => {}
                }
            }
        }
        self.give_time(at);
        self.came_to(at, Phase::Inside);
        for ix in within {
            let slots = self.scopes.get(ix).map_or(0, |scope| scope.tasks.len());
            self.ready.extend((0..slots).map(|slot| (ix, slot)));
        }
    }

    /// The graph in a task has had its time: what is not done in it has failed.
    pub(super) fn late(&mut self, at: (ScopeIx, Slot)) {
        let child = self.scopes.task(at.0, at.1).and_then(Task::child);
        let Some(child) = child else { return };
        let within = self.within(child);
        let stands = |ix: &ScopeIx| {
            let halt = self.scopes.get(*ix).and_then(|scope| scope.halt);
            halt == Some(Halt::Breakpoint)
        };
        let is_ending = self.run.as_ref().is_none_or(|run| run.ending.is_some());
        if is_ending || within.iter().any(stands) {
            self.set_until(at, None);
            return self.note_task(at.0, at.1);
        }
        if self.complete.iter().any(|ix| within.contains(ix)) {
            // It has come further in this very moment, perhaps to its end.
            return self.set_until(at, Some(self.now.plus(Duration::from_millis(1))));
        }
        let node = self.scopes.get(at.0).map(|scope| scope.named(at.1)).unwrap_or_default();
        let ms = self.settings(at.0, at.1).deadline_ms.unwrap_or_default();
        let message = format!("the graph in `{node}` took longer than {ms} ms");
        self.ready.retain(|(ix, _)| !within.contains(ix));
        let running: Vec<_> =
            self.running_keys().filter(|key| within.contains(&key.scope)).collect();
        running.into_iter().for_each(|key| self.abort(key));
        for ix in within.iter().copied() {
            for slot in 0..self.scopes.get(ix).map_or(0, |scope| scope.tasks.len()) {
                self.cut_off((ix, slot), &message);
            }
        }
        self.came_to(at, Phase::Inside);
        self.stuck(child);
    }

    fn cut_off(&mut self, at: (ScopeIx, Slot), message: &str) {
        let Some(task) = self.scopes.task(at.0, at.1) else { return };
        match task.phase {
            Phase::Done(_) | Phase::Replaced | Phase::Failed { .. } => {}
            Phase::Inside | Phase::Stuck => {
                self.set_until(at, None);
                self.came_to(at, Phase::Stuck);
            }
            Phase::Ready | Phase::Backoff { .. } | Phase::Asking => {
                let name = self.scopes.get(at.0).map(|scope| scope.named(at.1)).unwrap_or_default();
                self.tell("task.failed", at, json!({ "error": message }));
                self.close(at, Closing::Withdrawn);
                let ns = self.ns(at.0).to_string();
                self.fail(Failed { ns, ..Failed::node(&name, message) });
                self.came_to(at, Phase::Failed { message: message.to_owned() });
            }
        }
    }

    /// A run goes on where another one has ended: graphs whose time has passed meanwhile have it anew.
    pub(super) fn give_time_anew(&mut self) {
        let places: Vec<_> = self
            .scopes
            .all()
            .filter_map(|(_, scope)| scope.above)
            .filter(|(ix, slot)| {
                let task = self.scopes.task(*ix, *slot);
                let until = task.and_then(|task| task.more.as_ref()?.until);
                until.is_none_or(|until| until <= self.now)
            })
            .collect();
        for at in places {
            if self.given_up_at(at).is_some() {
                self.give_time(at);
                self.note_task(at.0, at.1);
            }
        }
    }

    fn give_time(&mut self, at: (ScopeIx, Slot)) {
        self.set_until(at, self.given_up_at(at));
    }

    /// Also when loading.
    pub(super) fn set_until(&mut self, (ix, slot): (ScopeIx, Slot), until: Option<Timestamp>) {
        let Some(task) = self.scopes.task_mut(ix, slot) else { return };
        let before = task.due();
        if until.is_some() || task.more.is_some() {
            task.more().until = until;
        }
        let after = task.due();
        if let Some(moment) = before {
            self.timers.remove(&(moment, ix, slot));
        }
        if let Some(moment) = after {
            self.timers.insert((moment, ix, slot));
        }
    }

    /// What has failed was made good, or will be; another failure that is left elsewhere counts then.
    pub(super) fn mend_but(&mut self, made_good: impl Fn(ScopeIx) -> bool) {
        let failed = self.run.as_ref().and_then(|run| run.failed.as_ref());
        let elsewhere =
            |failed: &Failed| self.scopes.find(&failed.ns).is_some_and(|ix| !made_good(ix));
        if failed.is_none_or(elsewhere) {
            return;
        }
        self.note(|| Op::Mended);
        self.mend();
        let left = self.scopes.all().filter(|(ix, _)| !made_good(*ix));
        let other = left.filter_map(|(_, scope)| scope.failed_node()).next();
        if let Some(failed) = other {
            self.fail(failed);
        }
    }

    /// A graph in a node, and those in it.
    fn within(&self, ix: ScopeIx) -> Vec<ScopeIx> {
        let all = self.scopes.all().map(|(inner, _)| inner);
        all.filter(|inner| self.is_within(*inner, ix)).collect()
    }
}
