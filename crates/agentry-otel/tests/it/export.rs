//! Spans against a collector on this machine that remembers what it was sent.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentry_core::chat::Usage;
use agentry_core::model::CallContext;
use agentry_core::trace::Sampling;
use agentry_core::{Clock, Code, MicroUsd, Timestamp, Trace, ledger};
use agentry_gateway::{Call, Failed, Found, Observer as _, Settled, Status};
use agentry_http::Client;
use agentry_otel::{Exporter, Provider, Settings, Tracer};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Nothing in these tests may take longer.
const PATIENCE: Duration = Duration::from_secs(20);
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(43_200)
    }
}

/// Answers with what it is told to, then with 200.
pub(crate) struct Collector {
    address: SocketAddr,
    got: mpsc::Receiver<(String, HeaderMap, Value)>,
    _tasks: JoinSet<()>,
}

impl Collector {
    pub(crate) async fn start(answers: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, got) = mpsc::channel(64);
        let answers = Arc::new(Mutex::new(answers.iter().copied().collect::<VecDeque<u16>>()));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tell, answers) = (tell.clone(), Arc::clone(&answers));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (tell, answers) = (tell.clone(), Arc::clone(&answers));
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                        let _ = tell.try_send((parts.uri.to_string(), parts.headers, body));
                        let status = answers.lock().unwrap().pop_front().unwrap_or(200);
                        let mut response = Response::new(Full::new(Bytes::from("{}")));
                        *response.status_mut() = StatusCode::from_u16(status).unwrap();
                        Ok::<_, hyper::Error>(response)
                    }
                });
                let http = hyper::server::conn::http1::Builder::new();
                connections.spawn(async move {
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, got, _tasks: tasks }
    }

    async fn next(&mut self) -> (String, HeaderMap, Value) {
        tokio::time::timeout(PATIENCE, self.got.recv()).await.expect("in time").unwrap()
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            linger: Duration::from_millis(20),
            ..Settings::new(format!("http://{}", self.address))
        }
    }
}

fn open(settings: Settings) -> (Tracer, Exporter) {
    let client = Client::new(&agentry_http::Settings::default());
    agentry_otel::open(settings, client, Arc::new(Noon), 7).unwrap()
}

fn settled<'a>(cx: &'a CallContext, usage: &'a Usage) -> Settled<'a> {
    Settled {
        call: Call { model: "fast", endpoint: "chat_completions" },
        status: Status::Answered,
        target: Some("openai/gpt-4o-mini"),
        attempts: 1,
        usage: Some(usage),
        cost: Some(MicroUsd(1_500)),
        estimated: MicroUsd(0),
        latency: Duration::from_millis(1_500),
        first_token: Some(Duration::from_millis(250)),
        source: ledger::Cache::Miss,
        cx,
        found: Some(Found::Miss),
        saved: None,
        asked_after: Duration::ZERO,
        failed: &[],
        fallbacks: 0,
        hedges: 0,
    }
}

fn usage() -> Usage {
    Usage { input_tokens: 100, cached_input_tokens: 40, output_tokens: 7, ..Usage::default() }
}

fn traced() -> CallContext {
    let parent = Trace::parse(TRACEPARENT).unwrap();
    let mut cx = CallContext::new("req_1", "chat_completions");
    cx.trace = Some(parent.child(0xabc));
    cx.session = Some("s-1".into());
    cx
}

/// Everything that the exporter sends until it has nothing left.
pub(crate) async fn sent(
    mut collector: Collector,
    settings: Settings,
    calls: impl FnOnce(&Tracer),
) -> Vec<Value> {
    let (tracer, exporter) = open(settings);
    calls(&tracer);
    drop(tracer);
    let running = exporter.run(CancellationToken::new());
    tokio::time::timeout(PATIENCE, running).await.expect("in time");
    let mut spans = Vec::new();
    while let Ok((path, headers, body)) = collector.got.try_recv() {
        assert_eq!(path, "/v1/traces");
        assert_eq!(headers["content-type"], "application/json");
        spans.extend(spans_of(&body));
    }
    spans
}

