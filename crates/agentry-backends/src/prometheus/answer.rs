//! Reading what the API answers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use agentry_core::Timestamp;
use agentry_core::telemetry::{Page, Query, Series};
use serde::Deserialize;

/// How a series names its service.
#[derive(Clone, Copy)]
pub(super) struct Service<'a> {
    pub(super) label: &'a str,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow)]
    result_type: Cow<'a, str>,
    #[serde(borrow, default)]
    result: Vec<Matrix<'a>>,
}

#[derive(Deserialize)]
struct Matrix<'a> {
    metric: BTreeMap<String, String>,
    #[serde(borrow, default)]
    values: Vec<(f64, Sample<'a>)>,
}

/// A number in a string: JSON has no NaN.
#[derive(Deserialize)]
struct Sample<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Complaint {
    error_type: String,
    error: String,
}

/// The series of an answer; the error says why there are none.
pub(super) fn series(
    body: &[u8],
    service: Service<'_>,
    query: &Query,
) -> Result<Page<Series>, String> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if answer.data.result_type != "matrix" {
        return Err(format!("a {} instead of a matrix", answer.data.result_type));
    }
    let mut page = Page::default();
    for found in answer.data.result {
        if page.items.len() == query.items_max {
            page.truncated = true;
            break;
        }
        page.items.extend(one(found, service, query));
    }
    Ok(page)
}

/// `None` for a series without a single number in the window.
fn one(found: Matrix<'_>, service: Service<'_>, query: &Query) -> Option<Series> {
    let Matrix { mut metric, values } = found;
    let points: Vec<(Timestamp, f64)> = values
        .into_iter()
        .filter_map(|(seconds, Sample(text))| Some((time(seconds), text.parse::<f64>().ok()?)))
        .filter(|&(at, value)| value.is_finite() && query.window.contains(at))
        .collect();
    if points.is_empty() {
        return None;
    }
    let name = metric.remove("__name__").unwrap_or_default();
    let named = metric.remove(service.label).filter(|name| !name.is_empty());
    let service = named.or_else(|| metric.remove("job")).unwrap_or_default();
    Some(Series { name, service, labels: metric, points })
}

/// The API's times have milliseconds.
fn time(seconds: f64) -> Timestamp {
    Timestamp::from_millis((seconds * 1e3).round() as i64)
}

/// What kind of error the server reports, and its words.
pub(super) fn complaint(body: &[u8]) -> Option<(String, String)> {
    let Complaint { error_type, error } = serde_json::from_slice(body).ok()?;
    Some((error_type, error.chars().take(500).collect()))
}
