//! What upstreams say when they refuse: the first line is the status, the rest is the body.

use agentry_core::Failure as _;
use agentry_wire::{bedrock, error, gemini, messages};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::Shape;

pub(crate) fn errors(data: &[u8]) -> u64 {
    let (line, body) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (data.get(..at).unwrap_or_default(), data.get(at + 1..).unwrap_or_default()),
        None => (&b"500"[..], data),
    };
    // The status, and perhaps when to come again.
    let (status, after) = line.split_at(line.len().min(3));
    let status = StatusCode::from_bytes(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut headers = HeaderMap::new();
    if let Ok(after) = HeaderValue::from_bytes(after.trim_ascii()) {
        for name in
            ["retry-after", "retry-after-ms", "x-ratelimit-reset-requests", "x-amzn-errortype"]
        {
            headers.insert(name, after.clone());
        }
    }
    [error::from_response, gemini::error, messages::failed, bedrock::failed]
        .into_iter()
        .fold(Shape::new(), |shape, read| {
            let error = read(status, &headers, body, "m");
            shape.with((error.code().0, error.to_string().is_empty()))
        })
        .done()
}
