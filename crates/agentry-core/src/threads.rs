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
    /// To threads that exist or are made here by `submit`, else the intake is refused. What is addressed to the thread of a submission
    /// whose key exists goes to the thread of the run that has the key. To a thread with nothing to do it is kept but
    /// changes nothing.
    pub messages: Vec<(ThreadId, Message)>,
    pub audit: Vec<audit::Entry>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Submitted {
    Created(RunId),
    /// The key, or a run of this very id, was there before.
    Existing(RunId),
    /// The thread has something to do, and the run was to be refused then. `active` is the run that is running, else the
    /// pending one that is next.
    Busy {
        active: RunId,
    },
    NoThread,
    /// The thread, or a run of this id, belongs to another tenant.
    Foreign,
    /// Somebody was faster; this is the answer that counts.
    AlreadyAnswered {
        interrupt: String,
        answer: Answer,
    },
    /// It is not open, cannot be answered, or its deadline has passed.
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
    /// A worker whose lease is not over has it, or it is ready or waiting.
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
    /// The newest entry that is kept; the root when there is none.
    Head,
    /// Zero is the root, before the first entry.
    Seq(Seq),
    Checkpoint(CheckpointId),
}

/// How far back a [`Line`] reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// To the nearest snapshot.
    Snapshot,
    /// To the root, or to where pruning has cut.
    Root,
}

/// The name under which one life of a worker claims. What a former life has sent, and what arrives late, is not of this one.
#[must_use]
pub fn life(name: &str, nonce: &str) -> String {
    format!("{name}{LIFE}{nonce}")
}

/// What comes between the name of a worker and that of its life.
pub const LIFE: char = '~';

/// The work: what engines and doors do with threads.
///
/// What one process writes is decided in the order in which it was sent, also when the caller has given up waiting: an
/// acknowledged write comes after everything that was sent before it.
#[async_trait]
pub trait ThreadStore: Send + Sync {
    /// Adds a pending run, and makes its thread when it is to be made. Checked in this order: its key and id, the thread and
    /// its tenant, its answers, [`Multitask`](crate::thread::Multitask). A thread is busy while it has a run that is pending or
    /// running; those are marked with [`Cancel::by`] in the same transaction when they are to be cancelled, unless they have a
    /// mark that it does not [outdo](Cancel::outdoes).
    ///
    /// A thread at rest is ready now if no run of it is running, or there are answers or new marks. When `not_before` is later
    /// than `created` and there are neither, it is woken then instead.
    async fn submit(&self, run: NewRun) -> Result<Submitted, Error>;
    async fn intake(&self, intake: Intake) -> Result<(), Error>;

