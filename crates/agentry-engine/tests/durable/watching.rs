//! What whoever watches hears, and what a run is summed up to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentry_core::meter::Metered;
use agentry_core::thread::Commit;
use agentry_core::{MicroUsd, Trace};
use agentry_engine::node::from_fn;
use agentry_engine::observe::{Came, End, Execution, Observer, Outcome, Task, TaskEnd};
use agentry_engine::{
    END, Graph, NodeError, NodeOutput, NodeSettings, Program, Reducer, Registry, START, Settings,
    Worker,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::world::{Backend, Process, World, over_both_stores};
use agentry_testkit::{Crash, CrashStore};

over_both_stores! {
    executions_are_told_from_claim_to_rest_and_name_each_other
    a_run_is_summed_up_from_its_log
}

/// Fails once, pays for two calls, writes, and then asks.
fn program() -> Program {
    let work = from_fn(|cx, _| {
        Box::pin(async move {
            cx.meter().add(Metered {
                calls: 1,
                input_tokens: 10,
                output_tokens: 2,
                cost: MicroUsd(30),
            });
            if cx.attempt() == 1 {
                return Err(NodeError::transient("not yet"));
            }
            let parent = cx.call_trace().map(|trace| trace.parent);
            Ok(NodeOutput::done().set("draft", "x".repeat(70_000)).set("parent", json!(parent)))
        })
    });
    let ask = from_fn(|cx, _| {
        Box::pin(async move {
            let answer = cx.interrupt("publish?")?;
            Ok(NodeOutput::done().set("answer", answer))
        })
    });
    let settings = NodeSettings { attempts_max: 2, backoff_ms: 0, ..NodeSettings::default() };
    let graph = Graph::builder("g")
        .channel("draft", Reducer::Last)
        .channel("parent", Reducer::Last)
        .channel("answer", Reducer::Last);
    let graph = graph.node_with("work", settings, work).node("ask", ask);
    graph.edge(START, "work").edge("work", "ask").edge("ask", END).build().unwrap()
}

/// Writes down what it hears, and traces everything.
#[derive(Default)]
struct Ear {
    heard: Mutex<Vec<String>>,
    spans: Mutex<Vec<(Trace, Option<Trace>)>>,
}

impl Ear {
    fn note(&self, what: String) {
        self.heard.lock().unwrap().push(what);
    }
}

impl Observer for Ear {
    fn claimed(&self, execution: &Execution) {
        assert!(execution.ready.is_some(), "there was something to do");
        self.note(format!("claimed {}", execution.graph));
        self.spans.lock().unwrap().push((execution.span(), execution.before()));
    }

    fn begins(&self, execution: &Execution, task: &Task) -> Option<Trace> {
        self.note(format!("begins {} {}", task.node, task.attempt));
        Some(execution.span().child(42))
    }

    fn ended(&self, _: &Execution, task: &Task, end: &TaskEnd<'_>) {
        assert_eq!(task.trace.map(|trace| trace.span), Some(42));
        let came = match end.came {
            Came::Done => "done".to_owned(),
            Came::Cached => "cached".to_owned(),
            Came::Asks => "asks".to_owned(),
            Came::Failed(why) => format!("failed: {why}"),
            Came::Aborted => "aborted".to_owned(),
        };
        self.note(format!("{} {came}", task.node));
    }

    fn committed(&self, _: &Execution, _: &Commit, _: Duration) {}

    fn let_go(&self, _: &Execution, outcome: &Outcome) {
        let runs: Vec<_> = outcome.runs.iter().map(|(_, status)| *status).collect();
        assert!(outcome.commits > 0);
        assert_eq!(outcome.end, End::Rests);
        self.note(format!("let go {runs:?}"));
    }
}

fn start(world: &World, ear: &Arc<Ear>) -> Process {
    let program = program();
    let store = Arc::new(CrashStore::new(Arc::clone(&world.disk), Crash::Never));
    let registry = Registry::new().with(program.clone());
    let ports = (Arc::clone(&store) as _, Arc::clone(&world.archive));
    let clock = Arc::clone(&world.clock);
    let worker = Worker::with(ports, registry, clock, Settings::default());
    let worker = worker.observed(Arc::clone(ear) as Arc<dyn Observer>);
    let (handle, shutdown) = (worker.handle(), CancellationToken::new());
    #[expect(clippy::disallowed_methods, reason = "the test owns the process's handle")]
    let worker = tokio::spawn(worker.run(shutdown.clone()));
    Process { world: world.clone(), graph: "g".to_owned(), store, handle, shutdown, worker }
}

async fn executions_are_told_from_claim_to_rest_and_name_each_other(backend: Backend) {
    let ear = Arc::new(Ear::default());
    let process = start(&World::new(backend), &ear);
    let run = process.submit("k").await;
    let asked = process.until_parked(run).await.interrupts[0].id.clone();
    process.answer(run, &asked, json!("yes")).await;
    let values = process.values(run).await;
    assert_eq!(values["answer"], "yes");
    assert_eq!(values["parent"], json!(42), "calls are below the attempt");
    process.stop().await;
    let heard = ear.heard.lock().unwrap().clone();
    let expected = [
        "claimed g",
        "begins work 1",
        "work failed: not yet",
        "begins work 2",
        "work done",
        "begins ask 1",
        "ask asks",
        "let go [Interrupted]",
        "claimed g",
        "begins ask 1",
        "ask done",
        "let go [Success]",
    ];
    assert_eq!(heard, expected);
    let spans = ear.spans.lock().unwrap().clone();
    assert_eq!(spans[0].1, None);
    assert_eq!(spans[1].1, Some(spans[0].0), "the second execution names the first");
}

async fn a_run_is_summed_up_from_its_log(backend: Backend) {
    let ear = Arc::new(Ear::default());
    let process = start(&World::new(backend), &ear);
    let run = process.submit("k").await;
    let asked = process.until_parked(run).await.interrupts[0].id.clone();
    let summary = process.handle.summary(run).await.unwrap().unwrap();
    let shown = json!(summary);
    assert_eq!(shown["progress"], "escalated");
    let tasks = json!({
        "known": 2, "pending": 0, "in_progress": 0, "completed": 1, "failed": 0, "escalated": 1,
        "done_percent": 50,
    });
    assert_eq!(shown["tasks"], tasks, "{shown:#}");
    process.answer(run, &asked, json!("yes")).await;
    process.finished(run).await;
    let shown = json!(process.handle.summary(run).await.unwrap().unwrap());
    assert_eq!(
        (&shown["progress"], &shown["tasks"]["done_percent"]),
        (&json!("completed"), &json!(100))
    );
    let nodes = shown["nodes"].as_array().unwrap();
    let work = nodes.iter().find(|node| node["node"] == "work").unwrap();
    let spent = json!({ "calls": 2, "input_tokens": 20, "output_tokens": 4, "micro_usd": 60 });
    assert_eq!(
        (&work["spent"], &shown["spent"]),
        (&spent, &spent),
        "a failed attempt has cost as well"
    );
    assert_eq!(
        (&work["visits"], &work["attempts"], &work["failures"]),
        (&json!(1), &json!(2), &json!(1))
    );
    assert_eq!(work["last_error"], "not yet");
    assert!(work["written"]["draft"].as_u64().unwrap() >= 70_000, "{work}");
    assert_eq!(shown["large_changes"][0]["channel"], "draft");
    let advice: Vec<_> =
        shown["advice"].as_array().unwrap().iter().map(|it| it["kind"].clone()).collect();
    assert!(
        advice.contains(&json!("retries")) && advice.contains(&json!("large_state")),
        "{advice:?}"
    );
    process.stop().await;
}
