//! From a request to the bytes that are sent.

use std::borrow::Cow;

use agentry_core::chat::{ChatRequest, StreamOptions};
use agentry_core::model::ModelError;
use bytes::Bytes;

/// A streamed answer always reports its usage: without it nobody knows what it cost.
pub fn body(request: &ChatRequest) -> Result<Bytes, ModelError> {
    let mut request = Cow::Borrowed(request);
    if request.stream {
        let options = &mut request.to_mut().stream_options;
        options.get_or_insert_with(StreamOptions::default).include_usage = true;
    } else if request.stream_options.is_some() {
        request.to_mut().stream_options = None;
    }
    serde_json::to_vec(&request)
        .map(Bytes::from)
        .map_err(|error| ModelError::Internal { reason: error.to_string() })
}
