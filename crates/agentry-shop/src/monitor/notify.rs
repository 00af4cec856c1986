//! Tells of alerts the way Alertmanager does: grouped, repeated until they end, as version 4 webhooks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentry_core::Timestamp;
use agentry_http::{Client, Deadlines};
use bytes::Bytes;
use http::{Request, Uri, header};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::clock;

use super::Seen;
use super::alerts::Alert;

/// A new group waits this long for more alerts.
const GROUP_WAIT: Duration = Duration::from_secs(1);
/// A group that changed is told again after this long at the earliest.
const GROUP_INTERVAL: Duration = Duration::from_secs(2);
/// A group that did not change is told again after this long.
const REPEAT_INTERVAL: Duration = Duration::from_secs(10);

const ATTEMPT_WITHIN: Duration = Duration::from_secs(5);
const RETRY_AFTER_MIN: Duration = Duration::from_millis(200);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: usize = 64 << 10;
const EXTERNAL_URL: &str = "http://shop.localhost";

/// One notification, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Webhook {
    pub(super) group_key: String,
    pub(super) body: Value,
}

/// What was told of which group, and what is to be told: a pure transition.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<String, Group>);

#[derive(Debug)]
struct Group {
    since: Timestamp,
    alerts: Vec<Alert>,
    told: Option<Told>,
}

#[derive(Debug)]
struct Told {
    at: Timestamp,
    states: Vec<State>,
}

/// What makes a group worth telling again.
type State = (u64, Timestamp, bool);

impl Groups {
    pub(super) fn observe<'a>(&mut self, now: Timestamp, alerts: impl Iterator<Item = &'a Alert>) {
        let mut present: BTreeMap<String, Vec<Alert>> = BTreeMap::new();
        for alert in alerts {
            present.entry(group_key(alert)).or_default().push(alert.clone());
        }
        self.0.retain(|key, _| present.contains_key(key));
        for (key, alerts) in present {
            match self.0.get_mut(&key) {
                Some(group) => group.alerts = alerts,
                None => {
                    self.0.insert(key, Group { since: now, alerts, told: None });
                }
            }
        }
    }

    pub(super) fn due(&self, now: Timestamp) -> Vec<Webhook> {
        self.0
            .iter()
            .filter(|(_, group)| group.is_due(now))
            .map(|(key, group)| Webhook {
                group_key: key.clone(),
                body: payload(key, &group.alerts),
            })
            .collect()
    }

    pub(super) fn sent(&mut self, key: &str, now: Timestamp) {
        if let Some(group) = self.0.get_mut(key) {
            group.told = Some(Told { at: now, states: group.states() });
        }
    }
}

impl Group {
    fn is_due(&self, now: Timestamp) -> bool {
        let fires = self.alerts.iter().any(|alert| alert.ended_at.is_none());
        match &self.told {
            // What ended before anybody was told of it is nobody's business.
            None => fires && now.since(self.since) >= GROUP_WAIT,
            Some(told) if told.states != self.states() => now.since(told.at) >= GROUP_INTERVAL,
            Some(told) => fires && now.since(told.at) >= REPEAT_INTERVAL,
        }
    }

    fn states(&self) -> Vec<State> {
        self.alerts
            .iter()
            .map(|alert| (fingerprint(&labels(alert)), alert.started_at, alert.ended_at.is_some()))
            .collect()
    }
}

fn group_key(alert: &Alert) -> String {
    format!("{{}}:{{alertname=\"{}\", service=\"{}\"}}", alert.name, alert.service)
}

fn labels(alert: &Alert) -> BTreeMap<&'static str, &str> {
    BTreeMap::from([
        ("alertname", alert.name),
        ("instance", alert.instance.as_str()),
        ("service", alert.service.name()),
        ("severity", alert.severity),
    ])
}

