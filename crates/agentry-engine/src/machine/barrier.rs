//! The end of a superstep: what its tasks have written becomes the state, and it is decided where to go.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use agentry_core::run::{Delta, Values};
use agentry_core::thread::Source;
use serde_json::{Map, Value, json};

use super::Machine;
use super::op::Op;
use super::rest::Failed;
use super::route::Routing;
use super::scope::{Done, Halt, Phase, Scope, ScopeIx, Task};
use super::turn::Turn;
use crate::plan::{NodeIx, START_IX};
use crate::reducer::Put;

/// How to take a change back.
enum Undo {
    Remove,
    Put(Value),
    Truncate(usize),
    Members(Vec<(String, Option<Value>)>),
}

/// Changes that may have to be taken back.
#[derive(Default)]
pub(super) struct Undos(Vec<(String, Undo)>);

/// What the tasks of a superstep have done to a channel so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Touched {
    Written,
    Overwritten,
}

/// What the tasks of a superstep have done to which channel.
pub(super) struct Touches {
    /// A task that is alone contradicts nobody.
    alone: bool,
    channels: HashMap<usize, Touched, std::hash::RandomState>,
}

impl Touches {
    pub(super) fn new(alone: bool) -> Self {
        Self { alone, channels: HashMap::default() }
    }

    fn get(&self, channel: &usize) -> Option<&Touched> {
        self.channels.get(channel)
    }

    fn insert(&mut self, channel: usize, touched: Touched) {
        // Overwriting once more is a contradiction even of oneself.
        if !self.alone || touched == Touched::Overwritten {
            self.channels.insert(channel, touched);
        }
    }
}

/// What one task has written, in the words of the log.
#[derive(Default)]
pub(super) struct Written {
    pub deltas: Vec<(String, Delta)>,
    pub raw: BTreeMap<String, Value>,
}

impl Machine {
    pub(super) fn barrier(&mut self, ix: ScopeIx) {
        self.barrier_after(ix, false);
    }

    /// `wrote`: something has become state before.
    pub(super) fn barrier_after(&mut self, ix: ScopeIx, wrote: bool) {
        self.fresh.retain(|(scope, _)| *scope != ix);
        let recorded = self.is_recorded();
        let Some(scope) = self.scopes.get_mut(ix) else { return };
        let plan = Arc::clone(&scope.plan);
        let tasks = std::mem::take(&mut scope.tasks);
        let mut undos = Undos::default();
        let result = merge(scope, &plan, &tasks, &mut undos, recorded);
        let touched = !undos.0.is_empty();
        if result.is_err() {
            undos.roll_back(Arc::make_mut(&mut scope.values));
        }
        let stops = self.run.as_ref().is_some_and(|run| !run.op.after.is_empty());
        let after: Vec<_> = if stops || !plan.after.is_empty() {
            tasks.iter().map(|task| task.node).collect()
        } else {
            Vec::new()
        };
        scope.tasks = tasks;
        let (turn, written) = match result {
            Ok(merged) => merged,
            Err(failed) => return self.conflict(ix, failed),
        };
        let wrote = wrote
            || written.iter().any(|(_, written)| !written.deltas.is_empty())
            || (!recorded && touched);
        if recorded {
            for (slot, written) in written {
                self.note_writes((ix, slot), written.deltas, written.raw);
            }
        }
        self.turn(ix, turn);
        self.mark(ix, Source::Loop);
        if wrote {
            self.tell_scope("state", ix, json!({}));
        }
        self.tell_scope("checkpoint", ix, json!({}));
        if self.breaks_after(ix, &after) {
            return self.halt(ix, Halt::Breakpoint);
        }
        self.launch(ix);
    }

    /// Nothing of the superstep becomes state. What its tasks have written stays with them, to be looked at.
    fn conflict(&mut self, ix: ScopeIx, failed: Failed) {
        for slot in 0..self.scopes.get(ix).map_or(0, |scope| scope.tasks.len()) {
            self.note_done(ix, slot);
        }
        let ns = self.ns(ix);
        let reason = failed.message.clone();
        self.tell_scope("conflict", ix, json!({ "error": reason }));
        self.fail(Failed { ns: ns.to_string(), ..failed });
        self.halt(ix, Halt::Conflict);
    }

    pub(super) fn turn(&mut self, ix: ScopeIx, turn: Turn) {
        let Some(scope) = self.scopes.get_mut(ix) else { return };
        if self.record == super::Record::Commits {
            let op = turn.to_op(scope);
            self.trace.ops.push(Op::Turn(op));
        }
        if !turn.add {
            self.drop_tasks(ix);
        }
        if let Some(scope) = self.scopes.get_mut(ix) {
            scope.take_turn(turn);
        }
    }

