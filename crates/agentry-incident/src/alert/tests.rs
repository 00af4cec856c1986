use super::*;

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn webhook(alert: &str) -> String {
    format!(r#"{{"version":"4","status":"firing","receiver":"x","alerts":[{alert}]}}"#)
}

#[test]
fn a_webhook_alert_keeps_its_identity_and_meaning() {
    let body = webhook(
        r#"{"status":"firing","labels":{"alertname":"HighErrorRate","service":"cart","severity":"critical","cluster":"lab"},
            "annotations":{"summary":"errors"},"startsAt":"2026-11-20T11:59:00Z","endsAt":"0001-01-01T00:00:00Z",
            "generatorURL":"http://x","fingerprint":"8d1e89f3901150e4","newField":1}"#,
    );
    let batch = alertmanager(json(&body), now()).unwrap();
    let alert = &batch.alerts[0];
    assert_eq!(
        (
            alert.fingerprint.as_str(),
            alert.name.as_str(),
            alert.service.as_str(),
            alert.environment.as_str()
        ),
        ("8d1e89f3901150e4", "HighErrorRate", "cart", "lab")
    );
    assert_eq!(
        (alert.severity, alert.state, alert.ended),
        (Severity::Critical, State::Firing, None)
    );
    assert_eq!(alert.started.to_string(), "2026-11-20T11:59:00Z");
}

#[test]
fn the_same_labels_have_the_same_fingerprint() {
    let of = |pairs: &[(&str, &str)]| {
        Fingerprint::of(
            &pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        )
    };
    assert_eq!(of(&[("a", "1"), ("b", "2")]), of(&[("b", "2"), ("a", "1")]));
    assert_ne!(of(&[("a", "1"), ("b", "2")]), of(&[("a", "12"), ("b", "")]));
}

/// Body of a webhook alert, and what the refusal must say.
#[test]
fn a_bad_alert_is_refused_with_the_field_and_the_reason() {
    let labels: Vec<String> = (0..10_000).map(|number| format!(r#""l{number}":"x""#)).collect();
    let many =
        format!(r#"{{"status":"firing","labels":{{"alertname":"A",{}}}}}"#, labels.join(","));
    for (alert, param, reason) in [
        (
            r#"{"status":"broken","labels":{"alertname":"A"}}"#,
            "alerts[0].status",
            "neither firing nor resolved",
        ),
        (r#"{"status":"firing","labels":{}}"#, "alerts[0].labels.alertname", "needs a name"),
        (r#"{"status":"firing","labels":{"alertname":1}}"#, "alerts[0]", "expected a string"),
        (
            r#"{"status":"firing","labels":{"alertname":"A"},"startsAt":"2999-01-01T00:00:00Z"}"#,
            "alerts[0].startsAt",
            "ahead",
        ),
        (
            r#"{"status":"firing","labels":{"alertname":"A"},"startsAt":"1970-01-01T00:00:00Z"}"#,
            "alerts[0].startsAt",
            "2000",
        ),
        (
            r#"{"status":"firing","labels":{"alertname":"A"},"startsAt":"soon"}"#,
            "alerts[0].startsAt",
            "RFC 3339",
        ),
        ("17", "alerts[0]", "an alert is an object"),
        (many.as_str(), "alerts[0].labels", "10001 labels"),
    ] {
        let error = alertmanager(json(&webhook(alert)), now()).unwrap_err();
        assert_eq!(error.param(), Some(param), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn one_bad_alert_does_not_lose_its_neighbour() {
    let body = webhook(
        r#"{"status":"firing","labels":{"alertname":"A"}},{"status":"firing","labels":{}}"#,
    );
    let batch = alertmanager(json(&body), now()).unwrap();
    assert_eq!((batch.alerts.len(), batch.rejected.len(), batch.rejected[0].index), (1, 1, 1));
}

#[test]
fn the_plain_form_takes_one_or_many_and_refuses_unknown_fields() {
    let one = r#"{"severity":"critical","service":"db","message":"possible data loss on shard 3"}"#;
    let alert = generic(json(one), now()).unwrap().alerts.remove(0);
    assert_eq!(
        (alert.severity, alert.service.as_str(), alert.started),
        (Severity::Emergency, "db", now())
    );
    assert_eq!(generic(json(&format!("[{one},{one}]")), now()).unwrap().alerts.len(), 2);
    for (body, reason) in [
        (
            r#"{"severity":"critical","service":"db","message":"x","serverity":"y"}"#,
            "unknown field `serverity`",
        ),
        (r#"{"severity":"critical","service":" ","message":"x"}"#, "name the service"),
        (r#"{"severity":"critical"}"#, "missing field"),
        ("true", "an alert is an object"),
        ("[[]]", "[0]: an alert is an object"),
    ] {
        let error = generic(json(body), now()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn long_texts_are_cut_between_characters() {
    let body = format!(r#"{{"severity":"info","service":"s","message":"{}"}}"#, "é".repeat(10_000));
    let alert = generic(json(&body), now()).unwrap().alerts.remove(0);
    assert!(
        alert.summary.len() <= TEXT_BYTES_MAX && alert.summary.chars().all(|letter| letter == 'é')
    );
}
