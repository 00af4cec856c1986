//! `[incident]`: what the incident agent reads, whom it tells, what it may do.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::models::Model;
use super::reader::{Notes, Reader};
use super::tree::Value;
use super::value::{self, Unreadable};
use super::{optional_duration, problem};

const OUTBOX: &str = "agentry-outbox";

#[derive(Debug, Clone, Default)]
pub(crate) struct Incident {
    pub(crate) metrics: Option<Source>,
    pub(crate) logs: Option<Source>,
    pub(crate) traces: Option<Source>,
    pub(crate) changes: Option<Source>,
    /// The webhook's address is itself the secret.
    pub(crate) slack: Option<SecretString>,
    pub(crate) jira: Option<Jira>,
    /// The alias that may re-rank and explain; nothing leaves it to the reactive layer.
    pub(crate) model: Option<String>,
    pub(crate) approval_timeout: Option<Duration>,
    pub(crate) settle: Option<Duration>,
    /// Action of the catalogue, and the webhook that carries it out.
    pub(crate) actions: Vec<(String, Url)>,
    /// Where tickets, messages and orders go as files when nothing else is configured for them.
    pub(crate) outbox: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Prometheus(Url),
    Folder(PathBuf),
}

#[derive(Debug, Clone)]
pub(crate) struct Jira {
    pub(crate) url: Url,
    pub(crate) project: String,
    pub(crate) token: SecretString,
    /// With it the token is a password, without it a bearer token.
    pub(crate) user: Option<String>,
}

pub(super) fn read(table: Option<Reader<'_>>, models: &[Model], notes: &Notes<'_>) -> Incident {
    let mut incident = Incident { outbox: notes.path(OUTBOX), ..Incident::default() };
    let Some(mut table) = table else { return incident };
    if let Some(mut sources) = table.table("sources") {
        let metrics = |value: &Value| source(value, notes, &["prometheus", "dir"]);
        let files = |value: &Value| source(value, notes, &["dir"]);
        incident.metrics = sources.read("metrics", metrics).map(|at| at.value);
        incident.logs = sources.read("logs", files).map(|at| at.value);
        incident.traces = sources.read("traces", files).map(|at| at.value);
        incident.changes = sources.read("changes", files).map(|at| at.value);
        sources.finish();
    }
    if let Some(mut notify) = table.table("notify") {
        incident.slack = notify.secret("slack").map(|at| at.value);
        notify.finish();
    }
    incident.jira = table.table("tickets").and_then(jira);
    if let Some(model) = table.read("model", value::text) {
        if models.iter().all(|known| known.name != model.value) {
            let known: Vec<_> = models.iter().map(|known| known.name.as_str()).collect();
            let message = format!("there is no model `{}`", model.value);
            notes.report(problem(&model.place, message).help(match known.as_slice() {
                [] => "add a table [models.NAME], or remove this line".to_owned(),
                known => format!("there are {}", known.join(", ")),
            }));
        }
        incident.model = Some(model.value);
    }
    incident.approval_timeout = optional_duration(&mut table, "approval_timeout");
    incident.settle = optional_duration(&mut table, "settle");
    if let Some(outbox) = table.read("outbox", value::text) {
        incident.outbox = notes.path(&outbox.value);
    }
    let actions = table.table("actions").map(Reader::tables).unwrap_or_default();
    incident.actions = actions.into_iter().filter_map(action).collect();
    table.finish();
    incident
}

fn action(mut table: Reader<'_>) -> Option<(String, Url)> {
    let name = table.key().to_owned();
    let url = table.required("url", "\"http://127.0.0.1:8080/restart\"", value::http_url);
    table.finish();
    Some((name, url?.value))
}

fn jira(mut table: Reader<'_>) -> Option<Jira> {
    let url = table.required("jira", "\"https://example.atlassian.net\"", value::http_url);
    let project = table.required("project", "\"OPS\"", value::text);
    let token = if table.has("token") {
        table.secret("token")
    } else {
        table.required("token", "\"env:JIRA_TOKEN\"", value::text);
        None
    };
    let user = table.read("user", value::text).map(|at| at.value);
    table.finish();
    Some(Jira { url: url?.value, project: project?.value, token: token?.value, user })
}

/// `prometheus:URL` or `dir:PATH`, as far as `allowed`.
fn source(value: &Value, notes: &Notes<'_>, allowed: &[&str]) -> Result<Source, Unreadable> {
    let text = value::text(value)?;
    let (kind, rest) = text.split_once(':').unwrap_or((text.as_str(), ""));
    let forms = allowed.iter().map(|kind| match *kind {
        "prometheus" => "\"prometheus:http://127.0.0.1:9090\"",
        _ => "\"dir:/var/log/app\"",
    });
    let help = format!("write {}", forms.collect::<Vec<_>>().join(" or "));
    if matches!(kind, "loki" | "elasticsearch") {
        return Err(Unreadable::new(format!(
            "names {kind}, which is not available yet in this version"
        ))
        .help(help));
    }
    if !allowed.contains(&kind) || rest.is_empty() {
        return Err(Unreadable::new(format!("is no source for this: \"{text}\"")).help(help));
    }
    if kind == "prometheus" {
        return value::parse_http_url(rest).map(Source::Prometheus);
    }
    let path = notes.path(rest);
    if path.is_dir() {
        Ok(Source::Folder(path))
    } else {
        Err(Unreadable::new(format!("names {}, which is no folder", path.display()))
            .help("create it, or correct the path"))
    }
}
