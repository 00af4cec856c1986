//! What people see of a thread: its state, what comes next, what is asked.

use agentry_core::run::Values;
use agentry_core::thread::{Checkpoint, Entry, Source};
use agentry_core::{CheckpointId, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};

use super::fold::Watch;
use super::scope::{Done, Phase, ROOT_IX, Scope, ScopeIx, Task};
use super::{Home, LoadError, Machine, Record};
use crate::ids::TaskId;
use crate::program::Program;
use crate::reducer::Put;

/// The state of one graph of a thread.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View {
    pub checkpoint: Option<CheckpointId>,
    pub source: Option<Source>,
    pub values: Values,
    /// The nodes that are still to run.
    pub next: Vec<String>,
    pub tasks: Vec<TaskView>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskView {
    pub id: String,
    pub name: String,
    pub error: Option<String>,
    pub interrupts: Vec<Question>,
    /// What it has written, when it is done.
    pub result: Option<Map<String, Value>>,
    /// The namespace of the graph inside it.
    pub inner: Option<String>,
}

/// What a task waits to be told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Question {
    pub id: String,
    pub value: Value,
    pub ns: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// How often nobody answered in time and it was handed on.
    #[serde(skip_serializing_if = "is_zero")]
    pub escalations: u32,
    /// Whom it was handed on to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl View {
    #[must_use]
    pub fn interrupts(&self) -> Vec<&Question> {
        self.tasks.iter().flat_map(|task| &task.interrupts).collect()
    }
}

/// A checkpoint as the history shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    pub checkpoint: Checkpoint,
    pub at: Timestamp,
    /// As it was then: whatever its tasks did later does not show.
    pub view: View,
}

impl Machine {
    /// How things stand: what finished tasks have written shows, though others of their superstep have not finished.
    #[must_use]
    pub fn view(&self, ns: &str) -> Option<View> {
        let ix = self.scopes.find(ns)?;
        let scope = self.scopes.get(ix)?;
        let mut view = self.view_of(ix, scope);
        view.values = scope.pending_values();
        view.next = names(scope, |task| !matches!(task.phase, Phase::Done(_) | Phase::Replaced))
            .unwrap_or_else(|| names(scope, |_| true).unwrap_or_default());
        Some(view)
    }

    /// The state without what is not complete yet.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.scopes.root().values
    }

    pub(crate) fn view_of(&self, ix: ScopeIx, scope: &Scope) -> View {
        let tasks = (0..scope.tasks.len()).filter_map(|slot| self.task_view(ix, slot));
        View {
            checkpoint: scope.checkpoint,
            source: scope.source,
            values: scope.values.as_ref().clone(),
            next: names(scope, |_| true).unwrap_or_default(),
            tasks: tasks.collect(),
        }
    }

    pub(crate) fn task_view(&self, ix: ScopeIx, slot: usize) -> Option<TaskView> {
        let scope = self.scopes.get(ix)?;
        let task = scope.tasks.get(slot).filter(|task| !task.is_gone())?;
        let (error, result) = match &task.phase {
            Phase::Failed { message } => (Some(message.clone()), None),
            Phase::Done(done) => (None, Some(update(&done.puts))),
            _ => (None, None),
        };
        let inner = task.child().and_then(|child| self.scopes.get(child));
        Some(TaskView {
            id: scope.task_id(slot)?.text(),
            name: scope.plan.name_of(task.node).to_owned(),
            error,
            interrupts: self.questions_in(ix, slot),
            result,
            inner: inner.map(|scope| scope.ns.to_string()),
        })
    }

    /// What a task asks, or the tasks of the graph inside it.
    pub(crate) fn questions_in(&self, ix: ScopeIx, slot: usize) -> Vec<Question> {
        let Some(scope) = self.scopes.get(ix) else { return Vec::new() };
        let Some(task) = scope.tasks.get(slot) else { return Vec::new() };
        if let Some(child) = task.child() {
            let slots = self.scopes.get(child).map_or(0, |scope| scope.tasks.len());
            return (0..slots).flat_map(|slot| self.questions_in(child, slot)).collect();
        }
        let asked = task.question().filter(|_| task.phase == Phase::Asking);
        let question = asked.map(|open| Question {
            id: open.interrupt.clone(),
            value: open.ask.question.clone().unwrap_or_default(),
            ns: scope.ns.to_string(),
            schema: open.ask.schema.clone(),
            deadline: open.deadline(),
            escalations: open.escalations,
            to: open.to().map(str::to_owned),
        });
        question.into_iter().collect()
    }
}

