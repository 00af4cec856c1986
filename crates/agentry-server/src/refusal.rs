//! What a caller is told when something is wrong, in the one shape that every face uses: OpenAI's, with all four fields.

use std::borrow::Cow;
use std::time::Duration;

use agentry_core::relay::Dialect;
use agentry_core::{Failure, Retry};
use agentry_wire::error::Refused;
use agentry_wire::ingress;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};

mod status;

/// A request that is answered with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    code: Cow<'static, str>,
    message: String,
    param: Option<String>,
    retry: Retry,
    /// Nothing more can be read from this connection.
    ends_connection: bool,
    /// What stands beside the error, in dialects that have a place for it.
    beside: Option<Box<Map<String, Value>>>,
}

/// The refusal itself, beside an answer that is perhaps to be written in another dialect.
#[derive(Debug, Clone)]
pub(crate) struct Whole(pub(crate) Refusal);

/// The code of a refusal, beside an answer in whose dialect it cannot be read.
#[derive(Debug, Clone)]
pub(crate) struct Because(pub(crate) Cow<'static, str>);

impl Refusal {
    /// `code` is listed in `docs/errors.md`; `message` says what to do.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            param: None,
            retry: Retry::Never,
            ends_connection: false,
            beside: None,
        }
    }

    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// Tells what a failure's code, fault and retry say, with the status that belongs to its code.
    pub fn of(failure: &dyn Failure) -> Self {
        let status = status::of(failure.code(), failure.fault());
        let mut refusal = Self::new(status, failure.code().0, failure.to_string());
        refusal.retry = failure.retry();
        refusal
    }

    /// What is wrong, and what to do about it.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Names the field that is wrong, as a path: `messages[2].content`.
    #[must_use]
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into()).filter(|param: &String| !param.is_empty());
        self
    }

    /// Replaces the code by a more telling one, such as an upstream's.
    #[must_use]
    pub fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = code.into();
        self
    }

    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry = Retry::After(after);
        self
    }

    /// We have asked again already, as often as it makes sense; a caller that does too multiplies the load.
    pub(crate) fn already_retried(mut self) -> Self {
        if self.retry == Retry::Now {
            self.retry = Retry::Never;
        }
        self
    }

    /// Facts for programs, such as the answer that was faster.
    #[must_use]
    pub fn with(mut self, beside: Map<String, Value>) -> Self {
        self.beside = Some(Box::new(beside));
        self
    }

    pub(crate) fn beside(&self) -> Option<&Map<String, Value>> {
        self.beside.as_deref()
    }

    pub(crate) fn ends_connection(mut self) -> Self {
        self.ends_connection = true;
        self
    }

    /// As the codecs of the dialects write it.
    pub(crate) fn told(&self) -> Refused<'_> {
        Refused {
            status: self.status.as_u16(),
            code: &self.code,
            message: &self.message,
            param: self.param.as_deref(),
        }
    }
}

impl<F: Failure> From<F> for Refusal {
    fn from(failure: F) -> Self {
        Self::of(&failure)
    }
}

impl Refusal {
    /// As callers of a model read it, in their dialect.
    pub(crate) fn into_response_in(self, dialect: Dialect, request_id: &str) -> Response {
        let body = ingress::error(dialect, &self.told(), request_id);
        self.respond(body)
    }

    /// With another status, where a dialect has its own.
    pub(crate) fn respond_with(self, status: StatusCode, body: Vec<u8>) -> Response {
        Self { status, ..self }.respond(body)
    }

    fn respond(self, body: Vec<u8>) -> Response {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        response.extensions_mut().insert(Because(self.code));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self.retry {
            // Client libraries repeat 409, 429 and 5xx unless they are told not to.
            Retry::Never => {
                headers.insert("x-should-retry", HeaderValue::from_static("false"));
            }
            Retry::Now => {}
            Retry::After(after) => {
                let seconds = after.as_millis().div_ceil(1000).max(1);
                headers.insert(RETRY_AFTER, number(seconds));
                headers.insert("retry-after-ms", number(after.as_millis()));
            }
        }
        if self.ends_connection {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = self.told().openai();
        let whole = Whole(self.clone());
        let mut response = self.respond(body);
        response.extensions_mut().insert(whole);
        response
    }
}

fn number(value: u128) -> HeaderValue {
    HeaderValue::from(u64::try_from(value).unwrap_or(u64::MAX))
}
