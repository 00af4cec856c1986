//! Who may call, and what they may do.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ANSWERS, Running, agentry, finish, get, post, wait_for};

mod secrecy;
mod tenants;
mod tokens;

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
origins = ["https://app.example.com"]
[auth]
failures_per_minute = 5
[[keys]]
name = "fixed"
secret = "file:fixed.key"
scopes = ["llm:chat", "metrics:read"]
models = ["fast"]
[providers.script]
kind = "scripted"
script = "answers.toml"
[models.fast]
targets = ["script/tortoise"]
retries = 0
[models.slow]
targets = ["script/tortoise"]
"#;

pub(crate) const FIXED: &str = "0123456789abcdef0123456789abcdef";

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("agentry.toml", CONFIG), ("answers.toml", ANSWERS), ("fixed.key", FIXED)]
    {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Runs `agentry keys …` and reads what it prints.
pub(crate) fn keys(folder: &Path, arguments: &[&str]) -> Value {
    let mut command = agentry(folder);
    command.args(["keys", "--json"]).args(arguments);
    let output = finish(command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}")).to_owned()
}

fn secret(folder: &Path, arguments: &[&str]) -> String {
    text(&keys(folder, &[&["create"], arguments].concat()), "secret")
}

/// The same request, by whoever has `key`.
pub(crate) fn by(key: &str, request: &[u8]) -> Vec<u8> {
    with(&format!("authorization: Bearer {key}"), request)
}

pub(crate) fn with(header: &str, request: &[u8]) -> Vec<u8> {
    let end = request.windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
    [&request[..end], header.as_bytes(), b"\r\n", &request[end..]].concat()
}

fn chat(model: &str) -> Vec<u8> {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "hello" }] });
    post("/v1/chat/completions", body.to_string())
}

pub(crate) fn delete(path: &str) -> Vec<u8> {
    format!("DELETE {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").into_bytes()
}

/// The status, and the error's code if there is one.
pub(crate) fn told(server: &Running, request: &[u8]) -> String {
    let (status, body) = server.json(request);
    match body.pointer("/error/code").and_then(Value::as_str) {
        Some(code) => format!("{status} {code}"),
        None => status.to_string(),
    }
}

