//! When people are told that something is wrong, and when they are told again. Pure: somebody else measures and sends.
//!
//! A rule watches one [`Signal`] for each thing that it is about: a target, a budget, the cache. Past its threshold for
//! long enough it *fires*: its channels are told. Until somebody acknowledges it the next channels are told, step by step.
//! It is over when the value is back beyond `clear`, which is not the threshold: the gap keeps it from flapping.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::Timestamp;

mod handle;
mod readings;

pub use handle::Handle;
pub use readings::{Sampler, Surroundings};

/// What can be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Of a target: 1 when it is left alone or fails half of its calls.
    TargetUnhealthy,
    /// Of a target: 1 while its circuit is not closed.
    CircuitOpen,
    /// Of a target: percent of its calls in the last half a minute that failed.
    ErrorRate,
    /// Of a target, in seconds.
    FirstTokenP95,
    /// Of an account in a period: percent of the cap.
    BudgetUsed,
    /// Of a target: percent of the places to wait that are taken.
    QueueFull,
    /// Of a target: calls per minute that were turned away.
    ShedRate,
    /// Percent of lookups that found something. The only one that is too low, never too high.
    CacheHitRate,
    /// Percent of the records that may wait to be stored.
    LedgerBehind,
    /// 1 when the store that instances share does not answer.
    SharedAway,
}

impl Signal {
    pub const ALL: [Self; 10] = [
        Self::TargetUnhealthy,
        Self::CircuitOpen,
        Self::ErrorRate,
        Self::FirstTokenP95,
        Self::BudgetUsed,
        Self::QueueFull,
        Self::ShedRate,
        Self::CacheHitRate,
        Self::LedgerBehind,
        Self::SharedAway,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TargetUnhealthy => "target_unhealthy",
            Self::CircuitOpen => "circuit_open",
            Self::ErrorRate => "error_rate",
            Self::FirstTokenP95 => "first_token_p95",
            Self::BudgetUsed => "budget_used",
            Self::QueueFull => "queue_full",
            Self::ShedRate => "shed_rate",
            Self::CacheHitRate => "cache_hit_rate",
            Self::LedgerBehind => "ledger_behind",
            Self::SharedAway => "shared_away",
        }
    }

    /// Where it fires unless somebody says otherwise.
    #[must_use]
    pub const fn usual_threshold(self) -> f64 {
        match self {
            Self::TargetUnhealthy | Self::CircuitOpen | Self::SharedAway => 1.0,
            Self::ErrorRate => 10.0,
            Self::FirstTokenP95 => 5.0,
            Self::BudgetUsed => 80.0,
            Self::QueueFull => 80.0,
            Self::ShedRate => 1.0,
            Self::CacheHitRate => 10.0,
            Self::LedgerBehind => 50.0,
        }
    }

    /// Whether small values are the bad ones.
    #[must_use]
    pub const fn is_bad_when_low(self) -> bool {
        matches!(self, Self::CacheHitRate)
    }

    /// A tenth better than the threshold.
    #[must_use]
    pub fn usual_clear(self, threshold: f64) -> f64 {
        if self.is_bad_when_low() { threshold * 1.1 } else { threshold * 0.9 }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::ErrorRate
            | Self::BudgetUsed
            | Self::QueueFull
            | Self::CacheHitRate
            | Self::LedgerBehind => " %",
            Self::FirstTokenP95 => " s",
            Self::ShedRate => " calls a minute",
            Self::TargetUnhealthy | Self::CircuitOpen | Self::SharedAway => "",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::TargetUnhealthy => "is unhealthy",
            Self::CircuitOpen => "is left alone, its circuit is open",
            Self::ErrorRate => "fails too many calls",
            Self::FirstTokenP95 => "takes too long to begin (95th percentile)",
            Self::BudgetUsed => "is nearly used up",
            Self::QueueFull => "has a long queue",
            Self::ShedRate => "turns calls away",
            Self::CacheHitRate => "finds too little",
            Self::LedgerBehind => "is behind with storing usage",
            Self::SharedAway => "does not answer; each instance works by itself",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no signal `{name}`; there are: {}", Signal::ALL.map(Signal::as_str).join(", "))]
pub struct UnknownSignal {
    name: String,
}

impl FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        let found = Self::ALL.into_iter().find(|signal| signal.as_str() == text);
        found.ok_or_else(|| UnknownSignal { name: text.to_owned() })
    }
}

