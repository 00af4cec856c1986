//! Graphs inside nodes: entered, left, stuck, woken.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentry_core::thread::Source;
use serde_json::{Value, json};

use super::Machine;
use super::op::{Op, OpenOp};
use super::rest::Failed;
use super::scope::{Done, Given, Halt, Inside, Phase, Scope, ScopeIx, Slot, Task};
use super::turn::Turn;
use crate::context::NodeFailure;
use crate::door::{Around, Door};
use crate::graph::{Memory, NodeSettings, Returns};
use crate::node::NodeError;
use crate::plan::Work;
use crate::program::{Inner, Program};
use crate::reducer::Put;

impl Machine {
    pub(super) fn enter(
        &mut self,
        at: (ScopeIx, Slot),
        (Inner { program, door }, settings): (&Inner, &NodeSettings),
    ) {
        // Nothing is opened for what would not be let in.
        let refused = door.as_ref().and_then(|door| door.enter(self.around(at)?).err());
        if let Some(error) = refused {
            return self.failed(at, &error);
        }
        let memory = settings.subgraph.as_ref().map(|inner| inner.memory).unwrap_or_default();
        let Some(scope) = self.scopes.get(at.0) else { return };
        let Some(id) = scope.task_id(at.1) else { return };
        let base =
            if scope.is_root() { id.node.to_string() } else { format!("{}|{}", scope.ns, id.node) };
        let inner: Arc<str> = match memory {
            Memory::Visit | Memory::Off => format!("{base}:{}", id.text()).into(),
            Memory::Thread => base.into(),
        };
        if memory == Memory::Thread && self.scopes.find(&inner).is_some() {
            let problem = "it is visited twice at the same time, but remembers one state";
            return self.failed(at, &NodeError::fatal(problem));
        }
        let place = self.place(at.0, at.1);
        let until = self.given_up_at(at);
        self.note(|| Op::Open(OpenOp { at: place, inner: Arc::clone(&inner), until }));
        let Some(child) = self.open_scope(at, inner, program) else { return };
        self.set_until(at, until);
        self.turn(child, Turn::input());
        self.mark(child, Source::Input);
        self.tell_scope("checkpoint", child, json!({}));
        let place = self.place(child, 0);
        self.note(|| Op::Seed(place));
        match self.seed(child) {
            Ok(wrote) => {
                if let Some(task) = self.scopes.task_mut(child, 0) {
                    task.phase = Phase::Done(Done::default());
                }
                self.barrier_after(child, wrote);
            }
            Err(problem) => {
                self.close_scope(at);
                self.failed(at, &NodeError::fatal(problem));
            }
        }
    }

    /// The place of a graph in a node. Also when loading.
    pub(super) fn open_scope(
        &mut self,
        (ix, slot): (ScopeIx, Slot),
        ns: Arc<str>,
        program: &Program,
    ) -> Option<ScopeIx> {
        let settings = self.settings(ix, slot).subgraph?;
        let mut scope = match self.kept.remove(&ns) {
            Some(kept) => kept,
            None => Scope::new(program.plan(), ns),
        };
        scope.above = Some((ix, slot));
        let (memory, returns) = (settings.memory, settings.returns);
        scope.inside = Some(Inside { memory, returns, written: BTreeMap::new() });
        scope.stop = scope.step + i64::from(scope.steps_max(self.limit())) + 1;
        let child = self.scopes.add(scope);
        let task = self.scopes.task_mut(ix, slot)?;
        task.more().child = Some(child);
        self.set_phase((ix, slot), Phase::Inside);
        Some(child)
    }

    /// Hands the state above, or what the task was sent, to a graph that begins. Also when loading.
    pub(super) fn seed(&mut self, child: ScopeIx) -> Result<bool, String> {
        let Some((ix, slot)) = self.scopes.get(child).and_then(|scope| scope.above) else {
            return Ok(false);
        };
        let given = match (self.door((ix, slot)), self.around((ix, slot))) {
            (Some(door), Some(around)) => {
                Arc::new(door.enter(around).map_err(|error| error.message)?)
            }
            (_, Some(Around { sent: Some(arg), .. })) => Arc::new(crate::context::sent(arg)),
            (_, Some(_)) | (_, None) => {
                let Some(above) = self.scopes.get(ix) else { return Ok(false) };
                Arc::clone(&above.values)
            }
        };
        let Some(scope) = self.scopes.get_mut(child) else { return Ok(false) };
        let plan = Arc::clone(&scope.plan);
        let mut wrote = false;
        for (name, channel) in &plan.channels {
            let Some(value) = given.get(name) else { continue };
            let put = Put::Reduce(value.clone());
            let delta = channel.reducer.reduce(&plan.folds, scope.values.get(name), put).map_err(
                |problem| format!("its channel `{name}` cannot take the input: {problem}"),
            )?;
            scope.change(name, delta);
            wrote = true;
        }
        if let Some(inside) = &mut scope.inside {
            inside.written.clear();
        }
        Ok(wrote)
    }

