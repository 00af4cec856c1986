//! What a thread remembers of effects, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use agentry_core::run::Effect;
use agentry_core::thread::Multitask;
use agentry_core::threads::Submitted;
use agentry_core::{Clock as _, RunId, ThreadId};
use agentry_engine::durable::Wish;
use agentry_engine::effect::Undone;
use agentry_engine::graph::Pace;
use agentry_engine::node::from_fn;
use agentry_engine::{
    Ask, Class, Condition, END, Graph, Node, NodeContext, NodeError, NodeOutput, Program, Reducer,
    Request, START,
};
use serde_json::json;

use crate::world::{Backend, Process, Status, World, over_both_stores};

over_both_stores! {
    a_long_run_forgets_as_it_goes
    what_a_rollback_may_bring_back_is_remembered
    what_a_failed_task_did_is_remembered_until_it_is_done
    without_supersteps_a_slow_task_keeps_what_it_did
}

async fn act(cx: &NodeContext, done: &AtomicUsize) -> Result<(), NodeError> {
    let count = async |_| {
        done.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Undone>(json!("done"))
    };
    cx.effect("act", Class::Once, count).await?;
    Ok(())
}

async fn remembered(process: &Process, thread: ThreadId) -> usize {
    process.world.disk.load(thread).await.unwrap().unwrap().journal.len()
}

