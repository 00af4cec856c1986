//! One graph that is under way: a thread's own, or one inside a node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agentry_core::run::{Delta, Values};
use agentry_core::thread::Source;
use agentry_core::{CheckpointId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::NodeFailure;
use crate::graph::{Memory, Pace, Returns};
use crate::ids::TaskId;
use crate::node::{Ask, Goto, Reply};
use crate::plan::{NodeIx, Plan, START_IX};
use crate::reducer::{Put, Reducer};

/// A scope's place in [`Scopes`].
pub(crate) type ScopeIx = usize;
/// A task's place in its superstep.
pub(crate) type Slot = usize;

/// The place of a thread's own graph.
pub(crate) const ROOT_IX: ScopeIx = 0;

pub(crate) struct Scope {
    pub plan: Arc<Plan>,
    pub ns: Arc<str>,
    /// The task that this graph runs in.
    pub above: Option<(ScopeIx, Slot)>,
    pub inside: Option<Inside>,
    pub values: Arc<Values>,
    /// What the next checkpoint is numbered.
    pub step: i64,
    /// A superstep with a higher number is not begun in this run.
    pub stop: i64,
    pub tasks: Vec<Task>,
    /// Tasks that are ready, run, or wait for another attempt.
    pub active: usize,
    /// Tasks that neither are done nor were replaced.
    pub open: usize,
    /// By join: who has arrived.
    pub arrived: BTreeMap<u32, BTreeSet<NodeIx>>,
    /// Deferred nodes that an edge has led to.
    pub deferred: BTreeSet<NodeIx>,
    pub last: Last,
    pub checkpoint: Option<CheckpointId>,
    pub source: Option<Source>,
    pub halt: Option<Halt>,
    /// The run goes on past the breakpoint before the tasks that are there.
    pub passed: bool,
}

/// What a scope is to the one above it.
pub(crate) struct Inside {
    pub memory: Memory,
    pub returns: Returns,
    /// Channels written since the visit began, with what was there then where that is needed.
    pub written: BTreeMap<String, Given>,
}

/// What a visit has found in a channel and added to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Given {
    /// Items of a list that were there.
    Items(usize),
    Number(Value),
    /// Replaced, or not of a kind that adds up.
    Replaced,
}

/// Who ran in the superstep before, for an update that does not say whose it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Last {
    #[default]
    Nobody,
    Start,
    Node(NodeIx),
    Several,
}

/// Why a scope does not go on though it could.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Halt {
    /// At a breakpoint.
    Breakpoint,
    /// It has taken all the supersteps that it may.
    Steps,
    /// What its tasks have written cannot be put together, or it is not known where to go.
    Conflict,
}

#[derive(Debug)]
pub(crate) struct Task {
    pub node: NodeIx,
    /// What it was sent, and its number among those that were sent.
    pub sent: Option<(u32, Arc<Value>)>,
    pub phase: Phase,
    pub running: Option<Running>,
    pub more: Option<Box<More>>,
    /// Where it was planned, in a graph without supersteps: others move the checkpoint on while it runs.
    pub born: Option<Box<Born>>,
}

/// The checkpoint that a task was planned at, and the number of the one that was to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Born(pub CheckpointId, pub i64);

/// What few tasks have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct More {
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// How many interrupts it has opened: part of their ids.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub asked: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replies: BTreeMap<String, Reply>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Open>,
    /// The failure in whose place it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<NodeFailure>,
    /// Its node had this name when it was planned: what it has done outside is known by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_as: Option<Arc<str>>,
    /// When the graph in it is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    #[serde(skip)]
    pub child: Option<ScopeIx>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "is")]
pub(crate) enum Phase {
    /// To be run, or running.
    Ready,
    Backoff {
        until: Timestamp,
    },
    Asking,
    /// A graph runs in it.
    Inside,
    /// That graph waits for answers or stopped at a breakpoint.
    Stuck,
    Failed {
        message: String,
    },
    /// It has failed, and another node has taken its place.
    Replaced,
    /// Its writes wait for its siblings.
    Done(Done),
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub puts: Vec<(String, Put)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub goto: Vec<Goto>,
}

