//! A real process is killed again and again while it works. What it was told is stored stays stored, and what it has
//! finished is not done again.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "kill/noting.rs"]
mod noting;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentry_backends::sqlite::SqliteStore;
use agentry_core::audit::{self, Verifier};
use agentry_core::run::{Answer, Seq, Values};
use agentry_core::store::Log as _;
use agentry_core::thread::{Multitask, Run, RunStatus};
use agentry_core::threads::{
    At, From, RunQuery, Signalled, Submitted, ThreadStore as _, Threads as _,
};
use agentry_core::{Clock, RunId, ThreadId, Timestamp};
use agentry_engine::durable::{Handle, Settings, Wish, Worker, values};
use agentry_engine::effect::{self, Undone};
use agentry_engine::node::from_fn;
use agentry_engine::{
    Ask, Class, END, Graph, Node, NodeError, NodeOutput, Program, Reducer, Registry, Request, START,
};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::noting::Noting;

/// When `AGENTRY_KILLS` does not say otherwise.
const KILLS: u32 = 60;
/// What one process submits before it only works: so the last one can be done in time.
const RUNS_MAX: u64 = 12;
/// Every so many runs go to one of these many threads that are never alone.
const CROWDED_EVERY: u64 = 3;
const CROWDED: u64 = 4;
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let mut out = std::io::stdout();
    match arguments.get(1).map(String::as_str) {
        Some("victim") => victim(Path::new(&arguments[2])),
        // Test runners ask what there is.
        Some("--list") => {
            let ignored = arguments.iter().any(|argument| argument == "--ignored");
            let list = if ignored { "" } else { "kill: test\n" };
            out.write_all(list.as_bytes()).unwrap();
        }
        Some(seed) if seed.starts_with("seed=") => kill_repeatedly(seed[5..].parse().unwrap()),
        Some(_) | None => kill_repeatedly(u64::from(wall().subsec_nanos())),
    }
}

