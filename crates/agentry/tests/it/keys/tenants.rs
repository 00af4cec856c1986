//! What a tenant sees of an instance that others use as well.

use serde_json::{Value, json};

use super::{by, chat, folder, secret, told};
use crate::support::{Running, get, post, wait_for};

/// Something about all tenants fires at once, and something about one of them after the first call.
const WATCHED: &str = r#"
[[alerts]]
name = "behind"
when = "ledger_behind"
threshold = 0.0
clear = 0.0
[[alerts]]
name = "spent"
when = "budget_used"
threshold = 0.0
clear = 0.0
"#;

fn names(list: &Value, field: &str) -> Vec<String> {
    let mut names: Vec<String> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one[field].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// With an operator, an administrator of the same tenant, and one of another.
fn start() -> (Running, [String; 3]) {
    let folder = folder();
    let priced = "retries = 0\nprice = { input = 1.0, output = 2.0 }\noutput_tokens_max = 100";
    let config = super::CONFIG
        .replace("[auth]", "[auth]\nmetrics_open = false")
        .replace("retries = 0", priced);
    std::fs::write(folder.path().join("agentry.toml"), format!("{config}{WATCHED}")).unwrap();
    let at = folder.path();
    let everything = ["--scope", "*", "--budget", "5/day"];
    let of = |name: &str, more: &[&str]| {
        secret(at, &[&["--name", name][..], &everything, more].concat())
    };
    let operator = of("me", &["--scope", "operator"]);
    let main = of("ours", &[]);
    let other = of("theirs", &["--tenant", "b", "--model", "fa*"]);
    (Running::again(folder), [operator, main, other])
}

#[test]
fn a_tenant_sees_nothing_of_what_others_do() {
    let (server, [operator, main, other]) = start();
    for key in [&operator, &main, &other] {
        assert_eq!(told(&server, &by(key, &chat("fast"))), "200");
    }
    let status = |key: &str| {
        let (code, status) = server.json(&by(key, &get("/v1/status")));
        assert_eq!(code, 200, "{status}");
        status
    };
    let whole = wait_for("the alerts", || {
        let status = status(&operator);
        (status["alerts"].as_array().unwrap().len() == 4).then_some(status)
    });
    assert_eq!(names(&whole["models"], "name"), ["default", "fast", "slow"]);
    assert_eq!(whole["models"][0]["targets"][0]["recent_calls"], 3);
    assert!(whole["usage"].is_object() && whole["beside"].is_object(), "{whole}");

    let theirs = status(&other);
    assert_eq!(names(&theirs["models"], "name"), ["fast"]);
    assert_eq!(names(&theirs["alerts"], "subject"), ["key:b/theirs per day"]);
    let target = &theirs["models"][0]["targets"][0];
    assert_eq!(
        (&target["condition"], &target["circuit"]["state"]),
        (&json!("healthy"), &json!("closed"))
    );
    assert!(target["response"]["p50_ms"].is_number(), "{target}");
    for hidden in ["/models/0/in_flight", "/models/0/flow", "/cache", "/usage", "/beside"] {
        assert_eq!(theirs.pointer(hidden), Some(&Value::Null), "{hidden}");
    }
    for hidden in ["in_flight", "recent_calls", "flow", "limit"] {
        assert_eq!(target[hidden], Value::Null, "{hidden}");
    }
    assert_eq!(target["response"]["calls"], Value::Null);
    assert!(!theirs.to_string().contains("main"), "{theirs}");
    let ours = status(&main);
    assert_eq!(names(&ours["models"], "name"), ["default", "fast", "slow"]);
    assert_eq!(names(&ours["alerts"], "subject"), ["key:main/me per day", "key:main/ours per day"]);

    let acknowledge = |key: &str, alert: &Value| {
        let path = format!("/v1/watchdog/{}/acknowledge", alert["id"].as_str().unwrap());
        told(&server, &by(key, &post(&path, "{}")))
    };
    let alert = |rule: &str, subject: &str| {
        let alerts = whole["alerts"].as_array().unwrap();
        let fits = |alert: &&Value| alert["rule"] == rule && alert["subject"] == subject;
        alerts.iter().find(fits).unwrap()
    };
    let (behind, spent) = (alert("behind", "ledger"), alert("spent", "key:main/ours per day"));
    assert_eq!(acknowledge(&other, behind), "404 alert_not_firing");
    assert_eq!(acknowledge(&other, spent), "404 alert_not_firing");
    assert_eq!(acknowledge(&main, spent), "200");
    assert_eq!(acknowledge(&operator, behind), "200");

    let usage = |key: &str| {
        wait_for("the records", || {
            let (_, usage) = server.json(&by(key, &get("/v1/usage?by=key")));
            (usage["totals"]["calls"].as_u64() > Some(0)).then_some(usage)
        })
    };
    assert_eq!(names(&usage(&other)["rows"], "name"), ["theirs"]);
    assert_eq!(told(&server, &by(&other, &get("/v1/usage?tenant=main"))), "403 scope_missing");
    let (_, advice) = server.json(&by(&other, &get("/v1/models/recommend")));
    assert!(!advice.to_string().contains("slow"), "{advice}");
    let metrics = |key: &str| server.exchange(&by(key, &get("/metrics")));
    assert!(metrics(&other).starts_with("HTTP/1.1 403 "));
    assert!(metrics(&main).starts_with("HTTP/1.1 200 "));
}
