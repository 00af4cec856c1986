//! `agentry runs` over a running instance.

use serde_json::{Value, json};

use crate::support::{ANSWERS, ASK, CONFIG, Running, agentry, finish, post};

fn start() -> Running {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("graphs")).unwrap();
    for (name, text) in
        [("agentry.toml", CONFIG), ("answers.toml", ANSWERS), ("graphs/ask.toml", ASK)]
    {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    Running::again(folder)
}

/// Exit code, and what was said on stdout.
fn runs(server: &Running, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = agentry(server.folder.path());
    command.arg("runs").arg("--url").arg(format!("http://{}", server.address)).args(arguments);
    let output = finish(command);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn said(server: &Running, arguments: &[&str]) -> Value {
    let (code, said) = runs(server, &[&["--json"], arguments].concat());
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("{arguments:?}: {said}"))
}

fn begin(server: &Running, graph: &str, input: &Value) -> Value {
    let body = json!({ "assistant_id": graph, "input": input, "if_not_exists": "create" });
    let thread = server.json(&post("/threads", "{}")).1["thread_id"].clone();
    let path = format!("/threads/{}/runs", thread.as_str().unwrap());
    server.json(&post(&path, body.to_string())).1
}

fn join(server: &Running, run: &Value) -> String {
    let (thread, id) = (run["thread_id"].as_str().unwrap(), run["run_id"].as_str().unwrap());
    server.exchange(&crate::support::get(&format!("/threads/{thread}/runs/{id}/join")))
}

