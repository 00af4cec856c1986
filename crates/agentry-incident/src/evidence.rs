//! What was observed around an incident, and what each detector finds in it.
//!
//! Every detector is a pure function from [`Observed`] to findings. A finding always carries the row of evidence it was
//! read from, so that nothing can be claimed later without a place to look it up.

use std::collections::BTreeSet;

use agentry_core::Timestamp;
use agentry_core::telemetry::{Change, LogLine, Page, Series, Span, Window};
use serde::{Deserialize, Serialize};

pub(crate) mod changes;
pub(crate) mod graph;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod sequence;
pub(crate) mod signals;
pub(crate) mod stats;
pub mod templates;
pub(crate) mod traces;
pub(crate) mod words;

/// What an alert says about a service; the rest of the alert is of no use for finding a cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertFact {
    pub service: String,
    pub name: String,
    pub severity: String,
    pub started: Timestamp,
}

/// All that was gathered for one incident.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The whole time that was asked for: what is normal first, the incident last. `None` takes it from the data.
    pub window: Option<Window>,
    pub metrics: Page<Series>,
    pub logs: Page<LogLine>,
    pub spans: Page<Span>,
    pub changes: Page<Change>,
    pub alerts: Vec<AlertFact>,
    /// Sources that could not be read, with the reason, for people.
    pub missing: Vec<String>,
}

impl Observed {
    /// Every service that any source mentions.
    #[must_use]
    pub fn services(&self) -> BTreeSet<&str> {
        let mut services: BTreeSet<&str> = BTreeSet::new();
        services.extend(self.metrics.items.iter().map(|series| series.service.as_str()));
        services.extend(self.logs.items.iter().map(|line| line.service.as_str()));
        for span in &self.spans.items {
            services.insert(&span.service);
            services.extend(span.peer.as_deref());
        }
        services.extend(self.changes.items.iter().map(|change| change.service.as_str()));
        services.extend(self.alerts.iter().map(|alert| alert.service.as_str()));
        services.remove("");
        services
    }

    /// The bounds that were given, or those of the data.
    pub(crate) fn bounds(&self, now: Timestamp) -> Window {
        self.window.unwrap_or_else(|| {
            let metrics = self.metrics.items.iter().filter_map(|series| series.points.first());
            let start = metrics
                .map(|(at, _)| *at)
                .chain(self.logs.items.iter().map(|line| line.at))
                .chain(self.spans.items.iter().map(|span| span.start))
                .min()
                .unwrap_or(now);
            Window { start, end: now }
        })
    }
}

/// What kind of trouble a service is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hypothesis {
    FailingSinceChange,
    Stuck,
    Down,
    Cpu,
    Memory,
    Handles,
    SlowHop,
    Failing,
    Restarted,
    Slow,
    Unclear,
}

impl Hypothesis {
    /// Completes "SERVICE …".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::FailingSinceChange => "fails since a change",
            Self::Stuck => "accepts requests but does not answer",
            Self::Down => "stopped reporting",
            Self::Cpu => "is out of CPU",
            Self::Memory => "keeps taking memory",
            Self::Handles => "runs out of handles",
            Self::SlowHop => "is reached over a slow network hop",
            Self::Failing => "fails requests",
            Self::Restarted => "restarted",
            Self::Slow => "became slow",
            Self::Unclear => "behaves differently",
        }
    }
}

/// Which source a row of evidence comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    Metric,
    Log,
    Trace,
    Change,
}

impl Modality {
    /// The first letter of an evidence id.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Metric => 'm',
            Self::Log => 'l',
            Self::Trace => 't',
            Self::Change => 'c',
        }
    }
}

/// Where to find a row of evidence again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Handle {
    Series { selector: String, window: Window },
    Lines { template: String, places: Vec<String> },
    Traces { ids: Vec<String> },
    Change { id: String },
}

/// May the trouble have been handed up by a service that this one calls?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// No: it arises here.
    Own,
    /// It may: callers inherit it.
    Passed,
    /// It supports a suspicion but never raises one.
    Aside,
}

/// One observation about one service, with its row of evidence.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub(crate) service: String,
    pub(crate) hypothesis: Hypothesis,
    pub(crate) origin: Origin,
    pub(crate) modality: Modality,
    /// In multiples of the detector's own alarm threshold.
    pub(crate) strength: f64,
    /// In plain words with units.
    pub(crate) summary: String,
    pub(crate) handle: Handle,
    pub(crate) since: Option<Timestamp>,
}

/// No detector shouts louder than this many times its threshold.
pub(crate) const STRENGTH_MAX: f64 = 10.0;
/// A finding that only supports stays below the bar.
pub(crate) const ASIDE_MAX: f64 = 0.9;

/// The two periods that are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Split {
    pub(crate) normal: Window,
    pub(crate) abnormal: Window,
}

impl Split {
    pub(crate) fn at(bounds: Window, onset: Timestamp) -> Self {
        Self {
            normal: Window { start: bounds.start.min(onset), end: onset },
            abnormal: Window { start: onset, end: bounds.end.max(onset) },
        }
    }

    pub(crate) fn normal_seconds(&self) -> f64 {
        self.normal.end.since(self.normal.start).as_secs_f64().max(1.0)
    }

    pub(crate) fn abnormal_seconds(&self) -> f64 {
        self.abnormal.end.since(self.abnormal.start).as_secs_f64().max(1.0)
    }
}
