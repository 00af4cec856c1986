//! A checkpoint store for programs that bring their own engine: one JSON request per line of input, one answer per line.
//!
//! `cargo run --example checkpoints -- memory:`, `sqlite:FILE` or `postgres://…`. `tests/langgraph/saver.py` is a LangGraph
//! checkpointer over it.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use agentry_backends::memory::MemoryStore;
use agentry_backends::postgres::PostgresStore;
use agentry_backends::sqlite::SqliteStore;
use agentry_core::run::{Committed, Delta, Seq, Values};
use agentry_core::thread::{Checkpoint, Commit, Entry, Line, NewThread, Next, Rest, Source, Write};
use agentry_core::threads::{
    At, CheckpointQuery, Claim, Found, From, Keep, Taken, ThreadQuery, ThreadStore, Threads,
};
use agentry_core::{CheckpointId, ThreadId, Timestamp};
use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

const TENANT: &str = "main";
const WORKER: &str = "checkpoints";
const LEASE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Request {
    Put(Put),
    Writes(Writes),
    List(List),
    Delete { thread: String },
    DeleteRuns { runs: Vec<String> },
    Copy { from: String, to: String },
    Prune { threads: Vec<String>, all: bool },
}

#[derive(Deserialize)]
struct Put {
    thread: String,
    ns: String,
    id: CheckpointId,
    parent: Option<CheckpointId>,
    metadata: Map<String, Value>,
    /// What the caller's engine keeps beside the channels.
    checkpoint: Value,
    /// Changed channels only.
    values: Map<String, Value>,
}

#[derive(Deserialize)]
struct Writes {
    thread: String,
    id: CheckpointId,
    task: String,
    path: String,
    writes: Vec<(i64, String, Value)>,
}

#[derive(Deserialize)]
struct List {
    thread: Option<String>,
    ns: Option<String>,
    id: Option<CheckpointId>,
    filter: Map<String, Value>,
    before: Option<CheckpointId>,
    max: Option<usize>,
}

/// What other threads' names come to: a UUID is itself.
fn thread_id(name: &str) -> ThreadId {
    name.parse().unwrap_or_else(|_| {
        let digest = Sha256::digest(name.as_bytes());
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(digest.iter()) {
            *to = *from;
        }
        ThreadId::from_bytes(bytes)
    })
}

struct Bridge {
    store: Arc<dyn ThreadStore>,
    threads: Arc<dyn Threads>,
}

