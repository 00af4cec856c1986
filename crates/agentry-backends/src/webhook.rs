//! Messages to somebody's own service, as JSON.

use agentry_core::outbound::{Error, Messages, Receipt};
use agentry_http::Client;
use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use crate::delivery::Delivery;

/// Posts each message as it is. The same key is sent with each repetition, so that the other side can tell.
#[derive(Clone)]
pub struct WebhookMessages {
    delivery: Delivery,
    /// Often a secret by itself: it is never shown.
    url: SecretString,
    token: Option<SecretString>,
}

/// The text does not repeat the address, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the webhook is no URL that begins with https:// or http://")]
pub struct NotAWebhook;

impl WebhookMessages {
    /// `name` is how errors call it.
    pub fn new(
        client: Client,
        name: &str,
        url: SecretString,
        token: Option<SecretString>,
    ) -> Result<Self, NotAWebhook> {
        let read: Url = url.expose_secret().trim().parse().map_err(|_| NotAWebhook)?;
        if !matches!(read.scheme(), "http" | "https") || read.host_str().is_none() {
            return Err(NotAWebhook);
        }
        let url = SecretString::from(String::from(read));
        Ok(Self { delivery: Delivery::new(client, format!("the webhook `{name}`")), url, token })
    }
}

#[async_trait]
impl Messages for WebhookMessages {
    async fn post(&self, key: &str, body: &Value) -> Result<Receipt, Error> {
        let delivery = &self.delivery;
        let url: Url = self
            .url
            .expose_secret()
            .parse()
            .map_err(|_| delivery.unavailable(NotAWebhook.to_string()))?;
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
        let answer = delivery.post(&url, headers, body).await?;
        delivery.accepted(answer)?;
        Ok(Receipt { id: key.to_owned(), link: url.origin().ascii_serialization() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scripted::{Play, Scripted, client};

    fn webhook(url: &Url) -> WebhookMessages {
        let (url, token) = (format!("{url}alerts/s3cret"), SecretString::from("t0ken"));
        WebhookMessages::new(client(), "pager", url.into(), Some(token)).unwrap()
    }

    #[tokio::test]
    async fn a_message_is_posted_with_its_key_and_token() {
        let server = Scripted::answering(&[(200, "ok")]);
        let body = json!({ "why": "fired" });
        webhook(&server.url).post("alert-7", &body).await.unwrap();
        let seen = server.finish();
        assert_eq!((seen.len(), seen[0].line.as_str()), (1, "POST /alerts/s3cret"));
        assert_eq!(seen[0].json(), body);
        assert_eq!(seen[0].header("authorization"), Some("Bearer t0ken"));
        assert_eq!(seen[0].header("idempotency-key"), Some("alert-7"));
    }

    #[tokio::test]
    async fn an_error_names_the_webhook_and_keeps_its_address() {
        let server = Scripted::start([Play::Answer(404, "gone".to_owned())]);
        let error = webhook(&server.url).post("alert-7", &json!({})).await.unwrap_err();
        assert_eq!(error.to_string(), "the webhook `pager` refused it: 404 Not Found: gone");
        assert!(!error.to_string().contains("s3cret"));
        server.finish();
    }
}
