//! Carrying out approved orders: through a webhook for each action, or only on paper.

use std::collections::BTreeMap;
use std::path::PathBuf;

use agentry_core::outbound::{Actuator, Error, Order, Receipt};
use agentry_http::Client;
use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use crate::delivery::Delivery;
use crate::file_sink::Sink;

/// Posts each order to the address configured for its action, once. It repeats nothing: the answer may be lost when the deed
/// is done.
#[derive(Clone)]
pub struct WebhookActuator {
    client: Client,
    urls: BTreeMap<String, Url>,
    token: Option<SecretString>,
}

/// What a webhook may answer; without it the receipt names the key and the address.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Done {
    id: Option<String>,
    link: Option<String>,
}

impl WebhookActuator {
    #[must_use]
    pub fn new(client: Client, urls: BTreeMap<String, Url>) -> Self {
        Self { client, urls, token: None }
    }

    /// Sent as a bearer token with every order.
    #[must_use]
    pub fn with_token(mut self, token: SecretString) -> Self {
        self.token = Some(token);
        self
    }
}

#[async_trait]
impl Actuator for WebhookActuator {
    async fn perform(&self, key: &str, order: &Order) -> Result<Receipt, Error> {
        let Order { action, service, parameters, preview: _ } = order;
        let delivery = Delivery::new(self.client.clone(), format!("the webhook of `{action}`"));
        let Some(url) = self.urls.get(action) else {
            let known = self.urls.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(
                delivery.refused(format!("none is configured; there are webhooks of: {known}"))
            );
        };
        let value = |text: String, what: &str| {
            HeaderValue::try_from(text)
                .map_err(|_| delivery.refused(format!("the {what} fits into no HTTP header")))
        };
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", value(key.to_owned(), "key")?);
        if let Some(token) = &self.token {
            let mut token = value(format!("Bearer {}", token.expose_secret()), "token")?;
            token.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, token);
        }
        let body = json!({"action": action, "service": service, "parameters": parameters, "idempotency_key": key});
        let answer = delivery.post(url, headers, &body).await?;
        let done: Done = serde_json::from_slice(&delivery.accepted(answer)?).unwrap_or_default();
        Ok(Receipt {
            id: done.id.unwrap_or_else(|| key.to_owned()),
            link: done.link.unwrap_or_else(|| shown(url)),
        })
    }
}

/// An address without what may be secret in it.
fn shown(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Writes the order down and runs nothing, and says so.
#[derive(Debug, Clone)]
pub struct FileActuator(Sink);

impl FileActuator {
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(Sink::new(folder))
    }
}

#[async_trait]
impl Actuator for FileActuator {
    async fn perform(&self, key: &str, order: &Order) -> Result<Receipt, Error> {
        let note = "recorded only: no webhook is configured for this action, so nothing was run";
        let Receipt { id, link } =
            self.0.keep(key, json!({"key": key, "note": note, "order": order})).await?;
        Ok(Receipt { id: format!("recorded only: {id}"), link })
    }
}

#[cfg(test)]
mod tests;
