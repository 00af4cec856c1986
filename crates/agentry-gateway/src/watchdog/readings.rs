//! From how everything is to what a watchdog reads. What only ever grows is looked at over a window.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use agentry_balance::{Circuit, Condition, LimitState};
use agentry_core::Timestamp;

use super::{Reading, Signal};
use crate::status::{Kept, Overview, Queue, Target};

/// Over which rates are taken.
const WINDOW: Duration = Duration::from_secs(60);
/// Of fewer calls nobody says that too many failed.
const CALLS_MIN: u32 = 5;
/// Of fewer lookups nobody says that too few found something.
const LOOKUPS_MIN: u64 = 20;

/// What the gateway does not know of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Whether the store that instances share answers; nothing without one.
    pub shared_answers: Option<bool>,
}

/// Remembers what was counted a minute ago.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampler {
    past: VecDeque<Sample>,
}

#[derive(Debug, Clone, PartialEq)]
struct Sample {
    at: Timestamp,
    found: u64,
    lookups: u64,
    shed: BTreeMap<Arc<str>, u64>,
}

impl Sampler {
    pub fn readings(
        &mut self,
        overview: &Overview,
        surroundings: Surroundings,
        now: Timestamp,
    ) -> Vec<Reading> {
        let sample = Sample::of(overview, now);
        // One that is a whole window old stays: the others are younger than that.
        while self.past.get(1).is_some_and(|next| now.since(next.at) >= WINDOW) {
            self.past.pop_front();
        }
        let mut readings = Vec::new();
        let mut read = |signal: Signal, subject: &str, value: f64| {
            readings.push(Reading { signal, subject: subject.into(), value });
        };
        for target in &overview.targets {
            of_target(target, &mut read);
        }
        if let Some(past) = self.past.front() {
            of_counts(past, &sample, &mut read);
        }
        for budget in &overview.budgets {
            let subject = format!("{} per {}", budget.account, budget.per.as_str());
            read(Signal::BudgetUsed, &subject, budget.used_percent());
        }
        if let Some(Queue { waiting, waiting_max }) = overview.usage {
            read(Signal::LedgerBehind, "ledger", percent(waiting as f64, waiting_max as f64));
        }
        if let Some(answers) = surroundings.shared_answers {
            read(Signal::SharedAway, "shared", f64::from(u8::from(!answers)));
        }
        self.past.push_back(sample);
        readings
    }
}

impl Sample {
    fn of(overview: &Overview, at: Timestamp) -> Self {
        let (found, lookups) = overview.cache.map_or((0, 0), |Kept { here, shared, flights }| {
            let shared = shared.map_or(0, |shared| shared.hits);
            (here.hits + shared + flights.joined, here.hits + here.misses)
        });
        let shed = overview.targets.iter().filter_map(|target| {
            target.is.limit.map(|limit| (Arc::clone(&target.name), limit.shed))
        });
        Self { at, found, lookups, shed: shed.collect() }
    }
}

fn of_target(target: &Target, read: &mut impl FnMut(Signal, &str, f64)) {
    let Target { name, is, check: _ } = target;
    let flag = |is: bool| f64::from(u8::from(is));
    read(Signal::TargetUnhealthy, name, flag(is.condition == Condition::Unhealthy));
    read(Signal::CircuitOpen, name, flag(is.circuit != Circuit::Closed));
    if is.recent_calls >= CALLS_MIN {
        read(Signal::ErrorRate, name, (1.0 - is.success_rate) * 100.0);
    }
    if is.first_token.calls >= u64::from(CALLS_MIN) {
        read(Signal::FirstTokenP95, name, is.first_token.p95.as_secs_f64());
    }
    if let Some(limit) = is.limit {
        let LimitState { waiting, waiting_max, .. } = limit;
        read(Signal::QueueFull, name, percent(waiting as f64, waiting_max as f64));
    }
}

fn of_counts(past: &Sample, now: &Sample, read: &mut impl FnMut(Signal, &str, f64)) {
    let minutes = now.at.since(past.at).as_secs_f64() / 60.0;
    if minutes <= 0.0 {
        return;
    }
    for (name, shed) in &now.shed {
        // A target that is new has turned nobody away before.
        let before = past.shed.get(name).copied().unwrap_or(0);
        read(Signal::ShedRate, name, shed.saturating_sub(before) as f64 / minutes);
    }
    let lookups = now.lookups.saturating_sub(past.lookups);
    if lookups >= LOOKUPS_MIN {
        let found = now.found.saturating_sub(past.found).min(lookups);
        read(Signal::CacheHitRate, "cache", percent(found as f64, lookups as f64));
    }
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole <= 0.0 { 0.0 } else { part * 100.0 / whole }
}