    /// In a graph without supersteps one task is done: what it wrote becomes the state, and it leads on at once.
    pub(super) fn pass_one(&mut self, ix: ScopeIx, slot: usize) {
        let recorded = self.is_recorded();
        let Some(scope) = self.scopes.get_mut(ix) else { return };
        let plan = Arc::clone(&scope.plan);
        let Some(place) = scope.tasks.get_mut(slot) else { return };
        let task = std::mem::replace(place, Task::gone());
        let mut undos = Undos::default();
        let result = merge(scope, &plan, std::slice::from_ref(&task), &mut undos, recorded);
        let touched = !undos.0.is_empty();
        if result.is_err() {
            undos.roll_back(Arc::make_mut(&mut scope.values));
        }
        if let Some(place) = scope.tasks.get_mut(slot) {
            *place = task;
        }
        let (mut turn, written) = match result {
            Ok(merged) => merged,
            Err(failed) => {
                self.set_phase((ix, slot), Phase::Failed { message: failed.message.clone() });
                self.note_task(ix, slot);
                let ns = self.ns(ix).to_string();
                self.fail(Failed { ns, ..failed });
                return self.settled(ix);
            }
        };
        let wrote = touched;
        if recorded {
            for (_, written) in written {
                self.note_writes((ix, slot), written.deltas, written.raw);
            }
        }
        let nodes = self.passed_on(ix, &mut turn);
        let at = self.place(ix, slot);
        self.note(|| Op::Pass(at));
        self.pass_slot(ix, slot);
        self.mark(ix, Source::Loop);
        let first = self.scopes.get(ix).map_or(0, |scope| scope.tasks.len());
        self.turn(ix, turn);
        if wrote {
            self.tell_scope("state", ix, json!({}));
        }
        self.tell_scope("checkpoint", ix, json!({}));
        self.ready.extend((0..nodes).map(|number| (ix, first + number)));
        let Some(scope) = self.scopes.get(ix) else { return };
        if scope.step > scope.stop {
            let most = scope.steps_max(self.limit());
            let failed = Failed { ns: scope.ns.to_string(), ..Failed::steps(most) };
            self.fail(failed);
            return self.halt(ix, Halt::Steps);
        }
        if scope.open == 0 && scope.tasks.is_empty() {
            self.finished(ix);
        } else {
            self.settled(ix);
        }
    }

    /// Of the nodes that a task leads to, those that are not about to start anyway.
    fn passed_on(&self, ix: ScopeIx, turn: &mut Turn) -> usize {
        turn.add = true;
        let Some(scope) = self.scopes.get(ix) else { return 0 };
        let others = scope.open > 0;
        let waiting = |node: u32| {
            scope.tasks.iter().any(|task| {
                task.node == node
                    && task.sent.is_none()
                    && task.phase == Phase::Ready
                    && task.running.is_none()
            })
        };
        let plan = &scope.plan;
        turn.tasks.retain(|task| {
            let early = others && plan.is_deferred(task.node) && task.sent.is_none();
            !early && (task.sent.is_some() || !waiting(task.node))
        });
        turn.tasks.len()
    }

    /// Also when loading.
    pub(super) fn pass_slot(&mut self, ix: ScopeIx, slot: usize) {
        self.close_scope((ix, slot));
        if let Some(scope) = self.scopes.get_mut(ix) {
            scope.remember_one(slot);
            if let Some(task) = scope.tasks.get_mut(slot) {
                let (active, open) = (task.is_active(), !task.is_settled());
                scope.active -= usize::from(active);
                scope.open -= usize::from(open);
                *task = Task::gone();
            }
            while scope.tasks.last().is_some_and(Task::is_gone) {
                scope.tasks.pop();
            }
        }
    }

    /// The input has become state.
    pub(super) fn input(&mut self, ix: ScopeIx, input: Vec<(String, Put)>) {
        let Some(task) = self.scopes.task_mut(ix, 0) else { return };
        if task.node == START_IX {
            task.phase = Phase::Done(Done { puts: input, goto: Vec::new() });
            self.barrier(ix);
        }
    }
}

type Merged = (Turn, Vec<(usize, Written)>);

