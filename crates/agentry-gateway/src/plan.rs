//! Whom to ask next. Pure: the loop around it asks and waits.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use agentry_core::model::ModelError;
use agentry_core::{Failure as _, Retry};

use crate::alias::{Alias, Target};
use crate::error::Error;

const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The state of one call's attempts.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Spreads the waits of calls that failed together.
    seed: u64,
    attempts_max: u32,
    attempts: u32,
    at: usize,
    /// Targets in order; a target that will never answer this is struck out.
    open: Vec<bool>,
    /// How often the whole list was gone through without an answer.
    rounds: u32,
}

impl Plan {
    pub(crate) fn new(alias: &Alias, call_id: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        call_id.hash(&mut hasher);
        let targets = u32::try_from(alias.targets.len()).unwrap_or(u32::MAX);
        Self {
            seed: hasher.finish(),
            attempts_max: alias.retries.saturating_add(1).max(targets),
            attempts: 1,
            at: 0,
            open: vec![true; alias.targets.len()],
            rounds: 0,
        }
    }

    pub(crate) fn target<'a>(&self, alias: &'a Alias) -> Result<&'a Target, Error> {
        let missing = Error::Internal { reason: "a plan points past its targets" };
        alias.targets.get(self.at).ok_or(missing)
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// After a failed attempt: how long to wait before the next one, or nothing when there is no point in one.
    pub(crate) fn after(&mut self, error: &ModelError, left: Duration) -> Option<Duration> {
        if matches!(error, ModelError::Invalid { .. }) || self.attempts >= self.attempts_max {
            return None;
        }
        let retry = error.retry();
        if retry == Retry::Never
            && let Some(open) = self.open.get_mut(self.at)
        {
            *open = false;
        }
        let targets = self.open.len();
        let next = (1..=targets)
            .map(|step| self.at + step)
            .find(|&at| self.open.get(at % targets) == Some(&true))?;
        let mut wait = Duration::ZERO;
        if next >= targets {
            self.rounds += 1;
            wait = self.backoff();
        }
        if next % targets == self.at
            && let Retry::After(asked) = retry
        {
            wait = wait.max(asked);
        }
        if wait >= left {
            return None;
        }
        self.at = next % targets;
        self.attempts += 1;
        Some(wait)
    }

    /// Doubles with each round; between half and all of it, by the call's seed.
    fn backoff(&self) -> Duration {
        let doubled = BACKOFF.saturating_mul(1 << (self.rounds - 1).min(10)).min(BACKOFF_MAX);
        let part = self.seed.rotate_left(self.rounds * 7) % 1_000;
        doubled / 2 + doubled.mul_f64(part as f64 / 2_000.0)
    }
}

#[cfg(test)]
mod tests;
