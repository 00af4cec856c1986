//! From a stream of alerts to incidents: identity, duplicates, chronic alerts, session windows.
//!
//! [`Correlator::decide`] looks, [`Correlator::apply`] remembers. The decision is stored with the alert, so a restart
//! replays what was decided and never decides again.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use agentry_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::alert::{Alert, Fingerprint, Severity, State};

#[cfg(test)]
mod tests;

/// The number people know an incident by, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncidentNumber(pub u64);

impl std::fmt::Display for IncidentNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "INC-{}", self.0)
    }
}

impl std::str::FromStr for IncidentNumber {
    type Err = std::num::ParseIntError;

    /// `INC-7`, `inc-7` or `7`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text
            .get(..4)
            .filter(|head| head.eq_ignore_ascii_case("INC-"))
            .map_or(text, |head| text.get(head.len()..).unwrap_or_default());
        digits.parse().map(Self)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// An incident takes alerts while they come within this of each other …
    pub gap: Duration,
    /// … and no longer than this after it opened.
    pub cap: Duration,
    /// Later alerts about its own services still belong to it for this long.
    pub late: Duration,
    /// More firings of one fingerprint than this within `chronic_window` make it chronic: it neither opens nor extends.
    pub chronic_firings: usize,
    pub chronic_window: Duration,
    /// Fingerprints remembered at the most; resolved ones are forgotten first, then those not heard of for longest.
    pub tracks_max: usize,
    /// Alerts that wait for an incident at the most; older ones are not adopted any more.
    pub loose_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            gap: Duration::from_secs(120),
            cap: Duration::from_secs(7 * 60),
            late: Duration::from_secs(15 * 60),
            chronic_firings: 5,
            chronic_window: Duration::from_secs(3_600),
            tracks_max: 100_000,
            loose_max: 1_000,
        }
    }
}

/// What becomes of one alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Decision {
    /// The same firing again.
    Duplicate {
        incident: Option<IncidentNumber>,
    },
    /// It fires so often that it says nothing; stored, never dropped.
    Chronic,
    /// Not enough for an incident yet; adopted if one opens soon.
    Loose,
    /// A new incident, which also takes these firings that were loose until now.
    Opened {
        incident: IncidentNumber,
        adopted: Vec<Alert>,
    },
    Joined {
        incident: IncidentNumber,
    },
    /// Was loose, belongs to the incident that [`Decision::Opened`] names it for; only ever logged.
    Adopted {
        incident: IncidentNumber,
    },
    Resolved {
        incident: Option<IncidentNumber>,
    },
}

impl Decision {
    /// In one word, out of a closed set.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Duplicate { .. } => "duplicate",
            Self::Chronic => "chronic",
            Self::Loose => "loose",
            Self::Opened { .. } => "opened",
            Self::Joined { .. } => "joined",
            Self::Adopted { .. } => "adopted",
            Self::Resolved { .. } => "resolved",
        }
    }

    /// The incident that the alert belongs to.
    #[must_use]
    pub fn incident(&self) -> Option<IncidentNumber> {
        match self {
            Self::Duplicate { incident } | Self::Resolved { incident } => *incident,
            Self::Opened { incident, .. }
            | Self::Joined { incident }
            | Self::Adopted { incident } => Some(*incident),
            Self::Chronic | Self::Loose => None,
        }
    }
}

#[derive(Debug, Clone)]
struct Track {
    started: Timestamp,
    last_seen: Timestamp,
    firing: bool,
    incident: Option<IncidentNumber>,
    firings: VecDeque<Timestamp>,
}

impl Track {
    /// The incident that it keeps from being over.
    fn counted(&self) -> Option<IncidentNumber> {
        self.incident.filter(|_| self.firing)
    }
}

#[derive(Debug, Clone)]
struct Session {
    environment: String,
    opened: Timestamp,
    last_alert: Timestamp,
    services: BTreeSet<String>,
}

/// The state of the grouping. Bounded: it holds about the last hour.
#[derive(Debug, Clone, Default)]
pub struct Correlator {
    settings: Settings,
    tracks: HashMap<Fingerprint, Track>,
    sessions: BTreeMap<IncidentNumber, Session>,
    loose: VecDeque<(Timestamp, Alert)>,
    /// How many alerts of an incident fire now; none when it is not there.
    firing: BTreeMap<IncidentNumber, usize>,
    last: u64,
}

impl Correlator {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// The next incident gets a higher number than `number`.
    pub fn number_after(&mut self, number: IncidentNumber) {
        self.last = self.last.max(number.0);
    }

    /// Whether the incident is known to concern `service`.
    #[must_use]
    pub fn concerns(&self, incident: IncidentNumber, service: &str) -> bool {
        self.sessions.get(&incident).is_some_and(|session| session.services.contains(service))
    }

