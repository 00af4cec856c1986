//! What a node is told beside the state, and what it may do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use agentry_core::meter::Meter;
use agentry_core::run::Values;
use agentry_core::{Clock, RunId, ThreadId, Timestamp, Trace};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::cache::NodeCache;
use crate::effect::{self, Class, Journal};
use crate::ids::TaskId;
use crate::node::{Ask, NodeError, Reply};

/// Where a task stands.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub thread: ThreadId,
    pub run: RunId,
    pub ns: Arc<str>,
    pub node: Arc<str>,
    pub step: i64,
    pub task: Option<TaskId>,
    /// What effects are kept under, where it is not the task's id.
    pub effects: Option<String>,
}

/// What a process gives to all its nodes.
#[derive(Clone)]
pub struct Surround {
    pub clock: Arc<dyn Clock>,
    pub journal: Arc<Journal>,
    /// Hears at once what nodes tell while they run; it is stored when they are done.
    pub live: Option<Live>,
    /// Outputs of nodes that say so are used again.
    pub cache: Option<Arc<dyn NodeCache>>,
    /// What the run was given beside its input.
    pub config: Arc<Map<String, Value>>,
    /// The task that all of this runs in, where that is all the log knows of it.
    pub(crate) within: Option<Within>,
}

/// The task around a graph that keeps nothing.
#[derive(Clone)]
pub(crate) struct Within {
    /// What its effects are kept under.
    pub effects: Arc<str>,
    pub meter: Meter,
}

impl Surround {
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, journal: Arc<Journal>) -> Self {
        Self { clock, journal, live: None, cache: None, config: Arc::default(), within: None }
    }
}

/// Called with what a running node tells.
pub type Live = Arc<dyn Fn(Told<'_>) + Send + Sync>;

/// Something that a node says while it runs.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    pub run: RunId,
    pub ns: &'a str,
    pub node: &'a str,
    /// One number for each attempt at each task.
    pub attempt: u64,
    /// What it says first has 0.
    pub number: usize,
    pub kind: &'a str,
    pub detail: &'a Value,
}

/// Why another node failed, for the node that takes its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFailure {
    pub node: String,
    pub message: String,
}

/// Where a node stands: which run, which attempt, what was answered; and its only way to act once.
pub struct NodeContext {
    place: Place,
    around: Surround,
    cancelled: CancellationToken,
    pub(crate) attempt: u32,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) replies: BTreeMap<String, Reply>,
    /// By order of asking.
    pub(crate) answers: Vec<Value>,
    pub(crate) arg: Option<Arc<Value>>,
    pub(crate) above: Option<Arc<Values>>,
    pub(crate) failure: Option<NodeFailure>,
    pub(crate) steps_left: i64,
    asked: AtomicUsize,
    open: Mutex<Option<Ask>>,
    told: Mutex<Vec<(String, Value)>>,
    meter: Meter,
    pub(crate) trace: Option<Trace>,
    calls: AtomicU64,
    attempt_key: OnceLock<u64>,
}

impl NodeContext {
    pub(crate) fn new(place: Place, around: Surround, cancelled: CancellationToken) -> Self {
        let meter = around.within.as_ref().map(|within| within.meter.clone()).unwrap_or_default();
        Self {
            place,
            around,
            cancelled,
            attempt: 1,
            deadline: None,
            replies: BTreeMap::new(),
            answers: Vec::new(),
            arg: None,
            above: None,
            failure: None,
            steps_left: 0,
            asked: AtomicUsize::new(0),
            open: Mutex::new(None),
            told: Mutex::new(Vec::new()),
            meter,
            trace: None,
            calls: AtomicU64::new(0),
            attempt_key: OnceLock::new(),
        }
    }

    #[must_use]
    pub fn thread(&self) -> ThreadId {
        self.place.thread
    }

    #[must_use]
    pub fn run(&self) -> RunId {
        self.place.run
    }

