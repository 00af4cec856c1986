//! Two processes, each with the engine's own worker, on one PostgreSQL: they are killed, or stopped past their lease and let go
//! again; their connections are cut, held up or refused; the server ends them, or is restarted as after a power cut.
//! Their graphs have branches, effects, moments to wait for, questions, and several runs on one thread.
//!
//! Afterwards every run that was acknowledged has ended, every commit that was acknowledged is there, none was acknowledged
//! twice, no effect was journaled twice or performed twice that may be only once, and what a dead worker held was taken over
//! soon after its lease.
//!
//! `NEMESIS_SECONDS` says how long it goes on, `NEMESIS_SEED` repeats a run, and with `NEMESIS_TAKEOVER_MS` it fails where
//! taking over took longer than that after the lease.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../kill/facts.rs"]
mod facts;
#[path = "../kill/living.rs"]
mod living;
#[path = "../kill/noting.rs"]
mod noting;
#[path = "../kill/story.rs"]
mod story;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use agentry_backends::postgres::PostgresStore;
use agentry_engine::durable::Settings;
use agentry_testkit::nemesis::{Cluster, Hire, Nemesis};

use living::{Pace, runtime, wall};

/// In the usual run of the tests.
const SECONDS: u64 = 20;
const LEASE: Duration = Duration::from_secs(2);
const PACE: Pace = Pace { runs_max: u64::MAX, pause: Duration::from_millis(20) };

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("worker") => work(&arguments[2], &arguments[3], Path::new(&arguments[4])),
        // Test runners ask what there is.
        Some("--list") => {
            let ignored = arguments.iter().any(|argument| argument == "--ignored");
            let list = if ignored { "" } else { "nemesis: test\n" };
            std::io::stdout().write_all(list.as_bytes()).unwrap();
        }
        Some(_) | None => torment(),
    }
}

fn say(line: &str) {
    let mut terminal = std::io::stderr();
    writeln!(terminal, "{line}").unwrap();
}

fn variable(name: &str) -> Option<u64> {
    std::env::var_os(name)?.into_string().ok()?.parse().ok()
}

fn settings(name: &str) -> Settings {
    let name = format!("{name}-{}", std::process::id());
    let poll = Duration::from_millis(200);
    Settings { name, lease: LEASE, poll, ..Settings::default() }
}

async fn open(url: &str) -> Arc<PostgresStore> {
    loop {
        match PostgresStore::open(url).await {
            Ok(store) => return Arc::new(store),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn work(name: &str, url: &str, folder: &Path) {
    runtime().block_on(async {
        living::live(open(url).await, folder, settings(name), PACE).await;
    });
}

fn torment() {
    let served = std::env::var_os("AGENTRY_TEST_POSTGRES_URL").filter(|url| !url.is_empty());
    let Some(programs) = served.and_then(|_| Cluster::programs()) else {
        say("skipped: there is no PostgreSQL here; `cargo xtask test` says what to install");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let seconds = variable("NEMESIS_SECONDS").unwrap_or(SECONDS);
    let seed = variable("NEMESIS_SEED").unwrap_or_else(|| u64::from(wall().subsec_nanos()) | 1);
    say(&format!("nemesis: NEMESIS_SEED={seed} NEMESIS_SECONDS={seconds}"));
    let hire = hire(folder.path());
    runtime().block_on(async {
        let cluster = Cluster::start(programs, folder.path()).await;
        let mut nemesis = Nemesis::new(cluster, LEASE, seed, hire).await;
        nemesis.torment(Duration::from_secs(seconds)).await;
        nemesis.calm().await;
        let (slowest, done) = (nemesis.slowest_takeover(), nemesis.done.clone());
        let cluster = nemesis.dismiss();
        // They work no more, so that nothing new comes in.
        let store = open(&cluster.url(cluster.port)).await;
        living::finish(&store, folder.path(), settings("last")).await;
        // One that was stopped may find out late that another has finished its effect: what may be repeated is then.
        let (runs, doubts) = facts::check(store.as_ref(), folder.path(), |_| {}).await;
        say(&format!(
            "nemesis: {runs} runs, {doubts} effects in doubt, {done:?}; the slowest takeover took {slowest:?} with a lease of {LEASE:?}"
        ));
        if let Some(after) = variable("NEMESIS_TAKEOVER_MS") {
            assert!(slowest <= LEASE + Duration::from_millis(after), "{slowest:?} is too long");
        }
        drop(store);
        cluster.stop().await;
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
