//! The last seconds of one service, reduced to what the rules look at.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use agentry_core::Timestamp;

use crate::Service;

use super::exposition::Sample;

const KEPT: Duration = Duration::from_secs(20);
/// What [`Vitals`] and most rules look back on.
pub(super) const WINDOW: Duration = Duration::from_secs(5);

/// What one scrape said. Of a service that is not called, its own calls are looked at.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Reading {
    pub(super) at_micros: i64,
    pub(super) up: bool,
    pub(super) requests: f64,
    pub(super) failures: f64,
    pub(super) in_flight: f64,
    pub(super) cpu_seconds: f64,
    pub(super) memory_bytes: f64,
    pub(super) started_at: f64,
    pub(super) buckets: Buckets,
    /// Its calls to others, by whom it called.
    pub(super) calls: BTreeMap<String, Buckets>,
}

/// How many requests took at most so many microseconds; the largest bound stands for infinity.
pub(super) type Buckets = BTreeMap<u64, f64>;

impl Reading {
    pub(super) fn down(at: Timestamp) -> Self {
        Self { at_micros: at.as_micros(), ..Self::default() }
    }

    pub(super) fn new(at: Timestamp, service: Service, samples: &[Sample]) -> Self {
        let requests = match service {
            Service::Shopper => "http_client_requests_total",
            Service::Frontend
            | Service::Catalogue
            | Service::Cart
            | Service::Checkout
            | Service::Payment
            | Service::Inventory => "http_requests_total",
        };
        let mut reading = Self { up: true, ..Self::down(at) };
        for sample in samples {
            match sample.name.as_str() {
                "http_requests_in_flight" => reading.in_flight = sample.value,
                "process_cpu_seconds_total" => reading.cpu_seconds = sample.value,
                "process_resident_memory_bytes" => reading.memory_bytes = sample.value,
                "process_start_time_seconds" => reading.started_at = sample.value,
                "http_request_duration_seconds_bucket" => count(&mut reading.buckets, sample),
                "http_client_request_duration_seconds_bucket" => {
                    let peer = sample.labels.get("peer").cloned().unwrap_or_default();
                    count(reading.calls.entry(peer).or_default(), sample);
                }
                name if name == requests => {
                    reading.requests += sample.value;
                    if sample.labels.get("code").is_some_and(|code| is_failure(code)) {
                        reading.failures += sample.value;
                    }
                }
                _ => {}
            }
        }
        if service == Service::Shopper {
            reading.buckets = reading.calls.values().next().cloned().unwrap_or_default();
        }
        reading
    }
}

fn count(buckets: &mut Buckets, sample: &Sample) {
    if let Some(bound) = sample.labels.get("le").and_then(|bound| bound.parse::<f64>().ok()) {
        *buckets.entry((bound * 1e6) as u64).or_default() += sample.value;
    }
}

/// A status of 500 or more, or no status at all.
fn is_failure(code: &str) -> bool {
    code.parse::<u16>().map_or(true, |status| status >= 500)
}

/// A service at a glance, over the last seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Vitals {
    pub requests_per_second: f64,
    pub error_percent: f64,
    pub p95_ms: f64,
    pub cpu_percent: f64,
    pub memory_bytes: f64,
}

/// Readings of one service, oldest first.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Reading>);

impl History {
    pub(super) fn push(&mut self, reading: Reading) {
        let oldest = reading.at_micros - micros(KEPT);
        // A process that began anew counts from nothing, and its memory says nothing about that of the one before.
        let restarted = reading.up
            && self.0.iter().rev().find(|earlier| earlier.up).is_some_and(|earlier| {
                earlier.started_at + 0.5 < reading.started_at
                    || earlier.cpu_seconds > reading.cpu_seconds
            });
        if restarted {
            self.0.clear();
        }
        self.0.push_back(reading);
        while self.0.front().is_some_and(|reading| reading.at_micros < oldest) {
            self.0.pop_front();
        }
    }

    pub(super) fn last(&self) -> Option<&Reading> {
        self.0.back()
    }

    /// The oldest and the newest reading of a process that was up, within the last `window`.
    pub(super) fn span(&self, window: Duration) -> Option<(&Reading, &Reading)> {
        let last = self.0.back().filter(|last| last.up)?;
        // Half a scrape of grace: readings are never exactly one second apart.
        let since = last.at_micros - micros(window) - 500_000;
        let first = self.0.iter().find(|reading| reading.up && reading.at_micros >= since)?;
        (first.at_micros < last.at_micros).then_some((first, last))
    }

    /// How much `of` rose within the last `window`.
    pub(super) fn rise(&self, window: Duration, of: fn(&Reading) -> f64) -> f64 {
        self.span(window).map_or(0.0, |(first, last)| of(last) - of(first))
    }

    /// How much `of` rose per second within the last `window`.
    pub(super) fn rate(&self, window: Duration, of: fn(&Reading) -> f64) -> f64 {
        self.span(window).map_or(0.0, |(first, last)| {
            (of(last) - of(first)) / ((last.at_micros - first.at_micros) as f64 / 1e6)
        })
    }

    /// The duration that the given share of the requests of the last `window` did not exceed.
    pub(super) fn quantile_seconds(&self, window: Duration, share: f64) -> Option<f64> {
        let (first, last) = self.span(window)?;
        quantile_seconds(&first.buckets, &last.buckets, share)
    }

    /// The median duration of the calls of the last `window` to whoever was the slowest to answer; of peers that were
    /// called at least `calls_min` times.
    pub(super) fn slowest_peer_seconds(&self, window: Duration, calls_min: f64) -> Option<f64> {
        let (first, last) = self.span(window)?;
        let none = Buckets::new();
        let medians = last.calls.iter().filter_map(|(peer, after)| {
            let before = first.calls.get(peer).unwrap_or(&none);
            let all = |buckets: &Buckets| buckets.values().next_back().copied().unwrap_or(0.0);
            (all(after) - all(before) >= calls_min).then(|| quantile_seconds(before, after, 0.5))?
        });
        medians.max_by(f64::total_cmp)
    }

    pub(super) fn vitals(&self) -> Vitals {
        let requests = self.rise(WINDOW, |reading| reading.requests);
        let failures = self.rise(WINDOW, |reading| reading.failures);
        Vitals {
            requests_per_second: self.rate(WINDOW, |reading| reading.requests),
            error_percent: if requests > 0.0 { 100.0 * failures / requests } else { 0.0 },
            p95_ms: self.quantile_seconds(WINDOW, 0.95).unwrap_or(0.0) * 1e3,
            cpu_percent: 100.0 * self.rate(WINDOW, |reading| reading.cpu_seconds),
            memory_bytes: self.last().map_or(0.0, |reading| reading.memory_bytes),
        }
    }
}

/// Interpolated linearly inside its bucket, as Prometheus does it.
fn quantile_seconds(before: &Buckets, after: &Buckets, share: f64) -> Option<f64> {
    let within: Vec<(f64, f64)> = after
        .iter()
        .map(|(bound, count)| {
            (*bound as f64 / 1e6, count - before.get(bound).copied().unwrap_or(0.0))
        })
        .collect();
    let total = within.last()?.1;
    if total <= 0.0 {
        return None;
    }
    let rank = share * total;
    let index = within.iter().position(|(_, count)| *count >= rank)?;
    let previous = index.checked_sub(1).and_then(|index| within.get(index));
    let (low, below) = previous.copied().unwrap_or((0.0, 0.0));
    let (high, count) = within.get(index).copied()?;
    if index + 1 == within.len() || count <= below {
        return Some(low);
    }
    Some(low + (high - low) * (rank - below) / (count - below))
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
