use std::io::{ErrorKind, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;

use agentry_balance::{LimitSettings, Settings};
use agentry_core::chat::{ChatRequest, Usage};
use agentry_core::model::{Capabilities, ChatModel, ChatStream, ModelError};
use agentry_core::{Clock, Code, MicroUsd, Timestamp, ledger};
use agentry_gateway::cache::{Cache, Levels};
use agentry_gateway::{Alias, Caching, Found, Policies, Status, Surroundings, Target};
use agentry_guards::{Action, Guards};
use async_trait::async_trait;

use super::*;

struct Silent;

#[async_trait]
impl ChatModel for Silent {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn stream(&self, _: &CallContext, _: ChatRequest) -> Result<ChatStream, ModelError> {
        Err(ModelError::Truncated)
    }
}

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(43_200)
    }
}

/// With two targets of one model, one of them limited, and a cache.
fn gateway(metrics: &Arc<Metrics>) -> Arc<Gateway> {
    let target = |name: &str| Target::new("one", name, Arc::new(Silent) as Arc<_>);
    let limit = Some(LimitSettings::default());
    let targets = vec![Target { limit, ..target("small") }, target("large")];
    let settings =
        agentry_gateway::cache::Settings { bytes_max: 1 << 20, ttl: Duration::from_secs(60) };
    let cache = Cache::new(settings, std::time::Instant::now());
    let caching = Caching::new(Arc::new(Levels::local(Arc::new(cache))));
    let surroundings = Surroundings {
        policies: Policies { cache: Some(caching), ..Policies::default() },
        targets: Settings::default(),
        ..Surroundings::new(Arc::clone(metrics) as _, Arc::new(Noon), 1)
    };
    Arc::new(Gateway::new(vec![Alias::new("fast", targets)], surroundings).unwrap())
}

