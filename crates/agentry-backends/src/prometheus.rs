//! Metrics from a Prometheus server, over its HTTP API.
//!
//! It asks for raw samples with a range selector: nothing is interpolated, and a counter stays a counter. Logs, spans and
//! changes are none of its business.

mod answer;

use std::time::Duration;

use agentry_core::telemetry::{Change, Error, LogLine, Page, Query, Series, Span, Telemetry};
use agentry_http::{Client, Deadlines};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use url::Url;
use url::form_urlencoded::Serializer;

use answer::Service;

/// Its own bookkeeping, and alerts: what is known already is no evidence.
const NOT_THESE: &str = r#"__name__!~"ALERTS|ALERTS_FOR_STATE|scrape_.*""#;

/// Where the server is, and what its data looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The address of the server or of the prefix under which it is served.
    pub url: Url,
    /// The label that names the service; where a series has none, its `job` does.
    pub service_label: String,
    pub deadline: Duration,
    pub bytes_max: usize,
}

impl Settings {
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            service_label: "service".to_owned(),
            deadline: Duration::from_secs(10),
            bytes_max: 64 << 20,
        }
    }
}

/// Reads metrics from a Prometheus server.
#[derive(Debug, Clone)]
pub struct Prometheus {
    client: Client,
    settings: Settings,
    /// For errors: what to look for in the configuration.
    name: String,
}

impl Prometheus {
    #[must_use]
    pub fn new(client: Client, settings: Settings) -> Self {
        let name = format!("Prometheus at {}", settings.url);
        Self { client, settings, name }
    }

    async fn ask(&self, expression: &str, query: &Query) -> Result<Page<Series>, Error> {
        let deadline = self.settings.deadline;
        let form = Serializer::new(String::new())
            .append_pair("query", expression)
            .append_pair("time", &seconds(query.window.end.as_micros()))
            .append_pair("timeout", &format!("{}ms", deadline.as_millis()))
            // Known to newer servers, ignored by older ones; one more than wanted tells that there are more.
            .append_pair("limit", &query.items_max.saturating_add(1).to_string())
            .finish();
        let path = format!("{}/api/v1/query", self.settings.url.as_str().trim_end_matches('/'));
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(Bytes::from(form))
            .map_err(|error| self.unavailable(error.to_string()))?;
        let sent =
            self.client.fetch(request, &Deadlines::within(deadline), self.settings.bytes_max).await;
        let (head, body) = sent.map_err(|error| self.failed(&error))?.into_parts();
        if head.status != StatusCode::OK {
            return Err(self.refused(head.status, &body));
        }
        let service = Service { label: &self.settings.service_label };
        answer::series(&body, service, query).map_err(|reason| self.malformed(reason))
    }

    fn failed(&self, error: &agentry_http::Error) -> Error {
        match error {
            agentry_http::Error::TimedOut { after, .. } => Error::TimedOut {
                source_name: self.name.clone(),
                after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            },
            agentry_http::Error::TooLarge { .. } => {
                self.malformed(format!("{error}; ask for fewer services or less time"))
            }
            agentry_http::Error::InvalidUrl { .. }
            | agentry_http::Error::Connect { .. }
            | agentry_http::Error::Broken { .. } => self.unavailable(error.to_string()),
        }
    }

    /// Keeps the server's own words: they name the label or the limit.
    fn refused(&self, status: StatusCode, body: &[u8]) -> Error {
        match answer::complaint(body) {
            Some((kind, _)) if kind == "timeout" => Error::TimedOut {
                source_name: self.name.clone(),
                after_ms: u64::try_from(self.settings.deadline.as_millis()).unwrap_or(u64::MAX),
            },
            Some((kind, text)) if status == StatusCode::BAD_REQUEST || kind == "execution" => {
                self.malformed(format!("{kind}: {text}"))
            }
            Some((kind, text)) => self.unavailable(format!("{status}: {kind}: {text}")),
            None => {
                self.unavailable(format!("{status}: is this the address of a Prometheus server?"))
            }
        }
    }

    fn unavailable(&self, reason: String) -> Error {
        Error::Unavailable { source_name: self.name.clone(), reason }
    }

    fn malformed(&self, reason: String) -> Error {
        Error::Malformed { source_name: self.name.clone(), reason }
    }
}

/// The range selectors that together name every wanted series once.
fn selectors(label: &str, query: &Query) -> Vec<String> {
    let micros = query.window.end.as_micros().saturating_sub(query.window.start.as_micros());
    // Both ends of the range belong to the window here; what is outside is dropped when the answer is read.
    let range = format!("[{}ms]", micros.div_euclid(1_000).saturating_add(1).max(1));
    if query.services.is_empty() {
        return vec![format!("{{{NOT_THESE},__name__!=\"\"}}{range}")];
    }
    let names: Vec<String> = query.services.iter().map(|service| escaped(service)).collect();
    let names = names.join("|");
    let mut selectors = vec![format!("{{{NOT_THESE},{label}=~\"{names}\"}}{range}")];
    if label != "job" {
        selectors.push(format!("{{{NOT_THESE},{label}=\"\",job=~\"{names}\"}}{range}"));
    }
    selectors
}

/// A service's name as a regular expression inside a quoted string.
fn escaped(name: &str) -> String {
    let mut escaped = String::new();
    for character in name.chars() {
        match character {
            '\\' => escaped.push_str(r"\\\\"),
            '"' => escaped.push_str(r#"\""#),
            '\n' => escaped.push_str(r"\n"),
            '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' => {
                escaped.push_str(r"\\");
                escaped.push(character);
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

fn seconds(micros: i64) -> String {
    format!("{}.{:03}", micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000) / 1_000)
}

#[async_trait]
impl Telemetry for Prometheus {
    async fn metrics(&self, query: &Query) -> Result<Page<Series>, Error> {
        let mut whole = Page::default();
        for selector in selectors(&self.settings.service_label, query) {
            let Page { items, truncated } = self.ask(&selector, query).await?;
            whole.items.extend(items);
            whole.truncated |= truncated;
        }
        whole.truncated |= whole.items.len() > query.items_max;
        whole.items.truncate(query.items_max);
        Ok(whole)
    }

    async fn logs(&self, _query: &Query) -> Result<Page<LogLine>, Error> {
        Ok(Page::default())
    }

    async fn spans(&self, _query: &Query) -> Result<Page<Span>, Error> {
        Ok(Page::default())
    }

    async fn changes(&self, _query: &Query) -> Result<Page<Change>, Error> {
        Ok(Page::default())
    }
}

#[cfg(test)]
mod tests;
