//! What the faces share.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agentry_core::idempotency::Idempotency;
use agentry_core::ledger::Ledger;
use agentry_core::trace::{Sampling, Trace};
use agentry_core::{Clock, Timestamp};
use agentry_gateway::Gateway;
use agentry_gateway::money::catalogue::{Catalogue, Current};
use agentry_gateway::watchdog;
use async_trait::async_trait;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::body::Reading;
use crate::idempotent::Once;
use crate::metrics::Metrics;
use crate::question::Answers;
use crate::{Approvals, Batching, Identity, IncidentDesk, Reload, Settings, Threading, assistants};

/// Everything that requests need. Build it, let faces add theirs, hand it to [`crate::serve`].
pub struct App {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) answers: Answers,
    /// Makes calls with an idempotency key; without it there are none.
    pub(crate) once: Option<Once>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) started: Timestamp,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) dependencies: Vec<Arc<dyn Dependency>>,
    /// Set when the server shall stop; `/ready` says so at once.
    pub(crate) stopping: CancellationToken,
    /// Owns what outlives a request by a little.
    pub(crate) tracker: TaskTracker,
    pub(crate) request_ids: RequestIds,
    pub(crate) batches: Option<Batching>,
    pub(crate) incidents: Option<Arc<dyn IncidentDesk>>,
    pub(crate) approvals: Option<Approvals>,
    pub(crate) identity: Identity,
    /// What is shown on `/v1/status` beside the dependencies: without them the work goes on.
    pub(crate) companions: Vec<Arc<dyn Dependency>>,
    /// Says what is wrong.
    pub(crate) watchdog: watchdog::Handle,
    /// What was used; without it nobody can ask.
    pub(crate) ledger: Option<Arc<dyn Ledger>>,
    pub(crate) catalogue: Current,
    /// Reads the configuration again; without it nobody can ask for that.
    pub(crate) reload: Option<Arc<dyn Reload>>,
    /// Nothing when calls are not traced.
    pub(crate) spans: Option<Spans>,
    pub(crate) threading: Option<Threading>,
    pub(crate) known_assistants: assistants::Known,
    /// Told when a cron may come earlier than was thought.
    pub(crate) crons_changed: Notify,
}

/// Something that the server cannot do its work without.
#[async_trait]
pub trait Dependency: Send + Sync {
    /// As `/ready` names it: `storage`, `models`.
    fn name(&self) -> &str;

    /// What is good about it, or what is wrong and what to do. It is given two seconds.
    async fn check(&self) -> Result<String, String>;
}

