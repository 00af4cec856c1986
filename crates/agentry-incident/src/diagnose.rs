//! From what was observed to a ranked, grounded answer, without a model.
//!
//! Every claim of a [`Diagnosis`] is made from findings, and every finding brings its row of evidence: there is no way to
//! write a claim that rests on nothing. When nothing clears the bar the answer is that we do not know.

use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::telemetry::Window;
use serde::{Deserialize, Serialize};

use crate::evidence::graph::Graph;
use crate::evidence::logs::Mined;
use crate::evidence::traces::Traces;
use crate::evidence::{
    Finding, Handle, Hypothesis, Modality, Observed, Split, metrics, sequence, signals,
};

mod fuse;
pub mod lookup;
mod onset;
mod rerank;
mod write;

pub use rerank::{ModelAnswer, Rejected, parse_answer, rerank};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub suspects_max: usize,
    /// How long before the first alert the trouble may have begun.
    pub lead_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { suspects_max: 5, lead_max: Duration::from_secs(15 * 60) }
    }
}

/// The layout of a stored diagnosis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    #[serde(rename = "1")]
    V1,
}

/// Persisted with its incident: no floats, nothing unordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    pub version: Version,
    pub verdict: Verdict,
    /// When the trouble began, as the data shows it.
    pub onset: Timestamp,
    /// When it was looked into.
    pub at: Timestamp,
    /// Best first.
    pub suspects: Vec<Suspect>,
    pub evidence: Vec<Evidence>,
    pub services: Vec<String>,
    pub cleared: Vec<Cleared>,
    /// What could not be seen.
    pub gaps: Vec<String>,
    /// What a model had to say, when one was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<ModelNote>,
}

impl Diagnosis {
    /// Nobody is named, and why.
    #[must_use]
    pub fn unknown(reason: String, onset: Timestamp, at: Timestamp) -> Self {
        Self {
            version: Version::V1,
            verdict: Verdict::Unknown { reason },
            onset,
            at,
            suspects: Vec::new(),
            evidence: Vec::new(),
            services: Vec::new(),
            cleared: Vec::new(),
            gaps: Vec::new(),
            note: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Verdict {
    Named { service: String, hypothesis: Hypothesis },
    Unknown { reason: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    pub service: String,
    pub hypothesis: Hypothesis,
    /// In thousandths of the bar that must be cleared.
    pub score: u32,
    /// In thousandths.
    pub confidence: u32,
    pub claims: Vec<Claim>,
    /// The change that comes into question, by its evidence id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<SuspectChange>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspectChange {
    pub evidence: String,
    pub revision: Option<String>,
    pub previous: Option<String>,
}

/// A sentence and the rows it rests on; never none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub text: String,
    pub evidence: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// `m1`, `l3`, `t2`, `c1`.
    pub id: String,
    pub modality: Modality,
    pub service: String,
    pub summary: String,
    /// In thousandths of the detector's alarm threshold.
    pub strength: u32,
    pub handle: Handle,
}

/// What was considered and found innocent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleared {
    pub what: String,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModelNote {
    Accepted { explanation: String, citations: Vec<String> },
    SetAside { reason: String },
}

/// Looks at everything and names at most a few suspects.
#[must_use]
pub fn diagnose(
    observed: &Observed,
    onset: Timestamp,
    now: Timestamp,
    settings: &Settings,
) -> Diagnosis {
    let services = observed.services();
    let bounds = observed.bounds(now);
    let traces = Traces::link(&observed.spans.items);
    let graph = Graph::of(observed, &traces.hops());
    let signals = signals::signals(&observed.metrics.items, &services);
    let began = onset::estimate(
        &onset::View { observed, signals: &signals, graph: &graph, bounds },
        onset,
        settings,
    );
    let split = Split::at(Window { start: bounds.start, end: bounds.end.max(began) }, began);

    let mut findings: Vec<Finding> = metrics::find(&signals, &split);
    findings.extend(traces.find(&split));
    let mined = Mined::of(&observed.logs.items);
    findings.extend(mined.find(&split, &graph, &services));
    findings.extend(sequence::find(&mined, &split));
    findings.retain(|finding| !finding.service.is_empty() && !graph.is_outside(&finding.service));

    let skew = onset::skew(&signals);
    let ranked = fuse::rank(
        findings,
        &graph,
        &fuse::Changes { all: &observed.changes.items, onset: began, skew },
    );
    write::diagnosis(observed, &write::Facts { ranked, onset: began, now, skew }, &graph, settings)
}

#[cfg(test)]
mod tests;
