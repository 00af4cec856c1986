//! What the faces for threads ask of whoever moves threads on, in words of their own: the server names no engine.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::batches::Owner;
use agentry_core::run::Values;
use agentry_core::thread::{Absent, Cancel, EventId, Multitask, Priority, Run, RunStatus, Source};
use agentry_core::threads::{At, Signalled, Submitted};
use agentry_core::{CheckpointId, RunId, ThreadId, Timestamp};
use async_trait::async_trait;
use futures_util::Stream;
use serde_json::{Map, Value, json};

use super::show::REQUEST;
use super::who::Who;
use crate::Refusal;

/// Moves threads on, and says where they stand.
#[async_trait]
pub trait Engine: Send + Sync {
    /// What runs can be submitted to.
    fn graphs(&self) -> Vec<Arc<GraphInfo>>;
    /// Answers when the run is durable.
    async fn submit(&self, submission: Submission) -> Result<Submitted, Refusal>;
    async fn cancel(
        &self,
        thread: ThreadId,
        run: RunId,
        cancel: Cancel,
    ) -> Result<Signalled, Refusal>;
    /// `None` when the thread has nothing there.
    async fn state(
        &self,
        thread: ThreadId,
        place: Place,
        subgraphs: Subgraphs,
    ) -> Result<Option<StateView>, Refusal>;
    /// Newest first.
    async fn history(
        &self,
        thread: ThreadId,
        query: HistoryQuery,
    ) -> Result<Vec<StateView>, Refusal>;
    /// Writes to a thread's state as if one of its nodes had.
    async fn update(&self, thread: ThreadId, update: Update) -> Result<CheckpointRef, Refusal>;
    /// What a run was like: where its time went, what its nodes wrote and spent, what could be better. `None` when there is no
    /// such run.
    async fn summary(&self, run: RunId) -> Result<Option<Value>, Refusal>;
    /// Leaves nothing of a thread's history but where it stands; says how many entries went.
    async fn compact(&self, thread: ThreadId) -> Result<u64, Refusal>;
    /// Moves threads to the version of their graph that is here, or says what would become of them. Written into the audit log
    /// before anything is done.
    async fn migrate(&self, migrate: Migrate) -> Result<Migrated, Refusal>;
    /// Cuts the histories of threads that nobody has used for long, or says of how many it would. Written into the audit log
    /// before anything is done.
    async fn cut(&self, cut: Cut) -> Result<Cutting, Refusal>;
    /// What happened after `after`, then what happens: of one run to its end, of a thread until nobody listens.
    async fn follow(&self, follow: Follow) -> Result<Parts, Refusal>;
}

