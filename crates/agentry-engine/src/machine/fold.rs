//! Loading: the moves of the log are made again.

use agentry_core::CheckpointId;
use agentry_core::run::Delta;
use agentry_core::thread::{Checkpoint, Entry, Line, Write};

use super::moved::since_moved;
use super::op::{At, Body, HaltOp, Op, OpenOp, TaskOp, Wrote};
use super::scope::{Phase, ROOT_IX, ScopeIx, Slot, Task};
use super::turn::Turn;
use super::{Home, LoadError, Machine, Record, Rests};
use crate::plan::{START_IX, Work};
use crate::program::Program;
use crate::reducer::Put;

/// What a reader of the log may do between two moves.
pub(crate) trait Watch {
    /// `ops` moves of the entry have been made.
    fn moved(&mut self, machine: &Machine, ops: usize);
    /// The state is what this checkpoint names. Whether to go on.
    fn marked(&mut self, machine: &Machine, entry: &Entry, checkpoint: &Checkpoint) -> bool;
}

/// Looks at nothing.
pub(crate) struct Blind;

impl Watch for Blind {
    fn moved(&mut self, _: &Machine, _: usize) {}

    fn marked(&mut self, _: &Machine, _: &Entry, _: &Checkpoint) -> bool {
        true
    }
}

impl Machine {
    /// The thread as the last entry of `line` left it.
    pub fn load(
        program: Program,
        home: Home,
        record: Record,
        line: &Line,
    ) -> Result<Self, LoadError> {
        let (snapshot, entries) = since_moved(line);
        let mut machine = match snapshot {
            Some(snapshot) => Self::from_snapshot(program, home, record, snapshot)?,
            None => Self::new(program, home, record),
        };
        machine.apply_all(&entries, None)?;
        machine.settle_loaded();
        Ok(machine)
    }

    /// One entry after the other; the last one only up to a checkpoint, when one is named.
    pub(crate) fn apply_all(
        &mut self,
        entries: &[&Entry],
        last: Option<CheckpointId>,
    ) -> Result<(), LoadError> {
        let next = entries.iter().skip(1).map(|entry| back_to(entry)).chain([last]);
        for (entry, until) in entries.iter().zip(next) {
            match until {
                Some(checkpoint) => self.apply_until(entry, checkpoint)?,
                None => self.make(entry, &mut Blind)?,
            }
        }
        Ok(())
    }

    /// What the entry did after the checkpoint has not happened.
    pub(crate) fn apply_until(
        &mut self,
        entry: &Entry,
        checkpoint: CheckpointId,
    ) -> Result<(), LoadError> {
        struct Until(CheckpointId);
        impl Watch for Until {
            fn moved(&mut self, _: &Machine, _: usize) {}

            fn marked(&mut self, _: &Machine, _: &Entry, checkpoint: &Checkpoint) -> bool {
                checkpoint.id != self.0
            }
        }
        self.make(entry, &mut Until(checkpoint))?;
        self.forget_progress();
        self.back_to = Some(checkpoint);
        Ok(())
    }

    /// The thread as it was at a checkpoint of the last entry of `line`: what that entry did after it has not happened.
    pub fn load_at(
        program: Program,
        home: Home,
        line: &Line,
        checkpoint: CheckpointId,
    ) -> Result<Self, LoadError> {
        let (snapshot, entries) = since_moved(line);
        let mut machine = match snapshot {
            Some(snapshot) => Self::from_snapshot(program, home, Record::Commits, snapshot)?,
            None => Self::new(program, home, Record::Commits),
        };
        machine.apply_all(&entries, Some(checkpoint))?;
        machine.settle_loaded();
        Ok(machine)
    }

