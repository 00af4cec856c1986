//! Alerts, incidents, approvals and audit requests that cannot be answered.

use super::{Case, check};
use crate::support::{get, post, post_as};

fn webhook(name: &'static str, alert: &str, says: &'static str) -> Case {
    let body = format!(r#"{{"version":"4","status":"firing","alerts":[{alert}]}}"#);
    Case { name, request: post("/v1/alerts/alertmanager", body), status: 400, says }
}

fn hook(name: &'static str, body: impl AsRef<[u8]>, status: u16, says: &'static str) -> Case {
    Case { name, request: post("/v1/alerts/alertmanager", body), status, says }
}

fn plain(name: &'static str, body: &str, says: &'static str) -> Case {
    Case { name, request: post("/v1/alerts", body), status: 400, says }
}

#[test]
fn an_alert_that_cannot_be_taken_names_the_field() {
    let labels: Vec<String> = (0..10_000).map(|number| format!(r#""l{number}":"x""#)).collect();
    let labels =
        format!(r#"{{"status":"firing","labels":{{"alertname":"A",{}}}}}"#, labels.join(","));
    let many = format!(r#"{{"version":"4","alerts":[{}1]}}"#, "1,".repeat(10_000));
    check(vec![
        hook("broken JSON", r#"{"version":"4","alerts":["#, 400, "line 1"),
        hook("an empty body", "", 400, "empty"),
        hook("not UTF-8", b"{\"version\":\"4\xff\"}", 400, "UTF-8"),
        hook("a list", "[]", 400, "not the JSON that is expected"),
        hook("no alerts", r#"{"version":"4"}"#, 400, "missing field `alerts`"),
        hook("another version", r#"{"version":"3","alerts":[]}"#, 400, "version"),
        hook("10,001 alerts", many, 413, "send them in parts"),
        hook("100 MB", vec![b' '; 100 << 20], 413, "larger than"),
        webhook("a number", "17", "alerts[0]"),
        webhook(
            "an unknown status",
            r#"{"status":"maybe","labels":{"alertname":"A"}}"#,
            "alerts[0].status",
        ),
        webhook(
            "no name",
            r#"{"status":"firing","labels":{"service":"x"}}"#,
            "alerts[0].labels.alertname",
        ),
        webhook(
            "a label that is a number",
            r#"{"status":"firing","labels":{"alertname":7}}"#,
            "expected a string",
        ),
        webhook("ten thousand labels", &labels, "10001 labels"),
        webhook(
            "1970",
            r#"{"status":"firing","labels":{"alertname":"A"},"startsAt":"1970-01-01T00:00:00Z"}"#,
            "before the year 2000",
        ),
        webhook(
            "2999",
            r#"{"status":"firing","labels":{"alertname":"A"},"startsAt":"2999-01-01T00:00:00Z"}"#,
            "ahead of this machine's clock",
        ),
        webhook(
            "no time at all",
            r#"{"status":"firing","labels":{"alertname":"A"},"startsAt":"yesterday"}"#,
            "RFC 3339",
        ),
        plain(
            "a misspelt field",
            r#"{"severty":"critical","service":"a","message":"b"}"#,
            "severty",
        ),
        plain(
            "no service",
            r#"{"severity":"critical","service":"","message":"b"}"#,
            "name the service",
        ),
        plain("half of it", r#"{"severity":"critical"}"#, "missing field"),
        plain("a bool", "true", "an alert is an object"),
        plain("a list of bools", "[true]", "[0]"),
        Case {
            name: "a form",
            request: post_as(
                "application/x-www-form-urlencoded",
                "/v1/alerts",
                "severity=critical",
            ),
            status: 415,
            says: "application/json",
        },
    ]);
}

#[test]
fn what_is_not_there_is_said_to_be_missing() {
    let at = |name, path: &str, status, says| Case { name, request: get(path), status, says };
    let run = "01999999-9999-7999-9999-999999999999";
    check(vec![
        at("an unknown incident", "/v1/incidents/INC-99", 404, "incident_not_found"),
        at("no incident number", "/v1/incidents/x", 400, "INC-7"),
        at("a limit that is no number", "/v1/incidents?limit=many", 400, "limit"),
        at("a negative limit", "/v1/incidents?limit=-1", 400, "limit"),
        at(
            "an unknown approval",
            &format!("/v1/approvals/{run}.approve-1"),
            404,
            "approval_not_found",
        ),
        at("an approval without a run", "/v1/approvals/x", 404, "approval_not_found"),
        at("an audit log from nowhere", "/v1/audit?after=x", 400, "after"),
        Case {
            name: "a decision on nothing",
            request: post(&format!("/v1/approvals/{run}.approve-1"), r#"{"decision":"approve"}"#),
            status: 404,
            says: "approval_not_found",
        },
        Case {
            name: "a decision with a misspelt field",
            request: post(
                &format!("/v1/approvals/{run}.approve-1"),
                r#"{"decision":"approve","digset":"x"}"#,
            ),
            status: 400,
            says: "digset",
        },
    ]);
}
