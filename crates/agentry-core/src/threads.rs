//! The one log: the ports through which threads and their runs are kept.
//!
//! Commands are closed: no transaction crosses these ports, so a backend may batch as it likes. An acknowledged command is
//! durable. [`Error::Ambiguous`] means what it says: read again before you assume.

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::audit;
use crate::run::{Answer, Committed, Effect, Fence, Message, Seq};
pub use crate::store::{Error, NewRecord};
use crate::thread::{
    Cancel, Checkpoint, Commit, Entry, EventId, Interrupt, Line, Loaded, NewRun, NewThread, Pinned,
    Run, RunStatus, Source, Status, Thread, Told,
};
use crate::{CheckpointId, RunId, ThreadId, Timestamp};

/// What came in from outside and what was decided about it: all of it is stored, or none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Intake {
    pub records: Vec<NewRecord>,
    /// A run whose key exists already is left as it is; any other refusal refuses the intake.
    pub submit: Vec<NewRun>,
    /// To threads that exist or are made here, else the intake is refused. What is addressed to the thread of a submission
    /// whose key exists goes to the thread of the run that has the key. To a thread with nothing to do it is kept but
    /// changes nothing.
    pub messages: Vec<(ThreadId, Message)>,
    pub audit: Vec<audit::Entry>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Submitted {
    Created(RunId),
    /// The key was there before.
    Existing(RunId),
    /// The thread has something to do, and the run was to be refused then.
    Busy {
        active: RunId,
    },
    NoThread,
    /// The thread belongs to another tenant.
    Foreign,
    /// Somebody was faster; this is the answer that counts.
    AlreadyAnswered {
        interrupt: String,
        answer: Answer,
    },
    NoInterrupt {
        interrupt: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub worker: String,
    pub now: Timestamp,
    pub lease_until: Timestamp,
    pub threads_max: usize,
    /// What this worker can run.
    pub programs: Vec<Pinned>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    pub fence: Fence,
    pub loaded: Loaded,
}

/// What came of asking for one certain thread.
#[derive(Debug, Clone, PartialEq)]
pub enum Taken {
    Yours(Box<Claimed>),
    /// Another worker has it, or it has something to do.
    Busy,
    NoThread,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    Message(Message),
    Answer { interrupt: String, answer: Answer, audit: Vec<audit::Entry> },
    Cancel { run: RunId, cancel: Cancel, audit: Vec<audit::Entry> },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Signalled {
    Accepted,
    /// The same message was there before.
    Duplicate,
    /// No such thread or run, or no such open interrupt.
    NotFound,
    /// Somebody was faster; this is the answer that counts.
    AlreadyAnswered(Answer),
    /// The interrupt's deadline has passed.
    Expired,
    /// The run is over.
    Finished(RunStatus),
}

/// Which entry of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    Head,
    Seq(Seq),
    Checkpoint(CheckpointId),
}

/// How far back a [`Line`] reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// To the nearest snapshot.
    Snapshot,
    /// To the first entry that is still kept.
    Root,
}

/// The work: what engines and doors do with threads.
///
/// What one process writes is decided in the order in which it was sent, also when the caller has given up waiting: an
/// acknowledged write comes after everything that was sent before it.
#[async_trait]
pub trait ThreadStore: Send + Sync {
    /// A thread that has something to do becomes ready, or stays with its worker, who finds the run in its mail.
    async fn submit(&self, run: NewRun) -> Result<Submitted, Error>;
    async fn intake(&self, intake: Intake) -> Result<(), Error>;

