//! The real servers that tests talk to: private, on loopback, gone when we are.

mod install;
mod net;
mod node;
mod postgres;
mod python;
mod redis;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::terminal::say;
use crate::watchdog::Guarded;
use crate::workspace::{Workspace, on_path};

pub(crate) const POSTGRES_URL: &str = "AGENTRY_TEST_POSTGRES_URL";
pub(crate) const REDIS_URL: &str = "AGENTRY_TEST_REDIS_URL";
pub(crate) const PROMETHEUS: &str = "AGENTRY_TEST_PROMETHEUS";
pub(crate) const ALERTMANAGER: &str = "AGENTRY_TEST_ALERTMANAGER";
pub(crate) const PYTHON: &str = "AGENTRY_TEST_PYTHON";
pub(crate) const NODE: &str = "AGENTRY_TEST_NODE";

/// One thing that tests need: the variable that says where it is, and what Debian calls the packages.
struct Need {
    variable: &'static str,
    packages: &'static [&'static str],
    /// The program it comes from, when this machine has it.
    find: fn() -> Option<PathBuf>,
    absent: Absent,
}

/// What it means when something cannot be had.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    Fails,
    /// Its tests are left out: it comes from a registry that may be out of reach.
    Skips,
}

const NEEDS: [Need; 6] = [
    Need {
        variable: POSTGRES_URL,
        packages: &["postgresql"],
        find: postgres::find,
        absent: Absent::Fails,
    },
    Need {
        variable: REDIS_URL,
        packages: &["redis-server"],
        find: redis::find,
        absent: Absent::Fails,
    },
    Need {
        variable: PROMETHEUS,
        packages: &["prometheus"],
        find: || on_path(&["prometheus"]),
        absent: Absent::Fails,
    },
    Need {
        variable: ALERTMANAGER,
        packages: &["prometheus-alertmanager"],
        find: || on_path(&["alertmanager", "prometheus-alertmanager"]),
        absent: Absent::Fails,
    },
    Need {
        variable: PYTHON,
        packages: &["python3", "python3-venv", "python3-pip"],
        find: python::find,
        absent: Absent::Skips,
    },
    Need { variable: NODE, packages: &["nodejs", "npm"], find: node::find, absent: Absent::Skips },
];

/// What runs, and what tests are told about it. Dropping it stops everything.
pub(crate) struct Services {
    /// `None`: the developer left it out by setting the variable to nothing.
    pub(crate) variables: Vec<(&'static str, Option<OsString>)>,
    _running: Vec<Guarded>,
}

impl Services {
    /// Uses what the environment names already, starts the rest, and installs what is not there to be started.
    pub(crate) fn start(workspace: &Workspace) -> Result<Self> {
        let mut variables = Vec::new();
        let mut missing = Vec::new();
        for need in &NEEDS {
            match std::env::var_os(need.variable) {
                Some(value) => {
                    variables.push((need.variable, (!value.is_empty()).then_some(value)));
                }
                None => missing.push(need),
            }
        }
        for absent in [Absent::Fails, Absent::Skips] {
            let packages: Vec<&str> = missing
                .iter()
                .filter(|need| need.absent == absent && (need.find)().is_none())
                .flat_map(|need| need.packages.iter().copied())
                .collect();
            if packages.is_empty() {
                continue;
            }
            match (install::packages(&packages), absent) {
                (Err(error), Absent::Fails) => return Err(error),
                (Err(error), Absent::Skips) => say(&format!("warning: {error:#}")),
                (Ok(()), _) => {}
            }
        }

        let folder = workspace.target.join("test-services");
        sweep(&folder);
        let own = folder.join(std::process::id().to_string());
        let mut running = Vec::new();
        for need in missing {
            std::fs::create_dir_all(&own).with_context(|| format!("create {}", own.display()))?;
            let value = match (provide(need, &folder, &own, &mut running), need.absent) {
                (Ok(value), _) => Some(value),
                (Err(error), Absent::Fails) => return Err(error),
                (Err(error), Absent::Skips) => {
                    say(&format!(
                        "warning: the tests that need {} are skipped: {error:#}",
                        need.variable
                    ));
                    None
                }
            };
            variables.push((need.variable, value));
        }
        Ok(Self { variables, _running: running })
    }
}

/// What the variable says: where it was started, or where it is.
fn provide(need: &Need, folder: &Path, own: &Path, running: &mut Vec<Guarded>) -> Result<OsString> {
    let program = (need.find)().with_context(|| absent(need))?;
    Ok(match need.variable {
        POSTGRES_URL => keep(running, postgres::start(&program, own)?),
        REDIS_URL => keep(running, redis::start(&program, own)?),
        PYTHON => python::prepare(&program, folder)?.into(),
        NODE => node::prepare(&program, folder)?.into(),
        _ => program.into(),
    })
}

fn keep(running: &mut Vec<Guarded>, (url, server): (String, Guarded)) -> OsString {
    running.push(server);
    url.into()
}

fn absent(need: &Need) -> String {
    format!(
        "{} is not installed here; install it, point {} at yours, or set that variable to nothing to skip its tests",
        need.packages.first().copied().unwrap_or_default(),
        need.variable
    )
}

/// Removes the logs and data of runs whose process is no more.
fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(id) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        else {
            continue;
        };
        let lives =
            Command::new("sh").args(["-c", "kill -0 \"$1\" 2>/dev/null", "sh", id]).status();
        if !lives.is_ok_and(|status| status.success())
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            say(&format!("warning: cannot remove {}: {error}", entry.path().display()));
        }
    }
}

#[cfg(test)]
mod tests;
