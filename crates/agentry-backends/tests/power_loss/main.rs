//! The power fails while threads are written to: whatever was acknowledged is there, and nothing is there by half.
//!
//! A process that commits as fast as it can is killed. Of what it had written and not yet synced, some sectors are taken back,
//! others stay: that is what a disk makes of it. A library that is loaded before all others notes what was there before.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use agentry_backends::sqlite::{self, SqliteStore};
use agentry_core::run::{Committed, Delta, Seq};
use agentry_core::thread::{
    Absent, Commit, Entry, Multitask, NewRun, Next, Pinned, Priority, Snapshot, States, Write,
};
use agentry_core::threads::{Claim, ThreadStore};
use agentry_core::{RunId, ThreadId, Timestamp};
use serde_json::{Map, Value, json};

use notes::{Disk, Random, take_back};

mod notes;

const THREADS: u8 = 6;
const ROUNDS: u64 = 8;

fn now() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
}

fn run(number: u8) -> NewRun {
    let id = RunId::new(now(), [number; 10]);
    NewRun {
        id,
        thread: id.own_thread(),
        tenant: "main".to_owned(),
        key: None,
        program: Pinned { graph: number.to_string(), version: "1".to_owned() },
        input: Value::Null,
        answers: Vec::new(),
        multitask: Multitask::default(),
        priority: Priority::default(),
        absent: Absent::Create,
        metadata: Map::new(),
        created: now(),
        not_before: None,
        deadline: None,
    }
}

/// What entry `seq` of a thread writes: small and large values, so that all tables and a checkpoint of the log are in play.
fn text(thread: ThreadId, seq: u64) -> String {
    let length = if seq.is_multiple_of(5) { 40_000 } else { 300 };
    format!("{thread} {seq} ").repeat(length / 40)
}

fn commit(claimed: &agentry_core::threads::Claimed, seq: u64) -> Commit {
    let thread = claimed.loaded.thread.id;
    let snapshot = seq.is_multiple_of(16).then(|| Snapshot {
        seq: Seq(seq),
        states: States::from([(
            String::new(),
            [("text".to_owned(), text(thread, seq).into())].into(),
        )]),
        body: json!(seq),
    });
    Commit {
        thread,
        fence: claimed.fence,
        entry: Entry {
            seq: Seq(seq),
            parent: Seq(seq - 1),
            run: None,
            at: now(),
            checkpoints: Vec::new(),
            writes: vec![Write {
                ns: String::new(),
                channel: "text".to_owned(),
                delta: Delta::Set(text(thread, seq).into()),
            }],
            body: json!(seq),
        },
        next: Next::Running,
        runs: Vec::new(),
        opened: Vec::new(),
        closed: Vec::new(),
        postponed: Vec::new(),
        consumed: Vec::new(),
        forgotten: Vec::new(),
        events: Vec::new(),
        snapshot,
        audit: Vec::new(),
        program: None,
    }
}

/// The process that is killed: it says of each commit that was acknowledged.
#[test]
fn the_process_that_loses_power() {
    let Some(path) = std::env::var_os("POWER_LOSS_FILE") else { return };
    let worker = std::process::id().to_string();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let store = SqliteStore::open(PathBuf::from(path)).unwrap();
    runtime.block_on(async {
        let threads = (0..THREADS).map(|number| write_on(&store, worker.clone(), number));
        futures_util::future::join_all(threads).await;
    });
}

async fn write_on(store: &SqliteStore, worker: String, number: u8) {
    store.submit(run(number)).await.unwrap();
    let claim = Claim {
        worker,
        // Whoever was killed before has no lease any more.
        now: now().plus(Duration::from_secs(60)),
        lease_until: now().plus(Duration::from_secs(60)),
        threads_max: 1,
        programs: vec![run(number).program],
    };
    let claimed = store.claim(claim).await.unwrap().remove(0);
    let first = claimed.loaded.thread.seq.0 + 1;
    for seq in first.. {
        let committed = store.commit(commit(&claimed, seq)).await.unwrap();
        assert!(matches!(committed, Committed::Applied { .. }), "{committed:?}");
        let mut out = std::io::stdout();
        writeln!(out, "acknowledged {number} {seq}").unwrap();
        out.flush().unwrap();
    }
}

