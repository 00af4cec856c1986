//! The chat completions wire, spoken by OpenAI and by everyone who is compatible with it.

use agentry_core::chat::{ChatRequest, ChatResponse, Head};
use agentry_core::embed::BatchMax;
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream, ModelError};
use agentry_core::relay::{Dialect, Frame, Marks, Raw, RawAnswer};
use agentry_http::{BodyStream, Client};
use agentry_wire::Encode as _;
use agentry_wire::chat::{self, Chunks, Decoder, Quirks, Reader};
use agentry_wire::responses;
use agentry_wire::tap::worse;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Response, Uri, header};
use secrecy::SecretString;

use crate::drive;
use crate::drive::Misconfigured;

mod embed;

/// Where an upstream is and how it knows us.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Up to and without `/chat/completions`: `https://api.openai.com/v1`.
    pub base_url: String,
    pub api_key: Option<SecretString>,
    pub capabilities: Capabilities,
    /// What this server takes differently.
    pub quirks: Quirks,
    /// How much one request for embeddings may hold.
    pub batch_max: BatchMax,
}

/// What OpenAI takes; a server of one's own may take less.
const BATCH_MAX: BatchMax = BatchMax { inputs: 2_048, tokens: 300_000 };

impl Settings {
    /// Without a key, and trusting that the models behind it can do everything.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        let capabilities = Capabilities { tools: true, images: true, json_schema: true };
        let base_url = base_url.into();
        let quirks = Quirks::of(&base_url);
        Self { base_url, api_key: None, capabilities, quirks, batch_max: BATCH_MAX }
    }
}

/// An upstream that speaks chat completions.
#[derive(Debug)]
pub struct OpenAi {
    client: Client,
    url: Uri,
    responses_url: Uri,
    embeddings_url: Uri,
    /// Sent with every request. The credential among them is marked as sensitive: `Debug` does not show it.
    headers: HeaderMap,
    capabilities: Capabilities,
    quirks: Quirks,
    batch_max: BatchMax,
}

impl OpenAi {
    pub fn new(client: Client, settings: Settings) -> Result<Self, Misconfigured> {
        let Settings { base_url, api_key, capabilities, quirks, batch_max } = settings;
        let url = drive::url(&base_url, "/chat/completions")?;
        let responses_url = drive::url(&base_url, "/responses")?;
        let embeddings_url = drive::url(&base_url, "/embeddings")?;
        let mut headers = drive::headers("application/json, text/event-stream");
        if let Some(key) = api_key {
            headers.insert(header::AUTHORIZATION, drive::credential("Bearer ", &key)?);
        }
        Ok(Self {
            client,
            url,
            responses_url,
            embeddings_url,
            headers,
            capabilities,
            quirks,
            batch_max,
        })
    }

    async fn send(
        &self,
        cx: &CallContext,
        request: &ChatRequest,
    ) -> Result<Response<BodyStream>, ModelError> {
        let body = chat::body(request, &self.quirks)?;
        self.post(cx, &self.url, body, &request.model).await
    }

    async fn post(
        &self,
        cx: &CallContext,
        url: &Uri,
        body: Bytes,
        model: &str,
    ) -> Result<Response<BodyStream>, ModelError> {
        let request = drive::post(url.clone(), self.headers.clone(), body);
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
        match dialect {
            Dialect::ChatCompletions => self.quirks.takes_all(),
            Dialect::Responses => self.quirks.responses,
            Dialect::Messages => false,
        }
    }

    async fn relay(&self, cx: &CallContext, raw: Raw) -> Result<RawAnswer, ModelError> {
        match raw.dialect {
            Dialect::ChatCompletions => self.relay_chat(cx, raw).await,
            Dialect::Responses => self.relay_responses(cx, raw).await,
            Dialect::Messages => {
                let reason = format!("this upstream is not sent {}", raw.dialect);
                Err(ModelError::Internal { reason })
            }
        }
    }
}

impl OpenAi {
    async fn relay_chat(&self, cx: &CallContext, raw: Raw) -> Result<RawAnswer, ModelError> {
        let Raw { dialect: _, body, stream, model, withhold_usage, choices_max } = raw;
        let response = self.post(cx, &self.url, body, &model).await?;
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

    async fn relay_responses(&self, cx: &CallContext, raw: Raw) -> Result<RawAnswer, ModelError> {
        let Raw { body, stream, model, .. } = raw;
        let response = self.post(cx, &self.responses_url, body, &model).await?;
        if !stream || drive::is_json(response.headers()) {
            let body = drive::whole(response).await?;
            return responses::whole_marks(body, &model).map(RawAnswer::Whole);
        }
        Ok(RawAnswer::Streamed(drive::frames(response.into_body(), responses::Reader)))
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
