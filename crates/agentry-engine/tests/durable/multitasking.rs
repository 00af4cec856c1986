//! Several runs on one thread.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::run::Answer;
use agentry_core::thread::{Multitask, RunStatus};
use agentry_core::threads::{At, CheckpointQuery, Signalled, Submitted};
use agentry_core::{Clock as _, Failure as _, RunId, ThreadId};
use agentry_engine::durable::Wish;
use agentry_engine::durable::handle::WAITING_MAX;
use agentry_engine::machine::{Command, Request, Resume};
use agentry_engine::node::from_fn;
use agentry_engine::{Ask, END, Goto, Graph, NodeOutput, Program, Reducer, START};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::world::{Backend, Process, World, over_both_stores, patiently};

over_both_stores! {
    none_of_twenty_updates_is_lost_when_they_wait_their_turn
    none_of_twenty_updates_is_lost_when_others_are_refused
    no_more_runs_wait_on_a_thread_than_may
    an_interrupted_run_leaves_what_it_has_committed
    a_run_that_is_rolled_back_leaves_nothing
    a_pending_run_is_cancelled_before_it_begins
    of_two_resumes_one_wins
    a_run_whose_beginning_was_cut_is_cancelled_and_nothing_is_lost
    a_delayed_run_begins_when_it_may
    a_run_that_cannot_begin_says_why
    a_run_from_a_checkpoint_that_cannot_begin_leaves_the_thread_where_it_is
    a_run_on_a_graph_that_does_not_know_the_thread_fails
}

const THREAD: [u8; 16] = [7; 16];

fn thread() -> ThreadId {
    ThreadId::from_bytes(THREAD)
}

fn run_id(process: &Process, number: u8) -> RunId {
    RunId::new(process.world.clock.now(), [number; 10])
}

fn input(number: u64) -> Request {
    Request::Input(Map::from_iter([("seen".to_owned(), json!([number]))]))
}

fn wish(process: &Process, number: u8, multitask: Multitask) -> Wish {
    let (run, now) = (run_id(process, number), process.world.clock.now());
    let wish = Wish::new(run, thread(), &process.graph, input(u64::from(number)), now);
    Wish { multitask, ..wish }
}

async fn submit(process: &Process, number: u8, multitask: Multitask) -> RunId {
    let wish = wish(process, number, multitask);
    match process.handle.submit(wish).await.unwrap() {
        Submitted::Created(run) => run,
        other => panic!("{other:?}"),
    }
}

async fn ends(process: &Process, run: RunId) -> RunStatus {
    patiently(process.handle.wait(run)).await.unwrap().unwrap().status
}

async fn seen(process: &Process) -> Value {
    let run = process.handle.archive().runs(agentry_core::threads::RunQuery {
        thread: Some(thread()),
        max: 1,
        ..Default::default()
    });
    let run = run.await.unwrap()[0].id;
    json!(process.world.load(run).await.values)["seen"].clone()
}

/// Reads what is there, lets others run, and writes.
fn counting() -> Program {
    let node = from_fn(|_, state| {
        let before = state["seen"].as_array().map_or(0, Vec::len);
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(NodeOutput::done().set("count", before))
        })
    });
    let graph =
        Graph::builder("g").channel("seen", Reducer::Append).channel("count", Reducer::Last);
    graph.node("a", node).edge(START, "a").edge("a", END).build().unwrap()
}

async fn none_of_twenty_updates_is_lost_when_they_wait_their_turn(backend: Backend) {
    let process = Arc::new(World::new(backend).start(&counting()));
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..20 {
        let process = Arc::clone(&process);
        callers.spawn(async move { submit(&process, number, Multitask::Enqueue).await });
    }
    let runs = callers.join_all().await;
    for run in runs {
        assert_eq!(ends(&process, run).await, RunStatus::Success);
    }
    let mut found: Vec<u64> = serde_json::from_value(seen(&process).await).unwrap();
    found.sort_unstable();
    assert_eq!(found, (0..20).collect::<Vec<_>>());
}

