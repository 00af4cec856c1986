//! Spans, as OTLP/JSON.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use agentry_core::Timestamp;
use agentry_core::telemetry::SpanKind;
use serde_json::{Value, json};

use crate::{Service, clock};

/// Finished spans that wait to be written beyond this many are dropped.
const WAITING_MAX: usize = 16_384;

/// Where a piece of work belongs: W3C trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
}

impl Trace {
    /// Reads a `traceparent` header.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let (_version, trace_id, span_id) = (parts.next()?, parts.next()?, parts.next()?);
        if trace_id.len() != 32 || span_id.len() != 16 {
            return None;
        }
        let trace_id = u128::from_str_radix(trace_id, 16).ok()?;
        let span_id = u64::from_str_radix(span_id, 16).ok()?;
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id })
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-01", self.trace_id, self.span_id)
    }
}

pub(crate) struct Span {
    pub(crate) trace: Trace,
    pub(crate) parent_id: Option<u64>,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) failed: Option<String>,
    pub(crate) attributes: Vec<(&'static str, Value)>,
}

/// Finished spans until they are written.
#[derive(Default)]
pub(crate) struct Spans(Mutex<Vec<Span>>);

impl Spans {
    pub(crate) fn push(&self, span: Span) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING_MAX {
            waiting.push(span);
        }
    }

    /// Everything that waits, as one `ExportTraceServiceRequest`.
    pub(crate) fn take(&self, service: Service, version: &str, instance: &str) -> Option<Value> {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if waiting.is_empty() {
            return None;
        }
        let spans: Vec<Value> = waiting.iter().map(encode).collect();
        Some(json!({ "resourceSpans": [{
            "resource": { "attributes": [
                attribute("service.name", &json!(service)),
                attribute("service.version", &json!(version)),
                attribute("service.instance.id", &json!(instance)),
            ]},
            "scopeSpans": [{ "scope": { "name": "shop.http" }, "spans": spans }],
        }]}))
    }
}

fn encode(span: &Span) -> Value {
    let kind = match span.kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
    };
    let status =
        span.failed.as_ref().map_or_else(|| json!({}), |why| json!({ "code": 2, "message": why }));
    let attributes: Vec<Value> =
        span.attributes.iter().map(|(key, value)| attribute(key, value)).collect();
    json!({
        "traceId": format!("{:032x}", span.trace.trace_id),
        "spanId": format!("{:016x}", span.trace.span_id),
        "parentSpanId": span.parent_id.map_or_else(String::new, |id| format!("{id:016x}")),
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": clock::nanos(span.start).to_string(),
        "endTimeUnixNano": clock::nanos(span.end).to_string(),
        "attributes": attributes,
        "status": status,
    })
}

fn attribute(key: &str, value: &Value) -> Value {
    let value = match value {
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::Bool(flag) => json!({ "boolValue": flag }),
        Value::String(text) => json!({ "stringValue": text }),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            json!({ "stringValue": value.to_string() })
        }
    };
    json!({ "key": key, "value": value })
}