#[test]
fn a_run_that_asks_is_found_answered_and_forked() {
    let server = start();
    let run = begin(&server, "ask", &json!({ "topic": "otters" }));
    join(&server, &run);
    let id = run["run_id"].as_str().unwrap();
    let listed = said(&server, &["list", "--status", "interrupted"]);
    assert_eq!(listed[0]["run_id"], id, "{listed}");
    let (code, shown) = runs(&server, &["show", id]);
    assert_eq!(code, Some(0));
    assert!(
        shown.contains("asks") && shown.contains("about otters?") && shown.contains("approve"),
        "{shown}"
    );
    let forked = said(&server, &["fork", id]);
    assert_ne!(forked["thread_id"], run["thread_id"]);
    let resumed = said(&server, &["resume", id, "--answer", r#"{"decision": "approve"}"#]);
    join(&server, &resumed);
    let shown = said(&server, &["show", resumed["run_id"].as_str().unwrap()]);
    assert_eq!(
        (&shown["status"], &shown["state"]["values"]["published"]),
        (&json!("success"), &json!(true))
    );
    let (code, _) = runs(&server, &["resume", id, "--answer", "late"]);
    assert_eq!(code, Some(1), "nothing is asked any more");
    let history = server.json(&crate::support::get(&format!(
        "/threads/{}/history",
        run["thread_id"].as_str().unwrap()
    )));
    let first =
        history.1.as_array().unwrap().last().unwrap()["checkpoint"]["checkpoint_id"].clone();
    let again = said(&server, &["fork", id, "--checkpoint", first.as_str().unwrap()]);
    assert_ne!(again["thread_id"], run["thread_id"]);
}

#[test]
fn a_run_is_cancelled() {
    let server = start();
    let run = begin(&server, "agent", &json!({ "messages": "dawdle" }));
    let id = run["run_id"].as_str().unwrap();
    assert_eq!(said(&server, &["cancel", id])["cancelled"], true);
    assert_eq!(said(&server, &["show", id])["status"], "interrupted");
    let (code, _) = runs(&server, &["cancel", id]);
    assert_eq!(code, Some(1), "it is over");
    let (code, _) = runs(&server, &["show", "00000000-0000-0000-0000-000000000000"]);
    assert_eq!(code, Some(1));
}

#[test]
fn tenants_do_not_see_each_other_and_a_scope_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let key = |name: &str, tenant: &str, scope: &str| {
        let secret = format!("{name}-0123456789abcdef0123456789");
        std::fs::write(folder.path().join(format!("{name}.key")), &secret).unwrap();
        let entry = format!(
            "[[keys]]\nname = \"{name}\"\ntenant = \"{tenant}\"\nsecret = \"file:{name}.key\"\nscopes = [\"{scope}\"]\n"
        );
        (secret, entry)
    };
    let (ours, one) = key("ours", "one", "agents:run");
    let (theirs, two) = key("theirs", "two", "agents:run");
    let (chat, three) = key("chat", "one", "llm:chat");
    let config = format!("{CONFIG}{one}{two}{three}");
    std::fs::write(folder.path().join("agentry.toml"), config).unwrap();
    std::fs::write(folder.path().join("answers.toml"), ANSWERS).unwrap();
    let server = Running::again(folder);
    let send = |request: Vec<u8>, secret: &str| {
        let request = String::from_utf8(request).unwrap();
        let keyed = request.replacen("\r\n", &format!("\r\nx-api-key: {secret}\r\n"), 1);
        server.json(keyed.as_bytes())
    };
    let (status, thread) = send(post("/threads", "{}"), &ours);
    assert_eq!(status, 200, "{thread}");
    let path = format!("/threads/{}", thread["thread_id"].as_str().unwrap());
    assert_eq!(send(crate::support::get(&path), &ours).0, 200);
    let check = |request: Vec<u8>, secret: &str, expected: (u16, &str)| {
        let (status, refused) = send(request, secret);
        assert_eq!((status, refused["code"].as_str().unwrap()), expected, "{refused}");
        assert!(refused["detail"].is_string(), "{refused}");
    };
    check(crate::support::get(&path), &theirs, (404, "thread_not_found"));
    let run = json!({ "assistant_id": "agent", "input": { "messages": "hello" } }).to_string();
    check(post(&format!("{path}/runs"), &run), &theirs, (404, "thread_not_found"));
    check(crate::support::get(&path), &chat, (403, "scope_missing"));
    check(crate::support::get(&path), "nobody", (401, "key_invalid"));
    assert_eq!(send(post("/threads/search", "{}"), &theirs).1, json!([]));
    let (status, run) = send(post(&format!("{path}/runs"), &run), &ours);
    assert_eq!((status, &run["metadata"]["graph_id"]), (200, &json!("agent")), "{run}");
}

#[test]
fn a_run_that_asks_is_taken_back_and_what_was_before_stays() {
    let server = start();
    let check = |prunes: bool| {
        let first = begin(&server, "ask", &json!({ "topic": "otters" }));
        join(&server, &first);
        let thread = first["thread_id"].as_str().unwrap();
        let run = |body: Value| {
            let path = format!("/threads/{thread}/runs");
            let run = server.json(&post(&path, body.to_string())).1;
            join(&server, &run);
            run
        };
        let state = || {
            let path = format!("/threads/{thread}/state");
            server.json(&crate::support::get(&path)).1["values"].clone()
        };
        run(json!({ "assistant_id": "ask", "command": { "resume": { "decision": "approve" } } }));
        let before = state();
        assert_eq!(before["published"], true, "{before}");
        let asks = run(json!({ "assistant_id": "ask", "input": { "topic": "newts" } }));
        if prunes {
            let all = json!({ "thread_ids": [thread], "strategy": "keep_latest" });
            let pruned = server.json(&post("/threads/prune", all.to_string())).1;
            assert_eq!(pruned["pruned_count"], 1, "{pruned}");
        }
        let path = format!(
            "/threads/{thread}/runs/{}/cancel?action=rollback&wait=true",
            asks["run_id"].as_str().unwrap()
        );
        let answer = server.exchange(&post(&path, "{}"));
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
        let thread = server.json(&crate::support::get(&format!("/threads/{thread}"))).1;
        assert_eq!(thread["status"], "idle", "{thread}");
        (before, state())
    };
    let (before, after) = check(false);
    assert_eq!(after, before);
    let (_, after) = check(true);
    assert_eq!(after["published"], true, "where it began is cut, so what it did stays: {after}");
}

const CIRCLE: &str = r#"
name = "circle"
start = "again"
[state]
count = "sum"
[nodes.again]
kind = "set"
values = { count = "1.0" }
[[edges]]
from = "again"
to = "again"
when = "count < 900.0"
"#;

/// Reading each entry from the beginning of its thread would take longer than any patience.
#[test]
fn the_end_of_a_long_run_is_told_without_reading_it_again_for_each_step() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("graphs")).unwrap();
    let config = CONFIG.replace("memory:", "sqlite:agentry.db");
    for (name, text) in
        [("agentry.toml", &*config), ("answers.toml", ANSWERS), ("graphs/circle.toml", CIRCLE)]
    {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let server = Running::again(folder);
    let run = begin(&server, "circle", &json!({}));
    let told = join(&server, &run);
    assert!(told.contains("\"count\":900.0"), "{told}");
    let told = join(&server, &run);
    assert!(told.contains("\"count\":900.0"), "once it is over: {told}");
}
