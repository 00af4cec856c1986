use agentry_core::Timestamp;
use agentry_core::telemetry::Window;

use super::*;

fn check(kind: &str, value: &str, expected: Result<(), &str>) {
    let value = Some(value.to_owned());
    let mut settings = Settings::default();
    match kind {
        "metrics" => settings.metrics = value,
        "logs" => settings.logs = value,
        "traces" => settings.traces = value,
        _ => settings.changes = value,
    }
    let client = Client::new(&agentry_http::Settings::default());
    let problems = Sources::parse(&settings, &client).map(drop).map_err(|problems| {
        assert_eq!(problems.len(), 1);
        problems[0].to_string()
    });
    assert_eq!(problems.as_ref().map_err(String::as_str).copied(), expected);
}

#[tokio::test]
async fn a_source_is_named_by_its_kind_and_its_place() {
    check("metrics", "prometheus:http://127.0.0.1:9090", Ok(()));
    check("metrics", "prometheus:https://prometheus.example.org/prefix/?service_label=app", Ok(()));
    check("metrics", "dir:/var/metrics", Ok(()));
    check("logs", "dir:logs", Ok(()));
    check("traces", "dir:.", Ok(()));
    check("changes", "dir:with:colon", Ok(()));

    check(
        "logs",
        "loki:http://x",
        Err("logs = \"loki:http://x\": `loki:` is no source of logs yet, write `dir:PATH`"),
    );
    check(
        "logs",
        "elasticsearch:http://x",
        Err(
            "logs = \"elasticsearch:http://x\": `elasticsearch:` is no source of logs yet, write `dir:PATH`",
        ),
    );
    check(
        "traces",
        "prometheus:http://x",
        Err(
            "traces = \"prometheus:http://x\": `prometheus:` is no source of traces yet, write `dir:PATH`",
        ),
    );
    check(
        "metrics",
        "/var/metrics",
        Err(
            "metrics = \"/var/metrics\": it does not say what kind of source it is, write `prometheus:http://HOST:PORT` or `dir:PATH`",
        ),
    );
    check("changes", "dir:", Err("changes = \"dir:\": it names no folder, write `dir:PATH`"));
    check(
        "metrics",
        "prometheus:localhost",
        Err(
            "metrics = \"prometheus:localhost\": no URL after `prometheus:`: relative URL without a base",
        ),
    );
    check(
        "metrics",
        "prometheus:ftp://x",
        Err(
            "metrics = \"prometheus:ftp://x\": the URL after `prometheus:` must begin with http:// or https://",
        ),
    );
    check(
        "metrics",
        "prometheus:http://x?label=app",
        Err(
            "metrics = \"prometheus:http://x?label=app\": `label` is no option of it; there is `service_label`",
        ),
    );
    check(
        "metrics",
        "prometheus:http://x?service_label=a-b",
        Err("metrics = \"prometheus:http://x?service_label=a-b\": `a-b` is no name of a label"),
    );
    check(
        "metrics",
        "prometheus:http://me:secret@x",
        Err(
            "metrics = \"prometheus:http://…@x\": a password must not stand in a URL; put a proxy that adds it in front",
        ),
    );
}

#[tokio::test]
async fn every_problem_is_reported_at_once() {
    let wrong = Some("wrong".to_owned());
    let settings = Settings {
        metrics: wrong.clone(),
        logs: wrong.clone(),
        traces: wrong,
        changes: Some("dir:fine".to_owned()),
    };
    let client = Client::new(&agentry_http::Settings::default());
    let problems = Sources::parse(&settings, &client).map(drop).unwrap_err();
    assert_eq!(
        problems.iter().map(|problem| problem.kind).collect::<Vec<_>>(),
        ["metrics", "logs", "traces"]
    );
}

#[tokio::test]
async fn each_kind_is_asked_of_its_own_source() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("logs")).unwrap();
    std::fs::write(folder.path().join("logs/web.log"), "2026-01-31T08:30:00Z up\n").unwrap();
    let logs = Some(format!("dir:{}", folder.path().display()));
    let client = Client::new(&agentry_http::Settings::default());
    let sources =
        Sources::parse(&Settings { logs, ..Settings::default() }, &client).unwrap_or_default();
    let window =
        Window { start: Timestamp::from_micros(0), end: "2999-01-01T00:00:00Z".parse().unwrap() };
    let query = Query { window, services: Vec::new(), items_max: 9 };
    assert_eq!(sources.logs(&query).await.unwrap().items.len(), 1);
    assert_eq!(sources.metrics(&query).await, Ok(Page::default()));
    assert_eq!(sources.spans(&query).await, Ok(Page::default()));
    assert_eq!(sources.changes(&query).await, Ok(Page::default()));
}
