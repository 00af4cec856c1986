//! How much a key may do: requests and tokens in any minute, and calls at the same time.
//!
//! Uses are counted by the second, and a second is forgotten only when all of it is older than a minute: in no minute is
//! more admitted than the limit, and under constant pressure no less than 60/61 of it. It takes no lock.
//!
//! With a shared store the instances tell each other what they counted, some ten times a second; see [`Exchange`].

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use agentry_core::{Code, Failure, Fault, Retry, caller};

mod exchange;
mod meter;
mod window;

pub use exchange::{Exchange, ExchangeSettings};

use exchange::Sharing;
use meter::Meter;
use window::Moment;

/// What a key may do. `None` is without bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    pub requests_per_minute: Option<u64>,
    pub tokens_per_minute: Option<u64>,
    pub concurrency: Option<u64>,
}

/// The limits of all keys of this instance. They outlive a reload of the configuration.
pub struct Limits {
    keys: RwLock<HashMap<Box<str>, Arc<KeyLimits>>>,
    start: Instant,
    sharing: Option<Arc<Sharing>>,
}

/// What one key may do and has done.
pub struct KeyLimits {
    name: Box<str>,
    start: Instant,
    requests: Meter,
    tokens: Meter,
    concurrency_max: AtomicU64,
    under_way: AtomicU64,
    sharing: Option<Arc<Sharing>>,
    turn: exchange::Turn,
}

/// A call that may go on. It belongs into the call's stream: the place that it takes is free when it is dropped.
pub struct Admitted {
    key: Arc<KeyLimits>,
    /// The tokens that are counted for it; nothing once it is settled.
    estimate: Option<u64>,
    counted: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Requests,
    Tokens,
    Concurrency,
}

/// A call that may not go on now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Limited {
    pub which: Which,
    pub limit: u64,
    /// When it may be tried again; nothing when it will never fit.
    pub after: Option<Duration>,
}

/// Where a key stands with one of its limits, for the `x-ratelimit-*` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub limit: u64,
    pub remaining: u64,
    /// Until everything is forgotten, if nothing is added.
    pub reset: Duration,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standings {
    pub requests: Option<Standing>,
    pub tokens: Option<Standing>,
}

const NO_LIMIT: u64 = u64::MAX;
/// When a place becomes free is not known.
const PLACE_AFTER: Duration = Duration::from_secs(1);

impl From<&caller::Limits> for Rates {
    fn from(limits: &caller::Limits) -> Self {
        Self {
            requests_per_minute: limits.rpm.map(u64::from),
            tokens_per_minute: limits.tpm.map(u64::from),
            concurrency: limits.concurrency.map(u64::from),
        }
    }
}

impl Limits {
    #[must_use]
    pub fn local(now: Instant) -> Self {
        Self { keys: RwLock::default(), start: now, sharing: None }
    }

    /// With instances that share their counts. Until the exchange runs, each counts for itself.
    #[must_use]
    pub fn shared(now: Instant, settings: ExchangeSettings) -> (Self, Exchange) {
        let (sharing, exchange) = exchange::open(settings);
        (Self { keys: RwLock::default(), start: now, sharing: Some(sharing) }, exchange)
    }

    /// The limits of a key, with these rates from now on. What it has done is not forgotten.
    pub fn key(&self, name: &str, rates: Rates) -> Arc<KeyLimits> {
        let known = self.keys.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let key = known.unwrap_or_else(|| {
            let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(KeyLimits::new(name, self.start, self.sharing.clone()));
            Arc::clone(keys.entry(name.into()).or_insert_with(new))
        });
        key.set(rates);
        key
    }

    /// Forgets the keys that nobody holds and that have done nothing for a minute: whoever comes back begins as if new.
    pub fn forget_idle(&self, now: Instant) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        // Nobody else has it, and nobody can get it while we look.
        keys.retain(|_, key| Arc::strong_count(key) > 1 || !key.is_idle(now));
    }
}

impl KeyLimits {
    fn new(name: &str, start: Instant, sharing: Option<Arc<Sharing>>) -> Self {
        Self {
            name: name.into(),
            start,
            requests: Meter::new(),
            tokens: Meter::new(),
            concurrency_max: AtomicU64::new(NO_LIMIT),
            under_way: AtomicU64::new(0),
            sharing,
            turn: exchange::Turn::default(),
        }
    }