/// Compiles the library: a C compiler is presupposed.
fn shim(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power_loss/shim.c");
    let library = folder.join("shim.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
    let compiled = compiler.output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    library
}

/// Lets a process write until it has acknowledged so many commits, and kills it; answers the last of each thread.
fn write_until_killed(folder: &Path, library: &Path, commits: u64) -> HashMap<u8, u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process_that_loses_power", "--nocapture"])
        .env("POWER_LOSS_FILE", folder.join("a.db"))
        .env("POWER_LOSS_FOLDER", folder)
        .env("POWER_LOSS_NOTES", folder.join("notes"))
        .env("LD_PRELOAD", library)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut seen = 0;
    let mut last = HashMap::new();
    // What it has said before it was killed counts too.
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let mut words = line.split_whitespace();
        let whole = words.clone().count() == 3;
        if words.next() != Some("acknowledged") || !whole {
            continue;
        }
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        last.insert(number() as u8, number());
        seen += 1;
        if seen == commits {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(seen >= commits, "it ended by itself after {seen} commits");
    last
}

/// What is wrong with the file after the power failed.
fn problems(path: &Path, acknowledged: &HashMap<u8, u64>) -> Vec<String> {
    let mut problems = match sqlite::check(path) {
        Ok(problems) => problems,
        Err(problem) => return vec![problem.to_string()],
    };
    let store = match SqliteStore::open(path) {
        Ok(store) => store,
        Err(problem) => return vec![problem.to_string()],
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (number, seq) in acknowledged {
        let thread = run(*number).thread;
        let Ok(Some(loaded)) = runtime.block_on(store.load(thread)) else {
            problems.push(format!("thread {number} is not readable"));
            continue;
        };
        let head = loaded.thread.seq.0;
        if head < *seq {
            problems.push(format!("thread {number} is at {head}, {seq} was acknowledged"));
        }
        let last = loaded.line.entries.last().map(|entry| &entry.writes[0].delta);
        let snapshot = loaded.line.snapshot.map(|it| it.states[""]["text"].clone());
        let found = match (last, snapshot) {
            (Some(Delta::Set(value)), _) => Some(value.clone()),
            (_, snapshot) => snapshot,
        };
        if head > 0 && found != Some(text(thread, head).into()) {
            problems.push(format!("thread {number} does not hold what entry {head} wrote"));
        }
    }
    problems
}

fn seed() -> u64 {
    let given = std::env::var_os("POWER_LOSS_SEED").and_then(|seed| seed.to_str()?.parse().ok());
    let nanos = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    let seed = given.unwrap_or_else(|| u64::from(nanos) | 1);
    let mut terminal = std::io::stderr();
    writeln!(terminal, "POWER_LOSS_SEED={seed}").unwrap();
    seed
}

/// One after the other: a process that is being started holds what others had locked for a moment.
#[test]
fn what_was_acknowledged_survives_the_loss_of_power() {
    let seed = seed();
    survives(seed);
    a_lying_disk_is_found_out();
}

fn survives(seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let library = shim(folder.path());
    let mut random = Random(seed);
    let path = folder.path().join("a.db");
    let mut taken = 0;
    for round in 0..5 * ROUNDS {
        // It is chance whether something is on its way when the power fails.
        if round >= ROUNDS && taken > 0 {
            break;
        }
        let acknowledged = write_until_killed(folder.path(), &library, 20 + random.below(400));
        let notes = folder.path().join("notes");
        taken += take_back(&notes, Disk::Honest, &mut random);
        std::fs::remove_file(&notes).unwrap();
        // Memory is gone.
        let _ = std::fs::remove_file(folder.path().join("a.db-shm"));
        let problems = problems(&path, &acknowledged);
        assert!(problems.is_empty(), "seed {seed}, round {round}: {problems:?}");
    }
    assert!(taken > 0, "nothing was ever on its way to the disk: the library notes nothing");
}

/// The proof that the rounds above would notice.
fn a_lying_disk_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let library = shim(folder.path());
    let path = folder.path().join("a.db");
    let acknowledged = write_until_killed(folder.path(), &library, 50);
    take_back(&folder.path().join("notes"), Disk::Lying, &mut Random(1));
    let _ = std::fs::remove_file(folder.path().join("a.db-shm"));
    assert_ne!(problems(&path, &acknowledged), Vec::<String>::new());
}
