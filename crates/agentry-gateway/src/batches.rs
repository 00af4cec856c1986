//! Batches: which item is next, and what comes of one that was tried. The [`Service`] does what is decided here.
//!
//! Tenants take turns, and so do the batches of a tenant: who was served longest ago is next. An item that meets its
//! caller's own limits waits; one whose upstream is in trouble is tried again a few times; everything else is its answer.

use std::collections::HashMap;
use std::time::Duration;

use agentry_core::batches::{Answer, Waiting};

mod service;

pub use service::{Handle, Perform, Service, Settings};

/// What came of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Performed {
    pub answer: Answer,
    /// Of an error.
    pub code: Option<String>,
    /// When whoever refused it says to come again.
    pub retry_after: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the item's answer.
    Keep,
    /// The batch pauses for so long, and the item has been tried so often then.
    Later { after: Duration, tries: u32 },
}

/// An item whose upstream is in trouble is tried so often.
pub const TRIES_MAX: u32 = 5;

const WAIT_MIN: Duration = Duration::from_millis(100);
/// However long somebody says that it takes: it is looked at again.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// It is not the item's fault, and time heals it.
const WAITS: [&str; 11] = [
    "requests_limited",
    "tokens_limited",
    "concurrency_limited",
    "overloaded",
    "usage_overloaded",
    "budget_unavailable",
    "idempotency_in_progress",
    "reader_too_slow",
    "storage_unavailable",
    "storage_overloaded",
    "stopping",
];

/// Somebody else's trouble, which may last.
const TROUBLES: [&str; 6] = [
    "model_rate_limited",
    "model_unavailable",
    "model_timed_out",
    "model_broke_off",
    "model_truncated",
    "model_malformed",
];

/// What becomes of an item that was tried `tries` times before.
#[must_use]
pub fn verdict(performed: &Performed, tries: u32) -> Verdict {
    let Performed { answer, code, retry_after } = performed;
    let Some(code) = code.as_deref().filter(|_| !answer.is_good()) else { return Verdict::Keep };
    if WAITS.contains(&code) {
        let after = retry_after.unwrap_or(Duration::from_secs(1)).clamp(WAIT_MIN, WAIT_MAX);
        return Verdict::Later { after, tries };
    }
    if TROUBLES.contains(&code) && tries + 1 < TRIES_MAX {
        let backoff = Duration::from_secs(1 << tries.min(8));
        let after = retry_after.unwrap_or_default().clamp(backoff, WAIT_MAX);
        return Verdict::Later { after, tries: tries + 1 };
    }
    Verdict::Keep
}

/// Whose turn it is.
#[derive(Debug, Default)]
pub struct Rota {
    turn: u64,
    tenants: HashMap<String, u64>,
    batches: HashMap<String, u64>,
}

/// Of tenants and batches that are remembered; whoever is forgotten comes first again.
const REMEMBERED_MAX: usize = 10_000;

impl Rota {
    /// Where in `waiting` the batch stands whose turn it is. The oldest is first among those who were never served.
    pub fn pick(&mut self, waiting: &[Waiting]) -> Option<usize> {
        let served = |turns: &HashMap<String, u64>, name: &str| turns.get(name).copied();
        let (place, next) = waiting.iter().enumerate().min_by_key(|(place, waiting)| {
            let tenant = served(&self.tenants, &waiting.tenant);
            (tenant, served(&self.batches, &waiting.batch), *place)
        })?;
        self.turn += 1;
        for (turns, name) in [(&mut self.tenants, &next.tenant), (&mut self.batches, &next.batch)] {
            if turns.len() >= REMEMBERED_MAX {
                turns.clear();
            }
            turns.insert(name.clone(), self.turn);
        }
        Some(place)
    }
}

#[cfg(test)]
mod tests;
