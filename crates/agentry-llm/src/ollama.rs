//! Ollama's own API.

use agentry_core::chat::{ChatRequest, ChatResponse};
use agentry_core::embed::{BatchMax, Embedder, EmbeddingRequest, EmbeddingResponse};
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream, ModelError};
use agentry_http::{BodyStream, Client};
use agentry_wire::ollama::{self, Decoder};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Response, Uri, header};
use secrecy::SecretString;

use crate::drive;
use crate::drive::Misconfigured;

/// Where the server is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Up to and without `/api/chat`.
    pub base_url: String,
    /// For servers behind a door, and for Ollama's own cloud.
    pub api_key: Option<SecretString>,
    pub capabilities: Capabilities,
    /// How much one request for embeddings may hold.
    pub batch_max: BatchMax,
}

impl Settings {
    pub const BASE_URL: &str = "http://127.0.0.1:11434";

    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            api_key: None,
            capabilities: Capabilities { tools: true, images: true, json_schema: true },
            batch_max: BatchMax { inputs: 256, tokens: 100_000 },
        }
    }
}

/// An upstream that speaks `/api/chat`.
#[derive(Debug)]
pub struct Ollama {
    client: Client,
    chat_url: Uri,
    embed_url: Uri,
    headers: HeaderMap,
    capabilities: Capabilities,
    batch_max: BatchMax,
}

impl Ollama {
    pub fn new(client: Client, settings: Settings) -> Result<Self, Misconfigured> {
        let Settings { base_url, api_key, capabilities, batch_max } = settings;
        let mut headers = drive::headers("application/x-ndjson, application/json");
        if let Some(key) = api_key {
            headers.insert(header::AUTHORIZATION, drive::credential("Bearer ", &key)?);
        }
        let chat_url = drive::url(&base_url, "/api/chat")?;
        let embed_url = drive::url(&base_url, "/api/embed")?;
        Ok(Self { client, chat_url, embed_url, headers, capabilities, batch_max })
    }

    async fn send(
        &self,
        cx: &CallContext,
        url: &Uri,
        body: Bytes,
        model: &str,
    ) -> Result<Response<BodyStream>, ModelError> {
        let request = drive::post(cx, url.clone(), self.headers.clone(), body);
        drive::send(&self.client, cx, request, model).await
    }
}

#[async_trait]
impl ChatModel for Ollama {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn stream(
        &self,
        cx: &CallContext,
        mut request: ChatRequest,
    ) -> Result<ChatStream, ModelError> {
        request.stream = true;
        let body = ollama::body(&request)?;
        let response = self.send(cx, &self.chat_url, body, &request.model).await?;
        Ok(drive::events(response.into_body(), Decoder::new()))
    }

    async fn complete(
        &self,
        cx: &CallContext,
        mut request: ChatRequest,
    ) -> Result<ChatResponse, ModelError> {
        request.stream = false;
        let body = ollama::body(&request)?;
        let response = self.send(cx, &self.chat_url, body, &request.model).await?;
        ollama::response(&drive::whole(response).await?, &request.model)
    }
}

#[async_trait]
impl Embedder for Ollama {
    fn batch_max(&self) -> BatchMax {
        self.batch_max
    }

    async fn embed(
        &self,
        cx: &CallContext,
        request: EmbeddingRequest,
    ) -> Result<EmbeddingResponse, ModelError> {
        let body = ollama::embed_body(&request)?;
        let response = self.send(cx, &self.embed_url, body, &request.model).await?;
        let body = drive::whole(response).await?;
        ollama::embed_response(&body, &request.model)?.for_inputs(request.input.len())
    }
}

#[cfg(test)]
mod tests;
