//! The incident as people read it. One data structure; what is shown in a terminal, a ticket, a message and as JSON comes
//! from it.
//!
//! Much of its text was written by the system that is in trouble, or by whoever sends it requests. Every renderer cleans,
//! cuts and escapes it for its own medium.

use agentry_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalogue::Proposal;
use crate::diagnose::{Diagnosis, Verdict};

mod jira;
mod markdown;
mod outline;
mod slack;
mod terminal;
mod text;

pub use jira::jira;
pub use markdown::markdown;
pub use slack::{slack, slack_update};
pub use terminal::{Style, terminal};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub incident: String,
    pub title: String,
    /// As alerts name it: `critical`, `warning`, …
    pub severity: String,
    pub status: Status,
    pub since: Timestamp,
    pub detected: Timestamp,
    pub services: Vec<String>,
    pub alerts: Vec<AlertCount>,
    pub diagnosis: Diagnosis,
    pub proposals: Vec<Proposal>,
    /// What a person should look at.
    pub checks: Vec<String>,
    /// What was done, oldest first.
    pub timeline: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Open,
    WaitingForApproval,
    Mitigated,
    Resolved,
}

impl Status {
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::WaitingForApproval => "waiting for approval",
            Self::Mitigated => "mitigated",
            Self::Resolved => "resolved",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertCount {
    pub name: String,
    pub service: String,
    /// Firings, repeats included.
    pub count: u64,
}

/// Who did what, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub at: Timestamp,
    pub actor: String,
    pub what: String,
}

impl Report {
    /// The answer in one sentence.
    #[must_use]
    pub fn probable_cause(&self) -> String {
        match &self.diagnosis.verdict {
            Verdict::Named { service, hypothesis } => format!("{service} {}", hypothesis.words()),
            Verdict::Unknown { reason } => reason.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