impl Bridge {
    async fn open(url: &str) -> Result<Self> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            return Ok(Self::over(SqliteStore::open(path)?));
        }
        if url.starts_with("postgres") {
            return Ok(Self::over(PostgresStore::open(url).await?));
        }
        ensure!(url == "memory:", "`{url}` is neither memory:, sqlite:FILE nor postgres://…");
        Ok(Self::over(MemoryStore::new()))
    }

    fn over(store: impl ThreadStore + Threads + 'static) -> Self {
        let store = Arc::new(store);
        Self { store: store.clone(), threads: store }
    }

    async fn answer(&self, request: Request) -> Result<Value> {
        match request {
            Request::Put(put) => self.put(put).await,
            Request::Writes(writes) => self.writes(writes).await,
            Request::List(list) => self.list(list).await,
            Request::Delete { thread } => Ok(self.threads.delete(thread_id(&thread)).await?.into()),
            Request::DeleteRuns { runs } => {
                for run in runs {
                    self.threads.delete_run(run.parse()?).await?;
                }
                Ok(Value::Null)
            }
            Request::Copy { from, to } => {
                let to = new_thread(&to);
                Ok(self.threads.copy(thread_id(&from), to).await?.into())
            }
            Request::Prune { threads, all } => {
                let keep = if all { Keep::Nothing } else { Keep::Latest };
                for thread in threads {
                    self.threads.prune(thread_id(&thread), keep).await?;
                }
                Ok(Value::Null)
            }
        }
    }

    async fn put(&self, put: Put) -> Result<Value> {
        let thread = thread_id(&put.thread);
        self.threads.create(new_thread(&put.thread)).await?;
        let parent = match put.parent {
            Some(parent) => self.seq(thread, parent).await?.context("no such parent")?,
            None => Seq(0),
        };
        let source = put.metadata.get("source").cloned().unwrap_or_default();
        let checkpoint = Checkpoint {
            id: put.id,
            ns: put.ns.clone(),
            parent: put.parent,
            step: put.metadata.get("step").and_then(Value::as_i64).unwrap_or_default(),
            source: serde_json::from_value(source).unwrap_or(Source::Loop),
            metadata: put.metadata.clone(),
        };
        let write =
            |(channel, value)| Write { ns: put.ns.clone(), channel, delta: Delta::Set(value) };
        let entry = Entry {
            seq: Seq(0),
            parent,
            run: put.metadata.get("run_id").and_then(Value::as_str).and_then(|id| id.parse().ok()),
            at: now(),
            checkpoints: vec![checkpoint],
            writes: put.values.into_iter().map(write).collect(),
            body: json!({ "checkpoint": put.checkpoint }),
        };
        self.commit(thread, |_| Some(entry.clone())).await
    }

    async fn writes(&self, writes: Writes) -> Result<Value> {
        let thread = thread_id(&writes.thread);
        let parent = self.seq(thread, writes.id).await?.context("no such checkpoint")?;
        let Writes { id: _, thread: _, task, path, writes } = writes;
        self.commit(thread, |known| {
            let known = |index: i64| known.iter().any(|it| it.0 == task && it.1 == index);
            let fresh = writes.iter().filter(|write| write.0 < 0 || !known(write.0));
            let fresh: Vec<_> = fresh.map(|(index, channel, value)| {
                json!({ "task": task, "path": path, "index": index, "channel": channel, "value": value })
            }).collect();
            (!fresh.is_empty()).then(|| Entry {
                seq: Seq(0),
                parent,
                run: None,
                at: now(),
                checkpoints: Vec::new(),
                writes: Vec::new(),
                body: json!({ "writes": fresh }),
            })
        })
        .await
    }

    /// Takes the thread, and stores the entry that comes of what is known of the entry's parent.
    async fn commit(
        &self,
        thread: ThreadId,
        decide: impl Fn(&[(String, i64)]) -> Option<Entry>,
    ) -> Result<Value> {
        let claim = Claim {
            worker: WORKER.to_owned(),
            now: now(),
            lease_until: now().plus(LEASE),
            threads_max: 1,
            programs: Vec::new(),
        };
        let Taken::Yours(claimed) = self.store.take(thread, claim).await? else {
            bail!("somebody else works on this thread");
        };
        let mut known = Vec::new();
        if let Some(entry) = decide(&[]) {
            for entry in self.threads.progress(thread, At::Seq(entry.parent)).await? {
                known.extend(stored(&entry).iter().filter_map(|write| {
                    Some((write.get("task")?.as_str()?.to_owned(), write.get("index")?.as_i64()?))
                }));
            }
        }
        let Some(mut entry) = decide(&known) else {
            self.store.release(WORKER).await?;
            return Ok(Value::Null);
        };
        entry.seq = claimed.loaded.thread.seq.next();
        let commit = Commit {
            thread,
            fence: claimed.fence,
            entry,
            next: Next::Rest { status: Rest::Idle, wake_at: None },
            runs: Vec::new(),
            opened: Vec::new(),
            closed: Vec::new(),
            postponed: Vec::new(),
            consumed: Vec::new(),
            forgotten: Vec::new(),
            events: Vec::new(),
            snapshot: None,
            audit: Vec::new(),
            program: None,
        };
        match self.store.commit(commit).await? {
            Committed::Applied { .. } | Committed::Duplicate => Ok(Value::Null),
            other @ (Committed::Fenced | Committed::Stale) => bail!("not stored: {other:?}"),
        }
    }

    async fn list(&self, list: List) -> Result<Value> {
        let threads = match &list.thread {
            Some(name) => vec![(name.clone(), thread_id(name))],
            None => {
                let all = ThreadQuery { max: usize::MAX, ..ThreadQuery::default() };
                let found = self.threads.threads(all).await?;
                found.into_iter().map(|thread| (thread.id.to_string(), thread.id)).collect()
            }
        };
        let max = list.max.unwrap_or(usize::MAX);
        let mut tuples = Vec::new();
        for (name, thread) in threads {
            let query = CheckpointQuery {
                ns: list.ns.clone(),
                source: None,
                metadata: list.filter.clone(),
                before: list.before,
                max: if list.id.is_some() { usize::MAX } else { max },
            };
            let found = self.threads.checkpoints(thread, query).await?;
            let wanted = |found: &&Found| list.id.is_none_or(|id| found.checkpoint.id == id);
            for found in found.iter().filter(wanted).take(max - tuples.len()) {
                tuples.push(self.tuple(&name, thread, found).await?);
            }
        }
        Ok(tuples.into())
    }

    async fn tuple(&self, name: &str, thread: ThreadId, found: &Found) -> Result<Value> {
        let id = found.checkpoint.id;
        let line = self.threads.line(thread, At::Checkpoint(id), From::Snapshot).await?;
        let line = line.context("the checkpoint has gone")?;
        let body = line.entries.last().map(|entry| &entry.body);
        let body = body.or_else(|| line.snapshot.as_ref().map(|snapshot| &snapshot.body)).cloned();
        let mut writes = Vec::new();
        for entry in self.threads.progress(thread, At::Checkpoint(id)).await? {
            writes.extend(stored(&entry).iter().cloned());
        }
        Ok(json!({
            "thread": name,
            "ns": found.checkpoint.ns,
            "id": id,
            "parent": found.checkpoint.parent,
            "metadata": found.checkpoint.metadata,
            "checkpoint": body.as_ref().and_then(|body| body.get("checkpoint")),
            "values": fold(line, &found.checkpoint.ns),
            "writes": writes,
        }))
    }

    async fn seq(&self, thread: ThreadId, id: CheckpointId) -> Result<Option<Seq>> {
        let line = self.threads.line(thread, At::Checkpoint(id), From::Snapshot).await?;
        Ok(line.and_then(|line| match line.entries.last() {
            Some(entry) => Some(entry.seq),
            None => line.snapshot.map(|snapshot| snapshot.seq),
        }))
    }
}

