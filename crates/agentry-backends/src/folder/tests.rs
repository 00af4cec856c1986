use std::collections::BTreeMap;
use std::fs;

use agentry_core::Timestamp;
use agentry_core::telemetry::{Level, SpanKind, Window};

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn query(services: &[&str], items_max: usize) -> Query {
    Query {
        window: Window { start: at("2026-01-31T08:00:00Z"), end: at("2026-01-31T09:00:00Z") },
        services: services.iter().map(|&service| service.to_owned()).collect(),
        items_max,
    }
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn scanner(folder: &tempfile::TempDir, kind: &'static str, limits: Limits) -> Scanner {
    Scanner::new(folder.path().to_owned(), kind, limits)
}

/// A line that is read, written as `level service trace message`; or that is skipped.
fn check_log(line: &str, expected: Result<&str, u64>) {
    let folder = folder(&[("logs/cart.jsonl", format!("{line}\n").as_bytes())]);
    let found = logs::read(&scanner(&folder, "logs", Limits::default()), &query(&[], 10)).unwrap();
    let shown: Vec<String> = found
        .page
        .items
        .iter()
        .map(|line| {
            assert_eq!(line.at, at("2026-01-31T08:30:00.5Z"), "{line:?}");
            assert_eq!(line.handle, "logs/cart.jsonl:1");
            let trace = line.trace_id.as_deref().unwrap_or("-");
            format!("{:?} {} {trace} {}", line.level, line.service, line.message)
        })
        .collect();
    match expected {
        Ok(text) => assert_eq!((shown, found.skipped), (vec![text.to_owned()], 0), "{line}"),
        Err(skipped) => assert_eq!((shown, found.skipped), (Vec::new(), skipped), "{line}"),
    }
}

#[test]
fn log_lines_are_read_in_many_dialects() {
    let own = r#"{"timestamp":"2026-01-31T08:30:00.5Z","level":"error","service":"pay","message":"no \"funds\"","trace_id":"t1"}"#;
    check_log(own, Ok("Error pay t1 no \"funds\""));
    let offset =
        r#"{"time":"2026-01-31T10:30:00.5+02:00","severity":"WARNING","msg":"slow","app":"web"}"#;
    check_log(offset, Ok("Warn web - slow"));
    let pino =
        r#"{"level":50,"time":1769848200500,"pid":7,"req":{"id":[1]},"msg":"boom","traceId":null}"#;
    check_log(pino, Ok("Error cart - boom"));
    let zap =
        r#"{"lvl":"debug","ts":1769848200.5,"msg":"x","message":"first wins","level":"info"}"#;
    check_log(zap, Ok("Debug cart - x"));
    check_log(
        r#"{"timestamp":"2026-01-31T08:30:00.5Z","message":"no level","service":""}"#,
        Ok("Info cart - no level"),
    );
    check_log("2026-01-31T08:30:00.5Z [ERROR] it: broke", Ok("Error cart - it: broke"));
    check_log("[2026-01-31T08:30:00.5Z] hello there", Ok("Info cart - hello there"));
    check_log("2026-01-31T08:30:00.5Z WARN", Ok("Warn cart - "));
}

#[test]
fn what_is_no_log_line_is_skipped_and_counted() {
    check_log(r#"{"timestamp":"2026-01-31T08:30:00.5Z","message":"cut of"#, Err(1));
    check_log(r#"{"timestamp":"yesterday","message":"when?"}"#, Err(1));
    check_log(r#"{"message":"never"}"#, Err(1));
    check_log(r#"{"timestamp":"2026-01-31T08:30:00.5Z","message":{"not":"text"}}"#, Err(1));
    check_log("    at Object.<anonymous> (index.js:1:1)", Err(1));
    check_log("[1, 2]", Err(1));
    check_log("", Err(0));
    check_log(r#"{"timestamp":"2026-01-31T09:00:00Z","message":"outside of the window"}"#, Err(0));
    check_log(r#"{"timestamp":"2999-01-01T00:00:00Z","message":"outside of the window"}"#, Err(0));
}

#[test]
fn a_line_that_is_still_being_written_is_not_broken() {
    let text = b"2026-01-31T08:30:00Z done\n{\"timestamp\":\"2026-01-31T08:3";
    let folder = folder(&[("logs/cart.log", text)]);
    let found = logs::read(&scanner(&folder, "logs", Limits::default()), &query(&[], 10)).unwrap();
    assert_eq!((found.page.items.len(), found.page.truncated, found.skipped), (1, false, 0));
}

#[test]
fn bytes_that_are_not_text_do_no_harm() {
    let folder = folder(&[(
        "logs/cart.log",
        b"\xff\xfe\n{\"message\":\"\xff\"}\n\0\0\n2026-01-31T08:30:00Z fine\n",
    )]);
    let found = logs::read(&scanner(&folder, "logs", Limits::default()), &query(&[], 10)).unwrap();
    assert_eq!((found.page.items[0].message.as_str(), found.skipped), ("fine", 3));
}

/// Sixty lines a file, a minute apart; `a.log` and `b.log`.
fn two_logs() -> tempfile::TempDir {
    let text = |name: &str| -> String {
        (0..60).map(|minute| format!("2026-01-31T08:{minute:02}:00Z {name} {minute}\n")).collect()
    };
    folder(&[
        ("a.log", text("a").as_bytes()),
        ("b.log.1", text("b").as_bytes()),
        ("c.log.gz", b"no text"),
    ])
}

fn check_cut(limits: Limits, query: &Query, count: usize, first: &str, truncated: bool) {
    let folder = two_logs();
    let page = logs::read(&scanner(&folder, "logs", limits), query).unwrap().page;
    let shown = page.items.first().map(|line| format!("{} {}", line.handle, line.message));
    assert_eq!(
        (page.items.len(), shown.unwrap_or_default().as_str(), page.truncated),
        (count, first, truncated)
    );
}

#[test]
fn the_newest_lines_stay_when_there_are_too_many() {
    let all = Limits::default();
    check_cut(all, &query(&[], 1000), 120, "a.log:1 a 0", false);
    check_cut(all, &query(&[], 7), 7, "b.log.1:57 b 56", true);
    check_cut(all, &query(&["b"], 1000), 60, "b.log.1:1 b 0", false);
    check_cut(all, &query(&["nobody"], 1000), 0, "", false);
    check_cut(all, &query(&[], 0), 0, "", true);
    let line = "2026-01-31T08:00:00Z a 10\n".len() as u64;
    check_cut(
        Limits { file_bytes_max: 2 * line, ..all },
        &query(&["a"], 9),
        2,
        "a.log@1498 a 58",
        true,
    );
    check_cut(
        Limits { file_bytes_max: 2 * line - 1, ..all },
        &query(&["a"], 9),
        1,
        "a.log@1524 a 59",
        true,
    );
    check_cut(Limits { files_max: 0, ..all }, &query(&[], 9), 0, "", true);
    check_cut(Limits { total_bytes_max: 0, ..all }, &query(&[], 9), 0, "", true);
}

#[test]
fn spans_are_read_from_otlp() {
    let line = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"host","value":{"intValue":"3"}},
        {"key":"service.name","value":{"stringValue":"pay"}}]},"scopeSpans":[{"scope":{"name":"x"},"spans":[
        {"traceId":"t","spanId":"a","name":"GET /","kind":2,"startTimeUnixNano":"1769848200500000000",
         "endTimeUnixNano":"1769848200750000999","status":{}},
        {"traceId":"t","spanId":"b","parentSpanId":"a","name":"call","kind":"SPAN_KIND_CLIENT","startTimeUnixNano":1769848200600000000,
         "endTimeUnixNano":1769848200500000000,"attributes":[{"key":"peer.service","value":{"stringValue":"bank"}}],
         "status":{"code":2,"message":"no"}}]}]}]}"#;
    let text = format!(
        "{}\n{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{{}}]}}]}}]}}\n",
        line.replace('\n', "")
    );
    let folder = folder(&[("traces/x.jsonl", text.as_bytes())]);
    let found =
        traces::read(&scanner(&folder, "traces", Limits::default()), &query(&["pay"], 10)).unwrap();
    let start = at("2026-01-31T08:30:00.5Z");
    let server = Span {
        trace_id: "t".to_owned(),
        span_id: "a".to_owned(),
        parent_id: None,
        service: "pay".to_owned(),
        name: "GET /".to_owned(),
        kind: SpanKind::Server,
        start,
        duration_us: 250_000,
        failed: false,
        peer: None,
    };
    let client = Span {
        span_id: "b".to_owned(),
        parent_id: Some("a".to_owned()),
        name: "call".to_owned(),
        kind: SpanKind::Client,
        start: start.plus(Duration::from_millis(100)),
        // A clock that went back makes no negative duration.
        duration_us: 0,
        failed: true,
        peer: Some("bank".to_owned()),
        ..server.clone()
    };
    assert_eq!(
        found,
        Found { page: Page { items: vec![server, client], truncated: false }, skipped: 1 }
    );
}

#[test]
fn changes_are_read_with_what_undoes_them() {
    let text = concat!(
        r#"{"timestamp":"2026-01-31T08:30:00Z","service":"pay","kind":"deploy","summary":"v2","revision":"2","previous":"1"}"#,
        "\n{\"timestamp\":\"2026-01-31T08:31:00Z\",\"service\":\"pay\",\"kind\":\"flag\"}\n{\"service\":\"pay\"}\n"
    );
    let folder = folder(&[("changes/all.jsonl", text.as_bytes())]);
    let found =
        changes::read(&scanner(&folder, "changes", Limits::default()), &query(&[], 10)).unwrap();
    let deploy = Change {
        at: at("2026-01-31T08:30:00Z"),
        service: "pay".to_owned(),
        kind: "deploy".to_owned(),
        summary: "v2".to_owned(),
        revision: Some("2".to_owned()),
        previous: Some("1".to_owned()),
        handle: "changes/all.jsonl:1".to_owned(),
    };
    let flag = Change {
        at: at("2026-01-31T08:31:00Z"),
        kind: "flag".to_owned(),
        summary: String::new(),
        revision: None,
        previous: None,
        handle: "changes/all.jsonl:2".to_owned(),
        ..deploy.clone()
    };
    assert_eq!(
        found,
        Found { page: Page { items: vec![deploy, flag], truncated: false }, skipped: 1 }
    );
}

#[test]
fn samples_become_series() {
    let scrape = |minute: u32, first: &str| {
        format!(
            r#"{{"timestamp":"2026-01-31T08:{minute:02}:00Z","service":"pay","samples":[{first},
               {{"name":"up","value":1}},{{"name":"bad","value":"NaN"}},{{"name":"none","value":null}}]}}"#
        )
        .replace('\n', "")
    };
    let text = [
        scrape(
            2,
            r#"{"name":"hits","labels":{"path":"/","code":"200","service":"pay"},"value":7.5}"#,
        ),
        scrape(1, r#"{"name":"hits","labels":{"code":"200","path":"/"},"value":"5"}"#),
        "{\"timestamp\":\"2026-01-31T08:03:00Z\"}".to_owned(),
    ]
    .join("\n")
        + "\n";
    // The label that repeats the service makes a series of its own only where it says something else.
    let text = text.replace(r#","service":"pay"},"value":7.5"#, r#"},"value":7.5"#);
    let folder = folder(&[("metrics/m.jsonl", text.as_bytes())]);
    let read = |items_max| {
        metrics::read(&scanner(&folder, "metrics", Limits::default()), &query(&[], items_max))
            .unwrap()
    };
    let (one, two) = (at("2026-01-31T08:01:00Z"), at("2026-01-31T08:02:00Z"));
    let labels =
        [("code", "200"), ("path", "/")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let hits = Series {
        name: "hits".to_owned(),
        service: "pay".to_owned(),
        labels: labels.into(),
        points: vec![(one, 5.0), (two, 7.5)],
    };
    let up = Series {
        name: "up".to_owned(),
        service: "pay".to_owned(),
        labels: BTreeMap::new(),
        points: vec![(one, 1.0), (two, 1.0)],
    };
    let whole =
        Found { page: Page { items: vec![hits.clone(), up], truncated: false }, skipped: 1 };
    assert_eq!(read(10), whole);
    assert_eq!(read(1), Found { page: Page { items: vec![hits], truncated: true }, skipped: 1 });
}

#[tokio::test]
async fn the_port_reads_what_is_there_and_says_when_nothing_can_be() {
    let folder = folder(&[("logs/web.log", b"2026-01-31T08:30:00Z ERROR down\n")]);
    let source = Folder::new(folder.path());
    let line = LogLine {
        at: at("2026-01-31T08:30:00Z"),
        service: "web".to_owned(),
        level: Level::Error,
        message: "down".to_owned(),
        trace_id: None,
        handle: "logs/web.log:1".to_owned(),
    };
    assert_eq!(source.logs(&query(&[], 9)).await, Ok(Page { items: vec![line], truncated: false }));
    assert_eq!(source.metrics(&query(&[], 9)).await, Ok(Page::default()));
    assert_eq!(source.spans(&query(&[], 9)).await, Ok(Page::default()));
    assert_eq!(source.changes(&query(&[], 9)).await, Ok(Page::default()));

    let missing = Folder::new(folder.path().join("nowhere"));
    let error = missing.logs(&query(&[], 9)).await.unwrap_err();
    assert!(
        matches!(&error, Error::Unavailable { source_name, .. } if source_name.ends_with("nowhere")),
        "{error}"
    );
}
