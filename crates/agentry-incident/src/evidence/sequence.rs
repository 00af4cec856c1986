//! The order of log lines within a request: what used to follow and no longer does.

use std::collections::HashMap;

use agentry_core::telemetry::LogLine;

use super::logs::Mined;
use super::templates::TemplateId;
use super::{Finding, Handle, Hypothesis, Modality, Origin, STRENGTH_MAX, Split};

/// A rule that held less often than this is no rule.
const CONFIDENCE_MIN: f64 = 0.9;
const SEEN_MIN: usize = 3;
/// A rule that mostly still holds is not broken.
const DROP_MIN: f64 = 0.2;
/// A drop by half, seen nine times.
const ALARM: f64 = 1.5;
/// Distinct templates of one request that are considered, in order.
const STEPS_MAX: usize = 24;
/// A broken order is an effect when a callee fails.
const WEIGHT: f64 = 0.8;
const PLACES_MAX: usize = 5;

type Pair = (TemplateId, TemplateId);

#[derive(Default)]
struct Order {
    first: HashMap<TemplateId, usize>,
    pairs: HashMap<Pair, usize>,
}

impl Order {
    fn add(&mut self, steps: &[TemplateId]) {
        for (at, step) in steps.iter().enumerate() {
            *self.first.entry(*step).or_default() += 1;
            for later in steps.iter().skip(at + 1) {
                *self.pairs.entry((*step, *later)).or_default() += 1;
            }
        }
    }

    fn confidence(&self, pair: Pair) -> Option<(f64, usize)> {
        let seen = self.first.get(&pair.0).copied().filter(|seen| *seen >= SEEN_MIN)?;
        Some((self.pairs.get(&pair).copied().unwrap_or(0) as f64 / seen as f64, seen))
    }
}

#[derive(Default)]
struct Request<'a> {
    steps: Vec<TemplateId>,
    lines: Vec<&'a LogLine>,
}

/// Per service, the strongest broken rule.
pub(crate) fn find(mined: &Mined<'_>, split: &Split) -> Vec<Finding> {
    let mut requests: HashMap<(&str, &str), Request<'_>> = HashMap::new();
    for (line, template) in &mined.lines {
        let Some(trace) = line.trace_id.as_deref() else { continue };
        let request = requests.entry((line.service.as_str(), trace)).or_default();
        if request.steps.len() < STEPS_MAX && !request.steps.contains(template) {
            request.steps.push(*template);
            request.lines.push(line);
        }
    }
    let mut orders: HashMap<&str, (Order, Order)> = HashMap::new();
    for ((service, _), request) in &requests {
        let (Some(first), Some(last)) = (request.lines.first(), request.lines.last()) else {
            continue;
        };
        let (normal, abnormal) = orders.entry(service).or_default();
        if split.normal.contains(first.at) && last.at < split.normal.end {
            normal.add(&request.steps);
        } else if split.abnormal.contains(first.at) {
            abnormal.add(&request.steps);
        }
    }
    let mut services: Vec<_> = orders.iter().collect();
    services.sort_by_key(|(service, _)| **service);
    services
        .into_iter()
        .filter_map(|(service, (normal, abnormal))| {
            let broken = worst(normal, abnormal)?;
            let strength = (broken.score / ALARM * WEIGHT).min(STRENGTH_MAX);
            (strength >= 0.5).then(|| row(service, &broken, strength, (mined, &requests, split)))
        })
        .collect()
}

struct Broken {
    pair: Pair,
    before: f64,
    after: f64,
    seen: usize,
    score: f64,
}

fn worst(normal: &Order, abnormal: &Order) -> Option<Broken> {
    normal
        .pairs
        .keys()
        .filter_map(|pair| {
            let (before, _) =
                normal.confidence(*pair).filter(|(before, _)| *before >= CONFIDENCE_MIN)?;
            let (after, seen) =
                abnormal.confidence(*pair).filter(|(after, _)| before - after >= DROP_MIN)?;
            Some(Broken {
                pair: *pair,
                before,
                after,
                seen,
                score: (before - after) * (seen as f64).sqrt(),
            })
        })
        .max_by(|a, b| a.score.total_cmp(&b.score).then(b.pair.cmp(&a.pair)))
}

type Context<'c, 'a> = (&'c Mined<'a>, &'c HashMap<(&'a str, &'a str), Request<'a>>, &'c Split);

fn row(service: &str, broken: &Broken, strength: f64, context: Context<'_, '_>) -> Finding {
    let (mined, requests, split) = context;
    let (first, then) = broken.pair;
    let mut lines: Vec<&LogLine> = requests
        .iter()
        .filter(|((owner, _), request)| *owner == service && !request.steps.contains(&then))
        .filter_map(|(_, request)| {
            request.steps.iter().zip(&request.lines).find(|(step, _)| **step == first)
        })
        .map(|(_, line)| *line)
        .filter(|line| split.abnormal.contains(line.at))
        .collect();
    lines.sort_by_key(|line| line.at);
    let text = |template| mined.miner.text(template).chars().take(80).collect::<String>();
    Finding {
        service: service.to_owned(),
        hypothesis: Hypothesis::Failing,
        origin: Origin::Passed,
        modality: Modality::Log,
        strength,
        summary: format!(
            "“{}” is no longer followed by “{}”: {:.0} % of {} requests, was {:.0} %",
            text(first),
            text(then),
            broken.after * 100.0,
            broken.seen,
            broken.before * 100.0
        ),
        handle: Handle::Lines {
            template: mined.miner.text(first),
            places: lines.iter().take(PLACES_MAX).map(|line| line.handle.clone()).collect(),
        },
        since: lines.first().map(|line| line.at),
    }
}
