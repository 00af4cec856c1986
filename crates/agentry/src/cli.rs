//! The command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};

use crate::config::{self, Config};
use crate::terminal::Terminal;
use crate::{
    ask, check, demo, graphs, init, keys, logging, operate, run, runs, serve, storage, usage,
};

#[derive(Debug, Parser)]
#[command(
    name = "agentry",
    version,
    about = "Runs AI agents in production",
    before_help = EXAMPLES,
    after_help = EXITS,
    arg_required_else_help = true
)]
struct Cli {
    /// The configuration [default: ./agentry.toml when it exists]
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Print data as JSON
    #[arg(long, global = true)]
    json: bool,
    /// Log more: -v what happens, -vv each request
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a small real system, break it, and let the incident agent find out what broke
    Demo(demo::Options),
    /// Answer on every HTTP face until told to stop
    Serve,
    /// Write a configuration to begin with
    Init(init::Options),
    /// Read the configuration and the graphs, and report all that is wrong with them
    Check,
    /// Graphs as data, under graphs/ beside the configuration
    Graphs {
        #[command(subcommand)]
        what: graphs::What,
    },
    /// Run a graph and watch it
    Run(run::Options),
    /// Incidents of a running instance
    Incidents {
        #[command(flatten)]
        target: operate::Target,
        #[command(subcommand)]
        what: operate::Incidents,
    },
    /// What waits for a person, and the answers
    Approvals {
        #[command(flatten)]
        target: operate::Target,
        #[command(subcommand)]
        what: operate::Approvals,
    },
    /// What agents do on a running instance
    Runs {
        #[command(flatten)]
        target: operate::Target,
        #[command(subcommand)]
        what: runs::Runs,
    },
    /// The hash-chained log of everything that was done
    Audit {
        #[command(flatten)]
        target: operate::Target,
        #[command(subcommand)]
        what: operate::Audit,
    },
    /// Put a question to a model, or ask which model to take
    Ask(ask::Options),
    /// What was used and what it cost
    Usage(usage::Options),
    /// The database: copies of it, and whether it is whole
    Storage {
        #[command(subcommand)]
        what: storage::What,
    },
    /// API keys: who may call, and what they may do
    Keys {
        #[command(flatten)]
        target: operate::Target,
        #[command(subcommand)]
        what: keys::Keys,
    },
    /// One process of the demo's shop
    #[command(name = demo::PROCESS, hide = true)]
    ShopProcess { arguments: Vec<String> },
}

const EXAMPLES: &str = "\
Examples:
  agentry demo                         break a small real system and watch the incident agent
  agentry check                        is the configuration good?
  agentry serve                        answer on http://127.0.0.1:7171
  OPENAI_API_KEY=... agentry serve     the same, with a model and no configuration";

const EXITS: &str = "\
Every value of the configuration can be set as AGENTRY__TABLE__KEY, as in AGENTRY__SERVER__LISTEN=127.0.0.1:0.
Exit codes: 0 done, 1 it ran and failed, 2 bad usage or configuration, 3 a needed service is unreachable,
130 interrupted.";

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    Unreachable,
    Interrupted,
}

impl Exit {
    fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Interrupted => 130,
        })
    }
}

/// An error that knows how the process ends with it.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
}

impl From<anyhow::Error> for Ended {
    fn from(error: anyhow::Error) -> Self {
        Self { exit: Exit::Failed, error }
    }
}

impl From<config::Error> for Ended {
    fn from(error: config::Error) -> Self {
        Self { exit: Exit::Usage, error: error.into() }
    }
}

/// What every command is handed.
pub(crate) struct Context {
    pub(crate) terminal: Terminal,
    pub(crate) environment: BTreeMap<String, String>,
    folder: PathBuf,
    config: Option<PathBuf>,
}

impl Context {
    /// A path of the command line.
    pub(crate) fn at(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    pub(crate) fn config(&self) -> Result<Config, config::Error> {
        self.configuration().read()
    }

    /// Where the configuration comes from, for whoever reads it again.
    pub(crate) fn configuration(&self) -> Configuration {
        let Self { terminal: _, environment, folder, config } = self;
        let (path, folder) = (config.clone(), folder.clone());
        Configuration { path, folder, environment: environment.clone() }
    }
}

/// What the configuration is made of.
pub(crate) struct Configuration {
    path: Option<PathBuf>,
    folder: PathBuf,
    environment: BTreeMap<String, String>,
}

impl Configuration {
    /// What `config` was read from, and nothing in its place when it is gone.
    pub(crate) fn of(self, config: &Config) -> Self {
        Self { path: config.file.clone().or(self.path), ..self }
    }

    pub(crate) fn read(&self) -> Result<Config, config::Error> {
        config::load(self.path.as_deref(), &self.folder, &self.environment)
    }
}

/// Reads the command line, does what it says.
pub(crate) fn run(
    arguments: impl Iterator<Item = OsString>,
    environment: BTreeMap<String, String>,
    folder: &Path,
) -> ExitCode {
    let no_color = environment.get("NO_COLOR").is_some_and(|value| !value.is_empty());
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(asked) => return answer(&asked, no_color),
    };
    let Cli { config, json, verbose, quiet, command } = cli;
    let terminal = Terminal::new(json, quiet, no_color);
    logging::start(verbose, quiet, terminal.color());
    let folder = folder.to_owned();
    let cx = Context { terminal, environment, folder, config };
    let ended = match command {
        Command::Serve => serve::run(&cx),
        Command::Init(options) => init::run(&cx, &options),
        Command::Check => check::run(&cx),
        Command::Graphs { what } => graphs::run(&cx, &what),
        Command::Run(options) => run::run(&cx, &options),
        Command::Demo(options) => demo::run(&cx, options),
        Command::Incidents { target, what } => operate::incidents(&cx, &target, what),
        Command::Approvals { target, what } => operate::approvals(&cx, &target, what),
        Command::Runs { target, what } => runs::runs(&cx, &target, what),
        Command::Audit { target, what } => operate::audit(&cx, &target, &what),
        Command::Ask(options) => ask::run(&cx, options),
        Command::Usage(options) => usage::run(&cx, options),
        Command::Storage { what } => storage::run(&cx, what),
        Command::Keys { target, what } => keys::run(&cx, &target, what),
        Command::ShopProcess { arguments } => demo::process(&arguments),
    };
    match ended {
        Ok(exit) => exit.code(),
        Err(Ended { exit, error }) => {
            terminal.error(format_args!("{error:#}"));
            exit.code()
        }
    }
}

/// Help and version are data; anything else is a mistake.
fn answer(asked: &clap::Error, no_color: bool) -> ExitCode {
    let terminal = Terminal::new(false, false, no_color);
    if asked.use_stderr() {
        terminal.note(asked.render());
        Exit::Usage.code()
    } else {
        terminal.data(asked.render());
        Exit::Done.code()
    }
}
