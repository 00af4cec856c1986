//! An engine that does as it is told, on the store that every other is held to.

use std::sync::Arc;
use std::time::Duration;

use agentry_backends::memory::MemoryStore;
use agentry_core::run::{Answer, Closing, Delta, Event};
use agentry_core::thread::{
    Cancel, Checkpoint, Commit, Entry, Interrupt, NewRun, Next, Pinned, Rest, RunChange, RunStatus,
    Source, Told, Write,
};
use agentry_core::threads::{
    At, CheckpointQuery, Claim, Keep, Signal, Signalled, Submitted, ThreadStore as _, Threads as _,
};
use agentry_core::{CheckpointId, RunId, ThreadId, Timestamp};
use agentry_server::Refusal;
use agentry_server::engine::{
    CheckpointRef, Cut, Cutting, Engine, Follow, GraphInfo, HistoryQuery, InterruptView, Migrate,
    Migrated, Part, Parts, Place, Resume, StateView, Subgraphs, Subject, Submission, TaskView,
    Update, What, Work,
};
use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

const NOON: Timestamp = Timestamp::from_seconds(1_795_180_800);

/// Runs `agent`: input `{"do": "hang"}` waits to be cancelled, `ask` asks, `fail` fails, anything else is done at once.
pub(super) struct Scripted {
    pub(super) store: Arc<MemoryStore>,
    /// Told after every commit.
    news: watch::Sender<u64>,
}

fn pinned() -> Pinned {
    Pinned { graph: "agent".to_owned(), version: "1".to_owned() }
}

impl Scripted {
    pub(super) fn new(store: Arc<MemoryStore>) -> Self {
        Self { store, news: watch::Sender::new(0) }
    }

    /// Does what is to be done on a thread until its run hangs or there is nothing more.
    async fn work(&self) {
        loop {
            let claim = Claim {
                worker: "w".to_owned(),
                now: NOON,
                lease_until: NOON.plus(Duration::from_secs(60)),
                threads_max: 1,
                programs: vec![pinned()],
            };
            let claimed = self.store.claim(claim).await.unwrap().pop();
            let Some(claimed) = claimed else { return };
            let loaded = claimed.loaded;
            let open: Vec<Interrupt> = loaded.interrupts.clone();
            let run = loaded.runs.iter().find(|run| !run.status.is_over()).unwrap().clone();
            let head = loaded.thread.seq;
            let begin = self.entry(&run, head.next().0, open.clone());
            let script = run.input.get("do").and_then(Value::as_str).unwrap_or("echo").to_owned();
            let (status, reason) = match (script.as_str(), &run.cancel) {
                (_, Some(cancel)) => (RunStatus::Cancelled, Some(cancel.reason.clone())),
                ("hang", None) => (RunStatus::Running, None),
                ("ask", None) => (RunStatus::Interrupted, None),
                ("fail", None) => (RunStatus::Error, Some("told to".to_owned())),
                _ => (RunStatus::Success, None),
            };
            let next = match status {
                // It is looked at again when something comes for it.
                RunStatus::Running => Next::Rest { status: Rest::Waiting, wake_at: None },
                RunStatus::Interrupted => Next::Rest { status: Rest::Interrupted, wake_at: None },
                _ => Next::Rest { status: Rest::Idle, wake_at: None },
            };
            let (entry, mut events) = begin;
            if status.is_over() {
                let detail = json!({ "ended": status, "reason": reason });
                events.push(Event { at: NOON, kind: "ended".to_owned(), detail });
            }
            let question = Interrupt {
                thread: run.thread,
                run: run.id,
                id: "q1".to_owned(),
                ns: String::new(),
                node: "ask".to_owned(),
                question: Some(json!("go on?")),
                schema: None,
                opened: NOON,
                deadline: None,
                on_timeout: Value::Null,
                escalations: 0,
                answer: None,
            };
            let commit = Commit {
                thread: run.thread,
                fence: claimed.fence,
                entry,
                next,
                runs: vec![RunChange { run: run.id, status, base: Some(head), reason }],
                opened: if status == RunStatus::Interrupted { vec![question] } else { vec![] },
                closed: open.into_iter().map(|open| (open.id, Closing::Answered)).collect(),
                postponed: Vec::new(),
                consumed: Vec::new(),
                forgotten: Vec::new(),
                events,
                snapshot: None,
                audit: Vec::new(),
                program: None,
            };
            self.store.commit(commit).await.unwrap();
            self.news.send_modify(|count| *count += 1);
        }
    }