    pub(crate) fn make(&mut self, entry: &Entry, watch: &mut dyn Watch) -> Result<(), LoadError> {
        let seq = entry.seq.0;
        let unreadable = |problem: String| LoadError::Unreadable { seq, problem };
        let Body::V1 { ops, .. } = serde::Deserialize::deserialize(&entry.body)
            .map_err(|error: serde_json::Error| unreadable(error.to_string()))?;
        let recorded = std::mem::replace(&mut self.record, Record::Nothing);
        self.now = entry.at;
        self.at = entry.seq;
        self.back_to = None;
        self.home.head = self.home.head.max(entry.seq);
        let mut writes = entry.writes.iter();
        let mut checkpoints = entry.checkpoints.iter();
        let total = ops.len();
        let mut ops = ops.into_iter();
        for number in 0..total {
            watch.moved(self, number);
            let Some(op) = ops.next() else { break };
            if let Op::Moved(moved) = op {
                let checkpoint = checkpoints.next();
                self.make_moved(*moved, checkpoint)?;
                if checkpoint.is_some_and(|it| !watch.marked(self, entry, it)) {
                    break;
                }
                continue;
            }
            if op == Op::Mark {
                let Some(checkpoint) = checkpoints.next() else {
                    return Err(unreadable("it marks more checkpoints than it has".to_owned()));
                };
                self.make_mark(checkpoint);
                if !watch.marked(self, entry, checkpoint) {
                    self.hand_input(ops.next(), &mut writes);
                    break;
                }
                continue;
            }
            self.make_one(op, &mut writes).map_err(|wrong| match wrong {
                Wrong::Name(name) => LoadError::Foreign { seq, name },
                Wrong::Problem(problem) => LoadError::Unreadable { seq, problem },
            })?;
        }
        watch.moved(self, total);
        self.ready.clear();
        self.complete.clear();
        self.fresh.clear();
        self.trace = super::Trace::default();
        self.record = recorded;
        Ok(())
    }

    fn make_mark(&mut self, checkpoint: &Checkpoint) {
        if let Some(scope) = self.scopes.find(&checkpoint.ns).and_then(|ix| self.scopes.get_mut(ix))
        {
            scope.marked((checkpoint.id, checkpoint.source), checkpoint.step);
        }
    }