/// A call that was answered well by a target that was asked; each test changes what it is about.
fn settled(cx: &CallContext) -> Settled<'_> {
    Settled {
        call: Call { model: "fast", endpoint: "chat_completions" },
        status: Status::Answered,
        target: Some("one/small"),
        attempts: 1,
        usage: None,
        cost: None,
        estimated: MicroUsd(0),
        latency: Duration::from_millis(300),
        first_token: None,
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

/// The samples that differ from those of a fresh server, as far as they begin with one of `names`.
fn check(happens: impl FnOnce(&Metrics, &CallContext), names: &[&str], expected: &[&str]) {
    let metrics = Metrics::new();
    happens(&metrics, &CallContext::new("1", "test"));
    let text = metrics.classic_text().unwrap();
    let samples = text.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
    let mut samples: Vec<&str> = samples.filter(|line| !line.ends_with(" 0")).collect();
    samples.sort_unstable();
    assert_eq!(samples, expected);
}

#[test]
fn a_call_is_counted_under_the_names_that_operators_know() {
    let happens = |metrics: &Metrics, cx: &CallContext| {
        let usage = Usage {
            input_tokens: 100,
            cached_input_tokens: 40,
            output_tokens: 7,
            ..Usage::default()
        };
        let one = settled(cx);
        for settled in [
            Settled {
                usage: Some(&usage),
                cost: Some(MicroUsd(1_500_000)),
                estimated: MicroUsd(500_000),
                first_token: Some(Duration::from_millis(80)),
                ..one.clone()
            },
            Settled {
                status: Status::Failed(Code("model_timed_out")),
                attempts: 4,
                hedges: 1,
                ..one.clone()
            },
            Settled { status: Status::Failed(Code("tokens_limited")), found: None, ..one.clone() },
            Settled { status: Status::Cancelled, fallbacks: 2, ..one.clone() },
        ] {
            metrics.started(&settled.call);
            metrics.settled(&settled);
        }
        metrics.started(&one.call);
    };
    check(
        happens,
        &["llm_requests_", "llm_errors", "llm_tokens", "llm_cost", "llm_active", "agentry_retries"],
        &[
            "agentry_retries_total{model=\"fast\"} 2",
            "llm_active_requests 1",
            "llm_cost_estimated_usd_total{model=\"fast\"} 0.5",
            "llm_cost_usd_total{model=\"fast\"} 1.5",
            "llm_errors_total{model=\"fast\",error_type=\"model_timed_out\"} 1",
            "llm_errors_total{model=\"fast\",error_type=\"tokens_limited\"} 1",
            "llm_requests_total{model=\"fast\",endpoint=\"chat_completions\",status=\"cancelled\"} 1",
            "llm_requests_total{model=\"fast\",endpoint=\"chat_completions\",status=\"error\"} 2",
            "llm_requests_total{model=\"fast\",endpoint=\"chat_completions\",status=\"success\"} 1",
            "llm_tokens_total{model=\"fast\",type=\"cached_input\"} 40",
            "llm_tokens_total{model=\"fast\",type=\"input\"} 100",
            "llm_tokens_total{model=\"fast\",type=\"output\"} 7",
        ],
    );
    check(
        happens,
        &["agentry_limit", "agentry_fallbacks", "agentry_hedges", "llm_first_token_seconds_count"],
        &[
            "agentry_fallbacks_total{model=\"fast\"} 2",
            "agentry_hedges_total{model=\"fast\"} 1",
            "agentry_limit_refusals_total{which=\"tokens\"} 1",
            "llm_first_token_seconds_count{model=\"fast\"} 1",
        ],
    );
}

#[test]
fn what_the_cache_saves_is_compared_with_calls_that_were_made() {
    let happens = |metrics: &Metrics, cx: &CallContext| {
        let hit = |latency| Settled {
            found: Some(Found::Hit),
            saved: Some(MicroUsd(250_000)),
            latency: Duration::from_millis(latency),
            ..settled(cx)
        };
        for settled in [
            Settled { latency: Duration::from_millis(1_000), ..settled(cx) },
            Settled { latency: Duration::from_millis(2_000), ..settled(cx) },
            // What failed says nothing about how long an answer takes.
            Settled {
                status: Status::Failed(Code("model_timed_out")),
                latency: Duration::from_secs(60),
                ..settled(cx)
            },
            hit(500),
            Settled { found: Some(Found::Join), saved: None, ..hit(1_250) },
            Settled { found: Some(Found::Off), ..settled(cx) },
        ] {
            metrics.settled(&settled);
        }
    };
    check(
        happens,
        &["agentry_cache_"],
        &[
            "agentry_cache_saved_seconds_total{model=\"fast\"} 1.25",
            "agentry_cache_saved_usd_total{model=\"fast\"} 0.25",
            "agentry_cache_total{model=\"fast\",result=\"hit\"} 1",
            "agentry_cache_total{model=\"fast\",result=\"join\"} 1",
            "agentry_cache_total{model=\"fast\",result=\"miss\"} 3",
            "agentry_cache_total{model=\"fast\",result=\"off\"} 1",
        ],
    );
}

#[test]
fn findings_and_refused_budgets_are_counted_by_kind() {
    let happens = |metrics: &Metrics, cx: &CallContext| {
        let settings = agentry_guards::Settings {
            pii: Action::Redact,
            secrets: Action::Block,
            ..agentry_guards::Settings::default()
        };
        let guards = Guards::new(&settings).unwrap();
        let request = |text: &str| ChatRequest {
            messages: vec![agentry_core::chat::Message::user(text)],
            ..ChatRequest::default()
        };
        let found = guards.screen(&mut request("write to ada@example.com")).unwrap();
        metrics.screened(cx, &found);
        let key = "AKIAQYLPMN5HFIQR7XYA";
        let blocked = guards.screen(&mut request(&format!("aws_access_key_id = {key}")));
        metrics.blocked(cx, &blocked.unwrap_err());
        metrics.happened(&Event::Lapsed);
        metrics.happened(&Event::Behind { waiting: 3 });
    };
    check(
        happens,
        &["agentry_guard_findings", "agentry_budget_events"],
        &[
            "agentry_budget_events_total{event=\"behind\"} 1",
            "agentry_budget_events_total{event=\"lapsed\"} 1",
            "agentry_guard_findings_total{kind=\"email\",action=\"redact\"} 1",
            "agentry_guard_findings_total{kind=\"secret\",action=\"block\"} 1",
        ],
    );
}

#[test]
fn requests_are_counted_by_route_method_and_status() {
    let happens = |metrics: &Metrics, _: &CallContext| {
        let took = Duration::from_millis(2);
        for (route, method, status) in
            [("/a", "GET", 200), ("/a", "GET", 200), ("/a", "GET", 404), ("/b", "POST", 200)]
        {
            metrics.request_answered(route, method, status, took);
        }
    };
    check(
        happens,
        &["agentry_http_requests_total", "agentry_http_request_seconds_count"],
        &[
            "agentry_http_request_seconds_count{route=\"/a\"} 3",
            "agentry_http_request_seconds_count{route=\"/b\"} 1",
            "agentry_http_requests_total{route=\"/a\",method=\"GET\",status=\"200\"} 2",
            "agentry_http_requests_total{route=\"/a\",method=\"GET\",status=\"404\"} 1",
            "agentry_http_requests_total{route=\"/b\",method=\"POST\",status=\"200\"} 1",
        ],
    );
}

#[test]
fn targets_are_shown_for_as_long_as_the_gateway_is_there() {
    let metrics = Arc::new(Metrics::new());
    let shows = |name: &str| metrics.classic_text().unwrap().contains(name);
    assert!(!shows("agentry_target"));
    let gateway = gateway(&metrics);
    metrics.show(&gateway);
    for sample in [
        "agentry_target_condition{target=\"one/large\",condition=\"healthy\"} 1",
        "agentry_target_circuit{target=\"one/small\",state=\"open\"} 0",
        "agentry_target_queue_length{target=\"one/small\"} 0",
        "agentry_target_shed_total{target=\"one/small\"} 0",
        "agentry_model_calls_in_system{model=\"fast\"} 0",
        "agentry_cache_entries 0",
        "agentry_cache_evictions_total 0",
    ] {
        assert!(shows(sample), "{sample}\n{}", metrics.classic_text().unwrap());
    }
    assert!(!shows("agentry_target_limit{target=\"one/large\"}"), "it has no limit");
    drop(gateway);
    assert!(!shows("agentry_target"));
}

#[test]
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn prometheus_finds_nothing_wrong_with_the_page() {
    let metrics = Arc::new(Metrics::new());
    let gateway = gateway(&metrics);
    metrics.show(&gateway);
    let cx = CallContext::new("1", "test");
    let first_token = Some(Duration::from_millis(80));
    metrics.settled(&Settled { cost: Some(MicroUsd(1)), first_token, ..settled(&cx) });
    metrics.settled(&Settled { status: Status::Failed(Code("budget_exceeded")), ..settled(&cx) });
    metrics.happened(&Event::Lapsed);
    metrics.request_answered("/a", "GET", 200, Duration::from_millis(1));
    metrics.alerts_taken("opens", 1);
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = match promtool.stderr(Stdio::piped()).spawn() {
        Ok(running) => running,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: promtool is not installed: the page is not checked");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let text = metrics.classic_text().unwrap();
    running.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let ended = running.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    let said: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    assert!(ended.status.success() && said.is_empty(), "{said:#?}");
}
