//! Spans of model calls and of executions of graphs, sent to a collector of OpenTelemetry as OTLP over HTTP, in its JSON form.
//!
//! [`Tracer`] hears of calls and of what workers do on their way: it notes each one in a bounded queue and never waits. [`Exporter`] owns the way
//! out: it writes batches down and sends them. What cannot be sent in time is dropped and counted, for a trace is less than
//! a call. Prompts and answers are in no span. It decides nothing about calls, and reads no clock of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use agentry_core::Clock;
use agentry_core::trace::Sampling;
use agentry_http::Client;
use http::{HeaderMap, Uri};
use tokio::sync::mpsc;

mod export;
mod genai;
mod otlp;
mod record;
mod tracer;
mod workflow;

pub use export::Exporter;
pub use tracer::Tracer;

/// Where spans go, and what they say of us.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of the collector: `http://127.0.0.1:4318`. `/v1/traces` is added unless it is there.
    pub endpoint: String,
    /// Sent with each batch; the collector's key goes here.
    pub headers: HeaderMap,
    /// `service.name`.
    pub service: String,
    /// `service.version`.
    pub version: String,
    /// `service.instance.id`.
    pub instance: String,
    /// Of traces that begin here.
    pub sampling: Sampling,
    /// By the name before the slash of a target.
    pub providers: HashMap<String, Provider>,
    /// So many calls may wait to be sent; more are dropped.
    pub queue_max: usize,
    pub batch_max: usize,
    /// A batch that is not full is sent after so long.
    pub linger: Duration,
    /// Of one request to the collector.
    pub deadline: Duration,
}

impl Settings {
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            headers: HeaderMap::new(),
            service: "agentry".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: String::new(),
            sampling: Sampling::ALL,
            providers: HashMap::new(),
            queue_max: 4_096,
            batch_max: 512,
            linger: Duration::from_secs(2),
            deadline: Duration::from_secs(10),
        }
    }
}

/// Who is behind a target's first word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// `gen_ai.provider.name`.
    pub name: String,
    pub address: String,
    pub port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the collector's address `{endpoint}` must be a URL like http://127.0.0.1:4318")]
pub struct Misconfigured {
    endpoint: String,
}

/// The two ends of the queue. `seed` names the spans of calls that nobody has named.
pub fn open(
    settings: Settings,
    client: Client,
    clock: Arc<dyn Clock>,
    seed: u64,
) -> Result<(Tracer, Exporter), Misconfigured> {
    let url = traces_url(&settings.endpoint)?;
    let (records, incoming) = mpsc::channel(settings.queue_max.max(1));
    let dropped = Arc::new(AtomicU64::new(0));
    let tracer = Tracer::new(records, clock, Arc::clone(&dropped), (seed, settings.sampling));
    let pending = Vec::new();
    Ok((tracer, Exporter { settings, url, client, incoming, pending, dropped }))
}

fn traces_url(endpoint: &str) -> Result<Uri, Misconfigured> {
    const PATH: &str = "/v1/traces";
    let wrong = || Misconfigured { endpoint: endpoint.to_owned() };
    let base = endpoint.trim().trim_end_matches('/');
    let whole = if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") };
    let url: Uri = whole.parse().map_err(|_| wrong())?;
    match (url.scheme_str(), url.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(url),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_added_to_the_collectors_address() {
        let check = |endpoint: &str, expected: Option<&str>| {
            let url = traces_url(endpoint).ok().map(|url| url.to_string());
            assert_eq!(url.as_deref(), expected, "{endpoint}");
        };
        check("http://127.0.0.1:4318", Some("http://127.0.0.1:4318/v1/traces"));
        check("http://127.0.0.1:4318/", Some("http://127.0.0.1:4318/v1/traces"));
        check("https://c.example/otlp", Some("https://c.example/otlp/v1/traces"));
        check("https://c.example/v1/traces", Some("https://c.example/v1/traces"));
        check("127.0.0.1:4318", None);
        check("grpc://127.0.0.1:4317", None);
        check("", None);
    }
}
