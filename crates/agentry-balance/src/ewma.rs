//! A moving average of latencies that forgets with time, in one atomic.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::moment::Moment;

/// After this long a sample counts for a third of what it did.
const DECAY: Duration = Duration::from_secs(10);

/// Seconds as `f32` in the upper half, the moment of the last sample in milliseconds in the lower; zero before any.
/// The moment wraps after 49 days, and a target that nobody asked for so long may look fresh.
#[derive(Debug, Default)]
pub(crate) struct Ewma(AtomicU64);

#[derive(Debug, Clone, Copy)]
struct Reading {
    seconds: f32,
    millis: u32,
}

impl Ewma {
    /// What to expect now: the further back the last sample, the nearer to `unknown`. Never less, or whoever was fast
    /// once would keep others from being known.
    pub(crate) fn read(&self, now: Moment, unknown: Duration) -> f32 {
        let unknown = unknown.as_secs_f32();
        Reading::unpack(self.0.load(Ordering::Relaxed))
            .map_or(unknown, |reading| reading.towards(unknown, millis(now)).max(unknown))
    }

    /// The average, however old.
    pub(crate) fn last(&self) -> Option<Duration> {
        let reading = Reading::unpack(self.0.load(Ordering::Relaxed))?;
        Duration::try_from_secs_f32(reading.seconds).ok()
    }

    /// A sample above the average replaces it, one below pulls it down slowly: trouble shows at once, recovery must last.
    pub(crate) fn peak(&self, now: Moment, sample: Duration, unknown: Duration) {
        self.update(now, sample, |old, sample, millis| {
            if sample >= old.towards(unknown.as_secs_f32(), millis) {
                sample
            } else {
                old.towards(sample, millis)
            }
        });
    }

    /// Each sample pulls as much as the time since the last one.
    pub(crate) fn mean(&self, now: Moment, sample: Duration) {
        self.update(now, sample, |old, sample, millis| {
            // Samples that come together still count.
            old.towards(sample, millis.max(old.millis.wrapping_add(100)))
        });
    }

    /// Like a sample when it is above the average; nothing otherwise.
    pub(crate) fn at_least(&self, now: Moment, sample: Duration, unknown: Duration) {
        if sample.as_secs_f32() > self.read(now, unknown) {
            self.peak(now, sample, unknown);
        }
    }

    fn update(&self, now: Moment, sample: Duration, merge: impl Fn(Reading, f32, u32) -> f32) {
        let (sample, millis) = (sample.as_secs_f32(), millis(now));
        let merged = |packed| {
            let old = Reading::unpack(packed);
            let seconds = old.map_or(sample, |old| merge(old, sample, millis));
            let millis = old.map_or(millis, |old| old.later(millis));
            Reading { seconds, millis }.pack()
        };
        let mut packed = self.0.load(Ordering::Relaxed);
        while let Err(newer) = self.0.compare_exchange_weak(
            packed,
            merged(packed),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            packed = newer;
        }
    }
}

impl Reading {
    fn unpack(packed: u64) -> Option<Self> {
        let seconds = f32::from_bits((packed >> 32) as u32);
        (packed != 0).then_some(Self { seconds, millis: packed as u32 })
    }

    fn pack(self) -> u64 {
        // Zero says that there is none.
        let seconds = self.seconds.max(1e-6);
        (u64::from(seconds.to_bits()) << 32) | u64::from(self.millis)
    }

    /// The average, drawn to `goal` by the time that has passed.
    fn towards(self, goal: f32, millis: u32) -> f32 {
        let passed = self.later(millis).wrapping_sub(self.millis);
        let kept = (-(passed as f32) / (DECAY.as_secs_f32() * 1_000.0)).exp();
        goal + (self.seconds - goal) * kept
    }

    /// Threads report a little out of order: what seems to be 49 days ahead is in the past.
    fn later(self, millis: u32) -> u32 {
        let is_past = millis.wrapping_sub(self.millis) > u32::MAX / 2;
        if is_past { self.millis } else { millis }
    }
}

fn millis(now: Moment) -> u32 {
    (now.as_micros() / 1_000) as u32
}

#[cfg(test)]
mod tests;
