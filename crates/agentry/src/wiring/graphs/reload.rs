//! Definitions are read again when their files change, or when somebody says so with SIGHUP. What is wrong changes nothing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use agentry_engine::Registry;
use agentry_graphs::Ports;
use agentry_server::Dependency;
use async_trait::async_trait;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Fresh;
use crate::graphs::{Definitions, Error, FOLDER, Source};
use crate::threads::Known;
use crate::versions::{self, Programs};

/// How often it is looked whether a file has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What definitions are made into, and where they are known.
pub(crate) struct Reload {
    source: Source,
    ports: Ports,
    registry: Registry,
    known: Known,
    standing: Standing,
    refreshed: watch::Receiver<Option<Arc<Fresh>>>,
    /// The files that are in use, or were found wrong.
    seen: Vec<Seen>,
}

/// A file, by what tells that it has changed.
type Seen = (PathBuf, Option<SystemTime>, u64);

/// What became of the last reading, for `/v1/status`.
#[derive(Clone)]
pub(crate) struct Standing(Arc<Mutex<Result<String, String>>>);

impl Reload {
    pub(crate) fn new(
        (source, ports): (Source, Ports),
        (registry, known): (Registry, Known),
        refreshed: watch::Receiver<Option<Arc<Fresh>>>,
    ) -> Self {
        let now = known.now();
        let standing = Standing::good(now.definitions.names().count(), ports.agents.len());
        let seen = look(&source.root);
        Self { source, ports, registry, known, standing, refreshed, seen }
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing.clone()
    }

    /// Until told to stop.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut hangups = signal(SignalKind::hangup()).ok();
        let mut changing: Option<Vec<Seen>> = None;
        while !shutdown.is_cancelled() {
            let asked = tokio::select! {
                () = shutdown.cancelled() => return,
                () = hangup(&mut hangups) => true,
                Ok(()) = self.refreshed.changed() => {
                    self.refresh();
                    true
                }
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            let root = self.source.root.clone();
            let Ok(found) = tokio::task::spawn_blocking(move || look(&root)).await else {
                continue;
            };
            // Whoever still writes is let finish.
            let rests = changing.replace(found.clone()).is_some_and(|before| before == found);
            if asked || (found != self.seen && rests) {
                self.seen = found;
                self.read().await;
            }
        }
    }

    /// Nodes that run meanwhile go on with what they began with.
    fn refresh(&mut self) {
        let Some(fresh) = self.refreshed.borrow_and_update().clone() else { return };
        let Fresh { source, tools, http } = &*fresh;
        self.source = source.clone();
        self.ports.tools = tools.clone();
        self.ports.http = Some(Arc::clone(http));
    }

    async fn read(&mut self) {
        let (source, tools) = (self.source.clone(), self.ports.tools.clone());
        let read = tokio::task::spawn_blocking(move || source.read(&tools)).await;
        let problem = match read {
            Ok(Ok(definitions)) => match self.take(definitions) {
                Ok(()) => return,
                Err(problem) => format!("{problem:#}"),
            },
            Ok(Err(Error::Unreadable(problem))) => format!("{problem:#}"),
            Ok(Err(Error::Wrong(wrong))) => {
                wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
            }
            Err(problem) => problem.to_string(),
        };
        error!(%problem, "definitions are wrong; those from before stay");
        self.standing.set(Err(problem));
    }

    /// All of them, or none.
    fn take(&mut self, definitions: Definitions) -> anyhow::Result<()> {
        let before = self.known.now();
        let is_gone = |name: &&str| definitions.graphs.get(name).is_none();
        let gone: Vec<&str> = before.definitions.names().filter(is_gone).collect();
        if !gone.is_empty() {
            let graphs = gone.join(", ");
            warn!(graphs, "files of graphs are gone; the graphs stay until the next start");
        }
        let graphs = definitions.graphs.keeping(&before.definitions);
        let definitions = Definitions { graphs, ..definitions };
        let ports = Ports { agents: definitions.agents.clone(), ..self.ports.clone() };
        let programs = versions::programs(&definitions, &Arc::new(ports.clone()))?;
        let Programs { older, current } = programs;
        for program in &current {
            let (graph, version) = (&program.graph().name, program.version());
            let known = self.registry.current(graph);
            if known.is_ok_and(|known| known.version() != version) {
                info!(graph, version, "a graph has changed; new runs are of this version");
            }
        }
        self.registry.add(older.into_iter().chain(current.iter().cloned()));
        let Definitions { graphs, agents, .. } = definitions;
        self.standing.set(Standing::shown(graphs.names().count(), agents.len()));
        self.known.replace(&current, graphs);
        self.ports = ports;
        Ok(())
    }
}

async fn hangup(hangups: &mut Option<Signal>) {
    let heard = match hangups {
        Some(hangups) => hangups.recv().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending::<()>().await;
    }
}

fn look(root: &Path) -> Vec<Seen> {
    let folders = [FOLDER, crate::agents::FOLDER].into_iter();
    let entries = folders.filter_map(|folder| std::fs::read_dir(root.join(folder)).ok()).flatten();
    let files = entries.flatten().filter_map(|entry| {
        let path = entry.path();
        let about = entry.metadata().ok()?;
        let counts = path.extension().is_some_and(|ending| ending == "toml" || ending == "json");
        counts.then(|| (path, about.modified().ok(), about.len()))
    });
    let mut files: Vec<Seen> = files.collect();
    files.sort();
    files
}

impl Standing {
    fn good(graphs: usize, agents: usize) -> Self {
        Self(Arc::new(Mutex::new(Self::shown(graphs, agents))))
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is what a good reading comes to")]
    fn shown(graphs: usize, agents: usize) -> Result<String, String> {
        Ok(format!("{graphs} graphs and {agents} agents"))
    }

    fn set(&self, now: Result<String, String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

#[async_trait]
impl Dependency for Standing {
    fn name(&self) -> &str {
        "definitions"
    }

    async fn check(&self) -> Result<String, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
