//! Which of several targets is asked, when it is left alone, and how much may be in flight.
//!
//! Everything here is a small state machine behind an atomic or one short lock: time and randomness are arguments, and a
//! decision costs well under a microsecond. Nothing here calls anybody, knows what is asked, or reads a clock; only
//! [`Limiter::acquire`] waits, and only when there is no room.
//!
//! [`Vitals`] is what is known of one target. A [`Pool`] chooses among several, and hands out a [`Picked`] that must be
//! told how it went. [`Attempts`] plans what follows a failure, within a [`RetryBudget`].

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
pub use health::{Condition, HealthSettings, OutlierSettings};
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
