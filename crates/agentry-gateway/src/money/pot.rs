//! One slice in numbers. Everything is in micro-dollars, and nothing here waits.

use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::ledger::{Grant, SHARE};

/// For how long nobody asks the ledger again after it had not enough for as much.
const REFUSED_FOR: Duration = Duration::from_millis(250);

/// A slice that nobody has taken from for so long may be of more use elsewhere.
const IDLE: Duration = Duration::from_secs(30);
/// The same when there is not much left for others.
const IDLE_WHEN_SCARCE: Duration = Duration::from_secs(1);

/// A cap is taken in so many parts: no instance keeps more than one of them without using it.
const PARTS: i64 = 64;

#[derive(Debug, Default)]
pub(super) struct Pot {
    /// All that was granted and not given back.
    amount: i64,
    spent: i64,
    /// The part of `spent` that the ledger has no record of yet.
    unrecorded: i64,
    /// What calls in flight may cost at most.
    held: i64,
    opened: Option<Timestamp>,
    version: i64,
    /// What was left for anybody when the ledger was last asked.
    free: i64,
    /// How often all slices were lost before the last grant.
    lapses: u64,
    /// When so much was not to be had.
    refused: Option<(Timestamp, i64)>,
    warned: bool,
    taken_at: Option<Timestamp>,
}

/// Why nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Short {
    Ask,
    /// The ledger was asked a moment ago.
    Refused,
}

/// What could still be spent, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rest {
    pub left: i64,
    /// Calls in flight may give back a part of what they hold.
    pub in_flight: bool,
}

/// What to ask the ledger for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    pub need: i64,
    pub want: i64,
}

pub(super) fn unit(cap: i64) -> i64 {
    (cap / PARTS).max(1)
}

impl Pot {
    fn available(&self) -> i64 {
        self.amount.saturating_sub(self.spent).saturating_sub(self.held)
    }

    pub(super) fn rest(&self) -> Rest {
        let left = (self.available() + self.free.max(0)).max(0);
        Rest { left, in_flight: self.held > 0 }
    }

    /// Nothing of it is in use, and the ledger knows all that was spent.
    pub(super) fn is_quiet(&self) -> bool {
        self.held == 0 && self.unrecorded == 0
    }

    pub(super) fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    /// It was granted after the last loss.
    pub(super) fn is_current(&self, lapses: u64) -> bool {
        self.opened.is_some() && self.lapses == lapses
    }

    pub(super) fn version(&self) -> i64 {
        self.version
    }

    pub(super) fn take(&mut self, estimate: i64, now: Timestamp, lapses: u64) -> Result<(), Short> {
        if self.is_current(lapses) && self.available() >= estimate {
            self.held += estimate;
            self.taken_at = Some(now);
            return Ok(());
        }
        match self.refused {
            Some((at, least)) if estimate >= least && now.since(at) < REFUSED_FOR => {
                Err(Short::Refused)
            }
            Some(_) | None => Err(Short::Ask),
        }
    }

    /// The call was not made.
    pub(super) fn put_back(&mut self, estimate: i64) {
        self.held -= estimate;
        self.refused = None;
    }

    /// The call is over. Returns by how much it cost more than there is.
    pub(super) fn spend(&mut self, estimate: i64, actual: i64) -> i64 {
        self.held -= estimate;
        self.spent = self.spent.saturating_add(actual);
        self.unrecorded = self.unrecorded.saturating_add(actual);
        if actual < estimate {
            self.refused = None;
        }
        if actual > estimate { self.available().saturating_neg().max(0) } else { 0 }
    }

    pub(super) fn recorded(&mut self, amount: i64) {
        self.unrecorded -= amount;
    }

    /// What to ask for on behalf of a call, when `waiting` is what all that wait need.
    pub(super) fn wish(&self, estimate: i64, waiting: i64, (cap, lapses): (i64, u64)) -> Wish {
        if self.lapses != lapses && self.opened.is_some() {
            // Nobody knows what we have.
            return Wish { need: 0, want: 0 };
        }
        let available = self.available();
        let need = estimate.saturating_sub(available).max(0);
        Wish { need, want: waiting.saturating_sub(available).max(need).saturating_add(unit(cap)) }
    }

    /// What to ask for so that the next calls need not wait.
    pub(super) fn top_up(&self, cap: i64) -> Wish {
        let missing = unit(cap).saturating_sub(self.available());
        Wish { need: 0, want: missing.max(0) }
    }

    pub(super) fn is_low(&self, cap: i64) -> bool {
        self.free > 0 && self.available() < unit(cap) / 2
    }

    pub(super) fn granted(&mut self, grant: &Grant, lapses: u64) {
        let Grant { granted: _, amount, spent, opened, version, free } = *grant;
        if self.opened != Some(opened) {
            // The slice of before, if there was one, is worth its records. What they do not say yet is charged to this one.
            self.spent = spent.0 + self.unrecorded;
        }
        self.amount = amount.0;
        self.opened = Some(opened);
        self.version = version;
        self.free = free.0;
        self.lapses = lapses;
    }

    pub(super) fn refuse(&mut self, estimate: i64, now: Timestamp) {
        self.refused = Some((now, estimate));
    }

    /// What is used, for the first time that it is at least `percent` of the cap.
    pub(super) fn warns(&mut self, cap: i64, percent: u8) -> Option<i64> {
        let used = self.used(cap);
        let reached = i128::from(used) * 100 >= i128::from(cap) * i128::from(percent);
        (reached && !std::mem::replace(&mut self.warned, reached)).then_some(used)
    }

    /// Of the cap, by anybody, as of the last answer of the ledger; what calls in flight may cost is part of it.
    pub(super) fn used(&self, cap: i64) -> i64 {
        (cap - self.free).saturating_sub(self.available())
    }

    /// Takes out what is to be given back: all that is left over.
    pub(super) fn take_rest(&mut self) -> i64 {
        let rest = self.available().max(0);
        self.amount -= rest;
        rest
    }

    /// Takes out what is to be given back at leisure: what is more than a few parts, or all of it when nobody here has asked
    /// for a while.
    pub(super) fn take_surplus(&mut self, cap: i64, now: Timestamp) -> i64 {
        let unit = unit(cap);
        let idle_for =
            |span| self.held == 0 && self.taken_at.is_none_or(|at| now.since(at) >= span);
        let scarce = self.free < unit.saturating_mul(SHARE);
        let idle = idle_for(IDLE) || scarce && idle_for(IDLE_WHEN_SCARCE);
        let surplus = match self.available() {
            rest if idle => rest.max(0),
            rest if rest > unit.saturating_mul(4) => rest - 2 * unit,
            _ => 0,
        };
        self.amount -= surplus;
        surplus
    }

    /// It was not given back after all.
    pub(super) fn restore(&mut self, surplus: i64) {
        self.amount += surplus;
    }

    pub(super) fn given_back(&mut self, surplus: i64) {
        self.free += surplus;
    }
}

#[cfg(test)]
mod tests;
