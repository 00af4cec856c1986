//! How many calls may be retries.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::moment::Moment;

const SECONDS: u64 = 10;
/// Withdrawals are counted for a second longer than deposits, so that no ten seconds have more than they may, wherever
/// they begin.
const SLOTS: u64 = SECONDS + 1;
const MIN_PER_SECOND: u64 = 5;
const PERCENT: u64 = 20;

/// In any ten seconds, at most 50 retries and one for every five calls: when everything fails, retries do not become the
/// load that keeps it failing.
#[derive(Debug)]
pub struct RetryBudget {
    epoch: Instant,
    slots: Mutex<[Slot; SLOTS as usize]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    second: u64,
    deposits: u64,
    withdrawals: u64,
}

impl RetryBudget {
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { epoch: now, slots: Mutex::default() }
    }

    /// For each call, its retries not counted.
    pub fn deposit(&self, now: Instant) {
        let second = self.second(now);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slot(&mut slots, second) {
            slot.deposits += 1;
        }
    }

    /// Whether one retry may be made. If so, it is counted as made.
    #[must_use]
    pub fn withdraw(&self, now: Instant) -> bool {
        let second = self.second(now);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut deposits, mut withdrawals) = (0, 0);
        for slot in slots.iter() {
            if slot.second + SECONDS > second {
                deposits += slot.deposits;
            }
            if slot.second + SLOTS > second {
                withdrawals += slot.withdrawals;
            }
        }
        let allowed = MIN_PER_SECOND * SECONDS + deposits * PERCENT / 100;
        let slot = slot(&mut slots, second).filter(|_| withdrawals < allowed);
        slot.map(|slot| slot.withdrawals += 1).is_some()
    }

    /// Late enough that a slot of second 0, which was never used, is past.
    fn second(&self, now: Instant) -> u64 {
        Moment::between(self.epoch, now).since(Moment::default()).as_secs() + SLOTS
    }
}

fn slot(slots: &mut [Slot; SLOTS as usize], second: u64) -> Option<&mut Slot> {
    let slot = slots.get_mut((second % SLOTS) as usize)?;
    if slot.second < second {
        *slot = Slot { second, ..Slot::default() };
    }
    Some(slot)
}

#[cfg(test)]
mod tests;
