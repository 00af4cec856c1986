//! The port of batches: many requests that are answered when there is time for them, each exactly once.
//!
//! An item is claimed for a while, answered, and its answer stored under the claim; whoever has lost the claim stores
//! nothing. A batch is finished when each of its items is answered or dropped.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;

use crate::caller::Limits;
use crate::keys::{Priority, Terms};
use crate::store::Error;
use crate::{Caller, Timestamp};

/// On whose behalf a batch is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub tenant: String,
    pub key_id: String,
    /// What limits and budgets are counted under.
    pub name: String,
    pub team: Option<String>,
    pub user: Option<String>,
    /// As they were when the batch was made.
    pub terms: Terms,
}

impl Owner {
    /// As model calls know it. It waits for everybody else.
    #[must_use]
    pub fn caller(&self) -> Caller {
        let Self { tenant, key_id: _, name, team, user, terms } = self;
        Caller {
            tenant: tenant.as_str().into(),
            name: name.as_str().into(),
            team: team.as_deref().map(Into::into),
            user: user.as_deref().map(Into::into),
            limits: Limits {
                rpm: terms.rpm,
                tpm: terms.tpm,
                concurrency: terms.concurrency,
                budgets: terms.budgets.clone(),
                priority: Priority::Low,
            },
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBatch {
    pub id: String,
    pub owner: Owner,
    /// The path of its requests, or of the first of them.
    pub endpoint: String,
    /// Where its requests were read from.
    pub input_file: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub created: Timestamp,
    /// What is not begun by then is dropped.
    pub expires: Timestamp,
    /// When it and all its answers are forgotten.
    pub keep_until: Timestamp,
    pub items: Vec<NewItem>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewItem {
    /// Unique in its batch.
    pub custom_id: String,
    pub url: String,
    pub body: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub id: String,
    pub owner: Owner,
    pub endpoint: String,
    pub input_file: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub created: Timestamp,
    pub expires: Timestamp,
    pub keep_until: Timestamp,
    pub cancelled: Option<Timestamp>,
    /// When the last of its items was answered or dropped.
    pub finished: Option<Timestamp>,
    pub counts: Counts,
}

/// Of items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub total: u64,
    /// Answered well.
    pub completed: u64,
    /// Answered with an error.
    pub failed: u64,
    /// Never answered: the batch was cancelled, or its time was over.
    pub dropped: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    InProgress,
    Completed,
    Cancelling,
    Cancelled,
    Expired,
}

impl Batch {
    #[must_use]
    pub fn status(&self) -> Status {
        match (self.finished, self.cancelled) {
            (None, None) => Status::InProgress,
            (None, Some(_)) => Status::Cancelling,
            (Some(_), Some(_)) => Status::Cancelled,
            (Some(_), None) if self.counts.dropped > 0 => Status::Expired,
            (Some(_), None) => Status::Completed,
        }
    }
}

/// Why an item was never answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    Cancelled,
    Expired,
}

impl Dropped {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// What a caller would have read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// JSON.
    pub body: Bytes,
}

impl Answer {
    #[must_use]
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemResult {
    /// From 0, in the order of the requests.
    pub number: u64,
    pub custom_id: String,
    pub outcome: Result<Answer, Dropped>,
}

/// A batch with items that can be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub batch: String,
    pub tenant: String,
}

/// Who claims an item, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub batch: String,
    pub holder: String,
    pub now: Timestamp,
    pub lease_until: Timestamp,
}

/// The right to answer an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub batch: String,
    pub number: u64,
    /// Grows with each claim: older ones are void.
    pub claim: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    pub lease: Lease,
    pub owner: Owner,
    pub url: String,
    pub body: Bytes,
    /// How often it was tried and put back because something was broken.
    pub tries: u32,
}

/// What batches are made of, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub id: String,
    pub tenant: String,
    pub user: Option<String>,
    pub name: String,
    pub bytes: u64,
    pub created: Timestamp,
    pub keep_until: Timestamp,
}