/// One thing to watch, and whom to tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub name: Arc<str>,
    pub signal: Signal,
    /// Only of what is named so; a `*` at the end stands for anything.
    pub of: Option<String>,
    pub threshold: f64,
    /// It is over from here on.
    pub clear: f64,
    /// How long it must be past the threshold.
    pub holds_for: Duration,
    /// Told again after each such time, while nobody has acknowledged it.
    pub repeat: Option<Duration>,
    pub channels: Vec<Arc<str>>,
    /// In the order of their times.
    pub escalation: Vec<Escalation>,
}

/// Whom to tell when nobody has acknowledged an alert for so long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalation {
    pub after: Duration,
    pub channels: Vec<Arc<str>>,
}

impl Rule {
    /// With the usual bounds, once, to one channel.
    #[must_use]
    pub fn new(name: &str, signal: Signal, channel: &str) -> Self {
        let threshold = signal.usual_threshold();
        Self {
            name: name.into(),
            signal,
            of: None,
            threshold,
            clear: signal.usual_clear(threshold),
            holds_for: Duration::ZERO,
            repeat: None,
            channels: vec![channel.into()],
            escalation: Vec::new(),
        }
    }

    fn is_about(&self, reading: &Reading) -> bool {
        let fits = |of: &str| match of.strip_suffix('*') {
            Some(start) => reading.subject.starts_with(start),
            None => *of == *reading.subject,
        };
        self.signal == reading.signal && self.of.as_deref().is_none_or(fits)
    }

    fn is_past(&self, value: f64) -> bool {
        match self.signal.is_bad_when_low() {
            true => value <= self.threshold,
            false => value >= self.threshold,
        }
    }

    fn is_clear(&self, value: f64) -> bool {
        match self.signal.is_bad_when_low() {
            true => value > self.clear.max(self.threshold),
            false => value < self.clear.min(self.threshold),
        }
    }
}

/// What was measured of one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub signal: Signal,
    /// The target, the account; `cache`, `ledger`, `shared`.
    pub subject: Arc<str>,
    pub value: f64,
}

/// Something is wrong, or was.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Another one each time.
    pub id: Arc<str>,
    pub rule: Arc<str>,
    pub signal: Signal,
    pub subject: Arc<str>,
    pub value: f64,
    pub threshold: f64,
    /// When it was past the threshold for the first time.
    pub since: Timestamp,
    pub acknowledged_by: Option<Arc<str>>,
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, signal, value, threshold, .. } = self;
        write!(f, "{subject} {}", signal.words())?;
        match signal.unit() {
            "" => Ok(()),
            unit => write!(f, ": {value:.1}{unit}, the threshold is {threshold}{unit}"),
        }
    }
}

/// Why people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Fired,
    /// It still is, and nobody has acknowledged it.
    Repeated,
    /// Those who were told first did not acknowledge it.
    Escalated,
    Resolved,
}

impl Why {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Repeated => "repeated",
            Self::Escalated => "escalated",
            Self::Resolved => "resolved",
        }
    }
}

/// What is to be sent, and to whom.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    pub why: Why,
    pub alert: Alert,
    pub channels: Vec<Arc<str>>,
}

/// The state between two measurements.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Watchdog {
    rules: Vec<Rule>,
    /// By rule and subject.
    watched: BTreeMap<(usize, Arc<str>), Watched>,
    fired: u64,
}

#[derive(Debug, Clone, PartialEq)]
enum Watched {
    /// Past the threshold, but not for long enough.
    Pending {
        since: Timestamp,
    },
    Firing(Box<Firing>),
}

#[derive(Debug, Clone, PartialEq)]
struct Firing {
    alert: Alert,
    fired: Timestamp,
    told: Timestamp,
    /// How many steps were taken.
    escalated: usize,
}

impl Watchdog {
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Goes by other rules from now on. What is known under a rule of the same name about the same thing stays: who was told of
    /// an alert is told of its end.
    pub fn replace(&mut self, rules: Vec<Rule>) {
        let before = std::mem::replace(&mut self.rules, rules);
        let now_at = |at: usize| {
            let Rule { name, signal, of, .. } = before.get(at)?;
            self.rules
                .iter()
                .position(|rule| (&rule.name, rule.signal, &rule.of) == (name, *signal, of))
        };
        let watched = std::mem::take(&mut self.watched).into_iter();
        self.watched = watched
            .filter_map(|((at, subject), state)| Some(((now_at(at)?, subject), state)))
            .collect();
    }

