//! Cancellation, shutdown, and what the next worker finds.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::Clock as _;
use agentry_core::run::Message;
use agentry_core::threads::{Claim, Signal, Signalled, life};
use agentry_engine::durable::Settings;
use agentry_engine::node::from_fn;
use agentry_engine::{Ask, END, Graph, NodeOutput, Program, Reducer, START};
use agentry_testkit::Crash;
use serde_json::{Map, json};
use tokio::sync::mpsc;

use crate::world::{Backend, Status, World, over_both_stores, patiently};

over_both_stores! {
    a_running_task_is_told_of_the_cancellation
    a_task_that_ignores_the_cancellation_is_dropped
    a_parked_run_is_cancelled
    a_shutdown_lets_running_tasks_end
    a_restarted_worker_takes_its_runs_at_once
    another_worker_takes_them_when_the_lease_is_over
    a_claim_that_a_former_life_has_sent_is_over_with_its_lease
    what_was_running_goes_on_although_a_message_has_come
}

/// One node that says when it starts.
fn program<F>(body: F) -> (Program, mpsc::Receiver<u32>)
where
    F: AsyncBody,
{
    let (started, starts) = mpsc::channel(8);
    let body = Arc::new(body);
    let node = from_fn(move |cx, _| {
        let (started, body) = (started.clone(), Arc::clone(&body));
        Box::pin(async move {
            started.send(cx.attempt()).await.unwrap();
            body.run(cx).await
        })
    });
    let program = Graph::builder("g")
        .channel("result", Reducer::Last)
        .node("a", node)
        .edge(START, "a")
        .edge("a", END)
        .build();
    (program.unwrap(), starts)
}

trait AsyncBody: Send + Sync + 'static {
    fn run<'a>(
        &'a self,
        cx: &'a agentry_engine::NodeContext,
    ) -> futures_util::future::BoxFuture<'a, Result<NodeOutput, agentry_engine::NodeError>>;
}

/// Waits for the cancellation and says so.
struct Polite;
/// Says that it has heard of the cancellation, and never ends.
struct Deaf(mpsc::Sender<()>);
/// Ends when the gate is opened.
struct Gated(tokio::sync::watch::Receiver<bool>);

impl AsyncBody for Polite {
    fn run<'a>(
        &'a self,
        cx: &'a agentry_engine::NodeContext,
    ) -> futures_util::future::BoxFuture<'a, Result<NodeOutput, agentry_engine::NodeError>> {
        Box::pin(async move {
            cx.cancelled().cancelled().await;
            Ok(NodeOutput::done().event("cleaned.up", json!({})))
        })
    }
}

impl AsyncBody for Deaf {
    fn run<'a>(
        &'a self,
        cx: &'a agentry_engine::NodeContext,
    ) -> futures_util::future::BoxFuture<'a, Result<NodeOutput, agentry_engine::NodeError>> {
        Box::pin(async move {
            cx.cancelled().cancelled().await;
            self.0.send(()).await.unwrap();
            std::future::pending().await
        })
    }
}

impl AsyncBody for Gated {
    fn run<'a>(
        &'a self,
        _: &'a agentry_engine::NodeContext,
    ) -> futures_util::future::BoxFuture<'a, Result<NodeOutput, agentry_engine::NodeError>> {
        let mut gate = self.0.clone();
        Box::pin(async move {
            gate.wait_for(|open| *open).await.unwrap();
            Ok(NodeOutput::done().set("result", "through"))
        })
    }
}

async fn a_running_task_is_told_of_the_cancellation(backend: Backend) {
    let (program, mut starts) = program(Polite);
    let process = World::new(backend).start(&program);
    let run = process.submit("k").await;
    patiently(starts.recv()).await.unwrap();
    assert_eq!(process.cancel(run, false).await, Signalled::Accepted);
    assert_eq!(process.reason(run).await, (Status::Cancelled, "enough".to_owned()));
    assert_eq!(process.event_kinds(run).await["cleaned.up"], 1);
    process.stop().await;
}

async fn a_task_that_ignores_the_cancellation_is_dropped(backend: Backend) {
    let (heard, mut hears) = mpsc::channel(1);
    let (program, mut starts) = program(Deaf(heard));
    let process = World::new(backend).start(&program);
    let run = process.submit("k").await;
    patiently(starts.recv()).await.unwrap();
    process.cancel(run, false).await;
    patiently(hears.recv()).await.unwrap();
    process.advance(Duration::from_secs(5));
    assert_eq!(process.reason(run).await, (Status::Cancelled, "enough".to_owned()));
    process.stop().await;
}

