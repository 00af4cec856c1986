//! What is known of one target: how many calls it has, how fast it is, and whether it may be asked.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::blame::Blame;
use crate::breaker::{Admission, Cause, Ticket};
use crate::ewma::Ewma;
use crate::health::{Checked, Condition, Gate, Health, HealthSettings, Verdict};
use crate::latency::{Counts, Flow, Latencies, Quantiles};
use crate::limit::{LimitSettings, LimitState, Limiter};
use crate::moment::Moment;
use crate::pool::Mode;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    pub health: HealthSettings,
    /// How much may be under way at once. Without it, anything.
    pub limit: Option<LimitSettings>,
    /// What is expected of a target that was not asked for a while: little, so that it is asked. Targets that are faster
    /// than this are not told apart by their speed.
    pub unknown: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { health: HealthSettings::default(), limit: None, unknown: Duration::from_millis(100) }
    }
}

/// One target: a model of a provider, asked with one key. Several pools may share it, and it outlives them.
#[derive(Debug)]
pub struct Vitals {
    epoch: Instant,
    unknown: Duration,
    in_flight: AtomicU32,
    /// What `health` says, to be read without its lock.
    gate: AtomicU64,
    health: Mutex<Health>,
    /// Peaks of the time to first token of streamed calls, and of the time to the answer of others. The two are never
    /// compared with each other.
    first_token: Ewma,
    whole: Ewma,
    /// Of all answered calls, to their end.
    mean: Ewma,
    /// See [`Vitals::headroom`].
    headroom: AtomicU64,
    first_tokens: Latencies,
    totals: Latencies,
    limiter: Option<Limiter>,
}

/// Whether a target can be chosen now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Free,
    /// It is busy: somebody else, if there is anybody.
    Soft,
    /// A probe may go.
    Due(Cause),
    Shut(Cause, Duration),
    Cooling(Duration),
}

/// How a call was asked for, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) mode: Mode,
    pub(crate) at: Instant,
}

impl Vitals {
    #[must_use]
    pub fn new(settings: Settings, now: Instant) -> Self {
        let Settings { health, limit, unknown } = settings;
        Self {
            epoch: now,
            unknown,
            in_flight: AtomicU32::new(0),
            gate: AtomicU64::new(pack(Gate::Free)),
            health: Mutex::new(Health::new(health)),
            first_token: Ewma::default(),
            whole: Ewma::default(),
            mean: Ewma::default(),
            headroom: AtomicU64::new(0),
            first_tokens: Latencies::default(),
            totals: Latencies::default(),
            limiter: limit.map(|limit| Limiter::new(limit, now)),
        }
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn limiter(&self) -> Option<&Limiter> {
        self.limiter.as_ref()
    }

    /// Why it is left alone, if it is.
    pub fn shut(&self) -> Option<Cause> {
        match unpack(self.gate.load(Ordering::Relaxed)) {
            Gate::Free | Gate::Soft(_) | Gate::Firm(_) => None,
            Gate::Shut(cause, _) => Some(cause),
        }
    }

    /// What the provider says is left of its rate limit, from 0 to 1, until it is filled up again. The less there is, the
    /// less is asked of it; with nothing left, nothing.
    pub fn headroom(&self, now: Instant, left: f32, resets_in: Duration) {
        if left <= 0.0 {
            self.change(|health| health.throttled(self.at(now), Some(resets_in)));
            return;
        }
        let ends = (self.at(now).plus(resets_in).as_micros() / 1_000) as u32;
        let packed = (u64::from(left.min(1.0).to_bits()) << 32) | u64::from(ends);
        self.headroom.store(packed, Ordering::Relaxed);
    }

    /// What active checks have found, to be told again after each of them.
    pub fn mark_checked(&self, now: Instant, found: Checked) {
        let at = self.at(now);
        self.change(|health| health.checked(at, found));
    }

    /// How it is, for metrics and status. Takes some microseconds.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let at = self.at(now);
        let first_token = self.first_tokens.quantiles(at);
        let slow = (first_token.calls > 0).then_some(first_token.p95);
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = health.tally(at);
        let breaker = health.breaker();
        let is_due = breaker.due().is_some_and(|due| due <= at);
        let circuit = match breaker.cause() {
            _ if health.is_down() => Circuit::Open(Cause::Check),
            None => Circuit::Closed,
            Some(cause) if breaker.is_probing() || is_due => Circuit::HalfOpen(cause),
            Some(cause) => Circuit::Open(cause),
        };
        Snapshot {
            condition: health.condition(at, slow),
            circuit,
            open_since: breaker.shut_since().map(|since| at.since(since)),
            cooling: match health.gate() {
                Gate::Soft(until) | Gate::Firm(until) => {
                    Some(until.since(at)).filter(|left| !left.is_zero())
                }
                Gate::Free | Gate::Shut(..) => None,
            },
            in_flight: self.in_flight(),
            recent_calls: tally.calls(),
            success_rate: tally.success_rate(),
            expected_first_token: self.first_token.last(),
            first_token,
            total: self.totals.quantiles(at),
            flow: self.totals.flow(at),
            limit: self.limiter.as_ref().map(Limiter::state),
        }
    }

