//! What threads cost on PostgreSQL: durable steps, whole runs, and both while somebody keeps an old snapshot open.
//!
//! `cargo run --release -p agentry-backends --example bench_postgres URL [CASE]`; cases are `alone`, `steps`, `large`, `runs`,
//! `pinned`, `storage`. The schema `bench` of that database is dropped first.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has nothing to report")]

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agentry_backends::postgres::PostgresStore;
use agentry_core::run::{Fence, Seq};
use agentry_core::thread::{Next, Rest, RunChange, RunStatus, Snapshot, States};
use agentry_core::threads::ThreadStore;
use agentry_core::{RunId, ThreadId};
use serde_json::{Value, json};
use tokio_postgres::Client;
use work::{claim_for, run, step};

#[path = "bench/work.rs"]
mod work;

const LASTS: Duration = Duration::from_secs(5);
const CONCURRENT: usize = 64;
const STEPS: u64 = 10;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap();
    let wanted = arguments.next();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = connect(&url).await;
        for case in ["alone", "steps", "large", "runs", "pinned", "storage"] {
            if wanted.as_ref().is_some_and(|wanted| wanted != case) {
                continue;
            }
            server.batch_execute("DROP SCHEMA IF EXISTS bench CASCADE; CHECKPOINT").await.unwrap();
            let joined = if url.contains('?') { '&' } else { '?' };
            let store = PostgresStore::open(&format!("{url}{joined}schema=bench")).await.unwrap();
            let store = Arc::new(store);
            match case {
                "alone" => steps(&store, case, 1, 200).await,
                "steps" => steps(&store, case, CONCURRENT, 200).await,
                "large" => steps(&store, case, CONCURRENT, 1_000).await,
                "runs" => runs(&store, case).await,
                "pinned" => pinned_snapshot(&store, &url).await,
                _ => storage(&store, &server).await,
            }
        }
    });
}

async fn connect(url: &str) -> Client {
    let url = url.split('?').next().unwrap();
    let (client, driver) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio_util::task::TaskTracker::new().spawn(driver);
    client
}

fn say(case: &str, name: &str, value: f64, unit: &str) {
    let value = (value * 1e3).round() / 1e3;
    let line = json!({ "case": case, "name": name, "value": value, "unit": unit });
    let mut out = std::io::stdout();
    writeln!(out, "{line}").unwrap();
}

fn change(run: RunId, status: RunStatus, base: Option<Seq>) -> RunChange {
    RunChange { run, status, base, reason: None }
}

fn report(case: &str, mut took: Vec<Duration>, span: Duration) {
    took.sort_unstable();
    let at =
        |share: f64| took.get((took.len() as f64 * share) as usize).copied().unwrap_or_default();
    say(case, "steps", took.len() as f64 / span.as_secs_f64(), "1/s");
    say(case, "p50", at(0.5).as_secs_f64() * 1e3, "ms");
    say(case, "p99", at(0.99).as_secs_f64() * 1e3, "ms");
}

async fn steps(store: &Arc<PostgresStore>, case: &str, concurrent: usize, bytes: usize) {
    for number in 0..concurrent {
        store.submit(run(&format!("{case}{number}"))).await.unwrap();
    }
    let claimed = store.claim(claim_for("w", concurrent)).await.unwrap();
    assert_eq!(claimed.len(), concurrent);
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for claimed in claimed {
        let (store, text) = (Arc::clone(store), "x".repeat(bytes));
        tasks.spawn(async move {
            let mut took = Vec::new();
            for seq in 1.. {
                let begun = Instant::now();
                let mut commit = step(claimed.loaded.thread.id, claimed.fence, seq, &text);
                if seq == 1 {
                    let run = RunId::from_bytes(*commit.thread.as_bytes());
                    commit.runs = vec![change(run, RunStatus::Running, Some(Seq(0)))];
                }
                store.commit(commit).await.unwrap();
                took.push(begun.elapsed());
                if started.elapsed() > LASTS {
                    break;
                }
            }
            took
        });
    }
    let took = tasks.join_all().await.into_iter().flatten().collect();
    report(case, took, started.elapsed());
}

/// Whole runs of ten steps: submitted, claimed, begun, ended.
async fn runs(store: &Arc<PostgresStore>, case: &str) {
    let (done, took) = churn(store, case, LASTS).await;
    say(case, "runs", done as f64 / LASTS.as_secs_f64(), "1/s");
    report(case, took, LASTS);
}

