//! Time since a target is known, small enough for an atomic.

use std::time::{Duration, Instant};

/// Microseconds since some epoch. It lasts for half a million years.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    /// A time before the epoch counts as the epoch.
    pub(crate) fn between(epoch: Instant, now: Instant) -> Self {
        Self(micros(now.saturating_duration_since(epoch)))
    }

    pub(crate) const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    pub(crate) const fn as_micros(self) -> u64 {
        self.0
    }

    pub(crate) fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }

    /// Zero when `earlier` is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Cheaper than `Duration::as_micros`, which counts in 128 bits.
pub(crate) fn micros(span: Duration) -> u64 {
    span.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(span.subsec_micros()))
}
