//! Admission: every budget that a call counts against must have room for what it can cost at most.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentry_core::ledger::{Ask, Ledger, Per, Scope};
use agentry_core::store::Error;
use agentry_core::{Clock, MicroUsd, Timestamp};
use tokio::sync::mpsc;

use super::account::{Account, Limit, Slice};
use super::pot::{Rest, Short, Wish};
use super::{Event, Exceeded, Refused, Settings, Watcher};

/// How long a call waits for the ledger at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// More than any call costs, and so little that sums of many are numbers still: a billion dollars.
const ESTIMATE_MAX: i64 = 1_000_000_000_000_000;

/// Who may spend what. Cheap to clone.
#[derive(Clone)]
pub struct Budgets {
    shared: Arc<Shared>,
}

/// What the calls and the keeper have in common.
pub(super) struct Shared {
    pub ledger: Arc<dyn Ledger>,
    pub clock: Arc<dyn Clock>,
    pub watcher: Arc<dyn Watcher>,
    pub settings: Settings,
    pub accounts: Mutex<HashMap<Arc<str>, Arc<Account>>>,
    /// All that are or may be open at the ledger.
    pub slices: Mutex<Vec<Arc<Slice>>>,
    hungry: mpsc::Sender<Arc<Slice>>,
    /// Until when slices may be spent, in microseconds.
    pub admit_until: AtomicI64,
    /// How often slices may have been lost.
    pub lapses: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        watcher: Arc<dyn Watcher>,
        (settings, hungry): (Settings, mpsc::Sender<Arc<Slice>>),
    ) -> Self {
        let admit_until = clock.now().plus(settings.lease).minus(settings.margin).as_micros();
        Self {
            ledger,
            clock,
            watcher,
            settings,
            accounts: Mutex::default(),
            slices: Mutex::default(),
            hungry,
            admit_until: AtomicI64::new(admit_until),
            lapses: AtomicU64::new(0),
        }
    }

    pub(super) fn accounts(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Account>>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn slices(&self) -> MutexGuard<'_, Vec<Arc<Slice>>> {
        self.slices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, slice: Slice) -> Arc<Slice> {
        let slice = Arc::new(slice);
        self.slices().push(Arc::clone(&slice));
        slice
    }

    /// Asks the ledger for what a call lacks, unless somebody else's asking was enough. Gives back what is of no use.
    pub(super) async fn refill(&self, slice: &Slice, estimate: i64) -> Result<(), Refused> {
        let _waiting = Waiting::new(slice, estimate);
        let _turn = slice.turn.lock().await;
        let lapses = self.lapses.load(Ordering::Acquire);
        let (wish, current) = {
            let pot = slice.pot();
            let waiting = slice.waiting.load(Ordering::Relaxed);
            (pot.wish(estimate, waiting, (slice.cap(), lapses)), pot.is_current(lapses))
        };
        if wish.need == 0 && current {
            return Ok(());
        }
        let now = self.clock.now();
        let granted = self.ask(slice, wish, (now, lapses)).await.map_err(Refused::Unknown)?;
        if granted >= wish.need {
            return Ok(());
        }
        let (rest, useless) = {
            let mut pot = slice.pot();
            pot.refuse(estimate, now);
            (pot.rest(), pot.take_rest())
        };
        self.give_back(slice, useless).await;
        Err(self.exceeded(slice, rest, (estimate, now)))
    }

    /// Asks for as much as makes the next calls not wait.
    pub(super) async fn top_up(&self, slice: &Slice) -> Result<(), Error> {
        let _turn = slice.turn.lock().await;
        let lapses = self.lapses.load(Ordering::Acquire);
        let wish = slice.pot().top_up(slice.cap());
        if wish.want > 0 {
            self.ask(slice, wish, (self.clock.now(), lapses)).await?;
        }
        Ok(())
    }

    /// It is the caller's turn.
    async fn ask(
        &self,
        slice: &Slice,
        wish: Wish,
        (now, lapses): (Timestamp, u64),
    ) -> Result<i64, Error> {
        let cap = slice.cap();
        let ask = Ask {
            slice: slice.id.as_ref().clone(),
            cap: MicroUsd(cap),
            need: MicroUsd(wish.need),
            want: MicroUsd(wish.want),
            now,
            expires: now.plus(self.settings.lease),
        };
        let grant = self.ledger.reserve_slice(ask).await?;
        let warned = {
            let mut pot = slice.pot();
            pot.granted(&grant, lapses);
            pot.warns(cap, self.settings.warn_at)
        };
        if let Some(used) = warned {
            let (account, per) = (&*slice.id.account, slice.period().per());
            let (cap, used) = (MicroUsd(cap), MicroUsd(used));
            self.watcher.happened(&Event::Warned { account, per, cap, used });
        }
        Ok(grant.granted.0)
    }

    /// It is the caller's turn, who has taken `surplus` out of the pot.
    pub(super) async fn give_back(&self, slice: &Slice, surplus: i64) {
        if surplus <= 0 {
            return;
        }
        let version = slice.pot().version();
        match self.ledger.give_back(&slice.id, version, MicroUsd(surplus)).await {
            Ok(true) => slice.pot().given_back(surplus),
            Ok(false) => slice.pot().restore(surplus),
            // It may be given back or not. The next grant tells.
            Err(problem) => {
                tracing::info!(account = &*slice.id.account, %problem, "giving back is in doubt");
            }
        }
    }

    fn exceeded(&self, slice: &Slice, rest: Rest, (estimate, now): (i64, Timestamp)) -> Refused {
        let (per, cap) = (slice.period().per(), MicroUsd(slice.cap()));
        self.watcher.happened(&Event::Exceeded { account: &slice.id.account, per, cap });
        Refused::Exceeded(Box::new(Exceeded {
            account: Arc::clone(&slice.id.account),
            per,
            cap,
            left: MicroUsd(rest.left),
            estimate: MicroUsd(estimate),
            resets_at: slice.period().end(),
            in_flight: rest.in_flight,
            now,
        }))
    }

    fn take(&self, slice: &Arc<Slice>, estimate: i64, now: Timestamp) -> Result<(), Failed> {
        let lapses = self.lapses.load(Ordering::Acquire);
        let (taken, rest, low) = {
            let mut pot = slice.pot();
            (pot.take(estimate, now, lapses), pot.rest(), pot.is_low(slice.cap()))
        };
        match taken {
            Ok(()) if low => self.feed(slice),
            Ok(()) => {}
            Err(Short::Ask) => return Err(Failed::Dry(Arc::clone(slice))),
            Err(Short::Refused) => {
                return Err(Failed::Refused(self.exceeded(slice, rest, (estimate, now))));
            }
        }
        Ok(())
    }

    /// Returns when so much is taken.
    async fn take_or_refill(&self, slice: &Arc<Slice>, amount: i64) -> Result<(), Refused> {
        loop {
            match self.take(slice, amount, self.clock.now()) {
                Ok(()) => return Ok(()),
                Err(Failed::Refused(refused)) => return Err(refused),
                Err(Failed::Dry(slice)) => self.refill(&slice, amount.max(1)).await?,
            }
        }
    }

    /// Has it refilled in the background; if that is not possible now, a call will wait for it.
    fn feed(&self, slice: &Arc<Slice>) {
        if !slice.queued.swap(true, Ordering::Relaxed)
            && self.hungry.try_send(Arc::clone(slice)).is_err()
        {
            slice.queued.store(false, Ordering::Relaxed);
        }
    }
}