    /// After a measurement of everything. What was not measured is well.
    pub fn step(&mut self, readings: &[Reading], now: Timestamp) -> Vec<Notice> {
        let mut notices = Vec::new();
        let mut seen = BTreeMap::new();
        for (at, rule) in self.rules.iter().enumerate() {
            for reading in readings.iter().filter(|reading| rule.is_about(reading)) {
                seen.insert((at, Arc::clone(&reading.subject)), reading.value);
            }
        }
        let Self { rules, watched, fired } = self;
        watched.retain(|key, state| {
            let value = seen.remove(key);
            let Some(rule) = rules.get(key.0) else { return false };
            let mut next = Next { rule, fired, notices: &mut notices, now };
            match state {
                Watched::Pending { since } => {
                    let value = value.filter(|value| rule.is_past(*value));
                    let Some(value) = value else { return false };
                    if now.since(*since) >= rule.holds_for {
                        *state = next.fire(&key.1, value, *since);
                    }
                    true
                }
                Watched::Firing(firing) => next.go_on(firing, value),
            }
        });
        for ((at, subject), value) in seen {
            let Some(rule) = rules.get(at).filter(|rule| rule.is_past(value)) else { continue };
            let mut next = Next { rule, fired, notices: &mut notices, now };
            let state = match rule.holds_for.is_zero() {
                true => next.fire(&subject, value, now),
                false => Watched::Pending { since: now },
            };
            watched.insert((at, subject), state);
        }
        notices
    }

    /// Somebody takes care of it: nobody else is told until it is over. Nothing when no such alert is firing.
    pub fn acknowledge(&mut self, id: &str, by: &str) -> Option<Alert> {
        self.watched.values_mut().find_map(|state| match state {
            Watched::Firing(firing) if *firing.alert.id == *id => {
                firing.alert.acknowledged_by = Some(by.into());
                Some(firing.alert.clone())
            }
            Watched::Firing(_) | Watched::Pending { .. } => None,
        })
    }

    /// Those that are firing.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.watched.values().filter_map(|state| match state {
            Watched::Firing(firing) => Some(&firing.alert),
            Watched::Pending { .. } => None,
        })
    }
}

/// One rule at one moment.
struct Next<'a> {
    rule: &'a Rule,
    fired: &'a mut u64,
    notices: &'a mut Vec<Notice>,
    now: Timestamp,
}

impl Next<'_> {
    fn tell(&mut self, why: Why, alert: &Alert, channels: Vec<Arc<str>>) {
        if !channels.is_empty() {
            self.notices.push(Notice { why, alert: alert.clone(), channels });
        }
    }

    fn fire(&mut self, subject: &Arc<str>, value: f64, since: Timestamp) -> Watched {
        let Rule { name, signal, threshold, channels, .. } = self.rule;
        *self.fired += 1;
        let alert = Alert {
            id: format!("{name}-{}-{}", self.now.as_millis() / 1_000, self.fired).into(),
            rule: Arc::clone(name),
            signal: *signal,
            subject: Arc::clone(subject),
            value,
            threshold: *threshold,
            since,
            acknowledged_by: None,
        };
        self.tell(Why::Fired, &alert, channels.clone());
        let (fired, told) = (self.now, self.now);
        Watched::Firing(Box::new(Firing { alert, fired, told, escalated: 0 }))
    }

    /// Whether it is still firing.
    fn go_on(&mut self, firing: &mut Firing, value: Option<f64>) -> bool {
        if let Some(value) = value {
            firing.alert.value = value;
        }
        if value.is_none_or(|value| self.rule.is_clear(value)) {
            let told = self.told(firing);
            self.tell(Why::Resolved, &firing.alert, told);
            return false;
        }
        if firing.alert.acknowledged_by.is_some() {
            return true;
        }
        let mut is_told = false;
        while let Some(step) = self.rule.escalation.get(firing.escalated) {
            if self.now.since(firing.fired) < step.after {
                break;
            }
            firing.escalated += 1;
            is_told = true;
            self.tell(Why::Escalated, &firing.alert, step.channels.clone());
        }
        let is_due = self.rule.repeat.is_some_and(|every| self.now.since(firing.told) >= every);
        if is_due {
            firing.told = self.now;
            // Who was told a moment ago knows.
            let told = if is_told { self.rule.channels.clone() } else { self.told(firing) };
            self.tell(Why::Repeated, &firing.alert, told);
        }
        true
    }

    /// Everybody who knows of it, once.
    fn told(&self, firing: &Firing) -> Vec<Arc<str>> {
        let mut told = self.rule.channels.clone();
        let steps = self.rule.escalation.iter().take(firing.escalated);
        for channel in steps.flat_map(|step| &step.channels) {
            if !told.contains(channel) {
                told.push(Arc::clone(channel));
            }
        }
        told
    }
}

#[cfg(test)]
mod tests;
