//! What watchers are told, made from the log: the same again whenever it is read again.

use agentry_core::run::{Delta, Event};
use agentry_core::thread::{Checkpoint, Entry, Write};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::context::sent;
use crate::machine::fold::Watch;
use crate::machine::op::{At, Body, Op, TaskOp, Wrote};
use crate::machine::scope::{Phase, Scope, ScopeIx, Slot};
use crate::machine::view::update;
use crate::machine::{LoadError, Machine};

/// How a watcher wants to see a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The whole state after each step.
    Values,
    /// What each node has written.
    Updates,
    /// Pieces of messages as models say them.
    Messages,
    /// What nodes tell in their own words.
    Custom,
    /// Tasks that start, and what they come to.
    Tasks,
    Checkpoints,
    /// Tasks and checkpoints, with step and time.
    Debug,
}

/// One thing that a watcher is told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    pub mode: Mode,
    /// Where: the parts of the namespace, outermost first.
    pub ns: Vec<String>,
    pub data: Value,
}

/// Reads a thread's log along, entry by entry.
pub struct Reader {
    machine: Machine,
}

impl Reader {
    /// `machine` stands at the entry before the first one that will be read.
    #[must_use]
    pub fn new(machine: Machine) -> Self {
        Self { machine }
    }

    /// All parts of one entry, whatever the mode.
    pub fn read(&mut self, entry: &Entry, events: &[Event]) -> Result<Vec<Part>, LoadError> {
        let unreadable = |problem: String| LoadError::Unreadable { seq: entry.seq.0, problem };
        let Body::V1 { ops, .. } = Deserialize::deserialize(&entry.body)
            .map_err(|error: serde_json::Error| unreadable(error.to_string()))?;
        let mut telling = Telling { entry, ops, events, next: 0, parts: Vec::new() };
        self.machine.make(entry, &mut telling)?;
        Ok(telling.parts)
    }

    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }
}

struct Telling<'a> {
    entry: &'a Entry,
    ops: Vec<Op>,
    events: &'a [Event],
    next: usize,
    parts: Vec<Part>,
}

impl Watch for Telling<'_> {
    fn moved(&mut self, machine: &Machine, ops: usize) {
        while let Some(event) = self.events.get(self.next) {
            let at = event.detail.get("at").and_then(Value::as_u64).unwrap_or_default();
            if usize::try_from(at).is_ok_and(|at| at > ops) {
                break;
            }
            self.next += 1;
            self.tell(machine, event);
        }
    }

    fn marked(&mut self, _: &Machine, _: &Entry, _: &Checkpoint) -> bool {
        true
    }
}