/// Whose wish it is, and how much of it is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upkeep {
    /// As the audit log names it.
    pub actor: String,
    pub dry_run: bool,
    /// So many threads were looked at before.
    pub offset: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrate {
    pub upkeep: Upkeep,
    pub graph: String,
    /// Only this one.
    pub thread: Option<ThreadId>,
    /// So many are looked at.
    pub max: usize,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Migrated {
    /// The one that is here.
    pub version: String,
    /// By what became of them, or would.
    pub counts: BTreeMap<&'static str, usize>,
    /// Those of other versions, one by one.
    pub threads: Vec<Value>,
    /// Where to go on.
    pub next: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub upkeep: Upkeep,
    /// Only this one, whenever it was used.
    pub thread: Option<ThreadId>,
    pub unused: Duration,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cutting {
    pub threads: u64,
    /// What has gone; nothing is known of it before.
    pub entries: Option<u64>,
    /// Where to go on.
    pub next: Option<usize>,
}

/// What happens, as it happens. It ends early only with an error.
pub type Parts = Pin<Box<dyn Stream<Item = Result<Part, Refusal>> + Send>>;

/// A graph, for whoever looks at it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GraphInfo {
    pub name: String,
    pub version: String,
    pub description: Option<String>,
    pub nodes: Vec<NodeInfo>,
    pub edges: Vec<EdgeInfo>,
    /// JSON Schemas.
    pub input: Option<Value>,
    pub output: Option<Value>,
    pub state: Option<Value>,
    pub context: Option<Value>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct NodeInfo {
    pub name: String,
    pub kind: String,
    /// What it runs, when it is a graph itself.
    pub graph: Option<Arc<GraphInfo>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeInfo {
    pub from: String,
    pub to: String,
    pub conditional: bool,
}

/// A run that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    pub thread: ThreadId,
    pub run: RunId,
    pub tenant: String,
    /// Who wants it, as the audit log names it.
    pub actor: String,
    /// A second submission of the tenant with the same key answers with the first one's id.
    pub key: Option<String>,
    pub graph: String,
    pub work: Work,
    /// Where to go on from, when not from the head.
    pub from: Option<Place>,
    /// How many supersteps it may take.
    pub steps_max: Option<u32>,
    pub interrupt_before: Breakpoints,
    pub interrupt_after: Breakpoints,
    pub multitask: Multitask,
    pub priority: Priority,
    pub absent: Absent,
    pub metadata: Map<String, Value>,
    pub created: Timestamp,
    pub not_before: Option<Timestamp>,
    pub deadline: Option<Timestamp>,
}

impl Submission {
    /// What nodes may read beside the state: the members of `context`, and of `configurable`, which count before them.
    #[must_use]
    pub fn config(&self) -> Map<String, Value> {
        let config = self.metadata.get(REQUEST).and_then(|request| request.get("config"));
        let parts = ["context", "configurable"].into_iter();
        let members = parts.filter_map(|part| config?.get(part)?.as_object()).flatten();
        members.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The same for a run that did not come over HTTP.
    #[must_use]
    pub fn configured(mut self, config: Map<String, Value>) -> Self {
        let request = json!({ "config": { "configurable": config } });
        self.metadata.insert(REQUEST.to_owned(), request);
        self
    }
}

/// What nodes may want to know of the run that they work for; it is kept with the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanting {
    /// On whose behalf models are called, also when the caller is long gone.
    pub owner: Owner,
    /// `configurable`, `context`, `tags`.
    pub config: Map<String, Value>,
}

impl Wanting {
    /// Nothing for runs that did not come through these faces.
    #[must_use]
    pub fn of(run: &Run) -> Option<Self> {
        let request = run.metadata.get(REQUEST)?;
        let config = request.get("config").and_then(Value::as_object).cloned();
        let Who { owner, actor: _ } = Who::read(request.get("owner")?)?;
        Some(Self { owner, config: config.unwrap_or_default() })
    }
}

/// What a run does first.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Begins with this.
    Input(Value),
    /// Goes on where the thread stands.
    Continue,
    Command(Command),
}

/// What a caller orders beside, or instead of, input.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Command {
    /// Channels and what is written to them.
    pub update: Vec<(String, Value)>,
    pub goto: Vec<Goto>,
    pub resume: Option<Resume>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Goto {
    Node(String),
    /// The node runs with this instead of the state.
    Send {
        node: String,
        input: Value,
    },
}

/// Answers to what a thread has asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Resume {
    /// To the only open question.
    One(Value),
    /// By the ids of interrupts, when every member of the object is one; the whole object for the only question else.
    Named(Map<String, Value>),
}

/// Where a run is to stop and wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Breakpoints {
    #[default]
    Nowhere,
    Everywhere,
    Nodes(Vec<String>),
}

/// A state of a thread, in one of its namespaces.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    pub ns: String,
    pub at: At,
}

impl Place {
    /// Where the thread stands.
    #[must_use]
    pub fn head() -> Self {
        Self { ns: String::new(), at: At::Head }
    }
}

