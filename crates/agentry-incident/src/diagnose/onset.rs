//! When the trouble began: alerts fire later than that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::telemetry::{Span, SpanKind, Window};

use super::Settings;
use crate::evidence::Observed;
use crate::evidence::graph::Graph;
use crate::evidence::signals::{Class, Sample, Signal};
use crate::evidence::stats::{Normal, cusum_onset, median, quantile};
use crate::evidence::words::Unit;

const RELATIVE: f64 = 0.2;
/// The part of the samples before the alert that is taken to be normal.
const REFERENCE: f64 = 0.6;
const REFERENCE_MIN: usize = 4;
/// What the alert's own time weighs, against the squared heights of excursions: three that just alarm.
const ALERT_WEIGHT: f64 = 75.0;
/// An alert rarely comes much later than this.
const PATIENCE: Duration = Duration::from_secs(180);
/// Clocks of machines differ; a change may seem to come this long after what it caused.
const SKEW_MAX: Duration = Duration::from_secs(30);
const SKEW_MIN: Duration = Duration::from_secs(2);

pub(super) struct View<'v, 'a> {
    pub(super) observed: &'a Observed,
    pub(super) signals: &'v [Signal<'a>],
    pub(super) graph: &'v Graph<'a>,
    pub(super) bounds: Window,
}

/// The onset by the signals of the alerting services, of what they call and of who calls them; the alert's own time when they show none.
pub(super) fn estimate(view: &View<'_, '_>, alerted: Timestamp, settings: &Settings) -> Timestamp {
    let alerting: BTreeSet<&str> =
        view.observed.alerts.iter().map(|alert| alert.service.as_str()).collect();
    let concerned = |service: &str| {
        // Time that is lost on the way in shows at the caller alone.
        let near = |alerting: &&str| {
            view.graph.reaches(alerting, service) || view.graph.calls(service, alerting)
        };
        alerting.is_empty() || alerting.contains(service) || alerting.iter().any(near)
    };
    let from_spans = span_signals(&view.observed.spans.items, view.bounds);
    let earliest = alerted.minus(settings.lead_max).max(view.bounds.start);
    let mut starts: Vec<Start> = view
        .signals
        .iter()
        .chain(&from_spans)
        .filter(|signal| {
            concerned(signal.service) && !matches!(signal.class, Class::Traffic | Class::Other)
        })
        .filter_map(|signal| began(signal, view.bounds, alerted))
        .filter(|start| start.at >= earliest && start.at <= alerted)
        .collect();
    starts.push(Start { at: alerted, weight: ALERT_WEIGHT });
    agreed(&starts, alerted, skew(view.signals)).unwrap_or(alerted)
}

/// When one signal began to change, and how much that says.
struct Start {
    at: Timestamp,
    weight: f64,
}

/// The time around which most of the change begins. Noise begins anywhere, so what is close to the alert counts more.
fn agreed(starts: &[Start], alerted: Timestamp, width: Duration) -> Option<Timestamp> {
    let distance = |a: Timestamp, b: Timestamp| a.since(b).max(b.since(a)).as_secs_f64();
    let width = width.as_secs_f64();
    let support = |at: Timestamp| {
        let near: f64 =
            starts.iter().map(|start| start.weight * (-distance(start.at, at) / width).exp()).sum();
        near * (-distance(alerted, at) / PATIENCE.as_secs_f64()).exp()
    };
    let centre = starts.iter().max_by(|a, b| support(a.at).total_cmp(&support(b.at)))?.at;
    let near: Vec<f64> = starts
        .iter()
        .filter(|start| distance(start.at, centre) <= 2.0 * width)
        .map(|start| start.at.as_seconds_f64())
        .collect();
    quantile(&near, 0.25).map(|start| Timestamp::from_micros((start * 1e6) as i64))
}

fn began(signal: &Signal<'_>, bounds: Window, alerted: Timestamp) -> Option<Start> {
    let samples: Vec<&Sample> = signal
        .samples
        .iter()
        .filter(|sample| sample.at >= bounds.start && sample.at <= bounds.end)
        .collect();
    let before = samples.iter().filter(|sample| sample.at <= alerted).count();
    let reference = ((before as f64 * REFERENCE) as usize).max(REFERENCE_MIN);
    if samples.len() <= reference {
        return None;
    }
    let calm: Vec<f64> = samples.iter().take(reference).map(|sample| sample.value).collect();
    let normal = Normal::of(&calm)?;
    let scale = normal.scale(RELATIVE, signal.unit.floor());
    let scores: Vec<f64> = samples
        .iter()
        .skip(reference)
        .map(|sample| (sample.value - normal.median) / scale)
        .collect();
    let onset = cusum_onset(&scores)?;
    let at = samples.get(reference + onset.index).map(|sample| sample.from)?;
    Some(Start { at, weight: onset.height * onset.height })
}

/// Spans as signals, in bins: a system without metrics has an onset, too.
fn span_signals(spans: &[Span], bounds: Window) -> Vec<Signal<'_>> {
    let bin = (bounds.end.since(bounds.start) / 120).max(Duration::from_secs(1));
    let bin_us = i64::try_from(bin.as_micros()).unwrap_or(i64::MAX).max(1);
    let mut bins: BTreeMap<&str, BTreeMap<i64, (f64, f64, f64)>> = BTreeMap::new();
    for span in spans.iter().filter(|span| span.kind != SpanKind::Internal) {
        let slot = bins
            .entry(&span.service)
            .or_default()
            .entry(span.start.as_micros().div_euclid(bin_us))
            .or_default();
        slot.0 += 1.0;
        slot.1 += span.duration_us as f64 / 1e6;
        slot.2 += f64::from(u8::from(span.failed));
    }
    let signal = |service, class, unit, samples| Signal {
        service,
        peer: None,
        class,
        unit,
        selector: String::new(),
        samples,
    };
    let mut signals = Vec::new();
    for (service, bins) in bins {
        let samples = |value: &dyn Fn(&(f64, f64, f64)) -> f64| -> Vec<Sample> {
            bins.iter()
                .map(|(bin, slot)| Sample {
                    from: Timestamp::from_micros(bin.saturating_mul(bin_us)),
                    at: Timestamp::from_micros(bin.saturating_add(1).saturating_mul(bin_us)),
                    value: value(slot) / slot.0,
                })
                .collect()
        };
        signals.push(signal(service, Class::Latency, Unit::Seconds, samples(&|slot| slot.1)));
        signals.push(signal(service, Class::Errors, Unit::Ratio, samples(&|slot| slot.2)));
    }
    signals
}

/// How long after the onset a change may seem to have been made and still be its cause: two scrapes.
pub(super) fn skew(signals: &[Signal<'_>]) -> Duration {
    let steps: Vec<f64> = signals
        .iter()
        .filter_map(|signal| signal.samples.last())
        .map(|sample| sample.at.since(sample.from).as_secs_f64())
        .collect();
    let step = median(&steps).unwrap_or(0.0);
    Duration::from_secs_f64((step * 2.0).clamp(SKEW_MIN.as_secs_f64(), SKEW_MAX.as_secs_f64()))
}
