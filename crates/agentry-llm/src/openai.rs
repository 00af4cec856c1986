//! The chat completions wire, spoken by OpenAI and by everyone who is compatible with it.

use agentry_core::chat::{ChatRequest, ChatResponse, Head};
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream, ModelError};
use agentry_core::relay::{Dialect, Frame, Marks, Raw, RawAnswer};
use agentry_http::{BodyStream, Client};
use agentry_wire::Encode as _;
use agentry_wire::chat::{self, Chunks, Decoder, Reader};
use agentry_wire::tap::worse;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use secrecy::SecretString;

use crate::drive;
use crate::drive::Misconfigured;

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

/// An upstream that speaks chat completions.
#[derive(Debug)]
pub struct OpenAi {
    client: Client,
    url: Uri,
    /// Sent with every request. The credential among them is marked as sensitive: `Debug` does not show it.
    headers: HeaderMap,
    capabilities: Capabilities,
}

impl OpenAi {
    pub fn new(client: Client, settings: Settings) -> Result<Self, Misconfigured> {
        let Settings { base_url, api_key, capabilities } = settings;
        let url = drive::url(&base_url, "/chat/completions")?;
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let accept = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(header::ACCEPT, accept);
        if let Some(key) = api_key {
            headers.insert(header::AUTHORIZATION, drive::credential("Bearer ", &key)?);
        }
        Ok(Self { client, url, headers, capabilities })
    }

    async fn send(
        &self,
        cx: &CallContext,
        request: &ChatRequest,
    ) -> Result<Response<BodyStream>, ModelError> {
        self.post(cx, chat::body(request)?, &request.model).await
    }

    async fn post(
        &self,
        cx: &CallContext,
        body: Bytes,
        model: &str,
    ) -> Result<Response<BodyStream>, ModelError> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers.clone();
        drive::send(&self.client, cx, request, model).await
    }
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
        if drive::is_json(response.headers()) {
            // Either it does not know how to stream, or this is an error under a good status.
            let whole = whole(response, &request.model).await?;
            return Ok(stream::iter(whole.into_events().into_iter().map(Ok)).boxed());
        }
        Ok(drive::events(response.into_body(), Decoder::new()))
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

    fn speaks(&self, dialect: Dialect) -> bool {
        dialect == Dialect::ChatCompletions
    }

    async fn relay(&self, cx: &CallContext, raw: Raw) -> Result<RawAnswer, ModelError> {
        let Raw { dialect, body, stream, model, withhold_usage, choices_max } = raw;
        if dialect != Dialect::ChatCompletions {
            let reason = format!("this upstream is not sent {dialect}");
            return Err(ModelError::Internal { reason });
        }
        let response = self.post(cx, body, &model).await?;
        if !stream {
            return chat::whole(drive::whole(response).await?, &model).map(RawAnswer::Whole);
        }
        if drive::is_json(response.headers()) {
            let whole = whole(response, &model).await?;
            return Ok(streamed(whole, !withhold_usage));
        }
        let reader = Reader::new(choices_max, withhold_usage);
        Ok(RawAnswer::Streamed(drive::frames(response.into_body(), reader)))
    }
}

/// What a server says at once that does not know how to stream, as if it had streamed it.
fn streamed(whole: ChatResponse, include_usage: bool) -> RawAnswer {
    let usage = whole.usage.clone().map(Box::new);
    let finish = whole.choices.iter().map(|choice| choice.finish_reason.clone());
    let finish = finish.fold(None, worse);
    let mut chunks = Chunks::new(Head::default(), include_usage);
    let mut bytes = Vec::new();
    for event in whole.into_events() {
        chunks.encode(event, &mut bytes);
    }
    let frame = Frame { bytes: bytes.into(), marks: Marks { usage, finish, done: true } };
    RawAnswer::Streamed(stream::iter([Ok(frame)]).boxed())
}

async fn whole(response: Response<BodyStream>, model: &str) -> Result<ChatResponse, ModelError> {
    chat::response(&drive::whole(response).await?, model)
}

#[cfg(test)]
mod tests;
