//! Sending something to somebody else's service, and saying exactly what is known about it afterwards.

use std::time::Duration;

use agentry_core::outbound::Error;
use agentry_http::{Client, Deadlines};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use serde_json::Value;
use url::Url;

const DEADLINE: Duration = Duration::from_secs(15);
const BYTES_MAX: usize = 1 << 20;

/// A service that takes JSON. Its address may be a secret and is never shown; `target` is.
#[derive(Clone)]
pub(crate) struct Delivery {
    client: Client,
    target: String,
}

/// What came back, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Delivery {
    pub(crate) fn new(client: Client, target: impl Into<String>) -> Self {
        Self { client, target: target.into() }
    }

    pub(crate) async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: &Value,
    ) -> Result<Answer, Error> {
        let mut request = Request::new(Bytes::from(body.to_string()));
        *request.method_mut() = Method::POST;
        // Not the client's own words: they would quote the address.
        *request.uri_mut() =
            url.as_str().parse().map_err(|_| self.unavailable("its address is no usable URL"))?;
        *request.headers_mut() = headers;
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        match self.client.fetch(request, &Deadlines::within(DEADLINE), BYTES_MAX).await {
            Ok(response) => Ok(Answer { status: response.status(), body: response.into_body() }),
            Err(agentry_http::Error::InvalidUrl { reason, .. }) => Err(self.unavailable(reason)),
            Err(error) if error.may_have_been_processed() => Err(self.ambiguous(error.to_string())),
            Err(error) => Err(self.unavailable(error.to_string())),
        }
    }

    /// The body of a success; otherwise what the status means for whether it happened.
    pub(crate) fn accepted(&self, answer: Answer) -> Result<Bytes, Error> {
        let Answer { status, body } = answer;
        let reason = || format!("{status}: {}", excerpt(&body));
        match status.as_u16() {
            200..=299 => Ok(body),
            // Turned away at the door: it surely did not happen, and may be tried again.
            408 | 425 | 429 | 503 => Err(self.unavailable(reason())),
            500..=599 => Err(self.ambiguous(reason())),
            _ => Err(self.refused(reason())),
        }
    }

    pub(crate) fn refused(&self, reason: impl Into<String>) -> Error {
        Error::Refused { target: self.target.clone(), reason: reason.into() }
    }

    pub(crate) fn unavailable(&self, reason: impl Into<String>) -> Error {
        Error::Unavailable { target: self.target.clone(), reason: reason.into() }
    }

    pub(crate) fn ambiguous(&self, reason: impl Into<String>) -> Error {
        Error::Ambiguous { target: self.target.clone(), reason: reason.into() }
    }
}

/// Enough of an answer to see what is wrong.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.is_empty() { "no explanation".to_owned() } else { text.chars().take(500).collect() }
}
