//! What is seen of runs: their summaries, spans and metrics.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{
    ANSWERS, ASK, CONFIG, PATIENCE, Running, agentry, finish, get, post, wait_for,
};
use crate::watching::listener;

fn start(more: &str) -> Running {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("graphs")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("agentry.toml", &format!("{CONFIG}{more}"));
    write("answers.toml", ANSWERS);
    write("graphs/ask.toml", ASK);
    Running::again(folder)
}

fn begin(server: &Running, body: &Value) -> Value {
    let thread = server.json(&post("/threads", "{}")).1["thread_id"].clone();
    on(server, &thread, body)
}

/// Begins a run and waits for its end.
fn on(server: &Running, thread: &Value, body: &Value) -> Value {
    let thread = thread.as_str().unwrap();
    let path = format!("/threads/{thread}/runs");
    let (status, run) = server.json(&post(&path, body.to_string()));
    assert_eq!(status, 200, "{run}");
    let path = format!("{path}/{}/join", run["run_id"].as_str().unwrap());
    server.exchange(&get(&path));
    run
}

fn hello() -> Value {
    json!({
        "assistant_id": "agent",
        "input": { "messages": [{ "role": "user", "content": "hello" }] },
        "config": { "configurable": { "model": "fast" } },
    })
}

#[test]
fn a_run_says_what_it_did_and_what_it_cost() {
    let server = start("");
    let run = begin(&server, &hello());
    let (thread, id) = (run["thread_id"].as_str().unwrap(), run["run_id"].as_str().unwrap());
    let path = format!("/threads/{thread}/runs/{id}/summary");
    let (status, summary) = server.json(&get(&path));
    assert_eq!(status, 200, "{summary}");
    assert_eq!(
        (&summary["run_id"], &summary["status"], &summary["progress"]),
        (&run["run_id"], &json!("success"), &json!("completed")),
        "{summary:#}"
    );
    assert_eq!(summary["tasks"]["completed"], 1, "{summary:#}");
    let spent = json!({ "calls": 1, "input_tokens": 10, "output_tokens": 5, "micro_usd": 20 });
    assert_eq!((&summary["spent"], &summary["nodes"][0]["spent"]), (&spent, &spent));
    assert!(summary["nodes"][0]["written"]["messages"].as_u64() > Some(0), "{summary:#}");
    // The ledger is written to behind the call.
    let billed = wait_for("the bill", || {
        let (_, summary) = server.json(&get(&path));
        summary["usage"].get(0).cloned()
    });
    assert_eq!((&billed["name"], &billed["calls"]), (&json!("fast"), &json!(1)), "{billed}");

    let url = format!("http://{}", server.address);
    let said = |more: &[&str]| {
        let mut command = agentry(server.folder.path());
        command.args(more).args(["runs", "--url", &url, "show", id]);
        let output = finish(command);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = said(&[]);
    assert!(shown.contains("progress completed, 1 of 1 tasks"), "{shown}");
    assert!(shown.contains("1 calls, 10 + 5 tokens, $0.000020"), "{shown}");
    let shown: Value = serde_json::from_str(&said(&["--json"])).unwrap();
    assert_eq!(shown["summary"]["spent"], spent);

    let unknown = format!("/threads/{thread}/runs/{thread}/summary");
    let (status, refused) = server.json(&get(&unknown));
    assert_eq!((status, &refused["code"]), (404, &json!("run_not_found")));
}

#[test]
fn metrics_count_runs_nodes_and_questions() {
    let server = start("");
    let asked = begin(&server, &json!({ "assistant_id": "ask", "input": { "topic": "otters" } }));
    begin(&server, &hello());
    let check = |line: &str| {
        wait_for(line, || {
            let metrics = server.exchange(&get("/metrics"));
            metrics.lines().any(|it| it == line).then_some(())
        });
    };
    check(r#"agentry_runs_total{graph="ask",outcome="interrupted"} 1"#);
    check(r#"agentry_runs_total{graph="agent",outcome="success"} 1"#);
    check(r#"agentry_node_seconds_count{graph="agent",node="model"} 1"#);
    check(r#"agentry_node_attempts_total{end="asks"} 1"#);
    check(r#"agentry_interrupts_total{event="opened"} 1"#);
    check("agentry_interrupts_open 1");
    check(r#"agentry_threads{state="interrupted"} 1"#);
    check("agentry_threads_claimed 0");
    check("agentry_effects_total 1");
    let answer = json!({
        "assistant_id": "ask", "command": { "resume": { "decision": "approve" } },
    });
    on(&server, &asked["thread_id"], &answer);
    check(r#"agentry_interrupts_total{event="answered"} 1"#);
    check("agentry_interrupts_open 0");
    check(r#"agentry_runs_total{graph="ask",outcome="success"} 1"#);
    let metrics = server.exchange(&get("/metrics"));
    assert!(metrics.contains("agentry_queue_seconds_count"), "{metrics}");
}

/// Spans by name, until each of `names` was told as often as it says.
fn spans(
    told: &Receiver<(String, String, Value)>,
    names: &[(&str, usize)],
) -> BTreeMap<String, Vec<Value>> {
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let until = Instant::now() + PATIENCE;
    let complete = |all: &BTreeMap<String, Vec<Value>>| {
        names.iter().all(|(name, count)| all.get(*name).map_or(0, Vec::len) >= *count)
    };
    while !complete(&all) {
        let left = until.saturating_duration_since(Instant::now());
        let (_, _, body) =
            told.recv_timeout(left).unwrap_or_else(|_| panic!("{names:?} in {all:#?}"));
        let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().cloned();
        for span in spans.unwrap_or_default() {
            all.entry(span["name"].as_str().unwrap().to_owned()).or_default().push(span);
        }
    }
    all
}

#[test]
fn a_run_is_one_trace_until_it_waits_and_the_next_one_links_to_it() {
    let (collector, told) = listener();
    let server = start(&format!("[otel]\nendpoint = \"{collector}\"\n"));
    let asked = begin(&server, &json!({ "assistant_id": "ask", "input": { "topic": "otters" } }));
    let answer = json!({
        "assistant_id": "ask", "command": { "resume": { "decision": "approve" } },
    });
    on(&server, &asked["thread_id"], &answer);
    begin(&server, &hello());
    let expected = [
        ("invoke_workflow ask", 2),
        ("node approve", 2),
        ("node publish", 1),
        ("invoke_workflow agent", 1),
        ("node model", 1),
        ("chat fast", 1),
    ];
    let spans = spans(&told, &expected);
    let one = |name: &str, number: usize| spans[name][number].clone();
    let (mut first, mut second) = (one("invoke_workflow ask", 0), one("invoke_workflow ask", 1));
    if first.get("links").is_some() {
        std::mem::swap(&mut first, &mut second);
    }
    assert_ne!(first["traceId"], second["traceId"]);
    assert_eq!(
        (&second["links"][0]["traceId"], &second["links"][0]["spanId"]),
        (&first["traceId"], &first["spanId"])
    );
    assert_eq!(one("node publish", 0)["parentSpanId"], second["spanId"]);
    let (node, call) = (one("node model", 0), one("chat fast", 0));
    assert_eq!(node["parentSpanId"], one("invoke_workflow agent", 0)["spanId"]);
    assert_eq!((&call["parentSpanId"], &call["traceId"]), (&node["spanId"], &node["traceId"]));
}

#[test]
fn a_run_from_the_terminal_is_traced_as_well() {
    let (collector, told) = listener();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let model = "[models.default]\ntargets = [\"script/tortoise\"]\n";
    write("agentry.toml", &format!("{CONFIG}{model}[otel]\nendpoint = \"{collector}\"\n"));
    write("answers.toml", ANSWERS);
    let mut command = agentry(folder.path());
    command.args(["run", "agent", "hello"]);
    let output = finish(command);
    assert!(output.status.success(), "{output:?}");
    let spans =
        spans(&told, &[("invoke_workflow agent", 1), ("node model", 1), ("chat default", 1)]);
    let call = &spans["chat default"][0];
    assert_eq!(call["parentSpanId"], spans["node model"][0]["spanId"]);
}
