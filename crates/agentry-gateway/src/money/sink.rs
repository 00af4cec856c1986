//! Usage on its way to the ledger.
//!
//! A call takes its record's place in the queue before it is dispatched, so a record never finds the queue full: when
//! records cannot be stored, calls are refused before they cost anything. A record is *settled* when the ledger has
//! acknowledged it, and then it is never lost. While the ledger stores one batch, the next one queues up.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::ledger::{Charge, Entry, Ledger, UsageRecord};
use agentry_core::store::Error;
use agentry_core::{Code, Failure, Fault, MicroUsd, Retry};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::budgets::Charges;
use super::reuse::Reuse;
use super::{Event, Watcher};

/// Records of one command to the ledger.
const BATCH_MAX: usize = 512;
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// Where records go in. Cheap to clone.
#[derive(Clone)]
pub struct UsageSink {
    records: mpsc::Sender<Job>,
    /// Counts what asks no target.
    pub(crate) reuse: Reuse,
}

struct Job {
    record: Arc<UsageRecord>,
    charges: Charges,
    stored: Option<oneshot::Sender<()>>,
}

/// As many records wait to be stored as may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("usage cannot be stored fast enough; try again in a second")]
pub struct Full;

impl Failure for Full {
    fn code(&self) -> Code {
        Code("usage_overloaded")
    }

    fn fault(&self) -> Fault {
        Fault::Ours
    }

    fn retry(&self) -> Retry {
        Retry::After(Duration::from_secs(1))
    }
}

/// The process has ended before the record was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record was not stored before the process ended")]
pub struct Lost;

/// The place of a record to come. Dropped, it is another one's.
#[must_use]
pub struct Place {
    permit: mpsc::OwnedPermit<Job>,
}

pub(super) fn open(
    ledger: Arc<dyn Ledger>,
    watcher: Arc<dyn Watcher>,
    (records_max, drain): (usize, Duration),
    reuse: Reuse,
) -> (UsageSink, Writer) {
    let (records, incoming) = mpsc::channel(records_max.max(1));
    (UsageSink { records, reuse }, Writer { incoming, ledger, watcher, drain })
}

impl UsageSink {
    /// To be taken before anything is spent.
    pub fn place(&self) -> Result<Place, Full> {
        let permit = self.records.clone().try_reserve_owned();
        permit.map(|permit| Place { permit }).map_err(|_| Full)
    }

    /// How many records wait, those of calls in flight included.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.records.max_capacity() - self.records.capacity()
    }

    /// How many may.
    #[must_use]
    pub fn waiting_max(&self) -> usize {
        self.records.max_capacity()
    }
}

impl Place {
    /// It will be stored soon.
    pub fn record(self, record: UsageRecord, charges: Charges) {
        self.permit.send(Job { record: Arc::new(record), charges, stored: None });
    }

    /// Returns when it is stored.
    pub async fn record_durably(self, record: UsageRecord, charges: Charges) -> Result<(), Lost> {
        let (stored, acknowledged) = oneshot::channel();
        self.permit.send(Job { record: Arc::new(record), charges, stored: Some(stored) });
        acknowledged.await.map_err(|_| Lost)
    }
}

pub(super) struct Writer {
    incoming: mpsc::Receiver<Job>,
    ledger: Arc<dyn Ledger>,
    watcher: Arc<dyn Watcher>,
    drain: Duration,
}

/// How long to go on trying.
#[derive(Clone)]
enum Until {
    Shutdown(CancellationToken),
    Deadline(Instant),
}