/// A question that stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Open {
    pub interrupt: String,
    pub ask: Ask,
    /// The answer is found by the order of asking, not by the ask's id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_order: bool,
    /// How often the question was handed on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub escalations: u32,
    /// The deadline of whoever has it now, when it was handed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Open {
    pub(crate) fn new(interrupt: String, ask: Ask, by_order: bool) -> Self {
        Self { interrupt, ask, by_order, escalations: 0, until: None }
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.until.or(self.ask.deadline)
    }

    /// Whom it was handed on to.
    pub(crate) fn to(&self) -> Option<&str> {
        let last = usize::try_from(self.escalations.checked_sub(1)?).ok()?;
        self.ask.escalate.get(last).map(|link| link.to.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    pub turn: u64,
    pub deadline: Option<Timestamp>,
    /// How many messages had been folded in when it began.
    pub folded: u64,
    /// The replies that it was shown.
    pub replies: usize,
}

impl More {
    /// How much it has been answered.
    pub(crate) fn heard(&self) -> usize {
        self.replies.len() + self.answers.len()
    }
}

impl Task {
    pub(crate) fn new(node: NodeIx) -> Self {
        Self { node, sent: None, phase: Phase::Ready, running: None, more: None, born: None }
    }

    pub(crate) fn sent(node: NodeIx, index: u32, arg: Arc<Value>) -> Self {
        Self { sent: Some((index, arg)), ..Self::new(node) }
    }

    /// A place where no task is any more.
    pub(crate) fn gone() -> Self {
        Self { phase: Phase::Replaced, ..Self::new(START_IX) }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.phase == Phase::Replaced && self.node == START_IX
    }

    pub(crate) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    pub(crate) fn question(&self) -> Option<&Open> {
        self.more.as_ref().and_then(|more| more.open.as_ref())
    }

    pub(crate) fn child(&self) -> Option<ScopeIx> {
        self.more.as_ref().and_then(|more| more.child)
    }

    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Done(_) | Phase::Replaced)
    }

    pub(crate) fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Ready | Phase::Backoff { .. } | Phase::Inside)
    }
}

impl Scope {
    pub(crate) fn new(plan: &Arc<Plan>, ns: Arc<str>) -> Self {
        Self {
            values: Arc::new(plan.initial.iter().cloned().collect()),
            plan: Arc::clone(plan),
            ns,
            above: None,
            inside: None,
            step: -1,
            stop: i64::MAX,
            tasks: Vec::new(),
            active: 0,
            open: 0,
            arrived: BTreeMap::new(),
            deferred: BTreeSet::new(),
            last: Last::Nobody,
            checkpoint: None,
            source: None,
            halt: None,
            passed: false,
        }
    }

    pub(crate) fn task_id(&self, slot: Slot) -> Option<TaskId> {
        let task = self.tasks.get(slot)?;
        let none = || CheckpointId::from_bytes([0; 16]);
        let here = || Born(self.checkpoint.unwrap_or_else(none), self.step);
        let Born(base, step) = task.born.as_deref().copied().unwrap_or_else(here);
        Some(TaskId {
            base,
            ns: Arc::clone(&self.ns),
            step,
            node: match task.more.as_ref().and_then(|more| more.known_as.as_ref()) {
                Some(name) => Arc::clone(name),
                None => self.plan.shared_name(task.node),
            },
            slot: u32::try_from(slot).unwrap_or(u32::MAX),
        })
    }

    /// How many supersteps a run may take in it, where it may take `run` in the thread's own graph.
    pub(crate) fn steps_max(&self, run: u32) -> u32 {
        match &self.inside {
            Some(inside) if inside.returns == Returns::Mapped => self.plan.steps_max,
            Some(_) | None => run,
        }
    }

    /// What tasks are known by stays the same from here on, whatever others do.
    pub(crate) fn settle_names(&mut self) {
        let Some(base) = self.checkpoint.filter(|_| self.plan.pace == Pace::Free) else { return };
        for task in self.tasks.iter_mut().filter(|task| task.born.is_none()) {
            task.born = Some(Box::new(Born(base, self.step)));
        }
    }

    /// The tasks of a new superstep.
    pub(crate) fn set_tasks(&mut self, tasks: Vec<Task>) {
        self.active = tasks.len();
        self.open = tasks.len();
        self.tasks = tasks;
    }

    pub(crate) fn remember_last(&mut self) {
        let mut pulled = self.tasks.iter().filter(|task| task.sent.is_none());
        self.last = match (pulled.next(), pulled.next()) {
            (None, _) => self.last,
            (Some(task), None) if task.node == START_IX => Last::Start,
            (Some(task), None) => Last::Node(task.node),
            (Some(_), Some(_)) => Last::Several,
        };
    }

    pub(crate) fn remember_one(&mut self, slot: Slot) {
        let task = self.tasks.get(slot).filter(|task| task.sent.is_none());
        self.last = match task {
            Some(task) if task.node == START_IX => Last::Start,
            Some(task) => Last::Node(task.node),
            None => self.last,
        };
    }