    pub(crate) fn standing(&self, now: Instant) -> Standing {
        let gate = self.gate.load(Ordering::Relaxed);
        if gate == FREE {
            return Standing::Free;
        }
        let now = self.at(now);
        match unpack(gate) {
            Gate::Free => Standing::Free,
            Gate::Soft(until) | Gate::Firm(until) if until <= now => Standing::Free,
            Gate::Soft(_) => Standing::Soft,
            Gate::Firm(until) => Standing::Cooling(until.since(now)),
            Gate::Shut(cause, due) if due <= now => Standing::Due(cause),
            Gate::Shut(cause, due) => Standing::Shut(cause, due.since(now)),
        }
    }

    pub(crate) fn admit(&self, now: Instant) -> Admission {
        let at = self.at(now);
        self.change(|health| health.admit(at))
    }

    pub(crate) fn eject(&self, now: Instant) {
        let at = self.at(now);
        self.change(|health| health.eject(at));
    }

    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn released(&self, ticket: Ticket) {
        self.change(|health| health.released(ticket));
    }

    pub(crate) fn first_token(&self, now: Instant, asked: Asked, ticket: Option<Ticket>) {
        let at = self.at(now);
        let took = now.saturating_duration_since(asked.at);
        self.first_token.peak(at, took, self.unknown);
        self.first_tokens.record(at, took);
        if let Some(limiter) = &self.limiter {
            limiter.observe(now, Some(took));
        }
        if let Some(ticket) = ticket {
            self.change(|health| health.probed(at, ticket, true));
        }
    }

    pub(crate) fn succeeded(&self, now: Instant, asked: Asked, ticket: Option<Ticket>) {
        let at = self.at(now);
        let took = now.saturating_duration_since(asked.at);
        self.mean.mean(at, took);
        self.totals.record(at, took);
        if asked.mode == Mode::Whole {
            self.whole.peak(at, took, self.unknown);
        }
        if let Some(limiter) = &self.limiter {
            limiter.took(took);
            if asked.mode == Mode::Whole {
                limiter.observe(now, None);
            }
        }
        self.change(|health| {
            health.good(at);
            if let Some(ticket) = ticket {
                health.probed(at, ticket, true);
            }
        });
    }

    pub(crate) fn failed(
        &self,
        now: Instant,
        waited_for: Option<Asked>,
        ticket: Option<Ticket>,
        blame: Blame,
    ) -> Verdict {
        let at = self.at(now);
        if let Some(asked) = waited_for.filter(|_| blame.counts()) {
            let took = now.saturating_duration_since(asked.at);
            let ewma = match asked.mode {
                Mode::Streamed => &self.first_token,
                Mode::Whole => &self.whole,
            };
            ewma.at_least(at, took, self.unknown);
            if let (Some(limiter), Blame::Silent) = (&self.limiter, blame) {
                limiter.observe(now, Some(took));
            }
        }
        if let (Some(limiter), Blame::Throttled { .. }) = (&self.limiter, blame) {
            limiter.throttled(now);
        }
        self.change(|health| health.failed(at, ticket, blame))
    }