/// 64-bit FNV-1a over the sorted labels, each part followed by a byte that no text contains.
fn fingerprint(labels: &BTreeMap<&'static str, &str>) -> u64 {
    let parts = labels.iter().flat_map(|(name, value)| [*name, *value]);
    parts.flat_map(|part| part.bytes().chain([0xff])).fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn payload(group_key: &str, alerts: &[Alert]) -> Value {
    let all_labels: Vec<BTreeMap<&str, &str>> = alerts.iter().map(labels).collect();
    let common: BTreeMap<&str, &str> = all_labels.first().map_or_else(BTreeMap::new, |first| {
        let everywhere = |(name, value): &(&&str, &&str)| {
            all_labels.iter().all(|other| other.get(**name) == Some(*value))
        };
        first.iter().filter(everywhere).map(|(name, value)| (*name, *value)).collect()
    });
    let group_labels: BTreeMap<&str, &str> = common
        .iter()
        .filter(|(name, _)| matches!(**name, "alertname" | "service"))
        .map(|(n, v)| (*n, *v))
        .collect();
    let firing = alerts.iter().any(|alert| alert.ended_at.is_none());
    let common_annotations = match alerts {
        [alert] => annotations(alert),
        _ => json!({}),
    };
    json!({
        "receiver": "webhook",
        "status": if firing { "firing" } else { "resolved" },
        "alerts": alerts.iter().map(encode).collect::<Vec<Value>>(),
        "groupLabels": group_labels,
        "commonLabels": common,
        "commonAnnotations": common_annotations,
        "externalURL": EXTERNAL_URL,
        "version": "4",
        "groupKey": group_key,
        "truncatedAlerts": 0,
    })
}

fn encode(alert: &Alert) -> Value {
    let labels = labels(alert);
    json!({
        "status": if alert.ended_at.is_none() { "firing" } else { "resolved" },
        "labels": labels,
        "annotations": annotations(alert),
        "startsAt": clock::rfc3339(alert.started_at),
        "endsAt": alert.ended_at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), clock::rfc3339),
        "generatorURL": format!("http://{}/metrics", alert.instance),
        "fingerprint": format!("{:016x}", fingerprint(&labels)),
    })
}

fn annotations(alert: &Alert) -> Value {
    json!({
        "summary": format!("{}: {}", alert.service, alert.summary),
        "description": format!("value {:.3}", alert.value),
    })
}

/// Delivers in order, each until it is acknowledged. The newest state of a group replaces one that still waits.
pub(super) async fn deliver(url: Uri, mut queue: mpsc::Receiver<Webhook>, seen: Arc<Mutex<Seen>>) {
    let client = Client::new(&agentry_http::Settings::default());
    let mut waiting: VecDeque<Webhook> = VecDeque::new();
    let mut pause = RETRY_AFTER_MIN;
    loop {
        if waiting.is_empty() {
            let Some(webhook) = queue.recv().await else { return };
            waiting.push_back(webhook);
        }
        while let Ok(newer) = queue.try_recv() {
            waiting.retain(|older| {
                older.group_key != newer.group_key || is_firing(older) != is_firing(&newer)
            });
            waiting.push_back(newer);
        }
        let Some(next) = waiting.front() else { continue };
        match attempt(&client, &url, next).await {
            Ok(()) => {
                waiting.pop_front();
                pause = RETRY_AFTER_MIN;
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.status.notifications += 1;
                seen.status.undeliverable = None;
                seen.status.first_acknowledged_at.get_or_insert_with(clock::now);
            }
            Err(why) => {
                seen.lock().unwrap_or_else(PoisonError::into_inner).status.undeliverable =
                    Some(why);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_AFTER_MAX);
            }
        }
    }
}

fn is_firing(webhook: &Webhook) -> bool {
    webhook.body.get("status").and_then(Value::as_str) == Some("firing")
}

async fn attempt(client: &Client, url: &Uri, webhook: &Webhook) -> Result<(), String> {
    let request = Request::post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(webhook.body.to_string()))
        .map_err(|error| error.to_string())?;
    let answer = client.fetch(request, &Deadlines::within(ATTEMPT_WITHIN), ANSWER_BYTES_MAX).await;
    let status = answer.map_err(|error| format!("{url}: {error}"))?.status();
    if status.is_success() { Ok(()) } else { Err(format!("{url} answered {status}")) }
}

#[cfg(test)]
mod tests;