impl Telling<'_> {
    fn tell(&mut self, machine: &Machine, event: &Event) {
        let detail = &event.detail;
        let ns = detail.get("ns").and_then(Value::as_str).unwrap_or_default();
        let slot = detail.get("slot").and_then(Value::as_u64).unwrap_or_default();
        let slot = usize::try_from(slot).unwrap_or_default();
        let Some(ix) = machine.find_scope(ns) else { return };
        let Some(scope) = machine.scope(ix) else { return };
        match event.kind.as_str() {
            "task.started" => {
                let task = started(machine, (ix, slot), scope);
                self.debug(event, scope.step, ("task", &task));
                self.push(Mode::Tasks, ns, task);
            }
            "task.finished" => self.finished(machine, (ix, slot), (event, ns)),
            "task.interrupted" => self.interrupted(machine, (ix, slot), (event, ns)),
            "task.failed" => {
                let error = detail.get("error").cloned().unwrap_or_default();
                let result = result(machine, (ix, slot), (error, Value::Null, Vec::new()));
                self.debug(event, scope.step, ("task_result", &result));
                self.push(Mode::Tasks, ns, result);
            }
            "state" => self.push(Mode::Values, ns, json!(*scope.values)),
            "state.pending" => self.push(Mode::Values, ns, json!(scope.pending_values())),
            "breakpoint" => self.push(Mode::Updates, "", json!({ "__interrupt__": [] })),
            "checkpoint" => {
                let checkpoint = checkpoint(machine, ix, scope);
                self.debug(event, scope.step - 1, ("checkpoint", &checkpoint));
                self.push(Mode::Checkpoints, ns, checkpoint);
            }
            "run.started" | "run.ending" | "run.ended" | "run.rests" | "conflict"
            | "task.retried" | "task.spent" | "task.answered" | "message.refused"
            | "interrupt.expired" => {}
            "interrupt.escalated" => {
                self.push(Mode::Custom, ns, json!({ "kind": event.kind, "detail": detail }));
            }
            kind => {
                let told = detail.get("detail").cloned().unwrap_or_default();
                match kind {
                    "custom" => self.push(Mode::Custom, ns, told),
                    "message" | "messages" => self.push(Mode::Messages, ns, told),
                    kind => self.push(Mode::Custom, ns, json!({ "kind": kind, "detail": told })),
                }
            }
        }
    }

    fn push(&mut self, mode: Mode, ns: &str, data: Value) {
        let ns = ns.split('|').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        self.parts.push(Part { mode, ns, data });
    }

    fn debug(&mut self, event: &Event, step: i64, (kind, payload): (&str, &Value)) {
        let ns = event.detail.get("ns").and_then(Value::as_str).unwrap_or_default();
        let data = json!({
            "type": kind, "step": step, "timestamp": event.at, "payload": payload,
        });
        self.push(Mode::Debug, ns, data);
    }

    fn finished(&mut self, machine: &Machine, at: (ScopeIx, Slot), (event, ns): (&Event, &str)) {
        let Some(scope) = machine.scope(at.0) else { return };
        let name = scope.named(at.1);
        let written = self.written(scope, ns, at.1);
        let shown = if written.is_empty() { Value::Null } else { written.clone().into() };
        if event.detail.get("cached").is_some() {
            let data = json!({ &*name: shown, "__metadata__": { "cached": true } });
            return self.push(Mode::Updates, ns, data);
        }
        self.push(Mode::Updates, ns, json!({ &*name: shown }));
        let result = result(machine, at, (Value::Null, written.into(), Vec::new()));
        self.debug(event, scope.step, ("task_result", &result));
        self.push(Mode::Tasks, ns, result);
    }

    /// What a task has written: in this entry, or in one before.
    fn written(&self, scope: &Scope, ns: &str, slot: Slot) -> Map<String, Value> {
        let mut from = 0;
        for op in &self.ops {
            match op {
                Op::Task(TaskOp { at, phase: Phase::Done(done), .. }) if here(at, ns, slot) => {
                    return update(&done.puts);
                }
                Op::Wrote(Wrote { at, n, raw }) if here(at, ns, slot) => {
                    let writes = self.entry.writes.iter().skip(from).take(*n);
                    let shown = |write: &Write| {
                        let raw = raw.get(&write.channel).cloned();
                        (write.channel.clone(), raw.unwrap_or_else(|| natural(&write.delta)))
                    };
                    let mut all: Map<String, Value> = writes.map(shown).collect();
                    let dropped = raw.iter().filter(|(name, _)| !all.contains_key(*name));
                    let dropped: Vec<_> = dropped.map(|(k, v)| (k.clone(), v.clone())).collect();
                    all.extend(dropped);
                    return all;
                }
                Op::Wrote(Wrote { n, .. }) | Op::Writes(n) => from += n,
                _ => {}
            }
        }
        match scope.tasks.get(slot).map(|task| &task.phase) {
            Some(Phase::Done(done)) => update(&done.puts),
            _ => Map::new(),
        }
    }

    fn interrupted(&mut self, machine: &Machine, at: (ScopeIx, Slot), (event, ns): (&Event, &str)) {
        let Some(scope) = machine.scope(at.0) else { return };
        let later = self.asked_later(machine, at, ns);
        let questions = if later.is_empty() { machine.asked(at.0, at.1) } else { later };
        let asked: Value = questions.into();
        self.push(Mode::Updates, ns, json!({ "__interrupt__": asked }));
        let mut values = json!(*scope.values);
        if let Value::Object(values) = &mut values {
            values.insert("__interrupt__".to_owned(), asked.clone());
        }
        self.push(Mode::Values, ns, values);
        let asked = asked.as_array().cloned().unwrap_or_default();
        let result = result(machine, at, (Value::Null, Value::Null, asked));
        self.debug(event, scope.step, ("task_result", &result));
        self.push(Mode::Tasks, ns, result);
    }

    /// The question that a task's next move in this entry opens.
    fn asked_later(&self, machine: &Machine, at: (ScopeIx, Slot), ns: &str) -> Vec<Value> {
        if machine.scope(at.0).and_then(|scope| scope.tasks.get(at.1)?.child()).is_some() {
            return Vec::new();
        }
        let found = self.ops.iter().find_map(|op| match op {
            Op::Task(TaskOp { at: place, phase: Phase::Asking, more }) if here(place, ns, at.1) => {
                more.as_ref().and_then(|more| more.open.clone())
            }
            _ => None,
        });
        let question = found.map(
            |open| json!({ "value": open.ask.question.unwrap_or_default(), "id": open.interrupt }),
        );
        question.into_iter().collect()
    }
}

fn here(at: &At, ns: &str, slot: Slot) -> bool {
    &*at.ns == ns && at.slot == slot
}

fn natural(delta: &Delta) -> Value {
    match delta {
        Delta::Set(value) => value.clone(),
        Delta::Append(items) => Value::Array(items.clone()),
        Delta::Merge(members) => Value::Object(members.clone()),
    }
}

fn started(machine: &Machine, at: (ScopeIx, Slot), scope: &Scope) -> Value {
    let view = machine.task_view(at.0, at.1);
    let task = scope.tasks.get(at.1);
    let (input, triggers) = match task.and_then(|task| task.sent.as_ref()) {
        Some((_, arg)) => (json!(sent(arg)), vec!["__pregel_push".to_owned()]),
        None => {
            (json!(*scope.values), task.map(|it| scope.plan.triggers(it.node)).unwrap_or_default())
        }
    };
    json!({
        "id": view.as_ref().map(|view| &view.id), "name": view.as_ref().map(|view| &view.name),
        "input": input, "triggers": triggers,
    })
}

fn result(
    machine: &Machine,
    at: (ScopeIx, Slot),
    (error, result, interrupts): (Value, Value, Vec<Value>),
) -> Value {
    let view = machine.task_view(at.0, at.1);
    json!({
        "id": view.as_ref().map(|view| &view.id), "name": view.as_ref().map(|view| &view.name),
        "error": error, "result": result, "interrupts": interrupts,
    })
}

fn checkpoint(machine: &Machine, ix: ScopeIx, scope: &Scope) -> Value {
    let view = machine.view_of(ix, scope);
    json!({
        "checkpoint_id": view.checkpoint, "checkpoint_ns": &*scope.ns,
        "metadata": { "step": scope.step - 1, "source": view.source },
        "values": view.values, "next": view.next, "tasks": view.tasks,
    })
}
