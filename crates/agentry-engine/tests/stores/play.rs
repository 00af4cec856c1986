//! One graph on one store: its runs, its questions and their answers, with workers that live as long as they may.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::thread::Run;
use agentry_core::threads::{At, Error, Submitted, ThreadStore, Threads};
use agentry_core::{Clock as _, RunId, ThreadId};
use agentry_engine::durable::{Elsewhere, Handle, Settings, Wish, Worker};
use agentry_engine::{Program, Registry, Request};
use agentry_testkit::{Crash, CrashStore, FakeClock};
use serde_json::{Map, Value};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::build::{Calls, program};
use crate::graphs::{Dice, further, scenario};
use crate::outcome::Outcome;

const ROUNDS: usize = 3;
const LEASE: Duration = Duration::from_secs(60);
/// Longer than any play takes; one that gets there has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A store.
#[derive(Clone)]
pub(crate) struct Stage {
    disk: Arc<dyn ThreadStore>,
    pub(crate) archive: Arc<dyn Threads>,
}

impl Stage {
    pub(crate) fn of<S: ThreadStore + Threads + 'static>(store: S) -> Self {
        let store = Arc::new(store);
        Self { disk: Arc::clone(&store) as _, archive: store }
    }
}

/// When workers die.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Crashes {
    Never,
    /// Before each commit and after it: two workers for each.
    AroundEach,
    /// After this one.
    After(u64),
}

impl Crashes {
    fn of(self, life: u32) -> Crash {
        match self {
            Self::Never => Crash::Never,
            Self::AroundEach if life.is_multiple_of(2) => Crash::Before(1),
            Self::AroundEach => Crash::After(1),
            Self::After(commit) if life == 0 => Crash::After(commit),
            Self::After(_) => Crash::Never,
        }
    }
}

pub(crate) struct Played {
    pub(crate) outcome: Outcome,
    pub(crate) entries: u64,
}

pub(crate) async fn play(stage: &Stage, seed: u64, crashes: Crashes) -> Played {
    let scenario = scenario(seed);
    let program = program(&scenario, &Calls::default()).unwrap();
    let mut player = Player::new(stage.clone(), program, (seed, crashes));
    let playing = player.play(scenario["runs"][0]["input"].as_object().unwrap().clone());
    let Ok(played) = tokio::time::timeout(PATIENCE, playing).await else {
        panic!("seed {seed}, {crashes:?}: it takes too long");
    };
    player.process.stop().await;
    played
}

struct Player {
    stage: Stage,
    program: Program,
    thread: ThreadId,
    seed: u64,
    crashes: Crashes,
    clock: Arc<FakeClock>,
    lives: u32,
    process: Process,
}

/// One life of a worker.
struct Process {
    handle: Handle,
    shutdown: CancellationToken,
    worker: JoinHandle<Result<(), Error>>,
}

impl Process {
    async fn stop(&mut self) {
        self.shutdown.cancel();
        // One that has died has said so.
        let _ = (&mut self.worker).await;
    }
}

impl Player {
    fn new(stage: Stage, program: Program, (seed, crashes): (u64, Crashes)) -> Self {
        let clock = Arc::<FakeClock>::default();
        let process = begin(&stage, &program, &clock, ((seed, crashes), 0));
        let thread = ThreadId::derived(clock.now(), &format!("{seed} {crashes:?}"));
        Self { stage, program, thread, seed, crashes, clock, lives: 1, process }
    }

    async fn play(&mut self, input: Map<String, Value>) -> Played {
        let mut dice = Dice::new(self.seed ^ 0xabcd);
        let mut runs = Vec::new();
        let mut request = Request::Input(input);
        for round in 0..=ROUNDS {
            runs.push(self.run(round, request).await);
            let view = self.process.handle.state(self.thread, "", At::Head).await.unwrap();
            let asked = view.map(|view| {
                view.interrupts().into_iter().map(|asked| asked.id.clone()).collect::<Vec<_>>()
            });
            request = further(asked.unwrap_or_default(), &mut dice);
        }
        let (archive, handle) = (&self.stage.archive, &self.process.handle);
        let entries = archive.thread(self.thread).await.unwrap().unwrap().seq.0;
        let outcome = Outcome::of((archive.as_ref(), handle), &self.program, self.thread, &runs);
        Played { outcome: outcome.await, entries }
    }

    /// One run to its end, over as many lives as it takes; says what became of its submission, and of it.
    async fn run(&mut self, round: usize, request: Request) -> (String, Option<Run>) {
        let now = self.clock.now();
        let key = format!("{} {:?} {round}", self.seed, self.crashes);
        let run = RunId::derived(now, &key);
        let graph = self.program.graph().name.clone();
        let submitted = loop {
            let wish = Wish::new(run, self.thread, &graph, request.clone(), now);
            match self.process.handle.submit(wish).await {
                Ok(Submitted::Created(_) | Submitted::Existing(_)) => break "taken".to_owned(),
                Ok(other) => return (format!("{other:?}"), None),
                Err(agentry_engine::Error::Store(Error::Fatal(_))) => self.bury().await,
                Err(problem) => return (problem.to_string(), None),
            }
        };
        loop {
            let ended = {
                let Process { handle, worker, .. } = &mut self.process;
                tokio::select! {
                    ended = handle.wait(run) => Some(ended.unwrap()),
                    _ = worker => None,
                }
            };
            match ended {
                Some(ended) => return (submitted, ended),
                None => self.next_life(),
            }
        }
    }

    /// Sees to it that a worker which has died is gone, and starts the next one.
    async fn bury(&mut self) {
        self.process.stop().await;
        self.next_life();
    }

    /// When the lease of the one before is over.
    fn next_life(&mut self) {
        self.clock.advance(LEASE + Duration::from_secs(1));
        let who = ((self.seed, self.crashes), self.lives);
        self.process = begin(&self.stage, &self.program, &self.clock, who);
        self.lives += 1;
    }
}

fn begin(
    stage: &Stage,
    program: &Program,
    clock: &Arc<FakeClock>,
    ((seed, crashes), life): ((u64, Crashes), u32),
) -> Process {
    let store = Arc::new(CrashStore::new(Arc::clone(&stage.disk), crashes.of(life)));
    let settings = Settings {
        // Each life is another worker's, which has to wait for the lease.
        name: format!("{seed} {crashes:?} {life}"),
        lease: LEASE,
        elsewhere: Elsewhere::Any,
        ..Settings::default()
    };
    let registry = Registry::new().with(program.clone());
    let (clock, ports) = (Arc::clone(clock), (store as _, Arc::clone(&stage.archive)));
    let worker = Worker::with(ports, registry, clock, settings);
    let (handle, shutdown) = (worker.handle(), CancellationToken::new());
    #[expect(clippy::disallowed_methods, reason = "the play owns the worker's handle")]
    let worker = tokio::spawn(worker.run(shutdown.clone()));
    Process { handle, shutdown, worker }
}