#[test]
fn each_key_may_do_what_its_scopes_say_and_nothing_else() {
    let folder = folder();
    let at = folder.path();
    let operator = secret(at, &["--name", "me", "--scope", "*", "--scope", "operator"]);
    let caller = secret(at, &["--name", "app", "--scope", "llm:*", "--model", "fa*"]);
    let nurse = secret(at, &["--name", "nurse", "--scope", "incidents:*"]);
    let elsewhere = secret(at, &["--name", "far", "--scope", "*", "--address", "203.0.113.0/24"]);
    let stranger = secret(at, &["--name", "b", "--scope", "*", "--tenant", "b"]);
    let server = Running::again(folder);
    let check = |key: &str, request: &[u8], expected: &str| {
        let head = String::from_utf8_lossy(&request[..40.min(request.len())]).into_owned();
        assert_eq!(told(&server, &by(key, request)), expected, "{head}");
    };
    let alert = post("/v1/alerts", "{}");
    for (request, open, app, nursing, foreign) in [
        (chat("fast"), "200", "200", "403 scope_missing", "200"),
        (chat("slow"), "200", "403 model_forbidden", "403 scope_missing", "200"),
        (get("/v1/models"), "200", "200", "200", "200"),
        (get("/v1/incidents"), "200", "403 scope_missing", "200", "404 incidents_off"),
        (
            get("/v1/incidents/INC-1"),
            "404 incident_not_found",
            "403 scope_missing",
            "404 incident_not_found",
            "404 incidents_off",
        ),
        (get("/v1/approvals"), "200", "403 scope_missing", "200", "404 incidents_off"),
        (
            post("/v1/approvals/x.y", r#"{"decision":"approve"}"#),
            "404 approval_not_found",
            "403 scope_missing",
            "403 scope_missing",
            "404 incidents_off",
        ),
        (alert, "400 invalid_alert", "403 scope_missing", "400 invalid_alert", "404 incidents_off"),
        (get("/v1/audit"), "200", "403 scope_missing", "403 scope_missing", "200"),
        (get("/v1/keys"), "200", "403 scope_missing", "403 scope_missing", "200"),
        (
            post("/v1/keys", "{}"),
            "400 key_request_invalid",
            "403 scope_missing",
            "403 scope_missing",
            "400 key_request_invalid",
        ),
        (delete("/v1/users/x/data"), "200", "403 scope_missing", "403 scope_missing", "200"),
        (
            get("/nothing"),
            "404 path_unknown",
            "404 path_unknown",
            "404 path_unknown",
            "404 path_unknown",
        ),
        (get("/health"), "200", "200", "200", "200"),
    ] {
        check(&operator, &request, open);
        check(&caller, &request, app);
        check(&nurse, &request, nursing);
        check(&stranger, &request, foreign);
        if !request.starts_with(b"GET /health") {
            check(&elsewhere, &request, "403 address_forbidden");
        }
    }
}

#[test]
fn a_key_is_found_wherever_clients_put_it_and_guessing_is_slowed_down() {
    let folder = folder();
    let caller = secret(folder.path(), &["--name", "app", "--scope", "llm:*"]);
    let server = Running::again(folder);
    let check = |key: &str, request: &[u8], expected: &str| {
        assert_eq!(told(&server, &by(key, request)), expected);
    };
    check(FIXED, &chat("fast"), "200");
    check(FIXED, &chat("slow"), "403 model_forbidden");
    for (header, expected) in [
        (format!("x-api-key: {caller}"), "200"),
        (format!("api-key: {caller}"), "200"),
        (format!("authorization: Basic {caller}"), "401 key_invalid"),
        (format!("x-api-key: {}", &caller[..50]), "401 key_invalid"),
    ] {
        assert_eq!(told(&server, &with(&header, &chat("fast"))), expected, "{header}");
    }
    for _ in 0..6 {
        told(&server, &by("guess", &chat("fast")));
    }
    let slowed = server.exchange(&by("guess", &chat("fast")));
    assert!(
        slowed.starts_with("HTTP/1.1 429 ") && slowed.contains("\r\nretry-after: "),
        "{slowed}"
    );
    check(&caller, &chat("fast"), "200");
}

#[test]
fn without_a_key_the_door_is_shut_and_says_so() {
    let server = Running::again(folder());
    assert_eq!(told(&server, &get("/v1/models")), "401 key_missing");
    assert_eq!(told(&server, &get("/v1/of/tomorrow")), "401 key_missing");
    assert_eq!(told(&server, &get("/ready")), "200");
    let metrics = server.exchange(&get("/metrics"));
    assert!(metrics.starts_with("HTTP/1.1 200 "), "on loopback they are open: {metrics}");
    let mut large = chat("fast");
    large.extend(vec![b' '; 4_000_000]);
    let large =
        String::from_utf8(large).unwrap().replace("content-length: ", "content-length: 4000");
    let refused = server.exchange(large.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 401 "), "unread, and answered all the same: {refused}");
    let refused = server.exchange(&get("/v1/models"));
    for header in [
        "www-authenticate: Bearer",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
        "content-security-policy: default-src 'none'; frame-ancestors 'none'",
    ] {
        assert!(refused.contains(&format!("\r\n{header}\r\n")), "{header}: {refused}");
    }
    assert!(!refused.contains("access-control-"), "{refused}");
}

#[test]
fn pages_of_other_origins_come_in_only_when_they_are_listed() {
    let server = Running::again(folder());
    let from = |origin: &str, request: &[u8]| with(&format!("origin: {origin}"), request);
    let ask = |origin: &str| {
        let ask = "OPTIONS /v1/chat/completions HTTP/1.1\r\nhost: test\r\nconnection: close\r\naccess-control-request-method: POST\r\n\r\n";
        server.exchange(&from(origin, ask.as_bytes()))
    };
    let welcome = ask("https://app.example.com");
    assert!(welcome.starts_with("HTTP/1.1 204 "), "{welcome}");
    assert!(
        welcome.contains("\r\naccess-control-allow-origin: https://app.example.com\r\n"),
        "{welcome}"
    );
    assert!(welcome.contains("\r\naccess-control-allow-headers: authorization, "), "{welcome}");
    for foreign in ["https://evil.example", "https://app.example.com.evil.example", "null"] {
        let refused = ask(foreign);
        assert!(!refused.contains("access-control-allow-origin"), "{foreign}: {refused}");
        let write = by(FIXED, &from(foreign, &chat("fast")));
        assert_eq!(told(&server, &write), "403 origin_forbidden", "{foreign}");
    }
    let answered = server.exchange(&by(FIXED, &from("https://app.example.com", &chat("fast"))));
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    assert!(
        answered.contains("\r\naccess-control-allow-origin: https://app.example.com\r\n"),
        "{answered}"
    );
    assert_eq!(
        told(&server, &by(FIXED, &from("http://test", &chat("fast")))),
        "200",
        "our own page"
    );
}

#[test]
fn keys_change_through_a_running_instance_and_at_once() {
    let folder = folder();
    let operator =
        secret(folder.path(), &["--name", "me", "--scope", "admin", "--scope", "operator"]);
    let server = Running::again(folder);
    let run = |key: Option<&str>, arguments: &[&str]| {
        let mut command = agentry(server.folder.path());
        // The configuration says port 0: only the instance knows where it is.
        command.env("AGENTRY__SERVER__LISTEN", &server.address);
        command.args(["keys", "--json"]).args(arguments);
        if let Some(key) = key {
            command.env("AGENTRY_API_KEY", key);
        }
        let output = finish(command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said, serde_json::from_slice::<Value>(&output.stdout).ok())
    };
    let done = |arguments: &[&str]| {
        let (code, said, printed) = run(Some(&operator), arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        printed.unwrap()
    };
    let (code, said, _) = run(None, &["list"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("no API key") && said.contains("AGENTRY_API_KEY"), "{said}");
    let (code, said, _) = run(Some(FIXED), &["list"]);
    assert!(code == Some(1) && said.contains("admin or operator"), "{said}");

    let first = done(&["create", "--name", "ci", "--scope", "llm:chat", "--expires", "1d"]);
    let first_secret = text(&first, "secret");
    let asks = |secret: &str| told(&server, &by(secret, &chat("fast")));
    assert_eq!(asks(&first_secret), "200");
    let (code, said, _) = run(Some(&operator), &["create", "--name", "ci", "--scope", "*"]);
    assert!(code == Some(1) && said.contains("has a key `ci` already"), "{said}");

    let second = done(&["rotate", "ci", "--overlap", "1h"]);
    assert_eq!((asks(&first_secret), asks(&text(&second, "secret"))), ("200".into(), "200".into()));
    let third = done(&["rotate", "ci"]);
    assert_eq!(asks(&text(&second, "secret")), "401 key_expired");
    assert_eq!(asks(&text(&third, "secret")), "200");
    done(&["revoke", "ci"]);
    assert_eq!(asks(&text(&third, "secret")), "401 key_revoked");
    done(&["revoke", &text(&first, "id")]);
    assert_eq!(asks(&first_secret), "401 key_revoked");
    let (code, said, _) = run(Some(&operator), &["revoke", "fixed"]);
    assert!(code == Some(1) && said.contains("comes from the configuration"), "{said}");

    let listed = done(&["list", "--all"]).to_string();
    for secret in [&first_secret, &operator, &text(&third, "secret")] {
        assert!(!listed.contains(secret.as_str()), "{listed}");
    }
    let names: Vec<String> =
        done(&["list"]).as_array().unwrap().iter().map(|key| text(key, "name")).collect();
    assert_eq!(names, ["fixed", "me"]);
    let folder = server.kill_hard();
    let server = Running::again(folder);
    assert_eq!(told(&server, &by(&first_secret, &chat("fast"))), "401 key_revoked");

    let mut verify = agentry(server.folder.path());
    verify.env("AGENTRY__SERVER__LISTEN", &server.address).env("AGENTRY_API_KEY", &operator);
    verify.args(["audit", "verify", "--json"]);
    let verified: Value = serde_json::from_slice(&finish(verify).stdout).unwrap();
    assert_eq!(verified["verified"], true, "{verified}");
    // Two created, two rotated, two revoked, and the log looked at.
    assert_eq!(verified["records"], 7, "{verified}");
}

#[test]
fn a_tenant_sees_nothing_of_another() {
    let folder = folder();
    let at = folder.path();
    let operator = secret(at, &["--name", "me", "--scope", "admin", "--scope", "operator"]);
    let a = secret(at, &["--name", "boss", "--scope", "admin", "--tenant", "a"]);
    let b = secret(at, &["--name", "boss", "--scope", "admin", "--tenant", "b"]);
    let server = Running::again(folder);
    let asked = |key: &str, request: &[u8]| server.json(&by(key, request));
    let made =
        asked(&a, &post("/v1/keys", r#"{"name":"app","scopes":["llm:chat"],"user":"alice"}"#));
    assert_eq!((made.0, made.1["tenant"].as_str()), (201, Some("a")));
    let id = text(&made.1, "id");
    let app = text(&made.1, "secret");

    let tenants = |key: &str, path: &str, pointer: &str| {
        let (status, list) = asked(key, &get(path));
        assert_eq!(status, 200, "{list}");
        let mut seen: Vec<String> = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| match item.get("entry").and_then(Value::as_str) {
                Some(entry) => serde_json::from_str::<Value>(entry).unwrap(),
                None => item.clone(),
            })
            .map(|item| item.pointer(pointer).and_then(Value::as_str).unwrap_or("main").to_owned())
            .collect();
        seen.dedup();
        seen.sort();
        seen.dedup();
        seen
    };
    assert_eq!(tenants(&a, "/v1/keys", "/tenant"), ["a"]);
    assert_eq!(tenants(&b, "/v1/keys", "/tenant"), ["b"]);
    assert_eq!(tenants(&operator, "/v1/keys", "/tenant"), ["a", "b", "main"]);
    assert_eq!(tenants(&a, "/v1/audit", "/detail/tenant"), ["a"]);
    assert_eq!(tenants(&b, "/v1/audit", "/detail/tenant"), ["b"]);
    assert_eq!(tenants(&operator, "/v1/audit", "/detail/tenant"), ["a", "b", "main"]);

    let by_b = |request: &[u8]| told(&server, &by(&b, request));
    assert_eq!(by_b(&delete(&format!("/v1/keys/{id}"))), "404 key_not_found");
    assert_eq!(by_b(&post(&format!("/v1/keys/{id}/rotate"), "")), "404 key_not_found");
    let spy = r#"{"name":"spy","scopes":["admin"],"tenant":"a"}"#;
    assert_eq!(by_b(&post("/v1/keys", spy)), "403 scope_missing");
    let above = r#"{"name":"above","scopes":["operator"]}"#;
    assert_eq!(by_b(&post("/v1/keys", above)), "403 scope_missing");
    assert_eq!(by_b(&delete("/v1/users/alice/data?tenant=a")), "403 scope_missing");
    let (_, nothing) = asked(&b, &delete("/v1/users/alice/data"));
    let none = json!({ "usage": 0, "batches": 0, "kept_answers": 0, "crons": 0, "keys": 0 });
    assert_eq!(nothing["deleted"], none);
    assert_eq!(told(&server, &by(&app, &chat("fast"))), "200", "nobody touched it");
    let kept = by(&app, &with("idempotency-key: k", &chat("fast")));
    assert_eq!(told(&server, &kept), "200");
    assert!(server.exchange(&kept).contains("x-agentry-replayed: true"));

    let (_, deleted) = asked(&a, &delete("/v1/users/alice/data"));
    assert_eq!(deleted["deleted"]["keys"], 1, "{deleted}");
    assert_eq!(deleted["deleted"]["kept_answers"], 1, "{deleted}");
    assert_eq!(told(&server, &by(&app, &chat("fast"))), "401 key_revoked");
    for path in ["/v1/keys", "/v1/audit"] {
        let (_, seen) = asked(&operator, &get(path));
        assert!(!seen.to_string().contains("alice"), "{path}: {seen}");
    }
}

/// Two instances, each with runs of its own, and keys that both have.
#[test]
fn instances_share_keys_over_postgresql() {
    let url = std::env::var_os("AGENTRY_TEST_POSTGRES_URL").filter(|url| !url.is_empty());
    let Some(url) = url else {
        let mut terminal = std::io::stderr();
        let skipped = "skipped: AGENTRY_TEST_POSTGRES_URL is not set; `cargo xtask test` sets it\n";
        std::io::Write::write_all(&mut terminal, skipped.as_bytes()).unwrap();
        return;
    };
    let url = format!("{}?schema=shared{}", url.into_string().unwrap(), std::process::id());
    let instance = || {
        let folder = folder();
        std::fs::write(folder.path().join("ledger.url"), &url).unwrap();
        let config = format!("{CONFIG}\n[ledger]\nurl = \"file:ledger.url\"\n");
        std::fs::write(folder.path().join("agentry.toml"), config).unwrap();
        folder
    };
    let (here, there) = (instance(), instance());
    let made = keys(here.path(), &["create", "--name", "ci", "--scope", "llm:chat"]);
    let (ci, id) = (text(&made, "secret"), text(&made, "id"));
    let operator =
        secret(there.path(), &["--name", "me", "--scope", "admin", "--scope", "operator"]);
    let (here, there) = (Running::again(here), Running::again(there));
    for server in [&here, &there] {
        assert_eq!(told(server, &by(&ci, &chat("fast"))), "200");
    }
    assert_eq!(told(&there, &by(&operator, &delete(&format!("/v1/keys/{id}")))), "200");
    assert_eq!(told(&there, &by(&ci, &chat("fast"))), "401 key_revoked", "at once");
    wait_for("the other one to know", || {
        (told(&here, &by(&ci, &chat("fast"))) == "401 key_revoked").then_some(())
    });
    let (_, log) = here.json(&by(&operator, &get("/v1/audit?of=keys")));
    assert_eq!(log["data"].as_array().unwrap().len(), 3, "{log}");
    let mut verify = agentry(here.folder.path());
    verify.args(["audit", "verify", "--of", "keys", "--json"]);
    let verified: Value = serde_json::from_slice(&finish(verify).stdout).unwrap();
    assert_eq!((&verified["verified"], &verified["records"]), (&json!(true), &json!(3)));
}

#[test]
fn a_persons_crons_go_with_the_rest_of_the_persons_data() {
    let server = Running::start();
    let cron = json!({
        "assistant_id": "agent", "schedule": "0 9 * * 1", "user_id": "ann", "input": {},
    });
    let (status, made) = server.json(&post("/runs/crons", cron.to_string()));
    assert_eq!(status, 200, "{made}");
    let (_, deleted) = server.json(&delete("/v1/users/ann/data"));
    assert_eq!(deleted["deleted"]["crons"], 1, "{deleted}");
    let (_, left) = server.json(&post("/runs/crons/search", "{}"));
    assert_eq!(left, json!([]));
}