    /// Which subgraph it is in; empty for the thread's own graph.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.place.ns
    }

    #[must_use]
    pub fn node(&self) -> &str {
        &self.place.node
    }

    /// Counts the supersteps from 1.
    #[must_use]
    pub fn superstep(&self) -> u32 {
        u32::try_from(self.place.step).unwrap_or(0)
    }

    /// How many further supersteps the run may take.
    #[must_use]
    pub fn steps_left(&self) -> u32 {
        u32::try_from(self.steps_left).unwrap_or(0)
    }

    /// Counts the attempts at this node from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.around.clock.now()
    }

    /// When this attempt is given up.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// How long this attempt may still take.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.since(self.now()))
    }

    /// For calls to models: what they come to is kept with what the node has come to, also when it fails.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// A new span below this attempt, for one call; nothing when nobody traces it.
    #[must_use]
    pub fn call_trace(&self) -> Option<Trace> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        self.trace.map(|trace| trace.child(crate::observe::mixed(trace.span ^ (number + 1))))
    }

    /// What the run was given to go by beside its input: settings, for whom it is. Not a part of the state.
    #[must_use]
    pub fn config(&self) -> &Map<String, Value> {
        &self.around.config
    }

    /// Cancelled when the run is to end: the node then has a few seconds to clean up.
    #[must_use]
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// What it was sent, where it was sent something.
    #[must_use]
    pub fn arg(&self) -> Option<&Value> {
        self.arg.as_deref()
    }

    /// The state of the graph around its own, as it is for as long as its own runs.
    #[must_use]
    pub fn above(&self) -> Option<&Values> {
        self.above.as_deref()
    }

    /// Why the node in whose place this one runs has failed.
    #[must_use]
    pub fn failure(&self) -> Option<&NodeFailure> {
        self.failure.as_ref()
    }

    /// What came of the [`Ask`] with this id, if anything yet.
    #[must_use]
    pub fn answer(&self, id: &str) -> Option<&Reply> {
        self.replies.get(id)
    }

    /// Asks a person. The first time the node stops here, to be returned with `?`; when the answer is there it runs again
    /// from its first line, and this call has the answer. Several calls are told apart by their order.
    pub fn interrupt(&self, question: impl Into<Value>) -> Result<Value, NodeError> {
        self.interrupt_with(Ask::question("", question))
    }

    /// As [`interrupt`](Self::interrupt), with a deadline or a schema.
    pub fn interrupt_with(&self, ask: Ask) -> Result<Value, NodeError> {
        let index = self.asked.fetch_add(1, Ordering::Relaxed);
        if let Some(answer) = self.answers.get(index) {
            return Ok(answer.clone());
        }
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(ask);
        Err(NodeError::interrupted())
    }

    /// Tells whoever watches the run, now.
    pub fn tell(&self, kind: &str, detail: impl Into<Value>) {
        let detail = detail.into();
        // Who listens hears it in the order in which it is kept.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = &self.around.live {
            let (run, ns, node) = (self.place.run, &*self.place.ns, &*self.place.node);
            let (attempt, number) = (self.attempt_key(), told.len());
            live(Told { run, ns, node, attempt, number, kind, detail: &detail });
        }
        told.push((kind.to_owned(), detail));
    }

    fn attempt_key(&self) -> u64 {
        let name = || self.place.task.as_ref().map(TaskId::text).unwrap_or_default();
        *self.attempt_key.get_or_init(|| {
            let seed = crate::observe::mixed(u64::from(self.attempt));
            name().bytes().fold(seed, |word, byte| crate::observe::mixed(word ^ u64::from(byte)))
        })
    }

    pub(crate) fn take_ask(&self) -> Option<Ask> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn take_told(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// For a graph that runs in this very task. What it tells is heard at once, and handed to `told` to be kept.
    pub(crate) fn inside(&self, told: impl Fn(&str, &Value) + Send + Sync + 'static) -> Surround {
        let live = self.around.live.clone();
        let place = self.place.clone();
        let (attempt, number) = (self.attempt_key(), AtomicUsize::new(0));
        let hears: Live = Arc::new(move |said: Told<'_>| {
            told(said.kind, said.detail);
            if let Some(live) = &live {
                let number = number.fetch_add(1, Ordering::Relaxed);
                let (run, ns, node) = (place.run, &*place.ns, &*place.node);
                live(Told { run, ns, node, attempt, number, ..said });
            }
        });
        let effects = Arc::from(self.effects_under());
        let within = Some(Within { effects, meter: self.meter.clone() });
        Surround { live: Some(hears), within, ..self.around.clone() }
    }

    pub(crate) fn effects_under(&self) -> String {
        match (&self.place.effects, &self.place.task) {
            (Some(place), _) => place.clone(),
            (None, Some(task)) => task.text(),
            (None, None) => format!("{}/{}", self.place.step, self.place.node),
        }
    }

    /// Performs `f` and remembers its value: what is done is never done again, not by a retry and not after a crash.
    ///
    /// `f` is handed a key that stays the same however often it is tried, for the other side to recognise a repetition.
    /// Within one visit of a node the same `key` is the same effect.
    pub async fn effect<F, Done, E>(
        &self,
        key: &str,
        class: Class,
        f: F,
    ) -> Result<Value, effect::Error>
    where
        F: FnOnce(String) -> Done + Send,
        Done: Future<Output = Result<Value, E>> + Send,
        E: Into<effect::Undone>,
    {
        let place = format!("{}/{key}", self.effects_under());
        self.around.journal.perform(&place, class, f).await
    }
}

/// The state that a task sees.
pub(crate) fn sent(arg: &Value) -> Values {
    match arg {
        Value::Object(members) => {
            members.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
        }
        _ => Values::new(),
    }
}
