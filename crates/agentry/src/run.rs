//! `agentry run`: a graph, or the agent that is always there, from the terminal, on the configured storage, without an instance that serves.
//!
//! For as long as it runs it is a worker like any other: a run that was left behind by one that has ended goes on here, if it
//! is of the same graph.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::thread::{Absent, Multitask, Priority, RunStatus};
use agentry_core::threads::Submitted;
use agentry_core::{Caller, Clock as _, RunId, ThreadId};
use agentry_engine::durable::{Elsewhere, Settings};
use agentry_graphs::{Graphs, Ports};
use agentry_server::engine::{
    Breakpoints, Command, Engine as _, Place, Resume, Subgraphs, Submission, Work,
};
use agentry_server::{Callers, Metrics, Refusal};
use anyhow::{Context as _, anyhow};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli::{Context, Ended, Exit};
use crate::clock::SystemClock;
use crate::config::{Config, Storage};
use crate::graphs::{self, Definitions};
use crate::signals::Signals;
use crate::terminal::{Terminal, harmless};
use crate::threads::{self, Durable, Speaking, chat};
use crate::versions::{self, Programs};
use crate::wiring::graphs::Outside;
use crate::wiring::policies::{self, Company};
use crate::wiring::storage::Stores;
use crate::wiring::{self, counting, watching};

mod elsewhere;
mod input;
mod progress;
mod question;
mod report;

use progress::Followed;
use question::Question;
use report::Report;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// One of graphs/ by its name, or `agent`
    graph: String,
    /// What it is given, field by field; what is no JSON is meant as text. For `agent`, what it is asked
    #[arg(value_name = "KEY=VALUE")]
    fields: Vec<String>,
    /// What it is given, as one object
    #[arg(long, value_name = "JSON")]
    input: Option<String>,
    /// What it goes by, as one object: the graph declares it under [config]
    #[arg(long, value_name = "JSON")]
    settings: Option<String>,
    /// Keep nothing: neither the run nor what it costs
    #[arg(long)]
    ephemeral: bool,
}

/// Of runs from the terminal, and what they are counted under.
const TENANT: &str = "main";
const CALLER: &str = "terminal";
/// How long nodes may go on when somebody wants it to stop.
const DRAIN: Duration = Duration::from_secs(2);

pub(crate) fn run(cx: &Context, options: &Options) -> Result<Exit, Ended> {
    let usage = |error| Ended { exit: Exit::Usage, error };
    let mut config = cx.config()?;
    if options.ephemeral {
        config.storage = Storage::Memory;
    }
    let definitions = graphs::load(cx, &config)?;
    let graphs = &definitions.graphs;
    let input = input::read(graphs, options).map_err(usage)?;
    let settings = input::settings(options).map_err(usage)?;
    if graphs.get(&options.graph).is_some() {
        let fits = graphs.check_config(&options.graph, &settings, true);
        fits.map_err(|problem| usage(anyhow::Error::from(problem)))?;
        let begun = graphs.begin(&options.graph, input.clone());
        begun.map_err(|problem| usage(anyhow::Error::from(problem)))?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::catch()?;
        let known = definitions.graphs.clone();
        let (desk, running) = match open(cx, &config, definitions, &options.graph).await {
            Ok((desk, running)) => (Desk { settings, ..desk }, running),
            Err(taken) if elsewhere::is_taken(&taken) => {
                let given = (input, settings);
                let there = elsewhere::run(cx, (&known, &options.graph), given, taken);
                return tokio::select! {
                    ended = there => ended,
                    () = signals.next() => Ok(Exit::Interrupted),
                };
            }
            Err(ended) => return Err(ended),
        };
        let ended = tokio::select! {
            ended = desk.run(input) => ended,
            () = signals.next() => {
                desk.tell_interrupted();
                Ok(Exit::Interrupted)
            }
        };
        tokio::select! {
            stopped = running.stop() => stopped.map_err(Ended::from).and(ended),
            () = signals.next() => Ok(Exit::Interrupted),
        }
    });
    // Whoever was asked may never say anything.
    runtime.shutdown_background();
    ended
}