    /// Whether no alert of the incident fires any more.
    #[must_use]
    pub fn is_over(&self, incident: IncidentNumber) -> bool {
        !self.firing.contains_key(&incident)
    }

    /// `alert` with the start that tells its firings apart.
    ///
    /// A monitor that loses sight of an alert says that it has resolved, and later that it has been firing since the old
    /// start: that is a new firing, which begins now, and its end is the end of that one.
    #[must_use]
    pub fn dated(&self, alert: Alert, now: Timestamp) -> Alert {
        let Some(track) = self.tracks.get(&alert.fingerprint) else { return alert };
        let known = alert.started <= track.started;
        let started = match alert.state {
            // What comes soon after the end was only late.
            State::Firing if known && !track.firing && !self.is_recent(track.last_seen, now) => now,
            State::Resolved if known && track.firing => track.started,
            State::Firing | State::Resolved => alert.started,
        };
        Alert { started, ..alert }
    }

    /// What is to become of `alert`. Changes nothing.
    #[must_use]
    pub fn decide(&self, alert: &Alert, now: Timestamp) -> Decision {
        let track = self.tracks.get(&alert.fingerprint);
        match alert.state {
            State::Resolved => match track {
                Some(track) if !track.firing => Decision::Duplicate { incident: track.incident },
                Some(track) => Decision::Resolved { incident: track.incident },
                None => Decision::Resolved { incident: None },
            },
            State::Firing => match track {
                Some(track) if self.is_same_firing(track, alert, now) => {
                    Decision::Duplicate { incident: track.incident }
                }
                _ if self.is_chronic(track, now) => Decision::Chronic,
                _ => self.place(alert, now),
            },
        }
    }

    fn is_same_firing(&self, track: &Track, alert: &Alert, now: Timestamp) -> bool {
        alert.started <= track.started
            || (track.firing && now.since(track.last_seen) <= self.settings.gap)
    }

    fn is_chronic(&self, track: Option<&Track>, now: Timestamp) -> bool {
        let since = now.minus(self.settings.chronic_window);
        let before =
            track.map_or(0, |track| track.firings.iter().filter(|at| **at > since).count());
        before + 1 > self.settings.chronic_firings
    }

    fn place(&self, alert: &Alert, now: Timestamp) -> Decision {
        if alert.severity == Severity::Info {
            return Decision::Loose;
        }
        let here = || {
            self.sessions
                .iter()
                .rev()
                .filter(|(_, session)| session.environment == alert.environment)
        };
        if let Some((number, _)) = here().find(|(_, session)| self.is_open(session, now)) {
            return Decision::Joined { incident: *number };
        }
        let late = here().find(|(_, session)| {
            now.since(session.opened) <= self.settings.late
                && session.services.contains(&alert.service)
        });
        if let Some((number, _)) = late {
            return Decision::Joined { incident: *number };
        }
        let adopted: Vec<Alert> = self
            .loose
            .iter()
            .filter(|(at, loose)| {
                self.is_recent(*at, now) && loose.environment == alert.environment
            })
            .filter(|(_, loose)| loose.severity > Severity::Info)
            .map(|(_, loose)| loose.clone())
            .collect();
        let elsewhere = adopted.iter().any(|loose| loose.service != alert.service);
        match alert.severity >= Severity::Critical || burns_budget(alert) || elsewhere {
            true => Decision::Opened { incident: IncidentNumber(self.last + 1), adopted },
            false => Decision::Loose,
        }
    }

    fn is_open(&self, session: &Session, now: Timestamp) -> bool {
        now.since(session.opened) <= self.settings.cap && self.is_recent(session.last_alert, now)
    }

    fn is_recent(&self, at: Timestamp, now: Timestamp) -> bool {
        now.since(at) <= self.settings.gap
    }

    /// Remembers that `alert` came at `now` and was decided upon; also how a restart replays the log.
    pub fn apply(&mut self, alert: &Alert, decision: &Decision, now: Timestamp) {
        match decision {
            Decision::Duplicate { .. } => {
                // Of one that has resolved, the end is what was seen last.
                let track = self.tracks.get_mut(&alert.fingerprint);
                if let Some(track) = track.filter(|track| track.firing) {
                    track.last_seen = now;
                }
            }
            Decision::Resolved { incident } => self.resolve(alert, *incident, now),
            Decision::Chronic => self.fire(alert, None, now),
            Decision::Loose => {
                self.fire(alert, None, now);
                self.loose.push_back((now, alert.clone()));
                if self.loose.len() > self.settings.loose_max {
                    self.loose.pop_front();
                }
            }
            Decision::Joined { incident } => {
                self.fire(alert, Some(*incident), now);
                self.extend(*incident, alert, now);
            }
            // Done when the incident was opened.
            Decision::Adopted { .. } => {}
            Decision::Opened { incident, adopted } => self.open(alert, *incident, adopted, now),
        }
        self.forget(now);
    }

