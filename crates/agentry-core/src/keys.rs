//! The port of API keys: who holds which key, and what it allows. A store knows digests, never secrets.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::ledger::Per;
use crate::store::Error;
use crate::{MicroUsd, Timestamp, audit};

/// A key as it is kept: everything but its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Names this key for ever; its name may go to another one after a rotation.
    pub id: String,
    /// SHA-256 of the whole secret.
    pub digest: [u8; 32],
    /// How the secret ends, so that people recognise it.
    pub hint: String,
    pub tenant: String,
    /// What limits and budgets are counted under. At most one key that is neither revoked nor replaced has it.
    pub name: String,
    pub team: Option<String>,
    pub user: Option<String>,
    pub terms: Terms,
    pub created: Timestamp,
    pub expires: Option<Timestamp>,
    pub revoked: Option<Timestamp>,
    /// The key that took its place.
    pub replaced_by: Option<String>,
    /// Coarse, and late by a minute or more.
    pub used: Option<Timestamp>,
}

/// What a key allows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    pub scopes: Vec<String>,
    /// The only models it may name, as aliases or as patterns that end in `*`; all of them when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// The only networks it may be used from; any when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpm: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    #[serde(skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// No more than so much in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    #[serde(rename = "micro_usd")]
    pub cap: MicroUsd,
    #[serde(with = "per")]
    pub per: Per,
}

/// Who waits for whom when there is not enough for all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

impl Priority {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }

    #[must_use]
    pub fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

/// [`Terms`] as a store writes them down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "v")]
pub enum StoredTerms {
    #[serde(rename = "1")]
    V1(Terms),
}

impl From<StoredTerms> for Terms {
    fn from(stored: StoredTerms) -> Self {
        let StoredTerms::V1(terms) = stored;
        terms
    }
}

/// One act on the keys. It and what is said about it in the audit log are stored together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Create {
        key: Box<Key>,
    },
    Revoke {
        tenant: String,
        id: String,
        at: Timestamp,
    },
    /// `key` takes over the name; the old one is good until `until`, or its own end if that comes first.
    Rotate {
        tenant: String,
        id: String,
        key: Box<Key>,
        until: Timestamp,
    },
    /// Revokes the keys of a person, and forgets whose they were.
    ForgetUser {
        tenant: String,
        user: String,
        at: Timestamp,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// So many keys are not what they were.
    Done(u64),
    /// The tenant has no such key.
    NotFound,
    /// Another key that is in use has the name.
    NameTaken,
    /// It is revoked or replaced already.
    Over,
}

/// All keys at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    pub version: u64,
    /// Oldest first, revoked ones too.
    pub keys: Vec<Key>,
}

/// Keeps keys.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Grows with every change of any instance. Cheap: it is asked several times a second.
    async fn version(&self) -> Result<u64, Error>;
    async fn keys(&self) -> Result<Keys, Error>;
    /// Only what is [`Changed::Done`] changes anything and stands in the audit log.
    async fn change(&self, change: Change, audit: Vec<audit::Entry>) -> Result<Changed, Error>;
    /// Notes when keys were last used, never an earlier time than before. This is no change of version.
    async fn used(&self, uses: Vec<(String, Timestamp)>) -> Result<(), Error>;
    /// The chained log in which changes stand, after the record of that number. It is that of the runs where both are kept
    /// in one place.
    async fn key_audit(&self, after: u64, max: usize) -> Result<Vec<audit::Record>, Error>;
}

/// A place where something is kept that belongs to a person.
#[async_trait]
pub trait UserData: Send + Sync {
    /// What is kept, as the answer to a deletion names it: `usage`.
    fn name(&self) -> &str;
    /// Deletes it, or takes the person out of it; says from how many records.
    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error>;
}

mod per {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::ledger::Per;

    pub(super) fn serialize<S: Serializer>(per: &Per, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(per.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Per, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_of_the_first_version_stay_readable() {
        let stored = r#"{"v":"1","scopes":["llm:*","of:another:version"],"models":["fast"],"addresses":["10.0.0.0/8"],
            "rpm":600,"tpm":200000,"concurrency":50,"budgets":[{"micro_usd":5000000,"per":"day"}],
            "priority":"high","metadata":{"cost center":"7"}}"#;
        let read: StoredTerms = serde_json::from_str(stored).unwrap();
        let terms = Terms::from(read.clone());
        assert_eq!(terms.scopes, ["llm:*", "of:another:version"]);
        assert_eq!(terms.budgets, [Budget { cap: MicroUsd(5_000_000), per: Per::Day }]);
        assert_eq!(
            (terms.rpm, terms.concurrency, terms.priority),
            (Some(600), Some(50), Priority::High)
        );
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<StoredTerms>(&written).unwrap(), read);
        let least: StoredTerms = serde_json::from_str(r#"{"v":"1"}"#).unwrap();
        assert_eq!(Terms::from(least), Terms::default());
        assert!(serde_json::from_str::<StoredTerms>(r#"{"v":"2","scopes":[]}"#).is_err());
    }
}
