//! Nodes that fail, and what becomes of their runs.

use std::time::Duration;

use agentry_core::Clock as _;
use agentry_engine::node::from_fn;
use agentry_engine::{
    END, Graph, GraphBuilder, Node, NodeError, NodeOutput, NodeSettings, Reducer, START,
};
use serde_json::json;

use crate::world::{Backend, Status, World, over_both_stores};

over_both_stores! {
    a_transient_failure_is_tried_again
    a_long_backoff_is_parked
    a_failed_node_fails_the_run
    a_panic_is_a_failed_task
    a_node_that_takes_too_long_is_given_up
    a_run_is_cancelled_at_its_deadline
}

fn single(settings: NodeSettings, node: impl Node + 'static) -> GraphBuilder {
    Graph::builder("g")
        .channel("result", Reducer::Last)
        .node_with("a", settings, node)
        .edge(START, "a")
        .edge("a", END)
}

/// Fails until its third attempt.
fn stubborn() -> impl Node + 'static {
    from_fn(|cx, _| {
        let attempt = cx.attempt();
        Box::pin(async move {
            if attempt < 3 {
                return Err(NodeError::transient("not yet"));
            }
            Ok(NodeOutput::done().set("result", attempt))
        })
    })
}

async fn a_transient_failure_is_tried_again(backend: Backend) {
    let settings = NodeSettings::default().attempts(3, Duration::ZERO);
    let process = World::new(backend).start(&single(settings, stubborn()).build().unwrap());
    let run = process.submit("k").await;
    assert_eq!(process.values(run).await, json!({ "result": 3 }));
    let kinds = process.event_kinds(run).await;
    assert_eq!((kinds["task.started"], kinds["task.retried"], kinds["task.finished"]), (1, 2, 1));
    process.stop().await;
}

async fn a_long_backoff_is_parked(backend: Backend) {
    let settings = NodeSettings::default().attempts(3, Duration::from_secs(60));
    let process = World::new(backend).start(&single(settings, stubborn()).build().unwrap());
    let run = process.submit("k").await;
    for pause in [60, 60] {
        let wake_at = process.world.clock.now().plus(Duration::from_secs(pause));
        let parked = process.until(run, |it| it.row.wake_at == Some(wake_at)).await;
        assert_eq!(parked.row.status, Status::Parked);
        process.advance(Duration::from_secs(pause));
    }
    assert_eq!(process.values(run).await, json!({ "result": 3 }));
    process.stop().await;
}

async fn a_failed_node_fails_the_run(backend: Backend) {
    let check = async |builder: GraphBuilder, expected: &str| {
        let process = World::new(backend).start(&builder.build().unwrap());
        let run = process.submit("k").await;
        assert_eq!(process.reason(run).await, (Status::Failed, expected.to_owned()));
        process.stop().await;
    };
    let tries = || NodeSettings::default().attempts(2, Duration::ZERO);
    check(single(tries(), stubborn()), "`a` failed: not yet").await;
    let fatal = from_fn(|_, _| Box::pin(async { Err(NodeError::fatal("broken")) }));
    check(single(tries(), fatal), "`a` failed: broken").await;
    let stray = from_fn(|_, _| Box::pin(async { Ok(NodeOutput::done().set("typo", 1)) }));
    check(
        single(tries(), stray),
        "`a` failed: it wrote to `typo`, which the graph does not declare",
    )
    .await;
    let wrong = from_fn(|_, _| Box::pin(async { Ok(NodeOutput::done().append("result", 1)) }));
    check(
        single(tries(), wrong),
        "`a` wrote to `result`: it is not a list that grows; set it instead of appending",
    )
    .await;
}

async fn a_panic_is_a_failed_task(backend: Backend) {
    let node = from_fn(|cx, _| {
        let attempt = cx.attempt();
        Box::pin(async move {
            assert!(attempt > 1, "boom");
            Ok(NodeOutput::done().set("result", "survived"))
        })
    });
    let settings = NodeSettings::default().attempts(2, Duration::ZERO);
    let process = World::new(backend).start(&single(settings, node).build().unwrap());
    let run = process.submit("k").await;
    assert_eq!(process.values(run).await, json!({ "result": "survived" }));
    process.stop().await;
}

async fn a_node_that_takes_too_long_is_given_up(backend: Backend) {
    let (started, mut starts) = tokio::sync::mpsc::channel(8);
    let node = from_fn(move |cx, _| {
        let started = started.clone();
        Box::pin(async move {
            assert_eq!(cx.remaining(), Some(Duration::from_secs(20)));
            started.send(()).await.unwrap();
            std::future::pending().await
        })
    });
    let settings = NodeSettings::default().attempts(2, Duration::ZERO);
    let settings = settings.deadline(Duration::from_secs(20));
    let process = World::new(backend).start(&single(settings, node).build().unwrap());
    let run = process.submit("k").await;
    for _ in 0..2 {
        starts.recv().await.unwrap();
        process.advance(Duration::from_secs(20));
    }
    let reason = "`a` failed: it took longer than 20000 ms".to_owned();
    assert_eq!(process.reason(run).await, (Status::Failed, reason));
    process.stop().await;
}

async fn a_run_is_cancelled_at_its_deadline(backend: Backend) {
    let node = from_fn(|cx, _| {
        let moment = cx.now().plus(Duration::from_secs(1_000));
        Box::pin(async move { Ok(NodeOutput::ask(agentry_engine::Ask::until("never", moment))) })
    });
    let program = single(NodeSettings::default(), node).build().unwrap();
    let process = World::new(backend).start(&program);
    let mut new = process.handle.new_run("g", "k", Default::default()).unwrap();
    let deadline = new.created.plus(Duration::from_secs(100));
    new.deadline = Some(deadline);
    let run = new.id;
    process.handle.submit_run(new).await.unwrap();
    let parked = process.until_parked(run).await;
    assert_eq!(parked.row.wake_at, Some(deadline));
    process.advance(Duration::from_secs(100));
    let (status, reason) = process.reason(run).await;
    assert_eq!(status, Status::Cancelled);
    assert_eq!(reason, "it was not done by its deadline");
    process.stop().await;
}
