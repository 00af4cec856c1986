//! What an instance shows of itself, and whom it tells.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{ANSWERS, PATIENCE, Running, agentry, finish, get, post, read_json, wait_for};

/// Answers every request with 200, and hands on its path and its JSON.
pub(crate) fn listener() -> (String, mpsc::Receiver<(String, String, Value)>) {
    refusing(0)
}

/// The same, but the first `refused` requests are answered with 503.
pub(crate) fn refusing(refused: usize) -> (String, mpsc::Receiver<(String, String, Value)>) {
    let left = Arc::new(AtomicUsize::new(refused));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let (tell, left) = (tell.clone(), Arc::clone(&left));
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                loop {
                    let (mut head, mut line) = (String::new(), String::new());
                    while reader.read_line(&mut line).is_ok_and(|read| read > 0) && line != "\r\n" {
                        head.push_str(&std::mem::take(&mut line));
                    }
                    if head.is_empty() {
                        return;
                    }
                    let lower = head.to_lowercase();
                    let length =
                        lower.lines().find_map(|line| line.strip_prefix("content-length: "));
                    let mut body =
                        vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
                    if reader.read_exact(&mut body).is_err() {
                        return;
                    }
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                    let refuses = left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
                    let status = if refuses.is_ok() { "503 Busy" } else { "200 OK" };
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
                    if reader.get_mut().write_all(answer.as_bytes()).is_err()
                        || tell.send((path, lower, body)).is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    (address, told)
}

fn server(more: &str) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[providers.script]\nkind = \"scripted\"\nscript = \"answers.toml\"\n\
         [models.fast]\ntargets = [\"script/tortoise\"]\nprice = {{ input = 1.0, output = 2.0 }}\n{more}"
    );
    std::fs::write(folder.path().join("agentry.toml"), config).unwrap();
    std::fs::write(folder.path().join("answers.toml"), ANSWERS).unwrap();
    Running::again(folder)
}

fn call(server: &Running, header: &str) {
    let body = json!({ "model": "fast", "messages": [{ "role": "user", "content": "hello" }] });
    let request = String::from_utf8(post("/v1/chat/completions", body.to_string())).unwrap();
    let request = request.replacen("\r\n", &format!("\r\n{header}"), 1);
    let answer = server.exchange(request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn status_usage_and_recommendations_tell_of_the_calls_that_were_made() {
    let server = server("");
    call(&server, "");
    let (_, status) = server.json(&get("/v1/status"));
    let target = &status["models"][0]["targets"][0];
    assert_eq!(
        (&target["name"], &target["condition"], &target["circuit"]["state"]),
        (&json!("script/tortoise"), &json!("healthy"), &json!("closed")),
        "{status}"
    );
    assert_eq!(target["response"]["calls"], 1);
    assert_eq!(
        (&status["ready"]["storage"]["status"], &status["alerts"]),
        (&json!("ok"), &json!([]))
    );
    let flow = &status["models"][0]["flow"];
    let number = |name: &str| flow[name].as_f64().unwrap();
    let little = number("lambda_per_second") * number("w_seconds");
    assert!((little - number("l")).abs() < 1e-3, "{flow}");

    let usage = wait_for("the record", || {
        let (status, usage) = server.json(&get("/v1/usage?by=model"));
        assert_eq!(status, 200, "{usage}");
        // Rows and totals are read one after the other, and the record may come in between.
        let complete = usage["totals"]["calls"] == 1 && usage["rows"][0]["calls"] == 1;
        complete.then_some(usage)
    });
    assert_eq!(usage["rows"][0]["name"], "fast");
    assert!(usage["rows"][0]["cost_usd"].as_f64().unwrap() > 0.0, "{usage}");
    let (code, refused) = server.json(&get("/v1/usage?by=weather"));
    assert_eq!((code, &refused["error"]["param"]), (400, &json!("by")));

    let (_, found) = server.json(&get("/v1/models/recommend"));
    let unfit = found["unfit"].as_array().unwrap();
    // The catalogue does not know it.
    assert!(unfit.iter().any(|one| one["target"] == "script/tortoise"), "{found}");
    let (_, found) = server.json(&get("/v1/models/recommend?among=catalogue&strengths=coding"));
    assert!(found["data"][0]["reasons"].as_array().unwrap().len() > 1, "{found}");

    let url = format!("http://{}", server.address);
    let folder = tempfile::tempdir().unwrap();
    let said = |arguments: &[&str]| {
        let mut command = agentry(folder.path());
        command.args(arguments).args(["--url", &url]);
        let output = finish(command);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let table = said(&["usage", "--by", "target"]);
    assert!(table.lines().any(|line| line.starts_with("script/tortoise ")), "{table}");
    assert!(table.lines().any(|line| line.starts_with("all ")), "{table}");
    let ranked = said(&["ask", "--recommend", "--all", "refactor this code"]);
    assert!(ranked.contains("good at coding"), "{ranked}");
    assert!(!said(&["ask", "--model", "fast", "hello"]).trim().is_empty());
    let metrics = server.exchange(&get("/metrics"));
    assert!(
        metrics.contains(
            "agentry_target_condition{target=\"script/tortoise\",condition=\"healthy\"} 1"
        )
    );
}

#[test]
fn an_alert_goes_to_a_webhook_and_can_be_acknowledged() {
    let (hook, told) = listener();
    let server = server(&format!(
        "[channels.ops]\nkind = \"webhook\"\nurl = \"{hook}/alerts\"\n[[alerts]]\nname = \"slow\"\n\
         when = \"ledger_behind\"\nthreshold = 0.0\nclear = 0.0\nnotify = [\"ops\"]\n"
    ));
    let (path, head, body) = told.recv_timeout(PATIENCE).expect("an alert");
    assert_eq!(
        (path.as_str(), &body["why"], &body["rule"]),
        ("/alerts", &json!("fired"), &json!("slow"))
    );
    assert!(head.contains("idempotency-key: slow-"), "{head}");
    let (_, status) = server.json(&get("/v1/status"));
    assert_eq!(status["alerts"][0]["id"], body["id"], "{status}");
    let path = format!("/v1/watchdog/{}/acknowledge", body["id"].as_str().unwrap());
    let (code, alert) = server.json(&post(&path, "{}"));
    assert_eq!(code, 200, "{alert}");
    assert!(alert["acknowledged_by"].is_string(), "{alert}");
    let answer = server.exchange(&post("/v1/watchdog/other/acknowledge", "{}"));
    let (code, refused) = read_json(&answer).unwrap();
    assert_eq!((code, &refused["error"]["code"]), (404, &json!("alert_not_firing")));
}

#[test]
fn a_call_is_traced_below_the_callers_span() {
    let (collector, told) = listener();
    let server = server(&format!("[otel]\nendpoint = \"{collector}\"\n"));
    call(&server, "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n");
    let (path, _, body) = told.recv_timeout(PATIENCE.max(Duration::from_secs(10))).expect("a span");
    assert_eq!(path, "/v1/traces");
    let span = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(
        (&span["traceId"], &span["parentSpanId"], &span["name"]),
        (
            &json!("4bf92f3577b34da6a3ce929d0e0e4736"),
            &json!("00f067aa0ba902b7"),
            &json!("chat fast")
        ),
        "{body}"
    );
}
