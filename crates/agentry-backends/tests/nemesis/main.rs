//! Two workers on one PostgreSQL, and everything that can happen to them: they are killed, or stopped past their lease and
//! let go again; their connections are cut, held up or refused; the server ends them, or is restarted as after a power cut.
//!
//! Afterwards the history is checked: every acknowledged commit is there and none is there twice, no effect was performed
//! twice, all runs have ended, and what a dead worker held was taken over soon after its lease.
//!
//! `NEMESIS_SECONDS` says how long it goes on, `NEMESIS_SEED` repeats a run.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agentry_backends::postgres::PostgresStore;
use agentry_core::thread::{Absent, Multitask, NewRun, Pinned, Priority};
use agentry_core::threads::{Error, ThreadStore as _, Threads as _};
use agentry_core::{RunId, Timestamp};
use serde_json::{Map, json};

use agentry_testkit::nemesis::{Cluster, Hire, Nemesis};

mod history;
mod worker;

/// In the usual run of the tests.
const SECONDS: u64 = 20;
/// Steps of each run.
pub(crate) const STEPS: u64 = 6;
pub(crate) const LEASE: Duration = Duration::from_secs(2);
/// For everything to come to an end when nothing happens any more.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("worker") => worker::work(&arguments[2], &arguments[3], Path::new(&arguments[4])),
        // Test runners ask what there is.
        Some("--list") => {
            let ignored = arguments.iter().any(|argument| argument == "--ignored");
            let list = if ignored { "" } else { "nemesis: test\n" };
            std::io::stdout().write_all(list.as_bytes()).unwrap();
        }
        Some(_) | None => torment(),
    }
}

pub(crate) fn say(line: &str) {
    let mut terminal = std::io::stderr();
    writeln!(terminal, "{line}").unwrap();
}

fn variable(name: &str) -> Option<u64> {
    std::env::var_os(name)?.into_string().ok()?.parse().ok()
}

pub(crate) fn wall() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the outermost shell of a test")]
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn pinned() -> Pinned {
    Pinned { graph: "g".to_owned(), version: "1".to_owned() }
}

fn torment() {
    let served = std::env::var_os("AGENTRY_TEST_POSTGRES_URL").filter(|url| !url.is_empty());
    let Some(programs) = served.and_then(|_| Cluster::programs()) else {
        say("skipped: there is no PostgreSQL here; `cargo xtask test` says what to install");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let seconds = variable("NEMESIS_SECONDS").unwrap_or(SECONDS);
    let seed =
        variable("NEMESIS_SEED").unwrap_or_else(|| u64::try_from(wall().as_micros()).unwrap() | 1);
    say(&format!("nemesis: NEMESIS_SEED={seed} NEMESIS_SECONDS={seconds}"));
    let hire = hire(folder.path());
    runtime().block_on(async {
        let cluster = Cluster::start(programs, folder.path()).await;
        let store = PostgresStore::open(&cluster.url(cluster.port)).await.unwrap();
        let store = Arc::new(store);
        let mut nemesis = Nemesis::new(cluster, LEASE, seed, hire).await;
        let stop = tokio_util::sync::CancellationToken::new();
        let submitting =
            tokio::task::JoinSet::from_iter([submit(Arc::clone(&store), stop.clone())]);
        nemesis.torment(Duration::from_secs(seconds)).await;
        stop.cancel();
        let submitted = submitting.join_all().await.remove(0);
        nemesis.calm().await;
        settled(&store, &submitted).await;
        let server = history::client(nemesis.cluster.port).await;
        history::check(&server, folder.path(), &submitted).await;
        say(&format!(
            "nemesis: {} runs, {:?}; the slowest takeover took {:?} with a lease of {LEASE:?}",
            submitted.len(),
            nemesis.done,
            nemesis.slowest_takeover()
        ));
        drop(store);
        nemesis.dismiss().stop().await;
    });
}

fn hire(folder: &Path) -> Hire {
    let folder = folder.to_owned();
    Box::new(move |name, url| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["worker", name, url]).arg(&folder).stdin(Stdio::null());
        command
    })
}

/// Runs, at a steady pace; those that were acknowledged.
async fn submit(
    store: Arc<PostgresStore>,
    stop: tokio_util::sync::CancellationToken,
) -> Vec<RunId> {
    let mut submitted = Vec::new();
    for number in 0_u64.. {
        let now = wall();
        let id = RunId::derived(now, &format!("run {number}"));
        let run = NewRun {
            id,
            thread: id.own_thread(),
            tenant: ["main", "other"][usize::from(number.is_multiple_of(3))].to_owned(),
            key: Some(number.to_string()),
            program: pinned(),
            input: json!({ "number": number }),
            answers: Vec::new(),
            multitask: Multitask::Enqueue,
            priority: Priority::Normal,
            absent: Absent::Create,
            metadata: Map::new(),
            created: now,
            not_before: None,
            deadline: None,
        };
        // Whoever was not told asks again; the same id is the same run.
        while let Err(problem) = store.submit(run.clone()).await {
            assert!(matches!(problem, Error::Unavailable(_) | Error::Ambiguous(_)), "{problem}");
        }
        submitted.push(id);
        if stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(10))).await.is_none() {
            break;
        }
    }
    submitted
}

/// Waits until all runs are over.
async fn settled(store: &PostgresStore, submitted: &[RunId]) {
    let deadline = Instant::now() + PATIENCE;
    for run in submitted {
        loop {
            let found = store.run(*run).await;
            if found.as_ref().is_ok_and(|run| run.as_ref().is_some_and(|run| run.status.is_over()))
            {
                break;
            }
            assert!(Instant::now() < deadline, "{run} has not ended: {found:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