async fn no_more_runs_wait_on_a_thread_than_may(backend: Backend) {
    let process = World::new(backend).start(&asking());
    let first = submit(&process, 1, Multitask::Enqueue).await;
    assert_eq!(ends(&process, first).await, RunStatus::Interrupted);
    let later = |number: usize| {
        let bytes = (number as u64).to_be_bytes();
        let mut random = [0; 10];
        random[2..].copy_from_slice(&bytes);
        let now = process.world.clock.now();
        let request = input(number as u64);
        let wish = Wish::new(RunId::new(now, random), thread(), &process.graph, request, now);
        Wish { not_before: Some(now.plus(Duration::from_secs(3600))), ..wish }
    };
    let keyed = |number| Wish { key: Some("once".to_owned()), ..later(number) };
    let kept = process.handle.submit(keyed(0)).await.unwrap();
    let Submitted::Created(kept) = kept else { panic!("{kept:?}") };
    for number in 1..WAITING_MAX {
        let submitted = process.handle.submit(later(number)).await.unwrap();
        assert!(matches!(submitted, Submitted::Created(_)), "{number}: {submitted:?}");
    }
    let refused = process.handle.submit(later(WAITING_MAX)).await.unwrap_err();
    assert_eq!(refused.code().0, "thread_queue_full");
    let again = process.handle.submit(keyed(WAITING_MAX)).await.unwrap();
    assert_eq!(again, Submitted::Existing(kept), "what was taken before needs no room");
    let new = Wish { key: Some("new".to_owned()), ..later(WAITING_MAX) };
    let refused = process.handle.submit(new).await.unwrap_err();
    assert_eq!(refused.code().0, "thread_queue_full");
    let other = Wish { thread: ThreadId::from_bytes([8; 16]), ..later(WAITING_MAX + 1) };
    assert!(process.handle.submit(other).await.is_ok(), "others do not notice");
    let answer = process.handle.submit(resume(&process, 2)).await.unwrap();
    let Submitted::Created(answer) = answer else { panic!("{answer:?}") };
    assert_eq!(
        ends(&process, answer).await,
        RunStatus::Success,
        "a question is answered all the same"
    );
    process.stop().await;
}

