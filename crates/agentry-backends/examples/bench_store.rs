//! What threads cost on SQLite: durable steps, loading, claiming, storage.
//!
//! `cargo xtask bench store [FOLDER] [CASE]`; cases are `steps`, `sealed` (the same, encrypted), `alone`, `load`, `claim`,
//! `parked`, `storage`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has nothing to report")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_backends::sealed::{Keyring, Sealed};
use agentry_backends::sqlite::SqliteStore;
use agentry_core::ThreadId;
use agentry_core::run::{Fence, Seq};
use agentry_core::thread::{Next, Rest, RunChange, RunStatus, Snapshot, States};
use agentry_core::threads::ThreadStore;
use serde_json::{Value, json};
use work::{claim_for, now, run, step};

#[path = "bench/work.rs"]
mod work;

const LASTS: Duration = Duration::from_secs(4);
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| "target".to_owned());
    let wanted = arguments.next();
    let folder = Path::new(&folder).join(format!("bench_store-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for case in ["steps", "sealed", "alone", "load", "claim", "parked", "storage"] {
        if wanted.as_ref().is_some_and(|wanted| wanted != case) {
            continue;
        }
        let path = folder.join(format!("{case}.db"));
        runtime.block_on(async {
            match case {
                "steps" => {
                    let store = Arc::new(SqliteStore::open(&path).unwrap());
                    steps(&store, "store", 64, 200).await;
                    steps(&store, "store", 64, 1_000).await;
                }
                "sealed" => {
                    let keys = Arc::new(Keyring::parse(&[KEY.into()]).unwrap());
                    let store = Arc::new(SqliteStore::open(&path).unwrap());
                    let store = Arc::new(Sealed::new(store, keys));
                    steps(&store, "sealed", 64, 200).await;
                    steps(&store, "sealed", 64, 1_000).await;
                }
                "alone" => alone(&path).await,
                "load" => load(&path).await,
                "claim" => claim(&path).await,
                "parked" => parked(&path).await,
                _ => storage(&path).await,
            }
        });
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

fn say(name: &str, value: f64, unit: &str) {
    let line = json!({ "name": name, "value": (value * 1e3).round() / 1e3, "unit": unit });
    let mut out = std::io::stdout();
    writeln!(out, "{line}").unwrap();
}

async fn claimed(store: &impl ThreadStore, key: &str) -> (ThreadId, Fence) {
    let run = run(key);
    store.submit(run.clone()).await.unwrap();
    let claimed = store.claim(claim_for(key, 1)).await.unwrap().remove(0);
    (claimed.loaded.thread.id, claimed.fence)
}

fn snapshot(seq: u64, messages: &[Value]) -> Snapshot {
    let values = [("messages".to_owned(), Value::from(messages.to_vec()))];
    let states = States::from([(String::new(), values.into())]);
    Snapshot { seq: Seq(seq), states, body: json!({ "version": 1 }) }
}

fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = [11, 12].iter().filter_map(|it| fields.get(*it)?.parse::<u64>().ok()).sum::<u64>();
    Duration::from_millis(ticks * 10)
}

fn percentile(waits: &mut [Duration], share: f64) -> f64 {
    waits.sort_unstable();
    let place = (waits.len() as f64 * share) as usize;
    waits.get(place).or_else(|| waits.last()).unwrap().as_secs_f64() * 1e3
}

async fn steps<S: ThreadStore + 'static>(store: &Arc<S>, name: &str, producers: u64, bytes: usize) {
    let mut tasks = tokio::task::JoinSet::new();
    let (before, began) = (cpu(), Instant::now());
    for number in 0..producers {
        let (store, text) = (Arc::clone(store), "x".repeat(bytes));
        let key = format!("{bytes}-{number}");
        tasks.spawn(async move {
            let (thread, fence) = claimed(&*store, &key).await;
            let until = Instant::now() + LASTS;
            let mut waits = Vec::new();
            while Instant::now() < until {
                let asked = Instant::now();
                let commit = step(thread, fence, waits.len() as u64 + 1, &text);
                store.commit(commit).await.unwrap();
                waits.push(asked.elapsed());
            }
            waits
        });
    }
    let mut waits = tasks.join_all().await.concat();
    let (used, lasted) = (cpu() - before, began.elapsed());
    let count = waits.len() as f64;
    say(&format!("{name}.steps_{producers}x{bytes}"), count / lasted.as_secs_f64(), "steps/s");
    say(&format!("{name}.cpu_{producers}x{bytes}"), used.as_secs_f64() / count * 1e6, "us/step");
    say(&format!("{name}.p50_{producers}x{bytes}"), percentile(&mut waits, 0.5), "ms");
    say(&format!("{name}.p99_{producers}x{bytes}"), percentile(&mut waits, 0.99), "ms");
}

