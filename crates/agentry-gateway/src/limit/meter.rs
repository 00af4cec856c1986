//! One of a key's two counts: what it may, what this instance has counted, and what the others have.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentry_core::shared::Counted;

use super::exchange::Sharing;
use super::window::{Moment, Window};
use super::{Limited, NO_LIMIT, Standing, Which};

pub(super) const MINUTE: Duration = Duration::from_secs(60);

const UNKNOWN: u64 = u64::MAX;
const OTHERS_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Meter {
    limit: AtomicU64,
    window: Window,
    /// What the other instances have counted in the last minute; [`UNKNOWN`] until they were heard.
    others: AtomicU64,
    /// What the others do not know yet.
    unsent: AtomicI64,
    /// What we told them.
    own: Mutex<Own>,
}

/// Our part of the sums in the shared store, by its windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Own {
    window: u64,
    current: i64,
    previous: i64,
}

/// There is no room.
pub(super) struct Full {
    limit: u64,
    after: Option<Duration>,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            limit: AtomicU64::new(NO_LIMIT),
            window: Window::new(),
            others: AtomicU64::new(UNKNOWN),
            unsent: AtomicI64::new(0),
            own: Mutex::default(),
        }
    }

    pub(super) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub(super) fn is_limited(&self) -> bool {
        self.limit.load(Ordering::Relaxed) != NO_LIMIT
    }

    pub(super) fn take(
        &self,
        amount: u64,
        now: Moment,
        sharing: Option<&Sharing>,
    ) -> Result<(), Full> {
        let limit = self.limit.load(Ordering::Relaxed);
        if limit == NO_LIMIT {
            return Ok(());
        }
        if amount > limit {
            return Err(Full { limit, after: None });
        }
        // Counted first and looked at then: of those who come at once, none is overlooked.
        self.window.add(amount, now);
        let room = self.room(limit, sharing);
        if self.window.held(now).sum > room {
            self.window.sub(amount, now);
            let wait = self.window.until(room.saturating_sub(amount), now);
            // What the others have counted goes away too, if nobody knows when.
            let after = if room < amount { wait.max(OTHERS_AFTER) } else { wait };
            return Err(Full { limit, after: Some(after) });
        }
        self.tell(amount, sharing);
        Ok(())
    }

    /// Nothing was counted in the last minute.
    pub(super) fn is_idle(&self, now: Moment) -> bool {
        self.window.held(now).sum == 0
    }

    /// Counts what is a fact already, room or not.
    pub(super) fn put(&self, amount: u64, now: Moment, sharing: Option<&Sharing>) {
        if self.is_limited() {
            self.window.add(amount, now);
            self.tell(amount, sharing);
        }
    }

    pub(super) fn give_back(&self, amount: u64, then: Moment, sharing: Option<&Sharing>) {
        if self.is_limited() && self.window.sub(amount, then) && sharing.is_some() {
            self.unsent.fetch_sub(signed(amount), Ordering::Relaxed);
        }
    }

    pub(super) fn standing(&self, now: Moment, sharing: Option<&Sharing>) -> Option<Standing> {
        let limit = self.limit.load(Ordering::Relaxed);
        if limit == NO_LIMIT {
            return None;
        }
        let held = self.window.held(now);
        let remaining = self.room(limit, sharing).saturating_sub(held.sum);
        Some(Standing { limit, remaining, reset: held.reset(now) })
    }

    /// How much of the limit is this instance's.
    fn room(&self, limit: u64, sharing: Option<&Sharing>) -> u64 {
        let Some(sharing) = sharing else {
            return limit;
        };
        let others = self.others.load(Ordering::Relaxed);
        if others == UNKNOWN || sharing.is_away() {
            return (limit / sharing.instances()).max(1).min(limit);
        }
        limit.saturating_sub(others)
    }

    fn tell(&self, amount: u64, sharing: Option<&Sharing>) {
        if let Some(sharing) = sharing {
            let amount = signed(amount);
            let unsent = self.unsent.fetch_add(amount, Ordering::Relaxed).saturating_add(amount);
            if unsent >= signed(self.limit.load(Ordering::Relaxed) / 16) {
                sharing.hurry();
            }
        }
    }

    /// What the others are to hear now.
    pub(super) fn take_unsent(&self) -> i64 {
        self.unsent.swap(0, Ordering::Relaxed)
    }

    /// They did not hear it.
    pub(super) fn put_unsent(&self, amount: i64) {
        self.unsent.fetch_add(amount, Ordering::Relaxed);
    }

    /// They heard it, and this is what all have counted. The window before counts for as much of it as is not over.
    pub(super) fn hears(&self, told: i64, counted: Counted) {
        let Counted { window, into, current, previous } = counted;
        let mut own = self.own();
        if own.window != window {
            let follows = own.window.checked_add(1) == Some(window);
            *own = Own { window, current: 0, previous: if follows { own.current } else { 0 } };
        }
        own.current = own.current.saturating_add(told);
        let other_current = current.saturating_sub(u64::try_from(own.current).unwrap_or(0));
        let other_previous = previous.saturating_sub(u64::try_from(own.previous).unwrap_or(0));
        let left_ms = MINUTE.saturating_sub(into).as_millis();
        let still = (u128::from(other_previous) * left_ms).div_ceil(MINUTE.as_millis());
        let others = other_current.saturating_add(u64::try_from(still).unwrap_or(u64::MAX));
        self.others.store(others.min(UNKNOWN - 1), Ordering::Relaxed);
    }

    /// The key rests: what the others do is of no interest until it is used again.
    pub(super) fn forget_others(&self) {
        self.others.store(UNKNOWN, Ordering::Relaxed);
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Full {
    pub(super) fn of(self, which: Which) -> Limited {
        let Self { limit, after } = self;
        Limited { which, limit, after }
    }
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}
