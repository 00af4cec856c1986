//! A clock that stands still until it is told otherwise.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agentry_core::{Clock, Timestamp};

pub struct FakeClock {
    now: Mutex<Timestamp>,
}

impl FakeClock {
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { now: Mutex::new(now) }
    }

    pub fn advance(&self, span: Duration) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.plus(span);
    }
}

impl Default for FakeClock {
    /// 2026-01-31T08:00:00Z.
    fn default() -> Self {
        Self::new(Timestamp::from_millis(1_769_846_400_000))
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
