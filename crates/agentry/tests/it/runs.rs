//! `agentry runs` over a running instance.

use serde_json::{Value, json};

use crate::support::{ANSWERS, CONFIG, Running, agentry, finish, post};

/// A graph that asks whether to go on.
const ASK: &str = r#"
name = "ask"
start = "approve"

[state]
published = { type = "boolean", default = false }

[nodes.approve]
kind = "human"
question = "Go on?"
options = ["approve", "reject"]

[nodes.publish]
kind = "set"
values = { published = "true" }

[[edges]]
from = "approve"
to = "publish"
when = "answer.decision == 'approve'"
"#;

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
    let run = begin(&server, "ask", &json!({}));
    join(&server, &run);
    let id = run["run_id"].as_str().unwrap();
    let listed = said(&server, &["list", "--status", "interrupted"]);
    assert_eq!(listed[0]["run_id"], id, "{listed}");
    let (code, shown) = runs(&server, &["show", id]);
    assert_eq!(code, Some(0));
    assert!(
        shown.contains("asks") && shown.contains("Go on?") && shown.contains("approve"),
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