fn stored(entry: &Entry) -> &[Value] {
    entry.body.get("writes").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The channels of one namespace.
fn fold(line: Line, ns: &str) -> Values {
    let mut values =
        line.snapshot.and_then(|mut snapshot| snapshot.states.remove(ns)).unwrap_or_default();
    for write in line.entries.into_iter().flat_map(|entry| entry.writes) {
        if write.ns == ns {
            write.delta.apply(&mut values, write.channel);
        }
    }
    values
}

fn new_thread(name: &str) -> NewThread {
    NewThread {
        id: thread_id(name),
        tenant: TENANT.to_owned(),
        metadata: Map::new(),
        created: now(),
        keep_for: None,
    }
}

#[expect(clippy::disallowed_methods, reason = "a program of its own looks at the clock itself")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_micros(since.map_or(0, |since| since.as_micros() as i64))
}

fn main() -> Result<()> {
    let url =
        std::env::args().nth(1).context("name a store: memory:, sqlite:FILE or postgres://…")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let bridge = runtime.block_on(Bridge::open(&url))?;
    let mut out = std::io::stdout();
    for line in std::io::stdin().lines() {
        let answer = match serde_json::from_str(&line?) {
            Ok(request) => runtime.block_on(bridge.answer(request)),
            Err(problem) => Err(problem.into()),
        };
        let answer = match answer {
            Ok(value) => json!({ "ok": value }),
            Err(problem) => json!({ "error": format!("{problem:#}") }),
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
