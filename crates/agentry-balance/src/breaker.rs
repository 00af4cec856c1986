//! When a target is left alone, and when it is tried again. Pure.
//!
//! A shut breaker lets one call through as a probe. After a failed probe it waits twice as long, up to two thirds of
//! `open_for`, counted from when the probe was *sent*: a target that is well again is back within `open_for`, even when
//! the last probe before that hung.

use std::time::Duration;

use crate::moment::Moment;

/// Consecutive successes that close a breaker which opened for failures or refused credentials.
const SUCCESSES: u32 = 2;
/// An outlier answers some calls: it takes more to show that it is well.
const OUTLIER_SUCCESSES: u32 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// So many failures in a row open it.
    pub failures: u32,
    /// A target that is well again is in use within this time, if anybody calls.
    pub open_for: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(30) }
    }
}

/// Why a target is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Too many failures in a row.
    Failing,
    /// It fails more often than its peers should have to bear.
    Outlier,
    /// It refuses our key.
    Credentials,
    /// It does not pass its active check.
    Check,
}

/// The right to send one probe. Only the latest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Nobody may pass.
    Refused,
    Probe(Ticket),
    /// It is closed again, because its time is over.
    Free,
}

#[derive(Debug, Default)]
pub(crate) struct Breaker {
    shut: Option<Shut>,
    tickets: u32,
}

#[derive(Debug)]
struct Shut {
    cause: Cause,
    since: Moment,
    /// Closed from then on whatever the probes said.
    ends: Option<Moment>,
    pace: Pace,
    gap: Duration,
    /// The next probe may go.
    due: Moment,
    /// The probe that is under way, and when it was sent.
    pending: Option<(Ticket, Moment)>,
    successes: u32,
}

/// How often probes go.
#[derive(Debug, Clone, Copy)]
struct Pace {
    first: Duration,
    longest: Duration,
    /// A probe that was not heard of for so long does not hold up the next one.
    patience: Duration,
}

impl Pace {
    fn new(cause: Cause, open_for: Duration) -> Self {
        let (first, longest) = match cause {
            Cause::Failing => (open_for / 30, open_for * 2 / 3),
            Cause::Outlier => (open_for / 6, open_for / 6),
            // A check opens no breaker; it stands beside it.
            Cause::Check => (open_for, open_for),
            Cause::Credentials => (open_for * 2 / 3, open_for * 2 / 3),
        };
        Self { first, longest, patience: open_for / 6 }
    }
}

impl Breaker {
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.shut.as_ref().map(|shut| shut.cause)
    }

    pub(crate) fn shut_since(&self) -> Option<Moment> {
        self.shut.as_ref().map(|shut| shut.since)
    }

    /// When the next call may pass. Nothing when all may.
    pub(crate) fn due(&self) -> Option<Moment> {
        self.shut.as_ref().map(|shut| shut.ends.map_or(shut.due, |ends| ends.min(shut.due)))
    }

    /// Whether a probe is on its way or was answered well.
    pub(crate) fn is_probing(&self) -> bool {
        self.shut.as_ref().is_some_and(|shut| shut.pending.is_some() || shut.successes > 0)
    }

    pub(crate) fn open(&mut self, now: Moment, cause: Cause, open_for: Duration) {
        let pace = Pace::new(cause, open_for);
        self.shut = Some(Shut {
            cause,
            since: now,
            ends: None,
            pace,
            gap: pace.first,
            due: now.plus(pace.first),
            pending: None,
            successes: 0,
        });
    }

    /// It closes by itself then.
    pub(crate) fn until(&mut self, ends: Moment) {
        if let Some(shut) = &mut self.shut {
            shut.ends = Some(ends);
        }
    }

    pub(crate) fn admit(&mut self, now: Moment) -> Admission {
        let Some(shut) = &mut self.shut else {
            return Admission::Free;
        };
        if shut.ends.is_some_and(|ends| now >= ends) {
            self.shut = None;
            return Admission::Free;
        }
        if now < shut.due {
            return Admission::Refused;
        }
        if shut.pending.is_some() {
            shut.slow_down();
        }
        self.tickets = self.tickets.wrapping_add(1);
        let ticket = Ticket(self.tickets);
        shut.pending = Some((ticket, now));
        shut.due = now.plus(shut.gap.max(shut.pace.patience));
        Admission::Probe(ticket)
    }

    /// What became of a probe. A ticket that is not the latest says nothing.
    pub(crate) fn probed(&mut self, now: Moment, ticket: Ticket, ok: bool) {
        let Some(shut) = &mut self.shut else { return };
        let Some((_, sent)) = shut.pending.filter(|(pending, _)| *pending == ticket) else {
            return;
        };
        shut.pending = None;
        if ok {
            self.succeeded(now);
        } else {
            shut.successes = 0;
            shut.slow_down();
            shut.due = now.max(sent.plus(shut.gap));
        }
    }

    /// The probe was answered, and that says nothing about the target: another may go soon.
    pub(crate) fn inconclusive(&mut self, now: Moment, ticket: Ticket) {
        self.withdraw(ticket, |shut| now.plus(shut.pace.first));
    }

    /// The call that was the probe went away without a result: another may go at once.
    pub(crate) fn released(&mut self, ticket: Ticket) {
        self.withdraw(ticket, |_| Moment::default());
    }

    fn withdraw(&mut self, ticket: Ticket, due: impl FnOnce(&Shut) -> Moment) {
        if let Some(shut) = &mut self.shut
            && shut.pending.is_some_and(|(pending, _)| pending == ticket)
        {
            shut.pending = None;
            shut.due = due(shut);
        }
    }

    /// Somebody else has seen that it is there again: the next call may find out whether it answers.
    pub(crate) fn hurry(&mut self, now: Moment) {
        if let Some(shut) = self.shut.as_mut().filter(|shut| shut.pending.is_none()) {
            shut.due = shut.due.min(now);
        }
    }

    fn succeeded(&mut self, now: Moment) {
        let Some(shut) = &mut self.shut else { return };
        shut.successes += 1;
        shut.due = now;
        let needed = match shut.cause {
            Cause::Failing | Cause::Credentials | Cause::Check => SUCCESSES,
            Cause::Outlier => OUTLIER_SUCCESSES,
        };
        if shut.successes >= needed {
            self.shut = None;
        }
    }
}

impl Shut {
    fn slow_down(&mut self) {
        self.gap = (self.gap * 2).min(self.pace.longest);
    }
}

#[cfg(test)]
mod tests;
