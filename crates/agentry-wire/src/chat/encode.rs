//! From a request to the bytes that are sent.

use agentry_core::chat::ChatRequest;
use agentry_core::model::ModelError;
use bytes::Bytes;

use super::Quirks;

/// The body for a server with these habits.
pub fn body(request: &ChatRequest, quirks: &Quirks) -> Result<Bytes, ModelError> {
    serde_json::to_vec(&quirks.adapt(request))
        .map(Bytes::from)
        .map_err(|error| ModelError::Internal { reason: error.to_string() })
}
