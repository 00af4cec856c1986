//! `graphs/*.toml` and `graphs/*.json` beside the configuration, and the pictures of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agentry_agents::definition::Definition;
use agentry_core::outbound;
use agentry_core::tool::Toolbox;
use agentry_graphs::{Catalogue, File, Graphs, Http, Request, Response};
use agentry_notation::Problems;
use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use serde_json::json;

use crate::agents;
use crate::cli::{Context, Ended, Exit};
use crate::config::Config;

/// Where definitions are, as seen from the configuration.
pub(crate) const FOLDER: &str = "graphs";
/// Below it: folders with graphs as they were before.
const OLD: &str = "old";
/// More versions than these nobody keeps.
const OLD_MAX: usize = 100;
/// More files than this nobody wrote.
const FILES_MAX: usize = 1_000;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    /// The graphs that there are
    List,
    /// One graph
    Show {
        name: String,
        /// As a picture in Mermaid's language
        #[arg(long)]
        mermaid: bool,
    },
}

/// Why there are no graphs to go on with.
pub(crate) enum Error {
    Wrong(Vec<Problems>),
    Unreadable(anyhow::Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        let error = match error {
            Error::Unreadable(error) => error,
            Error::Wrong(wrong) => {
                let shown: Vec<String> = wrong.iter().map(ToString::to_string).collect();
                anyhow!("{}", shown.join("\n"))
            }
        };
        Self { exit: Exit::Usage, error }
    }
}

/// What a project has beside its configuration.
pub(crate) struct Definitions {
    pub(crate) graphs: Graphs,
    /// Earlier versions of them, for threads that stay with theirs: each folder of [`OLD`] by itself.
    pub(crate) older: Vec<Graphs>,
    pub(crate) agents: BTreeMap<String, Definition>,
}

/// All graphs and agents of a project, checked against what the configuration has.
pub(crate) fn load(cx: &Context, config: &Config) -> Result<Definitions, Error> {
    Source::of(cx, config).read(&agents::tools(config, &(Arc::new(Nobody) as Arc<_>)))
}

/// Where the definitions of a project are, and which models they may name.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) root: PathBuf,
    /// Nothing where it is not known: as long as nothing is set up.
    models: Option<BTreeSet<String>>,
}

impl Source {
    pub(crate) fn of(cx: &Context, config: &Config) -> Self {
        Self::at(root(cx, config), config)
    }

    pub(crate) fn at(root: PathBuf, config: &Config) -> Self {
        let models = config.models.iter().map(|model| model.name.clone());
        let models = (!config.models.is_empty()).then(|| models.collect());
        Self { root, models }
    }

    pub(crate) fn read(&self, tools: &Toolbox) -> Result<Definitions, Error> {
        let Self { root, models } = self;
        let agents = agents::read(root, models.as_ref(), tools);
        let files = files(root, FOLDER).map_err(Error::Unreadable)?;
        let known = agents.as_ref().ok().map(Catalogue::agents);
        let tools = Some(Catalogue::tools(tools));
        let catalogue = Catalogue { models: models.clone(), agents: known, tools };
        let older = older(root, &catalogue)?;
        match (agents, Graphs::read(&files, &catalogue)) {
            (Ok(agents), Ok(graphs)) => Ok(Definitions { graphs, older, agents }),
            (Err(Error::Unreadable(error)), _) => Err(Error::Unreadable(error)),
            (Err(Error::Wrong(mut wrong)), Err(more)) => {
                wrong.extend(more);
                Err(Error::Wrong(wrong))
            }
            (Err(Error::Wrong(wrong)), Ok(_)) | (Ok(_), Err(wrong)) => Err(Error::Wrong(wrong)),
        }
    }
}

fn older(root: &Path, catalogue: &Catalogue) -> Result<Vec<Graphs>, Error> {
    let folder = root.join(FOLDER).join(OLD);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let unreadable = |problem: std::io::Error| {
        Error::Unreadable(
            anyhow::Error::from(problem).context(format!("read {}", folder.display())),
        )
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.path().is_dir() {
            names.push(entry.file_name());
        }
    }
    if names.len() > OLD_MAX {
        let error = anyhow!("{} has more than {OLD_MAX} folders", folder.display());
        return Err(Error::Unreadable(error));
    }
    names.sort();
    let read = names.iter().map(|name| {
        let folder = Path::new(FOLDER).join(OLD).join(name);
        let files = files(root, &folder.to_string_lossy()).map_err(Error::Unreadable)?;
        Graphs::read(&files, catalogue).map_err(Error::Wrong)
    });
    read.collect()
}

/// Where definitions are only checked, nothing is called.
struct Nobody;

#[async_trait]
impl Http for Nobody {
    async fn send(&self, request: &Request, _: Duration) -> Result<Response, outbound::Error> {
        let (target, reason) = (request.url.clone(), "nothing is called from here".to_owned());
        Err(outbound::Error::Refused { target, reason })
    }
}

/// The folder of the project: where the configuration is, or would be.
pub(crate) fn root(cx: &Context, config: &Config) -> PathBuf {
    let root = config.file.as_deref().and_then(Path::parent);
    root.map_or_else(|| cx.at(Path::new("")), Path::to_owned)
}

pub(crate) fn files(root: &Path, folder: &str) -> anyhow::Result<Vec<File>> {
    let folder = root.join(folder);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("read {}", folder.display()))?.path();
        if path.extension().is_some_and(|ending| ending == "toml" || ending == "json") {
            paths.push(path);
        }
    }
    if paths.len() > FILES_MAX {
        return Err(anyhow!("{} has more than {FILES_MAX} files", folder.display()));
    }
    paths.sort();
    let read = paths.iter().map(|path| {
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let bytes = std::fs::read(path).with_context(|| format!("read {name}"))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| anyhow!("{name} is not UTF-8: save the file as UTF-8"))?;
        Ok(File { name, text })
    });
    read.collect()
}

/// `agentry graphs`: what there is, and how it looks.
pub(crate) fn run(cx: &Context, what: &What) -> Result<Exit, Ended> {
    let Definitions { graphs, .. } = load(cx, &cx.config()?)?;
    let known = || {
        let names: Vec<&str> = graphs.names().collect();
        if names.is_empty() { format!("there are none under {FOLDER}/") } else { names.join(", ") }
    };
    match what {
        What::List if cx.terminal.json => {
            cx.terminal.object(&json!({ "graphs": graphs.names().collect::<Vec<_>>() }));
        }
        What::List => {
            for name in graphs.names() {
                let about = graphs.get(name).and_then(|graph| graph.description.as_deref());
                cx.terminal.data(format_args!("{name}  {}", about.unwrap_or_default()));
            }
        }
        What::Show { name, mermaid } => {
            let Some(graph) = graphs.get(name) else {
                let error = anyhow!("there is no graph `{name}`; there are: {}", known());
                return Err(Ended { exit: Exit::Usage, error });
            };
            let nodes = graph.nodes.iter();
            if *mermaid {
                cx.terminal.data(graph.mermaid().trim_end());
            } else if cx.terminal.json {
                let nodes: serde_json::Map<_, _> =
                    nodes.map(|(name, node)| (name.clone(), node.kind.name().into())).collect();
                let description = &graph.description;
                cx.terminal
                    .object(&json!({ "name": name, "description": description, "nodes": nodes }));
            } else {
                cx.terminal.data(format_args!(
                    "{name}  {}",
                    graph.description.as_deref().unwrap_or_default()
                ));
                for (name, node) in nodes {
                    cx.terminal.data(format_args!("  {:<7}{name}", node.kind.name()));
                }
            }
        }
    }
    Ok(Exit::Done)
}