/// One page of what a tenant has, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub tenant: String,
    /// Only what was made before the one of this id; nothing when there is no such.
    pub before: Option<String>,
    pub max: usize,
}

/// Keeps batches, their answers and their files. Each command is stored whole or not at all.
#[async_trait]
pub trait Batches: Send + Sync {
    async fn create(&self, batch: NewBatch) -> Result<(), Error>;
    async fn batch(&self, tenant: &str, id: &str) -> Result<Option<Batch>, Error>;
    async fn batches(&self, page: Page) -> Result<Vec<Batch>, Error>;
    /// Of items from number `from` on, in their order, those that are not open any more.
    async fn results(
        &self,
        (tenant, id): (&str, &str),
        from: u64,
        max: usize,
    ) -> Result<Vec<ItemResult>, Error>;
    /// Drops what nobody has claimed. Says whether the tenant has such a batch; one that is finished stays as it is.
    async fn cancel(&self, tenant: &str, id: &str, now: Timestamp) -> Result<bool, Error>;

    /// The oldest batches of each tenant that have items to claim, and are neither cancelled nor over their time; oldest
    /// first.
    async fn waiting(&self, now: Timestamp, of_each: usize) -> Result<Vec<Waiting>, Error>;
    /// The first item that nobody holds, those of lapsed leases included.
    async fn claim(&self, claim: Claim) -> Result<Option<Claimed>, Error>;
    async fn renew(&self, holder: &str, lease_until: Timestamp) -> Result<(), Error>;
    /// What a former life of `holder` has held waits again; says how many items it was.
    async fn release(&self, holder: &str) -> Result<u64, Error>;
    /// Stores the answer, unless somebody else has claimed the item; says whether it did.
    async fn finish(&self, lease: &Lease, answer: Answer, now: Timestamp) -> Result<bool, Error>;
    /// The item waits again, after so many tries.
    async fn put_back(&self, lease: &Lease, tries: u32) -> Result<(), Error>;
    /// Drops what nobody holds of batches that are cancelled or over their time; says how many items it was.
    async fn sweep(&self, now: Timestamp) -> Result<u64, Error>;

    async fn put_file(&self, file: File, content: Bytes) -> Result<(), Error>;
    async fn file(&self, tenant: &str, id: &str) -> Result<Option<File>, Error>;
    async fn files(&self, page: Page) -> Result<Vec<File>, Error>;
    async fn content(&self, tenant: &str, id: &str) -> Result<Option<Bytes>, Error>;
    async fn delete_file(&self, tenant: &str, id: &str) -> Result<bool, Error>;

    /// Removes what need not be kept any longer; says how many batches and files it was.
    async fn forget_expired(&self, now: Timestamp) -> Result<u64, Error>;
    /// Removes all batches and files of a person; says how many they were.
    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_follows_from_what_happened() {
        let moment = Some(Timestamp::from_seconds(1));
        let check = |finished, cancelled, dropped, expected| {
            let owner = Owner {
                tenant: "main".to_owned(),
                key_id: "k".to_owned(),
                name: "ci".to_owned(),
                team: None,
                user: None,
                terms: Terms::default(),
            };
            let start = Timestamp::from_seconds(0);
            let batch = Batch {
                id: "b".to_owned(),
                owner,
                endpoint: String::new(),
                input_file: None,
                metadata: BTreeMap::new(),
                created: start,
                expires: start,
                keep_until: start,
                cancelled,
                finished,
                counts: Counts { total: 3, completed: 1, failed: 1, dropped },
            };
            assert_eq!(batch.status(), expected);
        };
        check(None, None, 0, Status::InProgress);
        check(None, None, 1, Status::InProgress);
        check(None, moment, 1, Status::Cancelling);
        check(moment, moment, 1, Status::Cancelled);
        check(moment, None, 1, Status::Expired);
        check(moment, None, 0, Status::Completed);
    }
}
