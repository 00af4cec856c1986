//! Tells addresses outside that a run is over, where strangers may not lead us into our own network.

use std::time::Duration;

use agentry_http::{Client, Deadlines, Reach, Settings};
use agentry_server::Webhooks;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use serde_json::Value;
use tokio::time::sleep;

const DEADLINE: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 << 10;
const TRIES: u32 = 4;
/// Before the second try; each further one waits four times as long.
const PAUSE: Duration = Duration::from_millis(500);

/// Calls addresses of the public internet, and hosts that the operator has named.
pub(crate) struct Hooks {
    client: Client,
    reach: Reach,
}

impl Hooks {
    pub(crate) fn new(besides: Vec<String>) -> Self {
        let reach = Reach::Public { besides };
        let client = Client::new(&Settings { reach: reach.clone(), ..Settings::default() });
        Self { client, reach }
    }
}

#[async_trait]
impl Webhooks for Hooks {
    async fn check(&self, url: &str) -> Result<(), String> {
        let read: Uri = url.parse().map_err(|_| "the webhook is no URL".to_owned())?;
        if !matches!(read.scheme_str(), Some("http" | "https")) || read.host().is_none() {
            return Err("a webhook begins with https:// or http:// and a host".to_owned());
        }
        if read.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("a webhook has no user and no password in it".to_owned());
        }
        self.reach.check(&read).map_err(|reason| {
            format!("the webhook may not be called: {reason}; an operator may allow its host in `webhook_hosts` of [server]")
        })
    }

    async fn post(&self, url: &str, body: Value) -> Result<(), String> {
        let body = Bytes::from(body.to_string());
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.send(url, body.clone()).await {
                Err(Failed { reason: _, again: true }) => sleep(pause).await,
                Err(Failed { reason, again: false }) => return Err(reason),
                Ok(()) => return Ok(()),
            }
            pause *= 4;
        }
        self.send(url, body).await.map_err(|failed| failed.reason)
    }
}

struct Failed {
    reason: String,
    again: bool,
}

impl Hooks {
    async fn send(&self, url: &str, body: Bytes) -> Result<(), Failed> {
        let failed = |reason: String, again| Failed { reason, again };
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header("content-type", "application/json")
            .body(body)
            .map_err(|problem| failed(problem.to_string(), false))?;
        let deadlines = Deadlines::within(DEADLINE);
        let answer = self.client.fetch(request, &deadlines, ANSWER_BYTES_MAX).await;
        let status = answer.map_err(|problem| failed(problem.to_string(), true))?.status();
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(failed(format!("the webhook answered {status}"), true))
            }
            status => {
                Err(failed(format!("the webhook answered {status}"), status.is_server_error()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_public_addresses_and_allowed_hosts_may_be_told() {
        let hooks = Hooks::new(vec!["127.0.0.1".to_owned()]);
        let check = async |url: &str, expected: bool| {
            assert_eq!(hooks.check(url).await.is_ok(), expected, "{url}");
        };
        check("https://hooks.example.org/run", true).await;
        check("http://127.0.0.1:9/", true).await;
        check("http://10.0.0.1/", false).await;
        check("http://[::1]/", false).await;
        check("ftp://example.org/", false).await;
        check("https://me:secret@example.org/", false).await;
        check("/relative", false).await;
        check("", false).await;
    }
}
