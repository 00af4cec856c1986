//! Traces: time lost on a hop, errors that arise here, calls that nobody answered, and work that became slow.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use agentry_core::Timestamp;
use agentry_core::telemetry::{Span, SpanKind};

use super::stats::{Normal, median};
use super::words::{Unit, seconds};
use super::{Finding, Handle, Hypothesis, Modality, Origin, STRENGTH_MAX, Split};

const ALARM: f64 = 3.0;
const RELATIVE: f64 = 0.2;
/// Less time than this on a hop is scheduling.
const GAP_FLOOR: f64 = 0.01;
/// What is inherited or indirect counts less.
const EFFECT: f64 = 0.6;
const SAMPLES_MIN: usize = 3;
const IDS_MAX: usize = 5;
/// A call that failed after this long was waiting, not refused.
const WAITED: f64 = 0.1;

/// The spans of all traces, linked.
pub(crate) struct Traces<'a> {
    linked: Vec<Linked<'a>>,
}

struct Linked<'a> {
    span: &'a Span,
    parent: Option<usize>,
    children_us: u64,
    has_remote_child: bool,
    has_failed_child: bool,
}

impl<'a> Traces<'a> {
    pub(crate) fn link(spans: &'a [Span]) -> Self {
        let index: HashMap<(&str, &str), usize> = spans
            .iter()
            .enumerate()
            .map(|(at, span)| ((span.trace_id.as_str(), span.span_id.as_str()), at))
            .collect();
        let parent_of =
            |span: &Span| index.get(&(span.trace_id.as_str(), span.parent_id.as_deref()?)).copied();
        let mut linked: Vec<Linked<'a>> = spans
            .iter()
            .map(|span| Linked {
                span,
                parent: parent_of(span),
                children_us: 0,
                has_remote_child: false,
                has_failed_child: false,
            })
            .collect();
        for (at, child) in spans.iter().enumerate() {
            let parent = linked.get(at).and_then(|one| one.parent).filter(|parent| *parent != at);
            if let Some(parent) = parent.and_then(|parent| linked.get_mut(parent)) {
                parent.children_us = parent.children_us.saturating_add(child.duration_us);
                parent.has_remote_child |= parent.span.service != child.service;
                parent.has_failed_child |= child.failed;
            }
        }
        Self { linked }
    }

    /// Every (caller, callee) that a span shows.
    pub(crate) fn hops(&self) -> Vec<(&'a str, &'a str)> {
        let mut hops = BTreeSet::new();
        for one in &self.linked {
            if let Some(parent) = self.parent(one) {
                hops.insert((parent.span.service.as_str(), one.span.service.as_str()));
            }
            if let (SpanKind::Client, Some(peer)) = (one.span.kind, &one.span.peer) {
                hops.insert((one.span.service.as_str(), peer.as_str()));
            }
        }
        hops.into_iter().filter(|(caller, callee)| caller != callee).collect()
    }