/// Counts a call among those that wait.
struct Waiting<'a> {
    slice: &'a Slice,
    estimate: i64,
}

impl<'a> Waiting<'a> {
    fn new(slice: &'a Slice, estimate: i64) -> Self {
        slice.waiting.fetch_add(estimate, Ordering::Relaxed);
        Self { slice, estimate }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.slice.waiting.fetch_sub(self.estimate, Ordering::Relaxed);
    }
}

/// A budget as this instance knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// As in `key:main/ci`.
    pub account: Arc<str>,
    pub per: Per,
    pub cap: MicroUsd,
    /// By all instances, as of the last answer of the ledger. What calls in flight may cost is part of it.
    pub used: MicroUsd,
    pub resets_at: Option<Timestamp>,
}

impl Standing {
    /// Of the cap.
    #[must_use]
    pub fn used_percent(&self) -> f64 {
        if self.cap.0 <= 0 { 100.0 } else { self.used.0 as f64 * 100.0 / self.cap.0 as f64 }
    }
}

enum Failed {
    Dry(Arc<Slice>),
    Refused(Refused),
}

impl Budgets {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The account of `scope`, with these caps from now on.
    pub fn account(&self, scope: Scope<'_>, limits: &[Limit]) -> Arc<Account> {
        let name = scope.to_string();
        let now = self.shared.clock.now();
        let mut accounts = self.shared.accounts();
        let account = match accounts.get(name.as_str()) {
            Some(account) => Arc::clone(account),
            None => {
                let name: Arc<str> = name.into();
                let account = Arc::new(Account::new(Arc::clone(&name)));
                accounts.insert(name, Arc::clone(&account));
                account
            }
        };
        account.limit(limits, now);
        account
    }

