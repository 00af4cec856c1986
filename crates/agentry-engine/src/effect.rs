//! Effects: what a node does to the world, remembered so that it is not done twice.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentry_core::run::Effect;
use agentry_core::{Code, Failure, Fault, Retry, outbound};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What a repetition would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Nothing: the other side recognises the key. It is repeated when its outcome is unknown.
    Idempotent,
    /// Harm. It is never repeated: when its outcome is unknown, that is the outcome.
    Once,
}

/// Why the function of an effect has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// It surely did not happen, and trying again would change nothing.
    Refused(String),
    /// It surely did not happen; it may be tried again.
    NotDone(String),
    /// It may or may not have happened.
    Unknown(String),
}

impl From<outbound::Error> for Undone {
    fn from(error: outbound::Error) -> Self {
        match error {
            outbound::Error::Refused { .. } => Self::Refused(error.to_string()),
            outbound::Error::Unavailable { .. } => Self::NotDone(error.to_string()),
            outbound::Error::Ambiguous { .. } => Self::Unknown(error.to_string()),
        }
    }
}

/// Why an effect has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    NotDone(String),
    /// The process ended, or the other side fell silent, between the intention and the result.
    #[error("`{key}` may or may not have happened, and it is not repeated: {reason}")]
    Ambiguous { key: String, reason: String },
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Refused(_) => Code("effect_refused"),
            Self::NotDone(_) => Code("effect_not_done"),
            Self::Ambiguous { .. } => Code("effect_ambiguous"),
        }
    }

    fn fault(&self) -> Fault {
        Fault::Upstream
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Refused(_) | Self::Ambiguous { .. } => Retry::Never,
            Self::NotDone(_) => Retry::Now,
        }
    }
}

/// How a finished effect is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Value(Value),
    /// The attempt came to nothing, so a later one is allowed.
    Undone(String),
}

/// Where effects are kept.
#[async_trait]
pub trait Keeper: Send + Sync {
    /// Whether the entry is now ours: false when it was there already. Never answers when the run was lost meanwhile, for
    /// its task is about to be dropped.
    async fn keep(&self, entry: &str, effect: &Effect) -> bool;
}

/// Keeps nothing beyond the process.
pub struct Forgetful;

#[async_trait]
impl Keeper for Forgetful {
    async fn keep(&self, _: &str, _: &Effect) -> bool {
        true
    }
}

/// A run's effects, in memory and where they are kept.
pub struct Journal {
    /// Goes into the keys that the other side sees.
    owner: String,
    entries: Mutex<BTreeMap<String, Effect>>,
    keeper: Arc<dyn Keeper>,
}

enum Found {
    Done(Value),
    Intended,
    /// Nothing yet: the entry to make.
    Free(String),
}

impl Journal {
    #[must_use]
    pub fn new(owner: String, entries: BTreeMap<String, Effect>, keeper: Arc<dyn Keeper>) -> Self {
        Self { owner, entries: Mutex::new(entries), keeper }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Effect>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries().len()
    }

    /// The keys of everything that is remembered.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.entries().keys().cloned().collect()
    }

    /// Nobody will ask for these any more.
    pub(crate) fn forget(&self, keys: &[String]) {
        let mut entries = self.entries();
        for key in keys {
            entries.remove(key);
        }
    }

    pub(crate) async fn perform<F, Done, E>(
        &self,
        place: &str,
        class: Class,
        f: F,
    ) -> Result<Value, Error>
    where
        F: FnOnce(String) -> Done + Send,
        Done: Future<Output = Result<Value, E>> + Send,
        E: Into<Undone>,
    {
        let ambiguous = |reason: &str| {
            Err(Error::Ambiguous { key: place.to_owned(), reason: reason.to_owned() })
        };
        let entry = match self.find(place) {
            Found::Done(value) => return Ok(value),
            Found::Intended => return ambiguous("it was begun and its end was never seen"),
            Found::Free(entry) => entry,
        };
        let once = class == Class::Once;
        if once && !self.keep(&entry, Effect::Intended).await {
            return ambiguous("it was begun elsewhere");
        }
        match f(self.idempotency_key(place)).await.map_err(Into::into) {
            Ok(value) => {
                self.finish(&entry, Outcome::Value(value.clone())).await;
                Ok(value)
            }
            Err(Undone::Unknown(reason)) if once => ambiguous(&reason),
            Err(Undone::Unknown(reason)) => Err(Error::NotDone(reason)),
            Err(Undone::Refused(reason)) => {
                if once {
                    self.finish(&entry, Outcome::Undone(reason.clone())).await;
                }
                Err(Error::Refused(reason))
            }
            Err(Undone::NotDone(reason)) => {
                if once {
                    self.finish(&entry, Outcome::Undone(reason.clone())).await;
                }
                Err(Error::NotDone(reason))
            }
        }
    }

    /// Each attempt that came to nothing has taken one number.
    fn find(&self, place: &str) -> Found {
        let entries = self.entries();
        let mut number = 0_u32;
        loop {
            let entry = format!("{place}~{number}");
            match entries.get(&entry) {
                None => return Found::Free(entry),
                Some(Effect::Intended) => return Found::Intended,
                Some(Effect::Done { value }) => match Outcome::deserialize(value) {
                    Ok(Outcome::Value(value)) => return Found::Done(value),
                    Ok(Outcome::Undone(_)) => number += 1,
                    Err(_) => return Found::Intended,
                },
            }
        }
    }

    async fn finish(&self, entry: &str, outcome: Outcome) {
        let value = match outcome {
            Outcome::Value(value) => json!({ "value": value }),
            Outcome::Undone(reason) => json!({ "undone": reason }),
        };
        self.keep(entry, Effect::Done { value }).await;
    }

    async fn keep(&self, entry: &str, effect: Effect) -> bool {
        if !self.keeper.keep(entry, &effect).await {
            return false;
        }
        self.entries().insert(entry.to_owned(), effect);
        true
    }

    fn idempotency_key(&self, place: &str) -> String {
        let digest = Sha256::digest(format!("{}/{place}", self.owner).as_bytes());
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}
