//! What came of a batch, line by line, as OpenAI's clients read it.

use std::collections::VecDeque;
use std::sync::Arc;

use agentry_core::batches::{Answer, Batch, Batches, Dropped, ItemResult};
use agentry_core::{Code, store};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde_json::value::RawValue;

/// Of items that are read at once.
const PAGE: usize = 32;

/// Which lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    All,
    /// As in the file of answers.
    Good,
    /// As in the file of errors.
    Bad,
}

impl Which {
    fn has(self, result: &ItemResult) -> bool {
        let good = result.outcome.as_ref().is_ok_and(Answer::is_good);
        match self {
            Self::All => true,
            Self::Good => good,
            Self::Bad => !good,
        }
    }
}

pub(crate) fn response(store: Arc<dyn Batches>, batch: &Batch, which: Which) -> Response {
    let mut response = Response::new(Body::from_stream(lines(store, batch, which)));
    let kind = HeaderValue::from_static("application/jsonl");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

struct Reading {
    store: Arc<dyn Batches>,
    tenant: String,
    id: String,
    which: Which,
    read: VecDeque<ItemResult>,
    /// Nothing when all was read.
    from: Option<u64>,
}

/// One line after the other; a store that fails ends the stream with an error.
pub(crate) fn lines(
    store: Arc<dyn Batches>,
    batch: &Batch,
    which: Which,
) -> impl Stream<Item = Result<Bytes, store::Error>> + Send + 'static {
    let (tenant, id) = (batch.owner.tenant.clone(), batch.id.clone());
    let reading = Reading { store, tenant, id, which, read: VecDeque::new(), from: Some(0) };
    let results = stream::try_unfold(reading, |mut reading| async move {
        loop {
            if let Some(result) = reading.read.pop_front() {
                if reading.which.has(&result) {
                    let line = line(&reading.id, &result);
                    return Ok(Some((line, reading)));
                }
                continue;
            }
            let Some(from) = reading.from else { return Ok(None) };
            let of = (reading.tenant.as_str(), reading.id.as_str());
            let page = reading.store.results(of, from, PAGE).await?;
            let last = page.last().filter(|_| page.len() == PAGE);
            reading.from = last.map(|last| last.number + 1);
            reading.read = page.into();
        }
    });
    results.boxed()
}

#[derive(Serialize)]
struct Line<'a> {
    id: String,
    custom_id: &'a str,
    response: Option<Answered<'a>>,
    error: Option<Missing>,
}

#[derive(Serialize)]
struct Answered<'a> {
    status_code: u16,
    request_id: String,
    body: &'a RawValue,
}

#[derive(Serialize)]
struct Missing {
    code: &'static str,
    message: &'static str,
}

fn line(batch: &str, result: &ItemResult) -> Bytes {
    let ItemResult { number, custom_id, outcome } = result;
    let request_id = format!("{batch}-{number}");
    let (response, error) = match outcome {
        Ok(Answer { status, body }) => {
            let body = serde_json::from_slice(body).unwrap_or(RawValue::NULL);
            (Some(Answered { status_code: *status, request_id, body }), None)
        }
        Err(dropped) => (None, Some(missing(*dropped))),
    };
    let line = Line { id: format!("batch_req_{batch}-{number}"), custom_id, response, error };
    // Nothing in it can fail to be written.
    let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}

fn missing(dropped: Dropped) -> Missing {
    match dropped {
        Dropped::Cancelled => Missing {
            code: Code("batch_cancelled").0,
            message: "the batch was cancelled before this request was made",
        },
        Dropped::Expired => Missing {
            code: Code("batch_expired").0,
            message: "the completion window was over before this request was made",
        },
    }
}
