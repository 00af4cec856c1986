//! What only a server can do to us.

use std::collections::BTreeSet;
use std::time::Duration;

use agentry_backends::postgres::PostgresStore;
use agentry_core::idempotency::Idempotency as _;
use agentry_core::thread::{Absent, Multitask, NewRun, Pinned, Priority};
use agentry_core::threads::{Claim, ThreadStore as _};
use agentry_core::{RunId, Timestamp};
use agentry_testkit::kind::{Kind as _, Schemas};
use serde_json::{Map, Value};

use crate::kinds::postgres;

/// Asks the server directly.
async fn client(kind: &Schemas<PostgresStore>) -> tokio_postgres::Client {
    let connecting = tokio_postgres::connect(kind.server(), tokio_postgres::NoTls);
    let (client, driver) = connecting.await.unwrap();
    tokio_util::task::TaskTracker::new().spawn(driver);
    client
}

#[tokio::test]
async fn a_store_whose_connections_were_cut_goes_on() {
    let Some(kind) = postgres("cut") else { return };
    let store = kind.fresh().await;
    let now = Timestamp::from_seconds(1_800_000_000);
    let server = client(&kind).await;
    for _ in 0..3 {
        store.forget_expired(now).await.unwrap();
        let ours = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                    WHERE application_name = $1";
        let cut = server.query(ours, &[&kind.name()]).await.unwrap();
        assert!(cut.iter().all(|row| row.get(0)) && !cut.is_empty());
        store.forget_expired(now).await.unwrap();
    }
}

#[tokio::test]
async fn many_processes_may_open_a_new_schema_at_once_and_a_newer_one_is_left_alone() {
    let Some(kind) = postgres("opening") else { return };
    let opened = futures_util::future::join_all((0..6).map(|_| kind.latest())).await;
    assert_eq!(opened.len(), 6);
    let schema = kind.schema();
    let newer = format!("UPDATE {schema}.versions SET version = 99 WHERE list = 'ledger'");
    client(&kind).await.batch_execute(&newer).await.unwrap();
    let problem = PostgresStore::open(&kind.url()).await.err().unwrap().to_string();
    assert!(problem.contains("newer Agentry (ledger 99, this one knows"), "{problem}");
}

fn run(number: u8, now: Timestamp) -> NewRun {
    let id = RunId::derived(now, &number.to_string());
    NewRun {
        id,
        thread: id.own_thread(),
        tenant: "main".to_owned(),
        key: None,
        program: Pinned { graph: "g".to_owned(), version: "1".to_owned() },
        input: Value::Null,
        answers: Vec::new(),
        multitask: Multitask::Enqueue,
        priority: Priority::Normal,
        absent: Absent::Create,
        metadata: Map::new(),
        created: now,
        not_before: None,
        deadline: None,
    }
}

fn claim(worker: &str, now: Timestamp, lease: Duration) -> Claim {
    Claim {
        worker: worker.to_owned(),
        now,
        lease_until: now.plus(lease),
        threads_max: 8,
        programs: vec![Pinned { graph: "g".to_owned(), version: "1".to_owned() }],
    }
}

#[tokio::test]
async fn threads_are_written_and_claimed_again_after_connections_were_cut() {
    let Some(kind) = postgres("threads_cut") else { return };
    let store = kind.fresh().await;
    let server = client(&kind).await;
    let now = Timestamp::from_seconds(1_800_000_000);
    let ours = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                WHERE application_name = $1";
    for number in 0..3 {
        store.submit(run(number, now)).await.unwrap();
        server.query(ours, &[&kind.name()]).await.unwrap();
        let claimed = store.claim(claim("w", now, Duration::from_secs(60))).await.unwrap();
        assert_eq!(claimed.len(), 1);
        server.query(ours, &[&kind.name()]).await.unwrap();
        let thread = claimed.first().unwrap().loaded.thread.id;
        assert!(store.load(thread).await.unwrap().is_some());
    }
}

