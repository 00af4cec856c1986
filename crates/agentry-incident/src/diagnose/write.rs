//! Puts the ranking into words, numbers the evidence, and says what was cleared and what was not seen.

use std::collections::BTreeMap;
use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::telemetry::Change;

use super::fuse::Ranked;
use super::{
    Claim, Cleared, Diagnosis, Evidence, Settings, Suspect, SuspectChange, Verdict, Version,
};
use crate::evidence::graph::Graph;
use crate::evidence::words::seconds;
use crate::evidence::{Finding, Handle, Hypothesis, Modality, Observed};

/// In units of the alarm thresholds: what must be reached to name somebody.
const BAR: f64 = 1.0;
/// A suspect this far below the first is not worth a line.
const SHARE_MIN: f64 = 0.05;
const ROWS_MAX: usize = 8;
const ROW_MIN: f64 = 0.5;
const CONFIDENCE_MAX: f64 = 0.95;

pub(super) struct Facts<'a> {
    pub(super) ranked: Vec<Ranked<'a>>,
    pub(super) onset: Timestamp,
    pub(super) now: Timestamp,
    pub(super) skew: Duration,
}

pub(super) fn diagnosis(
    observed: &Observed,
    facts: &Facts<'_>,
    graph: &Graph<'_>,
    settings: &Settings,
) -> Diagnosis {
    let mut ledger = Ledger::default();
    let named = facts.ranked.first().filter(|first| first.score >= BAR);
    let suspects = match named {
        Some(first) => facts
            .ranked
            .iter()
            .filter(|ranked| ranked.score >= first.score * SHARE_MIN && ranked.score > 0.0)
            .take(settings.suspects_max)
            .enumerate()
            .map(|(place, ranked)| suspect(ranked, place, facts, &mut ledger))
            .collect(),
        None => Vec::new(),
    };
    let verdict = match suspects.first() {
        Some(Suspect { service, hypothesis, .. }) => {
            Verdict::Named { service: service.clone(), hypothesis: *hypothesis }
        }
        None => Verdict::Unknown { reason: "I don't know: nothing clears the bar".to_owned() },
    };
    Diagnosis {
        version: Version::V1,
        verdict,
        onset: facts.onset,
        at: facts.now,
        suspects,
        evidence: ledger.rows,
        services: observed.services().into_iter().map(str::to_owned).collect(),
        cleared: cleared(observed, facts, named, graph),
        gaps: gaps(observed),
        note: None,
    }
}

/// The only place that makes evidence ids.
#[derive(Default)]
struct Ledger {
    rows: Vec<Evidence>,
    counts: BTreeMap<Modality, usize>,
}

impl Ledger {
    fn add(&mut self, finding: &Finding) -> String {
        self.row(finding.modality, finding.strength, |id, strength| Evidence {
            id,
            modality: finding.modality,
            service: finding.service.clone(),
            summary: finding.summary.clone(),
            strength,
            handle: finding.handle.clone(),
        })
    }

    fn add_change(&mut self, change: &Change, suspicion: f64) -> String {
        self.row(Modality::Change, suspicion, |id, strength| Evidence {
            id,
            modality: Modality::Change,
            service: change.service.clone(),
            summary: described(change),
            strength,
            handle: Handle::Change { id: change.handle.clone() },
        })
    }

    fn row(
        &mut self,
        modality: Modality,
        strength: f64,
        make: impl FnOnce(String, u32) -> Evidence,
    ) -> String {
        let count = self.counts.entry(modality).or_default();
        *count += 1;
        let id = format!("{}{count}", modality.letter());
        self.rows.push(make(id.clone(), thousandths(strength)));
        id
    }
}

fn thousandths(value: f64) -> u32 {
    (value.clamp(0.0, 1e6) * 1_000.0).round() as u32
}

fn described(change: &Change) -> String {
    let revision =
        change.revision.as_deref().map(|revision| format!(" {revision}")).unwrap_or_default();
    format!("{}{revision} of {}: {}", change.kind, change.service, change.summary)
}

