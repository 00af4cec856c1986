//! What a system says about itself: metrics, logs, traces, changes; and the port through which we read it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Code, Failure, Fault, Retry, Timestamp};

/// Half-open: from `start`, up to but without `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Window {
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }
}

/// Raw samples of one time series, oldest first; counters are not yet rates.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The metric's name, with its unit suffix: `http_requests_total`.
    pub name: String,
    pub service: String,
    /// Without the name and the service.
    pub labels: BTreeMap<String, String>,
    pub points: Vec<(Timestamp, f64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    pub at: Timestamp,
    pub service: String,
    pub level: Level,
    pub message: String,
    pub trace_id: Option<String>,
    /// Where to find it again: `file:line` or the store's own id.
    pub handle: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    Server,
    Client,
    Internal,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub trace_id: String,
    pub span_id: String,
    pub parent_id: Option<String>,
    pub service: String,
    pub name: String,
    pub kind: SpanKind,
    pub start: Timestamp,
    pub duration_us: u64,
    pub failed: bool,
    /// The other end, where the span itself names it (OpenTelemetry's `peer.service`).
    pub peer: Option<String>,
}

/// Something that a person or a pipeline did to the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub at: Timestamp,
    pub service: String,
    /// `deploy`, `config`, `flag`, `scale`, …
    pub kind: String,
    pub summary: String,
    /// What to name when it is to be undone.
    pub revision: Option<String>,
    /// What it would be undone to.
    pub previous: Option<String>,
    pub handle: String,
}

/// Which part, and how much at the most. What is cut is said in [`Page::truncated`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub window: Window,
    /// Only these services; all when empty.
    pub services: Vec<String>,
    /// Series, lines, spans or changes.
    pub items_max: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub truncated: bool,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { items: Vec::new(), truncated: false }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{source_name} cannot be reached: {reason}")]
    Unavailable { source_name: String, reason: String },
    #[error("{source_name} took longer than {after_ms} ms")]
    TimedOut { source_name: String, after_ms: u64 },
    #[error("{source_name} answered something unreadable: {reason}")]
    Malformed { source_name: String, reason: String },
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Unavailable { .. } => Code("telemetry_unavailable"),
            Self::TimedOut { .. } => Code("telemetry_timed_out"),
            Self::Malformed { .. } => Code("telemetry_malformed"),
        }
    }

    fn fault(&self) -> Fault {
        Fault::Upstream
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Unavailable { .. } | Self::TimedOut { .. } => Retry::Now,
            Self::Malformed { .. } => Retry::Never,
        }
    }
}

/// Reads what a system says about itself. A source that is not configured answers an empty page.
#[async_trait]
pub trait Telemetry: Send + Sync {
    async fn metrics(&self, query: &Query) -> Result<Page<Series>, Error>;
    async fn logs(&self, query: &Query) -> Result<Page<LogLine>, Error>;
    async fn spans(&self, query: &Query) -> Result<Page<Span>, Error>;
    async fn changes(&self, query: &Query) -> Result<Page<Change>, Error>;
}
