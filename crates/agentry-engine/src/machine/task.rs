//! What becomes of one task: done, asking, tried again, failed.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::meter::Metered;
use agentry_core::run::{Closing, Event};
use agentry_core::thread::Interrupt;
use serde_json::{Value, json};

use super::rest::{Failed, Rests};
use super::scope::{Done, Open, Phase, ROOT_IX, Running, ScopeIx, Slot, Task};
use super::start::{Action, Came, Ended, Key};
use super::turn::Turn;
use super::{Ending, GRACE, Machine};
use crate::context::NodeFailure;
use crate::graph::{Pace, Siblings};
use crate::node::{Again, Ask, Goto, NodeError, NodeOutput, OnMessage, Then};
use crate::plan::{START_IX, Way};
use crate::reducer::{Put, Reducer};

impl Machine {
    pub(super) fn ended(&mut self, ended: Ended) {
        let Ended { key: Key { scope, slot, turn }, came, told, spent } = ended;
        let at = (scope, slot);
        let Some(task) = self.scopes.task_mut(scope, slot) else { return };
        // It was aborted, and its result crossed the decision.
        let Some(running) = task.running.take_if(|running| running.turn == turn) else { return };
        self.running -= 1;
        if let Some(deadline) = running.deadline {
            self.timers.remove(&(deadline, scope, slot));
        }
        for (kind, detail) in told {
            self.say(at, kind, detail);
        }
        if spent != Metered::default() {
            self.tell("task.spent", at, json!(spent));
        }
        match came {
            Came::Failed(error) => self.failed(at, &error),
            Came::Interrupted(ask) => self.asks(at, (ask, true), &running),
            Came::Output(output) => self.output(at, (output, false), &running),
            Came::Cached(output) => self.output(at, (output, true), &running),
        }
    }

    fn output(
        &mut self,
        at: (ScopeIx, Slot),
        (output, cached): (NodeOutput, bool),
        running: &Running,
    ) {
        let NodeOutput { then, events, audit, goto, to_parent } = output;
        self.trace.audit.extend(audit);
        for (kind, detail) in events {
            self.say(at, kind, detail);
        }
        match then {
            Then::Ask(ask) => self.asks(at, (ask, false), running),
            Then::Update(puts) if to_parent => self.leave_subgraph(at, Done { puts, goto }),
            Then::Update(puts) => self.finish(at, Done { puts, goto }, cached),
        }
    }

    /// What a node told, in its own words.
    fn say(&mut self, (ix, slot): (ScopeIx, Slot), kind: String, detail: Value) {
        if !self.is_recorded() {
            return;
        }
        let node = self.scopes.get(ix).map(|scope| scope.named(slot));
        let at = self.trace.ops.len();
        let detail = json!({
            "ns": &*self.ns(ix), "node": node, "slot": slot, "at": at, "detail": detail,
        });
        self.trace.events.push(Event { at: self.now, kind, detail });
    }

    /// A node has done its work, unless what it wrote cannot be.
    pub(super) fn finish(&mut self, at: (ScopeIx, Slot), mut done: Done, cached: bool) {
        if let Err(problem) = self.accept(at, &mut done) {
            return self.failed(at, &NodeError::fatal(problem));
        }
        self.close(at, Closing::Withdrawn);
        let detail = if cached { json!({ "cached": true }) } else { Value::Null };
        self.done(at, done, detail);
    }

    /// A task's writes wait for its siblings, if there are any.
    pub(super) fn done(&mut self, (ix, slot): (ScopeIx, Slot), done: Done, detail: Value) {
        self.tell("task.finished", (ix, slot), detail);
        self.set_phase((ix, slot), Phase::Done(done));
        let Some(scope) = self.scopes.get(ix) else { return };
        if scope.plan.pace == Pace::Free {
            return self.pass(ix, slot);
        }
        if scope.open > 0 {
            self.fresh.push((ix, slot));
        }
        self.settled(ix);
    }