fn suspect(ranked: &Ranked<'_>, place: usize, facts: &Facts<'_>, ledger: &mut Ledger) -> Suspect {
    let mut claims = Vec::new();
    let rows: Vec<&Finding> = ranked
        .findings
        .iter()
        .filter(|finding| finding.strength >= ROW_MIN)
        .take(ROWS_MAX)
        .collect();
    let mut told: Vec<Hypothesis> = vec![ranked.hypothesis];
    for finding in &rows {
        let hypothesis = specific(finding.hypothesis, ranked.hypothesis);
        if !told.contains(&hypothesis) {
            told.push(hypothesis);
        }
    }
    for hypothesis in told {
        let about: Vec<&&Finding> = rows
            .iter()
            .filter(|finding| specific(finding.hypothesis, ranked.hypothesis) == hypothesis)
            .collect();
        if let Some(strongest) = about.first() {
            claims.push(Claim {
                text: format!("{} {}: {}", ranked.service, hypothesis.words(), strongest.summary),
                evidence: about.iter().map(|finding| ledger.add(finding)).collect(),
            });
        }
    }
    let change = ranked.change.map(|(change, suspicion)| {
        let evidence = ledger.add_change(change, suspicion);
        let when = match change.at <= facts.onset {
            true => {
                format!("{} before it began", seconds(facts.onset.since(change.at).as_secs_f64()))
            }
            false => "as it began".to_owned(),
        };
        claims.push(Claim {
            text: format!("{} was changed {when}: {}", ranked.service, described(change)),
            evidence: vec![evidence.clone()],
        });
        SuspectChange {
            evidence,
            revision: change.revision.clone(),
            previous: change.previous.clone(),
        }
    });
    Suspect {
        service: ranked.service.clone(),
        hypothesis: ranked.hypothesis,
        score: thousandths(ranked.score),
        confidence: thousandths(confidence(ranked, place, &facts.ranked)),
        claims,
        change,
    }
}

/// Failures of a suspect that fails since a change are told together.
fn specific(hypothesis: Hypothesis, of: Hypothesis) -> Hypothesis {
    match (hypothesis, of) {
        (Hypothesis::Failing, Hypothesis::FailingSinceChange) => of,
        (other, _) => other,
    }
}

/// From the distance to the next one and from how many sources agree.
fn confidence(ranked: &Ranked<'_>, place: usize, all: &[Ranked<'_>]) -> f64 {
    let first = all.first().map_or(0.0, |first| first.score).max(f64::MIN_POSITIVE);
    let second = all.get(1).map_or(0.0, |second| second.score);
    let margin = ((first - second) / first).clamp(0.0, 1.0);
    let agreement = 0.1 * ranked.modalities.saturating_sub(1) as f64;
    let certain =
        (0.4 + 0.3 * margin + agreement + 0.1 * (first - BAR).clamp(0.0, 1.0)).min(CONFIDENCE_MAX);
    if place == 0 { certain } else { (1.0 - certain) * (ranked.score / first) }
}

fn cleared(
    observed: &Observed,
    facts: &Facts<'_>,
    named: Option<&Ranked<'_>>,
    graph: &Graph<'_>,
) -> Vec<Cleared> {
    let mut cleared = Vec::new();
    for change in &observed.changes.items {
        let of = facts.ranked.iter().find(|ranked| ranked.service == change.service);
        let accused = named
            .is_some_and(|named| named.change.is_some_and(|(suspected, _)| suspected == change));
        if accused {
            continue;
        }
        let why = match of.filter(|ranked| ranked.score >= BAR || ranked.explained_by.is_some()) {
            _ if change.at > facts.onset.plus(facts.skew) => {
                "it came after the trouble had begun".to_owned()
            }
            None => match named.and_then(|named| graph.distance(&change.service, &named.service)) {
                Some(hops) => {
                    format!("{} is healthy, {hops} calls away from the trouble", change.service)
                }
                None => format!("{} is healthy", change.service),
            },
            Some(Ranked { explained_by: Some(callee), .. }) => {
                format!("{} only suffers from {callee}, which it calls", change.service)
            }
            Some(ranked) if ranked.change.is_some_and(|(suspected, _)| suspected == change) => {
                format!("{} is troubled, but less than the first suspect", change.service)
            }
            Some(_) => "a later change, or an older one, explains it less well".to_owned(),
        };
        cleared.push(Cleared { what: described(change), why });
    }
    for ranked in &facts.ranked {
        let alerting = observed.alerts.iter().any(|alert| alert.service == ranked.service);
        if let (true, Some(callee)) = (alerting, &ranked.explained_by) {
            cleared.push(Cleared {
                what: format!("{}, which alerts", ranked.service),
                why: format!("its symptoms are explained by {callee}, which it calls"),
            });
        }
    }
    cleared
}

fn gaps(observed: &Observed) -> Vec<String> {
    let Observed { metrics, logs, spans, changes, missing, window: _, alerts: _ } = observed;
    let mut gaps: Vec<String> = missing.clone();
    let sources = [
        ("metrics", metrics.items.is_empty(), metrics.truncated),
        ("logs", logs.items.is_empty(), logs.truncated),
        ("traces", spans.items.is_empty(), spans.truncated),
        ("changes", false, changes.truncated),
    ];
    for (name, empty, truncated) in sources {
        if empty {
            gaps.push(format!("no {name} for this time"));
        }
        if truncated {
            gaps.push(format!("{name} were cut: there are more than were read"));
        }
    }
    gaps
}