    /// Nothing is left to do in a scope.
    pub(super) fn finished(&mut self, ix: ScopeIx) {
        let Some(scope) = self.scopes.get(ix) else { return };
        let Some(above) = scope.above else { return };
        let left = self.door(above).zip(self.around(above));
        let left = left.map(|(door, around)| door.leave(around, &scope.values));
        let puts = scope.given_back();
        let place = self.place(above.0, above.1);
        self.note(|| Op::Close(place));
        self.close_scope(above);
        match left {
            Some(Ok(puts)) => return self.finish(above, Done { puts, goto: Vec::new() }, false),
            Some(Err(error)) => return self.failed(above, &error),
            None => {}
        }
        let Some(plan) = self.plan(above.0) else { return };
        let puts = puts.into_iter().filter(|(name, _)| plan.channels.contains_key(name)).collect();
        self.done(above, Done { puts, goto: Vec::new() }, Value::Null);
    }

    /// Removes the graph in a task, and all in it. Also when loading.
    pub(super) fn close_scope(&mut self, (ix, slot): (ScopeIx, Slot)) {
        let Some(task) = self.scopes.task_mut(ix, slot) else { return };
        let Some(child) = task.more.as_mut().and_then(|more| more.child.take()) else { return };
        self.drop_tasks(child);
        if let Some(mut scope) = self.scopes.remove(child) {
            let memory = scope.inside.as_ref().map(|inside| inside.memory);
            if memory == Some(Memory::Thread) {
                scope.above = None;
                scope.halt = None;
                scope.set_tasks(Vec::new());
                self.kept.insert(Arc::clone(&scope.ns), scope);
            }
        }
    }

    /// What the tasks of a scope have open or inside goes with them.
    pub(super) fn drop_tasks(&mut self, ix: ScopeIx) {
        let slots = self.scopes.get(ix).map_or(0, |scope| scope.tasks.len());
        if slots > 1 || self.scopes.task(ix, 0).is_some_and(|task| task.more.is_some()) {
            for slot in 0..slots {
                self.close_scope((ix, slot));
            }
        }
        self.asking.retain(|(scope, _)| *scope != ix);
        self.timers.retain(|(_, scope, _)| *scope != ix);
    }

    /// A node says how the graph around its own goes on.
    pub(super) fn leave_subgraph(&mut self, (ix, slot): (ScopeIx, Slot), done: Done) {
        let Some(above) = self.scopes.get(ix).and_then(|scope| scope.above) else {
            let problem = "it spoke to the graph around its own, but there is none";
            return self.failed((ix, slot), &NodeError::fatal(problem));
        };
        let inner: Vec<_> =
            self.running_keys().filter(|key| self.is_within(key.scope, ix)).collect();
        for key in inner {
            self.abort(key);
        }
        self.withdraw_within(ix);
        let place = self.place(above.0, above.1);
        self.note(|| Op::Close(place));
        self.close_scope(above);
        self.finish(above, done, false);
    }

    pub(super) fn is_within(&self, mut ix: ScopeIx, outer: ScopeIx) -> bool {
        loop {
            if ix == outer {
                return true;
            }
            match self.scopes.get(ix).and_then(|scope| scope.above) {
                Some((above, _)) => ix = above,
                None => return false,
            }
        }
    }

    /// A graph in a node does not go on: nor does its node.
    pub(super) fn stuck(&mut self, ix: ScopeIx) {
        let Some(above) = self.scopes.get(ix).and_then(|scope| scope.above) else { return };
        let rests = |task: &Task| matches!(task.phase, Phase::Stuck | Phase::Backoff { .. });
        if self.scopes.task(above.0, above.1).is_none_or(rests) {
            return;
        }
        let failure = self.failure_within(ix);
        if failure.as_ref().is_some_and(|message| self.tried_again(ix, above, message)) {
            return;
        }
        let mended = failure.as_ref().and_then(|message| self.mended(above, message));
        if let Some(puts) = mended {
            self.leave_failed(ix, above);
            return self.done(above, Done { puts, goto: Vec::new() }, Value::Null);
        }
        if failure.is_some() {
            self.set_until(above, None);
        }
        let handler = self.plan(above.0).and_then(|plan| {
            let node = plan.node(self.scopes.task(above.0, above.1)?.node)?;
            Some((node.handler?, node.name.to_string()))
        });
        if let (Some(message), Some((handler, node))) = (failure, handler) {
            self.leave_failed(ix, above);
            return self.replace(above, handler, NodeFailure { node, message });
        }
        if self.asking.iter().any(|(scope, _)| self.is_within(*scope, ix)) {
            self.tell("task.interrupted", above, Value::Null);
        }
        self.came_to(above, Phase::Stuck);
        self.settled(above.0);
    }