/// Checks the envelope, and that each span is what OTLP's JSON form asks for.
fn spans_of(body: &Value) -> Vec<Value> {
    let resources = body["resourceSpans"].as_array().unwrap();
    assert_eq!(resources.len(), 1, "{body}");
    let resource = attributes(&resources[0]["resource"]["attributes"]);
    assert_eq!(resource["service.name"], json!({ "stringValue": "agentry" }));
    let scopes = resources[0]["scopeSpans"].as_array().unwrap();
    assert_eq!((scopes.len(), &scopes[0]["scope"]["name"]), (1, &json!("agentry")));
    let spans = scopes[0]["spans"].as_array().unwrap();
    for span in spans {
        let is_hex = |value: &Value, digits: usize| {
            let text = value.as_str().unwrap();
            text.len() == digits
                && text.bytes().all(|byte| byte.is_ascii_hexdigit())
                && text.bytes().any(|byte| byte != b'0')
        };
        assert!(is_hex(&span["traceId"], 32) && is_hex(&span["spanId"], 16), "{span}");
        let nanos = |name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
        assert!(nanos("startTimeUnixNano") <= nanos("endTimeUnixNano"), "{span}");
        assert!((1..=5).contains(&span["kind"].as_u64().unwrap()), "{span}");
        for (name, value) in attributes(&span["attributes"]) {
            let value = value.as_object().unwrap();
            let kinds = ["stringValue", "intValue", "doubleValue", "boolValue"];
            assert!(
                value.len() == 1 && kinds.iter().any(|kind| value.contains_key(*kind)),
                "{name}"
            );
            assert!(value.get("intValue").is_none_or(Value::is_string), "{name} is not text");
        }
    }
    spans.clone()
}

pub(crate) fn attributes(list: &Value) -> HashMap<String, Value> {
    let pairs = list.as_array().unwrap().iter();
    let all: HashMap<String, Value> = pairs
        .map(|pair| (pair["key"].as_str().unwrap().to_owned(), pair["value"].clone()))
        .collect();
    assert_eq!(all.len(), list.as_array().unwrap().len(), "a name is there twice");
    all
}