    fn parent(&self, one: &Linked<'a>) -> Option<&Linked<'a>> {
        one.parent.and_then(|parent| self.linked.get(parent))
    }

    pub(crate) fn find(&self, split: &Split) -> Vec<Finding> {
        let mut findings = self.slow_hops(split);
        findings.extend(self.unanswered(split));
        findings.extend(self.per_service(split));
        findings
    }

    fn slow_hops(&self, split: &Split) -> Vec<Finding> {
        let mut gaps: BTreeMap<(&str, &str), Compared<'_>> = BTreeMap::new();
        for one in &self.linked {
            let Some(parent) = self.parent(one) else { continue };
            if parent.span.service == one.span.service {
                continue;
            }
            let gap = parent.span.duration_us.saturating_sub(one.span.duration_us) as f64 / 1e6;
            let hop = (parent.span.service.as_str(), one.span.service.as_str());
            gaps.entry(hop).or_default().add(parent.span, gap, split);
        }
        let hops: Vec<Hop<'_>> = gaps
            .into_iter()
            .filter_map(|((caller, callee), times)| {
                let (normal, level) = times.shift()?;
                let sigmas = (level - normal.median) / normal.scale(RELATIVE, GAP_FLOOR);
                Some(Hop { caller, callee, normal: normal.median, level, sigmas, times })
            })
            .collect();
        let total: f64 = hops.iter().map(|hop| hop.sigmas.max(0.0)).sum();
        let ends: BTreeSet<&str> = hops.iter().flat_map(|hop| [hop.caller, hop.callee]).collect();
        ends.into_iter().filter_map(|service| slow_end(service, &hops, total)).collect()
    }

    /// Failed calls that left no trace on the other side.
    fn unanswered(&self, split: &Split) -> Vec<Finding> {
        let mut by_peer: BTreeMap<&str, (Compared<'_>, Vec<f64>)> = BTreeMap::new();
        for one in self.linked.iter().filter(|one| one.span.kind == SpanKind::Client) {
            let Some(peer) = one.span.peer.as_deref().filter(|peer| *peer != one.span.service)
            else {
                continue;
            };
            let unanswered = one.span.failed && !one.has_remote_child;
            let (calls, waits) = by_peer.entry(peer).or_default();
            calls.add(one.span, f64::from(u8::from(unanswered)), split);
            if unanswered && one.span.start >= split.abnormal.start {
                waits.push(one.span.duration_us as f64 / 1e6);
            }
        }
        by_peer
            .into_iter()
            .filter(|(_, (_, waits))| waits.len() >= SAMPLES_MIN)
            .filter_map(|(peer, (calls, waits))| {
                let (before, after) = calls.means();
                let strength = (after - before) / Unit::Ratio.floor() / ALARM;
                let wait = median(&waits)?;
                let hypothesis = if wait >= WAITED { Hypothesis::Stuck } else { Hypothesis::Down };
                (strength >= 0.5).then(|| Finding {
                    service: peer.to_owned(),
                    hypothesis,
                    origin: Origin::Own,
                    modality: Modality::Trace,
                    strength: strength.min(STRENGTH_MAX),
                    summary: format!(
                        "{} calls to {peer} failed after {} without reaching its code ({} of all calls, was {})",
                        waits.len(),
                        seconds(wait),
                        Unit::Ratio.write(after),
                        Unit::Ratio.write(before)
                    ),
                    handle: calls.handle(),
                    since: calls.since,
                })
            })
            .collect()
    }

    fn per_service(&self, split: &Split) -> Vec<Finding> {
        let mut services: BTreeMap<&str, ServerSide<'_>> = BTreeMap::new();
        for one in self.linked.iter().filter(|one| one.span.kind != SpanKind::Client) {
            let entry =
                self.parent(one).is_none_or(|parent| parent.span.service != one.span.service);
            let side = services.entry(&one.span.service).or_default();
            let origin = one.span.failed && !one.has_failed_child;
            let own_us = one.span.duration_us.saturating_sub(one.children_us);
            side.origins.add(one.span, f64::from(u8::from(origin)), split);
            side.own.add(one.span, own_us as f64 / 1e6, split);
            if entry {
                side.failed.add(one.span, f64::from(u8::from(one.span.failed)), split);
                side.whole.add(one.span, one.span.duration_us as f64 / 1e6, split);
            }
        }
        services.into_iter().flat_map(|(service, side)| side.findings(service)).collect()
    }
}

struct Hop<'a> {
    caller: &'a str,
    callee: &'a str,
    normal: f64,
    level: f64,
    sigmas: f64,
    times: Compared<'a>,
}

/// How well "`service` is badly reached" explains the slow hops: all of its hops are slow, and few others are.
fn slow_end(service: &str, hops: &[Hop<'_>], total: f64) -> Option<Finding> {
    let mean = |of: &dyn Fn(&Hop<'_>) -> bool| {
        let sigmas: Vec<f64> =
            hops.iter().filter(|hop| of(hop)).map(|hop| hop.sigmas.clamp(0.0, 60.0)).collect();
        if sigmas.is_empty() { 0.0 } else { sigmas.iter().sum::<f64>() / sigmas.len() as f64 }
    };
    let touches = |hop: &Hop<'_>| hop.caller == service || hop.callee == service;
    let level = mean(&|hop| hop.callee == service).max(mean(&touches));
    let covered: f64 = hops.iter().filter(|hop| touches(hop)).map(|hop| hop.sigmas.max(0.0)).sum();
    let strength = level / ALARM * (0.4 + 0.6 * covered / total.max(f64::MIN_POSITIVE));
    let worst =
        hops.iter().filter(|hop| touches(hop)).max_by(|a, b| a.sigmas.total_cmp(&b.sigmas))?;
    (strength >= 0.5).then(|| Finding {
        service: service.to_owned(),
        hypothesis: Hypothesis::SlowHop,
        origin: Origin::Own,
        modality: Modality::Trace,
        strength: strength.min(STRENGTH_MAX),
        summary: format!(
            "calls from {} to {} lose {} between the two, was {}",
            worst.caller,
            worst.callee,
            seconds(worst.level),
            seconds(worst.normal)
        ),
        handle: worst.times.handle(),
        since: worst.times.since,
    })
}

#[derive(Default)]
struct ServerSide<'a> {
    origins: Compared<'a>,
    failed: Compared<'a>,
    whole: Compared<'a>,
    own: Compared<'a>,
}

impl ServerSide<'_> {
    fn findings(&self, service: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut share = |times: &Compared<'_>, origin, weight, words: &str| {
            let (before, after) = times.means();
            let strength = (after - before) / Unit::Ratio.floor() / ALARM * weight;
            if strength >= 0.5 && times.marked >= SAMPLES_MIN {
                let summary = format!(
                    "{} {words}, was {}",
                    Unit::Ratio.write(after),
                    Unit::Ratio.write(before)
                );
                findings.push(times.finding(
                    service,
                    Hypothesis::Failing,
                    (origin, strength),
                    summary,
                ));
            }
        };
        share(
            &self.origins,
            Origin::Own,
            1.0,
            "of its spans fail although nothing they called failed",
        );
        share(&self.failed, Origin::Passed, EFFECT, "of its requests fail");
        let mut longer = |times: &Compared<'_>, origin, words: &str| {
            let Some((normal, level)) = times.shift() else { return };
            let strength =
                (level - normal.median) / normal.scale(RELATIVE, Unit::Seconds.floor()) / ALARM
                    * EFFECT;
            if strength >= 0.5 {
                let summary =
                    format!("{words} takes {}, was {}", seconds(level), seconds(normal.median));
                findings.push(times.finding(
                    service,
                    Hypothesis::Slow,
                    (origin, strength),
                    summary,
                ));
            }
        };
        longer(&self.own, Origin::Own, "its own work on a request");
        longer(&self.whole, Origin::Passed, "a request");
        findings
    }
}