    /// Closes a graph whose failure was made good. Another one that is left elsewhere counts then.
    fn leave_failed(&mut self, ix: ScopeIx, above: (ScopeIx, Slot)) {
        self.withdraw_within(ix);
        let place = self.place(above.0, above.1);
        self.note(|| Op::Close(place));
        self.close_scope(above);
        self.mend_but(|_| false);
    }

    fn failure_within(&self, ix: ScopeIx) -> Option<String> {
        let scope = self.scopes.get(ix)?;
        let reason = || self.run.as_ref()?.failed.as_ref().map(|failed| failed.message.clone());
        if matches!(scope.halt, Some(Halt::Steps | Halt::Conflict)) {
            return reason();
        }
        if let Some(failed) = scope.failed_node() {
            return Some(failed.message);
        }
        scope.tasks.iter().filter_map(Task::child).find_map(|inner| self.failure_within(inner))
    }

    /// What a task sees of the graphs that it is in.
    fn around(&self, (ix, slot): (ScopeIx, Slot)) -> Option<Around<'_>> {
        let scope = self.scopes.get(ix)?;
        let above = scope.above.and_then(|(ix, _)| self.scopes.get(ix));
        let sent = scope.tasks.get(slot)?.sent.as_ref();
        Some(Around {
            state: &scope.values,
            above: above.map(|scope| &*scope.values),
            sent: sent.map(|(_, arg)| &**arg),
        })
    }

    fn door(&self, (ix, slot): (ScopeIx, Slot)) -> Option<Arc<dyn Door>> {
        let scope = self.scopes.get(ix)?;
        match &scope.plan.node(scope.tasks.get(slot)?.node)?.work {
            Work::Graph(inner) => inner.door.clone(),
            Work::Node(_) | Work::Missing => None,
        }
    }

    /// What a failure of a graph in a node is to come to, if it is not to be one of the run.
    pub(super) fn mended(&self, at: (ScopeIx, Slot), message: &str) -> Option<Vec<(String, Put)>> {
        let door = self.door(at)?;
        door.mend(self.around(at)?, message)
    }

    /// Something goes on in a graph: so does the node around it.
    pub(super) fn wake(&mut self, mut ix: ScopeIx) {
        while let Some(above) = self.scopes.get(ix).and_then(|scope| scope.above) {
            if self.scopes.task(above.0, above.1).is_none_or(|task| task.phase != Phase::Stuck) {
                return;
            }
            self.came_to(above, Phase::Inside);
            ix = above.0;
        }
    }
}

impl Scope {
    pub(super) fn failed_node(&self) -> Option<Failed> {
        self.tasks.iter().find_map(|task| match &task.phase {
            Phase::Failed { message } => {
                let ns = self.ns.to_string();
                Some(Failed { ns, ..Failed::node(self.plan.name_of(task.node), message) })
            }
            _ => None,
        })
    }

    /// What a graph writes to the channels of the one around it.
    pub(super) fn given_back(&self) -> Vec<(String, Put)> {
        let Some(inside) = &self.inside else { return Vec::new() };
        let declared = |name: &&String| self.plan.channels.contains_key(*name);
        if inside.returns == Returns::Whole {
            let whole = self.values.iter().filter(|(name, _)| declared(name));
            return whole.map(|(name, value)| (name.clone(), Put::Reduce(value.clone()))).collect();
        }
        let added = inside.written.iter().filter(|(name, _)| declared(name));
        let put = |(name, given): (&String, &Given)| {
            let value = self.values.get(name)?;
            let reducer = self.plan.channels.get(name).map(|channel| &channel.reducer);
            let put = match (given, value) {
                (Given::Items(from), Value::Array(items)) => {
                    Put::Append(items.get(*from..)?.to_vec())
                }
                (Given::Number(from), Value::Number(now)) => Put::Reduce(difference(from, now)),
                (Given::Items(_) | Given::Number(_) | Given::Replaced, value) => match reducer {
                    Some(crate::graph::Reducer::Append) => Put::Overwrite(value.clone()),
                    _ => Put::Reduce(value.clone()),
                },
            };
            Some((name.clone(), put))
        };
        added.filter_map(put).collect()
    }
}

fn difference(from: &Value, now: &serde_json::Number) -> Value {
    let whole = from.as_i64().zip(now.as_i64()).and_then(|(from, now)| now.checked_sub(from));
    match whole {
        Some(whole) => whole.into(),
        None => (now.as_f64().unwrap_or_default() - from.as_f64().unwrap_or_default()).into(),
    }
}
