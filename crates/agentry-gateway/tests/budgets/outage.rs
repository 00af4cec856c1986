//! The ledger is away, slow, or has forgotten us.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentry_backends::memory::MemoryStore;
use agentry_core::ledger::{
    Ask, Balance, By, Entry, Grant, Holder, Ledger, Per, Period, Reclaim, Report, ReportQuery,
    Scope, SliceId, Spent, Tally,
};
use agentry_core::store::Error;
use agentry_core::{Failure as _, Fault, MicroUsd, Timestamp};
use agentry_gateway::money::{Refused, Settings};
use async_trait::async_trait;

use crate::world::{Instance, clock, limit, now, record};

/// Passes everything on, except while it is away.
#[derive(Default)]
struct Unreliable {
    inner: MemoryStore,
    away: AtomicBool,
}

impl Unreliable {
    fn there(&self) -> Result<&MemoryStore, Error> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Error::Unavailable("it is away".to_owned()));
        }
        Ok(&self.inner)
    }

    fn goes(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }
}

#[async_trait]
impl Ledger for Unreliable {
    async fn reserve_slice(&self, ask: Ask) -> Result<Grant, Error> {
        self.there()?.reserve_slice(ask).await
    }

    async fn give_back(
        &self,
        slice: &SliceId,
        version: i64,
        amount: MicroUsd,
    ) -> Result<bool, Error> {
        self.there()?.give_back(slice, version, amount).await
    }

    async fn settle(&self, slice: &SliceId, version: i64) -> Result<bool, Error> {
        self.there()?.settle(slice, version).await
    }

    async fn renew(&self, holder: &Holder, expires: Timestamp) -> Result<u64, Error> {
        self.there()?.renew(holder, expires).await
    }

    async fn reclaim(&self, whose: Reclaim) -> Result<u64, Error> {
        self.there()?.reclaim(whose).await
    }

    async fn balance(&self, account: &str, period: Period) -> Result<Balance, Error> {
        self.inner.balance(account, period).await
    }

    async fn append_usage(&self, entries: Vec<Entry>) -> Result<(), Error> {
        // One of them is not acceptable to it.
        if entries.iter().any(|entry| entry.record.call_id == "call-666") {
            return Err(Error::Refused("a bad record".to_owned()));
        }
        self.there()?.append_usage(entries).await
    }

    async fn append_reused(&self, tally: Tally) -> Result<(), Error> {
        self.there()?.append_reused(tally).await
    }

    async fn report(&self, query: ReportQuery) -> Result<Report, Error> {
        self.inner.report(query).await
    }

