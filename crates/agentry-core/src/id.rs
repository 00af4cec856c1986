//! Identifiers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Timestamp;

/// Names one run for ever. Version 7: ids made later sort later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Uuid);

/// Names one thread for ever; callers may bring their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ThreadId(Uuid);

/// Names one checkpoint of a thread for ever. Version 7: ids made later sort later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CheckpointId(Uuid);

macro_rules! id {
    ($id:ident) => {
        impl $id {
            /// Time and randomness come from the caller, so that a replay makes the same ids.
            #[must_use]
            pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
                let millis = u64::try_from(now.as_millis()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }

            /// The id that always belongs to `key`: submitting the same key twice names the same thing.
            #[must_use]
            pub fn derived(now: Timestamp, key: &str) -> Self {
                use sha2::Digest;
                let digest = sha2::Sha256::digest(key.as_bytes());
                let mut random = [0; 10];
                for (to, from) in random.iter_mut().zip(digest.iter()) {
                    *to = *from;
                }
                Self::new(now, random)
            }

            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $id {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id!(RunId);
id!(ThreadId);
id!(CheckpointId);

impl RunId {
    /// The thread of a run that has one for itself.
    #[must_use]
    pub fn own_thread(self) -> ThreadId {
        ThreadId(self.0)
    }
}