fn merge(
    scope: &mut Scope,
    plan: &crate::plan::Plan,
    tasks: &[Task],
    undos: &mut Undos,
    recorded: bool,
) -> Result<Merged, Failed> {
    let mut routing = Routing::new(plan);
    let wrong = |task: &Task, message: String| Failed::routing(plan.name_of(task.node), message);
    let single = tasks.len() == 1;
    for task in tasks {
        routing.consume(scope, task);
    }
    let mut written = Vec::new();
    if !single {
        for task in tasks {
            routing.leave(task).map_err(|error| wrong(task, error.message))?;
            let branches = plan.ways(task.node).is_some_and(|ways| !ways.branches.is_empty());
            if branches && let Phase::Done(done) = &task.phase {
                let mut trial = Undos::default();
                let tried =
                    write(scope, (task.node, done), &mut Touches::new(false), &mut trial, false);
                let routed = tried.and_then(|_| {
                    routing.branch(scope, task).map_err(|error| wrong(task, error.message))
                });
                trial.roll_back(Arc::make_mut(&mut scope.values));
                routed?;
            }
        }
    }
    let mut touched = Touches::new(single);
    for (slot, task) in tasks.iter().enumerate() {
        if let Phase::Done(done) = &task.phase {
            let wrote = write(scope, (task.node, done), &mut touched, undos, recorded)?;
            if recorded {
                written.push((slot, wrote));
            }
        }
    }
    if single {
        for task in tasks {
            let routed = routing.leave(task).and_then(|()| routing.branch(scope, task));
            routed.map_err(|error| wrong(task, error.message))?;
        }
    }
    Ok((routing.into_turn(scope), written))
}

/// Makes what a task has written state.
pub(super) fn write(
    scope: &mut Scope,
    (from, done): (NodeIx, &Done),
    touched: &mut Touches,
    undos: &mut Undos,
    recorded: bool,
) -> Result<Written, Failed> {
    let plan = Arc::clone(&scope.plan);
    let node = plan.name_of(from);
    let mut written = Written::default();
    for (name, put) in &done.puts {
        let Some(channel) = plan.channels.get(name) else {
            if from == START_IX {
                let value = put.shown();
                undos.set(scope, name, Delta::Set(value.clone()));
                written.deltas.push((name.clone(), Delta::Set(value)));
            }
            continue;
        };
        let reducer = &channel.reducer;
        let overwrites = reducer.overwrites(put);
        match touched.get(&channel.number) {
            Some(Touched::Written) if reducer.is_exclusive() => {
                return Err(Failed::conflict(node, name));
            }
            Some(Touched::Overwritten) if overwrites => return Err(Failed::conflict(node, name)),
            Some(Touched::Overwritten) => {
                if recorded {
                    written.raw.insert(name.clone(), put.shown());
                }
                continue;
            }
            Some(Touched::Written) | None => {}
        }
        let now = if overwrites { Touched::Overwritten } else { Touched::Written };
        touched.insert(channel.number, now);
        let raw = recorded.then(|| put.shown());
        let delta = reducer
            .reduce(&plan.folds, scope.values.get(name), put.clone())
            .map_err(|problem| Failed::unfit(node, name, &problem))?;
        if let Some(raw) = raw {
            if !shows(&delta, &raw) {
                written.raw.insert(name.clone(), raw);
            }
            written.deltas.push((name.clone(), delta.clone()));
        }
        undos.set(scope, name, delta);
    }
    Ok(written)
}

/// Whether the change says by itself what the task has written.
fn shows(delta: &Delta, raw: &Value) -> bool {
    match (delta, raw) {
        (Delta::Set(value), raw) => value == raw,
        (Delta::Append(items), Value::Array(raw)) => items == raw,
        (Delta::Merge(members), Value::Object(raw)) => members == raw,
        (Delta::Append(_) | Delta::Merge(_), _) => false,
    }
}

impl Undos {
    pub(super) fn set(&mut self, scope: &mut Scope, channel: &str, delta: Delta) {
        let undo = match (&delta, scope.values.get(channel)) {
            (_, None) => Some(Undo::Remove),
            (Delta::Append(_), Some(Value::Array(list))) => Some(Undo::Truncate(list.len())),
            (Delta::Merge(members), Some(Value::Object(object))) => {
                let old = |key: &String| (key.clone(), object.get(key).cloned());
                Some(Undo::Members(members.keys().map(old).collect()))
            }
            (Delta::Set(_) | Delta::Append(_) | Delta::Merge(_), Some(_)) => None,
        };
        let replaced = scope.change(channel, delta);
        let undo = undo.unwrap_or_else(|| replaced.map_or(Undo::Remove, Undo::Put));
        self.0.push((channel.to_owned(), undo));
    }

    pub(super) fn roll_back(self, values: &mut Values) {
        for (channel, undo) in self.0.into_iter().rev() {
            match (undo, values.get_mut(&channel)) {
                (Undo::Remove, _) => {
                    values.remove(&channel);
                }
                (Undo::Put(value), Some(place)) => *place = value,
                (Undo::Truncate(len), Some(Value::Array(list))) => list.truncate(len),
                (Undo::Members(members), Some(Value::Object(object))) => restore(object, members),
                (Undo::Put(_) | Undo::Truncate(_) | Undo::Members(_), _) => {}
            }
        }
    }
}

fn restore(object: &mut Map<String, Value>, members: Vec<(String, Option<Value>)>) {
    for (key, value) in members {
        match value {
            Some(value) => object.insert(key, value),
            None => object.remove(&key),
        };
    }
}
