//! What checks have found so far.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentry_core::Timestamp;

use super::{Plan, Settings};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Found {
    /// Nobody has looked yet, or not often enough.
    #[default]
    Unknown,
    Up,
    Down,
}

impl Found {
    /// A metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// One look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    pub at: Timestamp,
    pub took: Duration,
    /// What was wrong.
    pub problem: Option<String>,
}

/// What is known of one target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    pub found: Found,
    /// Since when it is as it is.
    pub since: Option<Timestamp>,
    pub last: Option<Last>,
    /// Looks in a row that went as the last one did.
    pub in_a_row: u32,
    pub passed: u64,
    pub failed: u64,
}

impl State {
    /// Says whether it is another than before.
    fn hear(&mut self, settings: &Settings, last: Last) -> bool {
        let is_good = last.problem.is_none();
        let same = self.last.as_ref().is_some_and(|before| before.problem.is_none() == is_good);
        self.in_a_row = if same { self.in_a_row.saturating_add(1) } else { 1 };
        let (count, needed, found) = match is_good {
            true => (&mut self.passed, settings.successes, Found::Up),
            false => (&mut self.failed, settings.failures, Found::Down),
        };
        *count += 1;
        // Whoever was never down is up at once.
        let is_enough = self.in_a_row >= needed || (is_good && self.found == Found::Unknown);
        let turns = is_enough && self.found != found;
        if turns {
            (self.found, self.since) = (found, Some(last.at));
        }
        self.last = Some(last);
        turns
    }
}

/// By target.
#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<BTreeMap<Arc<str>, State>>);

impl Book {
    /// They will be looked at.
    pub(super) fn expect(&self, plans: &[Plan]) {
        let mut states = self.lock();
        for target in plans.iter().flat_map(|plan| &plan.targets) {
            states.entry(Arc::clone(target)).or_default();
        }
    }

    pub(super) fn hear(&self, target: &Arc<str>, settings: &Settings, last: Last) -> (Found, bool) {
        let mut states = self.lock();
        let state = states.entry(Arc::clone(target)).or_default();
        let turned = state.hear(settings, last);
        (state.found, turned)
    }

    /// Forgets the others, and says which they were.
    pub(crate) fn keep_only(&self, is_kept: impl Fn(&str) -> bool) -> Vec<Arc<str>> {
        let mut states = self.lock();
        let gone: Vec<_> = states.keys().filter(|target| !is_kept(target)).cloned().collect();
        states.retain(|target, _| is_kept(target));
        gone
    }

    pub(crate) fn state(&self, target: &str) -> Option<State> {
        self.lock().get(target).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found after each look: `+` passes, `-` does not.
    fn check(looks: &str, expected: &str) {
        let settings = Settings { failures: 3, successes: 2, ..Settings::default() };
        let mut state = State::default();
        let found = looks.chars().enumerate().map(|(second, look)| {
            let at = Timestamp::from_seconds(i32::try_from(second).unwrap());
            let problem = (look == '-').then(|| "gone".to_owned());
            let turned = state.hear(&settings, Last { at, took: Duration::ZERO, problem });
            assert_eq!(turned, state.since == Some(at), "{looks} at {second}");
            match state.found {
                Found::Unknown => '?',
                Found::Up => 'u',
                Found::Down => 'd',
            }
        });
        assert_eq!(found.collect::<String>(), expected, "{looks}");
        assert_eq!(state.passed + state.failed, looks.len() as u64);
    }

    #[test]
    fn only_so_many_in_a_row_change_anything() {
        check("+++", "uuu");
        check("---+-++", "??ddddu");
        check("--+--+---", "??uuuuuud");
        check("+---+-+-++", "uuuddddddu");
    }
}
