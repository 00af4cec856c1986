//! A process may end at any write in the middle of a map, of a graph inside of it, or of an agent: what was done there is
//! not done again.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentry_agents::definition::{self, Around};
use agentry_backends::memory::MemoryStore;
use agentry_core::chat::ChatRequest;
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream, ModelError};
use agentry_core::run::Values;
use agentry_core::thread::RunStatus;
use agentry_core::threads::{At, From, Submitted, ThreadStore, Threads};
use agentry_core::tool::{Effect, Risks, Tool, ToolContext, ToolError, ToolOutput, ToolSpec};
use agentry_engine::durable::{Settings, Worker};
use agentry_engine::{Program, Registry};
use agentry_graphs::{Catalogue, File, Graphs, Ports};
use agentry_llm::scripted::{Script, Scripted};
use agentry_testkit::{Crash, CrashStore, FakeClock};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

const MAIN: &str = r#"
name = "main"
output = "said"
[state]
said = { reducer = "append" }
[nodes.each]
kind = "map"
over = "input.items"
concurrency = 2
into = "said"
node = { kind = "graph", graph = "one", input = { item = "${item}" } }
"#;

const ONE: &str = r#"
name = "one"
chain = ["note", "say"]
output = "{'item': input.item, 'said': said}"
[input]
item = "string"
[state]
note = "last"
said = "last"
[nodes.note]
kind = "tool"
tool = "note"
arguments = { text = "${input.item}" }
into = "note"
[nodes.say]
kind = "agent"
agent = "speaker"
input = "Say ${input.item}"
into = "said"
"#;

const SCRIPT: &str = r#"
[[rules]]
when = { user_contains = "Say", tool_results = true }
answer = { text = "said" }
[[rules]]
when = { user_contains = "Say" }
answer = { tool_calls = [{ name = "tell", arguments = { text = "aloud" } }] }
"#;

/// Counts how often it is asked.
struct Counting(Scripted, Arc<AtomicUsize>);

#[async_trait]
impl ChatModel for Counting {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn stream(
        &self,
        cx: &CallContext,
        request: ChatRequest,
    ) -> Result<ChatStream, ModelError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.stream(cx, request).await
    }
}

/// What the outside has seen of a tool: how often, by the key that a repetition has too.
type Seen = Arc<Mutex<BTreeMap<String, usize>>>;

struct Noting(ToolSpec, Seen);

#[async_trait]
impl Tool for Noting {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(&self, cx: &ToolContext, arguments: Value) -> Result<ToolOutput, ToolError> {
        *self.1.lock().unwrap().entry(cx.call_id.clone()).or_default() += 1;
        Ok(ToolOutput(arguments))
    }
}

struct World {
    store: Arc<MemoryStore>,
    program: Program,
    asked: Arc<AtomicUsize>,
    seen: BTreeMap<&'static str, Seen>,
}

impl World {
    fn new() -> Self {
        let asked = Arc::<AtomicUsize>::default();
        let script = Scripted::new(Script::from_toml(SCRIPT).unwrap());
        let mut ports = Ports::new(Arc::new(Counting(script, Arc::clone(&asked))));
        let mut seen = BTreeMap::new();
        for name in ["note", "tell"] {
            let parameters = json!({ "type": "object", "required": ["text"] });
            let (effect, risks) = (Effect::Idempotent, Risks::default());
            let (spec_name, description) = (name.to_owned(), String::new());
            let spec = ToolSpec { name: spec_name, description, parameters, effect, risks };
            let calls = Seen::default();
            seen.insert(name, Arc::clone(&calls));
            ports = ports.tool(Arc::new(Noting(spec, calls)));
        }
        let file = definition::File { name: "speaker.toml", text: "tools = [\"tell\"]" };
        let around = Around { models: None, tools: &ports.tools };
        ports.agents = definition::read(&[file], around).unwrap();
        let file = |name: &str, text: &str| File { name: name.to_owned(), text: text.to_owned() };
        let files = [file("main.toml", MAIN), file("one.toml", ONE)];
        let graphs = Graphs::read(&files, &Catalogue::default()).unwrap();
        let program = graphs.program("main", &Arc::new(ports)).unwrap();
        Self { store: Arc::new(MemoryStore::new()), program, asked, seen }
    }

