//! Threads of other versions of their graph: `agentry runs migrate`, and what `agentry check` says of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentry_backends::sqlite::OpenError;
use agentry_core::{Caller, ThreadId};
use agentry_engine::durable::{Handle, Place, Retention, Settings, Tidied, Worker};
use agentry_engine::version::{Change, Outlook, Verdict};
use agentry_engine::{Program, Registry};
use agentry_graphs::{Graphs, Ports};
use anyhow::{Context as _, anyhow};
use serde_json::{Map, Value, json};
use tokio_util::task::TaskTracker;

use crate::cli::{Context, Ended, Exit};
use crate::clock::SystemClock;
use crate::config::{Config, Storage};
use crate::graphs::{self, Definitions};
use crate::operate::runtime;
use crate::wiring;
use crate::wiring::graphs::Outside;
use crate::wiring::storage::Stores;

/// For whom nothing is run.
const NAME: &str = "migrate";
/// So many threads are looked at in one go.
const PAGE: usize = 200;
/// So many of each graph `agentry check` looks at.
const CHECKED_MAX: usize = 1_000;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// One of graphs/
    graph: String,
    /// Only this thread
    #[arg(long, value_name = "ID")]
    thread: Option<ThreadId>,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Programs of all graphs, those of graphs/old first.
pub(crate) fn programs(definitions: &Definitions, ports: &Arc<Ports>) -> anyhow::Result<Programs> {
    let of = |graphs: &Graphs| graphs.programs(ports).context("make the graphs");
    let older = definitions.older.iter().map(of).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Programs { older: older.into_iter().flatten().collect(), current: of(&definitions.graphs)? })
}

pub(crate) struct Programs {
    pub(crate) older: Vec<Program>,
    pub(crate) current: Vec<Program>,
}

impl Programs {
    pub(crate) fn into_registry(self) -> Registry {
        let Self { older, current } = self;
        older.into_iter().chain(current).fold(Registry::new(), Registry::with)
    }
}

