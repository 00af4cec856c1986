//! A worker with no engine: it claims threads, performs an effect in each step, and commits.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_backends::postgres::PostgresStore;
use agentry_core::run::{Committed, Delta, Effect, Fence, Seq};
use agentry_core::thread::{Commit, Entry, Next, Rest, RunChange, RunStatus, Write};
use agentry_core::threads::{Claim, Claimed, Error, ThreadStore as _};
use agentry_core::{RunId, ThreadId};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{LEASE, STEPS, pinned, runtime, wall};

const THREADS: usize = 8;

/// What the worker says it knows; a line is written at once and outlives the process.
pub(crate) struct Diary(File);

impl Diary {
    pub(crate) const NAME: &str = "diary";

    fn open(folder: &Path) -> Self {
        let mut options = OpenOptions::new();
        Self(options.create(true).append(true).open(folder.join(Self::NAME)).unwrap())
    }

    fn note(&self, line: &str) {
        (&self.0).write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

pub(crate) fn work(name: &str, url: &str, folder: &Path) {
    runtime().block_on(async {
        let store = loop {
            match PostgresStore::open(url).await {
                Ok(store) => break Arc::new(store),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        };
        let diary = Arc::new(Diary::open(folder));
        for life in 0.. {
            let name = format!("{name}-{}-{life}", std::process::id());
            live(&store, &diary, &name).await;
        }
    });
}

/// Until nobody knows what the worker holds.
async fn live(store: &Arc<PostgresStore>, diary: &Arc<Diary>, name: &str) {
    let mut drives = JoinSet::new();
    let mut renewed = Instant::now();
    loop {
        while drives.try_join_next().is_some() {}
        // Read before it is sent: the lease may not be longer than we think.
        let asked = Instant::now();
        let now = wall();
        let max = THREADS - drives.len().min(THREADS);
        let claim = Claim {
            worker: name.to_owned(),
            now,
            lease_until: now.plus(LEASE),
            threads_max: max,
            programs: vec![pinned()],
        };
        let claimed = match store.claim(claim).await {
            Ok(claimed) => claimed,
            // There may be threads that nobody drives.
            Err(Error::Ambiguous(_)) => return,
            Err(_) => Vec::new(),
        };
        if !claimed.is_empty() {
            renewed = asked;
        }
        for claimed in claimed {
            drives.spawn(drive(Arc::clone(store), Arc::clone(diary), claimed));
        }
        let now = wall();
        if store.renew(name, now, now.plus(LEASE)).await.is_ok() {
            renewed = asked;
        }
        if renewed.elapsed() > LEASE * 3 / 4 {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn drive(store: Arc<PostgresStore>, diary: Arc<Diary>, claimed: Claimed) {
    let Claimed { fence, loaded } = claimed;
    let (thread, first) = (loaded.thread.id, loaded.thread.seq.0 + 1);
    let Some(run) = loaded.runs.first().map(|run| run.id) else { return };
    let known: HashSet<_> = loaded.journal.into_keys().collect();
    for step in first..=STEPS {
        let key = format!("e{step}");
        if !known.contains(&key) && !perform(&store, &diary, (thread, fence), &key).await {
            return;
        }
        if !commit(&store, &diary, decision((thread, fence), run, step)).await {
            return;
        }
    }
}

fn decision((thread, fence): (ThreadId, Fence), run: RunId, step: u64) -> Commit {
    let change = |status, base| RunChange { run, status, base, reason: None };
    let runs = match step {
        1 => vec![change(RunStatus::Running, Some(Seq(0)))],
        STEPS => vec![change(RunStatus::Success, None)],
        _ => Vec::new(),
    };
    let last = Next::Rest { status: Rest::Idle, wake_at: None };
    Commit {
        thread,
        fence,
        entry: Entry {
            seq: Seq(step),
            parent: Seq(step - 1),
            run: Some(run),
            at: wall(),
            checkpoints: Vec::new(),
            writes: vec![Write {
                ns: String::new(),
                channel: "steps".to_owned(),
                delta: Delta::Append(vec![step.into()]),
            }],
            body: Value::Null,
        },
        next: if step == STEPS { last } else { Next::Running },
        runs,
        opened: Vec::new(),
        closed: Vec::new(),
        postponed: Vec::new(),
        consumed: Vec::new(),
        forgotten: Vec::new(),
        events: Vec::new(),
        snapshot: None,
        audit: Vec::new(),
        program: None,
    }
}

/// At most once: only who was told that its intention is the first one performs. False when the thread is another one's.
async fn perform(
    store: &PostgresStore,
    diary: &Diary,
    (thread, fence): (ThreadId, Fence),
    key: &str,
) -> bool {
    loop {
        match store.journal(thread, fence, key, Effect::Intended).await {
            Ok(Committed::Applied { .. }) => break,
            // Somebody meant to, perhaps we ourselves: nobody knows whether it was done.
            Ok(Committed::Stale | Committed::Duplicate) => return true,
            Ok(Committed::Fenced) => return false,
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
    diary.note(&format!("performed {thread} {key}"));
    let done = Effect::Done { value: json!("done") };
    loop {
        match store.journal(thread, fence, key, done.clone()).await {
            Ok(Committed::Applied { .. } | Committed::Duplicate | Committed::Stale) => return true,
            Ok(Committed::Fenced) => return false,
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// False when the thread is another one's.
async fn commit(store: &PostgresStore, diary: &Diary, decision: Commit) -> bool {
    let (thread, seq, fence) = (decision.thread, decision.entry.seq.0, decision.fence.0);
    loop {
        match store.commit(decision.clone()).await {
            Ok(Committed::Applied { .. } | Committed::Duplicate) => {
                diary.note(&format!("committed {thread} {seq} {fence}"));
                return true;
            }
            Ok(Committed::Fenced | Committed::Stale) => return false,
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}