impl Writer {
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut batch = Vec::new();
        let going_on = Until::Shutdown(shutdown.clone());
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                count = self.incoming.recv_many(&mut batch, BATCH_MAX) => {
                    if count == 0 {
                        return;
                    }
                }
            }
            batch = self.store(batch, &going_on).await;
            if !batch.is_empty() {
                break;
            }
        }
        self.finish(batch).await;
    }

    /// No more places are given out; those that were given out are waited for.
    async fn finish(mut self, mut batch: Vec<Job>) {
        self.incoming.close();
        let deadline = Instant::now() + self.drain;
        loop {
            batch = self.store(batch, &Until::Deadline(deadline)).await;
            let more = self.incoming.recv_many(&mut batch, BATCH_MAX);
            match timeout_at(deadline, more).await {
                Ok(0) => break,
                Ok(_) if Instant::now() < deadline => {}
                Ok(_) | Err(_) => break,
            }
        }
        let lost = batch.len() + self.incoming.len();
        if lost > 0 {
            error!(records = lost, "the process ends before all usage is stored");
            self.watcher.happened(&Event::Lost { records: lost });
        }
    }

    /// Returns what could not be stored in time.
    async fn store(&self, batch: Vec<Job>, until: &Until) -> Vec<Job> {
        let mut wait = RETRY_FIRST;
        let mut behind = false;
        loop {
            if batch.is_empty() {
                return batch;
            }
            let entries = batch.iter().map(Job::entry).collect();
            match self.append(entries, until).await {
                Some(Ok(())) => break,
                Some(Err(Error::Refused(_))) => {
                    return self.store_singly(batch, until).await;
                }
                Some(Err(problem)) if !behind => {
                    behind = true;
                    warn!(%problem, "usage cannot be stored; it is tried again");
                    let waiting = batch.len() + self.incoming.len();
                    self.watcher.happened(&Event::Behind { waiting });
                }
                Some(Err(_)) => {}
                None => return batch,
            }
            if !until.wait(wait).await {
                return batch;
            }
            wait = (wait * 2).min(RETRY_LAST);
        }
        for job in batch {
            job.stored();
        }
        Vec::new()
    }

    /// One of them is not acceptable: the others must not suffer for it.
    async fn store_singly(&self, batch: Vec<Job>, until: &Until) -> Vec<Job> {
        let mut rest = Vec::new();
        for job in batch {
            match self.append(vec![job.entry()], until).await {
                Some(Ok(())) => job.stored(),
                Some(Err(Error::Refused(problem))) => {
                    let id = job.record.id;
                    error!(usage_id = %id, %problem, "a record of usage is refused by the store");
                }
                Some(Err(_)) | None => rest.push(job),
            }
        }
        if !rest.is_empty() && until.wait(RETRY_LAST).await {
            return Box::pin(self.store(rest, until)).await;
        }
        rest
    }

    /// Nothing when the time is up.
    async fn append(&self, entries: Vec<Entry>, until: &Until) -> Option<Result<(), Error>> {
        match until {
            // What has begun is waited for: the ledger has a deadline of its own.
            Until::Shutdown(_) => Some(self.ledger.append_usage(entries).await),
            Until::Deadline(at) => timeout_at(*at, self.ledger.append_usage(entries)).await.ok(),
        }
    }
}

impl Until {
    /// Says whether to go on.
    async fn wait(&self, span: Duration) -> bool {
        match self {
            Self::Shutdown(shutdown) => {
                tokio::time::timeout(span, shutdown.cancelled()).await.is_err()
            }
            Self::Deadline(at) => {
                let next = Instant::now() + span;
                tokio::time::sleep_until(next.min(*at)).await;
                next < *at
            }
        }
    }
}

impl Job {
    fn entry(&self) -> Entry {
        let amount = MicroUsd(self.charges.amount);
        let charge =
            |slice: &Arc<super::account::Slice>| Charge { slice: Arc::clone(&slice.id), amount };
        let charges = self.charges.slices.iter().map(charge).collect();
        Entry { record: Arc::clone(&self.record), charges }
    }

    fn stored(self) {
        for slice in &self.charges.slices {
            slice.pot().recorded(self.charges.amount);
        }
        if let Some(stored) = self.stored {
            // Whoever no longer waits reads it in the report.
            let _ = stored.send(());
        }
    }
}