async fn none_of_twenty_updates_is_lost_when_others_are_refused(backend: Backend) {
    let process = Arc::new(World::new(backend).start(&counting()));
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..20 {
        let process = Arc::clone(&process);
        callers.spawn(async move {
            loop {
                let wish = wish(&process, number, Multitask::Reject);
                match process.handle.submit(wish).await.unwrap() {
                    Submitted::Created(run) => return ends(&process, run).await,
                    Submitted::Busy { active } => drop(ends(&process, active).await),
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    let ended = patiently(callers.join_all()).await;
    assert!(ended.iter().all(|status| *status == RunStatus::Success), "{ended:?}");
    let mut found: Vec<u64> = serde_json::from_value(seen(&process).await).unwrap();
    found.sort_unstable();
    assert_eq!(found, (0..20).collect::<Vec<_>>());
}

/// Takes its input, then waits at the gate unless it is open.
fn gated(gate: &watch::Receiver<bool>) -> Program {
    let gate = gate.clone();
    let node = from_fn(move |cx, _| {
        let mut gate = gate.clone();
        Box::pin(async move {
            tokio::select! {
                () = cx.cancelled().cancelled() => {}
                _ = gate.wait_for(|open| *open) => {}
            }
            Ok(NodeOutput::done())
        })
    });
    let graph = Graph::builder("g").channel("seen", Reducer::Append);
    graph.node("a", node).edge(START, "a").edge("a", END).build().unwrap()
}

async fn an_interrupted_run_leaves_what_it_has_committed(backend: Backend) {
    let (open, gate) = watch::channel(false);
    let process = World::new(backend).start(&gated(&gate));
    let first = submit(&process, 1, Multitask::Enqueue).await;
    process.until(first, |it| it.run.status == RunStatus::Running).await;
    let second = submit(&process, 2, Multitask::Interrupt).await;
    assert_eq!(ends(&process, first).await, RunStatus::Cancelled);
    open.send_replace(true);
    assert_eq!(ends(&process, second).await, RunStatus::Success);
    assert_eq!(seen(&process).await, json!([1, 2]));
    process.stop().await;
}

async fn a_run_that_is_rolled_back_leaves_nothing(backend: Backend) {
    let (open, gate) = watch::channel(true);
    let process = World::new(backend).start(&gated(&gate));
    let before = submit(&process, 1, Multitask::Enqueue).await;
    assert_eq!(ends(&process, before).await, RunStatus::Success);
    open.send_replace(false);
    let first = submit(&process, 2, Multitask::Enqueue).await;
    process.until(first, |it| it.run.status == RunStatus::Running).await;
    let second = submit(&process, 3, Multitask::Rollback).await;
    assert_eq!(ends(&process, first).await, RunStatus::RolledBack);
    open.send_replace(true);
    assert_eq!(ends(&process, second).await, RunStatus::Success);
    assert_eq!(seen(&process).await, json!([1, 3]));
    process.stop().await;
}

async fn a_pending_run_is_cancelled_before_it_begins(backend: Backend) {
    let (open, gate) = watch::channel(false);
    let process = World::new(backend).start(&gated(&gate));
    let first = submit(&process, 1, Multitask::Enqueue).await;
    process.until(first, |it| it.run.status == RunStatus::Running).await;
    let second = submit(&process, 2, Multitask::Enqueue).await;
    assert_eq!(process.cancel(second, false).await, Signalled::Accepted);
    assert_eq!(ends(&process, second).await, RunStatus::Cancelled);
    assert_eq!(process.world.load(first).await.run.status, RunStatus::Running);
    open.send_replace(true);
    assert_eq!(ends(&process, first).await, RunStatus::Success);
    assert_eq!(seen(&process).await, json!([1]));
    process.stop().await;
}

fn asking() -> Program {
    let node = from_fn(|cx, _| {
        Box::pin(async move {
            let Some(reply) = cx.answer("ok") else {
                return Ok(NodeOutput::ask(Ask::question("ok", "?")));
            };
            Ok(NodeOutput::done().set("seen", json!([reply.value])))
        })
    });
    let graph = Graph::builder("g").channel("seen", Reducer::Last);
    graph.node("a", node).edge(START, "a").edge("a", END).build().unwrap()
}

fn resume(process: &Process, number: u8) -> Wish {
    let command = Command { resume: Some(Resume::One(json!(number))), ..Command::default() };
    Wish { request: Request::Command(command), ..wish(process, number, Multitask::Enqueue) }
}

async fn of_two_resumes_one_wins(backend: Backend) {
    let process = World::new(backend).start(&asking());
    let first = submit(&process, 1, Multitask::Enqueue).await;
    assert_eq!(ends(&process, first).await, RunStatus::Interrupted);
    let (two, three) = (resume(&process, 2), resume(&process, 3));
    let (two, three) = tokio::join!(process.handle.submit(two), process.handle.submit(three));
    let (won, lost) = match (two.unwrap(), three.unwrap()) {
        (Submitted::Created(won), lost) | (lost, Submitted::Created(won)) => (won, lost),
        other => panic!("{other:?}"),
    };
    let Submitted::AlreadyAnswered { answer: Answer { value, .. }, .. } = lost else {
        panic!("{lost:?}")
    };
    assert_eq!(ends(&process, won).await, RunStatus::Success);
    assert_eq!(seen(&process).await, json!([value]), "the loser was told what counts");
    process.stop().await;
}

async fn a_run_whose_beginning_was_cut_is_cancelled_and_nothing_is_lost(backend: Backend) {
    let process = World::new(backend).start(&asking());
    let first = submit(&process, 1, Multitask::Enqueue).await;
    assert_eq!(ends(&process, first).await, RunStatus::Interrupted);
    let second = process.handle.submit(resume(&process, 2)).await.unwrap();
    let Submitted::Created(second) = second else { panic!("{second:?}") };
    assert_eq!(ends(&process, second).await, RunStatus::Success);
    let third = submit(&process, 3, Multitask::Enqueue).await;
    assert_eq!(ends(&process, third).await, RunStatus::Interrupted);
    assert!(process.handle.compact(thread()).await.unwrap() > 0);
    assert_eq!(process.cancel(third, true).await, Signalled::Accepted);
    let ended = process.until(third, |it| it.run.status != RunStatus::Interrupted).await.run;
    assert_eq!(ended.status, RunStatus::Cancelled);
    let reason = ended.reason.unwrap_or_default();
    assert!(reason.contains("the history before it was cut"), "{reason}");
    let view = process.handle.state(thread(), "", At::Head).await.unwrap().unwrap();
    assert_eq!(json!(view.values)["seen"], json!([3]), "what its input wrote");
    process.stop().await;
}

async fn a_delayed_run_begins_when_it_may(backend: Backend) {
    let process = World::new(backend).start(&counting());
    let not_before = Some(process.world.clock.now().plus(Duration::from_secs(60)));
    let later = Wish { not_before, ..wish(&process, 1, Multitask::Enqueue) };
    let Submitted::Created(later) = process.handle.submit(later).await.unwrap() else {
        panic!("it is new")
    };
    let now = submit(&process, 2, Multitask::Enqueue).await;
    assert_eq!(ends(&process, now).await, RunStatus::Success);
    assert_eq!(process.world.load(later).await.run.status, RunStatus::Pending);
    process.advance(Duration::from_secs(60));
    assert_eq!(ends(&process, later).await, RunStatus::Success);
    assert_eq!(seen(&process).await, json!([2, 1]));
    process.stop().await;
}

async fn a_run_that_cannot_begin_says_why(backend: Backend) {
    let process = World::new(backend).start(&counting());
    let go_on = Wish { request: Request::GoOn, ..wish(&process, 1, Multitask::Enqueue) };
    let Submitted::Created(run) = process.handle.submit(go_on).await.unwrap() else {
        panic!("it is new")
    };
    let ended = patiently(process.handle.wait(run)).await.unwrap().unwrap();
    let reason = "the thread has no state to go on from; give it input";
    assert_eq!((ended.status, ended.reason.as_deref()), (RunStatus::Error, Some(reason)));
    let next = submit(&process, 2, Multitask::Enqueue).await;
    assert_eq!(ends(&process, next).await, RunStatus::Success);
    process.stop().await;
}

async fn a_run_from_a_checkpoint_that_cannot_begin_leaves_the_thread_where_it_is(backend: Backend) {
    let process = World::new(backend).start(&counting());
    let first = submit(&process, 1, Multitask::Enqueue).await;
    assert_eq!(ends(&process, first).await, RunStatus::Success);
    let query = CheckpointQuery { max: 99, ..CheckpointQuery::default() };
    let oldest = process.world.archive.checkpoints(thread(), query).await.unwrap().pop().unwrap();
    let command = Command { goto: vec![Goto::node("nowhere")], ..Command::default() };
    let from = Wish {
        request: Request::Command(command),
        from: Some(oldest.checkpoint.id),
        ..wish(&process, 2, Multitask::Enqueue)
    };
    let Submitted::Created(refused) = process.handle.submit(from).await.unwrap() else {
        panic!("it is new")
    };
    assert_eq!(ends(&process, refused).await, RunStatus::Error);
    let view = process.handle.state(thread(), "", At::Head).await.unwrap().unwrap();
    assert_eq!(json!(view.values), json!({ "seen": [1], "count": 1 }));
    process.stop().await;
}

async fn a_run_on_a_graph_that_does_not_know_the_thread_fails(backend: Backend) {
    let world = World::new(backend);
    let process = world.start(&asking());
    let first = submit(&process, 1, Multitask::Enqueue).await;
    assert_eq!(ends(&process, first).await, RunStatus::Interrupted);
    process.stop().await;
    let done = from_fn(|_, _| Box::pin(async { Ok(NodeOutput::done()) }));
    let other = Graph::builder("other").node("x", done).edge(START, "x").edge("x", END);
    let process = world.start(&other.build().unwrap());
    let second = submit(&process, 2, Multitask::Enqueue).await;
    let ended = patiently(process.handle.wait(second)).await.unwrap().unwrap();
    assert_eq!(ended.status, RunStatus::Error);
    let reason = ended.reason.unwrap_or_default();
    assert!(reason.contains("which the graph does not have"), "{reason}");
    let asked = &world.questions().await;
    assert_eq!((asked.len(), asked[0].run), (1, first), "the thread is as it was");
    process.stop().await;
}
