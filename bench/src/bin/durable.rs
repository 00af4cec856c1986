//! What durable steps cost: whole graphs on a worker over SQLite, and over PostgreSQL where `AGENTRY_TEST_POSTGRES_URL` names
//! a server.
//!
//! `durable [PARKED [CASE]]`: how many runs shall wait for a person, and one case alone: `steps`, `alone`, `first`, `thread`,
//! `parked`, `growth`.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agentry_backends::postgres::PostgresStore;
use agentry_backends::sqlite::SqliteStore;
use agentry_bench::{cpu, figure, provenance, say};
use agentry_core::run::{Answer, Values};
use agentry_core::thread::{EventId, RunStatus};
use agentry_core::threads::{At, ThreadStore, Threads};
use agentry_core::{Clock, RunId, Timestamp};
use agentry_engine::durable::{Handle, Heard, Settings, Wish, Worker};
use agentry_engine::node::from_fn;
use agentry_engine::{END, Graph, NodeOutput, Program, Reducer, Registry, Request, START};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// As the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONCURRENT: u64 = 64;
const PAYLOAD: usize = 1024;
/// What a slow disk may take for all of a case.
const PATIENCE: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do when even this cannot be written.
            let _ = say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    say(&provenance().to_string())?;
    let wanted = Wanted::parse(std::env::args().skip(1))?;
    runtime.block_on(async {
        on_sqlite(&wanted).await?;
        #[expect(clippy::disallowed_methods, reason = "a program of its own reads what it is told")]
        let url = std::env::var("AGENTRY_TEST_POSTGRES_URL");
        match url {
            Ok(url) => on_postgres(&url, &wanted).await,
            Err(_) => say("skipped: AGENTRY_TEST_POSTGRES_URL names no PostgreSQL"),
        }
    })
}

/// What is to be measured.
struct Wanted {
    parked: u64,
    case: Option<String>,
}

impl Wanted {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let parked = arguments.next().map_or(Ok(100_000), |count| count.parse());
        let parked = parked.context("the first argument is how many runs shall wait")?;
        let case = arguments.next();
        let known = ["steps", "alone", "first", "thread", "parked", "growth"];
        let fine = case.as_deref().is_none_or(|case| known.contains(&case));
        ensure!(fine, "the second argument is one of {}", known.join(", "));
        Ok(Self { parked, case })
    }

    fn has(&self, case: &str) -> bool {
        self.case.as_deref().is_none_or(|wanted| wanted == case)
    }
}

async fn on_sqlite(wanted: &Wanted) -> Result<()> {
    let folder = tempfile::tempdir_in(".").context("make a folder beside the sources")?;
    let file = |name: &str| folder.path().join(name);
    let bench = Bench::start("SQLite", SqliteStore::open(file("steps.db"))?)?;
    if wanted.has("steps") {
        bench.throughput(400).await?;
    }
    if wanted.has("alone") {
        bench.against_syncs(&file("syncs")).await?;
    }
    if wanted.has("first") {
        bench.first_step(300).await?;
    }
    if wanted.has("thread") {
        bench.long_thread(1_000).await?;
    }
    if wanted.has("parked") {
        bench.parked(wanted.parked).await?;
    }
    bench.stop().await?;
    if !wanted.has("growth") {
        return Ok(());
    }
    let bench = Bench::start("SQLite", SqliteStore::open(file("growth.db"))?)?;
    bench.grow(400, 40_000).await?;
    bench.stop().await?;
    let size: u64 = ["growth.db", "growth.db-wal"]
        .iter()
        .filter_map(|name| std::fs::metadata(file(name)).ok())
        .map(|found| found.len())
        .sum();
    let times = size as f64 / (400.0 * 40_000.0);
    figure("SQLite: 400 appends of 40 KB: storage for each byte", times, "x")
}

async fn on_postgres(url: &str, wanted: &Wanted) -> Result<()> {
    let separator = if url.contains('?') { '&' } else { '?' };
    let schema = format!("bench_{}", std::process::id());
    let store = PostgresStore::open(&format!("{url}{separator}schema={schema}")).await?;
    let bench = Bench::start("PostgreSQL", store)?;
    if wanted.has("steps") {
        bench.throughput(200).await?;
    }
    if wanted.has("alone") {
        let alone = bench.alone(200).await?;
        figure("PostgreSQL: one run alone: time per step", alone * 1e3, "ms")?;
    }
    if wanted.has("first") {
        bench.first_step(300).await?;
    }
    if wanted.has("parked") {
        bench.parked(wanted.parked).await?;
    }
    bench.stop().await
}

