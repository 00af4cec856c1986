//! The port of idempotency keys: a request that is sent again gets the answer that it got before, and pays nothing.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::Timestamp;
use crate::store::Error;

/// An answer that is larger is not kept.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;

/// How long answers are usually kept.
pub const KEPT: Duration = Duration::from_secs(86_400);

/// A request that names a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    pub tenant: String,
    pub key: String,
    /// Whose answer it is, where that is known.
    pub user: Option<String>,
    /// Of everything that makes it this request.
    pub request: [u8; 32],
    pub now: Timestamp,
    /// When whoever answers it must be done or gone.
    pub busy_until: Timestamp,
    /// How long the answer is kept.
    pub keep_until: Timestamp,
}

/// The right, and the duty, to answer a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    pub tenant: String,
    pub key: String,
    /// Larger than that of any earlier ticket for the key: whoever has an older one may no longer answer.
    pub attempt: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Nobody has answered it; end with [`Idempotency::finish`] or [`Idempotency::abandon`].
    New(Ticket),
    /// Somebody answers it at this moment.
    InProgress,
    /// What was answered, byte for byte.
    Replay(Bytes),
    /// It was answered and paid for, but the answer was too large to be kept.
    NotKept,
    /// Another request had this key.
    Conflict,
}

/// Keeps answers for a while. A key belongs to a tenant.
#[async_trait]
pub trait Idempotency: Send + Sync {
    async fn begin(&self, begin: Begin) -> Result<Begun, Error>;
    /// Keeps the answer, unless somebody else has taken over; says whether it was kept or recorded as too large.
    async fn finish(&self, ticket: &Ticket, answer: Bytes) -> Result<bool, Error>;
    /// Nothing was paid for: the next one begins anew.
    async fn abandon(&self, ticket: &Ticket) -> Result<(), Error>;
    /// Removes what need not be kept any longer; says how much it was.
    async fn forget_expired(&self, now: Timestamp) -> Result<u64, Error>;
    /// Removes all that is one person's, what is being answered too: its answer will not be kept. Says how much it was.
    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error>;
}
