//! Messages to a Slack channel, through an incoming webhook.
//!
//! A webhook keeps no keys: a message whose outcome is unknown may appear twice when it is sent again.

use agentry_core::outbound::{Error, Messages, Receipt};
use agentry_http::Client;
use async_trait::async_trait;
use http::HeaderMap;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use crate::delivery::Delivery;

/// Posts to one channel. The webhook's address is the permission to post: it is kept like a password.
#[derive(Clone)]
pub struct SlackMessages {
    delivery: Delivery,
    webhook: SecretString,
}

/// The text does not repeat the address, which is a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Slack webhook is no URL that begins with https:// or http://")]
pub struct NotAWebhook;

impl SlackMessages {
    pub fn new(client: Client, webhook: SecretString) -> Result<Self, NotAWebhook> {
        let url: Url = webhook.expose_secret().trim().parse().map_err(|_| NotAWebhook)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(NotAWebhook);
        }
        Ok(Self {
            delivery: Delivery::new(client, "Slack"),
            webhook: SecretString::from(String::from(url)),
        })
    }
}

#[async_trait]
impl Messages for SlackMessages {
    async fn post(&self, key: &str, body: &Value) -> Result<Receipt, Error> {
        let url: Url = self
            .webhook
            .expose_secret()
            .parse()
            .map_err(|_| self.delivery.unavailable(NotAWebhook.to_string()))?;
        let answer = self.delivery.post(&url, HeaderMap::new(), body).await?;
        self.delivery.accepted(answer)?;
        // A webhook tells neither the message's time nor the channel.
        Ok(Receipt { id: key.to_owned(), link: "https://app.slack.com/client".to_owned() })
    }
}

#[cfg(test)]
mod tests;
