//! The watchdog as several see it: who measures, who shows what is firing, who acknowledges.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentry_core::Timestamp;

use super::{Alert, Notice, Reading, Rule, Watchdog};

/// Cheap to clone. Nothing is done under its lock but to look and to decide.
#[derive(Debug, Clone, Default)]
pub struct Handle(Arc<Mutex<Watchdog>>);

impl Handle {
    #[must_use]
    pub fn new(watchdog: Watchdog) -> Self {
        Self(Arc::new(Mutex::new(watchdog)))
    }

    /// See [`Watchdog::replace`].
    pub fn replace(&self, rules: Vec<Rule>) {
        self.lock().replace(rules);
    }

    /// See [`Watchdog::step`].
    #[must_use]
    pub fn step(&self, readings: &[Reading], now: Timestamp) -> Vec<Notice> {
        self.lock().step(readings, now)
    }

    /// See [`Watchdog::acknowledge`].
    #[must_use]
    pub fn acknowledge(&self, id: &str, by: &str) -> Option<Alert> {
        self.lock().acknowledge(id, by)
    }

    /// Those that are firing.
    #[must_use]
    pub fn alerts(&self) -> Vec<Alert> {
        self.lock().alerts().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Watchdog> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
