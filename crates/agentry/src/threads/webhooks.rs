//! Addresses outside that are told that a run is over, where strangers may not lead us into our own network.

use std::time::Duration;

use agentry_http::{Client, Deadlines, Reach, Settings};
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};

const DEADLINE: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 << 10;

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

    /// Once. Whoever sends it again does so with the same `id`.
    pub(super) async fn post(&self, url: &str, id: &str, body: Bytes) -> Result<(), Untaken> {
        let untaken = |reason: String, again| Untaken { reason, again };
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("idempotency-key", id)
            .body(body)
            .map_err(|problem| untaken(problem.to_string(), false))?;
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_and_allowed_hosts_may_be_told() {
        let hooks = Hooks::new(vec!["127.0.0.1".to_owned()]);
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
