//! The chat completions wire, spoken by OpenAI and by everyone who is compatible with it.

use agentry_core::Pieces;
use agentry_core::chat::{ChatRequest, ChatResponse, Head};
use agentry_core::embed::BatchMax;
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream, ModelError};
use agentry_core::relay::{Dialect, Frame, Marks, Raw, RawAnswer};
use agentry_http::{BodyStream, Client};
use agentry_wire::chat::{self, Chunks, Decoder, Quirks, Reader};
use agentry_wire::responses;
use agentry_wire::tap::worse;
use agentry_wire::{Asked, Encode};
use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use secrecy::SecretString;

use crate::drive;
use crate::drive::Misconfigured;

mod embed;
mod urls;

use urls::{Endpoint, Urls};

/// Where an upstream is and how it knows us.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Up to and without `/chat/completions`: `https://api.openai.com/v1`.
    pub base_url: String,
    pub api_key: Option<SecretString>,
    pub capabilities: Capabilities,
    /// What this server takes differently.
    pub quirks: Quirks,
    /// What it is asked for chats that do not pass as they are.
    pub api: Api,
    /// How much one request for embeddings may hold.
    pub batch_max: BatchMax,
}

/// Which of OpenAI's two APIs for chats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Api {
    #[default]
    ChatCompletions,
    Responses,
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
        let api = Api::default();
        Self { base_url, api_key: None, capabilities, quirks, api, batch_max: BATCH_MAX }
    }
}

/// An upstream that speaks chat completions, Responses, or both.
#[derive(Debug)]
pub struct OpenAi {
    client: Client,
    urls: Urls,
    /// Sent with every request. The credential among them is marked as sensitive: `Debug` does not show it.
    headers: HeaderMap,
    capabilities: Capabilities,
    quirks: Quirks,
    api: Api,
    batch_max: BatchMax,
}

impl OpenAi {
    pub fn new(client: Client, settings: Settings) -> Result<Self, Misconfigured> {
        let urls = Urls::fixed(&settings.base_url)?;
        let key = settings.api_key.as_ref();
        let key = key.map(|key| drive::credential("Bearer ", key)).transpose()?;
        Ok(Self::with(client, urls, key.map(|key| (header::AUTHORIZATION, key)), &settings))
    }

    /// Only with an `api_version` a model is a deployment in the path.
    pub(crate) fn at_azure(
        client: Client,
        settings: Settings,
        api_version: Option<&str>,
    ) -> Result<Self, Misconfigured> {
        let urls = match api_version {
            Some(api_version) => Urls::deployments(&settings.base_url, api_version)?,
            None => Urls::fixed(&settings.base_url)?,
        };
        let key = settings.api_key.as_ref();
        let key = key.map(|key| drive::credential("", key)).transpose()?;
        let name = HeaderName::from_static("api-key");
        Ok(Self::with(client, urls, key.map(|key| (name, key)), &settings))
    }

    fn with(
        client: Client,
        urls: Urls,
        key: Option<(HeaderName, HeaderValue)>,
        settings: &Settings,
    ) -> Self {
        let mut headers = drive::headers("application/json, text/event-stream");
        headers.extend(key);
        let Settings { base_url: _, api_key: _, capabilities, quirks, api, batch_max } = *settings;
        Self { client, urls, headers, capabilities, quirks, api, batch_max }
    }

    async fn send(
        &self,
        cx: &CallContext,
        request: &ChatRequest,
    ) -> Result<Response<BodyStream>, ModelError> {
        let (endpoint, body) = match self.api {
            Api::ChatCompletions => (Endpoint::Chat, chat::body(request, &self.quirks)?),
            Api::Responses => (Endpoint::Responses, responses::body(request)?),
        };
        self.post(cx, endpoint, body, &request.model).await
    }

    async fn post(
        &self,
        cx: &CallContext,
        endpoint: Endpoint,
        body: impl Into<Pieces>,
        model: &str,
    ) -> Result<Response<BodyStream>, ModelError> {
        let url = self.urls.of(endpoint, model)?;
        let request = drive::post(cx, url, self.headers.clone(), body);
        let response = drive::send(&self.client, cx, request, model).await;
        response.map_err(|error| self.explained(error))
    }

