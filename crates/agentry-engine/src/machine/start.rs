//! Starting tasks, and what they come to.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::meter::Metered;
use agentry_core::run::Values;
use agentry_core::{RunId, ThreadId, Timestamp, Trace};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Machine;
use super::scope::{Phase, Running, ScopeIx, Slot};
use crate::cache::CacheKey;
use crate::context::{NodeContext, Place, Surround, sent};
use crate::ids::TaskId;
use crate::node::{Again, Ask, Node, NodeError, NodeOutput, Then};
use crate::observe::Task;
use crate::plan::Work;

/// Names one start of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub(super) scope: ScopeIx,
    pub(super) slot: Slot,
    pub(super) turn: u64,
}

/// What to do after a decision is stored.
#[derive(Debug)]
pub enum Action {
    /// Run the node on the state as it was decided on.
    Start(Box<Start>),
    /// Tell the task that the run is to end.
    Cancel(Key),
    /// Drop the task; nothing that it returns counts any more.
    Abort(Key),
}

/// A task that is to run.
pub struct Start {
    key: Key,
    node: Arc<dyn Node>,
    values: Arc<Values>,
    thread: ThreadId,
    run: RunId,
    id: TaskId,
    /// The state of the graph around its own.
    above: Option<Arc<Values>>,
    arg: Option<Arc<Value>>,
    attempt: u32,
    deadline: Option<Timestamp>,
    steps_left: i64,
    more: Option<Box<super::scope::More>>,
    cache: Option<CacheKey>,
    trace: Option<Trace>,
}

/// What became of a task that was started.
#[derive(Debug, Clone)]
pub struct Ended {
    pub key: Key,
    pub came: Came,
    /// What it told while it ran.
    pub told: Vec<(String, Value)>,
    /// What the models took that it asked.
    pub spent: Metered,
}

impl Came {
    /// For whoever watches.
    pub(crate) fn told(&self) -> crate::observe::Came<'_> {
        use crate::observe::Came as Told;
        match self {
            Self::Output(NodeOutput { then: Then::Ask(_), .. }) | Self::Interrupted(_) => {
                Told::Asks
            }
            Self::Output(_) => Told::Done,
            Self::Cached(_) => Told::Cached,
            Self::Failed(error) => Told::Failed(&error.message),
        }
    }
}

#[derive(Debug, Clone)]
pub enum Came {
    Output(NodeOutput),
    /// What it wrote when it last ran on such a state; it did not run.
    Cached(NodeOutput),
    Interrupted(Ask),
    Failed(NodeError),
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start").field("key", &self.key).field("node", &self.id.node).finish()
    }
}

impl Start {
    #[must_use]
    pub fn key(&self) -> Key {
        self.key
    }

    #[must_use]
    pub fn node(&self) -> &str {
        &self.id.node
    }

    /// For whoever watches.
    pub(crate) fn told(&self, (number, at): (u64, Timestamp)) -> Task {
        let (ns, node) = (Arc::clone(&self.id.ns), Arc::clone(&self.id.node));
        Task { run: self.run, ns, node, attempt: self.attempt, at, number, trace: None }
    }

    /// The span of this attempt.
    pub(crate) fn traced(&mut self, trace: Option<Trace>) {
        self.trace = trace;
    }

    /// When this attempt is given up; whoever has the machine sees to it.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// Runs the node. A panic is a failure of the node.
    pub async fn run(self, around: Surround, cancelled: CancellationToken) -> Ended {
        let Self { key, node, values, thread, run, id, above, arg, .. } = self;
        let (attempt, deadline, steps_left) = (self.attempt, self.deadline, self.steps_left);
        let cache = around.cache.clone().zip(self.cache);
        if let Some((cache, cached)) = &cache
            && let Some(output) = cache.get(cached, around.clock.now())
        {
            return Ended {
                key,
                came: Came::Cached(output),
                told: Vec::new(),
                spent: Metered::default(),
            };
        }
        let (ns, name) = (Arc::clone(&id.ns), Arc::clone(&id.node));
        let within = around.within.as_ref();
        let effects = within.map(|within| format!("{}/{}", within.effects, id.text()));
        let step = id.step;
        let place = Place { thread, run, ns, node: name, step, task: Some(id), effects };
        let clock = Arc::clone(&around.clock);
        let mut cx = NodeContext::new(place, around, cancelled);
        cx.attempt = attempt;
        cx.trace = self.trace;
        cx.deadline = deadline;
        cx.steps_left = steps_left;
        if let Some(more) = self.more {
            cx.answers = more.answers;
            cx.replies = more.replies;
            cx.failure = more.failure;
        }
        let values = arg.as_ref().map_or(values, |arg| Arc::new(sent(arg)));
        cx.arg = arg;
        cx.above = above;
        let result = AssertUnwindSafe(node.run(&cx, &values)).catch_unwind().await;
        drop(values);
        let came = match result {
            Ok(Ok(output)) => Came::Output(output),
            Ok(Err(error)) if error.again == Again::Answered => match cx.take_ask() {
                Some(ask) => Came::Interrupted(ask),
                None => Came::Failed(NodeError::fatal(error.message)),
            },
            Ok(Err(error)) => Came::Failed(error),
            Err(panic) => Came::Failed(NodeError::transient(describe(&*panic))),
        };
        if let (Some((cache, cached)), Came::Output(output)) = (cache, &came) {
            cache.put(cached, output.clone(), clock.now());
        }
        Ended { key, came, told: cx.take_told(), spent: cx.meter().read() }
    }
}

