//! What all requests of a process share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use agentry_core::telemetry::Level;
use serde_json::{Map, Value, json};
use tokio_util::task::TaskTracker;

use crate::deployment::{self, Deployment, Launch};
use crate::random::Random;
use crate::{Error, clock};

use super::client::Client;
use super::faults::Faults;
use super::lines::Lines;
use super::metrics::Metrics;
use super::spans::{Spans, Trace};
use super::work::Work;

/// Entries of the table beyond this many push out the lowest ones.
const TABLE_ENTRIES_MAX: usize = 20_000;

/// The service's own small state: quantities by name.
pub(crate) type Table = BTreeMap<String, u64>;

pub(crate) struct Shared {
    pub(crate) launch: Launch,
    pub(crate) tracker: TaskTracker,
    pub(crate) metrics: Metrics,
    pub(crate) client: Client,
    pub(crate) faults: Faults,
    pub(crate) work: Work,
    pub(crate) spans: Spans,
    deployment: RwLock<Arc<Deployment>>,
    table: Mutex<Table>,
    random: Mutex<Random>,
    logs: Lines,
    traces: Lines,
}

impl Shared {
    pub(crate) fn new(launch: Launch, tracker: TaskTracker) -> Result<Self, Error> {
        let deployment: Deployment = deployment::read(&launch.deployment_path())?;
        let file = |kind: &str| launch.folder.join(kind).join(format!("{}.jsonl", launch.service));
        // A restarted process must not hand out the ids of the one that it replaces.
        let started = clock::now().as_micros().unsigned_abs();
        let seed = launch.seed ^ (launch.service as u64) << 56 ^ started;
        Ok(Self {
            logs: Lines::open(&file("logs"))?,
            traces: Lines::open(&file("traces"))?,
            tracker,
            metrics: Metrics::default(),
            client: Client::new(),
            faults: Faults::default(),
            work: Work::calibrate(),
            spans: Spans::default(),
            deployment: RwLock::new(Arc::new(deployment)),
            table: Mutex::default(),
            random: Mutex::new(Random::new(seed)),
            launch,
        })
    }

    pub(crate) fn deployment(&self) -> Arc<Deployment> {
        Arc::clone(&self.deployment.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn random<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn table<T>(&self, with: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let result = with(&mut table);
        while table.len() > TABLE_ENTRIES_MAX {
            table.pop_first();
        }
        result
    }

    pub(crate) fn log(&self, entry: Entry<'_>) {
        let Entry { level, logger, message, trace, fields } = entry;
        let mut line = Map::new();
        line.insert("timestamp".to_owned(), json!(clock::rfc3339(clock::now())));
        line.insert("level".to_owned(), json!(level));
        line.insert("service".to_owned(), json!(self.launch.service));
        line.insert("logger".to_owned(), json!(logger));
        line.insert("message".to_owned(), json!(message));
        if let Some(trace) = trace {
            line.insert("trace_id".to_owned(), json!(format!("{:032x}", trace.trace_id)));
            line.insert("span_id".to_owned(), json!(format!("{:016x}", trace.span_id)));
        }
        line.extend(fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.logs.push(&line);
    }

    pub(crate) fn started(&self, address: SocketAddr) {
        let Deployment { version, revision, settings: _ } = &*self.deployment();
        self.log(Entry {
            level: Level::Info,
            logger: "main",
            message: &format!("{} {version} listening on {address}", self.launch.service),
            trace: None,
            fields: &[("revision", json!(revision))],
        });
    }

    /// Takes over the configuration file; one that cannot be read leaves the present configuration in force.
    pub(crate) fn reload(&self) {
        match deployment::read::<Deployment>(&self.launch.deployment_path()) {
            Ok(deployment) => {
                let message = format!("configuration reloaded, revision {}", deployment.revision);
                *self.deployment.write().unwrap_or_else(PoisonError::into_inner) =
                    Arc::new(deployment);
                self.log(Entry {
                    level: Level::Info,
                    logger: "config",
                    message: &message,
                    trace: None,
                    fields: &[],
                });
            }
            Err(error) => {
                let message = format!("configuration not reloaded: {error}");
                self.log(Entry {
                    level: Level::Error,
                    logger: "config",
                    message: &message,
                    trace: None,
                    fields: &[],
                });
            }
        }
    }

    /// Hands everything that waits to the kernel. There is nowhere to report a full disk to but standard error's owner,
    /// so a failed write only loses telemetry, as it does in any service.
    pub(crate) fn flush(&self) {
        let version = self.deployment().version.clone();
        let instance = std::process::id().to_string();
        if let Some(batch) = self.spans.take(self.launch.service, &version, &instance) {
            self.traces.push(&batch);
        }
        let _lost = self.logs.flush().and_then(|()| self.traces.flush());
    }
}

/// One log line before it is stamped.
pub(crate) struct Entry<'a> {
    pub(crate) level: Level,
    pub(crate) logger: &'a str,
    pub(crate) message: &'a str,
    pub(crate) trace: Option<Trace>,
    pub(crate) fields: &'a [(&'static str, Value)],
}
