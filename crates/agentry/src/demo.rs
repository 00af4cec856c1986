//! `agentry demo`: starts a small real system, breaks it, lets the incident agent find it, reveals the truth.
//!
//! The agent sees what any customer's agent would: webhooks, and telemetry in files. It runs in this process behind its own
//! HTTP face; what broke is known only to the code in this module, and told only after the agent has answered.

use std::path::PathBuf;
use std::time::Duration;

use agentry_core::Clock as _;
use agentry_shop::Fault;
use anyhow::{Context as _, bail};

use crate::cli::{Context, Ended, Exit};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::signals::Signals;
use crate::terminal::Terminal;

mod actuator;
mod live;
mod outcome;
mod round;
mod system;

use live::Live;
use round::Round;
use system::{Plan, System};

/// The hidden command that is one process of the shop.
pub(crate) const PROCESS: &str = "shop-process";

/// How long the shop runs untouched before something breaks.
const BASELINE: Duration = Duration::from_secs(14);

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// What to break: cpu, latency, bad-deploy, leak, hang, none, or random.
    #[arg(long, default_value = "random", value_parser = fault)]
    fault: Wanted,
    /// Decides which service breaks and what else changes meanwhile; taken from the clock when absent.
    #[arg(long)]
    seed: Option<u64>,
    /// End after one incident instead of going on with the next.
    #[arg(long)]
    once: bool,
    /// Whether a configured model may re-rank and explain.
    #[arg(long, value_enum, default_value = "auto")]
    llm: Llm,
    /// Approve what the agent proposes without being asked.
    #[arg(long)]
    yes: bool,
    /// Keep telemetry, tickets and the database here instead of in a folder that is removed at the end.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Llm {
    Off,
    Auto,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    This(Fault),
    Random,
}

fn fault(text: &str) -> Result<Wanted, String> {
    if text == "random" {
        return Ok(Wanted::Random);
    }
    text.parse::<Fault>().map(Wanted::This).map_err(|error| format!("{error}, random"))
}

impl Wanted {
    /// Random means broken: `none` has to be asked for.
    fn choose(self, seed: u64) -> Fault {
        let broken = [Fault::Cpu, Fault::Latency, Fault::BadDeploy, Fault::Leak, Fault::Hang];
        match self {
            Self::This(fault) => fault,
            Self::Random => {
                let at = usize::try_from(seed % broken.len() as u64).unwrap_or(0);
                broken.into_iter().nth(at).unwrap_or(Fault::Cpu)
            }
        }
    }
}

/// How a person is asked for approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    /// On the terminal.
    Ask,
    /// Given beforehand.
    Given,
    /// Nobody is there: the question runs out.
    Absent,
}

/// Serves as one process of the shop.
pub(crate) fn process(arguments: &[String]) -> Result<Exit, Ended> {
    // One of seven beside the agent: a thread of its own for each core would only cost memory.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("start the runtime")?;
    runtime.block_on(agentry_shop::process::run(arguments)).context("be a process of the shop")?;
    Ok(Exit::Done)
}

pub(crate) fn run(cx: &Context, options: Options) -> Result<Exit, Ended> {
    let config = cx.config()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("start the runtime")?;
    runtime.block_on(rounds(cx.terminal, &config, options))
}

async fn rounds(terminal: Terminal, config: &Config, options: Options) -> Result<Exit, Ended> {
    let mut signals = Signals::catch()?;
    let mut seed =
        options.seed.unwrap_or_else(|| SystemClock.now().as_micros().unsigned_abs() / 1_000_000);
    let consent = match (options.yes, terminal.is_interactive()) {
        (true, _) => Consent::Given,
        (false, true) => Consent::Ask,
        (false, false) => Consent::Absent,
    };
    loop {
        let fault = options.fault.choose(seed);
        let folder = Folder::make(options.folder.clone(), seed)?;
        let live = Live::new(terminal);
        let plan =
            Plan { folder: folder.path.clone(), seed, consent, llm: options.llm == Llm::Auto };
        let system = System::start(plan, config).await?;
        let round =
            Round { system: &system, live: &live, fault, seed, consent, baseline: BASELINE };
        let outcome = tokio::select! {
            outcome = round.play() => Some(outcome),
            () = signals.next() => None,
        };
        live.finish();
        system.stop().await?;
        let Some(outcome) = outcome else { return Ok(Exit::Interrupted) };
        outcome?.tell(terminal, options.folder.as_ref().map(|_| folder.path.as_path()));
        if options.once {
            return Ok(Exit::Done);
        }
        seed += 1;
    }
}

/// Where one round keeps everything; removed at its end unless the user named it.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    fn make(wanted: Option<PathBuf>, seed: u64) -> anyhow::Result<Self> {
        let temporary = wanted.is_none();
        let path = wanted.map(|folder| folder.join(format!("seed-{seed}"))).unwrap_or_else(|| {
            std::env::temp_dir().join(format!("agentry-demo-{}-{seed}", std::process::id()))
        });
        let taken = std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some());
        if taken {
            bail!("{} is not empty: name another --folder or --seed, or remove it", path.display());
        }
        std::fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { path, temporary })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            // What is left behind in the temporary folder is the system's to clean.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
