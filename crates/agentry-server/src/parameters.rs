//! Reads the parameters after the `?`, and says what is wrong with them.

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::Refusal;

/// A query string that reads as a `T`.
#[derive(Debug, Clone)]
pub(crate) struct Parameters<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let read = Query::from_request_parts(parts, state).await;
        read.map(|Query(parameters)| Self(parameters)).map_err(|rejected| {
            let query: String = parts.uri.query().unwrap_or_default().chars().take(120).collect();
            let message = format!("the parameters `{query}` do not fit: {}", rejected.body_text());
            Refusal::bad_request("parameters_invalid", message)
        })
    }
}
