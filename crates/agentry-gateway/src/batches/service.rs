//! Claims items, has them answered, stores their answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::Clock;
use agentry_core::batches::{Answer, Batches, Claim, Claimed, Lease, Waiting};
use agentry_core::store::Error;
use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Performed, Rota, Verdict, verdict};

/// Answers items.
#[async_trait]
pub trait Perform: Send + Sync {
    /// The same item may be performed again when its answer got lost: it is to be paid once nevertheless.
    async fn perform(&self, item: &Claimed) -> Performed;
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// Items at the same time, in this instance.
    pub concurrency: usize,
    /// Names this instance, also after a restart, and no other one.
    pub holder: String,
    /// How long an item stays claimed by an instance that shows no sign of life.
    pub lease: Duration,
    /// How often it is looked for what other instances have taken in or given up.
    pub poll: Duration,
    /// How long items that are being answered may take when the service is to stop.
    pub drain: Duration,
}

impl Settings {
    #[must_use]
    pub fn new(holder: String) -> Self {
        Self {
            concurrency: 8,
            holder,
            lease: Duration::from_secs(60),
            poll: Duration::from_secs(2),
            drain: Duration::from_secs(20),
        }
    }
}

/// So many batches of a tenant take turns; younger ones wait for them.
const OF_EACH_TENANT: usize = 16;
/// How often what is kept too long is removed.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// Tells the [`Service`] that something has changed.
#[derive(Debug, Clone, Default)]
pub struct Handle(Arc<Notify>);

impl Handle {
    pub fn nudge(&self) {
        self.0.notify_one();
    }
}

pub struct Service {
    worker: Worker,
    settings: Settings,
    handle: Handle,
    rota: Rota,
    /// Batches that wait for something.
    paused: HashMap<String, Instant>,
}

/// What a task needs to see an item through.
#[derive(Clone)]
struct Worker {
    store: Arc<dyn Batches>,
    perform: Arc<dyn Perform>,
    clock: Arc<dyn Clock>,
    /// Ends what is being answered.
    cut: CancellationToken,
}

/// How an item ended: its batch may have to wait.
struct Over {
    batch: String,
    pause: Option<Duration>,
}

impl Service {
    #[must_use]
    pub fn new(
        store: Arc<dyn Batches>,
        perform: Arc<dyn Perform>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Self {
        let worker = Worker { store, perform, clock, cut: CancellationToken::new() };
        let handle = Handle::default();
        Self { worker, settings, handle, rota: Rota::default(), paused: HashMap::new() }
    }

    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Until `shutdown`; what is being answered then may come to its end.
    pub async fn run(mut self, shutdown: CancellationToken) {
        match self.worker.store.release(&self.settings.holder).await {
            Ok(0) => {}
            Ok(items) => info!(items, "items of batches go on that were cut off"),
            Err(problem) => warn!(%problem, "items of batches wait for their leases to end"),
        }
        let notify = Arc::clone(&self.handle.0);
        let mut running = JoinSet::new();
        let (mut tick, mut forget) = (Instant::now(), Instant::now());
        while !shutdown.is_cancelled() {
            self.fill(&mut running).await;
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(over) = running.join_next() => self.note(over),
                () = notify.notified() => {}
                () = sleep_until(self.wakes_at(tick)) => {}
            }
            if Instant::now() >= tick {
                self.keep_up().await;
                tick = Instant::now() + self.settings.poll;
            }
            if Instant::now() >= forget {
                self.forget().await;
                forget = Instant::now() + FORGET_EVERY;
            }
        }
        self.drain(running).await;
    }

    /// The next tick, or the end of the first pause if that comes before.
    fn wakes_at(&self, tick: Instant) -> Instant {
        self.paused.values().copied().min().map_or(tick, |pause| pause.min(tick))
    }