impl App {
    /// `metrics` is the observer that the gateway was built with.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        metrics.show(&gateway);
        let answers = Answers { gateway: Arc::clone(&gateway), clock: Arc::clone(&clock) };
        Self {
            gateway,
            answers,
            once: None,
            metrics,
            started: clock.now(),
            clock,
            settings: Arc::new(Settings::default()),
            dependencies: Vec::new(),
            stopping: CancellationToken::new(),
            tracker: TaskTracker::new(),
            request_ids: RequestIds::new(),
            batches: None,
            incidents: None,
            approvals: None,
            identity: Identity::open(),
            companions: Vec::new(),
            watchdog: watchdog::Handle::default(),
            ledger: None,
            catalogue: Current::new(Catalogue::embedded().unwrap_or_default()),
            reload: None,
            spans: None,
            threading: None,
            known_assistants: assistants::Known::default(),
            crons_changed: Notify::new(),
        }
    }

    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Arc::new(settings);
        self
    }

    /// Keeps the answers to calls that name a key, so that they are made once.
    #[must_use]
    pub fn idempotency(mut self, store: Arc<dyn Idempotency>) -> Self {
        let (clock, tracker) = (Arc::clone(&self.clock), self.tracker.clone());
        self.once = Some(Once { store, clock, tracker });
        self
    }

    /// Opens the faces for batches and their files.
    #[must_use]
    pub fn batches(mut self, batches: Batching) -> Self {
        self.batches = Some(batches);
        self
    }

    /// Opens the face for alerts and incidents.
    #[must_use]
    pub fn incidents(mut self, desk: Arc<dyn IncidentDesk>) -> Self {
        self.incidents = Some(desk);
        self
    }

    /// Opens the faces for threads and their runs, and for what goes with them.
    #[must_use]
    pub fn threading(mut self, threading: Threading) -> Self {
        self.threading = Some(threading);
        self
    }

    /// Opens the face for questions that wait for a person.
    #[must_use]
    pub fn approvals(mut self, approvals: Approvals) -> Self {
        self.approvals = Some(approvals);
        self
    }

    /// Lets in only whom `identity` knows. Without it, everybody on this machine.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = identity;
        self
    }

    /// Shows `companion` on `/v1/status`, and goes on without it.
    #[must_use]
    pub fn companion(mut self, companion: Arc<dyn Dependency>) -> Self {
        self.companions.push(companion);
        self
    }

    /// Shows which alerts are firing, and lets people acknowledge them.
    #[must_use]
    pub fn watchdog(mut self, watchdog: watchdog::Handle) -> Self {
        self.watchdog = watchdog;
        self
    }

    /// Opens the face for what was used.
    #[must_use]
    pub fn ledger(mut self, ledger: Arc<dyn Ledger>) -> Self {
        self.ledger = Some(ledger);
        self
    }

    /// What is known of models, where it is not what comes with this version.
    #[must_use]
    pub fn catalogue(mut self, catalogue: Current) -> Self {
        self.catalogue = catalogue;
        self
    }

    /// Lets operators have the configuration read again.
    #[must_use]
    pub fn reload(mut self, reload: Arc<dyn Reload>) -> Self {
        self.reload = Some(reload);
        self
    }

    /// Gives each call a span, below that of the caller if it names one.
    #[must_use]
    pub fn traced(mut self, sampling: Sampling) -> Self {
        self.spans = Some(Spans { names: RandomState::new(), next: AtomicU64::new(1), sampling });
        self
    }

    /// Shows `dependency` on `/ready`.
    #[must_use]
    pub fn dependency(mut self, dependency: Arc<dyn Dependency>) -> Self {
        self.dependencies.push(dependency);
        self
    }
}

impl App {
    pub(crate) fn reading(&self) -> Reading {
        Reading { limits: self.settings.body, tracker: self.tracker.clone() }
    }
}

impl App {
    /// A name that nothing else has.
    pub(crate) fn new_id(&self, prefix: &str) -> String {
        let id = self.request_ids.next();
        format!("{prefix}{}", id.strip_prefix("req_").unwrap_or(&id))
    }

    /// For ids that nobody else makes.
    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        self.request_ids.random()
    }
}

/// Names the spans of calls.
pub(crate) struct Spans {
    names: RandomState,
    next: AtomicU64,
    sampling: Sampling,
}

impl Spans {
    /// Below the caller's, if it has one.
    pub(crate) fn below(&self, parent: Option<Trace>) -> Trace {
        let word = || self.names.hash_one(self.next.fetch_add(1, Ordering::Relaxed));
        match parent {
            Some(parent) => parent.child(word()),
            None => {
                let id = (u128::from(word()) << 64) | u128::from(word());
                Trace::root(id, word(), self.sampling.takes(id))
            }
        }
    }
}

/// Makes ids that no other process makes.
pub(crate) struct RequestIds {
    process: u64,
    next: AtomicU64,
    secret: RandomState,
}

impl RequestIds {
    fn new() -> Self {
        // The standard library seeds every hasher from the system's randomness.
        Self {
            process: RandomState::new().build_hasher().finish(),
            next: AtomicU64::new(1),
            secret: RandomState::new(),
        }
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(8) {
            let word = self.secret.hash_one(self.next.fetch_add(1, Ordering::Relaxed));
            for (to, from) in chunk.iter_mut().zip(word.to_le_bytes()) {
                *to = from;
            }
        }
        bytes
    }

    pub(crate) fn next(&self) -> Arc<str> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("req_{:016x}{number:08x}", self.process).into()
    }
}