    /// Holds `estimate` of every budget of `accounts`, or of none. It never waits; `estimate` must be the most that the call
    /// can cost.
    pub fn reserve(
        &self,
        accounts: &[Arc<Account>],
        estimate: MicroUsd,
        now: Timestamp,
    ) -> Result<Reservation, Refused> {
        self.hold(accounts, estimate, now).map_err(|failed| match failed {
            Failed::Dry(_) => Refused::Dry,
            Failed::Refused(refused) => refused,
        })
    }

    /// The same; when this instance has not enough at hand it asks the ledger for more.
    pub async fn reserve_or_refill(
        &self,
        accounts: &[Arc<Account>],
        estimate: MicroUsd,
    ) -> Result<Reservation, Refused> {
        let refilling = async {
            loop {
                match self.hold(accounts, estimate, self.shared.clock.now()) {
                    Ok(reservation) => return Ok(reservation),
                    Err(Failed::Refused(refused)) => return Err(refused),
                    Err(Failed::Dry(slice)) => {
                        let need = estimate.0.clamp(1, ESTIMATE_MAX);
                        self.shared.refill(&slice, need).await?;
                    }
                }
            }
        };
        let refilled = tokio::time::timeout(PATIENCE, refilling).await;
        refilled.unwrap_or(Err(Refused::Unknown(Error::Overloaded)))
    }

    /// The most that a call may cost so that every budget of `accounts` admits it, as far as this instance knows without
    /// asking.
    #[must_use]
    pub fn left(&self, accounts: &[Arc<Account>], now: Timestamp) -> MicroUsd {
        let shared = &self.shared;
        let slices = accounts.iter().flat_map(|account| {
            account.slices(now, |slice| shared.open(slice), &shared.settings.holder)
        });
        MicroUsd(slices.map(|slice| slice.pot().rest().left).min().unwrap_or(i64::MAX))
    }

    /// What this instance spends of, and how much of it is used, as far as it knows without asking.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        let now = self.shared.clock.now();
        let slices: Vec<_> = self.shared.slices().clone();
        let current = |slice: &&Arc<Slice>| {
            let is_over = slice.period().end().is_some_and(|end| end <= now);
            !is_over && slice.cap() < i64::MAX && slice.pot().is_open()
        };
        let mut standings: Vec<Standing> = slices
            .iter()
            .filter(current)
            .map(|slice| Standing {
                account: Arc::clone(&slice.id.account),
                per: slice.period().per(),
                cap: MicroUsd(slice.cap()),
                used: MicroUsd(slice.pot().used(slice.cap()).max(0)),
                resets_at: slice.period().end(),
            })
            .collect();
        standings
            .sort_by(|left, right| (&left.account, left.per).cmp(&(&right.account, right.per)));
        standings
    }

    fn hold(
        &self,
        accounts: &[Arc<Account>],
        estimate: MicroUsd,
        now: Timestamp,
    ) -> Result<Reservation, Failed> {
        let shared = &self.shared;
        let estimate = estimate.0.clamp(0, ESTIMATE_MAX);
        if now.as_micros() >= shared.admit_until.load(Ordering::Relaxed) {
            let reason = "the ledger has not been reached for too long".to_owned();
            return Err(Failed::Refused(Refused::Unknown(Error::Unavailable(reason))));
        }
        let mut reservation = Reservation {
            slices: Vec::with_capacity(2 * accounts.len()),
            estimate,
            asked: 0,
            observed: None,
            shared: Arc::clone(shared),
        };
        for account in accounts {
            for slice in account.slices(now, |slice| shared.open(slice), &shared.settings.holder) {
                // What was taken before is put back when the reservation is dropped.
                shared.take(&slice, estimate, now)?;
                reservation.slices.push(slice);
            }
        }
        Ok(reservation)
    }
}