/// What must run while a graph does.
struct Running {
    tasks: TaskTracker,
    worker: tokio::task::JoinHandle<Result<(), agentry_core::threads::Error>>,
    stop_worker: CancellationToken,
    stop_background: CancellationToken,
}

impl Running {
    /// First the worker, then what counts the calls that it has made.
    async fn stop(self) -> anyhow::Result<()> {
        let Self { tasks, worker, stop_worker, stop_background } = self;
        stop_worker.cancel();
        let worked = worker.await.context("stop the worker")?;
        stop_background.cancel();
        tasks.close();
        tasks.wait().await;
        worked.context("storage failed")
    }
}

async fn open(
    cx: &Context,
    config: &Config,
    definitions: Definitions,
    graph: &str,
) -> Result<(Desk, Running), Ended> {
    let usage = |error| Ended { exit: Exit::Usage, error };
    let agents = definitions.agents.clone();
    let Stores { ledger, threads, instance, .. } = Stores::open(config).await?;
    let company = Company::open(config, instance.clone()).map_err(usage)?;
    let outside = Outside::new(cx, config, company.shared.clone());
    let metrics = Arc::new(Metrics::new());
    let (policies, background) =
        policies::open(config, ledger, company, Arc::clone(&metrics)).await?;
    let client = agentry_http::Client::new(&agentry_http::Settings::default());
    let (tracer, exporter) = watching::tracing(config, client, &instance).map_err(usage)?.unzip();
    let heard = tracer.clone().map(|tracer| tracer as Arc<_>);
    let heard = watching::heard(Arc::clone(&metrics), heard);
    let observer = counting::observer(metrics, tracer);
    let gateway = wiring::gateway(config, heard, policies, background.tasks()).map_err(usage)?;
    let (gateway, clock) = (Arc::new(gateway), Arc::new(SystemClock));
    let programs = if definitions.graphs.get(graph).is_some() {
        let ports = Ports { agents, ..outside.ports(gateway, Caller::named(CALLER), None) };
        versions::programs(&definitions, &Arc::new(ports))?
    } else {
        let callers = Arc::new(Callers::new(None, Arc::clone(&clock) as Arc<_>));
        let archive = Arc::clone(&threads.archive);
        let agent =
            chat(Speaking { model: gateway, archive, callers }).context("make the agent")?;
        Programs { older: Vec::new(), current: vec![agent] }
    };
    let graphs = definitions.graphs;
    let stores = (threads.threads, threads.archive);
    let elsewhere = Elsewhere::Any;
    let settings = Settings { name: instance, drain: DRAIN, elsewhere, ..Settings::default() };
    let (worker, durable) =
        threads::open(stores, (programs, graphs.clone()), (clock, settings), observer);
    let (tasks, stop_worker, stop_background) =
        (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
    tasks.spawn(background.run(stop_background.clone()));
    if let Some((_, exporter)) = exporter {
        tasks.spawn(exporter.run(stop_background.clone()));
    }
    let worker = tasks.spawn(worker.run(stop_worker.clone()));
    let thread = ThreadId::derived(SystemClock.now(), &wiring::random_id());
    let (terminal, graph) = (cx.terminal, graph.to_owned());
    let kept = !matches!(config.storage, Storage::Memory);
    let settings = Map::new();
    let desk = Desk { terminal, durable, graphs, graph, thread, kept, settings };
    Ok((desk, Running { tasks, worker, stop_worker, stop_background }))
}

/// One thread, and whoever watches it.
struct Desk {
    terminal: Terminal,
    durable: Durable,
    graphs: Graphs,
    graph: String,
    thread: ThreadId,
    /// Whether the thread is still there when this process has ended.
    kept: bool,
    /// What it goes by.
    settings: Map<String, Value>,
}

impl Desk {
    async fn run(&self, input: Value) -> Result<Exit, Ended> {
        let mut work = Work::Input(input);
        loop {
            let run = self.submit(work).await?;
            let Followed { status, reason, spoke } =
                progress::follow(self, run).await.map_err(failed)?;
            let state = self.durable.state(self.thread, Place::head(), Subgraphs::Closed).await;
            let state = state.map_err(failed)?;
            match status {
                RunStatus::Success if spoke => {
                    self.terminal.data("");
                    return Ok(Exit::Done);
                }
                RunStatus::Success => {
                    let values = state.map(|state| state.values).unwrap_or_default();
                    return Ok(self.report(run).done(&values)?);
                }
                RunStatus::Interrupted => {
                    let asked = question::open(state.as_ref());
                    match question::ask(self.terminal, &asked).await {
                        Some(answers) => {
                            let resume = Some(Resume::Named(answers));
                            work = Work::Command(Command { resume, ..Command::default() });
                        }
                        None => return self.leave(run, &asked),
                    }
                }
                RunStatus::Pending
                | RunStatus::Running
                | RunStatus::Error
                | RunStatus::Timeout
                | RunStatus::Cancelled
                | RunStatus::RolledBack => {
                    let why = reason.unwrap_or_else(|| "no reason given".to_owned());
                    self.report(run).failed(&why);
                    let why = harmless(&why);
                    return Err(anyhow!("{} came to nothing: {why}", self.graph).into());
                }
            }
        }
    }

    async fn submit(&self, work: Work) -> Result<RunId, Ended> {
        let now = SystemClock.now();
        let mut metadata = Map::new();
        metadata.insert("graph_id".to_owned(), self.graph.as_str().into());
        metadata.insert("assistant_id".to_owned(), self.graph.as_str().into());
        let submission = Submission {
            thread: self.thread,
            run: RunId::derived(now, &wiring::random_id()),
            tenant: TENANT.to_owned(),
            actor: CALLER.to_owned(),
            key: None,
            graph: self.graph.clone(),
            work,
            from: None,
            steps_max: None,
            interrupt_before: Breakpoints::Nowhere,
            interrupt_after: Breakpoints::Nowhere,
            multitask: Multitask::Reject,
            priority: Priority::Normal,
            absent: Absent::Create,
            metadata,
            created: now,
            not_before: None,
            deadline: None,
        };
        let submission = submission.configured(self.settings.clone());
        match self.durable.submit(submission).await.map_err(failed)? {
            Submitted::Created(run) | Submitted::Existing(run) => Ok(run),
            Submitted::AlreadyAnswered { answer, .. } => {
                Err(anyhow!("{} has answered before, at {}", answer.actor, answer.at).into())
            }
            Submitted::NoInterrupt { .. } | Submitted::Busy { .. } => {
                Err(anyhow!("the answer came too late: the run has gone on without it").into())
            }
            Submitted::NoThread | Submitted::Foreign => Err(anyhow!("the thread is gone").into()),
        }
    }

    fn report(&self, run: RunId) -> Report<'_> {
        Report {
            terminal: self.terminal,
            graphs: &self.graphs,
            graph: &self.graph,
            thread: self.thread.to_string(),
            run: run.to_string(),
        }
    }

    /// Nobody is here to answer.
    fn leave(&self, run: RunId, asked: &[Question]) -> Result<Exit, Ended> {
        let report = self.report(run);
        report.asks(asked);
        if !self.kept {
            return Err(anyhow!(
                "there is nobody to ask, and nothing is kept: run it on a terminal, or with a [storage] that keeps runs"
            )
            .into());
        }
        report.waits(asked, "start `agentry serve`, then");
        Ok(Exit::Done)
    }

    fn tell_interrupted(&self) {
        match self.kept {
            true => self.terminal.note(format_args!(
                "stopping: what is under way goes on with `agentry serve`, on thread {}",
                self.thread
            )),
            false => self.terminal.note("stopping: nothing of it is kept"),
        }
    }
}

fn failed(refusal: Refusal) -> Ended {
    anyhow!("{}", refusal.message()).into()
}
