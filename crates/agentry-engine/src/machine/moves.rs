//! The moves that decisions and loading share.

use std::sync::Arc;

use agentry_core::thread::{Checkpoint, Source};
use agentry_core::{CheckpointId, Timestamp};
use serde_json::{Map, json};

use super::Machine;
use super::op::{HaltOp, Op, TaskOp};
use super::rest::Failed;
use super::scope::{Halt, More, Phase, Scope, ScopeIx, Slot, Task};
use crate::ids::unkept_checkpoint;
use crate::node::OnMessage;

impl Machine {
    /// Moves a task to another phase, and keeps count.
    pub(super) fn set_phase(&mut self, (ix, slot): (ScopeIx, Slot), phase: Phase) {
        let Some(scope) = self.scopes.get_mut(ix) else { return };
        let Some(task) = scope.tasks.get_mut(slot) else { return };
        let before = (task.is_active(), task.is_settled(), task.due());
        task.phase = phase;
        let after = (task.is_active(), task.is_settled(), task.due());
        let asks = task.phase == Phase::Asking;
        if matches!(task.phase, Phase::Done(_)) {
            // Whoever is done needs to remember nothing.
            task.more = None;
        }
        scope.active = counted(scope.active, before.0, after.0);
        scope.open = counted(scope.open, !before.1, !after.1);
        if let Some(moment) = before.2 {
            self.timers.remove(&(moment, ix, slot));
        }
        if let Some(moment) = after.2 {
            self.timers.insert((moment, ix, slot));
        }
        if asks {
            self.asking.insert((ix, slot));
        } else if !self.asking.is_empty() {
            self.asking.remove(&(ix, slot));
        }
    }

    /// As [`set_phase`](Self::set_phase), and writes it down with all that is known of the task.
    pub(super) fn came_to(&mut self, (ix, slot): (ScopeIx, Slot), phase: Phase) {
        self.set_phase((ix, slot), phase);
        self.note_task(ix, slot);
    }

    pub(super) fn note_task(&mut self, ix: ScopeIx, slot: Slot) {
        if !self.is_recorded() {
            return;
        }
        let at = self.place(ix, slot);
        let Some(task) = self.scopes.task(ix, slot) else { return };
        let more = task.more.as_deref().filter(|more| **more != More::default()).cloned();
        self.trace.ops.push(Op::Task(TaskOp { at, phase: task.phase.clone(), more }));
    }

    pub(super) fn note_done(&mut self, ix: ScopeIx, slot: Slot) {
        if !self.is_recorded() {
            return;
        }
        let at = self.place(ix, slot);
        if let Some(Phase::Done(done)) = self.scopes.task(ix, slot).map(|task| &task.phase) {
            self.trace.ops.push(Op::Task(TaskOp::done(at, done.clone())));
        }
    }

    /// What is now can be found again.
    pub(super) fn mark(&mut self, ix: ScopeIx, source: Source) {
        let index = self.trace.marks;
        self.trace.marks += 1;
        let id = match (&self.unkept, self.scopes.get(ix)) {
            (Some(name), Some(scope)) => unkept_checkpoint(name, &scope.ns, scope.step),
            (Some(_), None) | (None, _) => {
                self.salt.checkpoint(self.now, self.home.head.0 + 1, index)
            }
        };
        let recorded = self.is_recorded();
        let Some(scope) = self.scopes.get_mut(ix) else { return };
        let (parent, step) = (scope.checkpoint, scope.step);
        scope.marked((id, source), step);
        if recorded {
            let ns = scope.ns.to_string();
            let metadata = Map::new();
            self.trace.checkpoints.push(Checkpoint { id, ns, parent, step, source, metadata });
            self.trace.ops.push(Op::Mark);
        }
    }

    /// The scope does not go on in this run.
    pub(super) fn halt(&mut self, ix: ScopeIx, halt: Halt) {
        let ns = self.ns(ix);
        self.note(|| Op::Halt(HaltOp { ns, halt }));
        self.set_halt(ix, halt);
        if halt == Halt::Breakpoint {
            self.tell_scope("breakpoint", ix, json!({}));
        }
        self.settled(ix);
    }

    pub(super) fn set_halt(&mut self, ix: ScopeIx, halt: Halt) {
        if let Some(scope) = self.scopes.get_mut(ix) {
            scope.halt = Some(halt);
            scope.active = 0;
        }
    }

    /// The tasks of a superstep that has just begun are to be started, unless something speaks against it.
    pub(super) fn launch(&mut self, ix: ScopeIx) {
        let Some(scope) = self.scopes.get(ix) else { return };
        if scope.step > scope.stop {
            let most = scope.steps_max(self.limit());
            let failed = Failed { ns: scope.ns.to_string(), ..Failed::steps(most) };
            self.fail(failed);
            return self.halt(ix, Halt::Steps);
        }
        if scope.tasks.is_empty() {
            return self.finished(ix);
        }
        if !scope.passed && self.breaks_before(ix) {
            return self.halt(ix, Halt::Breakpoint);
        }
        let slots = scope.tasks.len();
        self.ready.extend((0..slots).map(|slot| (ix, slot)));
    }

    /// Nothing is left to be done in a scope, for now.
    pub(super) fn settled(&mut self, ix: ScopeIx) {
        let Some(scope) = self.scopes.get(ix) else { return };
        if scope.active > 0 {
            return;
        }
        if scope.open == 0 && scope.halt.is_none() && !scope.tasks.is_empty() {
            self.complete.push(ix);
        } else if scope.above.is_some() {
            self.stuck(ix);
        }
    }
}

fn counted(count: usize, before: bool, after: bool) -> usize {
    match (before, after) {
        (true, false) => count.saturating_sub(1),
        (false, true) => count + 1,
        (true, true) | (false, false) => count,
    }
}

impl Task {
    /// When something happens to it though nobody does anything.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let more = self.more.as_ref();
        match &self.phase {
            Phase::Backoff { until } => Some(*until),
            Phase::Asking => more?.open.as_ref()?.deadline(),
            Phase::Inside | Phase::Stuck => more?.until,
            Phase::Ready | Phase::Failed { .. } | Phase::Replaced | Phase::Done(_) => None,
        }
    }
}

impl Scope {
    pub(super) fn marked(&mut self, (id, source): (CheckpointId, Source), step: i64) {
        self.checkpoint = Some(id);
        self.source = Some(source);
        self.step = step + 1;
        self.settle_names();
    }

    /// A new run goes on past what held it up.
    pub(super) fn unhalt(&mut self, steps_max: u32) {
        self.stop = self.step + i64::from(self.steps_max(steps_max)) + 1;
        self.passed = true;
        if self.halt.take().is_some() {
            self.active = self.tasks.iter().filter(|task| task.is_active()).count();
        }
    }

    pub(crate) fn named(&self, slot: Slot) -> Arc<str> {
        let ix = self.tasks.get(slot).map(|task| task.node);
        ix.map_or_else(|| Arc::from(""), |ix| self.plan.shared_name(ix))
    }
}

impl Machine {
    /// Tasks that wait for a message.
    pub(super) fn await_message(&self) -> Vec<(ScopeIx, Slot)> {
        let waits = |(ix, slot): &&(ScopeIx, Slot)| {
            let open = self.scopes.task(*ix, *slot).and_then(|task| task.question());
            open.is_some_and(|open| open.ask.on_message == OnMessage::Rerun)
        };
        self.asking.iter().filter(waits).copied().collect()
    }
}
