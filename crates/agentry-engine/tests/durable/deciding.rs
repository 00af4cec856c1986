//! Decisions that the store refuses, and runs that are taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agentry_core::run::Answer;
use agentry_core::thread::EventId;
use agentry_core::threads::{Signal, Signalled};
use agentry_core::{Clock as _, RunId};
use agentry_engine::node::from_fn;
use agentry_engine::{Ask, END, Graph, NodeError, NodeOutput, Program, Reducer, START};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::world::{Backend, Process, Status, World, over_both_stores};

over_both_stores! {
    a_refused_decision_leaves_siblings_running
    what_came_to_an_end_in_a_refused_decision_counts
    a_run_that_is_taken_back_ends_once
    whoever_reads_the_log_learns_that_a_run_is_to_end
}

const SOON: Duration = Duration::from_millis(900);

/// One node asks for a moment, the other one waits at the gate; how often that one began.
fn pair(gate: &watch::Sender<bool>) -> (Program, Arc<AtomicUsize>) {
    let starts = Arc::new(AtomicUsize::new(0));
    let (began, gate) = (Arc::clone(&starts), gate.subscribe());
    let slow = from_fn(move |_, _| {
        let (began, mut gate) = (Arc::clone(&began), gate.clone());
        Box::pin(async move {
            began.fetch_add(1, Ordering::SeqCst);
            gate.wait_for(|open| *open).await.map_err(NodeError::fatal)?;
            Ok(NodeOutput::done().set("slow", "done"))
        })
    });
    let asks = from_fn(|cx, _| {
        Box::pin(async move {
            let Some(reply) = cx.answer("ok") else {
                let ask = Ask::question("ok", "?").deadline(cx.now().plus(SOON), "late");
                return Ok(NodeOutput::ask(ask));
            };
            Ok(NodeOutput::done().set("result", reply.value.clone()))
        })
    });
    let program = Graph::builder("g")
        .channel("result", Reducer::Last)
        .channel("slow", Reducer::Last)
        .node("ask", asks)
        .node("slow", slow)
        .fan_out(START, ["ask", "slow"])
        .join(["ask", "slow"], END)
        .open_ended();
    (program.build().unwrap(), starts)
}

/// Both run; then the deadline passes, and the answer comes behind the worker's back.
async fn answered_in_secret(process: &Process) -> RunId {
    let world = &process.world;
    let run = process.submit("k").await;
    let loaded = process.until(run, |it| !it.interrupts.is_empty()).await;
    let interrupt = loaded.interrupts[0].id.clone();
    let (value, actor) = (json!("in time"), "person:ada".to_owned());
    let answer = Answer { value, actor, at: world.clock.now() };
    world.clock.advance(SOON);
    let signal = Signal::Answer { interrupt, answer, audit: Vec::new() };
    assert_eq!(world.disk.signal(run.own_thread(), signal).await, Ok(Signalled::Accepted));
    run
}

async fn a_refused_decision_leaves_siblings_running(backend: Backend) {
    let gate = watch::Sender::new(false);
    let (program, starts) = pair(&gate);
    let process = World::new(backend).start(&program);
    let run = answered_in_secret(&process).await;
    // The clock tells the worker that the question has expired; the store knows better.
    process.handle.nudge();
    process.until(run, |it| it.interrupts.is_empty()).await;
    gate.send_replace(true);
    assert_eq!(process.values(run).await, json!({ "result": "in time", "slow": "done" }));
    assert_eq!(starts.load(Ordering::SeqCst), 1);
    process.stop().await;
}

async fn what_came_to_an_end_in_a_refused_decision_counts(backend: Backend) {
    let gate = watch::Sender::new(false);
    let (program, starts) = pair(&gate);
    let process = World::new(backend).start(&program);
    let run = answered_in_secret(&process).await;
    // The task's end is the first thing that makes the worker look at the clock.
    gate.send_replace(true);
    assert_eq!(process.values(run).await, json!({ "result": "in time", "slow": "done" }));
    assert_eq!(starts.load(Ordering::SeqCst), 1);
    process.stop().await;
}

async fn ends(process: &Process, run: RunId) -> Vec<Value> {
    let thread = process.world.archive.run(run).await.unwrap().unwrap().thread;
    let told = process.world.archive.events(thread, Some(run), EventId::default(), 999).await;
    let told = told.unwrap().into_iter().map(|told| told.event);
    let told = told.filter(|event| matches!(event.kind.as_str(), "run.ending" | "run.ended"));
    told.map(|event| json!([event.kind, event.detail["status"]])).collect()
}

async fn a_run_that_is_taken_back_ends_once(backend: Backend) {
    let gate = watch::Sender::new(false);
    let (program, _) = pair(&gate);
    let process = World::new(backend).start(&program);
    let run = process.submit("k").await;
    process.until(run, |it| !it.interrupts.is_empty()).await;
    process.cancel(run, true).await;
    gate.send_replace(true);
    assert_eq!(process.reason(run).await.0, Status::Cancelled);
    let ends = ends(&process, run).await;
    let ended: Vec<_> = ends.iter().filter(|end| end[0] == "run.ended").collect();
    assert_eq!(ended, [&json!(["run.ended", "rolled_back"])]);
    process.stop().await;
}

async fn whoever_reads_the_log_learns_that_a_run_is_to_end(backend: Backend) {
    let gate = watch::Sender::new(false);
    let (program, _) = pair(&gate);
    let process = World::new(backend).start(&program);
    let mut new = process.handle.new_run("g", "k", serde_json::Map::new()).unwrap();
    let deadline = process.world.clock.now().plus(Duration::from_secs(60));
    new.deadline = Some(deadline);
    let run = new.id;
    process.handle.submit_run(new).await.unwrap();
    process.until(run, |it| !it.interrupts.is_empty()).await;
    process.advance(Duration::from_secs(60));
    let mut changes = process.store.changes();
    let told = async {
        loop {
            changes.mark_unchanged();
            if ends(&process, run).await == [json!(["run.ending", "timeout"])] {
                return;
            }
            changes.changed().await.unwrap();
        }
    };
    crate::world::patiently(told).await;
    gate.send_replace(true);
    assert_eq!(process.reason(run).await.0, Status::Cancelled);
    let expected = [json!(["run.ending", "timeout"]), json!(["run.ended", "timeout"])];
    assert_eq!(ends(&process, run).await, expected);
    let thread = run.own_thread();
    let told = process.world.archive.events(thread, None, EventId::default(), 99).await.unwrap();
    let began = told.into_iter().find(|told| told.event.kind == "run.started").unwrap();
    assert_eq!(began.event.detail["deadline"], json!(deadline));
    process.stop().await;
}
