//! A process's life: it works, gives itself work, answers questions, and writes down what it knows.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentry_core::run::Answer;
use agentry_core::store::Log;
use agentry_core::thread::{Multitask, RunStatus};
use agentry_core::threads::{RunQuery, Signalled, Submitted, ThreadStore, Threads};
use agentry_core::{Clock, RunId, ThreadId, Timestamp};
use agentry_engine::durable::{Handle, Settings, Wish, Worker};
use agentry_engine::{Registry, Request};
use serde_json::{Map, json};
use tokio_util::sync::CancellationToken;

use crate::noting::{Diary, Noting};
use crate::story::{crowded, program};

/// Every so many runs go to one of these many threads that are never alone.
const CROWDED_EVERY: u64 = 3;
const CROWDED: u64 = 4;
/// For every run to come to its end.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) trait Store: ThreadStore + Threads + Log + 'static {}

impl<S: ThreadStore + Threads + Log + 'static> Store for S {}

/// How much work a process gives itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) runs_max: u64,
    pub(crate) pause: Duration,
}

pub(crate) fn wall() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "this is the outermost shell of a test")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap()
}

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(i64::try_from(wall().as_micros()).unwrap())
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn worker<S: Store>(store: &Arc<S>, folder: &Path, settings: Settings) -> (Worker, Arc<Diary>) {
    let diary = Arc::new(Diary::open(folder));
    let registry = Registry::new().with(program(&diary)).with(crowded(&diary));
    let inner = Arc::<S>::clone(store);
    let noting = Noting { inner, diary: Arc::clone(&diary) };
    let ports = (Arc::new(noting) as _, Arc::<S>::clone(store) as _);
    (Worker::with(ports, registry, Arc::new(Wall), settings), diary)
}

/// Submits runs and answers questions until it is killed.
pub(crate) async fn live<S: Store>(store: Arc<S>, folder: &Path, settings: Settings, pace: Pace) {
    let (worker, diary) = worker(&store, folder, settings);
    let handle = worker.handle();
    let working = worker.run(CancellationToken::new());
    let submitting = async {
        for number in 0_u64.. {
            if number < pace.runs_max {
                submit(&handle, number, &diary).await;
            }
            if number >= pace.runs_max || !pace.pause.is_zero() {
                tokio::time::sleep(pace.pause.max(Duration::from_millis(5))).await;
            }
            answer(&handle, store.as_ref(), &diary).await;
        }
    };
    let (worked, ()) = tokio::join!(working, submitting);
    worked.unwrap();
}

/// Lets every run end.
pub(crate) async fn finish<S: Store>(store: &Arc<S>, folder: &Path, settings: Settings) {
    let (worker, diary) = worker(store, folder, settings);
    let (handle, shutdown) = (worker.handle(), CancellationToken::new());
    let finishing = async {
        while !all_over(store.as_ref()).await {
            answer(&handle, store.as_ref(), &diary).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        shutdown.cancel();
    };
    let both = async { tokio::join!(worker.run(shutdown.clone()), finishing) };
    tokio::time::timeout(PATIENCE, both).await.expect("every run ends").0.unwrap();
}

async fn all_over(store: &dyn Threads) -> bool {
    let runs = store.runs(RunQuery { max: 100_000, ..RunQuery::default() }).await.unwrap();
    runs.iter().all(|run| run.status.is_over() && run.status != RunStatus::Interrupted)
}

/// Whoever was not told asks again: a store that is away for a while is no reason to give up.
async fn insist<T>(call: impl AsyncFn() -> Result<T, agentry_engine::Error>) -> T {
    use agentry_core::store::Error::{Ambiguous, Overloaded, Unavailable};
    loop {
        match call().await {
            Ok(done) => return done,
            Err(agentry_engine::Error::Store(Ambiguous(_) | Overloaded | Unavailable(_))) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(problem) => panic!("{problem}"),
        }
    }
}

async fn submit(handle: &Handle, number: u64, diary: &Diary) {
    let key = format!("{}-{number}", std::process::id());
    let submitted = if number.is_multiple_of(CROWDED_EVERY) {
        let wish = join_in(&key, number);
        insist(async || handle.submit(wish.clone()).await).await
    } else {
        let new = handle.new_run("g", &key, Map::new()).unwrap();
        insist(async || handle.submit_run(new.clone()).await).await
    };
    match submitted {
        Submitted::Created(run) | Submitted::Existing(run) => {
            diary.note(&format!("submitted {run}"));
        }
        Submitted::Busy { .. } => {}
        other => panic!("{key}: {other:?}"),
    }
}

/// A run on a thread that others use too.
fn join_in(key: &str, number: u64) -> Wish {
    let (now, random) = (Wall.now(), u64::from(wall().subsec_micros()));
    let thread = ThreadId::derived(Timestamp::from_seconds(0), &format!("{}", random % CROWDED));
    let run = RunId::derived(now, key);
    let input = Map::from_iter([("seen".to_owned(), json!([run.to_string()]))]);
    let strategies =
        [Multitask::Enqueue, Multitask::Reject, Multitask::Interrupt, Multitask::Rollback];
    let strategy = (number / CROWDED_EVERY + random) % 4;
    let multitask = strategies[usize::try_from(strategy).unwrap()];
    Wish { multitask, ..Wish::new(run, thread, "crowded", Request::Input(input), now) }
}

async fn answer(handle: &Handle, store: &dyn Threads, diary: &Diary) {
    for question in insist(async || Ok(store.questions(None, 1_000).await?)).await {
        let value = json!(question.id);
        let answer = Answer { value, actor: "person:ada".to_owned(), at: Wall.now() };
        let (run, thread, id) = (question.run, question.thread, question.id);
        let call = async || handle.answer(thread, &id, answer.clone(), Vec::new()).await;
        if insist(call).await == Signalled::Accepted {
            diary.note(&format!("answered {run} {id}"));
        }
    }
}
