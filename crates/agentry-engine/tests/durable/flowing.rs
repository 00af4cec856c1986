//! From superstep to superstep.

use std::time::Duration;

use agentry_core::{Clock as _, RunId};
use agentry_engine::durable::Wish;
use agentry_engine::graph::Problem;
use agentry_engine::node::from_fn;
use agentry_engine::{
    Ask, Condition, END, Error, Graph, GraphBuilder, Node, NodeOutput, Reducer, Request, START,
};
use serde_json::json;

use crate::world::{Backend, Status, World, over_both_stores};

over_both_stores! {
    branches_run_in_parallel_and_join
    conditions_choose_the_way
    joins_wait_across_supersteps
    a_circle_ends_at_the_step_limit
    nodes_know_what_the_run_was_given_to_go_by
}

/// Appends its own name to `seen` and sets `last` to it.
fn mark() -> impl Node + 'static {
    from_fn(|cx, _| {
        let name = cx.node().to_owned();
        Box::pin(
            async move { Ok(NodeOutput::done().append("seen", name.clone()).set("last", name)) },
        )
    })
}

/// Appends its own name to `seen`.
fn pass() -> impl Node + 'static {
    from_fn(|cx, _| {
        let name = cx.node().to_owned();
        Box::pin(async move { Ok(NodeOutput::done().append("seen", name)) })
    })
}

fn graph() -> GraphBuilder {
    Graph::builder("g")
        .channel("seen", Reducer::Append)
        .channel("last", Reducer::Last)
        .channel("sum", Reducer::Sum)
}

async fn branches_run_in_parallel_and_join(backend: Backend) {
    // Each branch waits for all others, so they end only if they run at the same time.
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(4));
    let names = ["d", "b", "c", "a"];
    let mut builder = graph().node("first", mark()).node("last", mark()).edge(START, "first");
    for (number, name) in (1..).zip(names) {
        let barrier = barrier.clone();
        let node = from_fn(move |cx, state| {
            let (barrier, name) = (barrier.clone(), cx.node().to_owned());
            Box::pin(async move {
                assert_eq!(state["seen"], json!(["first"]));
                barrier.wait().await;
                let number: i32 = number;
                Ok(NodeOutput::done().append("seen", name).set("sum", number))
            })
        });
        builder = builder.node(name, node);
    }
    let program = builder.fan_out("first", names).join(names, "last").edge("last", END).build();
    let process = World::new(backend).start(&program.unwrap());
    let run = process.submit("k").await;
    let expected =
        json!({ "seen": ["first", "a", "b", "c", "d", "last"], "last": "last", "sum": 10 });
    assert_eq!(process.values(run).await, expected, "writes are merged in the order of names");
    process.stop().await;
}

async fn conditions_choose_the_way(backend: Backend) {
    let program = graph()
        .node("a", mark())
        .node("b", mark())
        .node("c", mark())
        .node("never", mark())
        .edge(START, "a")
        .when("a", Condition::equals("last", "z"), "never")
        .when("a", Condition::equals("seen", "a").at("/0"), "b")
        .when("a", Condition::exists("last"), "never")
        .otherwise("a", "never")
        .choose("b", "pick", ["c", "never"], |state| {
            vec![if state["last"] == "b" { "c" } else { "never" }.to_owned()]
        })
        .when("c", Condition::equals("last", "z"), "never")
        .otherwise("c", END)
        .edge("never", END)
        .build();
    let process = World::new(backend).start(&program.unwrap());
    let run = process.submit("k").await;
    assert_eq!(process.values(run).await, json!({ "seen": ["a", "b", "c"], "last": "c" }));
    process.stop().await;
}

async fn joins_wait_across_supersteps(backend: Backend) {
    let program = ["short", "long1", "long2", "end"]
        .into_iter()
        .fold(graph(), |builder, name| builder.node(name, pass()))
        .fan_out(START, ["short", "long1"])
        .edge("long1", "long2")
        .join(["short", "long2"], "end")
        .edge("end", END)
        .build();
    let process = World::new(backend).start(&program.unwrap());
    let run = process.submit("k").await;
    let values = process.values(run).await;
    assert_eq!(values["seen"], json!(["long1", "short", "long2", "end"]));
    process.stop().await;
}