    async fn spending(&self, query: ReportQuery, by: By) -> Result<Vec<Spent>, Error> {
        self.inner.spending(query, by).await
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error> {
        self.there()?.forget_user(tenant, user).await
    }
}

const KEY: Scope<'static> = Scope::Key { tenant: "main", key: "ci" };

fn settings(records_max: usize) -> Settings {
    let holder = Holder { instance: "one".into(), life: "1".into() };
    Settings { records_max, ..Settings::new(holder) }
}

async fn calls(ledger: &Unreliable) -> (u64, i64) {
    let from = Timestamp::from_seconds(0);
    let to = Timestamp::from_seconds(i32::MAX);
    let totals = ledger.inner.report(ReportQuery::between(from, to)).await.unwrap().totals;
    (totals.calls, totals.cost.0)
}

#[tokio::test(start_paused = true)]
async fn without_the_ledger_only_what_is_at_hand_is_spent_and_nothing_is_lost() {
    let unreliable = Arc::new(Unreliable::default());
    let ledger: Arc<dyn Ledger> = Arc::clone(&unreliable) as _;
    let clock = clock();
    let instance = Instance::with(&ledger, &clock, settings(4)).await;
    let key = [instance.budgets.account(KEY, &[limit("day", 64_000)])];
    instance.call(&key, (100, 100), record(now(&clock), 0)).await.unwrap();

    unreliable.goes(true);
    for number in 1..=4 {
        let place = instance.sink.place().unwrap();
        let held = instance.budgets.reserve_or_refill(&key, MicroUsd(100)).await.unwrap();
        let mut record = record(now(&clock), number);
        record.cost = MicroUsd(100);
        place.record(record, held.settle(MicroUsd(100)));
    }
    let refused = instance.budgets.reserve_or_refill(&key, MicroUsd(5_000)).await.err().unwrap();
    assert!(matches!(refused, Refused::Unknown(Error::Unavailable(_))), "{refused}");
    assert_eq!((refused.code().0, refused.fault()), ("budget_unavailable", Fault::Ours));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(calls(&unreliable).await.0, 1);
    assert_eq!(instance.heard.count("behind"), 1);

    // Those that wait, and those whose place is taken, are as many as may wait.
    let places: Vec<_> = std::iter::from_fn(|| instance.sink.place().ok()).take(10).collect();
    assert!(places.len() < 10);
    let full = instance.sink.place().err().unwrap();
    assert_eq!((full.code().0, full.fault()), ("usage_overloaded", Fault::Ours));
    drop(places);

    unreliable.goes(false);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(calls(&unreliable).await, (5, 500));
    instance.call(&key, (5_000, 5_000), record(now(&clock), 9)).await.unwrap();
    instance.stop().await;
    let balance = ledger.balance("key:main/ci", Per::Day.period(now(&clock))).await.unwrap();
    assert_eq!((balance.spent.0, balance.held.0), (5_500, 0));
}

#[tokio::test(start_paused = true)]
async fn a_bad_record_does_not_keep_the_others_back() {
    let unreliable = Arc::new(Unreliable::default());
    let ledger: Arc<dyn Ledger> = Arc::clone(&unreliable) as _;
    let clock = clock();
    let instance = Instance::with(&ledger, &clock, settings(100)).await;
    for number in [1, 666, 2] {
        let place = instance.sink.place().unwrap();
        place.record(record(now(&clock), number), Default::default());
    }
    instance.stop().await;
    assert_eq!(calls(&unreliable).await.0, 2);
}

#[tokio::test(start_paused = true)]
async fn what_calls_in_flight_cost_is_stored_before_the_process_ends() {
    let unreliable = Arc::new(Unreliable::default());
    let ledger: Arc<dyn Ledger> = Arc::clone(&unreliable) as _;
    let clock = clock();
    let instance = Instance::with(&ledger, &clock, settings(100)).await;
    let key = [instance.budgets.account(KEY, &[limit("day", 64_000)])];
    let place = instance.sink.place().unwrap();
    let held = instance.budgets.reserve_or_refill(&key, MicroUsd(100)).await.unwrap();
    let at = now(&clock);
    unreliable.goes(true);
    let (heard, sink) = (Arc::clone(&instance.heard), instance.sink.clone());
    let stopping = instance.stop();
    let ending = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(sink.place().is_err(), "no further call begins");
        place.record(record(at, 1), held.settle(MicroUsd(70)));
        tokio::time::sleep(Duration::from_secs(3)).await;
        unreliable.goes(false);
    };
    tokio::join!(stopping, ending);
    assert_eq!(calls(&unreliable).await.0, 1);
    assert_eq!(heard.count("lost"), 0);
    let balance = ledger.balance("key:main/ci", Per::Day.period(at)).await.unwrap();
    assert_eq!((balance.spent.0, balance.held.0), (70, 0));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_ends_while_the_ledger_is_away_says_what_is_lost() {
    let unreliable = Arc::new(Unreliable::default());
    let ledger: Arc<dyn Ledger> = Arc::clone(&unreliable) as _;
    let clock = clock();
    let instance = Instance::with(&ledger, &clock, settings(100)).await;
    unreliable.goes(true);
    for number in 0..3 {
        let place = instance.sink.place().unwrap();
        place.record(record(now(&clock), number), Default::default());
    }
    let heard = Arc::clone(&instance.heard);
    instance.stop().await;
    assert_eq!(heard.take().last().unwrap(), "lost 3");
}

#[tokio::test(start_paused = true)]
async fn slices_that_others_have_taken_over_are_not_spent() {
    let unreliable = Arc::new(Unreliable::default());
    let ledger: Arc<dyn Ledger> = Arc::clone(&unreliable) as _;
    let clock = clock();
    let instance = Instance::with(&ledger, &clock, settings(100)).await;
    let key = [instance.budgets.account(KEY, &[limit("total", 1_000)])];
    instance.call(&key, (500, 100), record(now(&clock), 0)).await.unwrap();

    // We hear nothing from the ledger for so long that nothing more may be spent.
    unreliable.goes(true);
    clock.advance(Duration::from_secs(901));
    let refused = instance.budgets.reserve_or_refill(&key, MicroUsd(1)).await.err().unwrap();
    assert!(matches!(refused, Refused::Unknown(_)), "{refused}");

    // Then others count us out, and take all.
    clock.advance(Duration::from_secs(900));
    unreliable.goes(false);
    let two = Instance::start(&ledger, &clock, ("two", "1")).await;
    let theirs = [two.budgets.account(KEY, &[limit("total", 1_000)])];
    tokio::time::sleep(Duration::from_millis(1)).await;
    two.call(&theirs, (900, 900), record(now(&clock), 1)).await.unwrap();

    // We are back, and learn that nothing is left.
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(instance.heard.count("lapsed"), 1);
    let refused = instance.budgets.reserve_or_refill(&key, MicroUsd(1)).await.err().unwrap();
    assert!(matches!(refused, Refused::Exceeded(_)), "{refused}");
    let balance = ledger.balance("key:main/ci", Period::TOTAL).await.unwrap();
    assert_eq!((balance.spent.0, balance.held.0), (1_000, 0));
    instance.stop().await;
    two.stop().await;
}
