//! Graphs as data: definitions in TOML or JSON, checked, and made into programs of the engine.
//!
//! [`Graphs::read`] reads files and finds everything that is wrong with them, each problem at its line and column;
//! [`Graphs::program`] makes a program of what was found good. A definition is data: templates and expressions in it are
//! evaluated within bounds, and nothing else is. What a graph needs from outside (models, agents, tools, other services)
//! it is handed as [`Ports`]; this crate opens no connection and no file.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use agentry_core::run::Values;
use agentry_core::{Code, Failure, Fault, Retry};
use agentry_engine::Program;
use agentry_notation::tree::{self, Table};
use agentry_notation::{Notes, Problem, Problems, Reader};
use serde_json::{Map, Value};

pub mod argument;
pub mod definition;
pub mod evolve;
pub mod expression;
pub mod ports;
pub mod template;
pub mod tool;
pub mod types;

mod check;
mod compile;
mod describe;
mod doors;
mod draw;
mod ending;
mod routes;
mod step;
mod view;
mod work;

pub use agentry_core::schema;
pub use definition::Definition;
pub use describe::Schemas;
pub use draw::mermaid;
pub use ports::{Catalogue, HeaderValue, Http, Payers, Ports, Request, Response};

/// A longer file is no graph.
const FILE_BYTES_MAX: usize = 1 << 20;

/// A file as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// As problems name it. What ends with `.json` is JSON, everything else TOML.
    pub name: String,
    pub text: String,
}

/// All graphs of a project, checked.
#[derive(Debug, Clone, Default)]
pub struct Graphs {
    definitions: BTreeMap<String, Definition>,
}

/// Why a graph cannot be made into a program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no graph `{0}`")]
    Unknown(String),
    #[error("graphs are nested too deeply at `{0}`")]
    Deep(String),
    #[error("the input is not good enough: {0}")]
    Input(String),
    #[error("the settings are not good enough: {0}")]
    Config(String),
    #[error(transparent)]
    Engine(#[from] agentry_engine::Error),
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Unknown(_) => Code("graph_unknown"),
            Self::Deep(_) => Code("graph_invalid"),
            Self::Input(_) | Self::Config(_) => Code("graph_input_invalid"),
            Self::Engine(error) => error.code(),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Unknown(_) | Self::Deep(_) | Self::Input(_) | Self::Config(_) => Fault::Caller,
            Self::Engine(error) => error.fault(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Unknown(_) | Self::Deep(_) | Self::Input(_) | Self::Config(_) => Retry::Never,
            Self::Engine(error) => error.retry(),
        }
    }
}

impl Graphs {
    /// Reads and checks all files together. What is wrong with them comes back file by file.
    pub fn read(files: &[File], catalogue: &Catalogue) -> Result<Self, Vec<Problems>> {
        let mut reading: Vec<_> = files.iter().map(Reading::start).collect();
        let mut definitions: BTreeMap<String, Definition> = BTreeMap::new();
        for file in &mut reading {
            let Some(definition) = file.definition.take() else { continue };
            let name = definition.name.clone();
            if definitions.contains_key(&name.value) {
                let message = format!("another file has a graph `{}` too", name.value);
                file.problems.push(Problem::new(name.place, message).help("give it another name"));
                continue;
            }
            file.name = Some(name.value.clone());
            definitions.insert(name.value, definition);
        }
        let complete = reading.iter().all(|file| file.name.is_some());
        let around = check::Around { graphs: &definitions, catalogue, complete };
        for file in &mut reading {
            let Some(definition) = file.name.as_ref().and_then(|name| definitions.get(name)) else {
                continue;
            };
            let environment = BTreeMap::new();
            let problems = RefCell::new(std::mem::take(&mut file.problems));
            let notes = Notes { problems, environment: &environment, folder: Path::new("") };
            check::check(definition, &around, &notes);
            file.problems = notes.problems.into_inner();
        }
        let wrong: Vec<_> = reading.into_iter().filter_map(Reading::finish).collect();
        if wrong.is_empty() { Ok(Self { definitions }) } else { Err(wrong) }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.definitions.keys().map(String::as_str)
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Definition> {
        self.definitions.get(name)
    }

    /// With the graphs of `before` that are not there any more.
    #[must_use]
    pub fn keeping(mut self, before: &Self) -> Self {
        for (name, definition) in &before.definitions {
            self.definitions.entry(name.clone()).or_insert_with(|| definition.clone());
        }
        self
    }

    pub fn program(&self, name: &str, ports: &Arc<Ports>) -> Result<Program, Error> {
        let definition = self.get(name).ok_or_else(|| Error::Unknown(name.to_owned()))?;
        compile::program(definition, &self.definitions, ports)
    }

    /// A program of every graph.
    pub fn programs(&self, ports: &Arc<Ports>) -> Result<Vec<Program>, Error> {
        self.names().map(|name| self.program(name, ports)).collect()
    }

    /// What a run is submitted with, from what it is given: an object whose fields are the graph's input, or keys of its
    /// state.
    pub fn begin(&self, name: &str, input: Value) -> Result<Values, Error> {
        let definition = self.get(name).ok_or_else(|| Error::Unknown(name.to_owned()))?;
        compile::Body::new(definition).begin(input).map_err(Error::Input)
    }

    /// Whether a run can go by these settings. One that goes on (`is_whole` is false) need not say all of them again.
    pub fn check_config(
        &self,
        name: &str,
        config: &Map<String, Value>,
        is_whole: bool,
    ) -> Result<(), Error> {
        let definition = self.get(name).ok_or_else(|| Error::Unknown(name.to_owned()))?;
        compile::Body::new(definition).check_config(config, is_whole).map_err(Error::Config)
    }

    /// What a finished run has come to: its `output`, or else its whole state.
    pub fn output(&self, name: &str, values: &Values) -> Result<Value, Error> {
        let definition = self.get(name).ok_or_else(|| Error::Unknown(name.to_owned()))?;
        compile::Body::new(definition).output(values).map_err(Error::Input)
    }
}

/// A file on its way to a definition.
struct Reading<'a> {
    file: &'a File,
    problems: Vec<Problem>,
    definition: Option<Definition>,
    /// Of the graph, once it is known to be the only one.
    name: Option<String>,
}

impl<'a> Reading<'a> {
    fn start(file: &'a File) -> Self {
        let reading = |problems, definition| Self { file, problems, definition, name: None };
        if file.text.len() > FILE_BYTES_MAX {
            let place = agentry_notation::Place::Nowhere;
            let message = format!("a graph has at most {FILE_BYTES_MAX} bytes");
            return reading(vec![Problem::new(place, message)], None);
        }
        let path = Path::new(&file.name);
        let is_json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
        let (table, problems) =
            if is_json { tree::parse_json(&file.text) } else { tree::parse(&file.text) };
        if !problems.is_empty() {
            return reading(problems, None);
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let environment = BTreeMap::new();
        let notes = Notes {
            problems: RefCell::default(),
            environment: &environment,
            folder: Path::new(""),
        };
        let written = written(&table);
        let root = Reader::root(table, &notes);
        let source = definition::Source { text: &file.text };
        let definition = definition::read(root, stem, &source, written);
        reading(notes.problems.into_inner(), Some(definition))
    }

    fn finish(self) -> Option<Problems> {
        let Self { file, problems, .. } = self;
        let wrong = !problems.is_empty();
        wrong.then(|| Problems::new(&file.name, &file.name, &file.text, problems))
    }
}

fn written(table: &Table) -> Value {
    tree::Value::Table(table.clone()).json().unwrap_or_default()
}
