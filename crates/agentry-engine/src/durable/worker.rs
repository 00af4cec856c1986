//! Claims threads and drives them, until it is told to stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::thread::Pinned;
use agentry_core::threads::{Claim, Claimed, Error, ThreadStore, Threads, life};
use agentry_core::{Clock, ThreadId, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::drive::{Surroundings, drive};
use super::handle::Handle;
use super::hub::Hub;
use crate::Registry;
use crate::cache::NodeCache;
use crate::lifeline::Lifeline;
use crate::observe::{Execution, Observer, Watched};
use crate::program::Program;
use crate::version::{Orphans, bring_over, orphans};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Different for each worker that lives at the same time; the same again after a restart, which then takes its
    /// former threads back at once.
    pub name: String,
    /// Different each time that the worker starts, so that nothing that a former life has sent counts as this one's. Without
    /// one its claims are those of whoever has the name.
    pub life: String,
    /// Threads in memory at the same time.
    pub threads_max: usize,
    /// How long a thread stays with a worker that is not heard of.
    pub lease: Duration,
    /// The longest the worker sleeps without looking for work.
    pub poll: Duration,
    /// How long running tasks may go on at a shutdown.
    pub drain: Duration,
    /// Of the graphs that are not in its registry.
    pub elsewhere: Elsewhere,
}

/// Which graphs other workers on the same store have: threads that wait for those are nothing to warn of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Elsewhere {
    #[default]
    None,
    These(Vec<String>),
    Any,
}

impl Elsewhere {
    pub(crate) fn has(&self, graph: &str) -> bool {
        match self {
            Self::None => false,
            Self::These(graphs) => graphs.iter().any(|name| name == graph),
            Self::Any => true,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "main".to_owned(),
            life: String::new(),
            threads_max: 256,
            lease: Duration::from_secs(10),
            poll: Duration::from_secs(1),
            drain: Duration::from_secs(10),
            elsewhere: Elsewhere::None,
        }
    }
}

/// How often it is looked for threads whose version of their graph is not here.
const ORPHANS_EVERY: Duration = Duration::from_secs(30);

impl Settings {
    /// The name under which this life of the worker claims.
    fn worker(&self) -> String {
        match &*self.life {
            "" => self.name.clone(),
            nonce => life(&self.name, nonce),
        }
    }
}

/// The service; [`run`](Self::run) owns every thread that it has claimed.
pub struct Worker {
    pub(super) shared: Arc<Shared>,
    settings: Settings,
}

pub(super) struct Shared {
    pub store: Arc<dyn ThreadStore>,
    pub archive: Arc<dyn Threads>,
    pub registry: Registry,
    pub clock: Arc<dyn Clock>,
    pub cache: Option<Arc<dyn NodeCache>>,
    pub observer: Option<Arc<dyn Observer>>,
    pub hub: Arc<Hub>,
    /// Of this life of the worker, and so of everybody who takes a thread beside it.
    pub name: String,
    pub lease: Duration,
    pub poll: Duration,
}

impl Worker {
    #[must_use]
    pub fn new<S: ThreadStore + Threads + 'static>(
        store: Arc<S>,
        graphs: Registry,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Self {
        let archive: Arc<dyn Threads> = Arc::<S>::clone(&store);
        Self::with((store, archive), graphs, clock, settings)
    }

    /// Where the two ports of one store are at hand.
    #[must_use]
    pub fn with(
        (store, archive): (Arc<dyn ThreadStore>, Arc<dyn Threads>),
        graphs: Registry,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Self {
        let shared = Shared {
            store,
            archive,
            registry: graphs,
            clock,
            cache: None,
            observer: None,
            hub: Arc::new(Hub::new()),
            name: settings.worker(),
            lease: settings.lease,
            poll: settings.poll,
        };
        Self { shared: Arc::new(shared), settings }
    }

    /// Who hears what it does. To be said before anybody has a handle; afterwards it changes nothing.
    #[must_use]
    pub fn observed(mut self, observer: Arc<dyn Observer>) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.observer = Some(observer);
        }
        self
    }

    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.shared))
    }

    /// Works until `shutdown`, then lets running tasks end and gives its claims back.
    ///
    /// Fails only when the store has failed for good. Dropping the future drops the threads: they are taken up again by
    /// the next worker of this name, or by any other once the lease is over.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let abandon = CancellationToken::new();
        let _guard = abandon.clone().drop_guard();
        let renewed_at = self.shared.clock.now();
        let programs = self.shared.registry.pinned();
        let shift = Shift {
            ticks: self.shared.hub.ticks.subscribe(),
            shared: self.shared,
            settings: self.settings,
            programs,
            lifeline: Lifeline::new(abandon.clone()),
            abandon,
            draining: CancellationToken::new(),
            drives: JoinSet::new(),
            active: HashMap::new(),
            renewed: Instant::now(),
            renewed_at,
            looked_for_mail: Instant::now(),
            looked_for_orphans: None,
            orphans: Orphans::default(),
            succeeded: false,
            released: false,
        };
        shift.work(shutdown).await
    }
}