fn wall() -> Duration {
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

/// What the victim says it knows; a line is written at once and outlives the process.
struct Diary(File);

impl Diary {
    fn open(folder: &Path) -> Self {
        let mut options = OpenOptions::new();
        Self(options.create(true).append(true).open(folder.join("diary")).unwrap())
    }

    fn note(&self, line: &str) {
        (&self.0).write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

fn act(diary: &Arc<Diary>, class: Class) -> impl Node + 'static {
    let diary = Arc::clone(diary);
    from_fn(move |cx, _| {
        let diary = Arc::clone(&diary);
        Box::pin(async move {
            let (name, run) = (cx.node(), cx.run());
            let world = async |key: String| {
                diary.note(&format!("performed {run}/{name} {key}"));
                tokio::task::yield_now().await;
                Ok::<_, Undone>(json!("done"))
            };
            let outcome = match cx.effect("do", class, world).await {
                Ok(value) => {
                    diary.note(&format!("finished {run}/{name}"));
                    value
                }
                Err(effect::Error::Ambiguous { .. }) => json!("ambiguous"),
                Err(other) => return Err(NodeError::from(other)),
            };
            let entry = audit::Entry {
                at: cx.now(),
                actor: "agent".to_owned(),
                action: name.to_owned(),
                subject: run.to_string(),
                detail: Value::Null,
            };
            Ok(NodeOutput::done().set(name, outcome).audit(entry))
        })
    })
}

fn approve() -> impl Node + 'static {
    from_fn(|cx, _| {
        Box::pin(async move {
            let Some(reply) = cx.answer("ok") else {
                return Ok(NodeOutput::ask(Ask::question("ok", "?")));
            };
            Ok(NodeOutput::done().set("approve", reply.value.clone()))
        })
    })
}

fn program(diary: &Arc<Diary>) -> Program {
    ["ticket", "message", "approve", "act", "report"]
        .into_iter()
        .fold(Graph::builder("g"), |builder, name| builder.channel(name, Reducer::Last))
        .node("ticket", act(diary, Class::Idempotent))
        .node("message", act(diary, Class::Once))
        .node("approve", approve())
        .node("act", act(diary, Class::Once))
        .node("report", act(diary, Class::Idempotent))
        .fan_out(START, ["ticket", "message"])
        .join(["ticket", "message"], "approve")
        .edge("approve", "act")
        .edge("act", "report")
        .edge("report", END)
        .build()
        .unwrap()
}

/// For many runs on one thread: each says that it is there, acts, and says that it is done.
fn crowded(diary: &Arc<Diary>) -> Program {
    let done = from_fn(|cx, _| {
        Box::pin(async move { Ok(NodeOutput::done().append("done", cx.run().to_string())) })
    });
    Graph::builder("crowded")
        .channel("seen", Reducer::Append)
        .channel("done", Reducer::Append)
        .channel("pay", Reducer::Last)
        .node("pay", act(diary, Class::Once))
        .node("done", done)
        .edge(START, "pay")
        .edge("pay", "done")
        .edge("done", END)
        .build()
        .unwrap()
}

fn worker(folder: &Path) -> (Arc<SqliteStore>, Worker, Arc<Diary>) {
    let store = Arc::new(SqliteStore::open(folder.join("a.db")).unwrap());
    let diary = Arc::new(Diary::open(folder));
    let registry = Registry::new().with(program(&diary)).with(crowded(&diary));
    let noting = Noting { inner: Arc::clone(&store), diary: Arc::clone(&diary) };
    let ports = (Arc::new(noting) as _, Arc::clone(&store) as _);
    let worker = Worker::with(ports, registry, Arc::new(Wall), Settings::default());
    (store, worker, diary)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Submits runs and answers questions until it is killed.
fn victim(folder: &Path) {
    runtime().block_on(async {
        let (store, worker, diary) = worker(folder);
        let handle = worker.handle();
        let working = worker.run(CancellationToken::new());
        let submitting = async {
            std::io::stdout().write_all(b"ready\n").unwrap();
            for number in 0_u64.. {
                if number < RUNS_MAX {
                    submit(&handle, number, &diary).await;
                } else {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                answer(&handle, store.as_ref(), &diary).await;
            }
        };
        let (worked, ()) = tokio::join!(working, submitting);
        worked.unwrap();
    });
}

async fn submit(handle: &Handle, number: u64, diary: &Diary) {
    let key = format!("{}-{number}", std::process::id());
    let submitted = if number.is_multiple_of(CROWDED_EVERY) {
        handle.submit(join_in(&key, number)).await.unwrap()
    } else {
        let new = handle.new_run("g", &key, Map::new()).unwrap();
        handle.submit_run(new).await.unwrap()
    };
    match submitted {
        Submitted::Created(run) => diary.note(&format!("submitted {run}")),
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

async fn answer(handle: &Handle, store: &SqliteStore, diary: &Diary) {
    for question in store.questions(None, 1_000).await.unwrap() {
        let value = json!(question.id);
        let answer = Answer { value, actor: "person:ada".to_owned(), at: Wall.now() };
        let run = question.run;
        let thread = question.thread;
        let signalled = handle.answer(thread, &question.id, answer, Vec::new()).await.unwrap();
        if signalled == Signalled::Accepted {
            diary.note(&format!("answered {run} {}", question.id));
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn kill_repeatedly(seed: u64) {
    let mut out = std::io::stdout();
    writeln!(out, "test kill (repeat with seed={seed}) ...").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(seed | 1);
    let kills = kills();
    for _ in 0..kills {
        let mut victim = start(folder.path());
        std::thread::sleep(Duration::from_millis(random.below(200)));
        victim.kill().unwrap();
        victim.wait().unwrap();
    }
    let (runs, ambiguous) = check(folder.path());
    writeln!(out, "ok: {kills} kills, {runs} runs, {ambiguous} effects in doubt").unwrap();
}

fn kills() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "this is the outermost shell of a test")]
    let kills = std::env::var("AGENTRY_KILLS");
    kills.map_or(KILLS, |kills| kills.parse().expect("AGENTRY_KILLS is a number"))
}

fn start(folder: &Path) -> Child {
    let myself: PathBuf = std::env::current_exe().unwrap();
    let mut command = Command::new(myself);
    let mut victim =
        command.arg("victim").arg(folder).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(victim.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "the victim could not open what its predecessor left");
    victim
}

/// Lets every run end, then compares what is stored with what was known.
fn check(folder: &Path) -> (usize, usize) {
    let (facts, outcomes) = runtime().block_on(async {
        let (store, worker, diary) = worker(folder);
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
        verify_audit(store.as_ref()).await;
        let facts = Facts::of(folder);
        commits(store.as_ref(), &facts).await;
        (facts, outcomes(store.as_ref()).await)
    });
    facts.compare(&outcomes)
}

async fn all_over(store: &SqliteStore) -> bool {
    let runs = store.runs(RunQuery { max: 100_000, ..RunQuery::default() }).await.unwrap();
    runs.iter().all(|run| run.status.is_over() && run.status != RunStatus::Interrupted)
}

async fn verify_audit(store: &SqliteStore) {
    let mut verifier = Verifier::default();
    for record in store.audit(0, 1_000_000).await.unwrap() {
        verifier.check(&record).unwrap();
    }
}

async fn outcomes(store: &SqliteStore) -> BTreeMap<String, Values> {
    let mut outcomes = BTreeMap::new();
    for run in store.runs(RunQuery { max: 100_000, ..RunQuery::default() }).await.unwrap() {
        let loaded = store.load(run.thread).await.unwrap().unwrap();
        let values = values(&loaded);
        if run.program.graph == "crowded" {
            of_crowd(&run, &values);
        } else {
            assert_eq!(run.status, RunStatus::Success, "{}: {:?}", run.id, run.reason);
        }
        outcomes.insert(run.id.to_string(), values);
    }
    outcomes
}

/// What a run on a crowded thread added is there as often as its end says.
fn of_crowd(run: &Run, values: &Values) {
    let id = json!(run.id.to_string());
    let count = |channel: &str| {
        let list = values.get(channel).and_then(Value::as_array);
        list.map_or(0, |list| list.iter().filter(|one| **one == id).count())
    };
    let found = (count("seen"), count("done"));
    let fine = match run.status {
        RunStatus::Success => found == (1, 1),
        RunStatus::RolledBack => found == (0, 0),
        RunStatus::Cancelled => found.0 <= 1 && found.1 <= found.0,
        RunStatus::Pending
        | RunStatus::Running
        | RunStatus::Interrupted
        | RunStatus::Error
        | RunStatus::Timeout => false,
    };
    assert!(fine, "{} is {:?} ({:?}) and was seen {found:?}", run.id, run.status, run.reason);
}

/// Every commit that was acknowledged is there.
async fn commits(store: &SqliteStore, facts: &Facts) {
    for (thread, seqs) in &facts.committed {
        let id: ThreadId = thread.parse().unwrap();
        let mut known = BTreeSet::new();
        for seq in seqs.iter().rev() {
            if known.contains(seq) {
                continue;
            }
            let line = store.line(id, At::Seq(Seq(*seq)), From::Root).await.unwrap();
            let line = line.unwrap_or_else(|| panic!("commit {seq} of {thread} is lost"));
            known.extend(line.entries.iter().map(|entry| entry.seq.0));
            assert!(known.contains(seq), "commit {seq} of {thread} is lost");
        }
    }
}

#[derive(Default)]
struct Facts {
    submitted: BTreeSet<String>,
    answered: BTreeMap<String, String>,
    performed: BTreeMap<String, Vec<String>>,
    finished: BTreeSet<String>,
    committed: BTreeMap<String, BTreeSet<u64>>,
    journaled: BTreeSet<(String, String)>,
}

impl Facts {
    fn of(folder: &Path) -> Self {
        let mut facts = Self::default();
        for line in BufReader::new(File::open(folder.join("diary")).unwrap()).lines() {
            facts.read(&line.unwrap());
        }
        facts
    }

    fn read(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["submitted", run] => {
                self.submitted.insert(run.to_owned());
            }
            ["answered", run, answer] => {
                self.answered.insert(run.to_owned(), answer.to_owned());
            }
            ["performed", effect, key] => {
                assert!(!self.finished.contains(effect), "{effect} was done again");
                self.performed.entry(effect.to_owned()).or_default().push(key.to_owned());
            }
            ["finished", effect] => {
                self.finished.insert(effect.to_owned());
            }
            ["committed", thread, seq] => {
                let seqs = self.committed.entry(thread.to_owned()).or_default();
                let new = seqs.insert(seq.parse().unwrap());
                assert!(new, "commit {seq} of {thread} was acknowledged twice");
            }
            ["journaled", thread, key] => {
                let new = self.journaled.insert((thread.to_owned(), key.to_owned()));
                assert!(new, "effect {key} of {thread} was journaled twice");
            }
            _ => panic!("the diary says `{line}`"),
        }
    }

    /// Checks how often one effect was performed.
    fn is_in_doubt(&self, (run, name): (&str, &str), outcome: &Value, once: bool) -> bool {
        let keys = self.performed.get(&format!("{run}/{name}")).cloned().unwrap_or_default();
        let different: BTreeSet<_> = keys.iter().collect();
        assert!(different.len() <= 1, "{run}/{name}: {keys:?}");
        if outcome == "ambiguous" {
            assert!(once && keys.len() <= 1, "{run}/{name}: {keys:?}");
            return true;
        }
        assert!(!(keys.is_empty() || once && keys.len() > 1), "{run}/{name}: {keys:?}");
        false
    }

    fn compare(&self, outcomes: &BTreeMap<String, Values>) -> (usize, usize) {
        let mut ambiguous = 0;
        for run in &self.submitted {
            assert!(outcomes.contains_key(run), "{run} was submitted and is lost");
        }
        for (run, answer) in &self.answered {
            assert_eq!(outcomes[run]["approve"], json!(answer), "{run} has lost its answer");
        }
        for (run, values) in outcomes {
            if values.contains_key("seen") {
                let times = self.performed.get(&format!("{run}/pay")).map_or(0, Vec::len);
                assert!(times <= 1, "{run} has paid {times} times");
                continue;
            }
            for (name, once) in
                [("ticket", false), ("message", true), ("act", true), ("report", false)]
            {
                ambiguous += usize::from(self.is_in_doubt((run, name), &values[name], once));
            }
        }
        assert!(!outcomes.is_empty(), "nothing was submitted between the kills");
        (outcomes.len(), ambiguous)
    }
}