impl Machine {
    /// What all tasks are known by that are there, whether or not they are done.
    pub(crate) fn tasks(&self) -> Vec<TaskId> {
        let of = |scope: &Scope| {
            let slots = scope.tasks.iter().enumerate().filter(|(_, task)| !task.is_gone());
            slots.filter_map(|(slot, _)| scope.task_id(slot)).collect::<Vec<_>>()
        };
        self.scopes.all().flat_map(|(_, scope)| of(scope)).collect()
    }
}

/// For readers of the log.
impl Machine {
    pub(crate) fn find_scope(&self, ns: &str) -> Option<ScopeIx> {
        self.scopes.find(ns)
    }

    pub(crate) fn scope(&self, ix: ScopeIx) -> Option<&Scope> {
        self.scopes.get(ix)
    }

    pub(crate) fn asked(&self, ix: ScopeIx, slot: usize) -> Vec<Value> {
        let asked = self.questions_in(ix, slot).into_iter();
        asked.map(|one| serde_json::json!({ "value": one.value, "id": one.id })).collect()
    }
}

/// A task's writes as people know them.
pub(crate) fn update(puts: &[(String, Put)]) -> Map<String, Value> {
    puts.iter().map(|(name, put)| (name.clone(), put.shown())).collect()
}

/// What was sent first, then nodes by name. `None` when no task is left.
fn names(scope: &Scope, wanted: impl Fn(&Task) -> bool) -> Option<Vec<String>> {
    let there = |task: &&Task| !task.is_gone() && wanted(task);
    let (sent, pulled): (Vec<_>, Vec<_>) =
        scope.tasks.iter().filter(there).partition(|task| task.sent.is_some());
    let all: Vec<_> = sent
        .into_iter()
        .chain(pulled)
        .map(|task| scope.plan.name_of(task.node).to_owned())
        .collect();
    (!all.is_empty() || scope.tasks.is_empty()).then_some(all)
}

impl Scope {
    pub(crate) fn pending_values(&self) -> Values {
        let mut values = self.values.as_ref().clone();
        for task in &self.tasks {
            let Phase::Done(Done { puts, .. }) = &task.phase else { continue };
            for (name, put) in puts {
                let Some(channel) = self.plan.channels.get(name) else { continue };
                let reduced =
                    channel.reducer.reduce(&self.plan.folds, values.get(name), put.clone());
                // What contradicts itself shows nowhere.
                if self.halt == Some(super::scope::Halt::Conflict) || reduced.is_err() {
                    return self.values.as_ref().clone();
                }
                if let Ok(delta) = reduced {
                    delta.apply(&mut values, name.clone());
                }
            }
        }
        values
    }
}

/// All checkpoints of a thread's own graph, newest first. `entries` are all there are, oldest first.
pub fn history(
    program: &Program,
    home: Home,
    entries: &[Entry],
    ns: &str,
) -> Result<Vec<Moment>, LoadError> {
    let mut moments = Moments { ns, found: Vec::new(), seen: agentry_core::run::Seq(0) };
    let mut machine = Machine::new(program.clone(), home, Record::Nothing);
    for entry in entries {
        let middle = super::fold::back_to(entry);
        if entry.parent != machine.at || middle.is_some() {
            let line = line_to(entries, entry.parent);
            machine = Machine::new(program.clone(), home, Record::Nothing);
            machine.apply_all(&line, middle)?;
        }
        moments.seen = entry.seq;
        machine.make(entry, &mut moments)?;
    }
    moments.found.reverse();
    Ok(moments.found)
}

/// The way from the root to an entry.
#[must_use]
pub fn line_to(entries: &[Entry], mut to: agentry_core::run::Seq) -> Vec<&Entry> {
    let mut line = Vec::new();
    for entry in entries.iter().rev() {
        if entry.seq == to {
            line.push(entry);
            to = entry.parent;
        }
    }
    line.reverse();
    line
}

struct Moments<'a> {
    ns: &'a str,
    found: Vec<Moment>,
    seen: agentry_core::run::Seq,
}

impl Watch for Moments<'_> {
    fn moved(&mut self, _: &Machine, _: usize) {}

    fn marked(&mut self, machine: &Machine, entry: &Entry, checkpoint: &Checkpoint) -> bool {
        if checkpoint.ns == self.ns {
            let ix = machine.scopes.find(self.ns).unwrap_or(ROOT_IX);
            if let Some(scope) = machine.scopes.get(ix) {
                let view = machine.view_of(ix, scope);
                self.found.push(Moment { checkpoint: checkpoint.clone(), at: entry.at, view });
            }
        }
        true
    }
}
