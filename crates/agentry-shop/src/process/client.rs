//! Calls to other services: pooled, timed, traced, counted.

use std::fmt;
use std::time::{Duration, Instant};

use agentry_core::telemetry::{Level, SpanKind};
use agentry_http::Deadlines;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::{Service, clock};

use super::services::Cx;
use super::shared::Entry;
use super::spans::{Span, Trace};

const ANSWER_BYTES_MAX: usize = 1 << 20;

pub(crate) struct Client(agentry_http::Client);

/// What to call: the route is the path with its variable parts named.
pub(crate) struct Call {
    pub(crate) peer: Service,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) route: &'static str,
}

/// Why another service did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    Timeout { after_ms: u128 },
    Unreachable { reason: String },
    Status(StatusCode),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { after_ms } => write!(f, "timeout after {after_ms} ms"),
            Self::Unreachable { reason } => f.write_str(reason),
            Self::Status(status) => write!(f, "status {}", status.as_u16()),
        }
    }
}

impl Refusal {
    /// The other side broke, as opposed to a request that it rightly refused.
    pub(crate) fn is_failure(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Unreachable { .. } => true,
            Self::Status(status) => status.is_server_error(),
        }
    }

    fn code(&self) -> String {
        match self {
            Self::Timeout { .. } => "timeout".to_owned(),
            Self::Unreachable { .. } => "unreachable".to_owned(),
            Self::Status(status) => status.as_u16().to_string(),
        }
    }
}

impl Client {
    pub(crate) fn new() -> Self {
        Self(agentry_http::Client::new(&agentry_http::Settings {
            connect_timeout: Duration::from_millis(500),
            pool_idle_timeout: Duration::from_secs(20),
            pool_idle_per_host_max: 32,
            ..agentry_http::Settings::default()
        }))
    }

    async fn send(&self, request: Request<Bytes>, patience: Duration) -> Result<Value, Refusal> {
        let answer = self.0.fetch(request, &Deadlines::within(patience), ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(|error| match error {
            agentry_http::Error::TimedOut { .. } => {
                Refusal::Timeout { after_ms: patience.as_millis() }
            }
            other => Refusal::Unreachable { reason: other.to_string() },
        })?;
        if !answer.status().is_success() {
            return Err(Refusal::Status(answer.status()));
        }
        Ok(serde_json::from_slice(answer.body()).unwrap_or(Value::Null))
    }
}

impl Cx {
    /// Calls another service on behalf of the present request. What fails is logged here, once.
    pub(crate) async fn call(&self, call: Call) -> Result<Value, Refusal> {
        let shared = &self.shared;
        let trace = Trace {
            trace_id: self.trace.trace_id,
            span_id: shared.random(|random| random.next() | 1),
        };
        let start = clock::now();
        let begun = Instant::now();
        let result = self.attempt(&call, trace).await;
        let took = begun.elapsed();

        let code = match &result {
            Ok(_) => "200".to_owned(),
            Err(refusal) => refusal.code(),
        };
        shared.metrics.called(call.peer, code.clone(), took);
        let failed =
            result.as_ref().err().filter(|refusal| refusal.is_failure()).map(ToString::to_string);
        let mut attributes = vec![
            ("http.request.method", json!(call.method.as_str())),
            ("url.path", json!(call.path.split('?').next().unwrap_or_default())),
            ("peer.service", json!(call.peer)),
        ];
        match code.parse::<u16>() {
            Ok(status) => attributes.push(("http.response.status_code", json!(status))),
            Err(_) => attributes.push(("error.type", json!(code))),
        }
        if let Some(why) = &failed {
            shared.log(Entry {
                level: Level::Error,
                logger: "http.client",
                message: &format!("call to {} failed: {why}", call.peer),
                trace: Some(trace),
                fields: &[
                    ("peer", json!(call.peer)),
                    ("duration_ms", json!(took.as_millis() as u64)),
                ],
            });
        }
        shared.spans.push(Span {
            trace,
            parent_id: (self.trace.span_id != 0).then_some(self.trace.span_id),
            name: format!("{} {}", call.method, call.route),
            kind: SpanKind::Client,
            start,
            end: start.plus(took),
            failed,
            attributes,
        });
        result
    }

    async fn attempt(&self, call: &Call, trace: Trace) -> Result<Value, Refusal> {
        let unknown = || Refusal::Unreachable { reason: "no such host".to_owned() };
        let address = self.shared.launch.peers.get(&call.peer).ok_or_else(unknown)?;
        let request = Request::builder()
            .method(&call.method)
            .uri(format!("http://{address}{}", call.path))
            .header("traceparent", trace.to_string())
            .body(Bytes::new())
            .map_err(|error| Refusal::Unreachable { reason: error.to_string() })?;
        self.shared.client.send(request, call.peer.patience()).await
    }
}