    /// What a run writes first: its input, under the channel `said`.
    fn entry(
        &self,
        run: &agentry_core::thread::Run,
        seq: u64,
        open: Vec<Interrupt>,
    ) -> (Entry, Vec<Event>) {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&seq.to_be_bytes());
        let said = match open.first().and_then(|open| open.answer.as_ref()) {
            Some(answer) => answer.value.clone(),
            None => run.input.clone(),
        };
        let checkpoint = Checkpoint {
            id: CheckpointId::new(NOON, random),
            ns: String::new(),
            parent: None,
            step: i64::try_from(seq).unwrap() - 2,
            source: Source::Loop,
            metadata: Map::new(),
        };
        let write = Write {
            ns: String::new(),
            channel: "said".to_owned(),
            delta: Delta::Append(vec![said.clone()]),
        };
        let entry = Entry {
            seq: agentry_core::run::Seq(seq),
            parent: agentry_core::run::Seq(seq - 1),
            run: Some(run.id),
            at: NOON,
            checkpoints: vec![checkpoint],
            writes: vec![write],
            body: Value::Null,
        };
        let event = |kind: &str, detail| Event { at: NOON, kind: kind.to_owned(), detail };
        let mut events = vec![event("values", json!({ "said": [said] }))];
        if let Some(Value::Array(customs)) = run.input.get("custom") {
            events.extend(customs.iter().map(|custom| event("custom", custom.clone())));
        }
        (entry, events)
    }
}

#[async_trait]
impl Engine for Scripted {
    async fn summary(&self, _: RunId) -> Result<Option<Value>, Refusal> {
        Ok(Some(json!({ "progress": "completed", "nodes": [] })))
    }

    fn graphs(&self) -> Vec<Arc<GraphInfo>> {
        vec![Arc::new(GraphInfo {
            name: "agent".to_owned(),
            version: "1".to_owned(),
            ..GraphInfo::default()
        })]
    }

    async fn submit(&self, submission: Submission) -> Result<Submitted, Refusal> {
        let answer = |value: &Value| Answer {
            value: value.clone(),
            actor: submission.actor.clone(),
            at: NOON,
        };
        let (input, answers) = match &submission.work {
            Work::Input(input) => (input.clone(), Vec::new()),
            Work::Continue => (Value::Null, Vec::new()),
            Work::Command(command) => match &command.resume {
                Some(Resume::One(value)) => (Value::Null, vec![("q1".to_owned(), answer(value))]),
                Some(Resume::Named(named)) => {
                    let all = named.iter().map(|(id, value)| (id.clone(), answer(value)));
                    (Value::Null, all.collect())
                }
                None => (Value::Null, Vec::new()),
            },
        };
        let run = NewRun {
            id: submission.run,
            thread: submission.thread,
            tenant: submission.tenant,
            key: submission.key,
            program: pinned(),
            input,
            answers,
            multitask: submission.multitask,
            priority: submission.priority,
            absent: submission.absent,
            metadata: submission.metadata,
            created: submission.created,
            not_before: submission.not_before,
            deadline: submission.deadline,
        };
        let submitted = self.store.submit(run).await?;
        self.work().await;
        Ok(submitted)
    }

    async fn cancel(
        &self,
        thread: ThreadId,
        run: RunId,
        cancel: Cancel,
    ) -> Result<Signalled, Refusal> {
        let signal = Signal::Cancel { run, cancel, audit: Vec::new() };
        let signalled = self.store.signal(thread, signal).await?;
        self.work().await;
        Ok(signalled)
    }