    /// One change of one channel. Answers with what it replaced, where it replaced something.
    pub(crate) fn change(&mut self, channel: &str, delta: Delta) -> Option<Value> {
        if let Some(inside) = &mut self.inside
            && inside.returns == Returns::Added
        {
            let reducer = self.plan.channels.get(channel).map(|channel| &channel.reducer);
            inside.note(channel, reducer, self.values.get(channel), &delta);
        }
        let values = Arc::make_mut(&mut self.values);
        match (delta, values.get_mut(channel)) {
            (Delta::Set(value), Some(place)) => return Some(std::mem::replace(place, value)),
            (Delta::Append(items), Some(Value::Array(list))) => list.extend(items),
            (Delta::Merge(members), Some(Value::Object(object))) => object.extend(members),
            (Delta::Append(items), Some(place)) => {
                return Some(std::mem::replace(place, Value::Array(items)));
            }
            (Delta::Merge(members), Some(place)) => {
                return Some(std::mem::replace(place, Value::Object(members)));
            }
            (delta, None) => delta.apply(values, channel.to_owned()),
        }
        None
    }

    pub(crate) fn next_deferred(&self) -> Vec<NodeIx> {
        self.deferred.iter().copied().collect()
    }
}

impl Inside {
    fn note(
        &mut self,
        channel: &str,
        reducer: Option<&Reducer>,
        current: Option<&Value>,
        delta: &Delta,
    ) {
        let adds = match (reducer, delta) {
            (Some(Reducer::Append | Reducer::Messages), Delta::Append(_)) => {
                Given::Items(current.and_then(Value::as_array).map_or(0, Vec::len))
            }
            (Some(Reducer::Sum), _) => {
                Given::Number(current.cloned().unwrap_or_else(|| Value::from(0)))
            }
            _ => {
                self.written.insert(channel.to_owned(), Given::Replaced);
                return;
            }
        };
        if !self.written.contains_key(channel) {
            self.written.insert(channel.to_owned(), adds);
        }
    }
}

/// All scopes of a thread; the root is always there.
pub(crate) struct Scopes {
    root: Scope,
    inner: Vec<Option<Scope>>,
}

impl Scopes {
    pub(crate) fn new(root: Scope) -> Self {
        Self { root, inner: Vec::new() }
    }

    pub(crate) fn root(&self) -> &Scope {
        &self.root
    }

    pub(crate) fn root_mut(&mut self) -> &mut Scope {
        &mut self.root
    }

    pub(crate) fn get(&self, ix: ScopeIx) -> Option<&Scope> {
        if ix == ROOT_IX { Some(&self.root) } else { self.inner.get(ix - 1)?.as_ref() }
    }

    pub(crate) fn get_mut(&mut self, ix: ScopeIx) -> Option<&mut Scope> {
        if ix == ROOT_IX { Some(&mut self.root) } else { self.inner.get_mut(ix - 1)?.as_mut() }
    }

    pub(crate) fn add(&mut self, scope: Scope) -> ScopeIx {
        let free = self.inner.iter().position(Option::is_none);
        match free.and_then(|place| self.inner.get_mut(place).map(|slot| (place, slot))) {
            Some((place, slot)) => {
                *slot = Some(scope);
                place + 1
            }
            None => {
                self.inner.push(Some(scope));
                self.inner.len()
            }
        }
    }

    pub(crate) fn remove(&mut self, ix: ScopeIx) -> Option<Scope> {
        self.inner.get_mut(ix.checked_sub(1)?)?.take()
    }

    pub(crate) fn find(&self, ns: &str) -> Option<ScopeIx> {
        if ns.is_empty() {
            return Some(ROOT_IX);
        }
        self.all().find(|(_, scope)| &*scope.ns == ns).map(|(ix, _)| ix)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (ScopeIx, &Scope)> {
        let inner = self.inner.iter().enumerate();
        let inner = inner.filter_map(|(ix, scope)| scope.as_ref().map(|scope| (ix + 1, scope)));
        std::iter::once((ROOT_IX, &self.root)).chain(inner)
    }

    pub(crate) fn task(&self, ix: ScopeIx, slot: Slot) -> Option<&Task> {
        self.get(ix)?.tasks.get(slot)
    }

    pub(crate) fn task_mut(&mut self, ix: ScopeIx, slot: Slot) -> Option<&mut Task> {
        self.get_mut(ix)?.tasks.get_mut(slot)
    }
}
