//! The audit log: append-only, each entry bound to all before it by a hash.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::Timestamp;

/// Something that was done and must be answerable for: who, what, on what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub at: Timestamp,
    /// Who did it: `system`, `agent`, `person:NAME`, `key:NAME`.
    pub actor: String,
    /// What was done, as a dotted constant: `incident.opened`, `approval.granted`.
    pub action: String,
    /// What it was done to: an incident, a run, an approval.
    pub subject: String,
    pub detail: Value,
}

impl Entry {
    /// Whose affair it is: what the detail names, else `main`.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.detail.get("tenant").and_then(Value::as_str).unwrap_or("main")
    }
}

/// SHA-256, written as lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest([u8; 32]);

/// An entry at its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counts from 1.
    pub number: u64,
    /// The canonical bytes that were hashed: the entry as it was first written.
    pub entry: String,
    pub digest: Digest,
}

impl Record {
    /// Chains `entry` behind a log whose last record has `number` and `digest` (0 and the default for an empty log).
    pub fn link(number: u64, digest: Digest, entry: &Entry) -> Result<Self, serde_json::Error> {
        let text = serde_json::to_string(entry)?;
        Ok(Self { number: number + 1, digest: bind(number + 1, digest, &text), entry: text })
    }
}

fn bind(number: u64, previous: Digest, entry: &str) -> Digest {
    let mut hash = Sha256::new();
    hash.update(previous.0);
    hash.update(number.to_be_bytes());
    hash.update(entry.as_bytes());
    Digest(hash.finalize().into())
}

/// Walks a chain from its first record and reports where it breaks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verifier {
    number: u64,
    digest: Digest,
}

/// The first place where the log is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("record {expected} is missing: the log goes on with {found}")]
    Gap { expected: u64, found: u64 },
    #[error("record {number} was changed after it was written")]
    Changed { number: u64 },
}

impl Verifier {
    pub fn check(&mut self, record: &Record) -> Result<(), Broken> {
        let expected = self.number + 1;
        if record.number != expected {
            return Err(Broken::Gap { expected, found: record.number });
        }
        if record.digest != bind(record.number, self.digest, &record.entry) {
            return Err(Broken::Changed { number: record.number });
        }
        self.number = record.number;
        self.digest = record.digest;
        Ok(())
    }

    /// How many records were good, and the digest to note down elsewhere: it pins the whole log.
    #[must_use]
    pub fn head(&self) -> (u64, Digest) {
        (self.number, self.digest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 hexadecimal digits")]
pub struct NotADigest;

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(NotADigest);
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            let pair = text.get(at * 2..at * 2 + 2).ok_or(NotADigest)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NotADigest)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