    /// Runs until the end, or until the process dies; whether it got to the end.
    async fn live(&self, crash: Crash) -> bool {
        let store = Arc::new(CrashStore::new(Arc::clone(&self.store) as _, crash));
        let ports = (Arc::clone(&store) as Arc<dyn ThreadStore>, Arc::clone(&self.store) as _);
        let registry = Registry::new().with(self.program.clone());
        let clock = Arc::<FakeClock>::default();
        let worker = Worker::with(ports, registry, clock, Settings::default());
        let (handle, shutdown) = (worker.handle(), CancellationToken::new());
        let mut changes = store.changes();
        #[expect(clippy::disallowed_methods, reason = "the test owns the process's handle")]
        let worker = tokio::spawn(worker.run(shutdown.clone()));
        let input = json!({ "input": { "items": ["a", "b", "c"] } });
        let Value::Object(input) = input else { panic!("an object") };
        let run = match handle.submit_run(handle.new_run("main", "once", input).unwrap()).await {
            Ok(Submitted::Created(run) | Submitted::Existing(run)) => run,
            other => panic!("{other:?}"),
        };
        let ended = async {
            loop {
                changes.mark_unchanged();
                let status = self.store.run(run).await.unwrap().unwrap().status;
                if store.is_dead() || status.is_over() {
                    break (status, !store.is_dead());
                }
                // A death before a write changes nothing that would be told, so look again from time to time.
                let _ = tokio::time::timeout(Duration::from_millis(5), changes.changed()).await;
            }
        };
        let (status, alive) = tokio::time::timeout(PATIENCE, ended).await.unwrap();
        if alive {
            assert_eq!(status, RunStatus::Success);
            shutdown.cancel();
            worker.await.unwrap().unwrap();
        } else {
            worker.abort();
            let _ = worker.await;
        }
        alive
    }

    async fn said(&self) -> Value {
        let found = self
            .store
            .runs(agentry_core::threads::RunQuery { max: 1, ..Default::default() })
            .await
            .unwrap();
        let thread = found.first().unwrap().thread;
        let line = self.store.line(thread, At::Head, From::Root).await.unwrap().unwrap();
        let mut values = Values::new();
        for write in line.entries.into_iter().flat_map(|entry| entry.writes) {
            if write.ns.is_empty() {
                write.delta.apply(&mut values, write.channel);
            }
        }
        values.get("said").cloned().unwrap_or_default()
    }
}

#[tokio::test]
async fn a_crash_at_any_write_repeats_nothing_that_was_done() {
    let one = |item: &str| json!({ "item": item, "said": "said" });
    let expected = json!([one("a"), one("b"), one("c")]);
    let mut at = 1;
    loop {
        let mut ends = 0;
        for crash in [Crash::Before(at), Crash::After(at)] {
            let world = World::new();
            ends += usize::from(world.live(crash).await);
            if ends == 0 {
                assert!(world.live(Crash::Never).await);
            }
            assert_eq!(world.said().await, expected, "{crash:?}");
            for (name, seen) in &world.seen {
                let seen = seen.lock().unwrap();
                assert_eq!(seen.len(), 3, "{crash:?}: `{name}` once for each item");
                let calls: usize = seen.values().sum();
                assert!(calls <= 3 + 2, "{crash:?}: {calls} calls of `{name}`");
            }
            // What was under way when the process ended may be asked again, and nothing else.
            let asked = world.asked.load(Ordering::SeqCst);
            assert!((6..=8).contains(&asked), "{crash:?}: the model was asked {asked} times");
        }
        if ends == 2 {
            break;
        }
        at += 1;
    }
    assert!(at > 15, "only {at} writes");
}
