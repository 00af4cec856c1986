//! Many findings, one order: the strongest finding of a service counts, unless a service it calls explains it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::telemetry::Change;

use crate::evidence::graph::Graph;
use crate::evidence::{Finding, Hypothesis, Modality, Origin, changes};

/// The part of an inherited symptom that an equally troubled callee takes away.
const EXPLAINED: f64 = 0.85;
/// What a suspicious change, and each further source that agrees, adds.
const CHANGE_BONUS: f64 = 0.3;
const AGREEMENT_BONUS: f64 = 0.05;
/// A finding that counts as agreement, or as worth telling.
const NOTABLE: f64 = 0.5;
/// Scores closer than this are a tie.
const TIE: f64 = 0.02;
/// Below this a change is too old to be mentioned.
const SUSPICION_MIN: f64 = 0.1;
/// From here on a change is taken to explain failures.
pub(super) const SUSPICION_CAUSE: f64 = 0.3;

pub(super) struct Changes<'a> {
    pub(super) all: &'a [Change],
    pub(super) onset: Timestamp,
    pub(super) skew: Duration,
}

/// One service with all that speaks against it.
#[derive(Debug)]
pub(super) struct Ranked<'a> {
    pub(super) service: String,
    pub(super) score: f64,
    pub(super) hypothesis: Hypothesis,
    pub(super) modalities: usize,
    pub(super) findings: Vec<Finding>,
    pub(super) change: Option<(&'a Change, f64)>,
    /// The callee whose trouble explains this one's.
    pub(super) explained_by: Option<String>,
}

/// How much of which nature a service shows.
#[derive(Debug, Default, Clone, Copy)]
struct Levels {
    own: f64,
    stuck: f64,
    passed: f64,
    /// What callers would notice.
    felt: f64,
}

pub(super) fn rank<'a>(
    findings: Vec<Finding>,
    graph: &Graph<'_>,
    changes: &Changes<'a>,
) -> Vec<Ranked<'a>> {
    let mut by_service: BTreeMap<String, Vec<Finding>> = BTreeMap::new();
    for finding in findings {
        by_service.entry(finding.service.clone()).or_default().push(finding);
    }
    let levels: BTreeMap<String, Levels> = by_service
        .iter()
        .map(|(service, findings)| (service.clone(), Levels::of(findings)))
        .collect();
    let mut ranked: Vec<Ranked<'a>> = by_service
        .into_iter()
        .map(|(service, findings)| weigh(service, findings, (&levels, graph), changes))
        .collect();
    ranked.sort_by(|a, b| order(a, b, graph));
    ranked
}

impl Levels {
    fn of(findings: &[Finding]) -> Self {
        let mut levels = Self::default();
        for finding in findings {
            let is_stuck = matches!(finding.hypothesis, Hypothesis::Stuck | Hypothesis::Down);
            let slot = match finding.origin {
                Origin::Own if is_stuck => &mut levels.stuck,
                Origin::Own => &mut levels.own,
                Origin::Passed => &mut levels.passed,
                Origin::Aside => continue,
            };
            *slot = slot.max(finding.strength);
            let quiet = matches!(finding.hypothesis, Hypothesis::Memory | Hypothesis::Handles);
            if !quiet {
                levels.felt = levels.felt.max(finding.strength);
            }
        }
        levels
    }
}

type Surroundings<'s, 'g> = (&'s BTreeMap<String, Levels>, &'s Graph<'g>);

fn weigh<'a>(
    service: String,
    mut findings: Vec<Finding>,
    surroundings: Surroundings<'_, '_>,
    changes: &Changes<'a>,
) -> Ranked<'a> {
    let (levels, graph) = surroundings;
    let own = levels.get(&service).copied().unwrap_or_default();
    let callees =
        || graph.callees(&service).filter_map(|callee| Some((callee, levels.get(callee)?)));
    let worst = callees().max_by(|a, b| a.1.felt.total_cmp(&b.1.felt));
    let felt = worst.map_or(0.0, |(_, levels)| levels.felt);
    let stuck_below = callees().map(|(_, levels)| levels.stuck).fold(0.0, f64::max);
    let passed = unexplained(own.passed, felt);
    let stuck = unexplained(own.stuck, stuck_below);
    let strongest = own.own.max(passed).max(stuck);
    let inherits =
        felt >= 1.0 && own.own < own.passed.max(own.stuck) && strongest < own.passed.max(own.stuck);

    let modalities: BTreeSet<Modality> = findings
        .iter()
        .filter(|finding| finding.strength >= NOTABLE && finding.origin != Origin::Aside)
        .map(|finding| finding.modality)
        .collect();
    let change = changes
        .all
        .iter()
        .filter(|change| change.service == service)
        .map(|change| (change, changes::suspicion(change, changes.onset, changes.skew)))
        .filter(|(_, suspicion)| *suspicion >= SUSPICION_MIN)
        .max_by(|a, b| a.1.total_cmp(&b.1).then(a.0.at.cmp(&b.0.at)));
    let agreement = AGREEMENT_BONUS * modalities.len().saturating_sub(1) as f64;
    let touched = CHANGE_BONUS * change.map_or(0.0, |(_, suspicion)| suspicion);
    findings.sort_by(|a, b| b.strength.total_cmp(&a.strength));
    let suspicion = change.map_or(0.0, |(_, suspicion)| suspicion);
    Ranked {
        hypothesis: hypothesis(&findings, suspicion),
        score: strongest * (1.0 + agreement + touched),
        modalities: modalities.len(),
        findings,
        change,
        explained_by: worst.filter(|_| inherits).map(|(callee, _)| callee.to_owned()),
        service,
    }
}

fn unexplained(level: f64, below: f64) -> f64 {
    if level <= 0.0 { 0.0 } else { level * (1.0 - EXPLAINED * (below / level).min(1.0)) }
}

/// The most telling of the notable findings: what arises here before what may be inherited, causes before effects.
fn hypothesis(findings: &[Finding], suspicion: f64) -> Hypothesis {
    let top = findings.iter().map(|finding| finding.strength).fold(0.0, f64::max);
    let notable = findings.iter().filter(|finding| {
        finding.origin != Origin::Aside && finding.strength >= 1.0_f64.max(0.25 * top).min(top)
    });
    let best = notable.min_by_key(|finding| (finding.origin == Origin::Passed, finding.hypothesis));
    match best.map_or(Hypothesis::Unclear, |finding| finding.hypothesis) {
        Hypothesis::Failing if suspicion >= SUSPICION_CAUSE => Hypothesis::FailingSinceChange,
        other => other,
    }
}

/// Score, then the one that is called by the other, then agreement, then who began.
fn order(a: &Ranked<'_>, b: &Ranked<'_>, graph: &Graph<'_>) -> Ordering {
    let since =
        |ranked: &Ranked<'_>| ranked.findings.iter().filter_map(|finding| finding.since).min();
    let bucket = |ranked: &Ranked<'_>| (ranked.score.max(0.0) / TIE).round() as u64;
    let depth = |caller: &Ranked<'_>, callee: &Ranked<'_>| {
        graph.reaches(&caller.service, &callee.service)
            && !graph.reaches(&callee.service, &caller.service)
    };
    bucket(b)
        .cmp(&bucket(a))
        .then_with(|| depth(a, b).cmp(&depth(b, a)))
        .then_with(|| b.modalities.cmp(&a.modalities))
        .then_with(|| since(a).cmp(&since(b)))
        .then_with(|| a.service.cmp(&b.service))
}
