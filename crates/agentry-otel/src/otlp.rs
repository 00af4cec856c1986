//! The JSON form of OTLP: ids as hexadecimal digits, whole numbers of 64 bits as text.

use std::borrow::Cow;

use agentry_core::{Timestamp, Trace};
use serde_json::{Value as Json, json};

use crate::Settings;

pub(crate) struct Span {
    pub(crate) trace: Trace,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) attributes: Vec<(&'static str, Value)>,
    pub(crate) events: Vec<Event>,
    /// Spans of other traces that this one goes on from.
    pub(crate) links: Vec<Trace>,
    pub(crate) error: Option<Cow<'static, str>>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Internal = 1,
    Client = 3,
}

pub(crate) struct Event {
    pub(crate) name: &'static str,
    pub(crate) at: Timestamp,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Whole(u64),
    Double(f64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

/// What collectors call a status that says that something went wrong.
const STATUS_ERROR: u8 = 2;

pub(crate) fn request(settings: &Settings, spans: &[&Span]) -> Json {
    let Settings { service, version, instance, .. } = settings;
    let mut resource = vec![
        attribute("service.name", &Value::from(service.as_str())),
        attribute("service.version", &Value::from(version.as_str())),
    ];
    if !instance.is_empty() {
        resource.push(attribute("service.instance.id", &Value::from(instance.as_str())));
    }
    json!({
        "resourceSpans": [{
            "resource": { "attributes": resource },
            "scopeSpans": [{
                "scope": { "name": "agentry", "version": version },
                "spans": spans.iter().copied().map(span).collect::<Vec<_>>(),
            }],
        }],
    })
}

fn span(span: &Span) -> Json {
    let Span { trace, name, kind, start, end, attributes, events, links, error } = span;
    let Trace { id, span, parent, is_sampled } = trace;
    let mut shown = json!({
        "traceId": format!("{id:032x}"),
        "spanId": format!("{span:016x}"),
        "flags": u8::from(*is_sampled),
        "name": name,
        "kind": *kind as u8,
        "startTimeUnixNano": nanos(*start),
        "endTimeUnixNano": nanos(*end),
        "attributes": attributes.iter().map(|(key, value)| attribute(key, value)).collect::<Vec<_>>(),
    });
    let mut set = |key: &str, value: Json| {
        if let Some(fields) = shown.as_object_mut() {
            fields.insert(key.to_owned(), value);
        }
    };
    if let Some(parent) = parent {
        set("parentSpanId", format!("{parent:016x}").into());
    }
    if !events.is_empty() {
        let events = events.iter();
        let events =
            events.map(|event| json!({ "name": event.name, "timeUnixNano": nanos(event.at) }));
        set("events", events.collect());
    }
    if !links.is_empty() {
        let links = links.iter().map(|Trace { id, span, is_sampled, .. }| {
            json!({
                "traceId": format!("{id:032x}"),
                "spanId": format!("{span:016x}"),
                "flags": u8::from(*is_sampled),
            })
        });
        set("links", links.collect());
    }
    if let Some(error) = error {
        set("status", json!({ "code": STATUS_ERROR, "message": error }));
    }
    shown
}

fn attribute(key: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Whole(number) => json!({ "intValue": number.to_string() }),
        Value::Double(number) => json!({ "doubleValue": number }),
    };
    json!({ "key": key, "value": value })
}

fn nanos(at: Timestamp) -> String {
    (i128::from(at.as_micros()).max(0) * 1_000).to_string()
}
