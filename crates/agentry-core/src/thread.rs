//! A thread, as it is stored: a durable line of state, and the runs that move it on.
//!
//! What happened to a thread is a tree of entries. Each entry builds on an earlier one, its parent, and holds only what it
//! changed; the entry with the highest number is the head. A thread's state at an entry is what its ancestors and itself
//! fold to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::audit;
use crate::run::{Answer, Closing, Delta, Effect, Event, Fence, Message, Seq, Values};
use crate::schema::Schema;
use crate::{CheckpointId, RunId, ThreadId, Timestamp};

/// How long a thread that was made for one run is kept when the run is over, so that whoever waits for its end can read it.
/// [`Threads::sweep`](crate::threads::Threads::sweep) removes it then.
pub const EPHEMERAL_KEPT_FOR: Duration = Duration::from_secs(60);

/// The namespace of a thread's own graph; that of a subgraph is `node:task`, nested ones joined with `|`.
pub const ROOT: &str = "";

/// What a thread does at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing is to be done.
    #[default]
    Idle,
    /// A worker may claim it now, or has it.
    Ready,
    /// It waits for a message or a moment; nothing is held in memory.
    Waiting,
    /// It waits for a person, or stopped at a breakpoint.
    Interrupted,
    /// Its last run failed; a further run may go on from there.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewThread {
    pub id: ThreadId,
    pub tenant: String,
    pub metadata: Map<String, Value>,
    pub created: Timestamp,
    /// How long it is kept after it was last written to.
    pub keep_for: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Thread {
    pub id: ThreadId,
    pub tenant: String,
    pub status: Status,
    /// The number of the last entry, also when that one is not kept any more; zero before the first.
    pub seq: Seq,
    /// What a worker must have to take it: that of the run that is [`RunStatus::Running`]; without one, that of the pending
    /// run whose [turn](Run::turn) is next; without one, that of the last.
    pub program: Option<Pinned>,
    pub metadata: Map<String, Value>,
    pub created: Timestamp,
    /// When the last entry was stored, the last run submitted, or the metadata changed.
    pub updated: Timestamp,
    /// Of one that rests: when it wants to be woken, by its last entry or, while no run is running, by a pending one whose turn
    /// comes then.
    pub wake_at: Option<Timestamp>,
    pub keep_for: Option<Duration>,
}

/// A graph in one version: only workers that have it may take the thread.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pinned {
    pub graph: String,
    pub version: String,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Submitted; other runs of its thread may come first.
    Pending,
    Running,
    /// It waits for a person, or stopped at a breakpoint. An answer lets it go on.
    Interrupted,
    Success,
    Error,
    /// Not done by its deadline.
    Timeout,
    Cancelled,
    /// Cancelled, and what it did to the thread's state was taken back.
    RolledBack,
}

impl RunStatus {
    /// Nothing more comes of it, unless somebody answers.
    #[must_use]
    pub fn is_over(self) -> bool {
        match self {
            Self::Pending | Self::Running => false,
            Self::Interrupted
            | Self::Success
            | Self::Error
            | Self::Timeout
            | Self::Cancelled
            | Self::RolledBack => true,
        }
    }
}

/// What becomes of a run that is submitted while its thread has another one to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Multitask {
    /// The new one is refused.
    Reject,
    /// The new one waits its turn.
    #[default]
    Enqueue,
    /// The other is cancelled; what it has committed stays.
    Interrupt,
    /// The other is cancelled, and what it has committed is taken back.
    Rollback,
}

/// Higher ones are claimed first.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewRun {
    pub id: RunId,
    pub thread: ThreadId,
    pub tenant: String,
    /// A second submission of the tenant with the same key answers with the first one's id.
    pub key: Option<String>,
    pub program: Pinned,
    /// What to do, in the engine's words: input, a command, or to go on.
    pub input: Value,
    /// Answers that this run brings to open interrupts, one each: all of them count, or the run is refused.
    pub answers: Vec<(String, Answer)>,
    pub multitask: Multitask,
    pub priority: Priority,
    pub absent: Absent,
    pub metadata: Map<String, Value>,
    pub created: Timestamp,
    /// It is not begun earlier.
    pub not_before: Option<Timestamp>,
    /// It is cancelled when it is not done by then.
    pub deadline: Option<Timestamp>,
}

