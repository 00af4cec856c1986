//! From an alert to an approved action, and what answers for it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::support::{PATIENCE, Running, agentry, finish, get, post, wait_for};
use crate::telemetry;

fn config(webhook: &str) -> String {
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
[incident]
settle = "100ms"
approval_timeout = "1h"
outbox = "out"
[incident.sources]
metrics = "dir:."
[incident.actions.restart]
url = "{webhook}"
"#
    )
}

/// Takes orders over HTTP like an operator's deployer, and hands them to the test.
fn deployer() -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/restart", listener.local_addr().unwrap());
    let (tx, rx) = mpsc::sync_channel(16);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\nconnection: close\r\n\r\n{\"id\":\"done-1\"}";
            reader.get_mut().write_all(answer).unwrap();
            tx.send(serde_json::from_slice(&body).unwrap()).unwrap();
        }
    });
    (url, rx)
}

fn start(webhook: &str, culprit: &str) -> Running {
    start_with(&config(webhook), "", culprit)
}

fn start_with(config: &str, answers: &str, culprit: &str) -> Running {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("agentry.toml"), config).unwrap();
    std::fs::write(folder.path().join("answers.toml"), answers).unwrap();
    telemetry::write(
        folder.path(),
        culprit,
        telemetry::now().minus(std::time::Duration::from_secs(20)),
    );
    Running::again(folder)
}

fn alert(service: &str, status: &str) -> Vec<u8> {
    let body = json!({
        "severity": "critical", "service": service, "message": "too slow", "status": status, "name": "Slow",
        "timestamp": telemetry::now().minus(std::time::Duration::from_secs(15)),
    });
    post("/v1/alerts", body.to_string())
}

fn waiting(server: &Running) -> Value {
    wait_for("a question", || {
        let (_, list) = server.json(&get("/v1/approvals"));
        list["data"].as_array().unwrap().first().cloned()
    })
}

fn closed(server: &Running) -> Value {
    wait_for("the incident to be closed", || {
        let (_, incident) = server.json(&get("/v1/incidents/INC-1"));
        (incident["run_status"] == "succeeded").then_some(incident)
    })
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

#[test]
fn an_approved_order_runs_once_and_the_audit_log_answers_for_it() {
    let (webhook, orders) = deployer();
    let server = start(&webhook, "cart");
    let (status, accepted) = server.json(&alert("cart", "firing"));
    assert_eq!((status, &accepted["incidents"]), (200, &json!(["INC-1"])), "{accepted}");

    let question = waiting(&server);
    let asked = &question["question"];
    assert_eq!(asked["order"]["action"], "restart", "{question}");
    assert_eq!(asked["order"]["service"], "cart");
    assert!(!asked["evidence"].as_array().unwrap().is_empty(), "{question}");
    let path = format!("/v1/approvals/{}", question["id"].as_str().unwrap());

    let stale = json!({ "decision": "approve", "digest": "0".repeat(32) }).to_string();
    let (status, refused) = server.json(&post(&path, stale));
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("approval_stale")));

    let yes =
        json!({ "decision": "approve", "digest": asked["digest"], "actor": "ada" }).to_string();
    assert_eq!(server.json(&post(&path, &yes)).0, 200);
    let order = orders.recv_timeout(PATIENCE).expect("the order");
    assert_eq!((&order["action"], &order["service"]), (&json!("restart"), &json!("cart")));
    let (status, refused) = server.json(&post(&path, &yes));
    assert!(
        status == 404 || refused["error"]["code"] == "approval_already_decided",
        "a second approval: {refused}"
    );

    assert_eq!(server.json(&alert("cart", "resolved")).0, 200);
    let incident = closed(&server);
    assert_eq!(incident["status"], "resolved", "{incident}");
    assert_eq!(incident["outcome"]["performed"], "done");
    assert_eq!(incident["recovery"]["recovered"], true);
    assert!(orders.try_recv().is_err(), "it ran twice");
    assert_eq!(files(&server.folder.path().join("out/tickets")), 1);
    audit_holds_until_it_is_changed(&server);
    the_file_is_verified_without_an_instance(server);
}

fn the_file_is_verified_without_an_instance(server: Running) {
    let folder = server.kill_hard();
    let verify = || {
        let mut command = agentry(folder.path());
        command.args(["audit", "verify"]);
        finish(command)
    };
    let good = verify();
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    // What the triggers refuse, somebody with the file in hand can still do; not unnoticed.
    let path = folder.path().join("agentry.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let (from, to) = (b"person:ada", b"person:eve");
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "the approval is not in the file");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    std::fs::write(&path, bytes).unwrap();
    let bad = verify();
    let said = String::from_utf8_lossy(&bad.stderr);
    assert!(!bad.status.success(), "a changed log was verified");
    assert!(said.contains("changed") || said.contains("damaged"), "{said}");
}

fn audit_holds_until_it_is_changed(server: &Running) {
    let url = format!("http://{}", server.address);
    let audit = |more: &[&str]| {
        let mut command = agentry(server.folder.path());
        command.args(["audit", "verify", "--url", &url]).args(more);
        finish(command)
    };
    let good = audit(&[]);
    let said = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(good.status.success() && said.contains("chain verified"), "{said}");
    let (_, log) = server.json(&get("/v1/audit"));
    let actions: Vec<_> = log["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| {
            let entry: Value = serde_json::from_str(record["entry"].as_str().unwrap()).unwrap();
            format!("{} {}", entry["actor"].as_str().unwrap(), entry["action"].as_str().unwrap())
        })
        .collect();
    for wanted in
        ["system incident.opened", "person:ada approval.answered", "system order.performed"]
    {
        assert!(actions.iter().any(|action| action == wanted), "no {wanted} in {actions:?}");
    }
    let cut = audit(&["--head", &"ab".repeat(32)]);
    assert_eq!(cut.status.code(), Some(1), "a head that is not in the log");
    let head = said.lines().find_map(|line| line.strip_prefix("head ")).unwrap();
    assert!(audit(&["--head", head]).status.success(), "the head that was just noted down");
}

