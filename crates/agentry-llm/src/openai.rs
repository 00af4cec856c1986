//! The chat completions wire, spoken by OpenAI and by everyone who is compatible with it.

use std::time::Duration;

use agentry_core::chat::{ChatRequest, ChatResponse};
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream, ModelError, Waiting};
use agentry_http::{BodyStream, Client, Deadlines, Phase};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

mod decode;
mod encode;
mod error;

use decode::Decoder;
pub(crate) use error::{Report, from_report};

/// A whole answer is not longer than this, the report of an error not longer than that.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const ERROR_BYTES_MAX: usize = 64 << 10;
/// For calls without a deadline of their own.
const TOTAL: Duration = Duration::from_secs(600);

/// Where an upstream is and how it knows us.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Up to and without `/chat/completions`: `https://api.openai.com/v1`.
    pub base_url: String,
    pub api_key: Option<SecretString>,
    pub capabilities: Capabilities,
}

impl Settings {
    /// Without a key, and trusting that the models behind it can do everything.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        let capabilities = Capabilities { tools: true, images: true, json_schema: true };
        Self { base_url: base_url.into(), api_key: None, capabilities }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("`{url}` is no base_url: {reason}; write it like https://api.openai.com/v1")]
    BaseUrl { url: String, reason: String },
    #[error("the api_key has characters that no header may have; is there a line break in it?")]
    ApiKey,
}

/// An upstream that speaks chat completions.
#[derive(Debug)]
pub struct OpenAi {
    client: Client,
    url: Uri,
    /// Marked as sensitive: `Debug` does not show it.
    authorization: Option<HeaderValue>,
    capabilities: Capabilities,
}

impl OpenAi {
    pub fn new(client: Client, settings: Settings) -> Result<Self, Error> {
        let Settings { base_url, api_key, capabilities } = settings;
        let bad = |reason: String| Error::BaseUrl { url: base_url.clone(), reason };
        let url: Uri = format!("{}/chat/completions", base_url.trim_end_matches('/'))
            .parse()
            .map_err(|error: http::uri::InvalidUri| bad(error.to_string()))?;
        if !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(bad("it must begin with http:// or https://".to_owned()));
        }
        if url.query().is_some() {
            return Err(bad("it must not have a query".to_owned()));
        }
        let authorization = api_key.map(|key| bearer(&key)).transpose()?;
        Ok(Self { client, url, authorization, capabilities })
    }

    async fn send(
        &self,
        cx: &CallContext,
        request: &ChatRequest,
    ) -> Result<Response<BodyStream>, ModelError> {
        let http_request = self.http_request(encode::body(request)?)?;
        let response = self
            .client
            .send(http_request, &deadlines(cx))
            .await
            .map_err(|error| from_http(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        // What matters is the status; a report that cannot be read is an empty one.
        let report = agentry_http::read(body, ERROR_BYTES_MAX).await.unwrap_or_default();
        Err(error::from_response(parts.status, &parts.headers, &report, &request.model))
    }

    fn http_request(&self, body: Bytes) -> Result<Request<Bytes>, ModelError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .body(body)
            .map_err(|error| ModelError::Internal { reason: error.to_string() })?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }
}

fn bearer(key: &SecretString) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret().trim()))
        .map_err(|_| Error::ApiKey)?;
    value.set_sensitive(true);
    Ok(value)
}

#[async_trait]
impl ChatModel for OpenAi {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn stream(
        &self,
        cx: &CallContext,
        mut request: ChatRequest,
    ) -> Result<ChatStream, ModelError> {
        request.stream = true;
        let response = self.send(cx, &request).await?;
        if is_json(response.headers()) {
            // Either it does not know how to stream, or this is an error under a good status.
            let whole = whole(response, &request.model).await?;
            return Ok(stream::iter(whole.into_events().into_iter().map(Ok)).boxed());
        }
        Ok(events(response.into_body()))
    }

    async fn complete(
        &self,
        cx: &CallContext,
        mut request: ChatRequest,
    ) -> Result<ChatResponse, ModelError> {
        request.stream = false;
        let response = self.send(cx, &request).await?;
        whole(response, &request.model).await
    }
}

async fn whole(response: Response<BodyStream>, model: &str) -> Result<ChatResponse, ModelError> {
    let bytes = agentry_http::read(response.into_body(), ANSWER_BYTES_MAX)
        .await
        .map_err(|error| from_http(&error))?;
    decode::response(&bytes, model)
}

/// Feeds the decoder what arrives, until it has said its last.
fn events(body: BodyStream) -> ChatStream {
    let state = (body, Decoder::new(), true);
    stream::unfold(state, async |(mut body, mut decoder, goes_on)| {
        if !goes_on {
            return None;
        }
        let events = match body.next().await {
            Some(Ok(bytes)) => decoder.push(&bytes),
            Some(Err(error)) => decoder.end(Some(from_http_midway(&error))),
            None => decoder.end(None),
        };
        let goes_on = !decoder.is_over();
        Some((stream::iter(events), (body, decoder, goes_on)))
    })
    .flatten()
    .boxed()
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.trim_start().starts_with("application/json"))
}

fn deadlines(cx: &CallContext) -> Deadlines {
    let total = cx.deadline.map_or(TOTAL, |deadline| {
        Instant::from_std(deadline).saturating_duration_since(Instant::now())
    });
    Deadlines::within(total)
}

/// A failure before anything was answered.
fn from_http(error: &agentry_http::Error) -> ModelError {
    match error {
        agentry_http::Error::TimedOut { phase, after } => {
            let waiting = match phase {
                Phase::Connect => Waiting::Connect,
                Phase::Head => Waiting::FirstEvent,
                Phase::Idle => Waiting::NextEvent,
                Phase::Total => Waiting::End,
            };
            ModelError::TimedOut { waiting, after: *after }
        }
        agentry_http::Error::Connect { .. } | agentry_http::Error::Broken { .. } => {
            ModelError::Unavailable { message: error.to_string(), after: None }
        }
        agentry_http::Error::TooLarge { .. } => ModelError::Malformed { reason: error.to_string() },
        agentry_http::Error::InvalidUrl { .. } => {
            ModelError::Internal { reason: error.to_string() }
        }
    }
}

/// A failure while the answer was being written.
fn from_http_midway(error: &agentry_http::Error) -> ModelError {
    match error {
        agentry_http::Error::Broken { .. } => ModelError::Truncated,
        agentry_http::Error::TimedOut { .. }
        | agentry_http::Error::Connect { .. }
        | agentry_http::Error::TooLarge { .. }
        | agentry_http::Error::InvalidUrl { .. } => from_http(error),
    }
}

#[cfg(test)]
mod tests;
