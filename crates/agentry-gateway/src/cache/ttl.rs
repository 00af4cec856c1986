//! How long answers live, by how often they are asked for again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// A time to live that keeps within a quarter and four times of what was configured. Every [`LOOKUPS`] lookups it is
/// looked at anew. Where half of them or more were hits it grows by a quarter. Where less than a tenth were, and answers were
/// displaced for want of room, it shrinks by a fifth: what nobody asks for again makes room sooner. In between it drifts
/// back. An entry keeps the time it got: nothing gets older than it was promised to.
pub(super) struct Ttl {
    configured: Duration,
    /// In sixteenths of what is configured.
    factor: AtomicU32,
    /// Lookups of this round in the lower half, hits in the upper one.
    round: AtomicU64,
    /// How many answers were displaced, and how many of them before this round.
    evictions: Arc<AtomicU64>,
    evictions_before: AtomicU64,
}

/// How many make a round.
const LOOKUPS: u64 = 1_024;
const HIT: u64 = 1 << 32;
const ONE: u32 = 16;
const MIN: u32 = ONE / 4;
const MAX: u32 = ONE * 4;

impl Ttl {
    pub(super) fn new(configured: Duration, evictions: Arc<AtomicU64>) -> Self {
        Self {
            configured,
            factor: AtomicU32::new(ONE),
            round: AtomicU64::new(0),
            evictions,
            evictions_before: AtomicU64::new(0),
        }
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
            let evictions = self.evictions.load(Ordering::Relaxed);
            let room = match self.evictions_before.swap(evictions, Ordering::Relaxed) {
                before if before < evictions => Room::Scarce,
                _ => Room::Enough,
            };
            self.factor.store(adapt(factor, round / HIT, room), Ordering::Relaxed);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Enough,
    Scarce,
}

/// The next factor, after a round with that many hits.
fn adapt(factor: u32, hits: u64, room: Room) -> u32 {
    if hits * 2 >= LOOKUPS {
        (factor + (factor / 4).max(1)).min(MAX)
    } else if hits * 10 < LOOKUPS && room == Room::Scarce {
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
        let check = |rounds: usize, hits: u64, evictions: u64, seconds: u64| {
            let displaced = Arc::new(AtomicU64::new(0));
            let ttl = Ttl::new(Duration::from_secs(160), Arc::clone(&displaced));
            for _ in 0..rounds {
                displaced.fetch_add(evictions, Ordering::Relaxed);
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
        check(0, 0, 0, 160);
        check(1, 512, 0, 200);
        check(100, LOOKUPS, 1, 640);
        check(1, 100, 1, 130);
        check(100, 0, 1, 40);
        check(100, 0, 0, 160);
        check(100, 300, 1, 160);
    }

    #[test]
    fn without_extremes_it_drifts_back() {
        for (factor, next) in [(64, 63), (20, 19), (16, 16), (4, 5)] {
            assert_eq!(adapt(factor, 300, Room::Scarce), next, "{factor}");
            assert_eq!(adapt(factor, 0, Room::Enough), next, "{factor}");
        }
    }
}