/// One run after the other, beside as many bytes appended and synced, in turns.
async fn alone(path: &Path) {
    let store = SqliteStore::open(path).unwrap();
    let (thread, fence) = claimed(&store, "alone").await;
    let mut plain = std::fs::File::create(path.with_extension("plain")).unwrap();
    let (mut synced, mut committed) = (Vec::new(), Vec::new());
    let text = "x".repeat(200);
    let until = Instant::now() + LASTS * 2;
    while Instant::now() < until {
        for _ in 0..20 {
            let began = Instant::now();
            plain.write_all(&[7; 4_096]).unwrap();
            plain.sync_data().unwrap();
            synced.push(began.elapsed());
        }
        for _ in 0..20 {
            let began = Instant::now();
            let commit = step(thread, fence, committed.len() as u64 + 1, &text);
            store.commit(commit).await.unwrap();
            committed.push(began.elapsed());
        }
    }
    let mean = |waits: &[Duration]| {
        waits.iter().sum::<Duration>().as_secs_f64() / waits.len() as f64 * 1e3
    };
    let (sync, commit) = (mean(&synced), mean(&committed));
    say("store.alone_mean", commit, "ms");
    say("store.alone_p50", percentile(&mut committed, 0.5), "ms");
    say("disk.append_and_sync_mean", sync, "ms");
    say("disk.append_and_sync_p50", percentile(&mut synced, 0.5), "ms");
    say("store.alone_against_sync", commit / sync, "ratio");
}

async fn load(path: &Path) {
    let store = SqliteStore::open(path).unwrap();
    let (thread, fence) = claimed(&store, "load").await;
    let text = "x".repeat(200);
    let mut messages = Vec::new();
    for seq in 1..=1_000 {
        let mut commit = step(thread, fence, seq, &text);
        messages.push(json!({ "role": "user", "content": text }));
        if seq % 64 == 0 {
            commit.snapshot = Some(snapshot(seq, &messages));
        }
        store.commit(commit).await.unwrap();
    }
    let mut waits = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        let loaded = store.load(thread).await.unwrap().unwrap();
        waits.push(began.elapsed());
        assert_eq!(loaded.thread.seq, Seq(1_000));
    }
    say("store.load_1000_p50", percentile(&mut waits, 0.5), "ms");
    say("store.load_1000_p99", percentile(&mut waits, 0.99), "ms");
}

/// From the submission to the claim that finds it, on an idle store.
async fn claim(path: &Path) {
    let store = SqliteStore::open(path).unwrap();
    let mut waits = Vec::new();
    for number in 0..300 {
        let began = Instant::now();
        store.submit(run(&format!("claim-{number}"))).await.unwrap();
        let found = store.claim(claim_for("w", 8)).await.unwrap();
        waits.push(began.elapsed());
        assert_eq!(found.len(), 1);
    }
    say("store.submit_and_claim_p50", percentile(&mut waits, 0.5), "ms");
    say("store.submit_and_claim_p99", percentile(&mut waits, 0.99), "ms");
    let began = Instant::now();
    for chunk in 0..8 {
        let submits = (0..512).map(|it| store.submit(run(&format!("bulk-{chunk}-{it}"))));
        futures_util::future::try_join_all(submits).await.unwrap();
    }
    say("store.submit_bulk", 4_096.0 / began.elapsed().as_secs_f64(), "runs/s");
    let began = Instant::now();
    let mut found = 0;
    while found < 4_096 {
        found += store.claim(claim_for("w", 64)).await.unwrap().len();
    }
    say("store.claim_bulk", 4_096.0 / began.elapsed().as_secs_f64(), "threads/s");
}

/// What a claim costs beside a hundred thousand threads that wait for a person.
async fn parked(path: &Path) {
    let store = SqliteStore::open(path).unwrap();
    for chunk in 0..200 {
        let submits = (0..500).map(|it| store.submit(run(&format!("parked-{chunk}-{it}"))));
        futures_util::future::try_join_all(submits).await.unwrap();
        let found = store.claim(claim_for("w", 500)).await.unwrap();
        let rests = found.iter().map(|claimed| {
            let mut commit = step(claimed.loaded.thread.id, claimed.fence, 1, "x");
            let wake_at = Some(now().plus(Duration::from_secs(3_600)));
            commit.next = Next::Rest { status: Rest::Interrupted, wake_at };
            let base = Some(Seq(0));
            let run = claimed.loaded.runs.first().unwrap().id;
            commit.runs =
                vec![RunChange { run, status: RunStatus::Interrupted, base, reason: None }];
            store.commit(commit)
        });
        futures_util::future::try_join_all(rests).await.unwrap();
    }
    let mut waits = Vec::new();
    let before = cpu();
    for _ in 0..2_000 {
        let began = Instant::now();
        assert!(store.claim(claim_for("w", 64)).await.unwrap().is_empty());
        store.next_wake().await.unwrap();
        waits.push(began.elapsed());
    }
    say("store.poll_beside_100k", percentile(&mut waits, 0.5), "ms");
    say("store.poll_beside_100k_cpu", (cpu() - before).as_secs_f64() / 2_000.0 * 1e6, "us");
}

async fn storage(path: &Path) {
    let store = SqliteStore::open(path).unwrap();
    let (thread, fence) = claimed(&store, "storage").await;
    let (mut messages, mut payload) = (Vec::new(), 0);
    for seq in 1..=400_u64 {
        // Nothing that could be stored twice by accident.
        let text: String = format!("{seq} ").repeat(40_000).chars().take(40_000).collect();
        payload += text.len();
        let mut commit = step(thread, fence, seq, &text);
        messages.push(json!({ "role": "user", "content": text }));
        if seq % 50 == 0 {
            commit.snapshot = Some(snapshot(seq, &messages));
        }
        store.commit(commit).await.unwrap();
    }
    let size = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        std::fs::metadata(PathBuf::from(name)).map_or(0, |it| it.len())
    };
    let open = (size("") + size("-wal")) as f64 / payload as f64;
    drop(store);
    let closed = (size("") + size("-wal")) as f64 / payload as f64;
    say("store.bytes_for_400x40k_open", open, "x payload");
    say("store.bytes_for_400x40k_closed", closed, "x payload");
}
