//! Read-only questions about what was observed, for a model that deliberates. Every answer is bounded.

use agentry_core::telemetry::{Change, LogLine, Series, Span};
use serde_json::{Value, json};

use super::Diagnosis;
use crate::evidence::Observed;

const ITEMS_MAX: usize = 50;
const POINTS_MAX: usize = 40;
const TEXT_MAX: usize = 300;

/// All rows of evidence that the diagnosis rests on.
#[must_use]
pub fn list_evidence(diagnosis: &Diagnosis) -> Value {
    let rows: Vec<Value> = diagnosis
        .evidence
        .iter()
        .take(ITEMS_MAX)
        .map(|row| {
            json!({"id": row.id, "service": row.service, "summary": cut(&row.summary), "strength": row.strength})
        })
        .collect();
    json!({"evidence": rows, "more": diagnosis.evidence.len().saturating_sub(ITEMS_MAX)})
}

/// The series of a service whose name contains `name`, thinned to a few points each.
#[must_use]
pub fn series(observed: &Observed, service: &str, name: &str) -> Value {
    let all = observed
        .metrics
        .items
        .iter()
        .filter(|one| one.service == service && one.name.contains(name));
    page(all, ITEMS_MAX / 5, |one: &Series| {
        let step = one.points.len().div_ceil(POINTS_MAX).max(1);
        let points: Vec<Value> = one
            .points
            .iter()
            .step_by(step)
            .map(|(at, value)| json!([at.to_string(), value]))
            .collect();
        json!({"name": one.name, "labels": one.labels, "points": points})
    })
}

/// The newest lines of a service that contain `contains`.
#[must_use]
pub fn logs(observed: &Observed, service: &str, contains: &str, max: usize) -> Value {
    let all = observed.logs.items.iter().rev();
    let matching = all.filter(|line| line.service == service && line.message.contains(contains));
    page(matching, max.min(ITEMS_MAX), |line: &LogLine| {
        json!({
            "at": line.at, "level": line.level, "message": cut(&line.message),
            "trace_id": line.trace_id, "handle": line.handle,
        })
    })
}

/// The slowest spans of a service.
#[must_use]
pub fn spans(observed: &Observed, service: &str) -> Value {
    let mut of_service: Vec<&Span> =
        observed.spans.items.iter().filter(|span| span.service == service).collect();
    of_service.sort_by_key(|span| std::cmp::Reverse((span.failed, span.duration_us)));
    page(of_service.into_iter(), ITEMS_MAX, |span: &Span| {
        json!({
            "trace_id": span.trace_id, "span_id": span.span_id, "name": cut(&span.name), "start": span.start,
            "milliseconds": span.duration_us / 1_000, "failed": span.failed, "peer": span.peer,
        })
    })
}

/// What was changed, newest first.
#[must_use]
pub fn changes(observed: &Observed) -> Value {
    let mut all: Vec<&Change> = observed.changes.items.iter().collect();
    all.sort_by_key(|change| std::cmp::Reverse(change.at));
    page(all.into_iter(), ITEMS_MAX, |change: &Change| {
        json!({
            "at": change.at, "service": change.service, "kind": change.kind, "summary": cut(&change.summary),
            "revision": change.revision, "previous": change.previous,
        })
    })
}

fn page<T>(mut all: impl Iterator<Item = T>, max: usize, write: impl Fn(T) -> Value) -> Value {
    let items: Vec<Value> = all.by_ref().take(max).map(write).collect();
    json!({"items": items, "more": all.count()})
}

fn cut(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(TEXT_MAX).collect()
}
