//! What is held against a target, and what follows from it. Pure.

use std::time::Duration;

use crate::blame::Blame;
use crate::breaker::{Admission, Breaker, BreakerSettings, Cause, Ticket};
use crate::moment::Moment;
use crate::window::{Tally, Window};

/// No target tells us to stay away for longer.
const COOL_MAX: Duration = Duration::from_secs(60);
/// For a target that has too much to do and does not say for how long.
const COOL_UNASKED: Duration = Duration::from_secs(1);

/// When a target is so much worse than it should be that its peers take its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlierSettings {
    /// So many failures in a row, where the breaker allows more.
    pub failures: u32,
    /// Of at least so many calls in half a minute ...
    pub calls_min: u32,
    /// ... so many of a hundred failed.
    pub failed_percent: u32,
    /// For so long the first time, twice as long the second time.
    pub eject_for: Duration,
    pub eject_for_max: Duration,
}

impl Default for OutlierSettings {
    fn default() -> Self {
        Self {
            failures: 5,
            calls_min: 20,
            failed_percent: 50,
            eject_for: Duration::from_secs(30),
            eject_for_max: Duration::from_secs(300),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthSettings {
    pub breaker: BreakerSettings,
    pub outlier: OutlierSettings,
    /// A target whose first token takes longer for one call of twenty is called degraded.
    pub slow: Duration,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            breaker: BreakerSettings::default(),
            outlier: OutlierSettings::default(),
            slow: Duration::from_secs(10),
        }
    }
}

/// One word for how a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition {
    Healthy,
    /// It is used, but fails some calls, is slow, or has too much to do.
    Degraded,
    /// It is left alone, or fails half of its calls.
    Unhealthy,
}

impl Condition {
    /// A metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What active checks say of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    Up,
    /// Nobody should ask it, until it was found to be up or nobody has looked for so long.
    Down {
        believed_for: Duration,
    },
}

/// What a pool must know to pass a target by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Free,
    /// It has enough to do: somebody else, if there is anybody.
    Soft(Moment),
    /// It said until when.
    Firm(Moment),
    /// Until a probe is due.
    Shut(Cause, Moment),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Settled,
    /// It is shut from now on.
    Shut(Cause),
    /// It is an outlier. Its pool decides, for not all can be.
    Outlier,
}

#[derive(Debug)]
pub(crate) struct Health {
    settings: HealthSettings,
    breaker: Breaker,
    window: Window,
    failures_in_a_row: u32,
    cool: Option<Cool>,
    /// It did not pass its active check, and until then that is believed.
    down: Option<Moment>,
    ejections: u32,
    /// The last ejection was over.
    readmitted: Moment,
}

#[derive(Debug, Clone, Copy)]
struct Cool {
    until: Moment,
    firm: bool,
}

impl Health {
    pub(crate) fn new(settings: HealthSettings) -> Self {
        Self {
            settings,
            breaker: Breaker::default(),
            window: Window::default(),
            failures_in_a_row: 0,
            cool: None,
            down: None,
            ejections: 0,
            readmitted: Moment::default(),
        }
    }

    pub(crate) fn gate(&self) -> Gate {
        if let Some(until) = self.down {
            return Gate::Shut(Cause::Check, until);
        }
        if let (Some(cause), Some(due)) = (self.breaker.cause(), self.breaker.due()) {
            return Gate::Shut(cause, due);
        }
        match self.cool {
            Some(Cool { until, firm: true }) => Gate::Firm(until),
            Some(Cool { until, firm: false }) => Gate::Soft(until),
            None => Gate::Free,
        }
    }

    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    pub(crate) fn tally(&self, now: Moment) -> Tally {
        self.window.tally(now)
    }

    pub(crate) fn admit(&mut self, now: Moment) -> Admission {
        match self.down {
            Some(until) if now < until => return Admission::Refused,
            // Nobody has looked for too long: what was seen then says nothing any more.
            Some(_) => self.down = None,
            None => {}
        }
        self.changing(now, |breaker| breaker.admit(now))
    }

    pub(crate) fn good(&mut self, now: Moment) {
        self.window.good(now);
        self.failures_in_a_row = 0;
    }

    fn bad(&mut self, now: Moment) -> Verdict {
        self.window.bad(now);
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let HealthSettings { breaker, outlier, slow: _ } = self.settings;
        match self.breaker.cause() {
            Some(Cause::Failing | Cause::Credentials | Cause::Check) => Verdict::Settled,
            None | Some(Cause::Outlier) if self.failures_in_a_row >= breaker.failures => {
                self.breaker.open(now, Cause::Failing, breaker.open_for);
                Verdict::Shut(Cause::Failing)
            }
            Some(Cause::Outlier) => Verdict::Settled,
            None => {
                let tally = self.window.tally(now);
                let often = u64::from(tally.bad) * 100
                    >= u64::from(outlier.failed_percent) * u64::from(tally.calls());
                let is_outlier = (tally.calls() >= outlier.calls_min && often)
                    || self.failures_in_a_row >= outlier.failures;
                if is_outlier { Verdict::Outlier } else { Verdict::Settled }
            }
        }
    }

