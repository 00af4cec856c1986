//! Who is measured: the bare proxy, the gateway, the peers; and the mock behind them all.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::config::{self, Config};
use super::load::Target;
use super::options::Options;
use super::peers;
use super::report::Report;
use crate::{Server, agentry};

pub(crate) struct Sides {
    /// Asked without anything in between.
    pub(crate) direct: Target,
    /// The floor first, then the gateway, then the peers.
    pub(crate) sides: Vec<Side>,
    /// Names of what is on in the gateway.
    pub(crate) policies: Vec<&'static str>,
    pub(crate) mock: Server,
    is_pinned: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Placement {
    /// What is measured has the first core to itself; the load and the mock are on the last.
    Apart,
    /// All on the last core.
    Together,
}

pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) server: Server,
    pub(crate) target: Target,
    /// The bare proxy and the gateway; peers are measured with less patience.
    pub(crate) is_ours: bool,
}

pub(crate) const BARE: &str = "bare";
pub(crate) const AGENTRY: &str = "agentry";

impl Sides {
    pub(crate) fn start(options: &Options, folder: &Path, report: &Report) -> Result<Self> {
        let program = match &options.binary {
            Some(program) => {
                program.canonicalize().with_context(|| format!("find {}", program.display()))?
            }
            None => agentry()?,
        };
        let this = std::env::current_exe().context("find this program")?;
        let pinned = |core: &str, program: &Path| match options.pinned {
            true => {
                let mut command = Command::new("taskset");
                command.args(["-c", core]).arg(program);
                command
            }
            false => Command::new(program),
        };

        let mut command = pinned(&last_core(), &this);
        command.arg("mock");
        let mock = Server::start(command).context("start the mock")?;
        let direct = Target::at(&mock.address)?;

        let mut command = pinned(FIRST_CORE, &this);
        command.args(["bare", &mock.address]);
        let server = Server::start(command).context("start the bare proxy")?;
        let target = Target::at(&server.address)?;
        let mut sides = vec![Side { name: BARE, server, target, is_ours: true }];

        let path = folder.join("agentry.toml");
        let Config { text, policies, refused } =
            Config::new(&mock.address, |text| is_read(&program, &path, text))?;
        refused.iter().try_for_each(|why| report.note(why))?;
        std::fs::write(&path, text).context("write the configuration")?;
        let mut command = pinned(FIRST_CORE, &program);
        command.arg("--config").arg(&path).arg("serve").current_dir(folder);
        alone(&mut command).stderr(log(folder, AGENTRY)?);
        let server = Server::start(command).context("start agentry serve")?;
        let target = Target::at(&server.address)?;
        sides.push(Side { name: AGENTRY, server, target, is_ours: true });

        if options.peers {
            for peer in peers::PEERS {
                let command = |program: &Path| pinned(FIRST_CORE, program);
                match peers::start(&peer, command, &mock.address, folder)? {
                    peers::Started::Running(side) => sides.push(*side),
                    peers::Started::Absent(why) => report.note(&why)?,
                }
            }
        }
        Ok(Self { direct, sides, policies, mock, is_pinned: options.pinned })
    }

    /// Where the servers run from now on.
    pub(crate) fn place(&self, placement: Placement) -> Result<()> {
        if !self.is_pinned {
            return Ok(());
        }
        let last = last_core();
        let core = match placement {
            Placement::Apart => FIRST_CORE,
            Placement::Together => &last,
        };
        self.mock.pin(&last)?;
        self.sides.iter().try_for_each(|side| side.server.pin(core))
    }

    pub(crate) fn ours(&self) -> impl Iterator<Item = &Side> {
        self.sides.iter().filter(|side| side.is_ours)
    }
}

/// Whether the binary takes `text` for a configuration, and what it says if not.
fn is_read(program: &Path, path: &Path, text: &str) -> Result<std::result::Result<(), String>> {
    std::fs::write(path, text).context("write the configuration")?;
    let mut command = Command::new(program);
    command.arg("--config").arg(path).arg("check");
    let output = alone(&mut command).output().context("start agentry check")?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(Err(said.lines().next().unwrap_or("it does not say why").to_owned()))
}

/// With nothing of our environment but what is measured.
fn alone(command: &mut Command) -> &mut Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("AGENTRY_BENCH_KEY", config::KEY)
}

const FIRST_CORE: &str = "0";

pub(crate) fn last_core() -> String {
    let cores = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = cores.lines().filter(|line| line.starts_with("processor")).count();
    cores.saturating_sub(1).to_string()
}

/// What a server says on stderr.
pub(crate) fn log(folder: &Path, name: &str) -> Result<File> {
    File::create(folder.join(format!("{name}.log"))).context("make a log file")
}