    /// Takes threads that are ready, those whose moment has come, and those of other workers whose lease is over: higher
    /// priority first, then each tenant in turn, then who has waited longest.
    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error>;
    /// Takes one thread that rests, whatever it runs on. `claim` names worker, time and lease.
    async fn take(&self, thread: ThreadId, claim: Claim) -> Result<Taken, Error>;
    /// Keeps the claims of `worker`. A worker that cannot renew in time must stop.
    async fn renew(
        &self,
        worker: &str,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<(), Error>;
    /// Threads claimed by `worker` that something came for since: a run, a message, an answer, a cancellation.
    async fn mail(&self, worker: &str) -> Result<Vec<ThreadId>, Error>;
    /// Gives the claims of `worker` back at once.
    async fn release(&self, worker: &str) -> Result<(), Error>;
    /// [`Committed::Stale`] when the head is not the entry before this one, or an interrupt that was to expire has been
    /// answered.
    async fn commit(&self, commit: Commit) -> Result<Committed, Error>;
    /// Remembers an effect. `Committed::Stale` when `Intended` finds an entry of that key.
    async fn journal(
        &self,
        thread: ThreadId,
        fence: Fence,
        key: &str,
        effect: Effect,
    ) -> Result<Committed, Error>;
    async fn signal(&self, thread: ThreadId, signal: Signal) -> Result<Signalled, Error>;

    async fn load(&self, thread: ThreadId) -> Result<Option<Loaded>, Error>;
    /// When the next resting thread wants to be woken.
    async fn next_wake(&self) -> Result<Option<Timestamp>, Error>;
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ThreadQuery {
    pub tenant: Option<String>,
    pub status: Option<Status>,
    pub graph: Option<String>,
    /// Members that a thread's metadata must have, compared whole.
    pub metadata: Map<String, Value>,
    pub ids: Vec<ThreadId>,
    /// Newest first; this many are passed over.
    pub offset: usize,
    pub max: usize,
    pub order: Order,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    CreatedNewest,
    CreatedOldest,
    UpdatedNewest,
    UpdatedOldest,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunQuery {
    pub tenant: Option<String>,
    pub thread: Option<ThreadId>,
    pub graph: Option<String>,
    pub status: Option<RunStatus>,
    pub metadata: Map<String, Value>,
    /// Only runs older than this one (exclusive); newest first.
    pub before: Option<RunId>,
    pub offset: usize,
    pub max: usize,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct CheckpointQuery {
    /// Only that namespace.
    pub ns: Option<String>,
    pub source: Option<Source>,
    /// Members that a checkpoint's metadata must have, compared whole.
    pub metadata: Map<String, Value>,
    /// Only checkpoints of entries before that one's (exclusive); newest first.
    pub before: Option<CheckpointId>,
    pub max: usize,
}

/// A checkpoint and where it is in its thread.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub seq: Seq,
    pub run: Option<RunId>,
    pub at: Timestamp,
    pub checkpoint: Checkpoint,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Created {
    New,
    /// It is there already, with this.
    Existing(Box<Thread>),
    /// It is there already and belongs to another tenant.
    Foreign,
}

/// What pruning leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The newest checkpoint of each namespace, with what builds on it; nothing before. Where an entry that stays loses its
    /// parent, the store folds the writes up to and including it into a snapshot, whose body is the entry's own.
    Latest,
    /// Nothing but the thread itself.
    Nothing,
}

/// The archive: finding, reading and managing threads.
#[async_trait]
pub trait Threads: Send + Sync {
    async fn create(&self, thread: NewThread) -> Result<Created, Error>;
    async fn thread(&self, thread: ThreadId) -> Result<Option<Thread>, Error>;
    async fn threads(&self, query: ThreadQuery) -> Result<Vec<Thread>, Error>;
    /// How many there are, whatever `offset` and `max` say.
    async fn count(&self, query: ThreadQuery) -> Result<u64, Error>;
    /// Sets members of the metadata; null removes one.
    async fn describe(
        &self,
        thread: ThreadId,
        metadata: Map<String, Value>,
        now: Timestamp,
    ) -> Result<Option<Thread>, Error>;
    /// A second thread with the same history, checkpoint ids included, and state, and no runs. False when there is no `from`.
    async fn copy(&self, from: ThreadId, to: NewThread) -> Result<bool, Error>;
    /// With all that belongs to it; whoever works on it finds out at its next commit. False when there was none.
    async fn delete(&self, thread: ThreadId) -> Result<bool, Error>;
    /// Entries removed. A thread that has something to do is left alone.
    async fn prune(&self, thread: ThreadId, keep: Keep) -> Result<u64, Error>;
    /// Removes threads that were kept for long enough, at most `max`; answers how many.
    async fn sweep(&self, now: Timestamp, max: usize) -> Result<u64, Error>;

    async fn run(&self, run: RunId) -> Result<Option<Run>, Error>;
    async fn runs(&self, query: RunQuery) -> Result<Vec<Run>, Error>;
    /// Removes a run that is over, also one that only entries know of, and its checkpoints from the history. Its entries go
    /// with them, but for those that later entries build on. False when nothing was there, or the run is not over.
    async fn delete_run(&self, run: RunId) -> Result<bool, Error>;

    async fn checkpoints(
        &self,
        thread: ThreadId,
        query: CheckpointQuery,
    ) -> Result<Vec<Found>, Error>;
    /// `None` when there is no such thread or entry.
    async fn line(&self, thread: ThreadId, at: At, from: From) -> Result<Option<Line>, Error>;
    /// Entries without a checkpoint that build on this one, directly or over others without a checkpoint, oldest first: what
    /// had been done when somebody went on from there, or the process ended.
    async fn progress(&self, thread: ThreadId, at: At) -> Result<Vec<Entry>, Error>;
    /// Events of a thread, or of one of its runs, after `after`, oldest first.
    async fn events(
        &self,
        thread: ThreadId,
        run: Option<RunId>,
        after: EventId,
        max: usize,
    ) -> Result<Vec<Told>, Error>;
    /// Open interrupts with a question that nobody has answered, oldest first; of one thread or of all.
    async fn questions(
        &self,
        thread: Option<ThreadId>,
        max: usize,
    ) -> Result<Vec<Interrupt>, Error>;
}