async fn a_parked_run_is_cancelled(backend: Backend) {
    let node = from_fn(|_, _| Box::pin(async { Ok(NodeOutput::ask(Ask::question("q", "?"))) }));
    let program = Graph::builder("g").node("a", node).edge(START, "a").edge("a", END).build();
    let process = World::new(backend).start(&program.unwrap());
    let run = process.submit("k").await;
    process.until_parked(run).await;
    process.cancel(run, false).await;
    assert_eq!(process.reason(run).await, (Status::Cancelled, "enough".to_owned()));
    assert_eq!(process.world.questions().await, vec![]);
    process.stop().await;
}

async fn a_shutdown_lets_running_tasks_end(backend: Backend) {
    let (open, gate) = tokio::sync::watch::channel(false);
    let (program, mut starts) = program(Gated(gate));
    let world = World::new(backend);
    let process = world.start(&program);
    let run = process.submit("k").await;
    patiently(starts.recv()).await.unwrap();
    process.shutdown.cancel();
    open.send_replace(true);
    assert_eq!(process.values(run).await, json!({ "result": "through" }));
    process.stop().await;
}

async fn a_restarted_worker_takes_its_runs_at_once(backend: Backend) {
    let (open, gate) = tokio::sync::watch::channel(false);
    let (program, mut starts) = program(Gated(gate));
    let world = World::new(backend);
    let process = world.start(&program);
    let run = process.submit("k").await;
    patiently(starts.recv()).await.unwrap();
    process.kill().await;

    let process = world.start(&program);
    assert_eq!(patiently(starts.recv()).await, Some(1), "a crash is not a failed attempt");
    open.send_replace(true);
    assert_eq!(process.values(run).await, json!({ "result": "through" }));
    process.stop().await;
}

async fn another_worker_takes_them_when_the_lease_is_over(backend: Backend) {
    let (open, gate) = tokio::sync::watch::channel(false);
    let (program, mut starts) = program(Gated(gate));
    let world = World::new(backend);
    let process = world.start(&program);
    let run = process.submit("k").await;
    patiently(starts.recv()).await.unwrap();
    process.kill().await;

    let settings = Settings { name: "other".to_owned(), ..Settings::default() };
    let process = world.start_with(&program, Crash::Never, settings);
    let waiting = process.submit("second").await;
    patiently(starts.recv()).await.unwrap();
    let first = world.load(run).await;
    assert_eq!((first.row.seq.0, first.row.status), (1, Status::Ready), "it is not free yet");
    process.advance(Duration::from_secs(10));
    patiently(starts.recv()).await.unwrap();
    open.send_replace(true);
    assert_eq!(process.values(run).await, json!({ "result": "through" }));
    process.values(waiting).await;
    process.stop().await;
}

/// Nobody drives such a thread, and its successor's lease must not keep it.
async fn a_claim_that_a_former_life_has_sent_is_over_with_its_lease(backend: Backend) {
    let (_open, gate) = tokio::sync::watch::channel(true);
    let (program, _starts) = program(Gated(gate));
    let world = World::new(backend);
    let of = |nonce: &str| Settings { life: nonce.to_owned(), ..Settings::default() };
    let process = world.start_with(&program, Crash::Never, of("1"));
    process.kill().await;
    let process = world.start_with(&program, Crash::Never, of("2"));
    // When a run is over, its successor has begun.
    let first = process.submit("first").await;
    process.values(first).await;

    let (now, run) = (world.clock.now(), program.single_run("late", Map::new(), world.clock.now()));
    let late = run.id;
    world.disk.submit(run).await.unwrap();
    let claim = Claim {
        worker: life("main", "1"),
        now,
        lease_until: now.plus(Settings::default().lease),
        threads_max: 1,
        programs: vec![program.pinned()],
    };
    assert_eq!(world.disk.claim(claim).await.unwrap().len(), 1);
    process.advance(Duration::from_secs(10));
    assert_eq!(process.values(late).await, json!({ "result": "through" }));
    process.stop().await;
}

async fn what_was_running_goes_on_although_a_message_has_come(backend: Backend) {
    let (open, gate) = tokio::sync::watch::channel(false);
    let (program, mut starts) = program(Gated(gate));
    let world = World::new(backend);
    let process = world.start(&program);
    let run = process.submit("k").await;
    patiently(starts.recv()).await.unwrap();
    process.kill().await;
    let message = Message {
        id: "1".to_owned(),
        channel: "result".to_owned(),
        payload: json!("meanwhile"),
        at: world.clock.now(),
    };
    world.disk.signal(run.own_thread(), Signal::Message(message)).await.unwrap();
    let process = world.start(&program);
    patiently(starts.recv()).await.unwrap();
    open.send_replace(true);
    assert_eq!(process.values(run).await, json!({ "result": "through" }));
    process.stop().await;
}