fn describe(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("without a message"))
}

impl Machine {
    /// Starts what can be started; graphs inside nodes are entered.
    pub(super) fn start_ready(&mut self) {
        if self.run.as_ref().is_none_or(|run| run.ending.is_some()) {
            self.ready.clear();
            return;
        }
        for (ix, slot) in std::mem::take(&mut self.ready) {
            self.start((ix, slot));
        }
    }

    fn start(&mut self, (ix, slot): (ScopeIx, Slot)) {
        let Some(scope) = self.scopes.get_mut(ix) else { return };
        if scope.halt.is_some() {
            return;
        }
        let Some(task) = scope.tasks.get(slot) else { return };
        if task.phase != Phase::Ready || task.running.is_some() {
            return;
        }
        let plan = Arc::clone(&scope.plan);
        let Some(node) = plan.node(task.node) else { return };
        let inside = task.child();
        // Further attempts are no further tasks.
        if task.more.as_ref().is_none_or(|more| more.failures == 0) {
            self.tell_started((ix, slot));
        }
        match &node.work {
            Work::Graph(inner) => match inside {
                Some(child) => self.go_back_in((ix, slot), child),
                None => self.enter((ix, slot), (inner, &node.settings)),
            },
            Work::Node(work) => self.start_node((ix, slot), work, &node.settings),
            Work::Missing => self.failed((ix, slot), &NodeError::fatal("it has no function")),
        }
    }

    fn start_node(
        &mut self,
        (ix, slot): (ScopeIx, Slot),
        node: &Arc<dyn Node>,
        settings: &crate::graph::NodeSettings,
    ) {
        self.turns += 1;
        let (turn, folded, now) = (self.turns, self.folded, self.now);
        let deadline = settings.deadline_ms.map(|ms| now.plus(Duration::from_millis(ms)));
        let Some(run) = self.run.as_ref().map(|run| run.op.id) else { return };
        let Some(scope) = self.scopes.get_mut(ix) else { return };
        let Some(id) = scope.task_id(slot) else { return };
        let values = Arc::clone(&scope.values);
        let steps_left = scope.stop - scope.step;
        let cache = settings.cache.as_ref();
        let above = scope.above.map(|(ix, _)| ix);
        let Some(task) = scope.tasks.get_mut(slot) else { return };
        let arg = task.sent.as_ref().map(|(_, arg)| Arc::clone(arg));
        let cache = cache.map(|caching| {
            CacheKey::of(&scope.plan, (&id.node, caching), (&values, arg.as_deref()))
        });
        let replies = task.more.as_ref().map_or(0, |more| more.heard());
        task.running = Some(Running { turn, deadline, folded, replies });
        let more = task.more.clone();
        let attempt = more.as_ref().map_or(0, |more| more.failures) + 1;
        self.running += 1;
        if let Some(deadline) = deadline {
            self.timers.insert((deadline, ix, slot));
        }
        let key = Key { scope: ix, slot, turn };
        let thread = self.home.thread;
        let above = above.and_then(|ix| self.scopes.get(ix));
        let above = above.map(|scope| Arc::clone(&scope.values));
        let node = Arc::clone(node);
        let start = Start {
            key,
            node,
            values,
            thread,
            run,
            id,
            above,
            arg,
            attempt,
            deadline,
            steps_left,
            more,
            cache,
            trace: None,
        };
        self.actions.push(Action::Start(Box::new(start)));
    }

    pub(super) fn tell_started(&mut self, (ix, slot): (ScopeIx, Slot)) {
        if !self.is_recorded() {
            return;
        }
        let id = self.scopes.get(ix).and_then(|scope| scope.task_id(slot));
        let id = id.map(|id| id.text());
        self.tell("task.started", (ix, slot), json!({ "id": id }));
    }
}
