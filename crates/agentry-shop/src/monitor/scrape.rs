//! Reads every process's metrics, and keeps what it read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentry_http::{Client, Deadlines};
use bytes::Bytes;
use http::Request;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::process::Lines;
use crate::{Error, Service, clock};

use super::exposition::{self, Sample};
use super::history::Reading;

const SCRAPE_WITHIN: Duration = Duration::from_millis(900);
const SCRAPE_BYTES_MAX: usize = 1 << 20;

pub(super) struct Scraper {
    client: Client,
    targets: Vec<Target>,
}

#[derive(Clone)]
struct Target {
    service: Service,
    address: SocketAddr,
    file: Arc<Lines>,
}

#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    service: Service,
    samples: &'a [Sample],
}

impl Scraper {
    pub(super) fn new(folder: &Path, targets: Vec<(Service, SocketAddr)>) -> Result<Self, Error> {
        let targets: Result<Vec<Target>, Error> = targets
            .into_iter()
            .map(|(service, address)| {
                let file = Arc::new(Lines::open(&folder.join(format!("{service}.jsonl")))?);
                Ok(Target { service, address, file })
            })
            .collect();
        let client = Client::new(&agentry_http::Settings::default());
        Ok(Self { client, targets: targets? })
    }

    pub(super) fn addresses(&self) -> BTreeMap<Service, SocketAddr> {
        self.targets.iter().map(|target| (target.service, target.address)).collect()
    }

    /// One scrape of everything, all at once. Dropping the future ends it.
    pub(super) async fn round(&self) -> Vec<(Service, Reading)> {
        let mut scrapes = JoinSet::new();
        for target in &self.targets {
            scrapes.spawn(scrape(self.client.clone(), target.clone()));
        }
        scrapes.join_all().await
    }
}

async fn scrape(client: Client, target: Target) -> (Service, Reading) {
    let Target { service, address, file } = target;
    let text = fetch(&client, address).await;
    let at = clock::now();
    let up = Sample {
        name: "up".to_owned(),
        labels: BTreeMap::new(),
        value: if text.is_some() { 1.0 } else { 0.0 },
    };
    let mut samples = text.as_deref().map(exposition::parse).unwrap_or_default();
    let reading =
        if text.is_some() { Reading::new(at, service, &samples) } else { Reading::down(at) };
    samples.push(up);
    file.push(&Line { timestamp: clock::rfc3339(at), service, samples: &samples });
    // A full disk costs the record of this scrape; the alerts go on.
    let _lost = file.flush();
    (service, reading)
}

async fn fetch(client: &Client, address: SocketAddr) -> Option<String> {
    let request = Request::get(format!("http://{address}/metrics")).body(Bytes::new()).ok()?;
    let answer =
        client.fetch(request, &Deadlines::within(SCRAPE_WITHIN), SCRAPE_BYTES_MAX).await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    String::from_utf8(answer.into_body().into()).ok()
}
