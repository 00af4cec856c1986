//! When a second target is asked although the first may still answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::moment::Moment;
use crate::pool::Pool;

/// Below so many calls, the 95th percentile is a guess.
const SAMPLES_MIN: u64 = 20;
/// A call earns two hundredths of a hedge; ten can be saved up.
const EARNED: u64 = 2;
const COST: u64 = 100;
const SAVED_MAX: u64 = 10 * COST;
/// The percentile is worked out again after this long.
const FRESH: Duration = Duration::from_secs(1);

/// Of all calls, at most 2 % are asked a second time. Both answers may be billed, so nothing is hedged unless there is one
/// of these.
#[derive(Debug)]
pub struct Hedge {
    epoch: Instant,
    savings: AtomicU64,
    /// In microseconds; zero for none.
    after: AtomicU64,
    /// When that is to be worked out again.
    stale: AtomicU64,
}

impl Hedge {
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            savings: AtomicU64::new(0),
            after: AtomicU64::new(0),
            stale: AtomicU64::new(0),
        }
    }

    /// A call is made: how long to wait for its first token before a second target may be asked. Nothing while too little
    /// is known.
    pub fn after(&self, pool: &Pool, now: Instant) -> Option<Duration> {
        let earn = |savings: u64| Some(savings.saturating_add(EARNED).min(SAVED_MAX));
        let _ = self.savings.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earn);
        let at = Moment::between(self.epoch, now);
        let stale = self.stale.load(Ordering::Relaxed);
        let next = at.plus(FRESH).as_micros();
        let is_ours = at.as_micros() >= stale
            && self
                .stale
                .compare_exchange(stale, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_ours {
            let (p95, calls) = pool.first_token_p95(now);
            let after = if calls < SAMPLES_MIN { 0 } else { crate::moment::micros(p95) };
            self.after.store(after, Ordering::Relaxed);
        }
        let after = self.after.load(Ordering::Relaxed);
        (after > 0).then(|| Duration::from_micros(after))
    }

    /// Whether a second target may be asked. If so, it is counted as asked.
    #[must_use]
    pub fn spend(&self) -> bool {
        let spend = |savings: u64| savings.checked_sub(COST);
        self.savings.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

#[cfg(test)]
mod tests;
