//! Telemetry from files in a folder, one JSON document a line.
//!
//! | files | a line is |
//! |---|---|
//! | `logs/*` | `{"timestamp", "level", "service", "message", "trace_id"}` or text that begins with an RFC 3339 time |
//! | `traces/*` | an OTLP/JSON `ExportTraceServiceRequest` |
//! | `changes/*` | `{"timestamp", "service", "kind", "summary", "revision", "previous"}` |
//! | `metrics/*` | one scrape: `{"timestamp", "service", "samples": [{"name", "labels", "value"}]}` |
//!
//! A folder without such a sub-folder is read itself, so that `/var/log/app` works too. Programs write these files while we
//! read them: a line that is broken is skipped and counted, never an error.

mod changes;
mod logs;
mod metrics;
mod newest;
mod scalar;
mod scan;
mod traces;

use std::path::{Path, PathBuf};
use std::time::Duration;

use agentry_core::telemetry::{Change, Error, LogLine, Page, Query, Series, Span, Telemetry};
use async_trait::async_trait;

pub use scan::Limits;
use scan::Scanner;

/// What a reader found, and how many lines it could make nothing of.
#[derive(Debug, PartialEq)]
struct Found<T> {
    page: Page<T>,
    skipped: u64,
}

/// Reads telemetry from a folder.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    limits: Limits,
    deadline: Duration,
}

impl Folder {
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), limits: Limits::default(), deadline: Duration::from_secs(20) }
    }

    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    async fn read<T: Send + 'static>(
        &self,
        kind: &'static str,
        query: &Query,
        reader: fn(&Scanner, &Query) -> std::io::Result<Found<T>>,
    ) -> Result<Page<T>, Error> {
        let scanner = Scanner::new(self.root.clone(), kind, self.limits);
        let query = query.clone();
        let name = || source_name(&self.root);
        let unavailable = |reason: String| Error::Unavailable { source_name: name(), reason };
        let work = tokio::task::spawn_blocking(move || reader(&scanner, &query));
        let Ok(done) = tokio::time::timeout(self.deadline, work).await else {
            let after_ms = u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX);
            return Err(Error::TimedOut { source_name: name(), after_ms });
        };
        let found = done.map_err(|error| unavailable(error.to_string()))?;
        let Found { page, skipped } = found.map_err(|error| unavailable(error.to_string()))?;
        if skipped > 0 {
            tracing::debug!(folder = %self.root.display(), kind, skipped, "unreadable lines skipped");
        }
        Ok(page)
    }
}

fn source_name(root: &Path) -> String {
    format!("the folder {}", root.display())
}

#[async_trait]
impl Telemetry for Folder {
    async fn metrics(&self, query: &Query) -> Result<Page<Series>, Error> {
        self.read("metrics", query, metrics::read).await
    }

    async fn logs(&self, query: &Query) -> Result<Page<LogLine>, Error> {
        self.read("logs", query, logs::read).await
    }

    async fn spans(&self, query: &Query) -> Result<Page<Span>, Error> {
        self.read("traces", query, traces::read).await
    }

    async fn changes(&self, query: &Query) -> Result<Page<Change>, Error> {
        self.read("changes", query, changes::read).await
    }
}

fn wants(query: &Query, service: &str) -> bool {
    query.services.is_empty() || query.services.iter().any(|wanted| wanted == service)
}

#[cfg(test)]
mod tests;
