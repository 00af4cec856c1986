//! Whether an upstream is there, asked with a request that costs nothing.

use std::time::Duration;

use agentry_core::Pieces;
use agentry_http::{Client, Deadlines, Error, read};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use secrecy::SecretString;

use crate::drive::{self, Misconfigured};
use crate::{anthropic, azure, gemini, ollama, openai};

/// A `GET` with the credentials of an upstream.
#[derive(Debug)]
pub struct Checker {
    client: Client,
    url: Uri,
    /// The credential among them is marked as sensitive: `Debug` does not show it.
    headers: HeaderMap,
    timeout: Duration,
}

/// What is asked, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Below the upstream's `base_url`: `/models`.
    pub path: &'a str,
    pub timeout: Duration,
}

/// No answer is read further than this: lists of models may be longer, and what counts is known by then.
const ANSWER_BYTES_MAX: usize = 1 << 20;

impl Checker {
    pub fn openai(
        client: Client,
        settings: &openai::Settings,
        asked: Asked<'_>,
    ) -> Result<Self, Misconfigured> {
        let key = bearer(settings.api_key.as_ref())?;
        Self::new(client, &settings.base_url, key, asked)
    }

    pub fn ollama(
        client: Client,
        settings: &ollama::Settings,
        asked: Asked<'_>,
    ) -> Result<Self, Misconfigured> {
        let key = bearer(settings.api_key.as_ref())?;
        Self::new(client, &settings.base_url, key, asked)
    }

    pub fn azure(
        client: Client,
        settings: &azure::Settings,
        asked: Asked<'_>,
    ) -> Result<Self, Misconfigured> {
        let key = credential("api-key", settings.api_key.as_ref())?;
        Self::new(client, &settings.endpoint, key, asked)
    }

    pub fn gemini(
        client: Client,
        settings: &gemini::Settings,
        asked: Asked<'_>,
    ) -> Result<Self, Misconfigured> {
        let key = credential("x-goog-api-key", settings.api_key.as_ref())?;
        Self::new(client, &settings.base_url, key, asked)
    }

    pub fn anthropic(
        client: Client,
        settings: &anthropic::Settings,
        asked: Asked<'_>,
    ) -> Result<Self, Misconfigured> {
        let Asked { path, timeout } = asked;
        let (url, headers) = (drive::url(settings.root(), path)?, settings.headers()?);
        Ok(Self { client, url, headers, timeout })
    }

    fn new(
        client: Client,
        base_url: &str,
        key: Option<(HeaderName, HeaderValue)>,
        asked: Asked<'_>,
    ) -> Result<Self, Misconfigured> {
        let Asked { path, timeout } = asked;
        let mut headers = drive::headers("application/json");
        headers.extend(key);
        Ok(Self { client, url: drive::url(base_url, path)?, headers, timeout })
    }

    /// Says what is wrong. Whoever has too much to do is there.
    pub async fn look(&self) -> Result<(), String> {
        let mut request = Request::new(Pieces::from(Bytes::new()));
        *request.method_mut() = Method::GET;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().remove(header::CONTENT_TYPE);
        let within = Deadlines::within(self.timeout);
        let answered = self.client.send(request, &within).await;
        let (head, body) = answered.map_err(|error| error.to_string())?.into_parts();
        match read(body, ANSWER_BYTES_MAX).await {
            Ok(_) | Err(Error::TooLarge { .. }) => {}
            Err(error) => return Err(error.to_string()),
        }
        match head.status {
            StatusCode::TOO_MANY_REQUESTS => Ok(()),
            good if good.is_success() => Ok(()),
            StatusCode::NOT_FOUND => {
                Err(format!("{} is not there (404): is the path of the check right?", self.url))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(format!("{} refuses our key ({})", self.url, head.status.as_u16()))
            }
            other => Err(format!("{} answered {}", self.url, other.as_u16())),
        }
    }
}

fn bearer(key: Option<&SecretString>) -> Result<Option<(HeaderName, HeaderValue)>, Misconfigured> {
    let key = key.map(|key| drive::credential("Bearer ", key)).transpose()?;
    Ok(key.map(|key| (header::AUTHORIZATION, key)))
}

fn credential(
    name: &'static str,
    key: Option<&SecretString>,
) -> Result<Option<(HeaderName, HeaderValue)>, Misconfigured> {
    let key = key.map(|key| drive::credential("", key)).transpose()?;
    Ok(key.map(|key| (HeaderName::from_static(name), key)))
}

#[cfg(test)]
mod tests;
