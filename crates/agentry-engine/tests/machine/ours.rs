//! What no recording shows.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentry_core::run::Values;
use agentry_core::{Clock, Timestamp};
use agentry_engine::graph::{Memory, Pace, Returns};
use agentry_engine::node::from_fn;
use agentry_engine::{
    Around, Door, END, Graph, GraphBuilder, Local, Node, NodeError, NodeOutput, NodeSettings,
    Program, Put, Reducer, Request, Rests, START,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_700_000_000)
    }
}

/// Runs the graph on `input` and answers with its state.
async fn check(builder: GraphBuilder, input: Value, expected: Value) {
    let mut local = Local::recording(built(builder), Arc::new(Still));
    let input = input.as_object().unwrap().clone();
    let run = tokio::time::timeout(Duration::from_secs(30), local.run(Request::Input(input)));
    assert_eq!(run.await.unwrap().unwrap(), &Rests::Idle);
    let state = json!(local.machine().values());
    assert_eq!(state, expected);
    let again = json!(local.reader().unwrap().values());
    assert_eq!(again, expected, "as loaded");
}

fn built(builder: GraphBuilder) -> Program {
    builder.build().unwrap()
}

fn says(word: &'static str) -> impl Node {
    from_fn(move |_, _| {
        Box::pin(async move { Ok(NodeOutput::done().update("log", json!([word]))) })
    })
}

fn graph(name: &str) -> GraphBuilder {
    Graph::builder(name).open_ended().channel_from("log", Reducer::Append, json!([]))
}

#[tokio::test]
async fn without_supersteps_a_fast_branch_does_not_wait_for_a_slow_one() {
    let gate = Arc::new(Notify::new());
    let (slow, fast) = (Arc::clone(&gate), gate);
    let builder = graph("free")
        .pace(Pace::Free)
        .node(
            "slow",
            from_fn(move |_, _| {
                let gate = Arc::clone(&slow);
                Box::pin(async move {
                    gate.notified().await;
                    Ok(NodeOutput::done().update("log", json!(["slow"])))
                })
            }),
        )
        .node("a", says("a"))
        .node(
            "b",
            from_fn(move |_, _| {
                fast.notify_one();
                Box::pin(async move { Ok(NodeOutput::done().update("log", json!(["b"]))) })
            }),
        )
        .node_with("last", NodeSettings::default().deferred(), says("last"))
        .node("both", says("both"))
        .fan_out(START, ["slow", "a"])
        .edge("a", "b")
        .edge("b", "last")
        .join(["slow", "b"], "both");
    let expected = json!({ "log": ["a", "b", "slow", "both", "last"] });
    check(builder, json!({}), expected).await;
}

#[tokio::test]
async fn another_node_runs_in_the_place_of_one_that_failed() {
    let fails = from_fn(|_, _| Box::pin(async { Err(NodeError::fatal("no way")) }));
    let tells = from_fn(|cx, _| {
        let failure = cx.failure().map(|failure| format!("{}: {}", failure.node, failure.message));
        Box::pin(async move { Ok(NodeOutput::done().update("log", json!([failure]))) })
    });
    let builder = graph("handled")
        .node_with("risky", NodeSettings::default().on_error("mend"), fails)
        .node("beside", says("beside"))
        .node("mend", tells)
        .node("after", says("after"))
        .fan_out(START, ["risky", "beside"])
        .edge("risky", END)
        .edge("mend", "after");
    check(builder, json!({}), json!({ "log": ["beside", "risky: no way", "after"] })).await;
}

#[tokio::test]
async fn a_subgraph_gives_back_what_it_added() {
    let outer = |returns| {
        let inner = graph("inner").channel("n", Reducer::Sum).node("in", says("in"));
        let adds = from_fn(|_, _| Box::pin(async { Ok(NodeOutput::done().update("n", 2)) }));
        let inner = inner.node("adds", adds).fan_out(START, ["in", "adds"]);
        let settings = NodeSettings::default();
        graph("outer")
            .channel("n", Reducer::Sum)
            .subgraph_with("sub", settings, (built(inner), Memory::Visit, returns))
            .edge(START, "sub")
    };
    let input = json!({ "log": ["given"], "n": 5 });
    let added = json!({ "log": ["given", "in"], "n": 7 });
    check(outer(Returns::Added), input.clone(), added).await;
    let whole = json!({ "log": ["given", "given", "in"], "n": 12 });
    check(outer(Returns::Whole), input, whole).await;
}

/// Hands in one number, and gives back twice what became of it, or why nothing did.
struct Doubles {
    refuses: bool,
}

