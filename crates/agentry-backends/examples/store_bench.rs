//! How many durable commits and records per second the SQLite store acknowledges on this machine.
//!
//! `cargo run --release -p agentry-backends --example store_bench [FOLDER]`

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has nothing to report")]

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_backends::sqlite::SqliteStore;
use agentry_core::run::{Delta, Event, NewRun, Next, RunCommit, Seq, Values};
use agentry_core::store::{Claim, Claimed, Intake, NewRecord, RunStore as _};
use agentry_core::{RunId, Timestamp};
use serde_json::json;

const LASTS: Duration = Duration::from_secs(4);

fn main() {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "target".to_owned());
    let path = Path::new(&folder).join(format!("store_bench-{}.db", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut out = std::io::stdout();
    runtime.block_on(async {
        let store = Arc::new(SqliteStore::open(&path).unwrap());
        for (name, producers) in [("one", 1), ("many", 64)] {
            let (acks, mut waits) = commits(&store, name, producers).await;
            waits.sort_unstable();
            let percentile = |share: usize| waits.get(waits.len() * share / 100).copied();
            let (p50, p99) = (percentile(50).unwrap(), percentile(99).unwrap());
            let rate = acks as f64 / LASTS.as_secs_f64();
            writeln!(out, "commits, {producers} producers: {rate:.0}/s, p50 {p50:?}, p99 {p99:?}")
                .unwrap();
        }
        let rate = intakes(&store).await;
        writeln!(out, "records, intakes of 1000, one after the other: {rate:.0}/s").unwrap();
    });
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let mut file = path.clone().into_os_string();
        file.push(suffix);
        let _ = std::fs::remove_file(file);
    }
}

async fn claimed(store: &SqliteStore, key: String, random: u8) -> Claimed {
    let now = Timestamp::from_millis(0);
    let run = NewRun {
        id: RunId::derived(now, &format!("{key}{random}")),
        key: key.clone(),
        graph: key.clone(),
        version: "1".to_owned(),
        input: Values::new(),
        created: now,
        deadline: None,
    };
    store.submit(run).await.unwrap();
    let graphs = vec![(key.clone(), "1".to_owned())];
    let claim = Claim { worker: key, now, lease_until: now, runs_max: 1, graphs };
    store.claim(claim).await.unwrap().remove(0)
}

/// Each producer advances a run of its own by 1 KB at a time.
async fn commits(store: &Arc<SqliteStore>, name: &str, producers: u8) -> (usize, Vec<Duration>) {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..producers {
        let (store, key) = (Arc::clone(store), format!("{name}-{number}"));
        tasks.spawn(async move {
            let claimed = claimed(&store, key, number).await;
            let until = Instant::now() + LASTS;
            let mut waits = Vec::new();
            while Instant::now() < until {
                let asked = Instant::now();
                let now = Timestamp::from_millis(0);
                let commit = RunCommit {
                    run: claimed.loaded.row.id,
                    fence: claimed.fence,
                    seq: Seq(waits.len() as u64 + 1),
                    at: now,
                    deltas: vec![("x".to_owned(), Delta::Set("x".repeat(1_000).into()))],
                    cursor: json!({ "version": "1", "superstep": 1, "tasks": {} }),
                    next: Next::Running,
                    opened: Vec::new(),
                    closed: Vec::new(),
                    consumed: Vec::new(),
                    events: vec![Event {
                        at: now,
                        kind: "node.finished".into(),
                        detail: json!({}),
                    }],
                    audit: Vec::new(),
                };
                store.commit(commit).await.unwrap();
                waits.push(asked.elapsed());
            }
            waits
        });
    }
    let waits = tasks.join_all().await.concat();
    (waits.len(), waits)
}

async fn intakes(store: &SqliteStore) -> f64 {
    let payload = json!({ "service": "cart", "text": "x".repeat(300) });
    let (started, mut stored) = (Instant::now(), 0);
    while started.elapsed() < LASTS {
        let record = |number: i32| NewRecord {
            topic: "alerts".to_owned(),
            key: format!("{number}"),
            payload: payload.clone(),
        };
        let records = (stored..stored + 1_000).map(record).collect();
        store.intake(Intake { records, ..Intake::default() }).await.unwrap();
        stored += 1_000;
    }
    f64::from(stored) / started.elapsed().as_secs_f64()
}
