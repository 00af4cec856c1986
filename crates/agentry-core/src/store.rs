//! What every store has in common: its errors, the topics and the audit log.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audit;
use crate::{Code, Failure, Fault, Retry};

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

/// Reads what [intakes](crate::threads::ThreadStore::intake) and commits have logged.
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
