//! What one instance admits.

use std::sync::Arc;
use std::time::Duration;

use agentry_backends::memory::MemoryStore;
use agentry_core::ledger::{Ledger, Per, Scope};
use agentry_core::{Failure as _, Fault, MicroUsd, Retry};
use agentry_gateway::money::{Account, Refused};
use agentry_testkit::FakeClock;

use crate::world::{Instance, clock, limit, now, record};

const KEY: Scope<'static> = Scope::Key { tenant: "main", key: "ci" };
const USER: Scope<'static> = Scope::User { tenant: "main", user: "ada" };

struct World {
    ledger: Arc<dyn Ledger>,
    clock: Arc<FakeClock>,
    instance: Instance,
}

async fn world() -> World {
    let ledger: Arc<dyn Ledger> = Arc::new(MemoryStore::new());
    let clock = clock();
    let instance = Instance::start(&ledger, &clock, ("one", "1")).await;
    World { ledger, clock, instance }
}

impl World {
    async fn reserve(&self, accounts: &[Arc<Account>], estimate: i64) -> Result<i64, String> {
        let budgets = &self.instance.budgets;
        match budgets.reserve_or_refill(accounts, MicroUsd(estimate)).await {
            Ok(reservation) => Ok(reservation.estimate().0),
            Err(refused) => Err(refused.to_string()),
        }
    }

    async fn spent(&self, account: &str, per: Per) -> i64 {
        let period = per.period(now(&self.clock));
        self.ledger.balance(account, period).await.unwrap().spent.0
    }
}

