//! Telling somebody that a run is over, as a small graph of its own: it waits for the end, reads what is to be told, and sends it
//! until it is taken. So a promise is as durable as any run, and is kept by whichever instance is there.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::run::{Message, Values};
use agentry_core::thread::{Absent, Run};
use agentry_core::threads::{ThreadStore, Threads};
use agentry_core::{Clock, RunId, ThreadId, Timestamp};
use agentry_engine::durable::{Elsewhere, Handle, Settings, Wish, Worker};
use agentry_engine::effect::{Error as EffectError, Undone};
use agentry_engine::observe::Observer;
use agentry_engine::version::Policy;
use agentry_engine::{
    Ask, Class, END, Error, Graph, Node, NodeContext, NodeError, NodeOutput, NodeSettings, Program,
    Reducer, Registry, Request, START,
};
use agentry_server::engine::Engine;
use agentry_server::{Promise, Refusal, Then, Webhooks, announcement};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tracing::warn;

use super::Hooks;
use super::webhooks;

pub(crate) const GRAPH: &str = "agentry.webhook";
/// Nobody's: no caller sees these threads.
const TENANT: &str = "agentry.webhooks";
/// A run that is not there so long after the promise never began.
const BEGINS_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks whether the run is over, which a hint makes needless: as long as it has lasted, within these.
const LOOK_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// With pauses that double from a second up to a quarter of an hour: about an hour in all.
const TRIES: u32 = 13;
const PAUSE_MS: u64 = 1_000;
const PAUSE_MS_MAX: u64 = 900_000;
/// Reading what a run has left.
const READING_MS_MAX: u64 = 60_000;
const SENDING_MS_MAX: u64 = 20_000;
/// Promises that are kept at the same time.
const TOGETHER_MAX: usize = 64;
const OVER: &str = "over";

/// The server's side of it.
pub(crate) struct Promises {
    hooks: Arc<Hooks>,
    handle: Handle,
}

/// A worker that keeps promises, and whom to make them to.
pub(crate) fn open(
    (store, archive): (Arc<dyn ThreadStore>, Arc<dyn Threads>),
    (engine, hooks): (Arc<dyn Engine>, Hooks),
    (clock, settings): (Arc<dyn Clock>, Settings),
    observer: Arc<dyn Observer>,
) -> Result<(Worker, Promises), Error> {
    let hooks = Arc::new(hooks);
    let program = program(&archive, &engine, &hooks)?;
    let settings = Settings { threads_max: TOGETHER_MAX, elsewhere: Elsewhere::Any, ..settings };
    let registry = Registry::new().with(program);
    let worker = Worker::with((store, archive), registry, clock, settings).observed(observer);
    let handle = worker.handle();
    Ok((worker, Promises { hooks, handle }))
}

fn program(
    archive: &Arc<dyn Threads>,
    engine: &Arc<dyn Engine>,
    hooks: &Arc<Hooks>,
) -> Result<Program, Error> {
    let patient = |deadline, tries| NodeSettings {
        deadline_ms: Some(deadline),
        attempts_max: tries,
        backoff_ms: PAUSE_MS,
        backoff_max_ms: PAUSE_MS_MAX,
        jitter_ms: 500,
        ..NodeSettings::default()
    };
    let read = Read { archive: Arc::clone(archive), engine: Arc::clone(engine) };
    Graph::builder(GRAPH)
        .on_change(Policy::Migrate)
        .channel("run", Reducer::Last)
        .channel("url", Reducer::Last)
        .channel("deletes", Reducer::Last)
        .channel("promised", Reducer::Last)
        .channel(OVER, Reducer::Last)
        .channel("body", Reducer::Last)
        .node_with("read", patient(READING_MS_MAX, TRIES), read)
        .node_with("remove", patient(READING_MS_MAX, TRIES), Remove(Arc::clone(archive)))
        .node_with("send", patient(SENDING_MS_MAX, TRIES), Send(Arc::clone(hooks)))
        .edge(START, "read")
        .edge("read", "remove")
        .edge("read", "send")
        .edge("remove", END)
        .edge("send", END)
        .build()
}

fn thread_of(run: RunId) -> ThreadId {
    ThreadId::derived(Timestamp::from_millis(0), &format!("{GRAPH}:{run}"))
}

#[async_trait]
impl Webhooks for Promises {
    async fn check(&self, url: &str) -> Result<(), String> {
        self.hooks.check(url)
    }

