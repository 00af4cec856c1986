//! An alert, whoever sent it.

use std::collections::BTreeMap;

use agentry_core::{Code, Failure, Fault, Retry, Timestamp};
use serde::{Deserialize, Serialize};

mod parse;
#[cfg(test)]
mod tests;

pub use parse::{alertmanager, generic};

/// More labels than this on one alert is a mistake of the sender.
pub const LABELS_MAX: usize = 256;
/// A label or annotation is cut to this many bytes.
pub const TEXT_BYTES_MAX: usize = 4_096;
/// More alerts than this in one request are refused.
pub const ALERTS_MAX: usize = 10_000;

/// How bad it is. Ordered: an incident is as bad as its worst alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    Warning,
    Critical,
    Emergency,
}

impl Severity {
    /// Reads what senders write; an unknown word is a warning, because it must neither page nor be ignored.
    #[must_use]
    pub fn read(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "emergency" | "fatal" | "disaster" | "p0" | "sev0" => Self::Emergency,
            "critical" | "crit" | "page" | "high" | "error" | "p1" | "sev1" => Self::Critical,
            "info" | "information" | "informational" | "none" | "low" | "debug" | "p4" | "p5" => {
                Self::Info
            }
            _ => Self::Warning,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Emergency => "emergency",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Firing,
    Resolved,
}

/// Which alert it is, whenever it fires: the same labels have the same fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Keeps the sender's own fingerprint, so that ours and theirs can be compared.
    #[must_use]
    pub fn given(text: &str) -> Option<Self> {
        let usable = !text.is_empty()
            && text.len() <= 64
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        usable.then(|| Self(text.to_owned()))
    }

    /// FNV-1a over the sorted labels, as Prometheus computes it.
    #[must_use]
    pub fn of(labels: &BTreeMap<String, String>) -> Self {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let mut eat = |bytes: &[u8]| {
            for byte in bytes.iter().chain(&[0xff]) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        for (name, value) in labels {
            eat(name.as_bytes());
            eat(value.as_bytes());
        }
        Self(format!("{hash:016x}"))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    pub fingerprint: Fingerprint,
    pub name: String,
    pub service: String,
    /// Incidents never span two environments (`environment`, `env` or `cluster` label).
    pub environment: String,
    pub severity: Severity,
    pub state: State,
    pub started: Timestamp,
    pub ended: Option<Timestamp>,
    pub summary: String,
    pub labels: BTreeMap<String, String>,
}

impl Alert {
    /// One firing of one alert: what must never be counted twice.
    #[must_use]
    pub fn firing_key(&self) -> String {
        format!("{}@{}", self.fingerprint.as_str(), self.started.as_micros())
    }
}

/// An alert of a request that was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    pub index: usize,
    /// The field at fault, as a path: `alerts[3].startsAt`.
    pub param: String,
    pub reason: String,
}

/// What a request held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    pub alerts: Vec<Alert>,
    pub rejected: Vec<Rejected>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the body is not the JSON that is expected here: {0}")]
    Unreadable(String),
    #[error("{param}: {reason}")]
    Invalid { param: String, reason: String },
    #[error("one request may carry {ALERTS_MAX} alerts, this one has {0}: send them in parts")]
    TooMany(usize),
}

impl Error {
    /// The field at fault, where there is one.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::Invalid { param, .. } => Some(param),
            Self::Unreadable(_) | Self::TooMany(_) => None,
        }
    }
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Unreadable(_) => Code("invalid_json"),
            Self::Invalid { .. } => Code("invalid_alert"),
            Self::TooMany(_) => Code("too_many_alerts"),
        }
    }

    fn fault(&self) -> Fault {
        Fault::Caller
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}
