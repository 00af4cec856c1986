//! Amazon Bedrock's Converse.

use std::fmt;
use std::sync::Arc;

use agentry_core::Clock;
use agentry_core::chat::{ChatRequest, ChatResponse};
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream, ModelError};
use agentry_http::{BodyStream, Client};
use agentry_wire::bedrock::{self, Credentials, Decoder, Signed, Signing};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Response, Uri, header};
use secrecy::{ExposeSecret as _, SecretString};

use crate::drive;
use crate::drive::Misconfigured;

const SERVICE: &str = "bedrock";

/// Where Bedrock is and how it knows us.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `us-east-1`
    pub region: String,
    /// Instead of the region's own host: a private endpoint, a proxy.
    pub base_url: Option<String>,
    pub access: Access,
    pub capabilities: Capabilities,
}

/// What proves who calls.
#[derive(Debug, Clone)]
pub enum Access {
    /// An API key of Bedrock's own (`AWS_BEARER_TOKEN_BEDROCK`).
    Bearer(SecretString),
    /// Keys that sign each request; temporary ones have a token.
    Keys {
        access_key_id: String,
        secret_access_key: SecretString,
        session_token: Option<SecretString>,
    },
}

impl Settings {
    /// Trusting that the models behind it can do everything.
    #[must_use]
    pub fn new(region: impl Into<String>, access: Access) -> Self {
        let capabilities = Capabilities { tools: true, images: true, json_schema: true };
        Self { region: region.into(), base_url: None, access, capabilities }
    }
}

/// An upstream that speaks Converse.
pub struct Bedrock {
    client: Client,
    clock: Arc<dyn Clock>,
    base_url: String,
    region: String,
    access: Access,
    headers: HeaderMap,
    capabilities: Capabilities,
}

impl fmt::Debug for Bedrock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bedrock")
            .field("base_url", &self.base_url)
            .field("region", &self.region)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

impl Bedrock {
    /// Signatures say when they were made: that is what the clock is for.
    pub fn new(
        client: Client,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<Self, Misconfigured> {
        let Settings { region, base_url, access, capabilities } = settings;
        let is_region = |region: &str| {
            !region.is_empty()
                && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if !is_region(&region) {
            return Err(Misconfigured::Region { region });
        }
        let base_url =
            base_url.unwrap_or_else(|| format!("https://bedrock-runtime.{region}.amazonaws.com"));
        drive::url(&base_url, &bedrock::path("m", false))?;
        let mut headers = drive::headers("application/json, application/vnd.amazon.eventstream");
        match &access {
            Access::Bearer(key) => {
                headers.insert(header::AUTHORIZATION, drive::credential("Bearer ", key)?);
            }
            Access::Keys { session_token, .. } => {
                if let Some(token) = session_token {
                    headers.insert("x-amz-security-token", drive::credential("", token)?);
                }
            }
        }
        Ok(Self { client, clock, base_url, region, access, headers, capabilities })
    }

    async fn send(
        &self,
        cx: &CallContext,
        path: &str,
        body: Bytes,
        model: &str,
    ) -> Result<Response<BodyStream>, ModelError> {
        let url = drive::url(&self.base_url, path).map_err(|error| {
            let message = format!("its name does not fit into a path: {error}");
            ModelError::UnknownModel { model: model.to_owned(), message }
        })?;
        let headers = self.signed(&url, &body)?;
        let request = drive::post(cx, url, headers, body);
        drive::send_to(&self.client, cx, request, model, bedrock::failed).await
    }

    fn signed(&self, url: &Uri, body: &[u8]) -> Result<HeaderMap, ModelError> {
        let mut headers = self.headers.clone();
        let Access::Keys { access_key_id, secret_access_key, session_token } = &self.access else {
            return Ok(headers);
        };
        let signing = Signing {
            host: host(url),
            path: url.path(),
            content_type: "application/json",
            body,
            region: &self.region,
            service: SERVICE,
            now: self.clock.now(),
        };
        let credentials = Credentials {
            access_key_id: access_key_id.trim(),
            secret_access_key: secret_access_key.expose_secret().trim(),
            session_token: session_token.as_ref().map(|token| token.expose_secret().trim()),
        };
        let Signed { authorization, date } = bedrock::sign(&signing, credentials);
        let value = |text: String| {
            HeaderValue::try_from(text).map_err(|_| ModelError::Internal {
                reason: "the access_key_id has characters that no header may have".to_owned(),
            })
        };
        let mut authorization = value(authorization)?;
        authorization.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, authorization);
        headers.insert("x-amz-date", value(date)?);
        Ok(headers)
    }
}

/// As the client writes it: without the port that goes without saying.
fn host(url: &Uri) -> &str {
    let authority = url.authority().map_or("", http::uri::Authority::as_str);
    let usual = match url.scheme_str() {
        Some("https") => ":443",
        _ => ":80",
    };
    authority.strip_suffix(usual).unwrap_or(authority)
}

#[async_trait]
impl ChatModel for Bedrock {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn stream(
        &self,
        cx: &CallContext,
        request: ChatRequest,
    ) -> Result<ChatStream, ModelError> {
        let body = bedrock::body(&request)?;
        let path = bedrock::path(&request.model, true);
        let response = self.send(cx, &path, body, &request.model).await?;
        if drive::is_json(response.headers()) {
            let whole = bedrock::response(&drive::whole(response).await?, &request.model)?;
            return Ok(stream::iter(whole.into_events().into_iter().map(Ok)).boxed());
        }
        Ok(drive::events(response.into_body(), Decoder::new(&request.model)))
    }

    async fn complete(
        &self,
        cx: &CallContext,
        request: ChatRequest,
    ) -> Result<ChatResponse, ModelError> {
        let body = bedrock::body(&request)?;
        let path = bedrock::path(&request.model, false);
        let response = self.send(cx, &path, body, &request.model).await?;
        bedrock::response(&drive::whole(response).await?, &request.model)
    }
}

#[cfg(test)]
mod tests;
