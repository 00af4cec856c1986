//! A real process is killed again and again while it spends. What it was told is recorded stays recorded, the cap holds, and
//! nothing stays reserved.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentry_backends::postgres::PostgresStore;
use agentry_backends::sqlite::SqliteStore;
use agentry_core::ledger::{
    Cache, Holder, Ledger, Period, ReportQuery, Scope, Tokens, UsageId, UsageRecord,
};
use agentry_core::{Clock, MicroUsd, Timestamp};
use agentry_gateway::money::{
    self, Account, Budgets, Event, Limit, Refused, Settings, UsageSink, Watcher,
};
use tokio_util::sync::CancellationToken;

const KILLS: u32 = 12;
const CLIENTS: u64 = 8;
const CAP: i64 = 40_000_000;
const ESTIMATE: u64 = 2_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let mut out = std::io::stdout();
    match arguments.get(1).map(String::as_str) {
        Some("victim") => victim(&arguments[2], Path::new(&arguments[3])),
        // Test runners ask what there is.
        Some("--list") => {
            let ignored = arguments.iter().any(|argument| argument == "--ignored");
            let list = if ignored { "" } else { "usage_kill: test\n" };
            out.write_all(list.as_bytes()).unwrap();
        }
        Some(seed) if seed.starts_with("seed=") => on_every_store(seed[5..].parse().unwrap()),
        Some(_) | None => on_every_store(u64::from(wall().subsec_nanos())),
    }
}

fn on_every_store(seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    kill_repeatedly(folder.path().join("a.db").to_str().unwrap(), seed);
    match std::env::var_os("AGENTRY_TEST_POSTGRES_URL").filter(|url| !url.is_empty()) {
        Some(url) => {
            let url = url.into_string().unwrap();
            kill_repeatedly(&format!("{url}?schema=kill{}", std::process::id()), seed);
        }
        None => {
            let skipped =
                b"skipped: AGENTRY_TEST_POSTGRES_URL is not set; `cargo xtask test` sets it\n";
            std::io::stdout().write_all(skipped).unwrap();
        }
    }
}

fn wall() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "this is the outermost shell of a test")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap()
}

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(i64::try_from(wall().as_micros()).unwrap())
    }
}

struct Deaf;