    fn set(&self, rates: Rates) {
        let Rates { requests_per_minute, tokens_per_minute, concurrency } = rates;
        self.requests.set_limit(requests_per_minute.unwrap_or(NO_LIMIT));
        self.tokens.set_limit(tokens_per_minute.unwrap_or(NO_LIMIT));
        self.concurrency_max.store(concurrency.unwrap_or(NO_LIMIT), Ordering::Relaxed);
    }

    /// One more call, of about so many tokens. They count as used until [`Admitted::settle`] says better.
    pub fn admit(self: &Arc<Self>, tokens: u64, now: Instant) -> Result<Admitted, Limited> {
        let counted = self.moment(now);
        let sharing = self.sharing.as_deref();
        // A place, then the two counts. What was taken is given back if one of them says no.
        let limit = self.concurrency_max.load(Ordering::Relaxed);
        if self.under_way.fetch_add(1, Ordering::AcqRel) >= limit {
            self.under_way.fetch_sub(1, Ordering::AcqRel);
            let after = (limit > 0).then_some(PLACE_AFTER);
            return Err(Limited { which: Which::Concurrency, limit, after });
        }
        // From here on the place is given back by `Drop`.
        let admitted = Admitted { key: Arc::clone(self), estimate: Some(tokens), counted };
        self.requests.take(1, counted, sharing).map_err(|full| full.of(Which::Requests))?;
        if let Err(full) = self.tokens.take(tokens, counted, sharing) {
            self.requests.give_back(1, counted, sharing);
            return Err(full.of(Which::Tokens));
        }
        self.share();
        Ok(admitted)
    }

    /// Where the key stands now, for the headers of an answer.
    #[must_use]
    pub fn standings(&self, now: Instant) -> Standings {
        let (now, sharing) = (self.moment(now), self.sharing.as_deref());
        Standings {
            requests: self.requests.standing(now, sharing),
            tokens: self.tokens.standing(now, sharing),
        }
    }

    fn is_idle(&self, now: Instant) -> bool {
        let now = self.moment(now);
        self.under_way() == 0 && self.requests.is_idle(now) && self.tokens.is_idle(now)
    }

    /// How many calls are under way.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.under_way.load(Ordering::Relaxed)
    }

    fn moment(&self, now: Instant) -> Moment {
        Moment::new(now.saturating_duration_since(self.start))
    }

    /// Others are to hear of what was counted.
    fn share(self: &Arc<Self>) {
        if let Some(sharing) = &self.sharing {
            sharing.enlist(self);
        }
    }
}

impl Admitted {
    /// What the call really used, nothing if it came to nothing. The first word counts; without one the estimate does.
    pub fn settle(&mut self, used: u64, now: Instant) {
        let Some(estimate) = self.estimate.take() else {
            return;
        };
        let (key, sharing) = (&self.key, self.key.sharing.as_deref());
        if used > estimate {
            key.tokens.put(used - estimate, key.moment(now), sharing);
        } else {
            key.tokens.give_back(estimate - used, self.counted, sharing);
        }
        key.share();
    }

    #[must_use]
    pub fn key(&self) -> &Arc<KeyLimits> {
        &self.key
    }
}

impl fmt::Debug for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, estimate, counted } = self;
        let mut debug = f.debug_struct("Admitted");
        debug.field("key", &key.name).field("estimate", estimate).field("counted", counted).finish()
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.key.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Limited {
    fn text(&self) -> String {
        let Self { which, limit, after } = self;
        let what = match (which, after) {
            (Which::Requests, _) => format!("{limit} requests per minute are used up"),
            (Which::Tokens, Some(_)) => format!("{limit} tokens per minute are used up"),
            (Which::Tokens, None) => {
                format!(
                    "this call alone may use more than the {limit} tokens per minute; shorten it or lower `max_tokens`"
                )
            }
            (Which::Concurrency, _) => {
                format!("{limit} calls are under way, as many as the key may have")
            }
        };
        match after {
            Some(after) => format!("{what}; try again in {} s", after.as_secs_f64().ceil()),
            None => what,
        }
    }
}

impl Failure for Limited {
    fn code(&self) -> Code {
        match (self.which, self.after) {
            (Which::Requests, _) => Code("requests_limited"),
            (Which::Tokens, Some(_)) => Code("tokens_limited"),
            (Which::Tokens, None) => Code("tokens_over_limit"),
            (Which::Concurrency, _) => Code("concurrency_limited"),
        }
    }

    fn fault(&self) -> Fault {
        Fault::Caller
    }

    fn retry(&self) -> Retry {
        self.after.map_or(Retry::Never, Retry::After)
    }
}

#[cfg(test)]
mod tests;