#[test]
fn a_rejected_order_and_one_that_nobody_needs_any_more_never_run() {
    let (webhook, orders) = deployer();
    let server = start(&webhook, "payment");
    server.json(&alert("payment", "firing"));
    let question = waiting(&server);
    let first = question["id"].as_str().unwrap();
    let path = format!("/v1/approvals/{first}");
    let more = json!({ "decision": "request_more_info", "comment": "which replica?" }).to_string();
    assert_eq!(server.json(&post(&path, more)).0, 200);
    let again = wait_for("the next round", || {
        let question = waiting(&server);
        (question["id"].as_str() != Some(first)).then_some(question)
    });
    assert!(again["question"]["remark"].as_str().unwrap().contains("which replica?"), "{again}");

    server.json(&alert("payment", "resolved"));
    let path = format!("/v1/approvals/{}", again["id"].as_str().unwrap());
    assert_eq!(server.json(&post(&path, r#"{"decision":"approve"}"#)).0, 200);
    let incident = closed(&server);
    assert_eq!(incident["outcome"]["performed"], "skipped", "{incident}");
    assert!(orders.try_recv().is_err(), "it ran although every alert had resolved");
}

#[test]
fn an_incident_without_telemetry_is_still_handled_and_says_that_it_does_not_know() {
    let server = Running::with(
        "[server]\nlisten = \"127.0.0.1:0\"\n[incident]\nsettle = \"50ms\"\noutbox = \"out\"\n",
    );
    server.json(&alert("cart", "firing"));
    let incident = closed(&server);
    assert_eq!(incident["verdict"]["kind"], "unknown", "{incident}");
    assert_eq!(incident["suspects"], json!([]));
    assert_eq!(incident["plan"], Value::Null);
    assert_eq!(files(&server.folder.path().join("out/tickets")), 1);
    assert_eq!(files(&server.folder.path().join("out/messages")), 1);
}

#[test]
fn people_are_told_when_a_closed_incident_reaches_another_service() {
    let server = Running::with(
        "[server]\nlisten = \"127.0.0.1:0\"\n[incident]\nsettle = \"50ms\"\noutbox = \"out\"\n",
    );
    server.json(&alert("cart", "firing"));
    closed(&server);
    let (_, joined) = server.json(&alert("payment", "firing"));
    assert_eq!(joined["incidents"], json!(["INC-1"]));
    let folder = server.folder.path().join("out/messages");
    let update = wait_for("a second message", || {
        let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
        let texts = files.filter_map(|path| std::fs::read_to_string(path).ok());
        texts.into_iter().find(|text| text.contains("has reached payment"))
    });
    assert!(update.contains("INC-1"), "{update}");
    server.json(&alert("payment", "firing"));
    assert_eq!(files(&server.folder.path().join("out/tickets")), 1, "one incident, one ticket");
}

/// What the model says, and how the incident's note must begin: its kind, and a part of its text.
fn check_deliberation(answer: &str, kind: &str, says: &str) {
    let config = r#"
[server]
listen = "127.0.0.1:0"
[providers.script]
kind = "scripted"
script = "answers.toml"
[models.thinker]
targets = ["script/tortoise"]
retries = 0
[incident]
model = "thinker"
settle = "100ms"
approval_timeout = "100ms"
outbox = "out"
[incident.sources]
metrics = "dir:."
"#;
    let server = start_with(
        config,
        &format!("[[rules]]\nwhen = {{ user_contains = \"suspects\" }}\n{answer}\n"),
        "cart",
    );
    server.json(&alert("cart", "firing"));
    let incident = closed(&server);
    assert_eq!(
        incident["suspects"][0]["service"], "cart",
        "the reactive answer stands: {incident}"
    );
    assert_eq!(incident["note"]["kind"], kind, "{}", incident["note"]);
    assert_eq!(incident["approval"]["verdict"], "expired", "nobody answered: {incident}");
    let messages = server.folder.path().join("out/messages");
    assert_eq!(files(&messages), 2, "the message, and the escalation because nobody answered");
    assert!(incident["note"].to_string().contains(says), "no {says:?} in {}", incident["note"]);
    let (head, metrics) = split(&server.exchange(&get("/metrics")));
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let calls = metrics.lines().find(|line| {
        line.starts_with("llm_requests_total{") && line.contains("endpoint=\"agent\"")
    });
    assert!(calls.is_some(), "the model was not called through the gateway: {metrics}");
}

fn split(answer: &str) -> (String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn a_model_may_explain_what_the_evidence_shows() {
    let text = r#"{"order":["cart"],"explanation":"It burns CPU.","citations":["m1"]}"#;
    check_deliberation(&format!("answer = {{ text = '{text}' }}"), "accepted", "It burns CPU.");
}

#[test]
fn a_model_that_cites_what_does_not_exist_is_set_aside() {
    let text = r#"{"order":["cart"],"explanation":"Trust me.","citations":["m99"]}"#;
    check_deliberation(&format!("answer = {{ text = '{text}' }}"), "set_aside", "m99");
}

#[test]
fn a_model_that_errs_or_blames_somebody_else_is_set_aside() {
    check_deliberation(
        "error = { status = 503, message = \"no\" }",
        "set_aside",
        "the model failed",
    );
    let text = r#"{"order":["moon"],"explanation":"The moon.","citations":["m1"]}"#;
    check_deliberation(&format!("answer = {{ text = '{text}' }}"), "set_aside", "moon");
}
