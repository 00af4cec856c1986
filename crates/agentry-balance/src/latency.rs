//! How long calls take: quantiles over the last minutes, written without a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::moment::{Moment, micros};

/// Each power of two is cut into so many buckets: what is read is within 3 % of what was.
const PARTS: u64 = 16;
const PARTS_BITS: u32 = PARTS.trailing_zeros();
/// Everything below about a millisecond is one bucket, everything above 17 minutes another.
const LOWEST_BITS: u32 = 10;
const OCTAVES: u64 = 20;
const BUCKETS: usize = (OCTAVES * PARTS) as usize + 2;

const PERIOD: Duration = Duration::from_secs(300);

/// Latencies of the last five to ten minutes. A few samples may be lost in the instant at which a period ends.
#[derive(Debug)]
pub(crate) struct Latencies {
    /// The five minutes that are being written.
    period: AtomicU64,
    even: Half,
    odd: Half,
}

#[derive(Debug)]
struct Half {
    counts: [AtomicU32; BUCKETS],
    sum_micros: AtomicU64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// How many calls that is about. With none, all else is zero.
    pub calls: u64,
    pub p50: Duration,
    pub p95: Duration,
    pub p99: Duration,
}

/// Little's law over the last minutes: calls in the system = rate × mean time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Flow {
    /// λ: calls that ended per second.
    pub per_second: f64,
    /// W: how long they took on average.
    pub mean: Duration,
}

impl Flow {
    /// L = λW: how many calls are under way at once, on average.
    #[must_use]
    pub fn in_system(self) -> f64 {
        self.per_second * self.mean.as_secs_f64()
    }
}

impl Default for Half {
    fn default() -> Self {
        Self { counts: [const { AtomicU32::new(0) }; BUCKETS], sum_micros: AtomicU64::new(0) }
    }
}

impl Half {
    fn clear(&self) {
        for count in &self.counts {
            count.store(0, Ordering::Relaxed);
        }
        self.sum_micros.store(0, Ordering::Relaxed);
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self { period: AtomicU64::new(0), even: Half::default(), odd: Half::default() }
    }
}

impl Latencies {
    pub(crate) fn record(&self, now: Moment, latency: Duration) {
        let half = self.half(self.roll(now));
        let micros = micros(latency);
        if let Some(count) = half.counts.get(bucket(micros)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        half.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn quantiles(&self, now: Moment) -> Quantiles {
        let counts = self.counts(now);
        let calls: u64 = counts.iter().sum();
        Quantiles {
            calls,
            p50: quantile(&counts, calls, 50),
            p95: quantile(&counts, calls, 95),
            p99: quantile(&counts, calls, 99),
        }
    }

    pub(crate) fn flow(&self, now: Moment) -> Flow {
        let calls: u64 = self.counts(now).iter().sum();
        let sum = [&self.even, &self.odd].map(|half| half.sum_micros.load(Ordering::Relaxed));
        // The half before the current one, and what has passed of this one.
        let start =
            PERIOD.saturating_mul(u32::try_from(period(now).saturating_sub(1)).unwrap_or(0));
        let span = now.since(Moment::default().plus(start)).max(Duration::from_secs(1));
        Flow {
            per_second: calls as f64 / span.as_secs_f64(),
            mean: Duration::from_micros(
                sum.iter().sum::<u64>().checked_div(calls).unwrap_or_default(),
            ),
        }
    }

    /// Adds what was counted to `sums`, for quantiles over several targets.
    pub(crate) fn add_to(&self, now: Moment, sums: &mut Counts) {
        for (sum, count) in sums.0.iter_mut().zip(self.counts(now)) {
            *sum += count;
        }
    }

    fn counts(&self, now: Moment) -> [u64; BUCKETS] {
        self.roll(now);
        let mut sums = [0; BUCKETS];
        let both = self.even.counts.iter().zip(&self.odd.counts);
        for (sum, (even, odd)) in sums.iter_mut().zip(both) {
            *sum = u64::from(even.load(Ordering::Relaxed)) + u64::from(odd.load(Ordering::Relaxed));
        }
        sums
    }

    fn half(&self, period: u64) -> &Half {
        if period.is_multiple_of(2) { &self.even } else { &self.odd }
    }

    /// Begins a new period when it is time, and says which it is.
    fn roll(&self, now: Moment) -> u64 {
        let current = self.period.load(Ordering::Relaxed);
        let next = period(now);
        if next <= current {
            return current;
        }
        let won = self.period.compare_exchange(current, next, Ordering::Relaxed, Ordering::Relaxed);
        if won.is_ok() {
            self.half(next).clear();
            if next > current + 1 {
                self.half(next + 1).clear();
            }
        }
        next
    }
}

/// Sums of several [`Latencies`].
pub(crate) struct Counts([u64; BUCKETS]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Counts {
    pub(crate) fn calls(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) fn p95(&self) -> Duration {
        quantile(&self.0, self.calls(), 95)
    }
}

fn period(now: Moment) -> u64 {
    const MICROS: u64 = PERIOD.as_micros() as u64;
    now.as_micros() / MICROS
}

fn bucket(micros: u64) -> usize {
    let Some(bits) = micros.checked_ilog2().filter(|bits| *bits >= LOWEST_BITS) else {
        return 0;
    };
    let part = (micros >> (bits - PARTS_BITS)) % PARTS;
    let at = u64::from(bits - LOWEST_BITS) * PARTS + part + 1;
    (at as usize).min(BUCKETS - 1)
}

/// The middle of what a bucket holds.
fn middle(bucket: usize) -> Duration {
    let Some(at) = (bucket as u64).checked_sub(1) else {
        return Duration::from_micros(1 << (LOWEST_BITS - 1));
    };
    let width = 1 << (at / PARTS + u64::from(LOWEST_BITS - PARTS_BITS));
    Duration::from_micros((PARTS + at % PARTS) * width + width / 2)
}

/// The smallest that `percent` of all are not above.
fn quantile(counts: &[u64; BUCKETS], calls: u64, percent: u64) -> Duration {
    let rank = (calls * percent).div_ceil(100).max(1);
    let mut seen = 0;
    for (at, count) in counts.iter().enumerate() {
        seen += count;
        if seen >= rank {
            return middle(at);
        }
    }
    Duration::ZERO
}

#[cfg(test)]
mod tests;