/// One measure of spans, before and after.
#[derive(Default)]
struct Compared<'a> {
    before: Vec<f64>,
    after: Vec<f64>,
    /// The traces with the highest values, highest first.
    examples: Vec<(f64, &'a str)>,
    /// How many values are not zero after.
    marked: usize,
    since: Option<Timestamp>,
}

impl<'a> Compared<'a> {
    /// A span that was under way at the onset belongs to neither side.
    fn add(&mut self, span: &'a Span, value: f64, split: &Split) {
        let end = span.start.plus(std::time::Duration::from_micros(span.duration_us));
        if span.start >= split.abnormal.start {
            self.after.push(value);
            if value > 0.0 {
                self.marked += 1;
                self.example(value, &span.trace_id);
                self.since = Some(self.since.map_or(span.start, |since| since.min(span.start)));
            }
        } else if end <= split.normal.end && span.start >= split.normal.start {
            self.before.push(value);
        }
    }

    fn example(&mut self, value: f64, trace: &'a str) {
        let full = self.examples.len() >= IDS_MAX;
        if full && self.examples.last().is_some_and(|(least, _)| *least >= value) {
            return;
        }
        if self.examples.iter().any(|(_, known)| *known == trace) {
            return;
        }
        let at = self.examples.partition_point(|(other, _)| *other >= value);
        self.examples.insert(at, (value, trace));
        self.examples.truncate(IDS_MAX);
    }

    fn shift(&self) -> Option<(Normal, f64)> {
        if self.before.len() < SAMPLES_MIN || self.after.len() < SAMPLES_MIN {
            return None;
        }
        Some((Normal::of(&self.before)?, median(&self.after)?))
    }

    fn means(&self) -> (f64, f64) {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        (mean(&self.before), mean(&self.after))
    }

    fn handle(&self) -> Handle {
        Handle::Traces { ids: self.examples.iter().map(|(_, id)| (*id).to_owned()).collect() }
    }

    fn finding(
        &self,
        service: &str,
        hypothesis: Hypothesis,
        weight: (Origin, f64),
        summary: String,
    ) -> Finding {
        let (origin, strength) = weight;
        Finding {
            service: service.to_owned(),
            hypothesis,
            origin,
            modality: Modality::Trace,
            strength: strength.min(STRENGTH_MAX),
            summary,
            handle: self.handle(),
            since: self.since,
        }
    }
}