async fn a_circle_ends_at_the_step_limit(backend: Backend) {
    let program = graph()
        .steps_max(7)
        .node("a", mark())
        .edge(START, "a")
        .when("a", Condition::exists("nothing"), END)
        .otherwise("a", "a")
        .channel("nothing", Reducer::Last)
        .build();
    let process = World::new(backend).start(&program.unwrap());
    let run = process.submit("k").await;
    let reason =
        "not done after 7 supersteps; let an edge lead to END, or raise the limit".to_owned();
    assert_eq!(process.reason(run).await, (Status::Failed, reason));
    process.stop().await;
}

#[test]
fn a_graph_that_cannot_run_says_all_that_is_wrong() {
    let check = |builder: GraphBuilder, expected: &[Problem]| {
        let Err(Error::Graph { problems, .. }) = builder.build() else { panic!("it was built") };
        assert_eq!(problems, expected);
    };
    let named = str::to_owned;
    let good = || graph().node("a", mark()).edge(START, "a").edge("a", END);
    assert!(good().build().is_ok());
    check(good().edge("a", "b"), &[Problem::UnknownNode(named("b"))]);
    check(good().node("b", mark()).edge("b", END), &[Problem::Unreachable(named("b"))]);
    check(good().node("b", mark()).edge("a", "b"), &[Problem::NoEnd(named("b"))]);
    check(good().node("a", mark()), &[Problem::DuplicateNode(named("a"))]);
    check(good().edge(END, "a").edge("a", START), &[Problem::Backwards, Problem::Backwards]);
    check(graph().node("a", mark()).edge("a", END), &[Problem::NoStart]);
    check(
        good().node("", mark()).when("a", Condition::exists("x"), END),
        &[Problem::Name(String::new()), Problem::UnknownChannel(named("x"))],
    );
    check(
        graph().node("a", mark()).edge(START, "a").when("a", Condition::exists("seen"), END),
        &[Problem::NoOtherwise(named("a"))],
    );
}

#[test]
fn the_version_is_the_content() {
    let build = |builder: GraphBuilder| {
        let builder = builder.node("a", mark()).edge(START, "a").edge("a", END);
        builder.build().unwrap().version().to_owned()
    };
    assert_eq!(build(graph()), build(graph()));
    assert_ne!(build(graph()), build(graph().revision(2)));
    assert_ne!(build(graph()), build(graph().channel("more", Reducer::Max)));
    let settings = agentry_engine::NodeSettings::default();
    let slow = Graph::builder("g")
        .node_with("a", settings.deadline(Duration::from_secs(1)), mark())
        .edge(START, "a")
        .edge("a", END);
    assert_ne!(slow.build().unwrap().version(), build(Graph::builder("g")));
}

async fn nodes_know_what_the_run_was_given_to_go_by(backend: Backend) {
    let asks = from_fn(|cx, _| {
        Box::pin(async move {
            let tone = cx.config().get("tone").cloned().unwrap_or_default();
            let Some(reply) = cx.answer("ok") else {
                return Ok(NodeOutput::ask(Ask::question("ok", tone)));
            };
            Ok(NodeOutput::done().set("last", json!([reply.value, tone])))
        })
    });
    let build = || graph().node("a", pass()).edge(START, "a").edge("b", END);
    let program = build().node("b", asks).edge("a", "b").build().unwrap();
    let world = World::new(backend);
    let process = world.start(&program);
    let now = world.clock.now();
    let run = RunId::derived(now, "configured");
    let request = Request::Input(serde_json::Map::new());
    let mut wish = Wish::new(run, run.own_thread(), "g", request, now);
    wish.config.insert("tone".to_owned(), json!("kind"));
    process.handle.submit(wish).await.unwrap();
    let parked = process.until_parked(run).await;
    assert_eq!(parked.interrupts[0].question, Some(json!("kind")));
    process.kill().await;
    let process = world.start(&program);
    process.answer(run, &parked.interrupts[0].id, json!("yes")).await;
    assert_eq!(process.values(run).await["last"], json!(["yes", "kind"]));
    process.stop().await;
}
