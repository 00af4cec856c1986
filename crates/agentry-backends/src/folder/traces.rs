//! Spans from OTLP/JSON, as a collector's file exporter writes it.

use std::io;

use agentry_core::Timestamp;
use agentry_core::telemetry::{Query, Span, SpanKind};
use serde::Deserialize;

use super::newest::Newest;
use super::scalar::Text;
use super::scan::{Broken, Scanner};
use super::{Found, wants};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Export<'a> {
    #[serde(borrow)]
    resource_spans: Vec<ResourceSpans<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    #[serde(borrow, default)]
    resource: Resource<'a>,
    #[serde(borrow, default)]
    scope_spans: Vec<ScopeSpans<'a>>,
}

#[derive(Deserialize, Default)]
struct Resource<'a> {
    #[serde(borrow, default)]
    attributes: Vec<Attribute<'a>>,
}

#[derive(Deserialize)]
struct ScopeSpans<'a> {
    #[serde(borrow, default)]
    spans: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Attribute<'a> {
    #[serde(borrow)]
    key: Text<'a>,
    #[serde(borrow, default)]
    value: AnyValue<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct AnyValue<'a> {
    #[serde(borrow, default)]
    string_value: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(borrow)]
    trace_id: Text<'a>,
    #[serde(borrow)]
    span_id: Text<'a>,
    #[serde(borrow, default)]
    parent_span_id: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    kind: Text<'a>,
    #[serde(borrow)]
    start_time_unix_nano: Text<'a>,
    #[serde(borrow)]
    end_time_unix_nano: Text<'a>,
    #[serde(borrow, default)]
    attributes: Vec<Attribute<'a>>,
    #[serde(borrow, default)]
    status: Status<'a>,
}

#[derive(Deserialize, Default)]
struct Status<'a> {
    #[serde(borrow, default)]
    code: Text<'a>,
}

pub(super) fn read(scanner: &Scanner, query: &Query) -> io::Result<Found<Span>> {
    let mut newest = Newest::new(query.items_max, |span: &Span| span.start);
    let scanned = scanner.each_line(|line| {
        let export: Export = serde_json::from_slice(line.bytes).map_err(|_| Broken)?;
        let mut whole = true;
        for ResourceSpans { resource, scope_spans } in export.resource_spans {
            let service = text_of(&resource.attributes, "service.name")
                .unwrap_or_else(|| line.stem.to_owned());
            if !wants(query, &service) {
                continue;
            }
            for entry in scope_spans.iter().flat_map(|scope| &scope.spans) {
                match span(entry, &service) {
                    Some(span) if query.window.contains(span.start) => newest.push(span),
                    Some(_) => {}
                    None => whole = false,
                }
            }
        }
        if whole { Ok(()) } else { Err(Broken) }
    })?;
    Ok(Found { page: newest.page(scanned.truncated), skipped: scanned.skipped })
}

fn span(entry: &Entry<'_>, service: &str) -> Option<Span> {
    let nanos = |text: &Text<'_>| text.as_str()?.parse::<u64>().ok();
    let start = nanos(&entry.start_time_unix_nano)?;
    let end = nanos(&entry.end_time_unix_nano)?;
    Some(Span {
        trace_id: entry.trace_id.filled()?,
        span_id: entry.span_id.filled()?,
        parent_id: entry.parent_span_id.filled(),
        service: service.to_owned(),
        name: entry.name.filled().unwrap_or_default(),
        kind: match entry.kind.as_str().unwrap_or_default() {
            // A consumer is called and a producer calls, if later.
            "2" | "5" | "SPAN_KIND_SERVER" | "SPAN_KIND_CONSUMER" => SpanKind::Server,
            "3" | "4" | "SPAN_KIND_CLIENT" | "SPAN_KIND_PRODUCER" => SpanKind::Client,
            _ => SpanKind::Internal,
        },
        start: Timestamp::from_micros(i64::try_from(start / 1_000).ok()?),
        duration_us: end.saturating_sub(start) / 1_000,
        failed: matches!(entry.status.code.as_str(), Some("2" | "STATUS_CODE_ERROR")),
        peer: text_of(&entry.attributes, "peer.service"),
    })
}

fn text_of(attributes: &[Attribute<'_>], key: &str) -> Option<String> {
    attributes
        .iter()
        .find(|attribute| attribute.key.as_str() == Some(key))?
        .value
        .string_value
        .filled()
}
