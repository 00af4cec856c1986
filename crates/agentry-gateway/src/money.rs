//! What calls may cost, what they have cost, and who is told.
//!
//! A call reserves what it can cost at most from slices that this instance holds of every budget it counts against: in
//! memory, within a microsecond. When it is over it settles what it did cost, once, and its record goes to the ledger with
//! all that it charges. Slices are refilled from the ledger in the background; a call waits for the ledger only when its
//! slice is used up. `docs/budgets.md` says what is guaranteed.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::ledger::{Holder, Ledger, Per, Reclaim};
use agentry_core::store::Error;
use agentry_core::{Clock, Code, Failure, Fault, MicroUsd, Retry, Timestamp};
use tokio_util::sync::CancellationToken;

mod account;
mod budgets;
mod estimate;
mod keeper;
mod pot;
mod reuse;
mod sink;

pub mod catalogue;
pub mod recommend;

pub use account::{Account, Limit};
pub use budgets::{Budgets, Charges, Reservation, Standing};
pub use estimate::{Price, Size, affordable_output_tokens, input_tokens_max, worst_cost};
pub use sink::{Full, Lost, Place, UsageSink};

use budgets::Shared;
use keeper::Keeper;
use reuse::{Reuse, Teller};
use sink::Writer;

/// Who hears of budgets. It is called on the path of calls, and must not block.
pub trait Watcher: Send + Sync {
    fn happened(&self, event: &Event<'_>);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// Once for each period and instance. `used` includes what calls in flight may still cost.
    Warned { account: &'a str, per: Per, cap: MicroUsd, used: MicroUsd },
    /// A call was refused.
    Exceeded { account: &'a str, per: Per, cap: MicroUsd },
    /// A call has cost more than was held for it.
    Overshot { account: &'a str, per: Per, by: MicroUsd },
    /// Slices were taken away from us: others count on them. Nothing of them is spent any more.
    Lapsed,
    /// Usage cannot be stored at the moment; so many records wait.
    Behind { waiting: usize },
    /// The process ends, and so many records could not be stored.
    Lost { records: usize },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// This instance, and this life of it.
    pub holder: Holder,
    /// How long slices are held after the last sign of life.
    pub lease: Duration,
    /// Longer than any call takes, its record's way to the ledger included: nothing is spent in the last part of the lease.
    pub margin: Duration,
    /// In percent of a cap.
    pub warn_at: u8,
    /// How many records may wait to be stored, those of calls in flight included. Further calls are refused.
    pub records_max: usize,
    /// How long the process waits at its end for records to be stored.
    pub drain: Duration,
}

impl Settings {
    #[must_use]
    pub fn new(holder: Holder) -> Self {
        Self {
            holder,
            lease: Duration::from_secs(1_800),
            margin: Duration::from_secs(900),
            warn_at: 80,
            records_max: 16_384,
            drain: Duration::from_secs(30),
        }
    }
}

/// What keeps the books in the background. It must run for as long as calls are made.
pub struct Bookkeeper {
    writer: Writer,
    keeper: Keeper,
    teller: Teller,
    drain: Duration,
}

impl Bookkeeper {
    /// Until `shutdown`, and then until every call has recorded what it cost and slices are given back, or the drain time is
    /// over.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { writer, keeper, mut teller, drain } = self;
        let (stop, telling) = (shutdown.clone(), shutdown.clone());
        let (keeper, (), ()) =
            tokio::join!(keeper.run(stop), writer.run(shutdown), teller.run(telling));
        // By now every call is over.
        teller.finish(drain).await;
        keeper.close().await;
    }
}

/// Opens the books: what former lives of this instance have left is settled first.
pub async fn open(
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    watcher: Arc<dyn Watcher>,
    settings: Settings,
) -> Result<(Budgets, UsageSink, Bookkeeper), Error> {
    ledger.reclaim(Reclaim::Former(settings.holder.clone())).await?;
    let (reuse, drain) = (Reuse::default(), settings.drain);
    let (sink, writer) = sink::open(
        Arc::clone(&ledger),
        Arc::clone(&watcher),
        (settings.records_max, drain),
        reuse.clone(),
    );
    let teller = Teller::new(reuse, Arc::clone(&ledger), settings.holder.clone());
    let (hungry, asking) = tokio::sync::mpsc::channel(keeper::HUNGRY_MAX);
    let shared = Arc::new(Shared::new(ledger, clock, watcher, (settings, hungry)));
    let keeper = Keeper::new(Arc::clone(&shared), asking);
    Ok((Budgets::new(shared), sink, Bookkeeper { writer, keeper, teller, drain }))
}

/// A budget that does not admit a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the budget of {cap} USD per {} of `{account}` does not admit this call: {left} USD are left and it may cost {estimate} USD; {}",
    .per.as_str(),
    advice(*.resets_at)
)]
pub struct Exceeded {
    pub account: Arc<str>,
    pub per: Per,
    pub cap: MicroUsd,
    /// What this instance could still spend; see [`affordable_output_tokens`].
    pub left: MicroUsd,
    pub estimate: MicroUsd,
    /// Nothing if it never does.
    pub resets_at: Option<Timestamp>,
    /// Calls in flight may give back a part of what they hold.
    pub in_flight: bool,
    now: Timestamp,
}

fn advice(resets_at: Option<Timestamp>) -> String {
    match resets_at {
        Some(at) => format!("ask for less output, or wait until {at}"),
        None => "ask for less output, or have the budget raised".to_owned(),
    }
}

/// Why a call may not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Exceeded(Box<Exceeded>),
    /// The slice of this instance is used up: ask again with [`Budgets::reserve_or_refill`].
    #[error("the budget has to be looked up; try again")]
    Dry,
    /// What cannot be counted is not spent.
    #[error("the budgets cannot be read: {0}")]
    Unknown(Error),
}

impl Failure for Refused {
    fn code(&self) -> Code {
        match self {
            Self::Exceeded(_) => Code("budget_exceeded"),
            Self::Dry | Self::Unknown(_) => Code("budget_unavailable"),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Exceeded(_) => Fault::Caller,
            Self::Dry | Self::Unknown(_) => Fault::Ours,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Exceeded(exceeded) if exceeded.in_flight => Retry::After(Duration::from_secs(1)),
            Self::Exceeded(exceeded) => match exceeded.resets_at {
                Some(at) => Retry::After(at.since(exceeded.now)),
                None => Retry::Never,
            },
            Self::Dry => Retry::Now,
            Self::Unknown(_) => Retry::After(Duration::from_secs(1)),
        }
    }
}
