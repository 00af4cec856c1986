//! The one log: the port through which runs, topics and the audit log are kept.
//!
//! Commands are closed: no transaction crosses this port, so a backend may batch as it likes. An acknowledged command is
//! durable. [`Error::Ambiguous`] means what it says: read again before you assume.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audit;
use crate::run::{
    Answer, Committed, Effect, Event, Fence, Interrupt, Loaded, Message, NewRun, RunCommit, RunRow,
    Status,
};
use crate::{Code, Failure, Fault, Retry, RunId, Timestamp};

/// A fact that concerns more than one run, at the end of its topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewRecord {
    pub topic: String,
    /// What to find it by.
    pub key: String,
    pub payload: Value,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Grows along the log; gaps are possible.
    pub offset: u64,
    pub topic: String,
    pub key: String,
    pub payload: Value,
}

/// What came in from outside and what was decided about it: all of it is stored, or none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Intake {
    pub records: Vec<NewRecord>,
    /// A run whose key exists already is left as it is.
    pub submit: Vec<NewRun>,
    /// To runs that exist or are submitted here, else the intake is refused. What is addressed to a submission whose
    /// key exists goes to the run that has the key. To a finished run it is kept but changes nothing.
    pub messages: Vec<(RunId, Message)>,
    pub audit: Vec<audit::Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    Created(RunId),
    Existing(RunId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub worker: String,
    pub now: Timestamp,
    pub lease_until: Timestamp,
    pub runs_max: usize,
    /// Graph name and version pairs that this worker has.
    pub graphs: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    pub fence: Fence,
    pub loaded: Loaded,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    Message(Message),
    Answer { interrupt: String, answer: Answer, audit: Vec<audit::Entry> },
    Cancel { reason: String, audit: Vec<audit::Entry> },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Signalled {
    Accepted,
    /// The same message was there before.
    Duplicate,
    /// No such run, or no such open interrupt.
    NotFound,
    /// Somebody was faster; this is the answer that counts.
    AlreadyAnswered(Answer),
    /// The interrupt's deadline has passed.
    Expired,
    /// The run is over.
    Finished(Status),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunQuery {
    pub graph: Option<String>,
    pub status: Option<Status>,
    /// Only runs older than this one (exclusive); newest first.
    pub before: Option<RunId>,
    pub runs_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored<T> {
    pub offset: u64,
    pub item: T,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was stored.
    #[error("the store cannot take this now: {0}")]
    Unavailable(String),
    /// It may or may not be stored.
    #[error("the store did not confirm: {0}")]
    Ambiguous(String),
    /// Nothing was stored; come back later.
    #[error("the store's queue is full")]
    Overloaded,
    /// Nothing was stored, and the same command would be refused again.
    #[error("the store refuses this: {0}")]
    Refused(String),
    /// What is stored cannot be read by this version.
    #[error("stored data is not readable: {0}")]
    Incompatible(String),
    /// The store has stopped for good: the process must not acknowledge anything more.
    #[error("the store has failed and was closed: {0}")]
    Fatal(String),
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Unavailable(_) | Self::Ambiguous(_) | Self::Fatal(_) => {
                Code("storage_unavailable")
            }
            Self::Overloaded => Code("storage_overloaded"),
            Self::Refused(_) => Code("storage_refused"),
            Self::Incompatible(_) => Code("storage_incompatible"),
        }
    }

    fn fault(&self) -> Fault {
        Fault::Ours
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Unavailable(_) | Self::Ambiguous(_) => Retry::Now,
            Self::Overloaded => Retry::After(std::time::Duration::from_secs(1)),
            Self::Refused(_) | Self::Incompatible(_) | Self::Fatal(_) => Retry::Never,
        }
    }
}

/// Keeps runs.
///
/// What one process writes is decided in the order in which it was sent, also when the caller has given up waiting: an
/// acknowledged write comes after everything that was sent before it.
#[async_trait]
pub trait RunStore: Send + Sync {
    async fn submit(&self, run: NewRun) -> Result<Submitted, Error>;
    async fn intake(&self, intake: Intake) -> Result<(), Error>;

    /// Takes ready runs, parked ones whose moment has come, and those of other workers whose lease is over.
    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error>;
    /// Keeps the claims of `worker`. A worker that cannot renew in time must stop.
    async fn renew(
        &self,
        worker: &str,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<(), Error>;
    /// Runs claimed by `worker` that something came for since: a message, an answer, a cancellation.
    async fn mail(&self, worker: &str) -> Result<Vec<RunId>, Error>;
    /// Gives the claims of `worker` back at once.
    async fn release(&self, worker: &str) -> Result<(), Error>;
    async fn commit(&self, commit: RunCommit) -> Result<Committed, Error>;
    /// Remembers an effect. `Committed::Stale` when `Intended` finds an entry of that key.
    async fn journal(
        &self,
        run: RunId,
        fence: Fence,
        key: &str,
        effect: Effect,
    ) -> Result<Committed, Error>;
    async fn signal(&self, run: RunId, signal: Signal) -> Result<Signalled, Error>;

    async fn load(&self, run: RunId) -> Result<Option<Loaded>, Error>;
    async fn runs(&self, query: RunQuery) -> Result<Vec<RunRow>, Error>;
    /// Open interrupts with a question that nobody has answered, oldest first.
    async fn questions(&self, max: usize) -> Result<Vec<Interrupt>, Error>;
    async fn events(&self, run: RunId, after: u64, max: usize)
    -> Result<Vec<Stored<Event>>, Error>;
    /// When the next parked run wants to be woken.
    async fn next_wake(&self) -> Result<Option<Timestamp>, Error>;
}

/// Reads what [`RunStore::intake`] and commits have logged.
#[async_trait]
pub trait Log: Send + Sync {
    /// Records of `topic` after `offset`, all or those of one key.
    async fn records(
        &self,
        topic: &str,
        key: Option<&str>,
        after: u64,
        max: usize,
    ) -> Result<Vec<Record>, Error>;
    /// The newest records of `topic` before `offset` (or the very newest), newest first.
    async fn tail(
        &self,
        topic: &str,
        before: Option<u64>,
        max: usize,
    ) -> Result<Vec<Record>, Error>;
    async fn audit(&self, after: u64, max: usize) -> Result<Vec<audit::Record>, Error>;
}