async fn churn(store: &Arc<PostgresStore>, case: &str, lasts: Duration) -> (u64, Vec<Duration>) {
    let started = Instant::now();
    let (submitted, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut doors = tokio::task::JoinSet::new();
    for _ in 0..CONCURRENT {
        let (store, submitted, done) =
            (Arc::clone(store), Arc::clone(&submitted), Arc::clone(&done));
        let case = case.to_owned();
        doors.spawn(async move {
            while started.elapsed() < lasts {
                if submitted.load(Ordering::Relaxed) > done.load(Ordering::Relaxed) + 256 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
                let number = submitted.fetch_add(1, Ordering::Relaxed);
                store.submit(run(&format!("{case}{number}"))).await.unwrap();
            }
        });
    }
    let mut drives = tokio::task::JoinSet::new();
    let mut took = Vec::new();
    while started.elapsed() < lasts {
        let free = CONCURRENT - drives.len();
        let claimed = store.claim(claim_for("w", free)).await.unwrap();
        let idle = claimed.is_empty();
        for claimed in claimed {
            drives.spawn(drive(Arc::clone(store), claimed.loaded.thread.id, claimed.fence));
        }
        if idle && drives.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while let Some(joined) = drives.try_join_next() {
            took.extend(joined.unwrap());
            done.fetch_add(1, Ordering::Relaxed);
        }
        if drives.len() == CONCURRENT
            && let Some(joined) = drives.join_next().await
        {
            took.extend(joined.unwrap());
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
    doors.join_all().await;
    let count = done.load(Ordering::Relaxed);
    drives.join_all().await;
    (count, took)
}

async fn drive(store: Arc<PostgresStore>, thread: ThreadId, fence: Fence) -> Vec<Duration> {
    let (run, text) = (RunId::from_bytes(*thread.as_bytes()), "x".repeat(200));
    let mut took = Vec::new();
    for seq in 1..=STEPS {
        let mut commit = step(thread, fence, seq, &text);
        match seq {
            1 => commit.runs = vec![change(run, RunStatus::Running, Some(Seq(0)))],
            STEPS => {
                commit.runs = vec![change(run, RunStatus::Success, None)];
                commit.next = Next::Rest { status: Rest::Idle, wake_at: None };
            }
            _ => {}
        }
        let begun = Instant::now();
        store.commit(commit).await.unwrap();
        took.push(begun.elapsed());
    }
    took
}

/// The same runs before and while a transaction keeps its snapshot.
async fn pinned_snapshot(store: &Arc<PostgresStore>, url: &str) {
    let (before, _) = churn(store, "before", LASTS).await;
    let reader = connect(url).await;
    reader
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM bench.threads")
        .await
        .unwrap();
    let rate = |runs: u64| runs as f64 / LASTS.as_secs_f64();
    say("pinned", "runs before", rate(before), "1/s");
    for window in 0..6 {
        let (runs, _) = churn(store, &format!("w{window}-"), LASTS).await;
        say("pinned", "runs in a window of 5 s", rate(runs), "1/s");
    }
    reader.batch_execute("COMMIT").await.unwrap();
}

/// 400 appends of 40 KB, with a snapshot of the whole every 50 steps, and what they take on the disk.
async fn storage(store: &Arc<PostgresStore>, server: &Client) {
    const APPENDS: u64 = 400;
    const BYTES: usize = 40_000;
    store.submit(run("storage")).await.unwrap();
    let claimed = store.claim(claim_for("w", 1)).await.unwrap().remove(0);
    let thread = claimed.loaded.thread.id;
    let mut all = Vec::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for seq in 1..=APPENDS {
        let text: String = (0..BYTES)
            .map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b' ' + u8::try_from(random >> 33 & 0x3f).unwrap())
            })
            .collect();
        all.push(Value::from(text.as_str()));
        let mut commit = step(thread, claimed.fence, seq, &text);
        if seq % 50 == 0 {
            let mut states = States::new();
            states
                .entry(String::new())
                .or_default()
                .insert("messages".to_owned(), all.clone().into());
            commit.snapshot = Some(Snapshot { seq: Seq(seq), states, body: json!({ "at": seq }) });
        }
        store.commit(commit).await.unwrap();
    }
    let sizes = "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c
                 JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = 'bench' AND c.relname IN ('entries', 'snapshots', 'pieces')";
    let bytes: i64 = server.query_one(sizes, &[]).await.unwrap().get(0);
    say("storage", "bytes per byte of payload", bytes as f64 / (APPENDS as f64 * BYTES as f64), "");
    let begun = Instant::now();
    let loaded = store.load(thread).await.unwrap().unwrap();
    say("storage", "load", begun.elapsed().as_secs_f64() * 1e3, "ms");
    assert_eq!(loaded.line.entries.len(), 0);
}
