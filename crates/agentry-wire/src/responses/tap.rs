//! Responses that pass as they are.

use agentry_core::Pieces;
use agentry_core::chat::{FinishReason, Usage};
use agentry_core::model::ModelError;
use agentry_core::relay::{Marks, RawWhole};
use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;

use super::{PACKED, usage};
use crate::error::{Report, from_report};
use crate::tap::{Pass, Read};

/// Reads the marks off a streamed response. Only its last event is parsed.
#[derive(Debug, Default)]
pub struct Reader;

#[derive(Deserialize)]
struct Last {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    response: Option<Response>,
}

/// What a bill and a cache need of a response.
#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    incomplete_details: Option<Incomplete>,
    #[serde(default)]
    output: Option<Vec<Item>>,
    #[serde(default)]
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Incomplete {
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type", default)]
    kind: String,
}

impl Read for Reader {
    fn read(&mut self, event: &[u8], data: &[u8], marks: &mut Marks) -> Result<Pass, ModelError> {
        if !may_be_last(event, data) {
            return Ok(if is_preface(event) { Pass::Preface } else { Pass::On });
        }
        let last: Last = serde_json::from_slice(data)
            .map_err(|error| ModelError::Malformed { reason: format!("an event: {error}") })?;
        match last.kind.as_str() {
            "response.completed" | "response.incomplete" => {
                let response = last.response.ok_or_else(|| ModelError::Malformed {
                    reason: format!("an event `{}` without its response", last.kind),
                })?;
                marks.finish = Some(response.finish());
                marks.usage = response.usage().map(Box::new).or_else(|| marks.usage.take());
                marks.done = true;
                Ok(Pass::On)
            }
            "response.failed" | "response.cancelled" => {
                let error = last.response.and_then(|response| {
                    marks.usage = response.usage().map(Box::new).or_else(|| marks.usage.take());
                    response.error
                });
                let report = error.as_ref().map(Report::from_value);
                let message = report.map_or_else(|| last.kind.clone(), |report| report.message);
                Err(ModelError::BrokeOff { message })
            }
            "error" => Err(ModelError::BrokeOff { message: Report::from_bytes(data).message }),
            _ => Ok(Pass::On),
        }
    }

    fn is_complete(&self) -> bool {
        false
    }
}

/// Announces what is to come.
fn is_preface(event: &[u8]) -> bool {
    matches!(
        event,
        b"response.created"
            | b"response.queued"
            | b"response.in_progress"
            | b"response.output_item.added"
            | b"response.content_part.added"
    )
}

/// Whether this may be one of the events that end a response. Some servers name their events in the data alone.
fn may_be_last(event: &[u8], data: &[u8]) -> bool {
    let ends = |name: &[u8]| {
        matches!(
            name,
            b"response.completed"
                | b"response.incomplete"
                | b"response.failed"
                | b"response.cancelled"
                | b"error"
        )
    };
    if !event.is_empty() {
        return ends(event);
    }
    memmem::find_iter(data, b"\"type\"").any(|at| {
        let rest = data.get(at + b"\"type\"".len()..).unwrap_or_default().trim_ascii_start();
        let rest = rest.strip_prefix(b":").unwrap_or_default().trim_ascii_start();
        let rest = rest.strip_prefix(b"\"").unwrap_or_default();
        rest.split(|byte| *byte == b'"').next().is_some_and(ends)
    })
}

impl Response {
    fn finish(&self) -> FinishReason {
        let reason = self.incomplete_details.as_ref().and_then(|details| details.reason.as_deref());
        match reason {
            Some("max_output_tokens") => FinishReason::Length,
            Some("content_filter") => FinishReason::ContentFilter,
            Some(other) => FinishReason::Other(other.to_owned()),
            None if self.calls_tools() => FinishReason::ToolCalls,
            None => FinishReason::Stop,
        }
    }

    fn calls_tools(&self) -> bool {
        let mut items = self.output.iter().flatten();
        items.any(|item| matches!(item.kind.as_str(), "function_call" | "custom_tool_call"))
    }

    fn usage(&self) -> Option<Usage> {
        self.usage.as_ref().filter(|usage| !usage.is_null()).map(usage::read)
    }
}

/// Reads the marks off a whole response that passes as it is.
pub fn whole_marks(body: Bytes, model: &str) -> Result<RawWhole, ModelError> {
    let response: Response = serde_json::from_slice(&body)
        .map_err(|error| ModelError::Malformed { reason: error.to_string() })?;
    if let Some(error) = response.error.as_ref().filter(|error| !error.is_null()) {
        return Err(from_report(500, Report::from_value(error), None, model));
    }
    match response.status.as_deref() {
        // An answer in the background has only begun: its bill comes with it.
        Some("queued" | "in_progress") => {
            Ok(RawWhole { usage: response.usage(), finish: None, body })
        }
        _ if response.output.is_some() => {
            Ok(RawWhole { usage: response.usage(), finish: Some(response.finish()), body })
        }
        _ => Err(ModelError::Malformed { reason: "it has no output".to_owned() }),
    }
}

/// The same request without the thoughts of other vendors, which OpenAI would refuse. Most requests have none: they cost
/// one search.
#[must_use]
pub fn own_thoughts(body: Pieces) -> Pieces {
    if !body.any(|piece| memmem::find(piece, PACKED.as_bytes()).is_some()) {
        return body;
    }
    let body = body.into_bytes();
    let Ok(mut request) = serde_json::from_slice::<Value>(&body) else { return body.into() };
    if let Some(Value::Array(items)) = request.get_mut("input") {
        items.retain(|item| {
            let data = item.get("encrypted_content").and_then(Value::as_str);
            !data.is_some_and(|data| data.starts_with(PACKED))
        });
    }
    request.to_string().into()
}

#[cfg(test)]
mod tests;