    async fn promise(&self, promise: Promise) -> Result<(), Refusal> {
        let Promise { run, url, then, at } = promise;
        let input = json!({
            "run": run, "url": url, "deletes": then == Then::Delete, "promised": at,
        });
        let input = match input {
            Value::Object(input) => input,
            _ => Map::new(),
        };
        let key = format!("{GRAPH}:{run}");
        let wish = Wish {
            tenant: TENANT.to_owned(),
            absent: Absent::CreateForRun,
            ..Wish::new(RunId::derived(at, &key), thread_of(run), GRAPH, Request::Input(input), at)
        };
        self.handle.submit(Wish { key: Some(key), ..wish }).await?;
        Ok(())
    }

    async fn hasten(&self, run: RunId) {
        let message = Message {
            id: OVER.to_owned(),
            channel: OVER.to_owned(),
            payload: json!(true),
            at: self.handle.clock().now(),
        };
        if let Err(problem) = self.handle.send(thread_of(run), message).await {
            warn!(run_id = %run, %problem, "that a run is over will be told a little later");
        }
    }
}

fn known<T: serde::de::DeserializeOwned>(state: &Values, name: &str) -> Result<T, NodeError> {
    let value = state.get(name).cloned().unwrap_or_default();
    serde_json::from_value(value)
        .map_err(|problem| NodeError::fatal(format!("`{name}` cannot be read: {problem}")))
}

/// Waits until the run is over, and reads what there is to tell.
struct Read {
    archive: Arc<dyn Threads>,
    engine: Arc<dyn Engine>,
}

#[async_trait]
impl Node for Read {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let promised: Timestamp = known(state, "promised")?;
        let waited = cx.now().since(promised);
        let run: Option<Run> = self.archive.run(known(state, "run")?).await?;
        match run {
            None if waited < BEGINS_WITHIN => Ok(wait(cx, waited)),
            // It never began, or somebody has deleted it.
            None => Ok(NodeOutput::done()),
            Some(run) if !run.status.is_over() => Ok(wait(cx, waited)),
            Some(run) => {
                let body = announcement(self.engine.as_ref(), &run).await;
                let body = body.map_err(|refusal| NodeError::transient(refusal.message()))?;
                Ok(NodeOutput::done().set("body", body))
            }
        }
    }
}

/// A while longer for a run that has lasted longer.
fn wait(cx: &NodeContext, waited: Duration) -> NodeOutput {
    let (least, most) = LOOK_AFTER;
    let mut looks = (0_u64..).map(|number| format!("look-{number}"));
    let next = looks.find(|id| cx.answer(id).is_none()).unwrap_or_default();
    let until = cx.now().plus(waited.clamp(least, most));
    NodeOutput::ask(Ask::message(&next).deadline(until, Value::Null))
}

/// Of a thread that was there for this run alone.
struct Remove(Arc<dyn Threads>);

#[async_trait]
impl Node for Remove {
    async fn run(&self, _: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let thread = state.get("body").and_then(|body| body.get("thread_id")?.as_str());
        let thread: Option<ThreadId> = thread.and_then(|thread| thread.parse().ok());
        if let (true, Some(thread)) = (known(state, "deletes")?, thread) {
            self.0.delete(thread).await?;
        }
        Ok(NodeOutput::done())
    }
}

struct Send(Arc<Hooks>);

#[async_trait]
impl Node for Send {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let Some(body) = state.get("body").filter(|body| !body.is_null()) else {
            return Ok(NodeOutput::done());
        };
        let (run, url): (RunId, String) = (known(state, "run")?, known(state, "url")?);
        let id = run.to_string();
        let body = bytes::Bytes::from(body.to_string());
        let sent = cx.effect("sent", Class::Idempotent, |_| async {
            let message = webhooks::Message { url: &url, id: &id, body };
            match self.0.post(message, cx.now()).await {
                Ok(()) => Ok(Value::Bool(true)),
                Err(untaken) if untaken.again => Err(Undone::NotDone(untaken.reason)),
                Err(untaken) => Err(Undone::Refused(untaken.reason)),
            }
        });
        let (problem, last) = match sent.await {
            Ok(_) => return Ok(NodeOutput::done()),
            Err(EffectError::NotDone(problem)) => (problem, cx.attempt() >= TRIES),
            Err(refused) => (refused.to_string(), true),
        };
        if last {
            warn!(run_id = %run, problem, "nobody could be told that a run is over");
            return Err(NodeError::fatal(problem));
        }
        Err(NodeError::transient(problem))
    }
}
