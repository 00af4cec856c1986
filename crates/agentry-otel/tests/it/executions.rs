//! Spans of executions, against the same collector.

use std::time::Duration;

use agentry_core::run::Fence;
use agentry_core::thread::RunStatus;
use agentry_core::trace::Sampling;
use agentry_core::{RunId, ThreadId, Timestamp, Trace};
use agentry_engine::observe::{Came, End, Execution, Observer as _, Outcome, Task, TaskEnd};
use agentry_otel::{Settings, Tracer};
use serde_json::{Value, json};

use crate::export::{Collector, attributes, sent};

const NOON: Timestamp = Timestamp::from_seconds(43_200);

fn execution(fence: u64) -> Execution {
    Execution {
        thread: ThreadId::new(NOON, [7; 10]),
        fence: Fence(fence),
        tenant: "main".into(),
        graph: "review".into(),
        at: NOON,
        ready: None,
    }
}

/// An attempt that failed, one that was done, and the end.
fn perform(tracer: &Tracer, execution: &Execution, status: RunStatus) -> Vec<Option<Trace>> {
    let run = RunId::new(NOON, [9; 10]);
    let mut traces = Vec::new();
    for (number, came) in [(0, Came::Failed("a secret of the caller")), (1, Came::Done)] {
        let attempt = number as u32 + 1;
        let (ns, node) = ("".into(), "write".into());
        let task = Task { run, ns, node, attempt, at: NOON, number, trace: None };
        let trace = tracer.begins(execution, &task);
        traces.push(trace);
        let end = TaskEnd { at: NOON.plus(Duration::from_millis(20)), came };
        tracer.ended(execution, &Task { trace, ..task }, &end);
    }
    let at = NOON.plus(Duration::from_millis(50));
    let runs = vec![(run, status)];
    tracer.let_go(execution, &Outcome { at, end: End::Rests, commits: 3, runs });
    traces
}

fn named<'a>(spans: &'a [Value], name: &str) -> Vec<&'a Value> {
    spans.iter().filter(|span| span["name"] == name).collect()
}

#[tokio::test]
async fn each_execution_is_a_trace_that_links_to_the_one_before() {
    let collector = Collector::start(&[]).await;
    let settings = collector.settings();
    let spans = sent(collector, settings, |tracer| {
        perform(tracer, &execution(1), RunStatus::Interrupted);
        perform(tracer, &execution(2), RunStatus::Success);
    })
    .await;
    assert_eq!(spans.len(), 6);
    let roots = named(&spans, "invoke_workflow review");
    let [first, second] = roots.as_slice() else { panic!("{roots:?}") };
    assert_ne!(first["traceId"], second["traceId"]);
    assert!(first.get("links").is_none() && first.get("parentSpanId").is_none(), "{first}");
    let link = json!([{ "traceId": first["traceId"], "spanId": first["spanId"], "flags": 1 }]);
    assert_eq!(second["links"], link);
    let of_root = attributes(&second["attributes"]);
    let text = |value: &str| json!({ "stringValue": value });
    assert_eq!(of_root["gen_ai.operation.name"], text("invoke_workflow"));
    assert_eq!(of_root["gen_ai.workflow.name"], text("review"));
    assert_eq!(of_root["agentry.commits"], json!({ "intValue": "3" }));
    assert_eq!(of_root["agentry.end"], text("rests"));
    let nodes = named(&spans, "node write");
    let below: Vec<_> = nodes.iter().filter(|node| node["traceId"] == second["traceId"]).collect();
    assert_eq!(below.len(), 2);
    for node in &below {
        assert_eq!(node["parentSpanId"], second["spanId"]);
    }
    assert_ne!(below[0]["spanId"], below[1]["spanId"]);
    assert_eq!(below[0]["status"], json!({ "code": 2, "message": "node_failed" }));
    assert_eq!(attributes(&below[1]["attributes"])["agentry.attempt"], json!({ "intValue": "2" }));
    assert!(!json!(spans).to_string().contains("secret"), "what nodes say is in no span");
}

#[tokio::test]
async fn what_is_not_sampled_is_not_sent_and_calls_below_it_hear_so() {
    let collector = Collector::start(&[]).await;
    let settings = Settings { sampling: Sampling::ratio(0.0), ..collector.settings() };
    let mut traces = Vec::new();
    let spans = sent(collector, settings, |tracer| {
        traces = perform(tracer, &execution(1), RunStatus::Error);
    })
    .await;
    assert_eq!(spans, Vec::<Value>::new());
    assert!(traces.iter().all(|trace| trace.is_some_and(|trace| !trace.is_sampled)));
}
