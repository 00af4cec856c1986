//! Gemini's own API.

use agentry_core::chat::{ChatRequest, ChatResponse};
use agentry_core::embed::{BatchMax, Embedder, EmbeddingRequest, EmbeddingResponse};
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream, ModelError};
use agentry_http::{BodyStream, Client};
use agentry_wire::gemini::{self, Decoder};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Response, Uri};
use secrecy::SecretString;

use crate::drive;
use crate::drive::Misconfigured;

/// Where Gemini is and how it knows us.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Up to and without `/models/…`.
    pub base_url: String,
    pub api_key: Option<SecretString>,
    pub capabilities: Capabilities,
    /// How much one request for embeddings may hold.
    pub batch_max: BatchMax,
}

impl Settings {
    pub const BASE_URL: &str = "https://generativelanguage.googleapis.com/v1beta";

    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            api_key: None,
            capabilities: Capabilities { tools: true, images: true, json_schema: true },
            batch_max: BatchMax { inputs: 100, tokens: 20_000 },
        }
    }
}

/// An upstream that speaks `generateContent`.
#[derive(Debug)]
pub struct Gemini {
    client: Client,
    base_url: String,
    headers: HeaderMap,
    capabilities: Capabilities,
    batch_max: BatchMax,
}

impl Gemini {
    pub fn new(client: Client, settings: Settings) -> Result<Self, Misconfigured> {
        let Settings { base_url, api_key, capabilities, batch_max } = settings;
        drive::url(&base_url, &gemini::path("m", "generateContent"))?;
        let mut headers = drive::headers("application/json, text/event-stream");
        if let Some(key) = api_key {
            headers.insert("x-goog-api-key", drive::credential("", &key)?);
        }
        Ok(Self { client, base_url, headers, capabilities, batch_max })
    }

    async fn send(
        &self,
        cx: &CallContext,
        method: &str,
        body: Bytes,
        model: &str,
    ) -> Result<Response<BodyStream>, ModelError> {
        let request = drive::post(cx, self.url(model, method)?, self.headers.clone(), body);
        drive::send_to(&self.client, cx, request, model, gemini::error).await
    }

    fn url(&self, model: &str, method: &str) -> Result<Uri, ModelError> {
        drive::url(&self.base_url, &gemini::path(model, method)).map_err(|error| {
            let message = format!("its name does not fit into a path: {error}");
            ModelError::UnknownModel { model: model.to_owned(), message }
        })
    }
}

#[async_trait]
impl ChatModel for Gemini {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn stream(
        &self,
        cx: &CallContext,
        request: ChatRequest,
    ) -> Result<ChatStream, ModelError> {
        let body = gemini::body(&request)?;
        let method = "streamGenerateContent?alt=sse";
        let response = self.send(cx, method, body, &request.model).await?;
        if drive::is_json(response.headers()) {
            let whole = gemini::response(&drive::whole(response).await?, &request.model)?;
            return Ok(stream::iter(whole.into_events().into_iter().map(Ok)).boxed());
        }
        Ok(drive::events(response.into_body(), Decoder::new()))
    }

    async fn complete(
        &self,
        cx: &CallContext,
        request: ChatRequest,
    ) -> Result<ChatResponse, ModelError> {
        let body = gemini::body(&request)?;
        let response = self.send(cx, "generateContent", body, &request.model).await?;
        gemini::response(&drive::whole(response).await?, &request.model)
    }
}

#[async_trait]
impl Embedder for Gemini {
    fn batch_max(&self) -> BatchMax {
        self.batch_max
    }

    async fn embed(
        &self,
        cx: &CallContext,
        request: EmbeddingRequest,
    ) -> Result<EmbeddingResponse, ModelError> {
        let body = gemini::embed_body(&request)?;
        let response = self.send(cx, "batchEmbedContents", body, &request.model).await?;
        let body = drive::whole(response).await?;
        gemini::embed_response(&body, &request.model)?.for_inputs(request.input.len())
    }
}

#[cfg(test)]
mod tests;