/// What a submission does when there is no such thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Absent {
    Create,
    /// Made for this run. [`EPHEMERAL_KEPT_FOR`] says how long it is kept after its runs are over. Of a thread that is there
    /// already it changes nothing.
    CreateForRun,
    Refuse,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub thread: ThreadId,
    pub tenant: String,
    pub key: Option<String>,
    pub program: Pinned,
    pub status: RunStatus,
    pub input: Value,
    pub multitask: Multitask,
    pub priority: Priority,
    pub metadata: Map<String, Value>,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub not_before: Option<Timestamp>,
    pub deadline: Option<Timestamp>,
    /// The thread's head when it began: where a rollback goes back to.
    pub base: Option<Seq>,
    /// Somebody wants it to end.
    pub cancel: Option<Cancel>,
    /// Why it ended as it did.
    pub reason: Option<String>,
    /// The thread was made for it, see [`Absent::CreateForRun`].
    pub ephemeral: bool,
}

impl Run {
    /// Of a thread's pending runs the one with the earliest turn begins next, of several the one that was submitted first.
    #[must_use]
    pub fn turn(&self) -> Timestamp {
        self.not_before.unwrap_or(self.created)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    pub reason: String,
    pub at: Timestamp,
    /// What it has committed is taken back.
    pub rollback: bool,
}

impl Cancel {
    /// What `run` does to the other runs of its thread; nothing when it leaves them alone.
    #[must_use]
    pub fn by(run: &NewRun) -> Option<Self> {
        let rollback = match run.multitask {
            Multitask::Reject | Multitask::Enqueue => return None,
            Multitask::Interrupt => false,
            Multitask::Rollback => true,
        };
        Some(Self { reason: format!("run {} took its place", run.id), at: run.created, rollback })
    }

    /// Whether somebody who asks for `self` after `earlier` asks for more: then it takes the earlier one's place.
    #[must_use]
    pub fn outdoes(&self, earlier: &Self) -> bool {
        self.rollback && !earlier.rollback
    }
}

/// A state that people can find again: in the history, to look at, to go on from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub id: CheckpointId,
    pub ns: String,
    pub parent: Option<CheckpointId>,
    /// -1 for input, then counting up.
    pub step: i64,
    pub source: Source,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    Input,
    Loop,
    Update,
    Fork,
}

/// A change of one channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Write {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ns: String,
    pub channel: String,
    pub delta: Delta,
}

/// The state by namespace.
pub type States = BTreeMap<String, Values>;

/// One decision about one thread, as it is read back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub seq: Seq,
    /// What it builds on; zero for the first.
    pub parent: Seq,
    pub run: Option<RunId>,
    pub at: Timestamp,
    pub checkpoints: Vec<Checkpoint>,
    pub writes: Vec<Write>,
    /// Where the engine stands in the graph, or how it went on since the entry before: the engine's own words.
    pub body: Value,
}

/// The whole state at an entry, so that older entries need not be folded. It can be made again from them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub seq: Seq,
    pub states: States,
    /// What the bodies of all entries up to here come to: the engine's own words.
    pub body: Value,
}

/// A question that somebody may answer, or, without a question, a moment to wait for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interrupt {
    pub thread: ThreadId,
    /// Who asked.
    pub run: RunId,
    /// Unique within the thread.
    pub id: String,
    pub ns: String,
    pub node: String,
    /// What a person is shown; `None` for a plain wait, which nobody can answer.
    pub question: Option<Value>,
    /// JSON Schema that an answer must meet.
    pub schema: Option<Value>,
    pub opened: Timestamp,
    /// When nobody has answered by then, `on_timeout` happens.
    pub deadline: Option<Timestamp>,
    /// The answer that counts when the deadline passes first.
    pub on_timeout: Value,
    /// How often a deadline has passed and the question was handed on.
    pub escalations: u32,
    pub answer: Option<Answer>,
}