/// Seconds for one append of so many bytes and its sync: the median of many.
fn sync(path: &Path, bytes: usize) -> Result<f64> {
    let file = std::fs::File::create(path)?;
    let written = vec![7_u8; bytes];
    let mut took = Vec::new();
    for number in 0..100 {
        let started = Instant::now();
        file.write_all_at(&written, number * bytes as u64)?;
        file.sync_data()?;
        took.push(started.elapsed().as_secs_f64());
    }
    Ok(median(took))
}

/// What this process has handed to the system to be written, in bytes.
fn written() -> Result<f64> {
    let all = std::fs::read_to_string("/proc/self/io").context("read /proc/self/io")?;
    let line = all.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.context("it has `wchar`")?.parse().context("that is a number")
}

fn median(mut took: Vec<f64>) -> f64 {
    took.sort_by(f64::total_cmp);
    took.get(took.len() / 2).copied().unwrap_or(0.0)
}

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is where a program gets its time")]
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let micros = now.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
        Timestamp::from_micros(micros)
    }
}

/// A worker over one store, with the graphs of all cases.
struct Bench {
    /// What the store is called.
    store: &'static str,
    handle: Handle,
    shutdown: CancellationToken,
    worker: tokio::task::JoinHandle<Result<(), agentry_core::store::Error>>,
    /// When the node of `first` began.
    began: Arc<Mutex<Option<Instant>>>,
}