    fn make_one<'a>(
        &mut self,
        op: Op,
        writes: &mut impl Iterator<Item = &'a Write>,
    ) -> Result<(), Wrong> {
        match op {
            Op::Mark | Op::Moved(_) => {}
            Op::Run(op) => self.take_run(op, None),
            Op::Fails(stored) => self.fail(super::Failed::from_stored(stored)),
            Op::Mended => self.mend(),
            Op::Over => {
                self.run = None;
                self.rests = Rests::Idle;
            }
            Op::Writes(n) | Op::Wrote(Wrote { n, .. }) => {
                for Write { ns, channel, delta } in writes.by_ref().take(n) {
                    let ix = self.find(ns)?;
                    if let Some(scope) = self.scopes.get_mut(ix) {
                        scope.change(channel, delta.clone());
                    }
                }
            }
            Op::Turn(op) => {
                let ix = self.find(&op.ns)?;
                let plan = self.plan(ix).ok_or_else(|| Wrong::Name(op.ns.to_string()))?;
                let turn = Turn::from_op(op, &plan).map_err(Wrong::Name)?;
                self.turn(ix, turn);
            }
            Op::Task(TaskOp { at, phase, more }) => {
                let place = self.locate(&at)?;
                if self.scopes.task(place.0, place.1).is_some_and(|it| it.due().is_some()) {
                    // Its deadline may be another one from now on.
                    self.set_phase(place, Phase::Ready);
                }
                if let Some(task) = self.scopes.task_mut(place.0, place.1) {
                    let child = task.child();
                    task.more = more.map(Box::new);
                    if child.is_some() {
                        task.more().child = child;
                    }
                }
                self.set_phase(place, phase);
            }
            Op::Open(OpenOp { at, inner, until }) => {
                let place = self.locate(&at)?;
                let program = self.inner_program(place);
                let program = program.ok_or_else(|| Wrong::Name(inner.to_string()))?;
                self.open_scope(place, inner, &program);
                self.set_until(place, until);
            }
            Op::Seed(at) => {
                let ix = self.find(&at.ns)?;
                self.seed(ix).map_err(Wrong::Problem)?;
            }
            Op::Pass(at) => {
                let place = self.locate(&at)?;
                self.pass_slot(place.0, place.1);
            }
            Op::Close(at) => {
                let place = self.locate(&at)?;
                self.close_scope(place);
            }
            Op::Halt(HaltOp { ns, halt }) => {
                let ix = self.find(&ns)?;
                self.set_halt(ix, halt);
            }
        }
        Ok(())
    }

    fn find(&self, ns: &str) -> Result<ScopeIx, Wrong> {
        self.scopes.find(ns).ok_or_else(|| Wrong::Problem(format!("there is no graph in `{ns}`")))
    }

    fn locate(&self, at: &At) -> Result<(ScopeIx, Slot), Wrong> {
        let ix = self.find(&at.ns)?;
        match self.scopes.task(ix, at.slot) {
            Some(_) => Ok((ix, at.slot)),
            None => Err(Wrong::Problem(format!("there is no task {} in `{}`", at.slot, at.ns))),
        }
    }

    fn inner_program(&self, (ix, slot): (ScopeIx, Slot)) -> Option<Program> {
        let scope = self.scopes.get(ix)?;
        let node = scope.plan.node(scope.tasks.get(slot)?.node)?;
        match &node.work {
            Work::Graph(inner) => Some(inner.program.clone()),
            Work::Node(_) | Work::Missing => None,
        }
    }

    /// Who goes on from where input was taken needs that input once more.
    fn hand_input<'a>(&mut self, next: Option<Op>, writes: &mut impl Iterator<Item = &'a Write>) {
        let Some(Op::Wrote(Wrote { n, raw, .. })) = next else { return };
        let puts = writes.take(n).map(|write| {
            let put = match (raw.get(&write.channel), &write.delta) {
                (Some(raw), _) => Put::from_json(raw.clone()),
                (None, Delta::Append(items)) => Put::Append(items.clone()),
                (None, Delta::Set(value)) => Put::Reduce(value.clone()),
                (None, Delta::Merge(members)) => Put::Reduce(members.clone().into()),
            };
            (write.channel.clone(), put)
        });
        let puts: Vec<_> = puts.collect();
        if let Some(task) = self.scopes.task_mut(ROOT_IX, 0)
            && task.node == START_IX
        {
            let done = super::scope::Done { puts, goto: Vec::new() };
            self.set_phase((ROOT_IX, 0), Phase::Done(done));
        }
    }

    /// Back at a checkpoint nothing of what followed it has happened.
    fn forget_progress(&mut self) {
        let root = self.scopes.root_mut();
        for task in &mut root.tasks {
            if task.node != START_IX {
                *task = Task { sent: task.sent.take(), ..Task::new(task.node) };
            }
        }
        root.active = root.tasks.iter().filter(|task| task.is_active()).count();
        root.open = root.tasks.iter().filter(|task| !task.is_settled()).count();
        root.halt = None;
        self.run = None;
        self.asking.clear();
        self.timers.clear();
    }

    pub(super) fn settle_loaded(&mut self) {
        self.rests = match &self.run {
            None => Rests::Idle,
            Some(_) if self.scopes.root().active > 0 => Rests::Running,
            Some(run) if run.failed.is_some() => Rests::Running,
            Some(_) => self.settled_as(),
        };
    }
}

/// The checkpoint of the entry before that an entry builds on, when it is not that entry's end.
pub(crate) fn back_to(entry: &Entry) -> Option<CheckpointId> {
    entry.body.get("back_to")?.as_str()?.parse().ok()
}

enum Wrong {
    Name(String),
    Problem(String),
}
