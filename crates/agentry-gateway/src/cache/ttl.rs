//! How long answers live, by how often they are asked for again.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// A time to live that keeps within a quarter and four times of what was configured. Every [`LOOKUPS`] lookups it is
/// looked at anew: where half of them or more were hits it grows by a quarter, where less than a tenth were it shrinks by
/// a fifth, in between it drifts back. An entry keeps the time it got: nothing gets older than it was promised to.
pub(super) struct Ttl {
    configured: Duration,
    /// In sixteenths of what is configured.
    factor: AtomicU32,
    /// Lookups of this round in the lower half, hits in the upper one.
    round: AtomicU64,
}

/// How many make a round.
const LOOKUPS: u64 = 1_024;
const HIT: u64 = 1 << 32;
const ONE: u32 = 16;
const MIN: u32 = ONE / 4;
const MAX: u32 = ONE * 4;

impl Ttl {
    pub(super) fn new(configured: Duration) -> Self {
        Self { configured, factor: AtomicU32::new(ONE), round: AtomicU64::new(0) }
    }

    pub(super) fn now(&self) -> Duration {
        self.configured.saturating_mul(self.factor.load(Ordering::Relaxed)) / ONE
    }

    pub(super) fn hit(&self) {
        self.count(HIT + 1);
    }

    pub(super) fn miss(&self) {
        self.count(1);
    }

    fn count(&self, amount: u64) {
        let round = self.round.fetch_add(amount, Ordering::Relaxed) + amount;
        // Exactly one thread sees the count arrive.
        if round % HIT == LOOKUPS {
            self.round.fetch_sub(round, Ordering::Relaxed);
            let factor = self.factor.load(Ordering::Relaxed);
            self.factor.store(adapt(factor, round / HIT), Ordering::Relaxed);
        }
    }
}

/// The next factor, after a round with that many hits.
fn adapt(factor: u32, hits: u64) -> u32 {
    if hits * 2 >= LOOKUPS {
        (factor + (factor / 4).max(1)).min(MAX)
    } else if hits * 10 < LOOKUPS {
        (factor - (factor / 5).max(1)).max(MIN)
    } else if factor > ONE {
        factor - 1
    } else if factor < ONE {
        factor + 1
    } else {
        factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_follows_the_hit_rate_within_its_bounds() {
        let check = |rounds: usize, hits: u64, seconds: u64| {
            let ttl = Ttl::new(Duration::from_secs(160));
            for _ in 0..rounds {
                for lookup in 0..LOOKUPS {
                    if lookup < hits {
                        ttl.hit();
                    } else {
                        ttl.miss();
                    }
                }
            }
            assert_eq!(ttl.now(), Duration::from_secs(seconds), "{rounds} rounds, {hits} hits");
        };
        check(0, 0, 160);
        check(1, 512, 200);
        check(100, LOOKUPS, 640);
        check(1, 100, 130);
        check(100, 0, 40);
        check(100, 300, 160);
    }

    #[test]
    fn without_extremes_it_drifts_back() {
        for (factor, next) in [(64, 63), (20, 19), (16, 16), (4, 5)] {
            assert_eq!(adapt(factor, 300), next, "{factor}");
        }
    }
}