    /// The time that a call would take to its first token, or to its answer, if it were the only one: the peak that was
    /// seen lately, more when little is left of its rate limit.
    pub(crate) fn expected(&self, now: Instant, mode: Mode) -> f64 {
        let at = self.at(now);
        let ewma = match mode {
            Mode::Streamed => &self.first_token,
            Mode::Whole => &self.whole,
        };
        f64::from(ewma.read(at, self.unknown)) / f64::from(self.headroom_left(at))
    }

    /// The mean time to the end of an answer.
    pub(crate) fn response_time(&self, now: Instant) -> f64 {
        f64::from(self.mean.read(self.at(now), self.unknown))
    }

    pub(crate) fn add_first_tokens(&self, now: Instant, sums: &mut Counts) {
        self.first_tokens.add_to(self.at(now), sums);
    }

    fn headroom_left(&self, now: Moment) -> f32 {
        const LEAST: f32 = 0.05;
        let packed = self.headroom.load(Ordering::Relaxed);
        let millis = (now.as_micros() / 1_000) as u32;
        let left_millis = (packed as u32).wrapping_sub(millis);
        if packed == 0 || left_millis > u32::MAX / 2 {
            return 1.0;
        }
        f32::from_bits((packed >> 32) as u32).clamp(LEAST, 1.0)
    }

    fn at(&self, now: Instant) -> Moment {
        Moment::between(self.epoch, now)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Health) -> T) -> T {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut health);
        self.gate.store(pack(health.gate()), Ordering::Relaxed);
        result
    }
}

const FREE: u64 = 0;
const KIND_BITS: u32 = 3;

/// The kind in the lowest bits, the moment above.
fn pack(gate: Gate) -> u64 {
    let (kind, moment) = match gate {
        Gate::Free => return FREE,
        Gate::Soft(until) => (1, until),
        Gate::Firm(until) => (2, until),
        Gate::Shut(Cause::Failing, due) => (3, due),
        Gate::Shut(Cause::Outlier, due) => (4, due),
        Gate::Shut(Cause::Credentials, due) => (5, due),
        Gate::Shut(Cause::Check, due) => (6, due),
    };
    (moment.as_micros() << KIND_BITS) | kind
}

fn unpack(packed: u64) -> Gate {
    let moment = Moment::from_micros(packed >> KIND_BITS);
    match packed & ((1 << KIND_BITS) - 1) {
        1 => Gate::Soft(moment),
        2 => Gate::Firm(moment),
        3 => Gate::Shut(Cause::Failing, moment),
        4 => Gate::Shut(Cause::Outlier, moment),
        5 => Gate::Shut(Cause::Credentials, moment),
        6 => Gate::Shut(Cause::Check, moment),
        _ => Gate::Free,
    }
}

/// Where a breaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    Closed,
    /// Nobody may call.
    Open(Cause),
    /// A probe may go, or is on its way.
    HalfOpen(Cause),
}

impl Circuit {
    /// A metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open(_) => "open",
            Self::HalfOpen(_) => "half_open",
        }
    }
}

/// How a target is at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Snapshot {
    pub condition: Condition,
    pub circuit: Circuit,
    /// For how long it has been open, or half-open.
    pub open_since: Option<Duration>,
    /// For how long it wants to be left alone yet.
    pub cooling: Option<Duration>,
    pub in_flight: u32,
    /// In the last half a minute.
    pub recent_calls: u32,
    /// Of those; 1 when there are none.
    pub success_rate: f64,
    /// The moving average by which it is chosen.
    pub expected_first_token: Option<Duration>,
    /// Of streamed calls in the last five to ten minutes.
    pub first_token: Quantiles,
    /// Of answered calls, to their end.
    pub total: Quantiles,
    /// Of answered calls.
    pub flow: Flow,
    pub limit: Option<LimitState>,
}

#[cfg(test)]
mod tests;
