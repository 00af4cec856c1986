//! Metrics: robust shifts with unit-aware floors, growth, and completions that stop.

use std::collections::{BTreeMap, BTreeSet};

use agentry_core::Timestamp;
use agentry_core::telemetry::Window;

use super::signals::{Class, Sample, Signal};
use super::stats::{Normal, median};
use super::words::Unit;
use super::{ASIDE_MAX, Finding, Handle, Hypothesis, Modality, Origin, STRENGTH_MAX, Split};

/// How many robust sigmas are an alarm.
const ALARM: f64 = 3.0;
/// The part of a median that is jitter.
const RELATIVE: f64 = 0.2;
const RELATIVE_GROWTH: f64 = 0.05;
/// An effect alone is a weaker pointer than a cause.
const EFFECT: f64 = 0.6;
const NORMAL_MIN: usize = 3;
const ABNORMAL_MIN: usize = 2;
/// Completions below this part of the usual rate have stopped.
const STOPPED: f64 = 0.1;
const STOPPED_STRENGTH: f64 = 6.0;
/// Open file handles: steps of a handful are ordinary.
const HANDLES_FLOOR: f64 = 8.0;

pub(crate) fn find(signals: &[Signal<'_>], split: &Split) -> Vec<Finding> {
    let shifts: Vec<Shift<'_, '_>> =
        signals.iter().filter_map(|signal| Shift::of(signal, split)).collect();
    let mut findings: Vec<Finding> =
        shifts.iter().filter_map(|shift| shift.finding(split)).collect();
    findings.extend(slow_hops(&shifts, split));
    findings.extend(stuck(&shifts, split));
    findings.extend(down(signals, split));
    findings
}

/// How one signal differs between the two periods.
struct Shift<'s, 'a> {
    signal: &'s Signal<'a>,
    normal: Normal,
    before: Vec<f64>,
    after: Vec<f64>,
    /// The level during the incident.
    level: f64,
}

impl<'s, 'a> Shift<'s, 'a> {
    fn of(signal: &'s Signal<'a>, split: &Split) -> Option<Self> {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for sample in &signal.samples {
            if sample.at <= split.normal.end && sample.at >= split.normal.start {
                before.push(sample.value);
            } else if middle(sample) >= split.abnormal.start && sample.at <= split.abnormal.end {
                after.push(sample.value);
            }
        }
        if before.len() < NORMAL_MIN || after.len() < ABNORMAL_MIN {
            return None;
        }
        let normal = Normal::of(&before)?;
        // Failures come in bursts between quiet intervals: a median would not see half of them.
        let level = match (signal.class, signal.unit) {
            (Class::Errors, _) => after.iter().sum::<f64>() / after.len() as f64,
            _ => median(&after)?,
        };
        Some(Self { signal, normal, before, after, level })
    }

    fn sigmas(&self) -> f64 {
        (self.level - self.normal.median) / self.normal.scale(RELATIVE, self.signal.unit.floor())
    }

    fn finding(&self, split: &Split) -> Option<Finding> {
        let up = (self.sigmas() / ALARM).min(STRENGTH_MAX);
        let owner = self.signal.peer.unwrap_or(self.signal.service);
        let (hypothesis, origin, strength) = match self.signal.class {
            Class::Cpu => (Hypothesis::Cpu, Origin::Own, up),
            Class::Memory => {
                (Hypothesis::Memory, Origin::Own, self.growth(self.signal.unit.floor()))
            }
            Class::Handles => (Hypothesis::Handles, Origin::Passed, self.growth(HANDLES_FLOOR)),
            Class::InFlight => (Hypothesis::Slow, Origin::Passed, up * EFFECT),
            Class::Latency => (Hypothesis::Slow, Origin::Passed, up * EFFECT),
            Class::Errors => (Hypothesis::Failing, Origin::Passed, up * EFFECT),
            Class::Traffic | Class::Other => {
                (Hypothesis::Unclear, Origin::Aside, up.abs().min(ASIDE_MAX))
            }
        };
        let worth_it = if origin == Origin::Aside { ASIDE_MAX } else { 0.5 };
        (strength >= worth_it).then(|| self.row(owner, hypothesis, (origin, strength), split))
    }

    fn row(
        &self,
        owner: &str,
        hypothesis: Hypothesis,
        weight: (Origin, f64),
        split: &Split,
    ) -> Finding {
        let (origin, strength) = weight;
        let unit = self.signal.unit;
        let (from, to) = match hypothesis {
            Hypothesis::Memory | Hypothesis::Handles => (self.normal.median, ends(&self.after).1),
            _ => (self.normal.median, self.level),
        };
        let what = match (self.signal.class, self.signal.peer) {
            (Class::Cpu, _) => "CPU use".to_owned(),
            (Class::Memory, _) => "memory".to_owned(),
            (Class::Handles, _) => "open handles".to_owned(),
            (Class::InFlight, _) => "requests in flight".to_owned(),
            (Class::Latency, None) => "mean response time".to_owned(),
            (Class::Latency, Some(peer)) => {
                format!("mean time of calls from {} to {peer}", self.signal.service)
            }
            (Class::Errors, None) => "failed requests".to_owned(),
            (Class::Errors, Some(peer)) => {
                format!("failed calls from {} to {peer}", self.signal.service)
            }
            (Class::Traffic, _) => "requests answered".to_owned(),
            (Class::Other, _) => {
                self.signal.selector.split('{').next().unwrap_or_default().to_owned()
            }
        };
        Finding {
            service: owner.to_owned(),
            hypothesis,
            origin,
            modality: Modality::Metric,
            strength: strength.min(STRENGTH_MAX),
            summary: format!("{what} went from {} to {}", unit.write(from), unit.write(to)),
            handle: self.handle(split),
            since: self.since(split),
        }
    }

    fn handle(&self, split: &Split) -> Handle {
        let window = Window { start: split.normal.start, end: split.abnormal.end };
        Handle::Series { selector: self.signal.selector.clone(), window }
    }

    /// When the first sample left the normal band.
    fn since(&self, split: &Split) -> Option<Timestamp> {
        let band = ALARM * self.normal.scale(RELATIVE, self.signal.unit.floor());
        self.signal
            .samples
            .iter()
            .filter(|sample| middle(sample) >= split.abnormal.start)
            .find(|sample| (sample.value - self.normal.median).abs() > band)
            .map(|sample| sample.from.max(split.abnormal.start))
    }

    /// What only ever rises: a leak is a slope, and its median lags behind.
    fn growth(&self, floor: f64) -> f64 {
        let (start, end) = ends(&self.after);
        let steps = self.after.windows(2).filter(|pair| matches!(pair, [a, b] if b > a)).count();
        let falls = self.after.windows(2).filter(|pair| matches!(pair, [a, b] if b < a)).count();
        let (calm_start, calm_end) = ends(&self.before);
        let drift = (calm_end - calm_start).abs();
        let steady = steps >= 2 && falls * 3 <= steps && end - start > 2.0 * drift;
        let jumped = self.level > self.normal.median && end >= start;
        if !steady && !jumped {
            return 0.0;
        }
        (end - self.normal.median - drift) / self.normal.scale(RELATIVE_GROWTH, floor) / ALARM
    }
}

fn middle(sample: &Sample) -> Timestamp {
    sample.from.plus(sample.at.since(sample.from) / 2)
}

/// The median of the first and of the last quarter.
fn ends(values: &[f64]) -> (f64, f64) {
    let quarter = values.len().div_ceil(4);
    let first: Vec<f64> = values.iter().take(quarter).copied().collect();
    let last: Vec<f64> = values.iter().rev().take(quarter).copied().collect();
    (median(&first).unwrap_or(0.0), median(&last).unwrap_or(0.0))
}

/// Callers wait longer than the service works: the time is lost between them. Calls that end in an error say nothing
/// about it: their time is the caller's patience.
fn slow_hops(shifts: &[Shift<'_, '_>], split: &Split) -> Vec<Finding> {
    let mut work: BTreeMap<&str, f64> = BTreeMap::new();
    for shift in shifts
        .iter()
        .filter(|shift| shift.signal.class == Class::Latency && shift.signal.peer.is_none())
    {
        let more = shift.level - shift.normal.median;
        work.entry(shift.signal.service)
            .and_modify(|known| *known = known.max(more))
            .or_insert(more);
    }
    let failing: BTreeSet<(&str, &str)> = shifts
        .iter()
        .filter(|shift| shift.signal.class == Class::Errors && shift.sigmas() >= ALARM)
        .filter_map(|shift| Some((shift.signal.service, shift.signal.peer?)))
        .collect();
    shifts
        .iter()
        .filter(|shift| shift.signal.class == Class::Latency && shift.signal.unit == Unit::Seconds)
        .filter_map(|shift| {
            let peer = shift
                .signal
                .peer
                .filter(|peer| !failing.contains(&(shift.signal.service, *peer)))?;
            let waited = shift.level - shift.normal.median;
            let between = waited - work.get(peer)?.max(0.0);
            let strength =
                between / shift.normal.scale(RELATIVE, shift.signal.unit.floor()) / ALARM;
            let lost = strength >= 0.5 && between > 0.6 * waited;
            lost.then(|| shift.row(peer, Hypothesis::SlowHop, (Origin::Own, strength * 0.8), split))
        })
        .collect()
}

/// Requests go in and nothing comes out.
fn stuck(shifts: &[Shift<'_, '_>], split: &Split) -> Vec<Finding> {
    let own = |class| {
        shifts
            .iter()
            .filter(move |shift| shift.signal.class == class && shift.signal.peer.is_none())
    };
    let waiting: BTreeMap<&str, &Shift<'_, '_>> = own(Class::InFlight)
        .filter(|shift| ends(&shift.after).1 >= shift.normal.median + 2.0 * Unit::Count.floor())
        .map(|shift| (shift.signal.service, shift))
        .collect();
    let mut seen = BTreeSet::new();
    own(Class::Traffic)
        .filter(|shift| {
            shift.normal.median >= 0.2 && ends(&shift.after).1 <= STOPPED * shift.normal.median
        })
        .filter_map(|shift| waiting.get(shift.signal.service).map(|waiting| (shift, *waiting)))
        .filter(|(shift, _)| seen.insert(shift.signal.service))
        .map(|(shift, waiting)| {
            let weight = (Origin::Own, STOPPED_STRENGTH);
            let mut row = shift.row(shift.signal.service, Hypothesis::Stuck, weight, split);
            row.summary = format!(
                "answers fell from {} to {} while requests in flight rose from {} to {}",
                shift.signal.unit.write(shift.normal.median),
                shift.signal.unit.write(ends(&shift.after).1),
                waiting.signal.unit.write(waiting.normal.median),
                waiting.signal.unit.write(ends(&waiting.after).1),
            );
            row
        })
        .collect()
}

/// A service whose metrics end while those of others go on.
fn down(signals: &[Signal<'_>], split: &Split) -> Vec<Finding> {
    let mut last: BTreeMap<&str, (&Signal<'_>, Timestamp)> = BTreeMap::new();
    for signal in signals {
        if let Some(sample) = signal.samples.last() {
            let slot = last.entry(signal.service).or_insert((signal, sample.at));
            if slot.1 <= sample.at {
                *slot = (signal, sample.at);
            }
        }
    }
    let Some(end) = last.values().map(|(_, at)| *at).max() else { return Vec::new() };
    last.iter()
        .filter_map(|(service, (signal, at))| {
            let pause = signal.samples.iter().map(|sample| sample.at.since(sample.from)).max()?;
            let silent = end.since(*at);
            (silent > pause * 4 && !silent.is_zero() && *at >= split.normal.start).then(|| {
                Finding {
                    service: (*service).to_owned(),
                    hypothesis: Hypothesis::Down,
                    origin: Origin::Own,
                    modality: Modality::Metric,
                    strength: 3.0,
                    summary: format!(
                        "no metrics for the last {}",
                        super::words::seconds(silent.as_secs_f64())
                    ),
                    handle: Handle::Series {
                        selector: signal.selector.clone(),
                        window: Window { start: split.normal.start, end: split.abnormal.end },
                    },
                    since: Some(*at),
                }
            })
        })
        .collect()
}
