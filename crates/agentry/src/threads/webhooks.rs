//! Addresses outside that are told that a run is over, where strangers may not lead us into our own network.

use std::sync::Arc;
use std::time::Duration;

use agentry_backends::signature::Signer;
use agentry_core::Timestamp;
use agentry_http::{Client, Deadlines, Reach, Settings};
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};

const DEADLINE: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Calls addresses of the public internet, and hosts that the operator has named.
pub(crate) struct Hooks {
    client: Client,
    reach: Reach,
    /// Nothing when nobody can tell who called.
    signer: Option<Arc<Signer>>,
}

impl Hooks {
    pub(crate) fn new(besides: Vec<String>, signer: Option<Arc<Signer>>) -> Self {
        let reach = Reach::Public { besides };
        let client = Client::new(&Settings { reach: reach.clone(), ..Settings::default() });
        Self { client, reach, signer }
    }
}

/// What somebody is told, the same each time it is sent.
pub(super) struct Message<'a> {
    pub(super) url: &'a str,
    pub(super) id: &'a str,
    pub(super) body: Bytes,
}

/// Why it was not taken.
pub(super) struct Untaken {
    pub(super) reason: String,
    /// Whether it may be taken another time.
    pub(super) again: bool,
}

impl Hooks {
    pub(super) fn check(&self, url: &str) -> Result<(), String> {
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

    /// Once, signed as of `now`. Whoever sends it again does so with the same `id`.
    pub(super) async fn post(&self, message: Message<'_>, now: Timestamp) -> Result<(), Untaken> {
        let untaken = |reason: String, again| Untaken { reason, again };
        let request =
            self.request(message, now).map_err(|problem| untaken(problem.to_string(), false))?;
        let deadlines = Deadlines::within(DEADLINE);
        let answer = self.client.fetch(request, &deadlines, ANSWER_BYTES_MAX).await;
        let status = answer.map_err(|problem| untaken(problem.to_string(), true))?.status();
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(untaken(format!("the webhook answered {status}"), true))
            }
            status => {
                Err(untaken(format!("the webhook answered {status}"), status.is_server_error()))
            }
        }
    }

    fn request(&self, message: Message<'_>, now: Timestamp) -> http::Result<Request<Bytes>> {
        let Message { url, id, body } = message;
        let seconds = now.as_millis().div_euclid(1_000);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("idempotency-key", id);
        if let Some(signer) = &self.signer {
            request = request.header("webhook-signature", signer.sign(id, seconds, &body));
        }
        request.body(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_and_allowed_hosts_may_be_told() {
        let hooks = Hooks::new(vec!["127.0.0.1".to_owned()], None);
        let check = |url: &str, expected: bool| {
            assert_eq!(hooks.check(url).is_ok(), expected, "{url}");
        };
        check("https://hooks.example.org/run", true);
        check("http://127.0.0.1:9/", true);
        check("http://10.0.0.1/", false);
        check("http://[::1]/", false);
        check("ftp://example.org/", false);
        check("https://me:secret@example.org/", false);
        check("/relative", false);
        check("", false);
    }
}