/// Whether tasks show the states of the graphs that they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subgraphs {
    Closed,
    Open,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistoryQuery {
    pub ns: String,
    pub before: Option<CheckpointId>,
    /// Members that a checkpoint's metadata must have.
    pub metadata: Map<String, Value>,
    pub max: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    pub tenant: String,
    pub actor: String,
    /// Which graph the thread is for, when it has run none yet.
    pub graph: Option<String>,
    pub from: Place,
    pub as_node: Option<String>,
    pub values: Option<Value>,
    pub now: Timestamp,
}

/// Whom to listen to.
#[derive(Debug, Clone, PartialEq)]
pub struct Follow {
    pub thread: ThreadId,
    /// Without it, all runs.
    pub run: Option<RunId>,
    pub after: EventId,
    pub wanted: Wanted,
}

/// A message's id, short enough to be named in the id of an event.
#[must_use]
pub fn short(message: &str) -> u32 {
    let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
    message.bytes().fold(2_166_136_261, mix)
}

/// What a listener does something with; the rest need not be told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    pub values: bool,
    pub updates: bool,
    pub messages: bool,
    pub custom: bool,
    pub tasks: bool,
    pub checkpoints: bool,
    pub debug: bool,
    /// Of subgraphs too.
    pub subgraphs: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRef {
    pub ns: String,
    /// Nothing when only the namespace is known.
    pub id: Option<CheckpointId>,
}

/// A thread's state at one checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct StateView {
    pub values: Values,
    /// Nodes that run next.
    pub next: Vec<String>,
    pub checkpoint: CheckpointRef,
    pub parent: Option<CheckpointRef>,
    /// -1 for input, then counting up.
    pub step: i64,
    pub source: Source,
    pub metadata: Map<String, Value>,
    pub run: Option<RunId>,
    pub created: Timestamp,
    pub tasks: Vec<TaskView>,
}

/// A node that runs, has run, or waits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskView {
    pub id: String,
    pub name: String,
    pub error: Option<String>,
    pub result: Option<Value>,
    pub interrupts: Vec<InterruptView>,
    /// Where the graph that it runs stands.
    pub checkpoint: Option<CheckpointRef>,
    pub state: Option<Box<StateView>>,
}

/// A question, as people are shown it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InterruptView {
    pub id: String,
    pub value: Value,
    /// JSON Schema that an answer must meet.
    pub schema: Option<Value>,
    /// Until when whoever has it may answer.
    pub deadline: Option<Timestamp>,
    /// How often nobody answered in time and it was handed on.
    pub escalations: u32,
    /// Whom it was handed on to.
    pub to: Option<String>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Where it is in the log; what is told before it is stored has none.
    pub id: Option<EventId>,
    /// Of a piece that is told before it is stored: what the listener has seen with it.
    pub early: Option<Early>,
    pub run: Option<RunId>,
    pub at: Timestamp,
    /// Empty for the thread's own graph.
    pub ns: String,
    pub what: What,
}

/// All up to `after`, and of messages that are not stored yet so many pieces, by [`short`] name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Early {
    pub after: EventId,
    pub pieces: Vec<(u32, u32)>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A run began.
    Began,
    /// The state after a step, and what it asks.
    Values { values: Values, interrupts: Vec<InterruptView> },
    /// A message, or a piece of one that is being written, in LangChain's shape.
    Message { message: Value, metadata: Map<String, Value> },
    /// What the engine says of it, as listeners read it.
    Told { subject: Subject, data: Value },
    /// Nothing more comes of the run, unless somebody answers.
    Ended { status: RunStatus, reason: Option<String> },
}

/// What is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// What nodes wrote, by node, or what they ask under `__interrupt__`.
    Updates,
    /// A node's own words.
    Custom,
    /// A task with `input` that starts, or one with `result` or `error` that has ended.
    Tasks,
    /// A state with `checkpoint_id` and `checkpoint_ns`.
    Checkpoints,
    /// `type`, `step`, `timestamp`, and a task or a state as `payload`.
    Debug,
}
