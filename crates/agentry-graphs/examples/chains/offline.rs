//! A world in which graphs run without a network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentry_agents::definition::{self, Around};
use agentry_core::model::ChatModel;
use agentry_core::tool::{Effect, Risks, Tool, ToolContext, ToolError, ToolOutput, ToolSpec};
use agentry_core::{Clock, Timestamp};
use agentry_engine::{Command, Local, Request, Rests, Resume};
use agentry_graphs::{Catalogue, File, Graphs, Ports};
use agentry_llm::scripted::{Script, Scripted};
use agentry_notation::Problems;
use anyhow::{Context as _, anyhow, bail};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

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
        let mut ports = Ports::new(model);
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
        let text = read("agents/librarian.toml")?;
        let files = [definition::File { name: "agents/librarian.toml", text: &text }];
        let around = Around { models: None, tools: &ports.tools };
        ports.agents = definition::read(&files, around).map_err(shown)?;
        let catalogue = Catalogue {
            models: Some(["default".to_owned()].into()),
            agents: Some(Catalogue::agents(&ports.agents)),
            tools: Some(Catalogue::tools(&ports.tools)),
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let is_graph = name.ends_with(".toml") || name.ends_with(".json");
            if is_graph && !["model.toml", "cases.json"].contains(&name.as_str()) {
                files.push(File { text: read(&name)?, name });
            }
        }
        let graphs = Graphs::read(&files, &catalogue).map_err(shown)?;
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
        let input = self.graphs.begin(name, input)?.into_iter().collect();
        let mut thread = Local::new(program, Arc::new(WallClock));
        thread.run(Request::Input(input)).await?;
        let (mut answers, mut questions) = (answers.iter(), Vec::new());
        loop {
            match thread.machine().rests() {
                Rests::Idle => {
                    let output = self.graphs.output(name, thread.machine().values())?;
                    return Ok(Ended { output, questions });
                }
                Rests::Interrupted => {
                    let view = thread.machine().view("").context("the state is gone")?;
                    let open = view.interrupts();
                    let asked = open.first().and_then(|open| open.value.get("question")?.as_str());
                    questions.push(asked.unwrap_or_default().to_owned());
                    let answer = answers.next().context("nobody answers")?.clone();
                    let resume = Some(Resume::One(answer));
                    thread.run(Request::Command(Command { resume, ..Command::default() })).await?;
                }
                other => bail!("{name} did not end: {other:?}"),
            }
        }
    }
}

fn shown(wrong: Vec<Problems>) -> anyhow::Error {
    anyhow!(wrong.iter().map(ToString::to_string).collect::<String>())
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

type Act = fn(&Path, &Value) -> Result<Value, ToolError>;

/// A tool with one argument.
struct NoteTool {
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
    Arc::new(NoteTool { spec, argument, notes: notes.to_owned(), act })
}

#[async_trait]
impl Tool for NoteTool {
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