    /// Takes threads that are ready, those whose moment has come, and ready ones of other workers whose lease is over. No
    /// worker takes its own, and a thread at rest that a worker has (see [`take`](Self::take)) is left to it until its lease is
    /// over.
    ///
    /// Higher priority first: the highest of a thread's runs that are not over; without one, what it was before. Then
    /// tenants in turn: the one that was served longest ago comes first, with one thread; when each has had one, with a second
    /// one. Then who has waited longest: since it became ready (`created` of the run, `at` of the message, the answer, the
    /// cancellation or the entry that did it) or since its moment came.
    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error>;
    /// Takes one thread that is idle, interrupted or failed, whatever it runs on: `claim` names worker, time and lease. It
    /// keeps its status.
    async fn take(&self, thread: ThreadId, claim: Claim) -> Result<Taken, Error>;
    /// Keeps the claims of `worker`. A worker that cannot renew in time must stop.
    async fn renew(
        &self,
        worker: &str,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<(), Error>;
    /// Threads that `worker` has and that hold something to look at: a message, an open interrupt with an answer, a run to be
    /// cancelled that is not over (or is interrupted and the last that began), while no run is running a pending
    /// one without `not_before`.
    async fn mail(&self, worker: &str) -> Result<Vec<ThreadId>, Error>;
    /// Gives the claims of `worker` back at once.
    async fn release(&self, worker: &str) -> Result<(), Error>;
    /// Gives back at once what `name` and its [lives](life) have claimed, but for those whose name begins with `worker`: its
    /// life of today, and whoever takes threads beside it.
    async fn succeed(&self, name: &str, worker: &str) -> Result<(), Error>;
    /// [`Committed::Duplicate`] when the entry of that number was stored with this fence. [`Committed::Fenced`] when the thread
    /// is no longer this worker's, or is gone. [`Committed::Stale`] when the last entry is not the one before this one, or an
    /// interrupt that was to expire, be replaced or be postponed has been answered. Refused when it names a run or a parent that
    /// the thread does not have.
    ///
    /// [`Committed::Applied`] says with `cancel` that a run is to be cancelled that is not over (or is interrupted and the last
    /// that began), with `inbox` that there is a message or an open interrupt with an answer, or that the thread was to rest
    /// and is ready.
    async fn commit(&self, commit: Commit) -> Result<Committed, Error>;
    /// Remembers an effect. `Committed::Stale` when `Intended` finds an entry of that key, `Duplicate` when `Done` finds one
    /// that is done.
    async fn journal(
        &self,
        thread: ThreadId,
        fence: Fence,
        key: &str,
        effect: Effect,
    ) -> Result<Committed, Error>;
    /// A message wakes a thread that is waiting or interrupted; to another one it is kept. An answer wakes any thread at rest,
    /// and so does a cancellation, of a run that is not over or is interrupted and the last that began. A cancellation of
    /// a run that has a mark is a duplicate, unless it [outdoes](Cancel::outdoes) it.
    async fn signal(&self, thread: ThreadId, signal: Signal) -> Result<Signalled, Error>;

    async fn load(&self, thread: ThreadId) -> Result<Option<Loaded>, Error>;
    /// When the next thread at rest that nobody has wants to be woken.
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
    /// This many are passed over.
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
    /// The head, the entries with the newest checkpoint of each namespace, and of each the [progress](Threads::progress); of
    /// checkpoints only the newest ones. Where an entry that stays loses its parent and has no snapshot, the store folds the
    /// writes up to and including it into one, whose body is the entry's own: whoever writes bodies that mean nothing
    /// without the ones before stores a snapshot of the head first. Events of removed entries go; interrupts, journal, inbox
    /// and runs stay.
    Latest,
    /// The thread itself, now idle, and its runs. Its next entry has the number that it would have had.
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
    /// A second thread with the same history, checkpoint ids included, and state, and no runs. Questions have the same deadlines
    /// there: it is woken at the first of them. False when there is no `from`.
    async fn copy(&self, from: ThreadId, to: NewThread) -> Result<bool, Error>;
    /// With all that belongs to it; whoever works on it finds out at its next commit. False when there was none.
    async fn delete(&self, thread: ThreadId) -> Result<bool, Error>;
    /// Answers how many entries were removed. A thread that is ready, waiting or a worker's is left alone, and so is one with a
    /// run that is still to begin, now or later: it may begin at any of the thread's checkpoints, which the store does not know.
    async fn prune(&self, thread: ThreadId, keep: Keep) -> Result<u64, Error>;
    /// Removes threads that were kept for long enough since they were last updated, at most `max`; answers how many. Those that
    /// are ready, waiting, a worker's or have a run that is not over are left alone.
    async fn sweep(&self, now: Timestamp, max: usize) -> Result<u64, Error>;
    /// Removes threads that are idle or have failed and were last updated before `before`, oldest first, at most `max`; answers
    /// how many. Those that say themselves how long they are kept, a worker's, and those with a run that is not over are left
    /// alone.
    async fn retire(&self, before: Timestamp, max: usize) -> Result<u64, Error>;

    async fn run(&self, run: RunId) -> Result<Option<Run>, Error>;
    async fn runs(&self, query: RunQuery) -> Result<Vec<Run>, Error>;
    /// Removes a run that is over, also one that only entries know of (of whichever thread), and its checkpoints from the
    /// history. Its entries go
    /// with them, and so do their events, but for those that others build on or may be about to: the head of a thread that a
    /// worker has, and one that has lost its parent by [pruning](Keep::Latest) and so stands for what was before. Its interrupts
    /// go; a thread that waited for a person in this run is idle. False when nothing was there, or the run is not over.
    async fn delete_run(&self, run: RunId) -> Result<bool, Error>;

    /// Newest first: by entry, and within one in the opposite order of `Entry::checkpoints`.
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
