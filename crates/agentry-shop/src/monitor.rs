//! What a small monitoring system does: scrape, keep, judge by rules, and tell somebody.
//!
//! Every second each process's `/metrics` is read and appended to a file, the rules are evaluated on the last seconds, and
//! alerts go out as Alertmanager webhooks. [`prometheus_rules`] gives the same rules to a real Prometheus.

mod alerts;
mod exposition;
mod history;
mod notify;
mod rules;
mod scrape;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentry_core::Timestamp;
use http::Uri;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Error, Service, clock};

use alerts::Alerts;
use history::History;
use notify::{Groups, Webhook};
use scrape::Scraper;

pub use alerts::Alert;
pub use exposition::Sample;
pub use history::Vitals;
pub use rules::{prometheus_config, prometheus_rules};

const SCRAPE_EVERY: Duration = Duration::from_secs(1);
/// Notifications that wait for their receiver beyond this many are made anew later.
const WAITING_MAX: usize = 64;

#[derive(Debug, Clone)]
pub struct Config {
    /// One file of scrapes per service is kept here.
    pub folder: PathBuf,
    pub targets: Vec<(Service, SocketAddr)>,
    /// An HTTP address that takes Alertmanager webhooks.
    pub alerts_to: Option<String>,
}

/// What has been seen and told so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    pub scrapes: u64,
    /// Firing now, the oldest first.
    pub firing: Vec<Alert>,
    /// How often an alert began to fire.
    pub firings: u64,
    pub first_fired_at: Option<Timestamp>,
    /// Webhooks that were answered with 2xx.
    pub notifications: u64,
    pub first_acknowledged_at: Option<Timestamp>,
    /// Why the last attempt to deliver failed, until one succeeds.
    pub undeliverable: Option<String>,
}

/// The running monitor. Dropping it stops it.
pub struct Monitor {
    seen: Arc<Mutex<Seen>>,
    stopping: CancellationToken,
    tracker: TaskTracker,
}

#[derive(Default)]
struct Seen {
    status: Status,
    vitals: BTreeMap<Service, Vitals>,
}

impl Monitor {
    pub fn start(config: Config) -> Result<Self, Error> {
        let Config { folder, targets, alerts_to } = config;
        let url = alerts_to.map(|url| webhook_address(&url)).transpose()?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stopping = CancellationToken::new();
        let tracker = TaskTracker::new();
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let scraper = Scraper::new(&folder, targets)?;
        let queue = url.as_ref().map(|_| queue);
        tracker.spawn(watch(scraper, queue, Arc::clone(&seen), stopping.clone()));
        if let Some(url) = url {
            let deliver = notify::deliver(url, waiting, Arc::clone(&seen));
            let stopping = stopping.clone();
            tracker.spawn(async move { stopping.run_until_cancelled(deliver).await });
        }
        tracker.close();
        Ok(Self { seen, stopping, tracker })
    }

    #[must_use]
    pub fn status(&self) -> Status {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).status.clone()
    }

    /// Each service over the last seconds.
    #[must_use]
    pub fn vitals(&self) -> BTreeMap<Service, Vitals> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).vitals.clone()
    }

    pub async fn stop(self) {
        self.stopping.cancel();
        self.tracker.wait().await;
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

fn webhook_address(url: &str) -> Result<Uri, Error> {
    let refused = || Error::Webhook { url: url.to_owned() };
    let uri: Uri = url.parse().map_err(|_| refused())?;
    if uri.scheme_str() == Some("http") && uri.authority().is_some() {
        Ok(uri)
    } else {
        Err(refused())
    }
}

async fn watch(
    scraper: Scraper,
    queue: Option<mpsc::Sender<Webhook>>,
    seen: Arc<Mutex<Seen>>,
    stopping: CancellationToken,
) {
    let mut histories: BTreeMap<Service, History> = BTreeMap::new();
    let mut alerts = Alerts::default();
    let mut groups = Groups::default();
    let mut every = tokio::time::interval(SCRAPE_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stopping.run_until_cancelled(every.tick()).await.is_some() {
        let Some(readings) = stopping.run_until_cancelled(scraper.round()).await else { return };
        for (service, reading) in readings {
            histories.entry(service).or_default().push(reading);
        }
        let now = clock::now();
        let began = alerts.observe(now, rules::holding(&histories, &scraper.addresses()));
        groups.observe(now, alerts.all());
        for webhook in groups.due(now) {
            let Some(queue) = &queue else { continue };
            let key = webhook.group_key.clone();
            // A full queue means that the receiver is away: the group stays due.
            if queue.try_send(webhook).is_ok() {
                groups.sent(&key, now);
            }
        }
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.vitals =
            histories.iter().map(|(service, history)| (*service, history.vitals())).collect();
        seen.status.scrapes += 1;
        seen.status.firings += began;
        seen.status.firing = alerts.firing();
        if began > 0 {
            seen.status.first_fired_at.get_or_insert(now);
        }
    }
}
