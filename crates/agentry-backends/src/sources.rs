//! One source of telemetry for each kind, chosen by configuration.

use std::path::PathBuf;
use std::sync::Arc;

use agentry_core::telemetry::{Change, Error, LogLine, Page, Query, Series, Span, Telemetry};
use agentry_http::Client;
use async_trait::async_trait;
use url::Url;

use crate::folder::Folder;
use crate::prometheus::{self, Prometheus};

/// What the configuration names; what it leaves out is not read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// `prometheus:http://HOST:PORT`, with `?service_label=NAME` where the label is not `service`; or `dir:PATH`.
    pub metrics: Option<String>,
    /// `dir:PATH`, as the next two.
    pub logs: Option<String>,
    pub traces: Option<String>,
    pub changes: Option<String>,
}

/// A source that the configuration names and that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} = \"{value}\": {reason}")]
pub struct Problem {
    /// `metrics`, `logs`, `traces` or `changes`.
    pub kind: &'static str,
    pub value: String,
    pub reason: String,
}

/// Asks the right source for each kind.
#[derive(Clone, Default)]
pub struct Sources {
    metrics: Option<Arc<dyn Telemetry>>,
    logs: Option<Arc<dyn Telemetry>>,
    traces: Option<Arc<dyn Telemetry>>,
    changes: Option<Arc<dyn Telemetry>>,
}

impl Sources {
    /// Builds every source, or says everything that is wrong. It connects to nothing yet.
    pub fn parse(settings: &Settings, client: &Client) -> Result<Self, Vec<Problem>> {
        let Settings { metrics, logs, traces, changes } = settings;
        let mut problems = Vec::new();
        let mut build = |kind, value: &Option<String>| {
            let value = value.as_deref()?;
            match source(kind, value, client) {
                Ok(source) => Some(source),
                Err(reason) => {
                    problems.push(Problem { kind, value: without_password(value), reason });
                    None
                }
            }
        };
        let sources = Self {
            metrics: build("metrics", metrics),
            logs: build("logs", logs),
            traces: build("traces", traces),
            changes: build("changes", changes),
        };
        if problems.is_empty() { Ok(sources) } else { Err(problems) }
    }
}

fn source(kind: &'static str, value: &str, client: &Client) -> Result<Arc<dyn Telemetry>, String> {
    let supported = match kind {
        "metrics" => "`prometheus:http://HOST:PORT` or `dir:PATH`",
        _ => "`dir:PATH`",
    };
    match value.split_once(':') {
        Some(("dir", "")) => Err("it names no folder, write `dir:PATH`".to_owned()),
        Some(("dir", path)) => Ok(Arc::new(Folder::new(PathBuf::from(path)))),
        Some(("prometheus", url)) if kind == "metrics" => {
            Ok(Arc::new(Prometheus::new(client.clone(), prometheus_settings(url)?)))
        }
        Some((name, _)) => Err(format!("`{name}:` is no source of {kind} yet, write {supported}")),
        None => Err(format!("it does not say what kind of source it is, write {supported}")),
    }
}

fn prometheus_settings(text: &str) -> Result<prometheus::Settings, String> {
    let mut url: Url =
        text.parse().map_err(|error| format!("no URL after `prometheus:`: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("the URL after `prometheus:` must begin with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "a password must not stand in a URL; put a proxy that adds it in front".to_owned()
        );
    }
    let mut label = None;
    for (name, value) in url.query_pairs() {
        match (&*name, is_label(&value)) {
            ("service_label", true) => label = Some(value.into_owned()),
            ("service_label", false) => return Err(format!("`{value}` is no name of a label")),
            _ => return Err(format!("`{name}` is no option of it; there is `service_label`")),
        }
    }
    url.set_query(None);
    url.set_fragment(None);
    let mut settings = prometheus::Settings::new(url);
    settings.service_label = label.unwrap_or(settings.service_label);
    Ok(settings)
}

/// The text as it may be shown.
fn without_password(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => text.to_owned(),
    }
}

fn is_label(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|other| other.is_ascii_alphanumeric() || other == '_')
}

#[async_trait]
impl Telemetry for Sources {
    async fn metrics(&self, query: &Query) -> Result<Page<Series>, Error> {
        match &self.metrics {
            Some(source) => source.metrics(query).await,
            None => Ok(Page::default()),
        }
    }

    async fn logs(&self, query: &Query) -> Result<Page<LogLine>, Error> {
        match &self.logs {
            Some(source) => source.logs(query).await,
            None => Ok(Page::default()),
        }
    }

    async fn spans(&self, query: &Query) -> Result<Page<Span>, Error> {
        match &self.traces {
            Some(source) => source.spans(query).await,
            None => Ok(Page::default()),
        }
    }

    async fn changes(&self, query: &Query) -> Result<Page<Change>, Error> {
        match &self.changes {
            Some(source) => source.changes(query).await,
            None => Ok(Page::default()),
        }
    }
}

#[cfg(test)]
mod tests;
