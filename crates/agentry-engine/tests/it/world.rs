//! A store, a standing clock, a worker, and the patience to wait for what they do.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agentry_backends::memory::MemoryStore;
use agentry_backends::sqlite::SqliteStore;
use agentry_core::run::{Loaded, Message, Status, Values};
use agentry_core::store::{RunStore, Submitted};
use agentry_core::{Clock as _, RunId};
use agentry_engine::{Handle, Program, Registry, Settings, Worker};
use agentry_testkit::{Crash, CrashStore, FakeClock};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes; a test that gets there has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
pub(crate) enum Backend {
    Memory,
    Sqlite,
}

/// What outlives a process.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) disk: Arc<dyn RunStore>,
    _folder: Arc<tempfile::TempDir>,
}

impl World {
    pub(crate) fn new(backend: Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk: Arc<dyn RunStore> = match backend {
            Backend::Memory => Arc::new(MemoryStore::new()),
            Backend::Sqlite => Arc::new(SqliteStore::open(folder.path().join("a.db")).unwrap()),
        };
        Self { clock: Arc::default(), disk, _folder: Arc::new(folder) }
    }

    pub(crate) fn start(&self, program: &Program) -> Process {
        self.start_with(program, Crash::Never, Settings::default())
    }

    pub(crate) fn start_with(
        &self,
        program: &Program,
        crash: Crash,
        settings: Settings,
    ) -> Process {
        let store = Arc::new(CrashStore::new(Arc::clone(&self.disk), crash));
        let registry = Registry::new().with(program.clone());
        let clock = Arc::clone(&self.clock);
        let worker = Worker::new(Arc::clone(&store) as _, registry, clock, settings);
        let (handle, shutdown) = (worker.handle(), CancellationToken::new());
        #[expect(clippy::disallowed_methods, reason = "the test owns the process's handle")]
        let worker = tokio::spawn(worker.run(shutdown.clone()));
        let (world, graph) = (self.clone(), program.graph().name.clone());
        Process { world, graph, store, handle, shutdown, worker }
    }
}

/// One life of a worker.
pub(crate) struct Process {
    pub(crate) world: World,
    pub(crate) graph: String,
    pub(crate) store: Arc<CrashStore>,
    pub(crate) handle: Handle,
    pub(crate) shutdown: CancellationToken,
    pub(crate) worker: JoinHandle<Result<(), agentry_core::store::Error>>,
}

impl Process {
    pub(crate) async fn submit(&self, key: &str) -> RunId {
        let new = self.handle.new_run(&self.graph, key, Values::new()).unwrap();
        let (Submitted::Created(run) | Submitted::Existing(run)) =
            self.handle.submit(new).await.unwrap();
        run
    }

    pub(crate) fn advance(&self, span: Duration) {
        self.world.clock.advance(span);
        self.handle.nudge();
    }

    pub(crate) async fn send(
        &self,
        run: RunId,
        id: &str,
        channel: &str,
        payload: impl Into<Value>,
    ) {
        let at = self.world.clock.now();
        let (id, channel) = (id.to_owned(), channel.to_owned());
        let message = Message { id, channel, payload: payload.into(), at };
        self.handle.send(run, message).await.unwrap();
    }

    /// Waits until the stored run is as it should be.
    pub(crate) async fn until(&self, run: RunId, ready: impl Fn(&Loaded) -> bool) -> Loaded {
        let mut changes = self.store.changes();
        let waiting = async {
            loop {
                changes.mark_unchanged();
                let loaded = self.world.disk.load(run).await.unwrap().unwrap();
                if ready(&loaded) {
                    return loaded;
                }
                changes.changed().await.unwrap();
            }
        };
        patiently(waiting).await
    }

    pub(crate) async fn until_parked(&self, run: RunId) -> Loaded {
        let loaded = self.until(run, |it| it.row.status != Status::Ready).await;
        assert_eq!(loaded.row.status, Status::Parked, "{:?}", loaded.row.reason);
        loaded
    }

    pub(crate) async fn finished(&self, run: RunId) -> Loaded {
        self.until(run, |loaded| loaded.row.status.is_final()).await
    }

    /// Waits for the end of a run that must succeed; answers its state.
    pub(crate) async fn values(&self, run: RunId) -> Value {
        let loaded = self.finished(run).await;
        assert_eq!(loaded.row.status, Status::Succeeded, "{:?}", loaded.row.reason);
        json!(loaded.values)
    }

    /// Waits for the end of a run that must not succeed; answers how and why it ended.
    pub(crate) async fn reason(&self, run: RunId) -> (Status, String) {
        let loaded = self.finished(run).await;
        (loaded.row.status, loaded.row.reason.unwrap_or_default())
    }

    pub(crate) async fn event_kinds(&self, run: RunId) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for stored in self.world.disk.events(run, 0, 1_000).await.unwrap() {
            *kinds.entry(stored.item.kind).or_default() += 1;
        }
        kinds
    }

    /// Ends the process as a signal to stop would.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        patiently(self.worker).await.unwrap().unwrap();
    }

    /// Ends the process as a power cut would.
    pub(crate) async fn kill(self) {
        self.worker.abort();
        let _ = patiently(self.worker).await;
    }
}

pub(crate) async fn patiently<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// A test for each backend.
macro_rules! over_both_stores {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test] async fn $name() {
                super::$name($crate::world::Backend::Memory).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test] async fn $name() {
                super::$name($crate::world::Backend::Sqlite).await;
            })*
        }
    };
}
pub(crate) use over_both_stores;
