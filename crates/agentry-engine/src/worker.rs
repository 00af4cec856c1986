//! Claims runs and drives them, until it is told to stop.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use agentry_core::run::{Answer, Message, NewRun, RunRow, Status, Values};
use agentry_core::store::{
    self, Claim, Claimed, Intake, RunQuery, RunStore, Signal, Signalled, Submitted,
};
use agentry_core::{Clock, RunId, Timestamp, audit};
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::drive::{Surroundings, drive};
use crate::lifeline::Lifeline;
use crate::{Error, Registry};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Different for each worker that lives at the same time; the same again after a restart, which then takes its
    /// former runs back at once.
    pub name: String,
    /// Runs in memory at the same time.
    pub runs_max: usize,
    /// How long a run stays with a worker that is not heard of.
    pub lease: Duration,
    /// The longest the worker sleeps without looking for work.
    pub poll: Duration,
    /// How long running tasks may go on at a shutdown.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "main".to_owned(),
            runs_max: 64,
            lease: Duration::from_secs(10),
            poll: Duration::from_secs(1),
            drain: Duration::from_secs(10),
        }
    }
}

/// The service; [`run`](Self::run) owns every run that it has claimed.
pub struct Worker {
    shared: Arc<Shared>,
    settings: Settings,
}

struct Shared {
    store: Arc<dyn RunStore>,
    registry: Registry,
    clock: Arc<dyn Clock>,
    ticks: watch::Sender<u64>,
}

/// Hands work to the worker. Cheap to clone; it outlives the worker.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Worker {
    #[must_use]
    pub fn new(
        store: Arc<dyn RunStore>,
        graphs: Registry,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Self {
        let ticks = watch::Sender::new(0);
        Self { shared: Arc::new(Shared { store, registry: graphs, clock, ticks }), settings }
    }

    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// Works until `shutdown`, then lets running tasks end and gives its claims back.
    ///
    /// Fails only when the store has failed for good. Dropping the future drops the runs: they are taken up again by
    /// the next worker of this name, or by any other once the lease is over.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), store::Error> {
        let abandon = CancellationToken::new();
        let _guard = abandon.clone().drop_guard();
        let renewed_at = self.shared.clock.now();
        let shift = Shift {
            ticks: self.shared.ticks.subscribe(),
            shared: self.shared,
            settings: self.settings,
            lifeline: Lifeline::new(abandon.clone()),
            abandon,
            draining: CancellationToken::new(),
            drives: JoinSet::new(),
            active: HashMap::new(),
            renewed: Instant::now(),
            renewed_at,
            released: false,
        };
        shift.work(shutdown).await
    }
}

impl Handle {
    /// Something may be due: new work, an answer, a moment.
    pub fn nudge(&self) {
        self.shared.ticks.send_modify(|count| *count = count.wrapping_add(1));
    }

    #[must_use]
    pub fn store(&self) -> &Arc<dyn RunStore> {
        &self.shared.store
    }

    /// A run of the graph's current version, not yet submitted: for an [`Intake`].
    pub fn new_run(&self, graph: &str, key: &str, input: Values) -> Result<NewRun, Error> {
        Ok(self.shared.registry.current(graph)?.new_run(key, input, self.shared.clock.now()))
    }

    pub async fn submit(&self, run: NewRun) -> Result<Submitted, Error> {
        let submitted = self.shared.store.submit(run).await?;
        self.nudge();
        Ok(submitted)
    }

    pub async fn intake(&self, intake: Intake) -> Result<(), Error> {
        self.shared.store.intake(intake).await?;
        self.nudge();
        Ok(())
    }

    pub async fn send(&self, run: RunId, message: Message) -> Result<Signalled, Error> {
        self.signal(run, Signal::Message(message)).await
    }

    pub async fn answer(
        &self,
        run: RunId,
        interrupt: &str,
        answer: Answer,
        audit: Vec<audit::Entry>,
    ) -> Result<Signalled, Error> {
        let interrupt = interrupt.to_owned();
        self.signal(run, Signal::Answer { interrupt, answer, audit }).await
    }

    pub async fn cancel(
        &self,
        run: RunId,
        reason: &str,
        audit: Vec<audit::Entry>,
    ) -> Result<Signalled, Error> {
        self.signal(run, Signal::Cancel { reason: reason.to_owned(), audit }).await
    }

    pub async fn signal(&self, run: RunId, signal: Signal) -> Result<Signalled, Error> {
        let signalled = self.shared.store.signal(run, signal).await?;
        self.nudge();
        Ok(signalled)
    }
}

/// One time of [`Worker::run`].
struct Shift {
    shared: Arc<Shared>,
    settings: Settings,
    ticks: watch::Receiver<u64>,
    lifeline: Lifeline,
    abandon: CancellationToken,
    draining: CancellationToken,
    drives: JoinSet<()>,
    /// By drive: for a moment a run that was parked and is claimed again has two.
    active: HashMap<Id, (RunId, Arc<Notify>)>,
    renewed: Instant,
    renewed_at: Timestamp,
    /// Whether claims of this name from an earlier time have been given back.
    released: bool,
}

