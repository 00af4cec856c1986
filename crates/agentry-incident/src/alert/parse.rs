//! From a request body to alerts.

use std::collections::BTreeMap;
use std::time::Duration;

use agentry_core::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{
    ALERTS_MAX, Alert, Batch, Error, Fingerprint, LABELS_MAX, Rejected, Severity, State,
    TEXT_BYTES_MAX,
};

/// A clock may be this far ahead of ours.
const SKEW_MAX: Duration = Duration::from_secs(3_600);
/// 2000-01-01: what started before is a unit mistake or an unset clock.
const EARLIEST: Timestamp = Timestamp::from_seconds(946_684_800);

/// Alertmanager's webhook, version 4. Fields that it does not know are ignored: newer versions add some.
#[derive(Deserialize)]
struct Webhook {
    version: Option<Value>,
    alerts: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WebhookAlert {
    status: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    starts_at: Option<String>,
    #[serde(default)]
    ends_at: Option<String>,
    #[serde(default)]
    fingerprint: Option<String>,
}

/// Reads a webhook of Alertmanager. One bad alert does not lose its neighbours; when none is good the request fails.
pub fn alertmanager(body: Value, now: Timestamp) -> Result<Batch, Error> {
    let hook: Webhook =
        serde_json::from_value(body).map_err(|error| Error::Unreadable(error.to_string()))?;
    if let Some(version) = hook.version
        && version != "4"
    {
        return Err(invalid(
            "version",
            format!("only webhook version \"4\" is understood, this is {version}"),
        ));
    }
    collect(hook.alerts, "alerts", |value| {
        let alert: WebhookAlert =
            serde_json::from_value(value).map_err(|error| ("", error.to_string()))?;
        from_webhook(alert, now)
    })
}

fn from_webhook(alert: WebhookAlert, now: Timestamp) -> Result<Alert, (&'static str, String)> {
    let state = match alert.status.as_str() {
        "firing" => State::Firing,
        "resolved" => State::Resolved,
        other => {
            return Err((
                "status",
                format!("`{}` is neither firing nor resolved", short(other, 40)),
            ));
        }
    };
    let labels = checked_labels(alert.labels)?;
    let annotations =
        checked_labels(alert.annotations).map_err(|(_, reason)| ("annotations", reason))?;
    let started = moment("startsAt", alert.starts_at.as_deref(), now)?.unwrap_or(now);
    let ended = match state {
        State::Firing => None,
        State::Resolved => Some(moment("endsAt", alert.ends_at.as_deref(), now)?.unwrap_or(now)),
    };
    let name = labels
        .get("alertname")
        .cloned()
        .ok_or_else(|| ("labels.alertname", "an alert needs a name".to_owned()))?;
    let summary = ["summary", "message", "description"]
        .iter()
        .find_map(|key| annotations.get(*key))
        .cloned()
        .unwrap_or_default();
    let fingerprint = alert
        .fingerprint
        .as_deref()
        .and_then(Fingerprint::given)
        .unwrap_or_else(|| Fingerprint::of(&labels));
    Ok(Alert {
        fingerprint,
        service: service_of(&labels),
        environment: environment_of(&labels),
        severity: severity_of(&labels, &name, &summary),
        name,
        state,
        started,
        ended,
        summary,
        labels,
    })
}

/// Our own plain form. Unknown fields are refused: a misspelt `severity` must not be taken for a warning.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    severity: String,
    service: String,
    message: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    timestamp: Option<String>,
    #[serde(default)]
    metrics: BTreeMap<String, Value>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Reads one alert of the plain form, or an array of them.
pub fn generic(body: Value, now: Timestamp) -> Result<Batch, Error> {
    match body {
        Value::Array(values) => collect(values, "", |value| plain(value, now)),
        value @ Value::Object(_) => match plain(value, now) {
            Ok(alert) => Ok(Batch { alerts: vec![alert], rejected: Vec::new() }),
            Err((param, reason)) => Err(invalid(param, reason)),
        },
        _ => Err(Error::Unreadable("an alert is an object, or an array of objects".into())),
    }
}

fn plain(value: Value, now: Timestamp) -> Result<Alert, (&'static str, String)> {
    let alert: Plain = serde_json::from_value(value).map_err(|error| ("", error.to_string()))?;
    if alert.service.trim().is_empty() {
        return Err(("service", "name the service that the alert is about".into()));
    }
    if alert.metrics.len() > LABELS_MAX {
        return Err((
            "metrics",
            format!("{} metrics: at most {LABELS_MAX} are taken", alert.metrics.len()),
        ));
    }
    let name = alert.name.unwrap_or_else(|| short(&alert.message, 80).to_owned());
    let mut labels = checked_labels(alert.labels)?;
    labels.insert("alertname".into(), name.clone());
    labels.insert("service".into(), short(&alert.service, TEXT_BYTES_MAX).to_owned());
    let fingerprint = Fingerprint::of(&labels);
    labels.insert("severity".into(), short(&alert.severity, 40).to_owned());
    let state = match alert.status.as_deref() {
        None | Some("firing") => State::Firing,
        Some("resolved") => State::Resolved,
        Some(other) => {
            return Err((
                "status",
                format!("`{}` is neither firing nor resolved", short(other, 40)),
            ));
        }
    };
    let started = moment("timestamp", alert.timestamp.as_deref(), now)?.unwrap_or(now);
    let summary = short(&alert.message, TEXT_BYTES_MAX).to_owned();
    Ok(Alert {
        fingerprint,
        service: service_of(&labels),
        environment: environment_of(&labels),
        severity: severity_of(&labels, &name, &summary),
        name,
        state,
        started,
        ended: (state == State::Resolved).then_some(started),
        summary,
        labels,
    })
}

fn collect(
    values: Vec<Value>,
    path: &str,
    one: impl Fn(Value) -> Result<Alert, (&'static str, String)>,
) -> Result<Batch, Error> {
    if values.len() > ALERTS_MAX {
        return Err(Error::TooMany(values.len()));
    }
    let mut batch = Batch::default();
    for (index, value) in values.into_iter().enumerate() {
        let read = match value.is_object() {
            true => one(value),
            false => Err(("", "an alert is an object".to_owned())),
        };
        match read {
            Ok(alert) => batch.alerts.push(alert),
            Err((field, reason)) => {
                let dot = if field.is_empty() { "" } else { "." };
                batch.rejected.push(Rejected {
                    index,
                    param: format!("{path}[{index}]{dot}{field}"),
                    reason,
                });
            }
        }
    }
    match batch.rejected.first() {
        Some(first) if batch.alerts.is_empty() => Err(invalid(&first.param, first.reason.clone())),
        _ => Ok(batch),
    }
}

fn invalid(param: &str, reason: String) -> Error {
    Error::Invalid { param: param.to_owned(), reason }
}

fn checked_labels(
    labels: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, (&'static str, String)> {
    if labels.len() > LABELS_MAX {
        return Err(("labels", format!("{} labels: at most {LABELS_MAX} are taken", labels.len())));
    }
    Ok(labels
        .into_iter()
        .map(|(name, value)| match value.len() > TEXT_BYTES_MAX {
            true => (name, short(&value, TEXT_BYTES_MAX).to_owned()),
            false => (name, value),
        })
        .collect())
}

/// Alertmanager writes year 1 for "not set".
fn moment(
    field: &'static str,
    text: Option<&str>,
    now: Timestamp,
) -> Result<Option<Timestamp>, (&'static str, String)> {
    let Some(text) =
        text.filter(|text| !text.is_empty() && !text.starts_with("0001-01-01T00:00:00"))
    else {
        return Ok(None);
    };
    let at: Timestamp = text
        .parse()
        .map_err(|error: agentry_core::time::NotATimestamp| (field, error.to_string()))?;
    if at > now.plus(SKEW_MAX) {
        return Err((
            field,
            format!("{at} is more than an hour ahead of this machine's clock ({now})"),
        ));
    }
    if at < EARLIEST {
        return Err((
            field,
            format!("{at} is before the year 2000: check the unit and the clock of the sender"),
        ));
    }
    Ok(Some(at))
}

fn service_of(labels: &BTreeMap<String, String>) -> String {
    let found = ["service", "app", "service_name", "deployment", "job", "instance"]
        .iter()
        .find_map(|key| labels.get(*key));
    found.cloned().unwrap_or_else(|| "unknown".into())
}

fn environment_of(labels: &BTreeMap<String, String>) -> String {
    ["environment", "env", "cluster"]
        .iter()
        .find_map(|key| labels.get(*key))
        .cloned()
        .unwrap_or_default()
}

/// The emergency rules come first and win over what the label says.
fn severity_of(labels: &BTreeMap<String, String>, name: &str, summary: &str) -> Severity {
    const EMERGENCIES: [&str; 5] =
        ["data loss", "dataloss", "data corruption", "datacorruption", "split brain"];
    let text = format!("{name} {summary}").to_ascii_lowercase();
    if EMERGENCIES.iter().any(|words| text.contains(words)) {
        return Severity::Emergency;
    }
    labels.get("severity").map_or(Severity::Warning, |word| Severity::read(word))
}

/// At most `bytes_max` bytes of `text`, cut between characters.
fn short(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