/// One time of [`Worker::run`].
struct Shift {
    shared: Arc<Shared>,
    settings: Settings,
    programs: Vec<Pinned>,
    ticks: watch::Receiver<u64>,
    lifeline: Lifeline,
    abandon: CancellationToken,
    draining: CancellationToken,
    drives: JoinSet<()>,
    /// By drive: for a moment a thread that rested and is claimed again has two.
    active: HashMap<Id, (ThreadId, Arc<Notify>)>,
    renewed: Instant,
    renewed_at: Timestamp,
    looked_for_mail: Instant,
    looked_for_orphans: Option<Instant>,
    orphans: Orphans,
    /// Whether what former lives have claimed has been given back.
    succeeded: bool,
    /// Whether claims of this life that nobody drives have been given back.
    released: bool,
}

impl Shift {
    async fn work(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let hub = Arc::clone(&self.shared.hub);
        while !shutdown.is_cancelled() {
            let pause = match self.round().await {
                Ok(pause) => pause,
                Err(fatal @ Error::Fatal(_)) => return Err(fatal),
                Err(problem) => {
                    warn!(%problem, "the store is away");
                    self.give_up_late_threads();
                    self.settings.poll
                }
            };
            if let Some(fatal) = self.lifeline.fatal() {
                return Err(fatal);
            }
            // In this order, so that a simulation can be repeated.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = self.abandon.cancelled() => {}
                Some(joined) = self.drives.join_next_with_id(), if !self.drives.is_empty() => {
                    self.forget(joined);
                    while let Some(joined) = self.drives.try_join_next_with_id() {
                        self.forget(joined);
                    }
                }
                () = hub.work.notified() => {}
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
    async fn round(&mut self) -> Result<Duration, Error> {
        if !self.released {
            if !self.succeeded {
                self.shared.store.succeed(&self.settings.name, &self.shared.name).await?;
                self.succeeded = true;
            }
            self.shared.store.release(&self.shared.name).await?;
            self.released = true;
        }
        self.look_for_orphans().await?;
        if !self.active.is_empty() {
            self.renew().await?;
            self.read_mail().await?;
        }
        let looked_at = self.shared.clock.now();
        self.claim(looked_at).await?;
        let pause = self.settings.poll.min(self.settings.lease / 3);
        if self.active.len() >= self.settings.threads_max {
            return Ok(pause);
        }
        // What was due already and is still there is not for this worker.
        let wake = self.shared.store.next_wake().await?.filter(|moment| *moment > looked_at);
        Ok(wake.map_or(pause, |moment| pause.min(moment.since(self.shared.clock.now()))))
    }

    async fn renew(&mut self) -> Result<(), Error> {
        // The clock may jump; how long nobody has heard of us, only the monotonic one can say.
        let now = self.shared.clock.now();
        let third = self.settings.lease / 3;
        if self.renewed.elapsed() < third && now.since(self.renewed_at) < third {
            return Ok(());
        }
        let started = Instant::now();
        let until = now.plus(self.settings.lease);
        self.shared.store.renew(&self.shared.name, now, until).await?;
        (self.renewed, self.renewed_at) = (started, now);
        Ok(())
    }

    /// What came from another process; drives hear of what came in this one at once.
    async fn read_mail(&mut self) -> Result<(), Error> {
        let ticked = self.ticks.has_changed().unwrap_or(false);
        if self.looked_for_mail.elapsed() < self.settings.poll && !ticked {
            return Ok(());
        }
        self.looked_for_mail = Instant::now();
        for thread in self.shared.store.mail(&self.shared.name).await? {
            self.shared.hub.deliver(thread);
        }
        Ok(())
    }

    async fn look_for_orphans(&mut self) -> Result<(), Error> {
        if self.looked_for_orphans.is_some_and(|last| last.elapsed() < ORPHANS_EVERY) {
            return Ok(());
        }
        self.looked_for_orphans = Some(Instant::now());
        let Shared { archive, registry, .. } = &*self.shared;
        let known = (registry, &self.settings.elsewhere);
        orphans(&mut self.orphans, archive.as_ref(), known).await
    }

    async fn claim(&mut self, now: Timestamp) -> Result<(), Error> {
        let threads_max = self.settings.threads_max.saturating_sub(self.active.len());
        if threads_max == 0 {
            return Ok(());
        }
        let started = Instant::now();
        let mut programs = self.known().to_vec();
        programs.extend_from_slice(&self.orphans.movable);
        let claim = Claim {
            worker: self.shared.name.clone(),
            now,
            lease_until: now.plus(self.settings.lease),
            threads_max,
            programs,
        };
        let claimed = self.shared.store.claim(claim).await;
        if matches!(claimed, Err(Error::Ambiguous(_))) {
            // There may be claims that nobody drives.
            self.give_up_threads();
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
        let thread = claimed.loaded.thread.id;
        let Some((program, is_its_own)) = self.program_for(&claimed) else {
            error!(thread_id = %thread, "no such program");
            return;
        };
        let (observer, clock) = (self.shared.observer.clone(), Arc::clone(&self.shared.clock));
        let graph = &program.graph().name;
        let execution = Execution::of(claimed.fence, &claimed.loaded, graph, clock.now());
        let watched = Arc::new(Watched::new(observer, execution, clock));
        let mail = Arc::new(Notify::new());
        self.shared.hub.drives_now(thread, Arc::clone(&mail));
        let around = Surroundings {
            store: Arc::clone(&self.shared.store),
            archive: Arc::clone(&self.shared.archive),
            clock: Arc::clone(&self.shared.clock),
            hub: Arc::clone(&self.shared.hub),
            cache: self.shared.cache.clone(),
            watched,
            lifeline: self.lifeline.for_run(),
            draining: self.draining.clone(),
            mail: Arc::clone(&mail),
            ticks: self.ticks.clone(),
        };
        let work = async move {
            let claimed = match is_its_own {
                true => Some(claimed),
                false => {
                    let ports = (&around.store, &around.archive, &around.clock);
                    Box::pin(bring_over(claimed, program.clone(), ports, &around.lifeline)).await
                }
            };
            if let Some(claimed) = claimed {
                drive(program, claimed, around).await;
            }
        };
        let work = self.drives.spawn(work);
        self.active.insert(work.id(), (thread, mail));
    }

    /// Every version that there is, those that have been added since it was last asked included.
    fn known(&mut self) -> &[Pinned] {
        if self.programs.len() < self.shared.registry.versions() {
            self.programs = self.shared.registry.pinned();
        }
        &self.programs
    }

    /// What the thread goes on with, and whether that is the version that it is of.
    fn program_for(&self, claimed: &Claimed) -> Option<(Program, bool)> {
        let pinned = claimed.loaded.thread.program.as_ref()?;
        let registry = &self.shared.registry;
        if let Some(program) = registry.get(&pinned.graph, &pinned.version) {
            return Some((program, true));
        }
        let current = registry.current(&pinned.graph).ok()?;
        Some((current, false))
    }

    fn forget(&mut self, joined: Result<(Id, ()), JoinError>) {
        let id = match joined {
            Ok((id, ())) => id,
            Err(problem) => {
                error!(%problem, "a thread's loop has ended unexpectedly");
                problem.id()
            }
        };
        if let Some((thread, mail)) = self.active.remove(&id) {
            self.shared.hub.drives_no_more(thread, &mail);
        }
    }

    /// Whoever cannot renew in time must stop: another worker may have the threads by now.
    fn give_up_late_threads(&mut self) {
        if !self.active.is_empty() && self.renewed.elapsed() >= self.settings.lease * 4 / 5 {
            error!("the lease could not be renewed");
            self.give_up_threads();
        }
    }

    /// They are taken up again from what is stored.
    fn give_up_threads(&mut self) {
        warn!(threads = self.active.len(), "the worker starts afresh");
        self.drives = JoinSet::new();
        for (thread, mail) in std::mem::take(&mut self.active).into_values() {
            self.shared.hub.drives_no_more(thread, &mail);
        }
        self.released = false;
    }

    async fn leave(mut self) -> Result<(), Error> {
        self.draining.cancel();
        let all = async { while self.drives.join_next().await.is_some() {} };
        if tokio::time::timeout(self.settings.drain, all).await.is_err() {
            info!(threads = self.drives.len(), "tasks still ran at the end of the drain");
            self.drives = JoinSet::new();
        }
        if let Some(fatal) = self.lifeline.fatal() {
            return Err(fatal);
        }
        self.shared.store.release(&self.shared.name).await
    }
}
