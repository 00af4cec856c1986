//! Which alerts wait, fire, and have ended: a pure transition.

use std::collections::BTreeMap;
use std::time::Duration;

use agentry_core::Timestamp;

use crate::Service;

use super::rules::Holding;

/// How long an ended alert is remembered, so that its end can be told.
const REMEMBERED: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) severity: &'static str,
    /// How long the condition must be true without a break.
    pub(super) hold: Duration,
    pub(super) summary: &'static str,
}

/// An alert that fires or has fired.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    pub name: &'static str,
    pub severity: &'static str,
    pub service: Service,
    pub instance: String,
    pub summary: &'static str,
    /// What the rule measured last.
    pub value: f64,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(super) struct Alerts {
    waiting: BTreeMap<(Service, &'static str), Timestamp>,
    known: BTreeMap<(Service, &'static str), Alert>,
}

impl Alerts {
    /// Takes in which conditions are true at `now`; returns how many alerts begin to fire.
    pub(super) fn observe(&mut self, now: Timestamp, holding: Vec<Holding>) -> u64 {
        let true_now: BTreeMap<(Service, &'static str), Holding> =
            holding.into_iter().map(|held| ((held.service, held.rule.name), held)).collect();
        self.waiting.retain(|key, _| true_now.contains_key(key));
        for (key, alert) in &mut self.known {
            if alert.ended_at.is_none() && !true_now.contains_key(key) {
                alert.ended_at = Some(now);
            }
        }
        self.known
            .retain(|_, alert| alert.ended_at.is_none_or(|ended| now.since(ended) < REMEMBERED));

        let mut began = 0;
        for (key, held) in true_now {
            if let Some(alert) = self.known.get_mut(&key).filter(|alert| alert.ended_at.is_none()) {
                alert.value = held.value;
                continue;
            }
            let since = *self.waiting.entry(key).or_insert(now);
            if now.since(since) >= held.rule.hold {
                self.waiting.remove(&key);
                self.known.insert(key, begin(held, now));
                began += 1;
            }
        }
        began
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Alert> {
        self.known.values()
    }

    /// Firing now, the oldest first.
    pub(super) fn firing(&self) -> Vec<Alert> {
        let mut firing: Vec<Alert> =
            self.all().filter(|alert| alert.ended_at.is_none()).cloned().collect();
        firing.sort_by_key(|alert| alert.started_at);
        firing
    }
}

fn begin(held: Holding, now: Timestamp) -> Alert {
    let Holding { rule: Rule { name, severity, hold: _, summary }, service, instance, value } =
        held;
    Alert { name, severity, service, instance, summary, value, started_at: now, ended_at: None }
}

#[cfg(test)]
mod tests;