/// Until it is known what came of an effect.
async fn acted(process: &Process, thread: ThreadId) {
    loop {
        let journal = process.world.disk.load(thread).await.unwrap().unwrap().journal;
        if journal.values().any(|effect| *effect != Effect::Intended) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn go_on(process: &Process, thread: ThreadId, name: &str, multitask: Multitask) -> RunId {
    let (id, now) = (RunId::derived(process.world.clock.now(), name), process.world.clock.now());
    let wish = Wish { multitask, ..Wish::new(id, thread, "g", Request::GoOn, now) };
    match process.handle.submit(wish).await.unwrap() {
        Submitted::Created(run) => run,
        other => panic!("{other:?}"),
    }
}

/// Acts a hundred times, then asks.
fn circle(done: &Arc<AtomicUsize>) -> Program {
    let done = Arc::clone(done);
    let acts = from_fn(move |cx, _| {
        let done = Arc::clone(&done);
        Box::pin(async move {
            act(cx, &done).await?;
            Ok(NodeOutput::done().update("count", 1))
        })
    });
    let asks = from_fn(|cx, _| {
        Box::pin(async move {
            match cx.answer("ok") {
                Some(_) => Ok(NodeOutput::done()),
                None => Ok(NodeOutput::ask(Ask::question("ok", "?"))),
            }
        })
    });
    let enough = Condition::new("count", agentry_engine::graph::Test::AtLeast(100));
    Graph::builder("g")
        .channel("count", Reducer::Sum)
        .node("act", acts)
        .node("ask", asks)
        .edge(START, "act")
        .when("act", enough, "ask")
        .otherwise("act", "act")
        .edge("ask", END)
        .build()
        .unwrap()
}

async fn a_long_run_forgets_as_it_goes(backend: Backend) {
    let done = Arc::default();
    let process = World::new(backend).start(&circle(&done));
    let run = process.submit("k").await;
    let interrupt = process.until_parked(run).await.interrupts[0].id.clone();
    assert_eq!(remembered(&process, run.own_thread()).await, 0);
    process.answer(run, &interrupt, json!(1)).await;
    assert_eq!(process.values(run).await["count"], 100);
    assert_eq!(done.load(Ordering::SeqCst), 100);
    process.stop().await;
}

/// `a` acts and fails as long as it is to; then `b` asks.
fn shaky(done: &Arc<AtomicUsize>, fails: &Arc<AtomicBool>) -> Program {
    let (done, fails) = (Arc::clone(done), Arc::clone(fails));
    let acts = from_fn(move |cx, _| {
        let (done, fails) = (Arc::clone(&done), Arc::clone(&fails));
        Box::pin(async move {
            act(cx, &done).await?;
            match fails.load(Ordering::SeqCst) {
                true => Err(NodeError::fatal("not now")),
                false => Ok(NodeOutput::done().append("seen", "a")),
            }
        })
    });
    Graph::builder("g")
        .channel("seen", Reducer::Append)
        .node("a", acts)
        .node("b", asking())
        .edge(START, "a")
        .edge("a", "b")
        .edge("b", END)
        .build()
        .unwrap()
}

fn asking() -> impl Node + 'static {
    from_fn(|cx, _| {
        Box::pin(async move {
            match cx.answer("ok") {
                Some(_) => Ok(NodeOutput::done().append("seen", "b")),
                None => Ok(NodeOutput::ask(Ask::question("ok", "?"))),
            }
        })
    })
}

async fn what_a_rollback_may_bring_back_is_remembered(backend: Backend) {
    let (done, fails) = (Arc::default(), Arc::new(AtomicBool::new(true)));
    let process = World::new(backend).start(&shaky(&done, &fails));
    let first = process.submit("k").await;
    let thread = first.own_thread();
    assert_eq!(process.reason(first).await.0, Status::Failed);
    fails.store(false, Ordering::SeqCst);
    let second = go_on(&process, thread, "second", Multitask::Enqueue).await;
    process.until_parked(second).await;
    process.cancel(second, true).await;
    assert_eq!(process.reason(second).await.0, Status::Cancelled);
    let third = go_on(&process, thread, "third", Multitask::Enqueue).await;
    let interrupt = process.until_parked(third).await.interrupts[0].id.clone();
    let (value, actor) = (json!(1), "person:ada".to_owned());
    let answer = agentry_core::run::Answer { value, actor, at: process.world.clock.now() };
    process.handle.answer(thread, &interrupt, answer, Vec::new()).await.unwrap();
    assert_eq!(process.values(third).await, json!({ "seen": ["a", "b"] }));
    assert_eq!(done.load(Ordering::SeqCst), 1, "what was done is not done again");
    assert_eq!(remembered(&process, thread).await, 0);
    process.stop().await;
}

async fn what_a_failed_task_did_is_remembered_until_it_is_done(backend: Backend) {
    let (done, fails) = (Arc::default(), Arc::new(AtomicBool::new(true)));
    let world = World::new(backend);
    let process = world.start(&shaky(&done, &fails));
    let first = process.submit("k").await;
    let thread = first.own_thread();
    assert_eq!(process.reason(first).await.0, Status::Failed);
    process.kill().await;
    let process = world.start(&shaky(&done, &fails));
    let second = go_on(&process, thread, "second", Multitask::Enqueue).await;
    assert_eq!(process.reason(second).await.0, Status::Failed);
    fails.store(false, Ordering::SeqCst);
    let third = go_on(&process, thread, "third", Multitask::Enqueue).await;
    process.until_parked(third).await;
    assert_eq!(done.load(Ordering::SeqCst), 1);
    process.stop().await;
}

/// A slow task has acted when others come and go; the process dies then.
async fn without_supersteps_a_slow_task_keeps_what_it_did(backend: Backend) {
    let (done, gate) = (Arc::new(AtomicUsize::new(0)), tokio::sync::watch::Sender::new(false));
    let program = |gate: tokio::sync::watch::Receiver<bool>| {
        let done = Arc::clone(&done);
        let slow = from_fn(move |cx, _| {
            let (done, mut gate) = (Arc::clone(&done), gate.clone());
            Box::pin(async move {
                act(cx, &done).await?;
                gate.wait_for(|open| *open).await.map_err(NodeError::fatal)?;
                Ok(NodeOutput::done().append("seen", "slow"))
            })
        });
        let quick = |name: &'static str| {
            from_fn(move |_, _| {
                Box::pin(async move { Ok(NodeOutput::done().append("seen", name)) })
            })
        };
        Graph::builder("g")
            .pace(Pace::Free)
            .channel("seen", Reducer::Append)
            .node("slow", slow)
            .node("one", quick("one"))
            .node("two", quick("two"))
            .fan_out(START, ["slow", "one"])
            .edge("one", "two")
            .edge("two", END)
            .edge("slow", END)
            .build()
            .unwrap()
    };
    let world = World::new(backend);
    let process = world.start(&program(gate.subscribe()));
    let run = process.submit("k").await;
    let both = |it: &crate::world::Loaded| it.values.get("seen") == Some(&json!(["one", "two"]));
    process.until(run, both).await;
    crate::world::patiently(acted(&process, run.own_thread())).await;
    process.kill().await;
    gate.send_replace(true);
    let process = world.start(&program(gate.subscribe()));
    assert_eq!(process.values(run).await, json!({ "seen": ["one", "two", "slow"] }));
    assert_eq!(done.load(Ordering::SeqCst), 1, "what was done is not done again");
    process.stop().await;
}