/// What is held for a call. Dropped, it gives back everything; after [`Reservation::dispatched`], what is not known to be
/// spent.
#[must_use]
pub struct Reservation {
    slices: Vec<Arc<Slice>>,
    estimate: i64,
    /// Attempts that the upstream may bill.
    asked: u32,
    /// What the upstream has said of its bill.
    observed: Option<i64>,
    shared: Arc<Shared>,
}

impl Reservation {
    #[must_use]
    pub fn estimate(&self) -> MicroUsd {
        MicroUsd(self.estimate)
    }

    /// From here on the upstream may bill it: all of the estimate, unless something better becomes known.
    pub fn dispatched(&mut self) {
        self.asked += 1;
    }

    /// The upstream has refused the attempt, or was not reached: it bills nothing for it. What was asked before may still
    /// be billed.
    pub fn undone(&mut self) {
        self.asked = self.asked.saturating_sub(1);
    }

    /// Holds so much more of every budget that it holds something of, or nothing more. It waits for the ledger where this
    /// instance has not enough at hand.
    pub async fn hold_more(&mut self, more: MicroUsd) -> Result<(), Refused> {
        let more = more.0.clamp(0, ESTIMATE_MAX);
        let shared = Arc::clone(&self.shared);
        let mut taken = Taken { slices: &self.slices, count: 0, amount: more };
        let taking = async {
            for slice in &self.slices {
                shared.take_or_refill(slice, more).await?;
                taken.count += 1;
            }
            Ok(())
        };
        let done = tokio::time::timeout(PATIENCE, taking).await;
        done.unwrap_or(Err(Refused::Unknown(Error::Overloaded)))?;
        taken.count = 0;
        self.estimate += more;
        Ok(())
    }

    /// So much of what is held need not be held any longer.
    pub fn hold_less(&mut self, less: MicroUsd) {
        let less = less.0.clamp(0, self.estimate);
        for slice in &self.slices {
            slice.pot().put_back(less);
        }
        self.estimate -= less;
    }

    /// The upstream has said so much of what it bills.
    pub fn observed(&mut self, cost: MicroUsd) {
        self.observed = Some(cost.0.clamp(0, ESTIMATE_MAX));
    }

    /// What the call has cost if nothing more is heard of it; nothing if nobody bills it.
    fn known(&self) -> Option<i64> {
        self.observed.or_else(|| (self.asked > 0).then_some(self.estimate))
    }

    /// The call has cost `actual`. What comes back goes to the [`UsageSink`](super::UsageSink) with the call's record.
    pub fn settle(mut self, actual: MicroUsd) -> Charges {
        self.spend(actual.0.clamp(0, ESTIMATE_MAX))
    }

    /// The call is over, and nothing more is known of its cost than was known before.
    pub fn settle_as_known(mut self) -> Charges {
        let known = self.known().unwrap_or(0);
        self.spend(known)
    }

    fn spend(&mut self, actual: i64) -> Charges {
        let slices = std::mem::take(&mut self.slices);
        for slice in &slices {
            let over = slice.pot().spend(self.estimate, actual);
            if over > 0 {
                let (account, per) = (&*slice.id.account, slice.period().per());
                self.shared.watcher.happened(&Event::Overshot { account, per, by: MicroUsd(over) });
            }
        }
        Charges { slices, amount: actual }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        match self.known() {
            None => {
                for slice in &self.slices {
                    slice.pot().put_back(self.estimate);
                }
            }
            // It counts as spent for as long as this process lives; there is no record to tell the ledger.
            Some(known) => drop(self.spend(known)),
        }
    }
}

/// What was taken beside the reservation, put back unless all of it could be.
struct Taken<'a> {
    slices: &'a [Arc<Slice>],
    /// From the first so many of them.
    count: usize,
    amount: i64,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for slice in self.slices.iter().take(self.count) {
            slice.pot().put_back(self.amount);
        }
    }
}

/// What a call charges, and to whom.
#[must_use]
#[derive(Default)]
pub struct Charges {
    pub(super) slices: Vec<Arc<Slice>>,
    pub(super) amount: i64,
}

impl Charges {
    #[must_use]
    pub fn amount(&self) -> MicroUsd {
        MicroUsd(self.amount)
    }
}
