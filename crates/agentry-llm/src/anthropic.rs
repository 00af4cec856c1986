//! Anthropic's own API, and servers that are compatible with it.

use agentry_core::Pieces;
use agentry_core::chat::{ChatRequest, ChatResponse};
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream, ModelError};
use agentry_core::relay::{Dialect, Frame, Marks, Raw, RawAnswer};
use agentry_http::{BodyStream, Client};
use agentry_wire::messages::{self, Decoder, Reader, Stream};
use agentry_wire::{Asked, Encode as _};
use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Response, Uri};
use secrecy::SecretString;

use crate::drive;
use crate::drive::Misconfigured;

/// The version of the API that the codecs speak.
const VERSION: &str = "2023-06-01";

/// Where Anthropic is and how it knows us.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Up to and without `/v1/messages`; with `/v1` it is as good.
    pub base_url: String,
    pub api_key: Option<SecretString>,
    pub capabilities: Capabilities,
    /// Names of betas to take part in, separated by commas.
    pub beta: Option<String>,
    /// The vendor demands a bound on what is written; this one is for requests that have none.
    pub max_tokens: u64,
}

impl Settings {
    pub const BASE_URL: &str = "https://api.anthropic.com";

    /// Without a key, and trusting that the models behind it can do everything.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            api_key: None,
            capabilities: Capabilities { tools: true, images: true, json_schema: true },
            beta: None,
            max_tokens: 4_096,
        }
    }

    /// Up to and without `/v1`.
    pub(crate) fn root(&self) -> &str {
        let root = self.base_url.trim_end_matches('/');
        root.strip_suffix("/v1").unwrap_or(root)
    }

    /// Sent with every request.
    pub(crate) fn headers(&self) -> Result<HeaderMap, Misconfigured> {
        let mut headers = drive::headers("application/json, text/event-stream");
        headers.insert("anthropic-version", HeaderValue::from_static(VERSION));
        if let Some(beta) = &self.beta {
            let value = HeaderValue::try_from(beta.trim())
                .map_err(|_| Misconfigured::Header { name: "beta" })?;
            headers.insert("anthropic-beta", value);
        }
        if let Some(key) = &self.api_key {
            headers.insert("x-api-key", drive::credential("", key)?);
        }
        Ok(headers)
    }
}

/// An upstream that speaks Messages.
#[derive(Debug)]
pub struct Anthropic {
    client: Client,
    url: Uri,
    headers: HeaderMap,
    capabilities: Capabilities,
    max_tokens: u64,
}

impl Anthropic {
    pub fn new(client: Client, settings: Settings) -> Result<Self, Misconfigured> {
        let url = drive::url(settings.root(), "/v1/messages")?;
        let headers = settings.headers()?;
        let Settings { base_url: _, api_key: _, capabilities, beta: _, max_tokens } = settings;
        Ok(Self { client, url, headers, capabilities, max_tokens })
    }

    async fn send(
        &self,
        cx: &CallContext,
        body: impl Into<Pieces>,
        model: &str,
    ) -> Result<Response<BodyStream>, ModelError> {
        let request = drive::post(cx, self.url.clone(), self.headers.clone(), body);
        drive::send_to(&self.client, cx, request, model, messages::failed).await
    }
}

#[async_trait]
impl ChatModel for Anthropic {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn stream(
        &self,
        cx: &CallContext,
        mut request: ChatRequest,
    ) -> Result<ChatStream, ModelError> {
        request.stream = true;
        let body = messages::body(&request, self.max_tokens)?;
        let response = self.send(cx, body, &request.model).await?;
        if drive::is_json(response.headers()) {
            // Either it does not know how to stream, or this is an error under a good status.
            let whole = whole(response, &request.model).await?;
            return Ok(stream::iter(whole.into_events().into_iter().map(Ok)).boxed());
        }
        Ok(drive::events(response.into_body(), Decoder::new(&request.model)))
    }

    async fn complete(
        &self,
        cx: &CallContext,
        mut request: ChatRequest,
    ) -> Result<ChatResponse, ModelError> {
        request.stream = false;
        let body = messages::body(&request, self.max_tokens)?;
        let response = self.send(cx, body, &request.model).await?;
        whole(response, &request.model).await
    }

    fn speaks(&self, dialect: Dialect) -> bool {
        dialect == Dialect::Messages
    }

    async fn relay(&self, cx: &CallContext, raw: Raw) -> Result<RawAnswer, ModelError> {
        let Raw { dialect, body, stream, model, withhold_usage: _, choices_max: _ } = raw;
        if dialect != Dialect::Messages {
            let reason = format!("this upstream is not sent {dialect}");
            return Err(ModelError::Internal { reason });
        }
        let response = self.send(cx, messages::own_thoughts(body), &model).await?;
        if !stream {
            let body = drive::whole(response).await?;
            return messages::whole_marks(body, &model).map(RawAnswer::Whole);
        }
        if drive::is_json(response.headers()) {
            return Ok(streamed(whole(response, &model).await?));
        }
        Ok(RawAnswer::Streamed(drive::frames(response.into_body(), Reader::new(&model))))
    }
}

/// What a server says at once that does not know how to stream, as if it had streamed it.
fn streamed(whole: ChatResponse) -> RawAnswer {
    let usage = whole.usage.clone().map(Box::new);
    let finish = whole.choices.first().and_then(|choice| choice.finish_reason.clone());
    let mut stream = Stream::new(&Asked::default());
    let mut bytes = Vec::new();
    for event in whole.into_events() {
        stream.encode(event, &mut bytes);
    }
    let frame =
        Frame { bytes: bytes.into(), marks: Marks { says: true, usage, finish, done: true } };
    RawAnswer::Streamed(stream::iter([Ok(frame)]).boxed())
}

async fn whole(response: Response<BodyStream>, model: &str) -> Result<ChatResponse, ModelError> {
    messages::response(&drive::whole(response).await?, model)
}

#[cfg(test)]
mod tests;
