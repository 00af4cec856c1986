//! Tickets in Jira, over its REST API version 3.
//!
//! Each ticket carries the label `agentry-KEY`. Before one is opened we look for the label, because a process that died after
//! Jira had answered cannot know that. Jira's search runs a moment behind: an attempt whose outcome was unknown should not be
//! repeated within the same second.

use agentry_core::outbound::{Error, Receipt, Tickets};
use agentry_http::Client;
use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use crate::delivery::{Answer, Delivery};
use crate::keyed;

/// How Jira knows us.
#[derive(Debug, Clone)]
pub enum Login {
    /// A personal access token.
    Bearer(SecretString),
    /// Jira Cloud: the account's address and an API token.
    Basic { email: String, token: SecretString },
}

/// Opens tickets in one project.
#[derive(Clone)]
pub struct JiraTickets {
    delivery: Delivery,
    url: Url,
    project: String,
    login: Login,
}

#[derive(Deserialize)]
struct Issue {
    key: String,
}

#[derive(Deserialize)]
struct Hits {
    issues: Vec<Issue>,
}

impl JiraTickets {
    #[must_use]
    pub fn new(client: Client, url: Url, project: impl Into<String>, login: Login) -> Self {
        let target = format!("Jira at {}", url.host_str().unwrap_or("?"));
        Self { delivery: Delivery::new(client, target), url, project: project.into(), login }
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Answer, Error> {
        let text = format!("{}{path}", self.url.as_str().trim_end_matches('/'));
        let url: Url =
            text.parse().map_err(|_| self.delivery.refused("its address is no usable URL"))?;
        let mut headers = HeaderMap::new();
        let login = self.login.header().ok_or_else(|| {
            self.delivery.refused("the token holds characters that no HTTP header can carry; is there a line break in it?")
        })?;
        headers.insert(header::AUTHORIZATION, login);
        self.delivery.post(&url, headers, body).await
    }

    /// The ticket that carries `label`, if there is one. Reading is never ambiguous.
    async fn find(&self, label: &str) -> Result<Option<Receipt>, Error> {
        let query = json!({
            "jql": format!("labels = \"{label}\" ORDER BY created ASC"),
            "fields": ["key"],
            "maxResults": 1,
        });
        let certain = |error| match error {
            Error::Ambiguous { target, reason } => Error::Unavailable { target, reason },
            other @ (Error::Refused { .. } | Error::Unavailable { .. }) => other,
        };
        let mut answer = self.post("/rest/api/3/search/jql", &query).await.map_err(certain)?;
        if answer.status == StatusCode::NOT_FOUND {
            // Servers from before 2025.
            answer = self.post("/rest/api/3/search", &query).await.map_err(certain)?;
        }
        let body = self.delivery.accepted(answer).map_err(certain)?;
        let hits: Hits = serde_json::from_slice(&body).map_err(|error| {
            self.delivery.unavailable(format!("its search answered something unreadable: {error}"))
        })?;
        Ok(hits.issues.into_iter().next().map(|issue| self.receipt(issue)))
    }

    fn receipt(&self, Issue { key }: Issue) -> Receipt {
        let link = format!("{}/browse/{key}", self.url.as_str().trim_end_matches('/'));
        Receipt { id: key, link }
    }

    /// The body with our label, and our project where it names none.
    fn labelled(&self, body: &Value, label: &str) -> Result<Value, Error> {
        let mut body = body.clone();
        let fields = body.get_mut("fields").and_then(Value::as_object_mut);
        let fields =
            fields.ok_or_else(|| self.delivery.refused("the ticket has no object `fields`"))?;
        fields.entry("project").or_insert_with(|| json!({"key": self.project}));
        add_label(fields, label)
            .ok_or_else(|| self.delivery.refused("the ticket's `labels` are no list"))?;
        Ok(body)
    }
}

fn add_label(fields: &mut Map<String, Value>, label: &str) -> Option<()> {
    let labels = fields.entry("labels").or_insert_with(|| json!([])).as_array_mut()?;
    if !labels.iter().any(|known| known == label) {
        labels.push(label.into());
    }
    Some(())
}

impl Login {
    fn header(&self) -> Option<HeaderValue> {
        let text = match self {
            Self::Bearer(token) => format!("Bearer {}", token.expose_secret()),
            Self::Basic { email, token } => {
                format!("Basic {}", base64(format!("{email}:{}", token.expose_secret()).as_bytes()))
            }
        };
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = (0..3)
            .fold(0_u32, |word, at| word << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let sextet = (word >> (18 - 6 * at)) & 63;
            let letter = ALPHABET.get(sextet as usize).copied().unwrap_or(b'=');
            text.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[async_trait]
impl Tickets for JiraTickets {
    async fn open(&self, key: &str, body: &Value) -> Result<Receipt, Error> {
        let label = format!("agentry-{}", keyed::name(key));
        let body = self.labelled(body, &label)?;
        if let Some(known) = self.find(&label).await? {
            return Ok(known);
        }
        let answer = self.post("/rest/api/3/issue", &body).await?;
        let body = self.delivery.accepted(answer)?;
        let issue: Issue = serde_json::from_slice(&body).map_err(|error| {
            self.delivery.ambiguous(format!("it answered something unreadable: {error}"))
        })?;
        Ok(self.receipt(issue))
    }
}

#[cfg(test)]
mod tests;