    async fn state(
        &self,
        thread: ThreadId,
        place: Place,
        _: Subgraphs,
    ) -> Result<Option<StateView>, Refusal> {
        let line = self.store.line(thread, place.at, agentry_core::threads::From::Root).await?;
        let Some(entries) = line.map(|line| line.entries).filter(|line| !line.is_empty()) else {
            return Ok(None);
        };
        let mut values = agentry_core::run::Values::new();
        for write in entries.iter().flat_map(|entry| &entry.writes) {
            write.delta.clone().apply(&mut values, write.channel.clone());
        }
        let last = entries.last().unwrap();
        let open = self.store.questions(Some(thread), 10).await?;
        let interrupts: Vec<InterruptView> = open
            .into_iter()
            .map(|open| InterruptView {
                id: open.id,
                value: open.question.unwrap_or_default(),
                ..InterruptView::default()
            })
            .collect();
        let task = TaskView {
            id: "t1".to_owned(),
            name: "ask".to_owned(),
            interrupts: interrupts.clone(),
            ..TaskView::default()
        };
        let asking = !interrupts.is_empty() && place.at == At::Head;
        Ok(Some(StateView {
            values,
            next: if asking { vec!["ask".to_owned()] } else { Vec::new() },
            checkpoint: CheckpointRef { ns: String::new(), id: Some(last.checkpoints[0].id) },
            parent: None,
            step: last.checkpoints[0].step,
            source: Source::Loop,
            metadata: Map::new(),
            run: last.run,
            created: last.at,
            tasks: if asking { vec![task] } else { Vec::new() },
        }))
    }

    async fn history(
        &self,
        thread: ThreadId,
        query: HistoryQuery,
    ) -> Result<Vec<StateView>, Refusal> {
        let asked =
            CheckpointQuery { before: query.before, max: query.max, ..CheckpointQuery::default() };
        let mut states = Vec::new();
        for found in self.store.checkpoints(thread, asked).await? {
            let place = Place { ns: String::new(), at: At::Checkpoint(found.checkpoint.id) };
            states.extend(self.state(thread, place, Subgraphs::Closed).await?);
        }
        Ok(states)
    }

    async fn update(&self, _: ThreadId, update: Update) -> Result<CheckpointRef, Refusal> {
        let node = update.as_node.unwrap_or_default();
        Err(Refusal::bad_request("update_unfit", format!("there is no node `{node}`")))
    }

    async fn compact(&self, thread: ThreadId) -> Result<u64, Refusal> {
        Ok(self.store.prune(thread, Keep::Latest).await?)
    }

    async fn migrate(&self, migrate: Migrate) -> Result<Migrated, Refusal> {
        let threads = vec![json!({ "actor": migrate.upkeep.actor, "thread": migrate.thread })];
        Ok(Migrated { version: "2".to_owned(), threads, ..Migrated::default() })
    }

    async fn cut(&self, cut: Cut) -> Result<Cutting, Refusal> {
        Ok(Cutting { threads: cut.unused.as_secs() / 86_400, ..Cutting::default() })
    }

    async fn follow(&self, follow: Follow) -> Result<Parts, Refusal> {
        let Follow { thread, run, after, wanted: _ } = follow;
        let (store, news) = (Arc::clone(&self.store), self.news.subscribe());
        let batches = stream::unfold(Some((store, news, after)), move |state| async move {
            let (store, mut news, after) = state?;
            loop {
                news.borrow_and_update();
                let told = store.events(thread, run, after, 100).await.unwrap();
                if let Some(last) = told.last() {
                    let ended = run.is_some() && told.iter().any(|told| told.event.kind == "ended");
                    let next = (!ended).then_some((store, news, last.id));
                    return Some((told, next));
                }
                // The run may have ended before what is asked for.
                let known = match run {
                    Some(run) => store.run(run).await.unwrap(),
                    None => None,
                };
                if known.is_some_and(|run| run.status.is_over()) {
                    return None;
                }
                news.changed().await.ok()?;
            }
        });
        let parts = batches.flat_map(|told| stream::iter(told.into_iter().map(|it| Ok(part(it)))));
        Ok(Box::pin(parts))
    }
}

fn part(told: Told) -> Part {
    let Told { id, run, event } = told;
    let Event { at, kind, detail } = event;
    let what = match kind.as_str() {
        "values" => {
            What::Values { values: serde_json::from_value(detail).unwrap(), interrupts: Vec::new() }
        }
        "ended" => What::Ended {
            status: serde_json::from_value(detail["ended"].clone()).unwrap(),
            reason: detail["reason"].as_str().map(str::to_owned),
        },
        _ => What::Told { subject: Subject::Custom, data: detail },
    };
    Part { id: Some(id), early: None, run, at, ns: String::new(), what }
}
