//! Graphs in nodes of which nothing is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentry_core::threads::CheckpointQuery;
use agentry_engine::effect::Undone;
use agentry_engine::graph::{Memory, Returns};
use agentry_engine::node::from_fn;
use agentry_engine::{
    Ask, Class, END, Graph, GraphBuilder, NodeError, NodeOutput, NodeSettings, Program, Reducer,
    START,
};
use serde_json::json;
use tokio::sync::watch;

use crate::world::{Backend, Process, Status, World, over_both_stores, patiently};

over_both_stores! {
    a_graph_that_keeps_nothing_comes_to_what_it_would_come_to
    what_a_graph_that_keeps_nothing_did_is_not_done_again
    a_graph_that_keeps_nothing_cannot_ask
}

fn channels(name: &str) -> GraphBuilder {
    Graph::builder(name).channel("seen", Reducer::Append).channel("sum", Reducer::Sum)
}

fn around(inner: Program) -> Program {
    let first = from_fn(|_, _| {
        Box::pin(async { Ok(NodeOutput::done().append("seen", "first").update("sum", 1)) })
    });
    channels("g")
        .node("first", first)
        .subgraph_with("inner", NodeSettings::default(), (inner, Memory::Off, Returns::Added))
        .edge(START, "first")
        .edge("first", "inner")
        .edge("inner", END)
        .build()
        .unwrap()
}

/// `one` and `two` side by side, then `three`, which waits at the gate; each has an effect.
fn inner(done: &Arc<AtomicUsize>, gate: &watch::Sender<bool>) -> Program {
    let node = |name: &'static str, waits: bool| {
        let (done, gate) = (Arc::clone(done), gate.subscribe());
        from_fn(move |cx, _| {
            let (done, mut gate) = (Arc::clone(&done), gate.clone());
            Box::pin(async move {
                let act = async |_| {
                    done.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, Undone>(json!(name))
                };
                cx.effect("act", Class::Once, act).await?;
                if waits {
                    gate.wait_for(|open| *open).await.map_err(NodeError::fatal)?;
                }
                cx.tell("custom", name);
                Ok(NodeOutput::done().append("seen", name).update("sum", 10))
            })
        })
    };
    channels("inner")
        .node("one", node("one", false))
        .node("two", node("two", false))
        .node("three", node("three", true))
        .fan_out(START, ["one", "two"])
        .join(["one", "two"], "three")
        .edge("three", END)
        .build()
        .unwrap()
}

async fn outcome(process: &Process, run: agentry_core::RunId) {
    let expected = json!({ "seen": ["first", "one", "two", "three"], "sum": 31 });
    assert_eq!(process.values(run).await, expected);
}

async fn a_graph_that_keeps_nothing_comes_to_what_it_would_come_to(backend: Backend) {
    let (done, gate) = (Arc::default(), watch::Sender::new(true));
    let process = World::new(backend).start(&around(inner(&done, &gate)));
    let run = process.submit("k").await;
    outcome(&process, run).await;
    let query = CheckpointQuery { max: 99, ..CheckpointQuery::default() };
    let found = process.world.archive.checkpoints(run.own_thread(), query).await.unwrap();
    assert!(found.iter().all(|found| found.checkpoint.ns.is_empty()), "{found:?}");
    assert_eq!(process.event_kinds(run).await["custom"], 3);
    process.stop().await;
}

async fn what_a_graph_that_keeps_nothing_did_is_not_done_again(backend: Backend) {
    let (done, gate) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(false));
    let world = World::new(backend);
    let process = world.start(&around(inner(&done, &gate)));
    let run = process.submit("k").await;
    let acted = async {
        while world.disk.load(run.own_thread()).await.unwrap().unwrap().journal.len() < 3
            || done.load(Ordering::SeqCst) < 3
        {
            tokio::task::yield_now().await;
        }
        // The last one is known to be done when its node waits at the gate: nothing is written any more.
        let ready = |effect: &agentry_core::run::Effect| {
            matches!(effect, agentry_core::run::Effect::Done { .. })
        };
        while !world.disk.load(run.own_thread()).await.unwrap().unwrap().journal.values().all(ready)
        {
            tokio::task::yield_now().await;
        }
    };
    patiently(acted).await;
    process.kill().await;
    gate.send_replace(true);
    let process = world.start(&around(inner(&done, &gate)));
    outcome(&process, run).await;
    assert_eq!(done.load(Ordering::SeqCst), 3, "what was done is not done again");
    process.stop().await;
}

async fn a_graph_that_keeps_nothing_cannot_ask(backend: Backend) {
    let asks = from_fn(|_, _| Box::pin(async { Ok(NodeOutput::ask(Ask::question("ok", "?"))) }));
    let inner = channels("inner").node("ask", asks).edge(START, "ask").edge("ask", END);
    let process = World::new(backend).start(&around(inner.build().unwrap()));
    let run = process.submit("k").await;
    let reason =
        "`inner` failed: a graph that keeps nothing cannot wait for anybody; give it a memory";
    assert_eq!(process.reason(run).await, (Status::Failed, reason.to_owned()));
    process.stop().await;
}
