//! The chat completions wire, spoken by OpenAI and by everyone who is compatible with it.

use agentry_core::chat::{ChatRequest, ChatResponse};
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream, ModelError};
use agentry_http::{BodyStream, Client};
use agentry_wire::chat::{self, Decoder};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, Method, Request, Response, Uri, header};
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
    /// Marked as sensitive: `Debug` does not show it.
    authorization: Option<HeaderValue>,
    capabilities: Capabilities,
}

impl OpenAi {
    pub fn new(client: Client, settings: Settings) -> Result<Self, Misconfigured> {
        let Settings { base_url, api_key, capabilities } = settings;
        let url = drive::url(&base_url, "/chat/completions")?;
        let authorization = api_key.map(|key| drive::credential("Bearer ", &key)).transpose()?;
        Ok(Self { client, url, authorization, capabilities })
    }

    async fn send(
        &self,
        cx: &CallContext,
        request: &ChatRequest,
    ) -> Result<Response<BodyStream>, ModelError> {
        let http_request = self.http_request(chat::body(request)?)?;
        drive::send(&self.client, cx, http_request, &request.model).await
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
}

async fn whole(response: Response<BodyStream>, model: &str) -> Result<ChatResponse, ModelError> {
    chat::response(&drive::whole(response).await?, model)
}

#[cfg(test)]
mod tests;
