//! The port to what several instances have in common: answers kept, uses counted, hints passed on.
//!
//! All of it is a help and none of it a truth. Whoever calls must get along with [`Error::Away`], and nothing is stored
//! here that is not somewhere else or can be made again.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use serde::{Deserialize, Serialize};

use crate::{Code, Failure, Fault, Retry};

/// No value may be longer.
pub const VALUE_BYTES_MAX: usize = 4 << 20;

/// A value on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Vec<u8>,
    pub value: Bytes,
    /// It is gone after this, at the latest.
    pub ttl: Duration,
    /// It is gone as soon as one of these is invalidated.
    pub tags: Vec<String>,
}

/// A value on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub value: Bytes,
    /// How long it would still be there.
    pub ttl: Duration,
}

/// Some uses of something that is counted in windows of equal length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    pub key: String,
    pub window: Duration,
    /// Less than nothing takes back what was counted too much.
    pub amount: i64,
}

/// What all instances together have counted, at one moment of the clock that they share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The number of the window in which the uses were counted. The next one has the next number.
    pub window: u64,
    /// How much of that window is over.
    pub into: Duration,
    pub current: u64,
    /// In the window before.
    pub previous: u64,
}

/// A thing that other instances should know of soon. It may come late, twice or never.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Hint {
    /// An API key must not be accepted any more.
    KeyRevoked { id: String },
    /// What is kept under this tag is not to be used any more.
    TagInvalidated { tag: String },
    /// What is kept under this key, written in hexadecimal, is not to be used any more.
    KeyInvalidated { key: String },
    /// Hints may have been lost: look at everything anew. Only ever made by the receiving side.
    Missed,
}

/// Ends when the process does.
pub type Hints = Pin<Box<dyn Stream<Item = Hint> + Send>>;

/// Every operation has a short deadline of its own.
#[async_trait]
pub trait Shared: Send + Sync {
    async fn get(&self, key: &[u8]) -> Result<Option<Found>, Error>;

    async fn set(&self, entry: Entry) -> Result<(), Error>;

    async fn delete(&self, key: &[u8]) -> Result<(), Error>;

    /// Everything that was set under the tag until now is gone.
    async fn invalidate(&self, tag: &str) -> Result<(), Error>;

    /// Counts, and tells the sums that result: one for each count, in their order.
    async fn add(&self, counts: Vec<Count>) -> Result<Vec<Counted>, Error>;

    /// Says that `instance` lives for `ttl` at least; tells how many live, itself included.
    async fn present(&self, instance: &str, ttl: Duration) -> Result<u32, Error>;

    async fn publish(&self, hint: Hint) -> Result<(), Error>;

    /// Hints from now on, one's own included.
    fn hints(&self) -> Hints;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the shared store is away, each instance works by itself: {reason}")]
    Away { reason: String },
    #[error(
        "a value of {bytes} bytes is too long for the shared store, which takes {VALUE_BYTES_MAX}"
    )]
    TooLong { bytes: usize },
}

impl Failure for Error {
    fn code(&self) -> Code {
        Code(match self {
            Self::Away { .. } => "shared_away",
            Self::TooLong { .. } => "shared_value_too_long",
        })
    }

    fn fault(&self) -> Fault {
        Fault::Ours
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Away { .. } => Retry::Now,
            Self::TooLong { .. } => Retry::Never,
        }
    }
}
