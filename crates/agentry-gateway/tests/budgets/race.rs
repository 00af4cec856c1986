//! Many clients of several instances spend one budget at the same time.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use agentry_backends::memory::MemoryStore;
use agentry_backends::postgres::PostgresStore;
use agentry_backends::sqlite::SqliteStore;
use agentry_core::MicroUsd;
use agentry_core::ledger::{Ledger, Per, ReportQuery, Scope};
use agentry_gateway::money::{Account, Refused};
use agentry_testkit::FakeClock;
use tokio::task::JoinSet;

use crate::world::{Instance, clock, limit, now, record};

const CLIENTS: u64 = 64;
const CAP: i64 = 1_000_000;
/// A sixty-fourth of the cap.
const SLICE: i64 = CAP / 64;

/// What calls cost of what they could have cost.
#[derive(Clone, Copy)]
enum Bills {
    /// All of it: whatever is admitted too much is spent too much.
    AsForeseen,
    Less,
}

struct Race {
    bills: Bills,
    clock: Arc<FakeClock>,
    in_flight: AtomicI64,
    spent: AtomicI64,
    calls: AtomicU64,
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

impl Race {
    /// Calls until the budget is refused while nobody holds anything, and once more after the time that a refusal says.
    async fn client(&self, instance: &Instance, accounts: &[Arc<Account>], mut random: Random) {
        let mut refused = 0;
        while refused < 2 {
            // Small ones find what large ones have left.
            let most = if random.below(4) == 0 { 20 } else { 3_000 };
            let estimate = 1 + random.below(most) as i64;
            let place = instance.sink.place().unwrap();
            let budgets = &instance.budgets;
            match budgets.reserve_or_refill(accounts, MicroUsd(estimate)).await {
                Ok(mut reservation) => {
                    self.in_flight.fetch_add(1, Ordering::SeqCst);
                    reservation.dispatched();
                    for _ in 0..random.below(20) {
                        tokio::task::yield_now().await;
                    }
                    let actual = match self.bills {
                        Bills::AsForeseen => estimate,
                        Bills::Less => random.below(estimate as u64 + 1) as i64,
                    };
                    let charges = reservation.settle(MicroUsd(actual));
                    let number = self.calls.fetch_add(1, Ordering::SeqCst);
                    let mut record = record(now(&self.clock), number);
                    record.cost = MicroUsd(actual);
                    self.spent.fetch_add(actual, Ordering::SeqCst);
                    place.record(record, charges);
                    self.in_flight.fetch_sub(1, Ordering::SeqCst);
                }
                Err(Refused::Exceeded(_)) if self.in_flight.load(Ordering::SeqCst) > 0 => {
                    tokio::task::yield_now().await;
                }
                Err(Refused::Exceeded(_)) => {
                    refused += 1;
                    self.clock.advance(Duration::from_millis(260));
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

async fn race(ledgers: Vec<Arc<dyn Ledger>>, seed: u64) {
    let clock = clock();
    let day = Per::Day.period(now(&clock));
    let bills = if seed.is_multiple_of(2) { Bills::Less } else { Bills::AsForeseen };
    let race = Arc::new(Race {
        bills,
        clock: Arc::clone(&clock),
        in_flight: AtomicI64::new(0),
        spent: AtomicI64::new(0),
        calls: AtomicU64::new(0),
    });
    let mut clients = JoinSet::new();
    let mut instances = Vec::new();
    for (index, ledger) in ledgers.iter().enumerate() {
        let instance = Instance::start(ledger, &clock, (&format!("i{index}"), "1")).await;
        let instance = Arc::new(instance);
        for client in 0..CLIENTS {
            let (race, instance) = (Arc::clone(&race), Arc::clone(&instance));
            let key = Scope::Key { tenant: "main", key: "ci" };
            let tenant = Scope::Tenant { tenant: "main" };
            let accounts = vec![
                instance.budgets.account(key, &[limit("day", CAP)]),
                instance.budgets.account(tenant, &[limit("month", 10 * CAP)]),
            ];
            let random = Random(seed ^ ((index as u64 + 1) << 32) ^ (client + 1));
            clients.spawn(async move { race.client(&instance, &accounts, random).await });
        }
        instances.push(instance);
    }
    let watching = async {
        loop {
            let balance = ledgers[0].balance("key:main/ci", day).await.unwrap();
            assert!(balance.spent.0 + balance.held.0 <= CAP, "{balance:?}");
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = tokio::time::timeout(Duration::from_secs(120), clients.join_all()) => {}
        () = watching => {}
    }
    for instance in instances {
        assert_eq!(instance.heard.count("overshot"), 0);
        assert!(instance.heard.count("warned key:main/ci") >= 1, "80 % were reached");
        assert_eq!(instance.heard.count("warned tenant:main"), 0);
        Arc::into_inner(instance).unwrap().stop().await;
    }
    let spent = race.spent.load(Ordering::SeqCst);
    let calls = race.calls.load(Ordering::SeqCst);
    assert!(spent <= CAP, "{spent} of {CAP} after {calls} calls, seed {seed}");
    assert!(CAP - spent <= SLICE, "{} of {CAP} are left, seed {seed}", CAP - spent);
    for (account, period) in [("key:main/ci", day), ("tenant:main", Per::Month.period(now(&clock)))]
    {
        let balance = ledgers[0].balance(account, period).await.unwrap();
        assert_eq!((balance.spent.0, balance.held.0), (spent, 0), "{account}");
    }
    let (from, to) = (now(&FakeClock::default()), now(&clock).plus(Duration::from_secs(1)));
    let report = ledgers[0].report(ReportQuery::between(from, to)).await.unwrap();
    assert_eq!((report.totals.cost.0, report.totals.calls), (spent, calls));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_in_memory() {
    for seed in 1..=5 {
        let ledger: Arc<dyn Ledger> = Arc::new(MemoryStore::new());
        race(vec![Arc::clone(&ledger), ledger], seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_instance_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = SqliteStore::open(folder.path().join("a.db")).unwrap();
    race(vec![Arc::new(ledger)], 7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_on_postgres() {
    let url = std::env::var_os("AGENTRY_TEST_POSTGRES_URL").filter(|url| !url.is_empty());
    let Some(url) = url else {
        let mut terminal = std::io::stderr();
        writeln!(
            terminal,
            "skipped: AGENTRY_TEST_POSTGRES_URL is not set; `cargo xtask test` sets it"
        )
        .unwrap();
        return;
    };
    let url = url.into_string().unwrap();
    for seed in 1..=3 {
        let url = format!("{url}?schema=race{}_{seed}", std::process::id());
        let mut ledgers: Vec<Arc<dyn Ledger>> = Vec::new();
        for _ in 0..2 {
            ledgers.push(Arc::new(PostgresStore::open(&url).await.unwrap()));
        }
        race(ledgers, seed).await;
    }
}