impl Door for Doubles {
    fn enter(&self, around: Around<'_>) -> Result<Values, NodeError> {
        if self.refuses {
            return Err(NodeError::fatal("nobody comes in"));
        }
        let n = around.state.get("n").cloned().unwrap_or_default();
        Ok(Values::from([("m".to_owned(), n)]))
    }

    fn leave(&self, _: Around<'_>, inner: &Values) -> Result<Vec<(String, Put)>, NodeError> {
        let m = inner.get("m").and_then(Value::as_i64).unwrap_or_default();
        Ok(vec![("log".to_owned(), Put::Append(vec![(2 * m).into()]))])
    }

    fn mend(&self, _: Around<'_>, message: &str) -> Option<Vec<(String, Put)>> {
        Some(vec![("log".to_owned(), Put::Append(vec![message.into()]))])
    }
}

#[tokio::test]
async fn a_door_maps_both_ways_and_makes_failures_good() {
    let inner = |name: &str, fails: bool| {
        let adds = from_fn(move |cx, state| {
            let seen = (state.get("log").is_some(), cx.above().is_some());
            Box::pin(async move {
                match fails {
                    true => Err(NodeError::fatal("no way")),
                    false => {
                        assert_eq!(seen, (false, true), "a state of its own, below another one");
                        Ok(NodeOutput::done().update("m", 1))
                    }
                }
            })
        });
        // Another one is still under way when it fails.
        let late = from_fn(|_, _| {
            Box::pin(async {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                Ok(NodeOutput::done())
            })
        });
        let inner = Graph::builder(name).channel("m", Reducer::Sum).open_ended();
        built(inner.node("adds", adds).node("late", late).fan_out(START, ["adds", "late"]))
    };
    let settings = NodeSettings::default;
    let builder = graph("outer")
        .channel("n", Reducer::Last)
        .subgraph_through("a", settings(), (inner("a", false), Doubles { refuses: false }))
        .subgraph_through("b", settings(), (inner("b", true), Doubles { refuses: false }))
        .subgraph_through("c", settings(), (inner("c", true), Doubles { refuses: false }))
        .subgraph_through("d", settings(), (inner("d", false), Doubles { refuses: true }))
        .node("after", says("after"))
        .fan_out(START, ["a", "b", "c", "d"])
        .join(["a", "b", "c", "d"], "after");
    let why = "`adds` failed: no way";
    let log = json!([8, why, why, "nobody comes in", "after"]);
    check(builder, json!({ "n": 3 }), json!({ "log": log, "n": 3 })).await;
}

#[tokio::test]
async fn messages_are_replaced_and_removed_by_id() {
    let says = from_fn(|_, _| {
        let messages = json!([
            { "type": "ai", "id": "1", "content": "new" },
            { "type": "remove", "id": "2" },
            { "type": "ai", "id": "4", "content": "added" },
        ]);
        Box::pin(async move { Ok(NodeOutput::done().update("messages", messages)) })
    });
    let builder = Graph::builder("chat")
        .open_ended()
        .channel("messages", Reducer::Messages)
        .node("says", says)
        .edge(START, "says");
    let one = |id: &str| json!({ "type": "human", "id": id, "content": "old" });
    let input = json!({ "messages": [one("1"), one("2"), one("3")] });
    let expected = json!({ "messages": [
        { "type": "ai", "id": "1", "content": "new" }, one("3"),
        { "type": "ai", "id": "4", "content": "added" },
    ] });
    check(builder, input, expected).await;
}

#[tokio::test]
async fn a_cached_node_runs_once_for_the_same_state() {
    let calls = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&calls);
    let node = from_fn(move |_, _| {
        *counted.lock().unwrap() += 1;
        Box::pin(async { Ok(NodeOutput::done().set("x", 1)) })
    });
    let builder = Graph::builder("cached")
        .channel("x", Reducer::Last)
        .node_with("a", NodeSettings::default().cached(None), node)
        .edge(START, "a")
        .edge("a", END);
    let program = built(builder);
    let cache = Arc::new(agentry_engine::cache::InMemory::new(10));
    for _ in 0..2 {
        let mut local = Local::new(program.clone(), Arc::new(Still)).cached(cache.clone());
        assert_eq!(local.run(Request::Input(serde_json::Map::new())).await.unwrap(), &Rests::Idle);
        assert_eq!(json!(local.machine().values()), json!({ "x": 1 }));
    }
    assert_eq!(*calls.lock().unwrap(), 1);
}
