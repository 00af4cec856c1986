//! A thread whole, so that its older entries need not be read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agentry_core::CheckpointId;
use agentry_core::run::Values;
use agentry_core::thread::{Snapshot, Source};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::op::{At, Planned, RunOp};
use super::rest::{Failed, StoredFailed};
use super::scope::{Born, Given, Halt, Inside, Last, More, Phase, ROOT_IX, Scope, ScopeIx, Task};
use super::{Current, Home, LoadError, Machine, Record};
use crate::graph::{Memory, Returns};
use crate::plan::{INPUT, Plan, START_IX, Work};
use crate::program::Program;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "version")]
enum Stored {
    #[serde(rename = "1")]
    V1(Image),
}

#[derive(Debug, Serialize, Deserialize)]
struct Image {
    /// Outer ones before inner ones.
    scopes: Vec<ScopeImage>,
    kept: Vec<ScopeImage>,
    run: Option<RunOp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed: Option<StoredFailed>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ScopeImage {
    ns: Arc<str>,
    above: Option<At>,
    inside: Option<(Memory, Returns, BTreeMap<String, Given>)>,
    step: i64,
    stop: i64,
    tasks: Vec<TaskImage>,
    arrived: BTreeMap<String, Vec<String>>,
    deferred: Vec<String>,
    last: LastImage,
    checkpoint: Option<CheckpointId>,
    source: Option<Source>,
    halt: Option<Halt>,
    passed: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LastImage {
    Nobody,
    Start,
    Node(String),
    Several,
}

#[derive(Debug, Serialize, Deserialize)]
struct TaskImage {
    planned: Planned,
    index: Option<u32>,
    phase: Phase,
    more: Option<More>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    born: Option<Born>,
}

impl Machine {
    /// The thread as it stands at its last entry.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut states: BTreeMap<String, Values> = BTreeMap::new();
        let mut scopes = Vec::new();
        for (_, scope) in self.scopes.all() {
            states.insert(scope.ns.to_string(), scope.values.as_ref().clone());
            let above = scope.above.map(|(ix, slot)| self.place(ix, slot));
            scopes.push(scope.to_image(above));
        }
        scopes
            .sort_by_key(|image| image.ns.matches('|').count() + usize::from(!image.ns.is_empty()));
        let kept = self.kept.values().map(|scope| {
            states.insert(scope.ns.to_string(), scope.values.as_ref().clone());
            scope.to_image(None)
        });
        let kept = kept.collect();
        let run = self.run.as_ref().map(|run| run.op.clone());
        let failed = self.run.as_ref().and_then(|run| run.failed.as_ref()).map(Failed::to_stored);
        let image = Stored::V1(Image { scopes, kept, run, failed });
        Snapshot { seq: self.at, states, body: serde_json::to_value(image).unwrap_or_default() }
    }

    pub(super) fn from_snapshot(
        program: Program,
        home: Home,
        record: Record,
        snapshot: &Snapshot,
    ) -> Result<Self, LoadError> {
        let seq = snapshot.seq.0;
        let Stored::V1(image) = Stored::deserialize(&snapshot.body)
            .map_err(|error| LoadError::Unreadable { seq, problem: error.to_string() })?;
        let foreign = |name: String| LoadError::Foreign { seq, name };
        let Image { scopes, kept, run, failed } = image;
        let mut machine = Self::new(program, home, record);
        machine.at = snapshot.seq;
        let failed = failed.map(Failed::from_stored);
        machine.run = run.map(|op| Current { op, deadline: None, ending: None, failed });
        for image in scopes {
            machine.restore(image, snapshot).map_err(foreign)?;
        }
        for image in kept {
            let plan = machine.plan_of(&image.ns).ok_or_else(|| foreign(image.ns.to_string()))?;
            let scope = image.into_scope(&plan, snapshot).map_err(foreign)?;
            machine.kept.insert(Arc::clone(&scope.ns), scope);
        }
        Ok(machine)
    }

    fn restore(&mut self, image: ScopeImage, snapshot: &Snapshot) -> Result<(), String> {
        let above = image.above.clone();
        let Some(above) = above else {
            let plan = Arc::clone(self.program.plan());
            *self.scopes.root_mut() = image.into_scope(&plan, snapshot)?;
            self.register(ROOT_IX);
            return Ok(());
        };
        let ns = image.ns.to_string();
        let ix = self.scopes.find(&above.ns).ok_or_else(|| ns.clone())?;
        let plan = self.scopes.get(ix).and_then(|scope| {
            let node = scope.plan.node(scope.tasks.get(above.slot)?.node)?;
            inner_plan(&node.work)
        });
        let mut scope = image.into_scope(&plan.ok_or(ns)?, snapshot)?;
        scope.above = Some((ix, above.slot));
        let child = self.scopes.add(scope);
        if let Some(task) = self.scopes.task_mut(ix, above.slot) {
            task.more().child = Some(child);
        }
        self.register(child);
        Ok(())
    }

    /// Timers and questions of a scope that was restored.
    fn register(&mut self, ix: ScopeIx) {
        let slots = self.scopes.get(ix).map_or(0, |scope| scope.tasks.len());
        for slot in 0..slots {
            if let Some(task) = self.scopes.task_mut(ix, slot) {
                let phase = std::mem::replace(&mut task.phase, Phase::Ready);
                let counts = self.scopes.get(ix).map(|scope| (scope.active, scope.open));
                self.set_phase((ix, slot), phase);
                if let (Some(scope), Some(counts)) = (self.scopes.get_mut(ix), counts) {
                    (scope.active, scope.open) = counts;
                }
            }
        }
    }

    /// The plan of a graph that remembers, by its namespace: the names of the nodes it is in.
    fn plan_of(&self, ns: &str) -> Option<Arc<Plan>> {
        let mut plan = Arc::clone(self.program.plan());
        for part in ns.split('|') {
            let name = part.split(':').next()?;
            let ix = plan.find(name)?;
            let inner = inner_plan(&plan.node(ix)?.work)?;
            plan = inner;
        }
        Some(plan)
    }
}

fn inner_plan(work: &Work) -> Option<Arc<Plan>> {
    match work {
        Work::Graph(inner) => Some(Arc::clone(inner.program.plan())),
        Work::Node(_) | Work::Missing => None,
    }
}

impl Scope {
    fn to_image(&self, above: Option<At>) -> ScopeImage {
        let plan = &self.plan;
        let name = |ix: &u32| plan.name_of(*ix).to_owned();
        let join =
            |number: &u32| plan.join(*number).map_or(String::new(), |join| join.name.clone());
        let task = |task: &Task| TaskImage {
            planned: match &task.sent {
                None => Planned::Node(name(&task.node)),
                Some((_, arg)) => Planned::Sent { node: name(&task.node), arg: Arc::clone(arg) },
            },
            index: task.sent.as_ref().map(|(index, _)| *index),
            phase: task.phase.clone(),
            more: task.more.as_deref().filter(|more| **more != More::default()).cloned(),
            born: task.born.as_deref().copied(),
        };
        let arrived = self.arrived.iter();
        ScopeImage {
            ns: Arc::clone(&self.ns),
            above,
            inside: self
                .inside
                .as_ref()
                .map(|inside| (inside.memory, inside.returns, inside.written.clone())),
            step: self.step,
            stop: self.stop,
            tasks: self.tasks.iter().map(task).collect(),
            arrived: arrived
                .map(|(to, from)| (join(to), from.iter().map(name).collect()))
                .collect(),
            deferred: self.deferred.iter().map(name).collect(),
            last: match &self.last {
                Last::Nobody => LastImage::Nobody,
                Last::Start => LastImage::Start,
                Last::Node(ix) => LastImage::Node(name(ix)),
                Last::Several => LastImage::Several,
            },
            checkpoint: self.checkpoint,
            source: self.source,
            halt: self.halt,
            passed: self.passed,
        }
    }
}

impl ScopeImage {
    fn into_scope(self, plan: &Arc<Plan>, snapshot: &Snapshot) -> Result<Scope, String> {
        let node = |name: String| match plan.find(&name) {
            Some(ix) => Ok(ix),
            None if name == INPUT => Ok(START_IX),
            None => Err(name),
        };
        let mut scope = Scope::new(plan, Arc::clone(&self.ns));
        if let Some(values) = snapshot.states.get(&*self.ns) {
            scope.values = Arc::new(values.clone());
        }
        for TaskImage { planned, index, phase, more, born } in self.tasks {
            let task = match planned {
                Planned::Node(name) => Task::new(node(name)?),
                Planned::Sent { node: name, arg } => {
                    Task::sent(node(name)?, index.unwrap_or_default(), arg)
                }
            };
            let (more, born) = (more.map(Box::new), born.map(Box::new));
            scope.tasks.push(Task { phase, more, born, ..task });
        }
        for (join, from) in self.arrived {
            let number = plan.find_join(&join).ok_or(join)?;
            let from = from.into_iter().map(node).collect::<Result<BTreeSet<_>, _>>()?;
            scope.arrived.insert(number, from);
        }
        scope.deferred = self.deferred.into_iter().map(node).collect::<Result<_, _>>()?;
        scope.last = match self.last {
            LastImage::Nobody => Last::Nobody,
            LastImage::Start => Last::Start,
            LastImage::Node(name) => Last::Node(node(name)?),
            LastImage::Several => Last::Several,
        };
        scope.inside =
            self.inside.map(|(memory, returns, written)| Inside { memory, returns, written });
        (scope.step, scope.stop) = (self.step, self.stop);
        (scope.checkpoint, scope.source) = (self.checkpoint, self.source);
        (scope.halt, scope.passed) = (self.halt, self.passed);
        scope.open = scope.tasks.iter().filter(|task| !task.is_settled()).count();
        let active = scope.tasks.iter().filter(|task| task.is_active()).count();
        scope.active = if scope.halt.is_some() { 0 } else { active };
        Ok(scope)
    }
}

/// For comparing what was loaded with what was in memory.
impl Machine {
    /// Everything that a loaded machine must have as the one that stored it.
    #[must_use]
    pub fn image(&self) -> Value {
        serde_json::to_value(self.snapshot()).unwrap_or_default()
    }
}