pub(crate) fn migrate(cx: &Context, options: &Options) -> Result<Exit, Ended> {
    let usage = |error| Ended { exit: Exit::Usage, error };
    let config = cx.config()?;
    let definitions = graphs::load(cx, &config)?;
    let Options { graph, thread, dry_run } = options;
    if definitions.graphs.get(graph).is_none() {
        let known: Vec<&str> = definitions.graphs.names().collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(usage(anyhow!("there is no graph `{graph}` in graphs/; there are: {known}")));
    }
    runtime()?.block_on(async {
        let handle = open(cx, &config, &definitions).await?;
        let version = handle.registry().current(graph).context("find the graph")?;
        let version = version.version().to_owned();
        let mut told = Told { cx, threads: Vec::new(), counts: BTreeMap::new() };
        if let Some(thread) = thread {
            let found = handle.outlook(*thread).await.context("look at the thread")?;
            let found = found.filter(|found| found.from.graph == *graph);
            let found =
                found.ok_or_else(|| usage(anyhow!("there is no thread {thread} of `{graph}`")))?;
            told.tell(done(&handle, found, *dry_run).await.context("move a thread")?);
        } else {
            let mut offset = 0;
            loop {
                let page = handle.outlooks(graph, offset, PAGE).await.context("look at threads")?;
                let count = page.len();
                for outlook in page {
                    told.tell(done(&handle, outlook, *dry_run).await.context("move a thread")?);
                }
                // Moving one does not change its place among them.
                offset += PAGE;
                if count < PAGE {
                    break;
                }
            }
        }
        Ok(told.end((graph, &version), *dry_run))
    })
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Compact {
    /// Only this thread, whenever it was used
    #[arg(long, value_name = "ID", conflicts_with = "unused_days")]
    thread: Option<ThreadId>,
    /// Threads that were not used for so many days
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    unused_days: u64,
    /// Say how many histories would be cut, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Cuts histories, and changes nothing else.
pub(crate) fn compact(cx: &Context, options: &Compact) -> Result<Exit, Ended> {
    let config = cx.config()?;
    let definitions = graphs::load(cx, &config)?;
    let Compact { thread, unused_days, dry_run } = options;
    runtime()?.block_on(async {
        let handle = open(cx, &config, &definitions).await?;
        let mut told = Tidied::default();
        if let (Some(thread), true) = (thread, *dry_run) {
            let found = handle.archive().thread(*thread).await.context("find the thread")?;
            if let Some(found) = found {
                let would = handle.would_compact(&found).await.context("look at the thread")?;
                told.cut = u64::from(would);
            }
        } else if let Some(thread) = thread {
            told.entries = handle.compact(*thread).await.context("cut the history")?;
            told.cut = u64::from(told.entries > 0);
        } else {
            let unused = Duration::from_secs(unused_days.saturating_mul(86_400));
            let retention = Retention { threads: None, history: Some(unused) };
            let mut place = Place::default();
            loop {
                let part = match dry_run {
                    true => handle.would_cut(unused, &mut place).await,
                    false => handle.tidy(retention, &mut place).await,
                };
                let part = part.context("cut histories")?;
                told.cut += part.cut;
                told.entries += part.entries;
                if !part.more {
                    break;
                }
            }
        }
        let Tidied { cut, entries, .. } = told;
        match (cx.terminal.json, dry_run) {
            (true, true) => cx.terminal.object(&json!({ "threads": cut, "dry_run": true })),
            (true, false) => cx.terminal.object(&json!({ "threads": cut, "entries": entries })),
            (false, true) => cx.terminal.data(format_args!(
                "the history of {cut} threads would be cut; nothing was changed"
            )),
            (false, false) => cx
                .terminal
                .data(format_args!("cut the history of {cut} threads: {entries} entries")),
        }
        Ok(Exit::Done)
    })
}

/// What became of a thread, or would.
pub(crate) async fn done(
    handle: &Handle,
    outlook: Outlook,
    dry_run: bool,
) -> Result<Outlook, agentry_engine::Error> {
    let moves = match outlook.verdict {
        Verdict::Fits | Verdict::Migrates { .. } => !dry_run,
        Verdict::Current | Verdict::Refused { .. } | Verdict::Busy => false,
    };
    if !moves {
        return Ok(outlook);
    }
    Ok(handle.migrate(outlook.thread).await?.unwrap_or(outlook))
}

async fn open(cx: &Context, config: &Config, definitions: &Definitions) -> Result<Handle, Ended> {
    if let Storage::Sqlite(path) = &config.storage
        && !Path::new(path).exists()
    {
        let error = anyhow!("there is no database {}: nothing has run yet", path.display());
        return Err(Ended { exit: Exit::Usage, error });
    }
    let stores = Stores::open(config).await.map_err(|Ended { exit, error }| {
        let in_use = matches!(error.downcast_ref::<OpenError>(), Some(OpenError::InUse { .. }));
        let error = match in_use {
            true => anyhow!(
                "{error}; an instance that runs moves threads itself as they go on, if on_change = \"migrate\""
            ),
            false => error,
        };
        Ended { exit, error }
    })?;
    let metrics = Arc::new(agentry_server::Metrics::new());
    let policies = agentry_gateway::Policies::default();
    let gateway = wiring::gateway(config, metrics, policies, &TaskTracker::new())?;
    let outside = Outside::new(cx, config, None);
    let ports = outside.ports(Arc::new(gateway), Caller::named(NAME), None);
    let ports = Ports { agents: definitions.agents.clone(), ..ports };
    let registry = programs(definitions, &Arc::new(ports))?.into_registry();
    let settings = Settings { name: wiring::random_id(), ..Settings::default() };
    let ports = (stores.threads.threads, stores.threads.archive);
    Ok(Worker::with(ports, registry, Arc::new(SystemClock), settings).handle())
}

struct Told<'a> {
    cx: &'a Context,
    threads: Vec<Outlook>,
    counts: BTreeMap<&'static str, usize>,
}

impl Told<'_> {
    fn tell(&mut self, outlook: Outlook) {
        let word = word(&outlook.verdict);
        *self.counts.entry(word).or_default() += 1;
        if outlook.verdict == Verdict::Current {
            return;
        }
        if self.cx.terminal.json {
            return self.threads.push(outlook);
        }
        let Outlook { thread, status, verdict, .. } = outlook;
        let status = serde_json::to_value(status).unwrap_or_default();
        let status = status.as_str().unwrap_or_default();
        self.cx.terminal.data(format_args!("{thread}  {status:<11}  {}", tell(&verdict)));
    }

    fn end(self, (graph, version): (&str, &str), dry_run: bool) -> Exit {
        let Self { cx, threads, counts } = self;
        let refused = counts.contains_key("refused");
        if cx.terminal.json {
            let counts: Map<String, Value> =
                counts.iter().map(|(word, count)| ((*word).to_owned(), json!(count))).collect();
            cx.terminal.object(&json!({
                "graph": graph, "version": version, "dry_run": dry_run, "counts": counts,
                "threads": threads,
            }));
        } else {
            let all = sentence(&counts);
            let all = if all.is_empty() { "no threads".to_owned() } else { all };
            let how = if dry_run { "nothing was changed" } else { "done" };
            cx.terminal.note(format_args!("{graph}, version {version}: {all}; {how}"));
        }
        if refused { Exit::Failed } else { Exit::Done }
    }
}