    /// A refusal may come from a habit of the server that the configuration can name.
    fn explained(&self, error: ModelError) -> ModelError {
        match error {
            ModelError::Invalid { message, param, upstream_code } => {
                let message = match self.quirks.suspected(&message) {
                    Some(quirk) => format!(
                        "{message} (perhaps quirks = [\"{quirk}\"] is missing in the configuration of this provider)"
                    ),
                    None => message,
                };
                ModelError::Invalid { message, param, upstream_code }
            }
            other => other,
        }
    }

    async fn whole(
        &self,
        response: Response<BodyStream>,
        model: &str,
    ) -> Result<ChatResponse, ModelError> {
        let body = drive::whole(response).await?;
        match self.api {
            Api::ChatCompletions => chat::response(&body, model),
            Api::Responses => responses::response(&body, model),
        }
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
            let whole = self.whole(response, &request.model).await?;
            return Ok(stream::iter(whole.into_events().into_iter().map(Ok)).boxed());
        }
        Ok(match self.api {
            Api::ChatCompletions => drive::events(response.into_body(), Decoder::new()),
            Api::Responses => drive::events(response.into_body(), responses::Decoder::new()),
        })
    }

    async fn complete(
        &self,
        cx: &CallContext,
        mut request: ChatRequest,
    ) -> Result<ChatResponse, ModelError> {
        request.stream = false;
        let response = self.send(cx, &request).await?;
        self.whole(response, &request.model).await
    }

    fn speaks(&self, dialect: Dialect) -> bool {
        match dialect {
            Dialect::ChatCompletions => self.api == Api::ChatCompletions && self.quirks.takes_all(),
            Dialect::Responses => self.api == Api::Responses || self.quirks.responses,
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
        let body = self.quirks.own_thoughts(body);
        let response = self.post(cx, Endpoint::Chat, body, &model).await?;
        if !stream {
            return chat::whole(drive::whole(response).await?, &model).map(RawAnswer::Whole);
        }
        if drive::is_json(response.headers()) {
            let whole = chat::response(&drive::whole(response).await?, &model)?;
            return Ok(streamed(whole, Chunks::new(Head::default(), !withhold_usage)));
        }
        let reader = Reader::new(choices_max, withhold_usage);
        Ok(RawAnswer::Streamed(drive::frames(response.into_body(), reader)))
    }

    async fn relay_responses(&self, cx: &CallContext, raw: Raw) -> Result<RawAnswer, ModelError> {
        let Raw { body, stream, model, .. } = raw;
        let sent = responses::own_thoughts(body.clone());
        let response = self.post(cx, Endpoint::Responses, sent, &model).await?;
        if !stream {
            let body = drive::whole(response).await?;
            return responses::whole_marks(body, &model).map(RawAnswer::Whole);
        }
        if drive::is_json(response.headers()) {
            let whole = responses::response(&drive::whole(response).await?, &model)?;
            let asked = Asked { body: body.into_bytes(), ..Asked::default() };
            return Ok(streamed(whole, responses::Events::new(&asked)));
        }
        Ok(RawAnswer::Streamed(drive::frames(response.into_body(), responses::Reader)))
    }
}

/// What a server says at once that does not know how to stream, as if it had streamed it.
fn streamed(whole: ChatResponse, mut encoder: impl Encode) -> RawAnswer {
    let usage = whole.usage.clone().map(Box::new);
    let finish = whole.choices.iter().map(|choice| choice.finish_reason.clone());
    let finish = finish.fold(None, worse);
    let mut bytes = Vec::new();
    for event in whole.into_events() {
        encoder.encode(event, &mut bytes);
    }
    let frame =
        Frame { bytes: bytes.into(), marks: Marks { says: true, usage, finish, done: true } };
    RawAnswer::Streamed(stream::iter([Ok(frame)]).boxed())
}

#[cfg(test)]
mod tests;
