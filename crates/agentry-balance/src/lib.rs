//! Which of several targets is asked, when it is left alone, and how much may be in flight.
//!
//! Everything here is a small state machine behind an atomic or one short lock: time and randomness are arguments, and a
//! decision costs well under a microsecond. Nothing here calls anybody, knows what is asked, or reads a clock; only
//! [`Limiter::acquire`] waits, and only when there is no room.
//!
//! [`Vitals`] is what is known of one target. A [`Pool`] chooses among several, and hands out a [`Picked`] that must be
//! told how it went. [`Attempts`] plans what follows a failure, within a [`RetryBudget`].
//!
//! ```
//! use std::{sync::Arc, time::{Duration, Instant}};
//! use agentry_balance::*;
//!
//! let start = Instant::now();
//! let member = |name: &str, model: &str| Member {
//!     vitals: Arc::new(Vitals::new(Settings::default(), start)),
//!     weight: 1,
//!     id: affinity(name.as_bytes()),
//!     model: affinity(model.as_bytes()),
//! };
//! let members = vec![member("one/small", "small"), member("two/small", "small")];
//! let pool = Pool::new(Strategy::PeakEwma, members)?;
//! let (dice, budget) = (Dice::new(1), RetryBudget::new(start));
//!
//! // A call, of which the first attempt finds a connection refused.
//! budget.deposit(start);
//! let mut attempts = Attempts::new(2);
//! let ask = |tried| Ask { mode: Mode::Streamed, affinity: None, tried, has_resort: false, random: dice.roll() };
//! let first = pool.pick(start, ask(attempts.tried()))?;
//! let (failed, blame) = (first.target(), Blame::Target { retry_after: None });
//! first.fail(start, blame);
//!
//! let means = Means { time: Duration::from_secs(60), has_fallback: false, random: dice.roll() };
//! let next = attempts.after(blame, pool.outlook(start, failed), means);
//! assert_eq!(next.within(&budget, start, means), Next::Other);
//!
//! let mut second = pool.pick(start, ask(attempts.tried()))?;
//! assert_ne!(second.target(), failed);
//! second.first_token(start + Duration::from_millis(400));
//! second.succeed(start + Duration::from_secs(2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blame;
mod breaker;
mod budget;
mod choose;
mod dice;
mod ewma;
mod health;
mod hedge;
mod latency;
mod limit;
mod moment;
mod picked;
mod pool;
mod retry;
mod strategy;
mod targets;

mod vitals;
mod window;

pub use blame::Blame;
pub use breaker::{BreakerSettings, Cause};
pub use budget::RetryBudget;
pub use dice::{Dice, affinity};
pub use health::{Checked, Condition, HealthSettings, OutlierSettings};
pub use hedge::Hedge;
pub use latency::{Flow, Quantiles};
pub use limit::{
    LimitSettings, LimitState, Limiter, Permit, Priority, Shed, UnknownPriority, Wish,
};
pub use picked::Picked;
pub use pool::{Ask, Member, Mode, Nobody, Pool, Unusable, Why};
pub use retry::{Attempts, Means, Next, Outlook, backoff};
pub use strategy::{Strategy, UnknownStrategy};
pub use targets::Targets;
pub use vitals::{Circuit, Settings, Snapshot, Vitals};