#[tokio::test]
async fn a_call_is_a_span_below_its_callers() {
    let collector = Collector::start(&[]).await;
    let provider = Provider {
        name: "openai".to_owned(),
        address: "api.openai.com".to_owned(),
        port: Some(443),
    };
    let providers = HashMap::from([("openai".to_owned(), provider)]);
    let settings = Settings { providers, ..collector.settings() };
    let spans = sent(collector, settings, |tracer| {
        tracer.settled(&settled(&traced(), &usage()));
    })
    .await;
    assert_eq!(spans.len(), 1);
    let span = &spans[0];
    assert_eq!(span["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(span["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(span["spanId"], "0000000000000abc");
    assert_eq!((&span["name"], &span["kind"]), (&json!("chat fast"), &json!(3)));
    assert_eq!(span["startTimeUnixNano"], "43198500000000");
    assert_eq!(span["endTimeUnixNano"], "43200000000000");
    assert_eq!(
        span["events"],
        json!([{ "name": "agentry.first_token", "timeUnixNano": "43198750000000" }])
    );
    assert_eq!(span.get("status"), None);
    let attributes = attributes(&span["attributes"]);
    let text = |value: &str| json!({ "stringValue": value });
    let whole = |value: u64| json!({ "intValue": value.to_string() });
    for (name, expected) in [
        ("gen_ai.operation.name", text("chat")),
        ("gen_ai.provider.name", text("openai")),
        ("gen_ai.request.model", text("fast")),
        ("gen_ai.response.model", text("gpt-4o-mini")),
        ("gen_ai.usage.input_tokens", whole(100)),
        ("gen_ai.usage.cache_read.input_tokens", whole(40)),
        ("gen_ai.usage.output_tokens", whole(7)),
        ("gen_ai.conversation.id", text("s-1")),
        ("server.address", text("api.openai.com")),
        ("server.port", whole(443)),
        ("agentry.cache", text("miss")),
        ("agentry.cost_usd", json!({ "doubleValue": 0.0015 })),
        ("agentry.call_id", text("req_1")),
    ] {
        assert_eq!(attributes.get(name), Some(&expected), "{name}");
    }
    assert!(!attributes.contains_key("error.type"));
}

#[tokio::test]
async fn attempts_are_spans_below_the_call() {
    let collector = Collector::start(&[]).await;
    let settings = collector.settings();
    let failed = [Failed {
        target: "one/small".into(),
        began: Duration::ZERO,
        ended: Duration::from_millis(400),
        code: Code("model_unavailable"),
    }];
    let spans = sent(collector, settings, |tracer| {
        tracer.settled(&Settled {
            target: Some("two/small"),
            attempts: 2,
            failed: &failed,
            asked_after: Duration::from_millis(500),
            ..settled(&traced(), &usage())
        });
    })
    .await;
    let shown: Vec<_> = spans
        .iter()
        .map(|span| {
            let mut pairs = span["attributes"].as_array().unwrap().iter();
            let error = pairs.find(|pair| pair["key"] == "error.type");
            let error = error.and_then(|pair| pair["value"]["stringValue"].as_str());
            (span["name"].as_str().unwrap(), span["startTimeUnixNano"].as_str().unwrap(), error)
        })
        .collect();
    let expected = [
        ("chat fast", "43198500000000", None),
        ("attempt one/small", "43198500000000", Some("model_unavailable")),
        ("attempt two/small", "43199000000000", None),
    ];
    assert_eq!(shown, expected);
    assert_eq!(spans[1]["status"], json!({ "code": 2, "message": "model_unavailable" }));
    for attempt in &spans[1..] {
        assert_eq!(attempt["parentSpanId"], spans[0]["spanId"]);
        assert_eq!(attempt["traceId"], spans[0]["traceId"]);
    }
    assert_ne!(spans[1]["spanId"], spans[2]["spanId"]);
}

#[tokio::test]
async fn a_failed_call_says_what_kind_of_error_it_was() {
    let collector = Collector::start(&[]).await;
    let settings = collector.settings();
    let cx = CallContext::new("req_2", "embeddings");
    let spans = sent(collector, settings, |tracer| {
        tracer.settled(&Settled {
            call: Call { model: "vectors", endpoint: "embeddings" },
            status: Status::Failed(Code("model_timed_out")),
            usage: None,
            cost: None,
            first_token: None,
            ..settled(&cx, &usage())
        });
    })
    .await;
    assert_eq!(spans[0]["name"], "embeddings vectors");
    assert_eq!(spans[0]["status"], json!({ "code": 2, "message": "model_timed_out" }));
    assert_eq!(spans[0].get("parentSpanId"), None, "nobody has called it");
    let attributes = attributes(&spans[0]["attributes"]);
    assert_eq!(attributes["error.type"], json!({ "stringValue": "model_timed_out" }));
}

#[tokio::test]
async fn what_the_caller_does_not_want_written_down_is_not() {
    let collector = Collector::start(&[]).await;
    let settings = Settings { sampling: Sampling::ratio(0.0), ..collector.settings() };
    let spans = sent(collector, settings, |tracer| {
        let unwanted = Trace::parse(&TRACEPARENT.replace("-01", "-00")).unwrap();
        let mut cx = traced();
        cx.trace = Some(unwanted.child(1));
        tracer.settled(&settled(&cx, &usage()));
        // Of those that begin here none is taken; this caller's is.
        cx.trace = None;
        tracer.settled(&settled(&cx, &usage()));
        tracer.settled(&settled(&traced(), &usage()));
    })
    .await;
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0]["spanId"], "0000000000000abc");
}

#[tokio::test]
async fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let check = async |answers: &[u16], expected: usize| {
        let collector = Collector::start(answers).await;
        let settings = collector.settings();
        let one = |tracer: &Tracer| tracer.settled(&settled(&traced(), &usage()));
        assert_eq!(sent(collector, settings, one).await.len(), expected, "{answers:?}");
    };
    check(&[200], 1).await;
    check(&[503, 200], 2).await;
    check(&[400, 200], 1).await;
}

#[tokio::test]
async fn a_full_queue_drops_spans_and_holds_up_nobody() {
    let collector = Collector::start(&[]).await;
    let settings = Settings { queue_max: 3, batch_max: 2, ..collector.settings() };
    let spans = sent(collector, settings, |tracer| {
        for _ in 0..100 {
            tracer.settled(&settled(&traced(), &usage()));
        }
    })
    .await;
    assert_eq!(spans.len(), 3);
}

#[tokio::test]
async fn what_waits_is_sent_before_the_end() {
    let mut collector = Collector::start(&[]).await;
    let mut headers = HeaderMap::new();
    headers.insert("x-key", HeaderValue::from_static("secret"));
    let settings = Settings { linger: Duration::from_secs(3_600), headers, ..collector.settings() };
    let (tracer, exporter) = open(settings);
    tracer.settled(&settled(&traced(), &usage()));
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, exporter.run(shutdown)).await.expect("in time");
    let (_, headers, body) = collector.next().await;
    assert_eq!(headers["x-key"], "secret");
    assert_eq!(spans_of(&body).len(), 1);
}