/// Two workers whose own clocks are a year apart.
#[tokio::test]
async fn leases_are_judged_by_the_clock_of_the_database() {
    let Some(kind) = postgres("threads_clock") else { return };
    drop(kind.fresh().await);
    let store = PostgresStore::open(&kind.url()).await.unwrap();
    let slow = Timestamp::from_seconds(1_800_000_000);
    let fast = slow.plus(Duration::from_secs(365 * 24 * 60 * 60));
    store.submit(run(1, slow)).await.unwrap();
    let first = store.claim(claim("slow", slow, Duration::from_secs(60))).await.unwrap();
    assert_eq!(first.len(), 1);
    let none = store.claim(claim("fast", fast, Duration::from_secs(60))).await.unwrap();
    assert_eq!(none, [], "the lease is not over, whatever a clock says");
    // An empty lease is over at once, also for whom it is still long ago.
    store.renew("slow", fast, fast).await.unwrap();
    let second = store.claim(claim("other", slow, Duration::from_secs(60))).await.unwrap();
    assert_eq!(second.len(), 1);
    assert!(second.first().unwrap().fence > first.first().unwrap().fence);
}

#[tokio::test]
async fn workers_that_are_gone_and_hold_nothing_are_forgotten() {
    let Some(kind) = postgres("threads_workers") else { return };
    let store = kind.fresh().await;
    let server = client(&kind).await;
    let now = Timestamp::from_seconds(1_800_000_000);
    let later = now.plus(Duration::from_secs(60));
    let program = |graph: &str| Pinned { graph: graph.to_owned(), version: "1".to_owned() };
    for (number, graph) in [(1, "g"), (2, "rare")] {
        store.submit(NewRun { program: program(graph), ..run(number, now) }).await.unwrap();
    }
    let span = Duration::from_secs(10);
    store.claim(claim("died", now, span)).await.unwrap();
    let rare = Claim { programs: vec![program("rare")], ..claim("holds", now, span) };
    assert_eq!(store.claim(rare).await.unwrap().len(), 1);
    for number in 0..150 {
        store.renew(&format!("life~{number}"), now, now.plus(span)).await.unwrap();
    }
    store.renew("lives", now, later.plus(span)).await.unwrap();
    assert_eq!(store.claim(claim("w", later, span)).await.unwrap().len(), 1, "of who died");
    assert_eq!(store.claim(claim("w", later, span)).await.unwrap(), [], "there is no more");
    let left = format!("SELECT worker FROM {}.workers ORDER BY worker", kind.schema());
    let left = server.query(&left, &[]).await.unwrap();
    let left: Vec<String> = left.iter().map(|row| row.get(0)).collect();
    assert_eq!(left, ["holds", "lives", "w"]);
    // Who comes back has a lease again.
    store.submit(run(3, now)).await.unwrap();
    assert_eq!(store.claim(claim("life~7", later, span)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn one_instance_hears_of_what_another_has_made_ready() {
    let Some(kind) = postgres("threads_bell") else { return };
    let (one, other) = (kind.fresh().await, kind.latest().await);
    let mut stirrings = one.stirrings();
    let heard = async {
        // A first time when it begins to listen.
        stirrings.changed().await.unwrap();
        let now = Timestamp::from_seconds(1_800_000_000);
        other.submit(run(1, now)).await.unwrap();
        stirrings.changed().await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(20), heard).await.unwrap();
}

#[tokio::test]
async fn a_thread_that_is_not_readable_keeps_nobody_waiting() {
    let Some(kind) = postgres("threads_torn") else { return };
    let store = kind.fresh().await;
    let now = Timestamp::from_seconds(1_800_000_000);
    for number in 0..3 {
        store.submit(run(number, now)).await.unwrap();
    }
    let torn =
        format!("UPDATE {}.runs SET multitask = 'torn' WHERE id = $1::text::uuid", kind.schema());
    let id = run(1, now).id.to_string();
    assert_eq!(client(&kind).await.execute(&torn, &[&id]).await.unwrap(), 1);
    let claimed = store.claim(claim("w", now, Duration::from_secs(60))).await.unwrap();
    let threads: BTreeSet<_> = claimed.iter().map(|claimed| claimed.loaded.thread.id).collect();
    assert_eq!(threads, BTreeSet::from([0, 2].map(|number| run(number, now).thread)));
}
