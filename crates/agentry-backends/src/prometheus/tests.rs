use std::collections::BTreeMap;

use agentry_core::Timestamp;
use agentry_core::telemetry::Window;

use super::*;
use crate::scripted::{Play, Scripted, client, nobody};

mod real;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn query(services: &[&str], items_max: usize) -> Query {
    Query {
        window: Window { start: at("2026-01-31T08:00:00Z"), end: at("2026-01-31T08:01:00Z") },
        services: services.iter().map(|&service| service.to_owned()).collect(),
        items_max,
    }
}

fn matrix(result: &str) -> String {
    format!(
        r#"{{"status":"success","data":{{"resultType":"matrix","result":[{result}]}},"warnings":["w"]}}"#
    )
}

/// 1769846400 is 2026-01-31T08:00:00Z.
const CART: &str = r#"{"metric":{"__name__":"hits_total","service":"cart","job":"shop","code":"200"},
    "values":[[1769846399.999,"1"],[1769846400,"2"],[1769846415.5,"NaN"],[1769846416,"+Inf"],[1769846420.25,"4e1"],[1769846460,"9"]]}"#;
const JOB: &str =
    r#"{"metric":{"__name__":"up","job":"pay","instance":"i:1"},"values":[[1769846410,"1"]]}"#;
const SILENT: &str = r#"{"metric":{"__name__":"gone","job":"pay"},"values":[[1769846410,"NaN"]]}"#;

fn cart() -> Series {
    let labels =
        [("job", "shop"), ("code", "200")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    Series {
        name: "hits_total".to_owned(),
        service: "cart".to_owned(),
        labels: labels.into(),
        points: vec![(at("2026-01-31T08:00:00Z"), 2.0), (at("2026-01-31T08:00:20.25Z"), 40.0)],
    }
}

fn job() -> Series {
    Series {
        name: "up".to_owned(),
        service: "pay".to_owned(),
        labels: BTreeMap::from([("instance".to_owned(), "i:1".to_owned())]),
        points: vec![(at("2026-01-31T08:00:10Z"), 1.0)],
    }
}

fn source(url: &Url) -> Prometheus {
    Prometheus::new(client(), Settings::new(url.clone()))
}

#[tokio::test]
async fn raw_samples_of_the_window_are_read() {
    let server = Scripted::answering(&[(200, &matrix(&[CART, SILENT, JOB].join(",")))]);
    let page = source(&server.url).metrics(&query(&[], 10)).await;
    assert_eq!(page, Ok(Page { items: vec![cart(), job()], truncated: false }));
    let seen = server.finish();
    assert_eq!((seen.len(), seen[0].line.as_str()), (1, "POST /api/v1/query"));
    let form: BTreeMap<String, String> =
        url::form_urlencoded::parse(seen[0].body.as_bytes()).into_owned().collect();
    let expected = [
        ("query", r#"{__name__!~"ALERTS|ALERTS_FOR_STATE|scrape_.*",__name__!=""}[60001ms]"#),
        ("time", "1769846460.000"),
        ("timeout", "10000ms"),
        ("limit", "11"),
    ];
    assert_eq!(form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[tokio::test]
async fn services_are_named_by_their_label_or_else_by_their_job() {
    let server = Scripted::answering(&[(200, &matrix(CART)), (200, &matrix(JOB))]);
    let page = source(&server.url).metrics(&query(&["cart", "pay"], 1)).await;
    assert_eq!(page, Ok(Page { items: vec![cart()], truncated: true }));
    assert_eq!(server.finish().len(), 2);
    assert_eq!(
        selectors("app", &query(&["a.b", "c\"\\"], 1)),
        [
            r#"{__name__!~"ALERTS|ALERTS_FOR_STATE|scrape_.*",app=~"a\\.b|c\"\\\\"}[60001ms]"#,
            r#"{__name__!~"ALERTS|ALERTS_FOR_STATE|scrape_.*",app="",job=~"a\\.b|c\"\\\\"}[60001ms]"#,
        ]
    );
    assert_eq!(selectors("job", &query(&["a"], 1)).len(), 1);
}

#[tokio::test]
async fn the_number_of_series_is_bounded() {
    let server = Scripted::answering(&[(200, &matrix(&[CART, JOB].join(",")))]);
    let page = source(&server.url).metrics(&query(&[], 1)).await;
    assert_eq!(page, Ok(Page { items: vec![cart()], truncated: true }));
    server.finish();
}

#[tokio::test]
async fn an_error_keeps_the_servers_words() {
    let check = async |play: Play, expected: &str| {
        let server = Scripted::start([play]);
        let mut settings = Settings::new(server.url.clone());
        settings.bytes_max = 4096;
        let error = Prometheus::new(client(), settings).metrics(&query(&[], 10)).await.unwrap_err();
        let kind = match &error {
            Error::Unavailable { .. } => "unavailable",
            Error::TimedOut { .. } => "timed out",
            Error::Malformed { .. } => "malformed",
        };
        let text = format!("{kind}: {error}");
        let text = text.replace(server.url.as_str(), "URL");
        assert_eq!(text, expected);
        server.finish();
    };
    let answer = |status: u16, body: &str| Play::Answer(status, body.to_owned());
    let complaint =
        |kind: &str| format!(r#"{{"status":"error","errorType":"{kind}","error":"its words"}}"#);
    check(
        answer(400, &complaint("bad_data")),
        "malformed: Prometheus at URL answered something unreadable: bad_data: its words",
    )
    .await;
    check(
        answer(422, &complaint("execution")),
        "malformed: Prometheus at URL answered something unreadable: execution: its words",
    )
    .await;
    check(
        answer(503, &complaint("timeout")),
        "timed out: Prometheus at URL took longer than 10000 ms",
    )
    .await;
    check(
        answer(503, &complaint("unavailable")),
        "unavailable: Prometheus at URL cannot be reached: 503 Service Unavailable: unavailable: its words",
    )
    .await;
    check(
        answer(404, "<html>"),
        "unavailable: Prometheus at URL cannot be reached: 404 Not Found: is this the address of a Prometheus server?",
    )
    .await;
    check(
        answer(200, "{"),
        "malformed: Prometheus at URL answered something unreadable: EOF while parsing an object at line 1 column 1",
    )
    .await;
    check(
        answer(200, r#"{"data":{"resultType":"vector","result":[]}}"#),
        "malformed: Prometheus at URL answered something unreadable: a vector instead of a matrix",
    )
    .await;
    check(
        answer(200, &matrix(&[CART; 30].join(","))),
        "malformed: Prometheus at URL answered something unreadable: the response is longer than 4096 bytes; ask for fewer services or less time",
    )
    .await;
}

#[tokio::test]
async fn silence_and_absence_are_told_apart() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap()).parse().unwrap();
    let mut settings = Settings::new(url);
    settings.deadline = Duration::from_millis(50);
    let error = Prometheus::new(client(), settings).metrics(&query(&[], 10)).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    let error = source(&nobody()).metrics(&query(&[], 10)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn it_knows_nothing_but_metrics() {
    let source = source(&nobody());
    assert_eq!(source.logs(&query(&[], 1)).await, Ok(Page::default()));
    assert_eq!(source.spans(&query(&[], 1)).await, Ok(Page::default()));
    assert_eq!(source.changes(&query(&[], 1)).await, Ok(Page::default()));
}