pub(crate) fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Current => "current",
        Verdict::Fits => "fits",
        Verdict::Migrates { .. } => "migrates",
        Verdict::Refused { .. } => "refused",
        Verdict::Busy => "busy",
    }
}

fn sentence(counts: &BTreeMap<&'static str, usize>) -> String {
    let part = |(word, count): (&&str, &usize)| match *word {
        "current" => format!("{count} of this version already"),
        "fits" => format!("{count} fit as they are"),
        "migrates" => format!("{count} with a state that changes"),
        "refused" => format!("{count} that cannot be moved"),
        _ => format!("{count} with something to do, moved by whoever does it"),
    };
    counts.iter().map(part).collect::<Vec<_>>().join(", ")
}

fn tell(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Current | Verdict::Fits | Verdict::Busy => word(verdict).to_owned(),
        Verdict::Refused { why } => format!("refused: {}", why.join("; ")),
        Verdict::Migrates { steps, changes } => {
            let change = |change: &Change| match change {
                Change::Added(key) => format!("+{key}"),
                Change::Removed(key) => format!("-{key}"),
                Change::Changed(key) => format!("~{key}"),
            };
            let changes: Vec<_> = changes.iter().map(change).collect();
            format!("migrates: {} ({})", changes.join(" "), steps.join(", "))
        }
    }
}

/// What would become of threads that are of another version than the graph here, a line for each graph that has some.
pub(crate) fn checked(cx: &Context, config: &Config, definitions: &Definitions) -> Vec<String> {
    match &config.storage {
        Storage::Memory => return Vec::new(),
        Storage::Sqlite(path) if !Path::new(path).exists() => return Vec::new(),
        Storage::Sqlite(_) | Storage::Postgres(_) => {}
    }
    let looked = runtime().and_then(|runtime| {
        runtime.block_on(async {
            let handle = open(cx, config, definitions).await?;
            let mut lines = Vec::new();
            for graph in definitions.graphs.names() {
                lines.extend(of_graph(&handle, graph).await?);
            }
            Ok(lines)
        })
    });
    looked.unwrap_or_else(|ended| vec![format!("were not looked at: {}", ended.error)])
}

async fn of_graph(handle: &Handle, graph: &str) -> anyhow::Result<Option<String>> {
    let policy = handle.registry().current(graph).context("find the graph")?.on_change();
    let outlooks = handle.outlooks(graph, 0, CHECKED_MAX).await.context("look at threads")?;
    let mut counts = BTreeMap::new();
    for outlook in outlooks.iter().filter(|it| it.verdict != Verdict::Current) {
        *counts.entry(word(&outlook.verdict)).or_default() += 1;
    }
    if counts.is_empty() {
        return Ok(None);
    }
    let policy = serde_json::to_value(policy).unwrap_or_default();
    Ok(Some(format!(
        "{graph} (on_change = {policy}), of earlier versions: {}; agentry runs migrate {graph} --dry-run says which",
        sentence(&counts)
    )))
}
