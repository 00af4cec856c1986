//! How these faces refuse, and how they read bodies: as the clients that speak them expect.

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http_body::Body as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::refusal::Whole;
use crate::{Body, Refusal};

/// Whether callers of `route` read errors as these faces write them.
pub(crate) fn is_of(route: &str) -> bool {
    let first = route.trim_start_matches('/').split('/').next().unwrap_or_default();
    matches!(first, "ok" | "info" | "assistants" | "agents" | "threads" | "runs" | "store")
}

/// What a handler refused in the house's shape, in this one.
pub(crate) async fn translate(response: Response) -> Response {
    match response.extensions().get::<Whole>() {
        Some(Whole(refusal)) => refuse(refusal),
        None => response,
    }
}

/// `detail` is what the clients show; `code` and `param` they hand on.
pub(crate) fn refuse(refusal: &Refusal) -> Response {
    let told = refusal.told();
    let status = match told.status {
        // What does not fit is 422 in this dialect.
        400 => StatusCode::UNPROCESSABLE_ENTITY,
        status => StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    };
    let mut body = json!({ "detail": told.message, "code": told.code, "param": told.param });
    if let (Value::Object(body), Some(beside)) = (&mut body, refusal.beside()) {
        body.extend(beside.clone());
    }
    refusal.clone().respond_with(status, body.to_string().into())
}

/// A body that may be left out.
pub(crate) struct Maybe<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for Maybe<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        if request.body().is_end_stream() {
            return Ok(Self(T::default()));
        }
        Body::<T>::from_request(request, state).await.map(|Body(body)| Self(body))
    }
}

/// Nothing more than that it is done.
pub(crate) fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Only the wanted members of an object.
pub(crate) fn select(value: Value, wanted: Option<&[String]>) -> Value {
    match (value, wanted) {
        (Value::Object(members), Some(wanted)) if !wanted.is_empty() => {
            let kept = members.into_iter().filter(|(name, _)| wanted.contains(name));
            Value::Object(kept.collect())
        }
        (value, _) => value,
    }
}