#[tokio::test(start_paused = true)]
async fn every_budget_has_to_admit_a_call_or_none_is_touched() {
    let world = world().await;
    let budgets = &world.instance.budgets;
    let key =
        budgets.account(KEY, &[limit("day", 1_000), limit("month", 5_000), limit("total", 700)]);
    let user = budgets.account(USER, &[limit("day", 100)]);
    let free = budgets.account(Scope::Tenant { tenant: "main" }, &[]);
    let all = [key, user, free];
    assert_eq!(world.reserve(&all, 100).await, Ok(100));
    let refused = world.reserve(&all, 101).await.unwrap_err();
    assert_eq!(
        refused,
        "the budget of 0.000100 USD per day of `user:main/ada` does not admit this call: 0.000100 USD are left and \
         it may cost 0.000101 USD; ask for less output, or wait until 2026-02-01T00:00:00Z"
    );
    assert_eq!(
        world.reserve(&all[..1], 700).await,
        Ok(700),
        "the key holds nothing for the refused call"
    );
    let refused = world.reserve(&all[..1], 701).await.unwrap_err();
    assert!(refused.contains("per total"), "{refused}");
    assert!(refused.ends_with("ask for less output, or have the budget raised"), "{refused}");
    assert_eq!(world.reserve(&all[2..], 1_000_000).await, Ok(1_000_000), "it has no cap");
    assert_eq!(budgets.left(&all, now(&world.clock)), MicroUsd(100));
    world.instance.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_nobody_is_admitted_from_what_is_at_hand() {
    let world = world().await;
    let budgets = &world.instance.budgets;
    let key = [budgets.account(KEY, &[limit("day", 6_400)])];
    let now = now(&world.clock);
    assert_eq!(budgets.reserve(&key, MicroUsd(10), now).err(), Some(Refused::Dry));
    assert_eq!(world.reserve(&key, 10).await, Ok(10));
    let held = budgets.reserve(&key, MicroUsd(90), now).unwrap();
    assert_eq!(budgets.reserve(&key, MicroUsd(90), now).err(), Some(Refused::Dry));
    drop(held);
    assert!(budgets.reserve(&key, MicroUsd(90), now).is_ok());
    world.instance.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_day_is_a_new_budget_and_a_late_bill_is_the_old_ones() {
    let world = world().await;
    let budgets = &world.instance.budgets;
    let key = [budgets.account(KEY, &[limit("day", 1_000)])];
    let late = budgets.reserve_or_refill(&key, MicroUsd(1_000)).await.unwrap();
    let Err(refused) = budgets.reserve_or_refill(&key, MicroUsd(1)).await else { panic!("1 of 0") };
    assert_eq!((refused.code().0, refused.fault()), ("budget_exceeded", Fault::Caller));
    assert_eq!(refused.retry(), Retry::After(Duration::from_secs(1)), "a call is in flight");
    let yesterday = Per::Day.period(now(&world.clock));
    // The suite's day begins at eight.
    world.clock.advance(Duration::from_secs(16 * 3_600));
    world.instance.budgets.account(KEY, &[limit("day", 1_000)]);
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(world.reserve(&key, 1_000).await, Ok(1_000));
    let charges = late.settle(MicroUsd(600));
    let place = world.instance.sink.place().unwrap();
    place.record_durably(record(now(&world.clock), 1), charges).await.unwrap();
    assert_eq!(world.ledger.balance("key:main/ci", yesterday).await.unwrap().spent.0, 600);
    assert_eq!(world.spent("key:main/ci", Per::Day).await, 0);
    world.instance.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_costs_what_is_known() {
    let world = world().await;
    let budgets = &world.instance.budgets;
    let key = [budgets.account(KEY, &[limit("day", 1_000)])];
    let left = || budgets.left(&key, now(&world.clock)).0;
    let reserve = async || budgets.reserve_or_refill(&key, MicroUsd(100)).await.unwrap();
    drop(reserve().await);
    assert_eq!(left(), 1_000, "it was never sent");
    let mut sent = reserve().await;
    sent.dispatched();
    drop(sent);
    assert_eq!(left(), 900, "nobody knows what it cost");
    let mut begun = reserve().await;
    begun.dispatched();
    begun.observed(MicroUsd(30));
    drop(begun);
    assert_eq!(left(), 870, "the upstream has said what it cost");
    let mut cut = reserve().await;
    cut.dispatched();
    assert_eq!(cut.settle_as_known().amount(), MicroUsd(100));
    assert_eq!(reserve().await.settle_as_known().amount(), MicroUsd(0));
    assert_eq!(left(), 770);
    let mut refused = reserve().await;
    refused.dispatched();
    refused.undone();
    drop(refused);
    assert_eq!(left(), 770, "the upstream did not do it");
    world.instance.stop().await;
}

#[tokio::test(start_paused = true)]
async fn more_than_was_foreseen_is_recorded_in_full_and_ends_the_budget() {
    let world = world().await;
    let key = [world.instance.budgets.account(KEY, &[limit("day", 1_000)])];
    world.instance.call(&key, (900, 1_200), record(now(&world.clock), 1)).await.unwrap();
    assert_eq!(world.spent("key:main/ci", Per::Day).await, 1_200);
    let heard = world.instance.heard.take();
    assert!(
        heard.iter().any(|it| it.starts_with("overshot key:main/ci day by 0.000")),
        "{heard:?}"
    );
    assert!(world.reserve(&key, 1).await.is_err());
    world.instance.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_warning_comes_once_before_the_end() {
    let world = world().await;
    let key = [world.instance.budgets.account(KEY, &[limit("month", 1_000)])];
    for number in 0..10 {
        world.instance.call(&key, (100, 100), record(now(&world.clock), number)).await.unwrap();
    }
    assert_eq!(world.spent("key:main/ci", Per::Month).await, 1_000);
    assert!(world.reserve(&key, 1).await.is_err());
    let heard = world.instance.heard.take();
    let kinds: Vec<&str> = heard.iter().map(|it| it.split(' ').next().unwrap()).collect();
    assert_eq!(kinds, ["warned", "exceeded"], "{heard:?}");
    assert!(heard[0].contains("month 0.0008") || heard[0].contains("month 0.0009"), "{heard:?}");
    // A budget that is raised admits again.
    world.clock.advance(Duration::from_secs(1));
    world.instance.budgets.account(KEY, &[limit("month", 2_000)]);
    assert_eq!(world.reserve(&key, 1_000).await, Ok(1_000));
    world.instance.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_leaves_nothing_reserved() {
    let World { ledger, clock, instance } = world().await;
    let key = [instance.budgets.account(KEY, &[limit("total", 1_000)])];
    instance.call(&key, (100, 40), record(now(&clock), 1)).await.unwrap();
    let mut in_flight = instance.budgets.reserve_or_refill(&key, MicroUsd(900)).await.unwrap();
    in_flight.dispatched();
    let balance = ledger.balance("key:main/ci", agentry_core::ledger::Period::TOTAL).await.unwrap();
    assert_eq!(balance.spent.0, 40);
    assert!(balance.held.0 >= 900);
    // The process is killed, and another one begins.
    let again = Instance::start(&ledger, &clock, ("one", "2")).await;
    let key = [again.budgets.account(KEY, &[limit("total", 1_000)])];
    again.call(&key, (960, 960), record(now(&clock), 2)).await.unwrap();
    let balance = ledger.balance("key:main/ci", agentry_core::ledger::Period::TOTAL).await.unwrap();
    assert_eq!((balance.spent.0, balance.held.0), (1_000, 0));
    again.stop().await;
    drop(in_flight);
    instance.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_uses_goes_back_to_the_others() {
    let World { ledger, clock, instance } = world().await;
    let two = Instance::start(&ledger, &clock, ("two", "1")).await;
    let ours = [instance.budgets.account(KEY, &[limit("day", 1_000)])];
    let theirs = [two.budgets.account(KEY, &[limit("day", 1_000)])];
    instance.call(&ours, (600, 10), record(now(&clock), 1)).await.unwrap();
    assert!(two.budgets.reserve_or_refill(&theirs, MicroUsd(980)).await.is_err());
    clock.advance(Duration::from_secs(30));
    // Two ticks of the keeper.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(two.budgets.reserve_or_refill(&theirs, MicroUsd(990)).await.is_ok());
    // Accounts that nobody asks for are forgotten, and their slices with them.
    drop((ours, theirs));
    clock.advance(Duration::from_secs(700));
    tokio::time::sleep(Duration::from_secs(200)).await;
    let balance = ledger.balance("key:main/ci", Per::Day.period(now(&clock))).await.unwrap();
    assert_eq!((balance.spent.0, balance.held.0), (10, 0));
    instance.stop().await;
    two.stop().await;
}