    /// Claims items until there are as many as may run at the same time.
    async fn fill(&mut self, running: &mut JoinSet<Over>) {
        let now = Instant::now();
        self.paused.retain(|_, until| *until > now);
        if running.len() >= self.settings.concurrency {
            return;
        }
        let worker = self.worker.clone();
        let mut waiting = match worker.store.waiting(worker.clock.now(), OF_EACH_TENANT).await {
            Ok(waiting) => waiting,
            Err(problem) => return warn!(%problem, "batches cannot be read at the moment"),
        };
        waiting.retain(|waiting: &Waiting| !self.paused.contains_key(&waiting.batch));
        while running.len() < self.settings.concurrency
            && let Some(place) = self.rota.pick(&waiting)
            && let Some(next) = waiting.get(place)
        {
            let now = worker.clock.now();
            let claim = Claim {
                batch: next.batch.clone(),
                holder: self.settings.holder.clone(),
                now,
                lease_until: now.plus(self.settings.lease),
            };
            match worker.store.claim(claim).await {
                Ok(Some(claimed)) => {
                    running.spawn(worker.clone().see_through(claimed));
                }
                Ok(None) => {
                    waiting.remove(place);
                }
                Err(problem) => return warn!(%problem, "no item of a batch can be claimed"),
            }
        }
    }

    fn note(&mut self, over: Result<Over, tokio::task::JoinError>) {
        match over {
            Ok(Over { batch, pause: Some(pause) }) => {
                let until = Instant::now() + pause;
                let paused = self.paused.entry(batch).or_insert(until);
                *paused = until.max(*paused);
            }
            Ok(Over { batch: _, pause: None }) => {}
            Err(problem) => error!(%problem, "an item of a batch ended in a defect"),
        }
    }

    /// Shows that this instance lives, and drops what is not to be begun any more.
    async fn keep_up(&self) {
        let Worker { store, clock, .. } = &self.worker;
        let now = clock.now();
        let renewed = store.renew(&self.settings.holder, now.plus(self.settings.lease)).await;
        if let Err(problem) = renewed.and(store.sweep(now).await) {
            warn!(%problem, "batches cannot be kept up at the moment");
        }
    }

    async fn forget(&self) {
        let Worker { store, clock, .. } = &self.worker;
        match store.forget_expired(clock.now()).await {
            Ok(0) => {}
            Ok(forgotten) => info!(forgotten, "old batches and files were removed"),
            Err(problem) => warn!(%problem, "old batches cannot be removed at the moment"),
        }
    }

    async fn drain(self, mut running: JoinSet<Over>) {
        let end = Instant::now() + self.settings.drain;
        let drained = timeout_at(end, async { while running.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            self.worker.cut.cancel();
            while running.join_next().await.is_some() {}
        }
    }
}

impl Worker {
    async fn see_through(self, item: Claimed) -> Over {
        let Claimed { lease, tries, .. } = &item;
        let performed = self.cut.run_until_cancelled(self.perform.perform(&item)).await;
        let (tries, pause) = match performed {
            Some(performed) => match verdict(&performed, *tries) {
                Verdict::Keep => {
                    self.keep(lease, performed.answer).await;
                    return Over { batch: item.lease.batch, pause: None };
                }
                Verdict::Later { after, tries } => (tries, Some(after)),
            },
            None => (*tries, None),
        };
        if let Err(problem) = self.store.put_back(lease, tries).await {
            warn!(%problem, "an item of a batch waits for its lease to end");
        }
        Over { batch: item.lease.batch, pause }
    }

    /// Until the store takes it, or for a minute: then it is asked for again, and is in the store of answers.
    async fn keep(&self, lease: &Lease, answer: Answer) {
        let mut pause = Duration::from_millis(100);
        loop {
            let stored = self.store.finish(lease, answer.clone(), self.clock.now()).await;
            match stored {
                Ok(true) => return,
                Ok(false) => return warn!("an item of a batch was claimed by somebody else"),
                Err(Error::Fatal(problem) | Error::Refused(problem)) => {
                    return error!(%problem, "the answer to an item of a batch cannot be stored");
                }
                Err(problem) if pause > Duration::from_secs(20) => {
                    return error!(%problem, "the answer to an item of a batch was not stored");
                }
                Err(_) => sleep(pause).await,
            }
            pause *= 2;
        }
    }
}
