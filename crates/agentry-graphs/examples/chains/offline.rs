//! A world in which graphs run without a network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_agents::react::{self, Limits, Stop, Task};
use agentry_backends::memory::MemoryStore;
use agentry_core::model::{CallContext, ChatModel};
use agentry_core::run::{Answer, Status};
use agentry_core::store::{RunStore, Submitted};
use agentry_core::tool::{Effect, Risks, Tool, ToolContext, ToolError, ToolOutput, ToolSpec};
use agentry_core::{Clock, Timestamp};
use agentry_engine::{NodeError, Registry, Settings, Worker};
use agentry_graphs::{Agents, Catalogue, File, Graphs, Ports};
use agentry_llm::scripted::{Script, Scripted};
use anyhow::{Context as _, bail};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longer than any of these graphs takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a graph is given here, what people say to it, and what it must come to.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Case {
    pub(crate) input: Value,
    #[serde(default)]
    pub(crate) answers: Vec<Value>,
    pub(crate) output: Value,
}

pub(crate) struct World {
    pub(crate) graphs: Graphs,
    pub(crate) cases: BTreeMap<String, Case>,
    ports: Arc<Ports>,
}

/// How a run has ended.
pub(crate) struct Ended {
    pub(crate) output: Value,
    pub(crate) questions: Vec<String>,
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/graphs")
}

impl World {
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        let script = Script::from_toml(&read("model.toml")?)?;
        let model: Arc<dyn ChatModel> = Arc::new(Scripted::new(script));
        let mut ports = Ports::new(Arc::clone(&model));
        let notes = folder.join("notes");
        let tools: [Arc<dyn Tool>; 5] = [
            local("search_notes", "query", Effect::Read, &notes, search),
            local("read_note", "name", Effect::Read, &notes, read_note),
            local("count_words", "text", Effect::Read, &notes, count_words),
            local("store_rows", "rows", Effect::Idempotent, &notes, store_rows),
            local("page_somebody", "message", Effect::Once, &notes, page_somebody),
        ];
        for tool in tools {
            ports = ports.tool(tool);
        }
        let librarian = Librarian { model, tools: ports.tools.values().cloned().collect() };
        ports.agents = Some(Arc::new(librarian));
        let specs = ports.tools.iter().map(|(name, tool)| (name.clone(), tool.spec().clone()));
        let catalogue = Catalogue {
            models: Some(["default".to_owned()].into()),
            agents: Some(["librarian".to_owned()].into()),
            tools: Some(specs.collect()),
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let is_graph = name.ends_with(".toml") || name.ends_with(".json");
            if is_graph && !["model.toml", "cases.json"].contains(&name.as_str()) {
                files.push(File { text: read(&name)?, name });
            }
        }
        let graphs = match Graphs::read(&files, &catalogue) {
            Ok(graphs) => graphs,
            Err(wrong) => bail!(wrong.iter().map(ToString::to_string).collect::<String>()),
        };
        let cases = serde_json::from_str(&read("cases.json")?).context("read cases.json")?;
        Ok(Self { graphs, cases, ports: Arc::new(ports) })
    }

    /// Runs a graph to its end, with `answers` to what it asks, in their order.
    pub(crate) async fn run(
        &self,
        name: &str,
        input: Value,
        answers: &[Value],
    ) -> anyhow::Result<Ended> {
        let program = self.graphs.program(name, &self.ports)?;
        let store: Arc<dyn RunStore> = Arc::new(MemoryStore::new());
        let registry = Registry::new().with(program);
        let worker =
            Worker::new(Arc::clone(&store), registry, Arc::new(WallClock), Settings::default());
        let (handle, shutdown) = (worker.handle(), CancellationToken::new());
        let owner = TaskTracker::new();
        let working = owner.spawn(worker.run(shutdown.clone()));
        let run = handle.new_run(name, "example", self.graphs.begin(name, input)?)?;
        let (Submitted::Created(run) | Submitted::Existing(run)) = handle.submit(run).await?;
        let following = async {
            let (mut answers, mut questions) = (answers.iter(), Vec::new());
            loop {
                let loaded = store.load(run).await?.context("the run is gone")?;
                match loaded.row.status {
                    Status::Ready => tokio::task::yield_now().await,
                    Status::Succeeded => {
                        let output = self.graphs.output(name, &loaded.values)?;
                        return Ok(Ended { output, questions });
                    }
                    Status::Parked => {
                        let open = loaded.interrupts.iter().find(|open| open.answer.is_none());
                        let Some(open) = open else { continue };
                        let question =
                            open.question.as_ref().and_then(|it| it["question"].as_str());
                        questions.push(question.unwrap_or_default().to_owned());
                        let value = answers.next().context("nobody answers")?.clone();
                        let answer =
                            Answer { value, actor: "example".to_owned(), at: WallClock.now() };
                        handle.answer(run, &open.id, answer, Vec::new()).await?;
                    }
                    Status::Failed | Status::Cancelled => {
                        bail!("{name} failed: {}", loaded.row.reason.unwrap_or_default());
                    }
                }
            }
        };
        let ended = tokio::time::timeout(PATIENCE, following).await;
        shutdown.cancel();
        working.await??;
        ended.with_context(|| format!("{name} did not end"))?
    }
}

struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "somebody must read the clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp::from_micros(
            since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(0)),
        )
    }
}

/// An agent that looks things up in the notes.
struct Librarian {
    model: Arc<dyn ChatModel>,
    tools: Vec<Arc<dyn Tool>>,
}

#[async_trait]
impl Agents for Librarian {
    async fn run(&self, cx: &CallContext, _: &str, input: Value) -> Result<Value, NodeError> {
        let user = input.as_str().ok_or_else(|| NodeError::fatal("ask in words"))?;
        let task = Task { model: "default", system: "You know the notes.", user };
        let limits = Limits::until(Instant::now() + PATIENCE);
        let outcome = react::run(cx, self.model.as_ref(), &self.tools, task, &limits).await;
        match outcome.stop {
            Stop::Finished => Ok(outcome.text.into()),
            other => Err(NodeError::fatal(format!("the librarian has no answer: {other:?}"))),
        }
    }
}

type Act = fn(&Path, &Value) -> Result<Value, ToolError>;

/// A tool with one argument.
struct Local {
    spec: ToolSpec,
    argument: &'static str,
    notes: PathBuf,
    act: Act,
}

fn local(
    name: &str,
    argument: &'static str,
    effect: Effect,
    notes: &Path,
    act: Act,
) -> Arc<dyn Tool> {
    let parameters = json!({
        "type": "object", "properties": { argument: {} }, "required": [argument],
        "additionalProperties": false,
    });
    let (name, description) = (name.to_owned(), format!("works on the notes by their {argument}"));
    let spec = ToolSpec { name, description, parameters, effect, risks: Risks::default() };
    Arc::new(Local { spec, argument, notes: notes.to_owned(), act })
}

#[async_trait]
impl Tool for Local {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, _: &ToolContext, arguments: Value) -> Result<ToolOutput, ToolError> {
        let given = arguments.get(self.argument).ok_or_else(|| wrong("the argument is missing"))?;
        (self.act)(&self.notes, given).map(ToolOutput)
    }
}

fn wrong(reason: impl Into<String>) -> ToolError {
    ToolError::InvalidArguments { reason: reason.into() }
}

fn failed(reason: impl Into<String>) -> ToolError {
    ToolError::Failed { reason: reason.into() }
}

fn text(value: &Value) -> Result<&str, ToolError> {
    value.as_str().ok_or_else(|| wrong(format!("{value} is no text")))
}

fn search(notes: &Path, query: &Value) -> Result<Value, ToolError> {
    let query = text(query)?;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(notes).map_err(|error| failed(error.to_string()))? {
        let path = entry.map_err(|error| failed(error.to_string()))?.path();
        let said = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
        if said.contains(query) {
            names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
        }
    }
    names.sort();
    Ok(json!({ "names": names }))
}

fn read_note(notes: &Path, name: &Value) -> Result<Value, ToolError> {
    let name = text(name)?;
    if !name.chars().all(|letter| letter.is_ascii_alphanumeric()) {
        return Err(wrong(format!("`{name}` is no name of a note")));
    }
    let said = std::fs::read_to_string(notes.join(format!("{name}.txt")));
    let said = said.map_err(|error| failed(format!("the note `{name}`: {error}")))?;
    Ok(json!({ "text": said.trim() }))
}

fn count_words(_: &Path, said: &Value) -> Result<Value, ToolError> {
    Ok(json!({ "count": text(said)?.split_whitespace().count() }))
}

fn store_rows(_: &Path, rows: &Value) -> Result<Value, ToolError> {
    let rows = rows.as_array().ok_or_else(|| wrong("rows are a list"))?;
    match rows.iter().find(|row| row.as_str().is_none_or(|row| row.starts_with('('))) {
        Some(row) => {
            let shown = row.as_str().map_or_else(|| row.to_string(), str::to_owned);
            Err(wrong(format!("a row is empty of meaning: {shown}")))
        }
        None => Ok(json!({ "rows": rows.len() })),
    }
}

fn page_somebody(_: &Path, message: &Value) -> Result<Value, ToolError> {
    text(message)?;
    Err(failed("nobody is on call"))
}