    fn open(&mut self, alert: &Alert, incident: IncidentNumber, adopted: &[Alert], now: Timestamp) {
        self.last = self.last.max(incident.0);
        self.fire(alert, Some(incident), now);
        let services = adopted.iter().chain([alert]).map(|alert| alert.service.clone()).collect();
        let environment = alert.environment.clone();
        self.sessions
            .insert(incident, Session { environment, opened: now, last_alert: now, services });
        for alert in adopted {
            self.loose.retain(|(_, loose)| loose.firing_key() != alert.firing_key());
            if let Some(track) = self.tracks.get_mut(&alert.fingerprint) {
                let left = track.counted();
                track.incident = Some(incident);
                let entered = track.counted();
                self.recount(left, entered);
            }
        }
    }

    fn recount(&mut self, left: Option<IncidentNumber>, entered: Option<IncidentNumber>) {
        if let Some(incident) = left
            && let Some(count) = self.firing.get_mut(&incident)
        {
            *count -= 1;
            if *count == 0 {
                self.firing.remove(&incident);
            }
        }
        if let Some(incident) = entered {
            *self.firing.entry(incident).or_default() += 1;
        }
    }

    fn fire(&mut self, alert: &Alert, incident: Option<IncidentNumber>, now: Timestamp) {
        let since = now.minus(self.settings.chronic_window);
        let track = self.track(alert, now);
        let left = track.counted();
        (track.started, track.last_seen, track.firing, track.incident) =
            (alert.started, now, true, incident);
        track.firings.push_back(now);
        while track.firings.front().is_some_and(|at| *at <= since) {
            track.firings.pop_front();
        }
        let entered = track.counted();
        self.recount(left, entered);
    }

    /// What is known of the alert; what was not known does not fire.
    fn track(&mut self, alert: &Alert, now: Timestamp) -> &mut Track {
        self.tracks.entry(alert.fingerprint.clone()).or_insert_with(|| Track {
            started: alert.started,
            last_seen: now,
            firing: false,
            incident: None,
            firings: VecDeque::new(),
        })
    }

    fn resolve(&mut self, alert: &Alert, incident: Option<IncidentNumber>, now: Timestamp) {
        let track = self.track(alert, now);
        let left = track.counted();
        (track.firing, track.last_seen, track.incident) = (false, now, incident);
        self.recount(left, None);
        self.loose.retain(|(_, loose)| loose.fingerprint != alert.fingerprint);
    }

    fn extend(&mut self, incident: IncidentNumber, alert: &Alert, now: Timestamp) {
        if let Some(session) = self.sessions.get_mut(&incident) {
            session.last_alert = now;
            session.services.insert(alert.service.clone());
        }
    }

    fn forget(&mut self, now: Timestamp) {
        while self.loose.front().is_some_and(|(at, _)| !self.is_recent(*at, now)) {
            self.loose.pop_front();
        }
        while self
            .sessions
            .first_key_value()
            .is_some_and(|(_, session)| now.since(session.opened) > self.settings.late)
        {
            self.sessions.pop_first();
        }
        if self.tracks.len() > self.settings.tracks_max {
            self.forget_tracks();
        }
    }

    /// Down to nine tenths, so that not every alert pays for it. Many senders never say that an alert has resolved: of those
    /// that fire, the ones not heard of for longest go.
    fn forget_tracks(&mut self) {
        let kept = self.settings.tracks_max / 10 * 9;
        let mut excess = self.tracks.len().saturating_sub(kept);
        let mut ages: Vec<_> =
            self.tracks.values().map(|track| (track.firing, track.last_seen)).collect();
        ages.sort_unstable();
        let Some(youngest) = excess.checked_sub(1).and_then(|at| ages.get(at)) else { return };
        let mut left = Vec::new();
        self.tracks.retain(|_, track| {
            let goes = excess > 0 && (track.firing, track.last_seen) <= *youngest;
            if goes {
                excess -= 1;
                left.extend(track.counted());
            }
            !goes
        });
        for incident in left {
            self.recount(Some(incident), None);
        }
    }
}

/// Alerts on the burn rate of an error budget carry `slo` together with the rate or a `burn` word.
fn burns_budget(alert: &Alert) -> bool {
    let fast = alert
        .labels
        .get("burn_rate")
        .and_then(|rate| rate.parse::<f64>().ok())
        .is_some_and(|rate| rate >= 6.0);
    fast || (alert.labels.contains_key("slo") && alert.name.to_ascii_lowercase().contains("burn"))
}
