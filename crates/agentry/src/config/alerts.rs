//! `[[alerts]]` and `[channels.NAME]`: what people are told of, and where.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentry_gateway::watchdog::{Escalation, Rule, Signal};
use secrecy::SecretString;

use super::optional_duration;
use super::reader::{Notes, Reader};
use super::tree::Value;
use super::value::{self, Unreadable};

#[derive(Debug, Clone, Default)]
pub(crate) struct Alerts {
    pub(crate) rules: Vec<Rule>,
    pub(crate) channels: BTreeMap<Arc<str>, Channel>,
}

/// Where people are.
#[derive(Debug, Clone)]
pub(crate) enum Channel {
    Slack { url: SecretString },
    Webhook { url: SecretString, token: Option<SecretString> },
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Slack,
    Webhook,
}

pub(super) fn read(
    tables: Vec<Reader<'_>>,
    channels: Option<Reader<'_>>,
    notes: &Notes<'_>,
) -> Alerts {
    let channels = channels.map(Reader::tables).unwrap_or_default();
    let channels: BTreeMap<Arc<str>, Channel> = channels
        .into_iter()
        .filter_map(|table| Some((table.key().into(), channel(table, notes)?)))
        .collect();
    let mut rules: Vec<Rule> = Vec::new();
    for table in tables {
        let rule = rule(table, &channels, &rules);
        rules.extend(rule);
    }
    Alerts { rules, channels }
}

fn channel(mut table: Reader<'_>, notes: &Notes<'_>) -> Option<Channel> {
    let kind = table.required("kind", "\"slack\"", kind);
    let named = |value: &Value| value::text_or_named(value, notes.environment, notes.folder);
    let url = table.required("url", "\"env:SLACK_WEBHOOK_URL\"", named);
    let token = table.secret("token");
    let channel = match (kind.map(|at| at.value), url, token) {
        (None, _, _) | (_, None, _) => None,
        (Some(Kind::Slack), Some(url), None) => Some(Channel::Slack { url: url.value.into() }),
        (Some(Kind::Slack), Some(_), Some(_)) => {
            table.report(
                "a channel of kind \"slack\" has no `token`: its address is its permission",
            );
            None
        }
        (Some(Kind::Webhook), Some(url), token) => {
            Some(Channel::Webhook { url: url.value.into(), token: token.map(|at| at.value) })
        }
    };
    table.finish();
    channel
}

fn rule(
    mut table: Reader<'_>,
    channels: &BTreeMap<Arc<str>, Channel>,
    others: &[Rule],
) -> Option<Rule> {
    let signal = table.required("when", "\"target_unhealthy\"", signal);
    let name = table.read("name", value::text).map(|at| at.value);
    let of = table.read("of", value::text).map(|at| at.value);
    let threshold = table.read("threshold", number).map(|at| at.value);
    let clear = table.read("clear", number).map(|at| at.value);
    let holds_for = optional_duration(&mut table, "for").unwrap_or(Duration::ZERO);
    let repeat = optional_duration(&mut table, "repeat");
    let notify = notified(&mut table, channels);
    let escalate = table.list_or_tables(
        "escalate",
        |value| Err::<Escalation, _>(value::not("a table", value)),
        |table| escalation(table, channels),
    );
    let steps = escalate.map(|list| list.value).unwrap_or_default().into_iter();
    let mut escalation: Vec<Escalation> = steps.map(|at| at.value).collect();
    escalation.sort_by_key(|step| step.after);
    let rule = signal.map(|at| {
        let signal = at.value;
        let threshold = threshold.unwrap_or_else(|| signal.usual_threshold());
        let clear = clear.unwrap_or_else(|| signal.usual_clear(threshold));
        let name = name.as_deref().unwrap_or(signal.as_str());
        let usual = Rule::new(name, signal, "");
        Rule { of, threshold, clear, holds_for, repeat, channels: notify, escalation, ..usual }
    });
    if let Some(Rule { name, signal, threshold, clear, .. }) = &rule {
        let is_backwards =
            if signal.is_bad_when_low() { clear < threshold } else { clear > threshold };
        if is_backwards {
            table.report(format!(
                "an alert on `{signal}` with the threshold {threshold} cannot be over at {clear}: move `clear` to the \
                 other side"
            ));
        }
        if others.iter().any(|other| other.name == *name) {
            table.report(format!(
                "there are two alerts called `{name}`: give each a `name` of its own"
            ));
        }
    }
    table.finish();
    rule
}

fn escalation(mut table: Reader<'_>, channels: &BTreeMap<Arc<str>, Channel>) -> Option<Escalation> {
    let after = table.required("after", "\"10m\"", value::duration);
    let notify = notified(&mut table, channels);
    table.finish();
    Some(Escalation { after: after?.value, channels: notify })
}

fn notified(table: &mut Reader<'_>, channels: &BTreeMap<Arc<str>, Channel>) -> Vec<Arc<str>> {
    let known = |value: &Value| {
        let name: Arc<str> = value::text(value)?.into();
        if channels.contains_key(&name) {
            return Ok(name);
        }
        let there: Vec<&str> = channels.keys().map(|name| &**name).collect();
        let help = match there.as_slice() {
            [] => format!("add [channels.{name}] with kind and url"),
            there => format!("there are {}", there.join(", ")),
        };
        Err(Unreadable::new(format!("names no channel: \"{name}\"")).help(help))
    };
    let list = table.list("notify", known).map(|list| list.value).unwrap_or_default();
    list.into_iter().map(|at| at.value).collect()
}

fn kind(value: &Value) -> Result<Kind, Unreadable> {
    match value::text(value)?.as_str() {
        "slack" => Ok(Kind::Slack),
        "webhook" => Ok(Kind::Webhook),
        other => Err(Unreadable::new(format!("is no kind of channel: \"{other}\""))
            .help("there are slack, webhook")),
    }
}

fn signal(value: &Value) -> Result<Signal, Unreadable> {
    let text = value::text(value)?;
    text.parse().map_err(|_| {
        Unreadable::new(format!("is nothing that is watched: \"{text}\""))
            .help(format!("there are {}", Signal::ALL.map(Signal::as_str).join(", ")))
    })
}

pub(super) fn number(value: &Value) -> Result<f64, Unreadable> {
    let number = match value {
        Value::Integer(number) => *number as f64,
        Value::Float(number) => *number,
        other => return Err(value::not("a number", other)),
    };
    match number.is_finite() && number >= 0.0 {
        true => Ok(number),
        false => Err(Unreadable::new("must not be less than zero")),
    }
}
