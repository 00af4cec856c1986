//! What happened in the last minute, by the second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long ago the clock began, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(u64);

/// Whole seconds that are counted beside the one under way.
const SECONDS: u32 = 60;
const SLOTS: usize = SECONDS as usize + 1;
const SECOND_MS: u64 = 1_000;

/// One slot for each second of a minute and the one under way. A slot is a second's number in the upper half and the count
/// of that second in the lower one, so that one compare-and-swap changes both.
pub(super) struct Window([AtomicU64; SLOTS]);

/// What a window holds at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) sum: u64,
    /// The last second in which anything was counted.
    last: Option<u32>,
}

impl Moment {
    pub(super) fn new(since_start: Duration) -> Self {
        Self(u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX))
    }

    fn second(self) -> u32 {
        u32::try_from(self.0 / SECOND_MS).unwrap_or(u32::MAX)
    }

    /// Until nothing of that second counts any more.
    fn until_forgotten(self, second: u32) -> Duration {
        let end = (u64::from(second) + SLOTS as u64) * SECOND_MS;
        Duration::from_millis(end.saturating_sub(self.0))
    }
}

impl Window {
    pub(super) fn new() -> Self {
        Self([const { AtomicU64::new(0) }; SLOTS])
    }

    /// `SeqCst`, here and in `held`: of two that count at the same time and look afterwards, at least one sees both.
    pub(super) fn add(&self, amount: u64, now: Moment) {
        let second = now.second();
        let Some(slot) = self.slot(second) else { return };
        let amount = u32::try_from(amount).unwrap_or(u32::MAX);
        let mut known = slot.load(Ordering::SeqCst);
        loop {
            let (held, count) = unpack(known);
            // A writer that was overtaken by a minute counts in the newer second.
            let new = if held < second {
                pack(second, amount)
            } else {
                pack(held, count.saturating_add(amount))
            };
            match slot.compare_exchange_weak(known, new, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return,
                Err(other) => known = other,
            }
        }
    }

    /// Takes back what was added at that moment; `false` when it is forgotten already.
    pub(super) fn sub(&self, amount: u64, then: Moment) -> bool {
        let second = then.second();
        let Some(slot) = self.slot(second) else { return false };
        let amount = u32::try_from(amount).unwrap_or(u32::MAX);
        let sub = |slot| {
            let (held, count) = unpack(slot);
            (held == second).then(|| pack(held, count.saturating_sub(amount)))
        };
        slot.fetch_update(Ordering::SeqCst, Ordering::SeqCst, sub).is_ok()
    }

    pub(super) fn held(&self, now: Moment) -> Held {
        let oldest = now.second().saturating_sub(SECONDS);
        let mut held = Held { sum: 0, last: None };
        for slot in &self.0 {
            let (second, count) = unpack(slot.load(Ordering::SeqCst));
            if second >= oldest && count > 0 {
                held.sum += u64::from(count);
                held.last = held.last.max(Some(second));
            }
        }
        held
    }

    /// How long until the sum is no more than `sum_max`, if nothing is added.
    pub(super) fn until(&self, sum_max: u64, now: Moment) -> Duration {
        let mut sum = self.held(now).sum;
        let newest = now.second();
        for second in newest.saturating_sub(SECONDS)..=newest {
            if sum <= sum_max {
                break;
            }
            let (held, count) =
                self.slot(second).map_or((0, 0), |slot| unpack(slot.load(Ordering::SeqCst)));
            if held == second {
                sum = sum.saturating_sub(u64::from(count));
            }
            if sum <= sum_max {
                return now.until_forgotten(second);
            }
        }
        Duration::ZERO
    }

    fn slot(&self, second: u32) -> Option<&AtomicU64> {
        self.0.get(second as usize % SLOTS)
    }
}

impl Held {
    pub(super) fn reset(self, now: Moment) -> Duration {
        self.last.map_or(Duration::ZERO, |second| now.until_forgotten(second))
    }
}

fn pack(second: u32, count: u32) -> u64 {
    u64::from(second) << 32 | u64::from(count)
}

fn unpack(slot: u64) -> (u32, u32) {
    // Both halves fit, whatever the slot holds.
    ((slot >> 32) as u32, (slot & u64::from(u32::MAX)) as u32)
}