impl Watcher for Deaf {
    fn happened(&self, _: &Event<'_>) {}
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

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

struct Process {
    ledger: Arc<dyn Ledger>,
    budgets: Budgets,
    sink: UsageSink,
    keeper: money::Bookkeeper,
    account: Arc<Account>,
}

/// `store` is a URL of PostgreSQL, or else the path of a file of SQLite.
async fn start(store: &str) -> Process {
    let ledger: Arc<dyn Ledger> = if store.starts_with("postgres:") {
        Arc::new(PostgresStore::open(store).await.unwrap())
    } else {
        Arc::new(SqliteStore::open(store).unwrap())
    };
    let life = format!("{}-{}", std::process::id(), wall().as_nanos());
    let settings = Settings::new(Holder { instance: "one".into(), life: life.into() });
    let opened = money::open(Arc::clone(&ledger), Arc::new(Wall), Arc::new(Deaf), settings);
    let (budgets, sink, keeper) = opened.await.unwrap();
    let limit = Limit { per: "total".parse().unwrap(), cap: MicroUsd(CAP) };
    let account = budgets.account(Scope::Key { tenant: "main", key: "ci" }, &[limit]);
    Process { ledger, budgets, sink, keeper, account }
}

/// Spends until it is killed.
fn victim(store: &str, folder: &Path) {
    runtime().block_on(async {
        let Process { ledger: _ledger, budgets, sink, keeper, account } = start(store).await;
        std::io::stdout().write_all(b"ready\n").unwrap();
        let clients = (0..CLIENTS).map(|number| {
            let (budgets, sink, accounts) = (budgets.clone(), sink.clone(), [Arc::clone(&account)]);
            let diary = diary(folder);
            async move { client(&budgets, &sink, &accounts, (diary, number)).await }
        });
        tokio::join!(futures_util::future::join_all(clients), keeper.run(CancellationToken::new()));
    });
}

/// A line is written at once and outlives the process.
fn diary(folder: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(folder.join("diary")).unwrap()
}

async fn client(
    budgets: &Budgets,
    sink: &UsageSink,
    accounts: &[Arc<Account>],
    (mut diary, number): (File, u64),
) {
    let mut random = Random(wall().as_nanos() as u64 ^ (number << 48) | 1);
    loop {
        let place = sink.place().unwrap();
        let reserved = budgets.reserve_or_refill(accounts, MicroUsd(ESTIMATE as i64)).await;
        let mut reservation = match reserved {
            Ok(reservation) => reservation,
            Err(Refused::Exceeded(_)) => return,
            Err(other) => unreachable!("{other}"),
        };
        reservation.dispatched();
        tokio::task::yield_now().await;
        let cost = random.below(ESTIMATE + 1) as i64;
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&random.below(u64::MAX).to_be_bytes());
        let record = record(Wall.now(), bytes, cost);
        let line = format!("{} {} {cost}\n", record.at.as_micros(), record.call_id);
        let charges = reservation.settle(MicroUsd(cost));
        place.record_durably(record, charges).await.unwrap();
        diary.write_all(line.as_bytes()).unwrap();
    }
}

fn record(at: Timestamp, random: [u8; 10], cost: i64) -> UsageRecord {
    let id = UsageId::new(at, random);
    UsageRecord {
        id,
        at,
        call_id: id.to_string(),
        tenant: "main".to_owned(),
        key: "ci".to_owned(),
        user: None,
        team: None,
        session: None,
        run: Some(id.to_string()),
        model: "fast".to_owned(),
        target: None,
        status: "success".to_owned(),
        tokens: Tokens::default(),
        cost: MicroUsd(cost),
        estimated: MicroUsd(0),
        latency: Duration::ZERO,
        first_token: None,
        cache: Cache::Miss,
        attempts: 1,
    }
}

fn kill_repeatedly(store: &str, seed: u64) {
    let mut out = std::io::stdout();
    writeln!(out, "seed={seed}").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(seed | 1);
    for _ in 0..KILLS {
        let mut victim = spawn(store, folder.path());
        // How long it lives is what this test varies.
        std::thread::sleep(Duration::from_millis(random.below(200)));
        victim.kill().unwrap();
        victim.wait().unwrap();
    }
    let (records, spent) = runtime().block_on(check(store, folder.path()));
    writeln!(out, "ok: {KILLS} kills, {records} settled records, {spent} micro-dollars").unwrap();
}

fn spawn(store: &str, folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut victim = command
        .arg("victim")
        .arg(store)
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(victim.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "the victim could not open what its predecessor left");
    victim
}

/// Compares what is stored with what was known, and spends the rest.
async fn check(store: &str, folder: &Path) -> (usize, i64) {
    let Process { ledger, budgets, sink, keeper, account } = start(store).await;
    let balance = ledger.balance("key:main/ci", Period::TOTAL).await.unwrap();
    assert_eq!(balance.held.0, 0, "a reservation of the dead was left");
    let all = ReportQuery::between(Timestamp::from_seconds(0), Timestamp::from_seconds(i32::MAX));
    let report = ledger.report(all).await.unwrap();
    assert_eq!(report.totals.cost, balance.spent, "records and accounts disagree");
    assert!(balance.spent.0 <= CAP);

    let diary = BufReader::new(File::open(folder.join("diary")).unwrap());
    let mut records = 0;
    for line in diary.lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let at = Timestamp::from_micros(words[0].parse().unwrap());
        let mut query = ReportQuery::between(at, at.plus(Duration::from_micros(1)));
        query.run = Some(words[1].to_owned());
        let totals = ledger.report(query).await.unwrap().totals;
        assert_eq!((totals.calls, totals.cost.to_string()), (1, usd(words[2])), "{line}");
        records += 1;
    }
    assert!(records > 0, "nothing was recorded between the kills");

    let rest = MicroUsd(CAP - balance.spent.0);
    let shutdown = CancellationToken::new();
    let last = async {
        let place = sink.place().unwrap();
        let reserved = budgets.reserve_or_refill(&[account], rest).await;
        let charges = reserved.expect("all that was not spent is there").settle(rest);
        let record = record(Wall.now(), [0; 10], rest.0);
        place.record_durably(record, charges).await.unwrap();
        shutdown.cancel();
    };
    tokio::join!(keeper.run(shutdown.clone()), last);
    let end = ledger.balance("key:main/ci", Period::TOTAL).await.unwrap();
    assert_eq!((end.spent.0, end.held.0), (CAP, 0));
    (records, balance.spent.0)
}

fn usd(micros: &str) -> String {
    MicroUsd(micros.parse().unwrap()).to_string()
}