impl Shift {
    async fn work(mut self, shutdown: CancellationToken) -> Result<(), store::Error> {
        while !shutdown.is_cancelled() {
            let pause = match self.round().await {
                Ok(pause) => pause,
                Err(fatal @ store::Error::Fatal(_)) => return Err(fatal),
                Err(problem) => {
                    warn!(%problem, "the store is away");
                    self.give_up_late_runs();
                    self.settings.poll
                }
            };
            if let Some(fatal) = self.lifeline.fatal() {
                return Err(fatal);
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.abandon.cancelled() => {}
                Some(joined) = self.drives.join_next_with_id(), if !self.drives.is_empty() => {
                    self.forget(joined);
                    while let Some(joined) = self.drives.try_join_next_with_id() {
                        self.forget(joined);
                    }
                }
                changed = self.ticks.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.leave().await
    }

    /// Looks for everything that is due; answers how long nothing will be.
    async fn round(&mut self) -> Result<Duration, store::Error> {
        let store = Arc::clone(&self.shared.store);
        if !self.released {
            store.release(&self.settings.name).await?;
            self.released = true;
            self.report_orphans().await?;
        }
        if !self.active.is_empty() {
            // The clock may jump; how long nobody has heard of us, only the monotonic one can say.
            let now = self.shared.clock.now();
            let third = self.settings.lease / 3;
            if self.renewed.elapsed() >= third || now.since(self.renewed_at) >= third {
                let started = Instant::now();
                store.renew(&self.settings.name, now, now.plus(self.settings.lease)).await?;
                (self.renewed, self.renewed_at) = (started, now);
            }
            let addressed: HashSet<_> =
                store.mail(&self.settings.name).await?.into_iter().collect();
            for (_, mail) in self.active.values().filter(|(run, _)| addressed.contains(run)) {
                mail.notify_one();
            }
        }
        let looked_at = self.shared.clock.now();
        self.claim(looked_at).await?;
        let pause = self.settings.poll.min(self.settings.lease / 3);
        if self.active.len() >= self.settings.runs_max {
            return Ok(pause);
        }
        // What was due already and is still there is not for this worker.
        let wake = store.next_wake().await?.filter(|moment| *moment > looked_at);
        Ok(wake.map_or(pause, |moment| pause.min(moment.since(self.shared.clock.now()))))
    }

    /// Runs that wait for a program which this worker does not have would wait in silence.
    async fn report_orphans(&self) -> Result<(), store::Error> {
        for status in [Status::Ready, Status::Parked] {
            let query = RunQuery { status: Some(status), runs_max: 1_000, ..RunQuery::default() };
            let rows = self.shared.store.runs(query).await?;
            let known = |row: &RunRow| self.shared.registry.get(&row.graph, &row.version).is_some();
            let orphans: BTreeSet<_> = rows
                .into_iter()
                .filter(|row| !known(row))
                .map(|row| (row.graph, row.version))
                .collect();
            for (graph, version) in orphans {
                error!(graph, version, "runs wait for a version of a graph that this worker lacks");
            }
        }
        Ok(())
    }

    async fn claim(&mut self, now: Timestamp) -> Result<(), store::Error> {
        let runs_max = self.settings.runs_max.saturating_sub(self.active.len());
        if runs_max == 0 {
            return Ok(());
        }
        let started = Instant::now();
        let claim = Claim {
            worker: self.settings.name.clone(),
            now,
            lease_until: now.plus(self.settings.lease),
            runs_max,
            graphs: self.shared.registry.pairs(),
        };
        let claimed = self.shared.store.claim(claim).await;
        if matches!(claimed, Err(store::Error::Ambiguous(_))) {
            // There may be claims that nobody drives.
            self.give_up_runs();
        }
        let claimed = claimed?;
        if !claimed.is_empty() {
            (self.renewed, self.renewed_at) = (started, now);
        }
        for claimed in claimed {
            self.begin(claimed);
        }
        Ok(())
    }

    fn begin(&mut self, claimed: Claimed) {
        let row = &claimed.loaded.row;
        let run = row.id;
        let Some(program) = self.shared.registry.get(&row.graph, &row.version).cloned() else {
            error!(run_id = %run, graph = row.graph, version = row.version, "no such program");
            return;
        };
        let mail = Arc::new(Notify::new());
        let around = Surroundings {
            store: Arc::clone(&self.shared.store),
            clock: Arc::clone(&self.shared.clock),
            lifeline: self.lifeline.for_run(),
            draining: self.draining.clone(),
            mail: Arc::clone(&mail),
            ticks: self.ticks.clone(),
        };
        let drive = self.drives.spawn(drive(program, claimed, around));
        self.active.insert(drive.id(), (run, mail));
    }

    fn forget(&mut self, joined: Result<(Id, ()), JoinError>) {
        let id = match joined {
            Ok((id, ())) => id,
            Err(problem) => {
                error!(%problem, "a run's loop has ended unexpectedly");
                problem.id()
            }
        };
        self.active.remove(&id);
    }

    /// Whoever cannot renew in time must stop: another worker may have the runs by now.
    fn give_up_late_runs(&mut self) {
        if !self.active.is_empty() && self.renewed.elapsed() >= self.settings.lease * 4 / 5 {
            error!("the lease could not be renewed");
            self.give_up_runs();
        }
    }

    /// They are taken up again from what is stored.
    fn give_up_runs(&mut self) {
        warn!(runs = self.active.len(), "the worker starts afresh");
        self.drives = JoinSet::new();
        self.active.clear();
        self.released = false;
    }

    async fn leave(mut self) -> Result<(), store::Error> {
        self.draining.cancel();
        let all = async { while self.drives.join_next().await.is_some() {} };
        if tokio::time::timeout(self.settings.drain, all).await.is_err() {
            info!(runs = self.drives.len(), "tasks still ran at the end of the drain");
            self.drives = JoinSet::new();
        }
        if let Some(fatal) = self.lifeline.fatal() {
            return Err(fatal);
        }
        self.shared.store.release(&self.settings.name).await
    }
}