impl Bench {
    fn start<S: ThreadStore + Threads + 'static>(name: &'static str, store: S) -> Result<Self> {
        let began = Arc::new(Mutex::new(None));
        let registry = Registry::new()
            .with(looping()?)
            .with(appending()?)
            .with(asking()?)
            .with(first(Arc::clone(&began))?);
        let settings = Settings { threads_max: 256, ..Settings::default() };
        let worker = Worker::new(Arc::new(store), registry, Arc::new(Wall), settings);
        let (handle, shutdown) = (worker.handle(), CancellationToken::new());
        #[expect(clippy::disallowed_methods, reason = "its handle is kept and waited for")]
        let worker = tokio::spawn(worker.run(shutdown.clone()));
        Ok(Self { store: name, handle, shutdown, worker, began })
    }

    async fn stop(self) -> Result<()> {
        self.shutdown.cancel();
        self.worker.await.context("the worker ends")?.context("the store holds")
    }

    async fn submit(&self, graph: &str, input: Value) -> Result<RunId> {
        let now = Wall.now();
        let random: [u8; 10] = rand_bytes();
        let run = RunId::new(now, random);
        let Value::Object(input) = input else { unreachable!("inputs are objects") };
        let wish = Wish::new(run, run.own_thread(), graph, Request::Input(input), now);
        self.handle.submit(wish).await?;
        Ok(run)
    }

    async fn finish(&self, run: RunId) -> Result<()> {
        let waited = tokio::time::timeout(PATIENCE, self.handle.wait(run)).await;
        let status = waited.context("the run takes too long")??.map(|run| run.status);
        ensure!(status == Some(RunStatus::Success), "the run ends with {status:?}");
        Ok(())
    }

    /// As many runs at once, so many steps each.
    async fn throughput(&self, steps: u64) -> Result<()> {
        for warm in [true, false] {
            let steps = if warm { 10 } else { steps };
            let (used, started) = (cpu()?, Instant::now());
            let mut runs = Vec::new();
            for _ in 0..CONCURRENT {
                runs.push(self.submit("loop", json!({ "steps": steps })).await?);
            }
            for run in runs {
                self.finish(run).await?;
            }
            if warm {
                continue;
            }
            let (wall, all) = (started.elapsed().as_secs_f64(), (CONCURRENT * steps) as f64);
            let used = (cpu()? - used) * 1e6 / all;
            let store = self.store;
            figure(
                &format!("{store}: {CONCURRENT} runs at once: steps per second"),
                all / wall,
                "1/s",
            )?;
            figure(
                &format!("{store}: {CONCURRENT} runs at once: processor time per step"),
                used,
                "us",
            )?;
        }
        Ok(())
    }

    /// One run alone, and between its rounds what it costs just then to append and sync as many bytes as its steps write.
    async fn against_syncs(&self, path: &Path) -> Result<()> {
        const STEPS: u64 = 100;
        // The log has its size from here on: it is written anew from its beginning.
        self.alone(10 * STEPS).await?;
        let (mut alone, mut syncs, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..9 {
            let before = written()?;
            alone.push(self.alone(STEPS).await?);
            let bytes = (written()? - before) / STEPS as f64;
            syncs.push(sync(path, bytes as usize)?);
            sizes.push(bytes);
        }
        let (alone, sync) = (median(alone), median(syncs));
        figure("SQLite: one run alone: bytes written per step", median(sizes), "B")?;
        figure("SQLite: as many bytes appended and synced", sync * 1e3, "ms")?;
        figure("SQLite: one run alone: time per step", alone * 1e3, "ms")?;
        figure("SQLite: one run alone: times one append and its sync", alone / sync, "x")
    }

    /// Seconds per step of one run.
    async fn alone(&self, steps: u64) -> Result<f64> {
        let started = Instant::now();
        let run = self.submit("loop", json!({ "steps": steps })).await?;
        self.finish(run).await?;
        Ok(started.elapsed().as_secs_f64() / steps as f64)
    }

    /// From the acknowledged submission to the first line of the node, on an idle worker.
    async fn first_step(&self, times: usize) -> Result<()> {
        let mut took = Vec::new();
        for _ in 0..times {
            let submitted = Instant::now();
            let run = self.submit("first", json!({})).await?;
            self.finish(run).await?;
            let began = self.began.lock().unwrap_or_else(PoisonError::into_inner).take();
            took.push(began.context("the node ran")?.duration_since(submitted).as_secs_f64());
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
        self.quantiles("submission to first step", took)
    }

    /// Of seconds, in milliseconds.
    fn quantiles(&self, what: &str, mut took: Vec<f64>) -> Result<()> {
        took.sort_by(f64::total_cmp);
        let quantile =
            |part: f64| took.get((took.len() as f64 * part) as usize).copied().unwrap_or(0.0);
        let store = self.store;
        figure(&format!("{store}: {what}, p50"), quantile(0.5) * 1e3, "ms")?;
        figure(&format!("{store}: {what}, p99"), quantile(0.99) * 1e3, "ms")
    }

    async fn grow(&self, times: u64, bytes: usize) -> Result<()> {
        let run = self.submit("append", json!({ "steps": times, "bytes": bytes })).await?;
        self.finish(run).await
    }

    /// Loading a conversation of so many messages, in as many entries.
    async fn long_thread(&self, messages: u64) -> Result<()> {
        let run = self.submit("append", json!({ "steps": messages, "bytes": 200 })).await?;
        self.finish(run).await?;
        let mut took = Vec::new();
        for _ in 0..50 {
            let started = Instant::now();
            let state = self.handle.state(run.own_thread(), "", At::Head).await?;
            took.push(started.elapsed().as_secs_f64());
            let known = state.and_then(|view| view.values.get("items")?.as_array().map(Vec::len));
            ensure!(known == Some(messages as usize), "{known:?} messages are there");
        }
        let name = format!("SQLite: a thread of {messages} messages is loaded in");
        figure(&name, median(took) * 1e3, "ms")
    }

    /// Runs that wait for a person, and then get what they wait for, one after the other.
    async fn parked(&self, count: u64) -> Result<()> {
        // What is opened once, for any number of them, is open then.
        self.park(CONCURRENT * 4).await?;
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let (memory, alive, open) = (resident()?, tasks(), connections()?);
        let started = Instant::now();
        let mut some = Vec::new();
        for _ in 0..count.div_ceil(CONCURRENT * 4) {
            some.extend(self.park(CONCURRENT * 4).await?.first());
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let name = |what: &str| format!("{}: {count} runs wait for a person: {what}", self.store);
        figure(&name("seconds to get there"), started.elapsed().as_secs_f64(), "s")?;
        figure(&name("more tasks"), tasks() as f64 - alive as f64, "tasks")?;
        figure(&name("more connections"), connections()? - open, "connections")?;
        figure(&name("more memory"), (resident()? - memory) / 1e6, "MB")?;
        let mut took = Vec::new();
        for run in some.into_iter().take(200) {
            took.push(self.answered(run).await?);
        }
        self.quantiles(&format!("{count} runs wait for a person: from an answer to the end"), took)
    }

    /// Seconds from an answer to the end of the run that waited for it.
    async fn answered(&self, run: RunId) -> Result<f64> {
        let open = self.handle.archive().questions(Some(run.own_thread()), 1).await?;
        let open = open.first().context("the run has a question")?;
        let started = Instant::now();
        let answer = Answer { value: true.into(), actor: "bench".to_owned(), at: Wall.now() };
        let mut told = self.handle.follow(run.own_thread(), Some(run), EventId::default());
        self.handle.answer(run.own_thread(), &open.id, answer, Vec::new()).await?;
        let ended = async {
            while let Some(heard) = told.next().await? {
                if matches!(heard, Heard::Stored(told) if told.event.kind == "run.ended") {
                    return Ok(());
                }
            }
            anyhow::bail!("the run is gone")
        };
        tokio::time::timeout(PATIENCE, ended).await.context("the run takes too long")??;
        Ok(started.elapsed().as_secs_f64())
    }

    /// So many at once.
    async fn park(&self, count: u64) -> Result<Vec<RunId>> {
        let submitted = (0..count).map(|_| self.submit("ask", json!({})));
        let submitted = futures_util::future::try_join_all(submitted).await?;
        for run in &submitted {
            self.asks(*run).await?;
        }
        Ok(submitted)
    }

    async fn asks(&self, run: RunId) -> Result<()> {
        let waited = tokio::time::timeout(PATIENCE, self.handle.wait(run)).await;
        let status = waited.context("the run takes too long")??.map(|run| run.status);
        ensure!(status == Some(RunStatus::Interrupted), "the run stands at {status:?}");
        Ok(())
    }
}

/// Of this process, in bytes.
fn resident() -> Result<f64> {
    let pages = std::fs::read_to_string("/proc/self/statm").context("read /proc/self/statm")?;
    let pages: f64 = pages.split_whitespace().nth(1).context("it has two fields")?.parse()?;
    Ok(pages * 4096.0)
}

/// Open sockets of this process.
fn connections() -> Result<f64> {
    let open = std::fs::read_dir("/proc/self/fd").context("read /proc/self/fd")?;
    let links = open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    Ok(links.filter(|to| to.to_string_lossy().starts_with("socket:")).count() as f64)
}

fn rand_bytes() -> [u8; 10] {
    use std::hash::{BuildHasher as _, Hasher as _};
    let word = || std::hash::RandomState::new().build_hasher().finish().to_le_bytes();
    let mut bytes = [0; 10];
    let words = word().into_iter().chain(word());
    for (to, from) in bytes.iter_mut().zip(words) {
        *to = from;
    }
    bytes
}

fn number(state: &Values, name: &str) -> u64 {
    state.get(name).and_then(Value::as_u64).unwrap_or(0)
}

fn until_done(state: &Values) -> Vec<String> {
    let goes_on = number(state, "n") < number(state, "steps");
    vec![if goes_on { "f" } else { END }.to_owned()]
}

/// Each step replaces a kilobyte.
fn looping() -> Result<Program> {
    let node = from_fn(|_, state| {
        Box::pin(async move {
            let n = number(state, "n") + 1;
            let text = char::from(b'a' + (n % 26) as u8).to_string().repeat(PAYLOAD);
            Ok(NodeOutput::done().update("n", n).update("text", text))
        })
    });
    let graph = start("loop").channel("text", Reducer::Last).node("f", node).edge(START, "f");
    Ok(graph.choose("f", "on", ["f", END], until_done).build()?)
}

/// Each step appends an item.
fn appending() -> Result<Program> {
    let node = from_fn(|_, state| {
        Box::pin(async move {
            let (n, bytes) = (number(state, "n") + 1, number(state, "bytes") as usize);
            // No two alike, so that nothing can be stored once for both.
            let content: String = (0..bytes as u64 / 16)
                .map(|part| {
                    format!("{:016x}", (n << 32 | part).wrapping_mul(0x9e37_79b9_7f4a_7c15))
                })
                .collect();
            let item = json!({ "id": n, "content": content });
            Ok(NodeOutput::done().update("n", n).append("items", item))
        })
    });
    let graph = start("append")
        .channel("bytes", Reducer::Last)
        .channel("items", Reducer::Append)
        .node("f", node)
        .edge(START, "f");
    Ok(graph.choose("f", "on", ["f", END], until_done).build()?)
}

fn asking() -> Result<Program> {
    let node = from_fn(|cx, _| {
        Box::pin(async move {
            cx.interrupt(Value::from("may I?"))?;
            Ok(NodeOutput::done())
        })
    });
    Ok(start("ask").node("f", node).edge(START, "f").build()?)
}

fn first(began: Arc<Mutex<Option<Instant>>>) -> Result<Program> {
    let node = from_fn(move |_, _| {
        let began = Arc::clone(&began);
        Box::pin(async move {
            *began.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            Ok(NodeOutput::done())
        })
    });
    Ok(start("first").node("f", node).edge(START, "f").build()?)
}

fn start(name: &str) -> agentry_engine::GraphBuilder {
    Graph::builder(name)
        .open_ended()
        .steps_max(100_000)
        .channel("n", Reducer::Last)
        .channel("steps", Reducer::Last)
}
