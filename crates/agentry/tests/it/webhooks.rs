//! Whoever wants to know that a run is over is told, also when the process is killed in between.

use std::sync::mpsc::Receiver;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ANSWERS, CONFIG, PATIENCE, Running, get, post, wait_for};
use crate::watching::{listener, refusing};

fn start() -> Running {
    start_with("", &[])
}

fn start_with(more: &str, files: &[(&str, &str)]) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let allowed = format!("webhook_hosts = [\"127.0.0.1\"]\n{more}\n[storage]");
    let config = CONFIG.replace("memory:", "sqlite:agentry.db").replace("[storage]", &allowed);
    std::fs::write(folder.path().join("agentry.toml"), config).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    std::fs::write(folder.path().join("answers.toml"), ANSWERS).unwrap();
    Running::again(folder)
}

fn wish(said: &str, hook: &str) -> String {
    let body = json!({
        "assistant_id": "agent",
        "input": { "messages": [{ "role": "user", "content": said }] },
        "config": { "configurable": { "model": "fast" } },
        "webhook": format!("{hook}/over"),
    });
    body.to_string()
}

fn begin(server: &Running, path: &str, body: String) -> Value {
    let (status, run) = server.json(&post(path, body));
    assert_eq!(status, 200, "{run}");
    run
}

fn on_a_thread(server: &Running, body: String) -> Value {
    let (_, thread) = server.json(&post("/threads", "{}"));
    begin(server, &format!("/threads/{}/runs", thread["thread_id"].as_str().unwrap()), body)
}

/// Asserts that what is told is about `run`, and names it the same each time.
fn heard(told: &Receiver<(String, String, Value)>, run: &Value) -> Value {
    let (path, head, body) = told.recv_timeout(3 * PATIENCE).expect("to be told");
    assert_eq!((path.as_str(), &body["run_id"]), ("/over", &run["run_id"]), "{body}");
    let id = run["run_id"].as_str().unwrap();
    assert!(head.contains(&format!("webhook-id: {id}")), "{head}");
    body
}

/// As the receiver computes it, in the lower case in which heads are kept here.
fn signed(secret: &[u8], (id, timestamp): (&str, &str), body: &Value) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag)).to_lowercase()
}

#[test]
fn what_is_told_is_signed_with_every_secret() {
    let (new, old) = ([7; 32], [8; 24]);
    let (hook, told) = listener();
    let server = start_with(
        "webhook_secrets = [\"file:new\", \"file:old\"]",
        &[("new", &format!("whsec_{}", STANDARD.encode(new))), ("old", &STANDARD.encode(old))],
    );
    let run = on_a_thread(&server, wish("hello", &hook));
    let (_, head, body) = told.recv_timeout(3 * PATIENCE).expect("to be told");
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {head}")).trim().to_owned()
    };
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    assert_eq!(id, run["run_id"].as_str().unwrap());
    let sent: u64 = timestamp.parse().unwrap();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(now.abs_diff(sent) < 3 * PATIENCE.as_secs(), "{sent} is not about {now}");
    let with = |secret: &[u8]| signed(secret, (&id, &timestamp), &body);
    assert_eq!(header("webhook-signature"), format!("{} {}", with(&new), with(&old)));
}

fn again(server: Running) -> Running {
    let folder: TempDir = server.kill_hard();
    Running::again(folder)
}

#[test]
fn the_end_of_a_run_is_told_once_the_killed_process_is_back() {
    let (hook, told) = listener();
    let server = start();
    // It takes a second; the process does not live to see its end.
    let run = on_a_thread(&server, wish("count", &hook));
    let server = again(server);
    let body = heard(&told, &run);
    assert_eq!(body["status"], "success", "{body}");
    let said = body["values"]["messages"].as_array().unwrap();
    assert!(said.last().unwrap()["content"].as_str().unwrap().contains("ten"), "{body}");
    server.assert_healthy("the webhook");
}

#[test]
fn what_was_not_taken_before_the_kill_is_told_again_after_it() {
    let (hook, told) = refusing(1);
    let server = start();
    let run = on_a_thread(&server, wish("hello", &hook));
    heard(&told, &run);
    let _server = again(server);
    assert_eq!(heard(&told, &run)["status"], "success");
}

#[test]
fn a_thread_that_was_there_for_one_run_goes_when_its_end_was_read() {
    let (hook, told) = listener();
    let server = start();
    let run = begin(&server, "/runs", wish("count", &hook));
    let server = again(server);
    let body = heard(&told, &run);
    assert!(body["values"]["messages"].is_array(), "{body}");
    let path = format!("/threads/{}", run["thread_id"].as_str().unwrap());
    wait_for("the thread to go", || (server.json(&get(&path)).0 == 404).then_some(()));
    let (_, threads) = server.json(&post("/threads/search", "{}"));
    assert_eq!(threads, json!([]), "what tells of ends is nobody's thread");
    let (_, runs) = server.json(&get("/runs"));
    assert_eq!(runs, json!([]));
}