impl Interrupt {
    /// What is wrong with an answer: nothing when it meets the schema, or when there is none that can be understood.
    #[must_use]
    pub fn complaints(&self, answer: &Value) -> Vec<String> {
        let schema = self.schema.clone().and_then(|schema| Schema::parse(schema).ok());
        schema.map(|schema| schema.complaints(answer)).unwrap_or_default()
    }
}

/// How a run has come on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunChange {
    pub run: RunId,
    pub status: RunStatus,
    /// Set when it begins; `None` leaves it.
    pub base: Option<Seq>,
    pub reason: Option<String>,
}

/// What a thread does after a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum Next {
    /// Its worker goes on with it.
    Running,
    /// The worker lets go of it. It is ready at once when there is something that this commit does not know: a pending run
    /// whose turn has come while none is [`RunStatus::Running`], a run that is to be cancelled and is not over (or is [`RunStatus::Interrupted`] and the last that
    /// began), an open interrupt with an answer, or, unless it is idle or has failed, a message.
    Rest { status: Rest, wake_at: Option<Timestamp> },
}

/// See [`Status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rest {
    Idle,
    Waiting,
    Interrupted,
    Failed,
}

/// One decision about one thread: all of it is stored, or none. `closed` comes before `opened`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    pub thread: ThreadId,
    pub fence: Fence,
    /// Its `seq` is one more than the thread's; its `parent` is zero or an entry that is kept.
    pub entry: Entry,
    pub next: Next,
    pub runs: Vec<RunChange>,
    /// One with an id that was open before takes that one's place.
    pub opened: Vec<Interrupt>,
    pub closed: Vec<(String, Closing)>,
    /// An open interrupt that was handed on: its new deadline. It counts one more escalation.
    pub postponed: Vec<(String, Option<Timestamp>)>,
    /// Ids of the messages that this decision has folded in.
    pub consumed: Vec<String>,
    /// Keys of effects that nobody will ask for any more.
    pub forgotten: Vec<String>,
    pub events: Vec<Event>,
    pub snapshot: Option<Snapshot>,
    pub audit: Vec<audit::Entry>,
    /// From here on the thread is of this program, and with it its runs that are not over or that wait for a person.
    pub program: Option<Pinned>,
}

/// Where an event is in its thread's log: what a reader has seen, to go on from.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct EventId {
    pub seq: Seq,
    /// Its place among the events of that entry.
    pub index: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub id: EventId,
    pub run: Option<RunId>,
    pub event: Event,
}

/// The way from the root, or from a snapshot, to an entry, along the parents.
///
/// An entry that has lost its parent by pruning has a snapshot, and no line reaches further back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Line {
    /// A store may have forgotten all but the newest one, and answer with an older one or none and more entries.
    pub snapshot: Option<Snapshot>,
    /// What follows it, oldest first; without a snapshot, from the root.
    pub entries: Vec<Entry>,
}

/// Everything that a worker needs to go on with a thread.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub thread: Thread,
    pub line: Line,
    pub journal: BTreeMap<String, Effect>,
    /// Not yet consumed, in the order of arrival.
    pub inbox: Vec<Message>,
    /// Open ones, answered or not.
    pub interrupts: Vec<Interrupt>,
    /// Those that are not over, and the one that last began (with the highest base), in the order of submission.
    pub runs: Vec<Run>,
}

impl Loaded {
    /// The pending run that begins next, if its time has come.
    #[must_use]
    pub fn next_run(&self, now: Timestamp) -> Option<&Run> {
        // Clocks differ: one that may begin does not wait for one that may not, whichever turn is earlier.
        let due = |run: &&Run| {
            run.status == RunStatus::Pending && run.not_before.is_none_or(|it| it <= now)
        };
        // The first of several with the same turn: `min_by_key` keeps the order of submission.
        self.runs.iter().filter(due).min_by_key(|run| run.turn())
    }
}