    /// To be told [`Verdict::Outlier`] before.
    pub(crate) fn eject(&mut self, now: Moment) {
        if self.breaker.cause().is_some() {
            return;
        }
        let OutlierSettings { eject_for, eject_for_max, .. } = self.settings.outlier;
        let well_for = now.since(self.readmitted).as_millis();
        let forgiven = well_for.checked_div(eject_for.as_millis()).unwrap_or(u128::MAX);
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        self.ejections = self.ejections.saturating_sub(forgiven).saturating_add(1);
        let span = eject_for.saturating_mul(self.ejections).min(eject_for_max);
        self.breaker.open(now, Cause::Outlier, self.settings.breaker.open_for);
        self.breaker.until(now.plus(span));
    }

    fn refused_credentials(&mut self, now: Moment) -> Verdict {
        if self.breaker.cause() == Some(Cause::Credentials) {
            return Verdict::Settled;
        }
        self.breaker.open(now, Cause::Credentials, self.settings.breaker.open_for);
        Verdict::Shut(Cause::Credentials)
    }

    pub(crate) fn failed(&mut self, now: Moment, ticket: Option<Ticket>, blame: Blame) -> Verdict {
        if let Some(ticket) = ticket {
            match blame {
                Blame::Target { .. }
                | Blame::Silent
                | Blame::Credentials
                | Blame::Throttled { .. } => self.probed(now, ticket, false),
                Blame::NoModel | Blame::ContextLength | Blame::ContentPolicy | Blame::Caller => {
                    self.breaker.inconclusive(now, ticket);
                }
            }
        }
        match blame {
            Blame::Target { retry_after } => {
                if let Some(span) = retry_after {
                    self.cool(now, span, false);
                }
                self.bad(now)
            }
            Blame::Silent => self.bad(now),
            Blame::Credentials => self.refused_credentials(now),
            Blame::Throttled { retry_after } => {
                self.throttled(now, retry_after);
                Verdict::Settled
            }
            Blame::NoModel | Blame::ContextLength | Blame::ContentPolicy | Blame::Caller => {
                Verdict::Settled
            }
        }
    }

    /// It has enough to do. When it says for how long, nobody asks it; else whoever can, asks somebody else.
    pub(crate) fn throttled(&mut self, now: Moment, retry_after: Option<Duration>) {
        self.cool(now, retry_after.unwrap_or(COOL_UNASKED), retry_after.is_some());
    }

    /// Firmly, or only while there is somebody else.
    fn cool(&mut self, now: Moment, span: Duration, firm: bool) {
        let until = now.plus(span.min(COOL_MAX));
        let stands = self
            .cool
            .is_some_and(|cool| cool.until > now && (cool.firm, cool.until) >= (firm, until));
        if !stands {
            self.cool = Some(Cool { until, firm });
        }
    }

    pub(crate) fn probed(&mut self, now: Moment, ticket: Ticket, ok: bool) {
        self.changing(now, |breaker| breaker.probed(now, ticket, ok));
    }

    pub(crate) fn released(&mut self, ticket: Ticket) {
        self.breaker.released(ticket);
    }

    pub(crate) fn is_down(&self) -> bool {
        self.down.is_some()
    }

    /// What active checks have found. What calls have found is not changed by it: that something answers a check does not
    /// say that it answers calls.
    pub(crate) fn checked(&mut self, now: Moment, found: Checked) {
        match found {
            Checked::Down { believed_for } => self.down = Some(now.plus(believed_for)),
            Checked::Up => {
                if self.down.take().is_some() {
                    self.breaker.hurry(now);
                }
            }
        }
    }

    /// When a change puts it back in use, what was before is not held against it a second time.
    fn changing<T>(&mut self, now: Moment, change: impl FnOnce(&mut Breaker) -> T) -> T {
        let was_shut = self.breaker.cause().is_some();
        let result = change(&mut self.breaker);
        if was_shut && self.breaker.cause().is_none() {
            self.window = Window::default();
            self.failures_in_a_row = 0;
            self.readmitted = now;
        }
        result
    }

    /// In one word, with the 95th percentile of its times to first token.
    pub(crate) fn condition(&self, now: Moment, first_token: Option<Duration>) -> Condition {
        const CALLS_MIN: u32 = 10;
        let tally = self.window.tally(now);
        let rate = if tally.calls() < CALLS_MIN { 1.0 } else { tally.success_rate() };
        let is_cooling = self.cool.is_some_and(|cool| cool.until > now);
        let is_slow = first_token.is_some_and(|first_token| first_token > self.settings.slow);
        if self.down.is_some() || self.breaker.cause().is_some() || rate <= 0.5 {
            Condition::Unhealthy
        } else if rate < 0.95 || is_cooling || is_slow {
            Condition::Degraded
        } else {
            Condition::Healthy
        }
    }
}

#[cfg(test)]
mod tests;
