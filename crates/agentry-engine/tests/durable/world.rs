//! A store, a standing clock, a worker, and the patience to wait for what they do.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agentry_backends::memory::MemoryStore;
use agentry_backends::sqlite::SqliteStore;
use agentry_core::run::{Answer, Message, Seq, Values};
use agentry_core::thread::{
    Cancel, EventId, Interrupt, Loaded as Stored, Run, RunStatus, Status as ThreadStatus,
};
use agentry_core::threads::{At, From, Signalled, Submitted, ThreadStore, Threads};
use agentry_core::{Clock as _, RunId, Timestamp};
use agentry_engine::durable::{Handle, Settings, Worker};
use agentry_engine::{Program, Registry};
use agentry_testkit::{Crash, CrashStore, FakeClock};
use serde_json::{Map, Value, json};
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
    pub(crate) disk: Arc<dyn ThreadStore>,
    pub(crate) archive: Arc<dyn Threads>,
    _folder: Arc<tempfile::TempDir>,
}

impl World {
    pub(crate) fn new(backend: Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        match backend {
            Backend::Memory => Self::over(folder, Arc::new(MemoryStore::new())),
            Backend::Sqlite => {
                let store = SqliteStore::open(folder.path().join("a.db")).unwrap();
                Self::over(folder, Arc::new(store))
            }
        }
    }

    /// Whatever the test wants to look into beside this.
    pub(crate) fn over<S: ThreadStore + Threads + 'static>(
        folder: tempfile::TempDir,
        store: Arc<S>,
    ) -> Self {
        let disk: Arc<dyn ThreadStore> = Arc::<S>::clone(&store);
        Self { clock: Arc::default(), disk, archive: store, _folder: Arc::new(folder) }
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
        self.start_over(store, (registry, &program.graph().name), settings)
    }

    /// One that has several programs; runs are submitted to `graph`.
    pub(crate) fn start_among(
        &self,
        registry: Registry,
        graph: &str,
        settings: Settings,
    ) -> Process {
        let store = Arc::new(CrashStore::new(Arc::clone(&self.disk), Crash::Never));
        self.start_over(store, (registry, graph), settings)
    }

    fn start_over(
        &self,
        store: Arc<CrashStore>,
        (registry, graph): (Registry, &str),
        settings: Settings,
    ) -> Process {
        let clock = Arc::clone(&self.clock);
        let ports = (Arc::clone(&store) as _, Arc::clone(&self.archive));
        let worker = Worker::with(ports, registry, clock, settings);
        let (handle, shutdown) = (worker.handle(), CancellationToken::new());
        #[expect(clippy::disallowed_methods, reason = "the test owns the process's handle")]
        let worker = tokio::spawn(worker.run(shutdown.clone()));
        let (world, graph) = (self.clone(), graph.to_owned());
        Process { world, graph, store, handle, shutdown, worker }
    }

    pub(crate) async fn load(&self, run: RunId) -> Loaded {
        let run = self.archive.run(run).await.unwrap().unwrap();
        let Stored { thread, interrupts, .. } = self.disk.load(run.thread).await.unwrap().unwrap();
        let line = self.archive.line(run.thread, At::Head, From::Root).await.unwrap().unwrap();
        let mut values = Values::new();
        for write in line.entries.into_iter().flat_map(|entry| entry.writes) {
            if write.ns.is_empty() {
                write.delta.apply(&mut values, write.channel);
            }
        }
        let status = match (run.status, thread.status) {
            (RunStatus::Success, _) => Status::Succeeded,
            (RunStatus::Error, _) => Status::Failed,
            (RunStatus::Cancelled | RunStatus::Timeout | RunStatus::RolledBack, _) => {
                Status::Cancelled
            }
            (_, ThreadStatus::Ready) => Status::Ready,
            (..) => Status::Parked,
        };
        let (wake_at, seq, reason) = (thread.wake_at, thread.seq, run.reason.clone());
        Loaded { row: Row { status, reason, wake_at, seq }, run, values, interrupts }
    }

    pub(crate) async fn questions(&self) -> Vec<Interrupt> {
        self.archive.questions(None, 99).await.unwrap()
    }
}

/// Where a run stands, on a thread of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ready,
    Parked,
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) status: Status,
    pub(crate) reason: Option<String>,
    pub(crate) wake_at: Option<Timestamp>,
    pub(crate) seq: Seq,
}

#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) row: Row,
    pub(crate) run: Run,
    pub(crate) values: Values,
    pub(crate) interrupts: Vec<Interrupt>,
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
        let new = self.handle.new_run(&self.graph, key, Map::new()).unwrap();
        match self.handle.submit_run(new).await.unwrap() {
            Submitted::Created(run) | Submitted::Existing(run) => run,
            other => panic!("{other:?}"),
        }
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
        self.handle.send(run.own_thread(), message).await.unwrap();
    }

    pub(crate) async fn answer(&self, run: RunId, interrupt: &str, value: Value) -> Signalled {
        let at = self.world.clock.now();
        let answer = Answer { value, actor: "person:ada".to_owned(), at };
        self.handle.answer(run.own_thread(), interrupt, answer, Vec::new()).await.unwrap()
    }

    pub(crate) async fn cancel(&self, run: RunId, rollback: bool) -> Signalled {
        let at = self.world.clock.now();
        let cancel = Cancel { reason: "enough".to_owned(), at, rollback };
        let run = self.world.archive.run(run).await.unwrap().unwrap();
        self.handle.cancel((run.thread, run.id), cancel, Vec::new()).await.unwrap()
    }

    /// Waits until the stored run is as it should be.
    pub(crate) async fn until(&self, run: RunId, ready: impl Fn(&Loaded) -> bool) -> Loaded {
        let mut changes = self.store.changes();
        let waiting = async {
            loop {
                changes.mark_unchanged();
                let loaded = self.world.load(run).await;
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
        let over = |loaded: &Loaded| match loaded.row.status {
            Status::Ready | Status::Parked => false,
            Status::Succeeded | Status::Failed | Status::Cancelled => true,
        };
        self.until(run, over).await
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
        let run = self.world.archive.run(run).await.unwrap().unwrap();
        let events = self.world.archive.events(run.thread, None, EventId::default(), 1_000).await;
        for told in events.unwrap() {
            *kinds.entry(told.event.kind).or_default() += 1;
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