    fn accept(&self, (ix, slot): (ScopeIx, Slot), done: &mut Done) -> Result<(), String> {
        let Some(scope) = self.scopes.get(ix) else { return Ok(()) };
        let plan = &scope.plan;
        for goto in &done.goto {
            let known = match goto {
                Goto::Node(_) => Way::of(plan, goto.clone()).map(|_| ()),
                Goto::Send { node, .. } => Way::of(plan, Goto::node(node)).map(|_| ()),
            };
            known.map_err(|error| error.message)?;
        }
        if done.puts.len() > 1 {
            // Of several writes to a channel that takes one, the last counts.
            let exclusive = |name: &str| {
                plan.channels.get(name).is_some_and(|channel| channel.reducer.is_exclusive())
            };
            let mut seen = std::collections::HashSet::new();
            let mut kept: Vec<_> = std::mem::take(&mut done.puts);
            kept.reverse();
            kept.retain(|(name, _)| !exclusive(name) || seen.insert(name.clone()));
            kept.reverse();
            done.puts = kept;
        }
        for (index, (name, put)) in done.puts.iter_mut().enumerate() {
            let Some(channel) = plan.channels.get(name) else {
                return Err(format!("it wrote to `{name}`, which the graph does not declare"));
            };
            match &channel.reducer {
                Reducer::Last | Reducer::Custom(_) => {}
                Reducer::Messages => {
                    if let Some(id) = scope.task_id(slot) {
                        name_messages(put, &|number| id.message(index, number));
                    }
                }
                reducer @ (Reducer::Append | Reducer::Sum | Reducer::Max | Reducer::Merge) => {
                    let fits = reducer.fits(put);
                    fits.map_err(|problem| format!("it wrote to `{name}`: {problem}"))?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn failed(&mut self, (ix, slot): (ScopeIx, Slot), error: &NodeError) {
        let settings = self.settings(ix, slot);
        let now = self.now;
        let jitter = self.jitter((ix, slot), settings.jitter_ms);
        let Some(scope) = self.scopes.get_mut(ix) else { return };
        let plan = Arc::clone(&scope.plan);
        let Some(task) = scope.tasks.get_mut(slot) else { return };
        let (node, more) = (task.node, task.more());
        more.failures += 1;
        let failures = more.failures;
        let pause = settings.backoff(failures) + jitter;
        let pause = match error.again {
            Again::Never | Again::Answered => None,
            Again::Backoff => Some(pause),
            Again::AfterMs(ms) => Some(pause.max(Duration::from_millis(ms))),
        };
        let detail = json!({ "attempt": failures, "error": error.message });
        if let Some(pause) = pause.filter(|_| failures < settings.attempts_max) {
            self.tell("task.retried", (ix, slot), detail);
            let until = now.plus(pause);
            return self.came_to((ix, slot), Phase::Backoff { until });
        }
        if let Some(puts) = self.mended((ix, slot), &error.message) {
            return self.done((ix, slot), Done { puts, goto: Vec::new() }, Value::Null);
        }
        self.tell("task.failed", (ix, slot), detail);
        self.close((ix, slot), Closing::Withdrawn);
        if let Some(handler) = plan.node(node).and_then(|node| node.handler) {
            let failure =
                NodeFailure { node: plan.name_of(node).to_owned(), message: error.message.clone() };
            return self.replace((ix, slot), handler, failure);
        }
        let name = plan.name_of(node);
        let ns = self.ns(ix).to_string();
        self.fail(Failed { ns, ..Failed::node(name, &error.message) });
        if plan.siblings == Siblings::Cancel {
            let rests = self.run.as_ref().and_then(|run| run.failed.clone());
            rests.into_iter().for_each(|failed| self.end_with(Rests::Failed(failed)));
        }
        self.came_to((ix, slot), Phase::Failed { message: error.message.clone() });
        self.settled(ix);
    }

    /// Lets another node run in the place of one that has failed.
    pub(super) fn replace(
        &mut self,
        (ix, slot): (ScopeIx, Slot),
        handler: u32,
        failure: NodeFailure,
    ) {
        self.turn(ix, Turn { tasks: vec![Task::new(handler)], add: true, ..Turn::default() });
        self.came_to((ix, slot), Phase::Replaced);
        let Some(scope) = self.scopes.get_mut(ix) else { return };
        let place = scope.tasks.len() - 1;
        if let Some(task) = scope.tasks.get_mut(place) {
            task.more().failure = Some(failure);
        }
        self.note_task(ix, place);
        self.ready.push((ix, place));
    }

    /// Up to `most` milliseconds: the same again for the same attempt.
    pub(super) fn jitter(&self, (ix, slot): (ScopeIx, Slot), most: u64) -> Duration {
        if most == 0 {
            return Duration::ZERO;
        }
        let id = self.scopes.get(ix).and_then(|scope| scope.task_id(slot));
        let failures = self.scopes.task(ix, slot).and_then(|task| task.more.as_ref());
        let number = failures.map_or(0, |more| more.failures);
        let spread = id.map_or(0, |id| id.spread(number));
        Duration::from_millis(spread % (most + 1))
    }

    fn asks(&mut self, at: (ScopeIx, Slot), (ask, by_order): (Ask, bool), running: &Running) {
        let folded = self.folded;
        let stands = self.can_stand(at.0, &ask);
        let Some(task) = self.scopes.task_mut(at.0, at.1) else { return };
        let more = task.more();
        if let Err(problem) = stands.and_then(|()| more.accepts(running, (&ask, by_order))) {
            return self.failed(at, &NodeError::fatal(problem));
        }
        // The answer may have come, or a message been folded in, while the task ran without seeing it.
        let missed = ask.on_message == OnMessage::Rerun && running.folded < folded;
        let answered = more.heard() > running.replies;
        if more.open.as_ref().is_some_and(|open| open.ask == ask) {
            // It stands already.
        } else if answered && more.replies.contains_key(&ask.id) && !by_order {
            return self.again(at);
        } else if !(answered && by_order) {
            self.close(at, Closing::Replaced);
            self.open(at, ask, by_order);
        }
        if missed || (answered && by_order) {
            return self.again(at);
        }
        self.tell("task.interrupted", at, Value::Null);
        self.came_to(at, Phase::Asking);
        self.settled(at.0);
    }

    /// Runs a task once more.
    pub(super) fn again(&mut self, at: (ScopeIx, Slot)) {
        self.came_to(at, Phase::Ready);
        self.ready.push(at);
        self.wake(at.0);
    }

    fn open(&mut self, (ix, slot): (ScopeIx, Slot), ask: Ask, by_order: bool) {
        let Some(id) = self.scopes.get(ix).and_then(|scope| scope.task_id(slot)) else { return };
        let Some(run) = self.run.as_ref().map(|run| run.op.id) else { return };
        let Some(task) = self.scopes.task_mut(ix, slot) else { return };
        let more = task.more();
        let interrupt = id.question(more.asked);
        more.asked += 1;
        more.open = Some(Open::new(interrupt.clone(), ask.clone(), by_order));
        let Ask { question, deadline, on_timeout, schema, .. } = ask;
        if self.is_recorded() {
            self.trace.opened.push(Interrupt {
                thread: self.home.thread,
                run,
                id: interrupt,
                ns: id.ns.to_string(),
                node: id.node.to_string(),
                question,
                schema,
                opened: self.now,
                deadline,
                on_timeout,
                escalations: 0,
                answer: None,
            });
        }
    }

    /// The run is to end: tasks that run are told, and dropped when they do not end in time.
    pub(super) fn end_with(&mut self, rests: Rests) {
        let until = self.now.plus(GRACE);
        let Some(run) = &mut self.run else { return };
        if run.ending.is_some() {
            return;
        }
        let (status, reason) = rests.run();
        run.ending = Some(Ending { rests, until });
        let keys: Vec<_> = self.running_keys().collect();
        if !keys.is_empty() && self.is_recorded() {
            let detail = json!({ "status": status, "reason": reason, "until": until });
            self.tell_scope("run.ending", ROOT_IX, detail);
            self.trace.urgent = true;
        }
        self.actions.extend(keys.into_iter().map(Action::Cancel));
    }

    pub(super) fn running_keys(&self) -> impl Iterator<Item = Key> {
        self.scopes.all().flat_map(|(ix, scope)| {
            scope.tasks.iter().enumerate().filter_map(move |(slot, task)| {
                let turn = task.running.as_ref()?.turn;
                Some(Key { scope: ix, slot, turn })
            })
        })
    }

    /// Drops what still runs after the grace.
    pub(super) fn cut_short(&mut self) {
        let until = self.run.as_ref().and_then(|run| run.ending.as_ref()).map(|it| it.until);
        if self.running == 0 || until.is_none_or(|until| until > self.now) {
            return;
        }
        let keys: Vec<_> = self.running_keys().collect();
        for key in keys {
            self.abort(key);
        }
    }

    pub(super) fn abort(&mut self, key: Key) {
        if let Some(task) = self.scopes.task_mut(key.scope, key.slot)
            && let Some(running) = task.running.take()
        {
            self.running -= 1;
            if let Some(deadline) = running.deadline {
                self.timers.remove(&(deadline, key.scope, key.slot));
            }
            self.actions.push(Action::Abort(key));
        }
    }

    /// Ends a superstep of one node, in a graph without supersteps.
    fn pass(&mut self, ix: ScopeIx, slot: Slot) {
        let start = self.scopes.task(ix, slot).is_some_and(|task| task.node == START_IX);
        if start { self.barrier(ix) } else { self.pass_one(ix, slot) }
    }
}

/// Messages without an id get one, which stays theirs.
fn name_messages(put: &mut Put, id: &dyn Fn(usize) -> String) {
    let items: &mut [Value] = match put {
        Put::Append(items) | Put::Reduce(Value::Array(items)) | Put::Set(Value::Array(items)) => {
            items
        }
        Put::Reduce(one) | Put::Set(one) => std::slice::from_mut(one),
        Put::Overwrite(_) => return,
    };
    for (number, message) in items.iter_mut().enumerate() {
        if let Value::String(text) = message {
            *message = json!({ "type": "human", "content": std::mem::take(text) });
        }
        if let Value::Object(message) = message
            && message.get("id").is_none_or(Value::is_null)
        {
            message.insert("id".to_owned(), id(number).into());
        }
    }
}
