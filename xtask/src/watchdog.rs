//! Child processes that cannot outlive us, however we end.
//!
//! Each runs under a small shell in a process group of its own, which holds the reading end of a pipe from us. The
//! kernel closes our end when we return, panic, are interrupted or are killed; the shell then stops the whole group.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

const SCRIPT: &str = include_str!("watchdog/watchdog.sh");

/// What to run, and how to end it.
pub(crate) struct Watched {
    command: Vec<OsString>,
    signal: &'static str,
    grace: Duration,
    remove: Option<PathBuf>,
    log: Option<PathBuf>,
    folder: Option<PathBuf>,
    variables: Vec<(OsString, Option<OsString>)>,
}

impl Watched {
    pub(crate) fn new(program: impl Into<OsString>) -> Self {
        Self {
            command: vec![program.into()],
            signal: "TERM",
            grace: Duration::from_secs(5),
            remove: None,
            log: None,
            folder: None,
            variables: Vec::new(),
        }
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// The signal that asks it to end, without `SIG`, and how long it has before it is killed.
    pub(crate) fn end_with(mut self, signal: &'static str, grace: Duration) -> Self {
        self.signal = signal;
        self.grace = grace;
        self
    }

    /// A folder that goes when the process has gone.
    pub(crate) fn remove(mut self, folder: &Path) -> Self {
        self.remove = Some(folder.to_owned());
        self
    }

    /// Where its output goes instead of to the terminal.
    pub(crate) fn log(mut self, file: &Path) -> Self {
        self.log = Some(file.to_owned());
        self
    }

    pub(crate) fn current_dir(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Sets a variable, or takes it away when there is no value.
    pub(crate) fn variable(mut self, name: impl Into<OsString>, value: Option<OsString>) -> Self {
        self.variables.push((name.into(), value));
        self
    }

    pub(crate) fn spawn(self) -> Result<Guarded> {
        let Self { command, signal, grace, remove, log, folder, variables } = self;
        let name = command
            .first()
            .map(|program| program.to_string_lossy().into_owned())
            .unwrap_or_default();
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(SCRIPT).arg("watchdog").arg(signal);
        shell
            .arg((grace.as_millis() / 100).to_string())
            .arg(remove.unwrap_or_default())
            .args(command);
        shell.process_group(0).stdin(Stdio::piped());
        if let Some(log) = &log {
            let file = File::options().create(true).append(true).open(log);
            let file = file.with_context(|| format!("open {}", log.display()))?;
            shell.stdout(file.try_clone()?).stderr(file);
        }
        if let Some(folder) = folder {
            shell.current_dir(folder);
        }
        for (name, value) in variables {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let mut child = shell.spawn().with_context(|| format!("start {name}"))?;
        Ok(Guarded { lifeline: child.stdin.take(), child, name, log })
    }
}

/// A running child. Dropping it ends it and waits for that.
pub(crate) struct Guarded {
    child: Child,
    lifeline: Option<ChildStdin>,
    name: String,
    log: Option<PathBuf>,
}

impl Guarded {
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().with_context(|| format!("wait for {}", self.name))
    }

    /// Its end must come, and be a success, before `after` has passed.
    pub(crate) fn finish_within(mut self, after: Duration) -> Result<()> {
        let deadline = Instant::now() + after;
        loop {
            match self.child.try_wait().with_context(|| format!("wait for {}", self.name))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("{} ended with {status}{}", self.name, self.last_words()),
                None if Instant::now() >= deadline => {
                    bail!(
                        "{} took longer than {} s{}",
                        self.name,
                        after.as_secs(),
                        self.last_words()
                    )
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Asks `ready` again and again, as long as the child lives and the deadline has not passed.
    pub(crate) fn ready_within(
        &mut self,
        after: Duration,
        mut ready: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let deadline = Instant::now() + after;
        loop {
            let Err(reason) = ready() else { return Ok(()) };
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended with {status} instead of getting ready{}",
                    self.name,
                    self.last_words()
                );
            }
            if Instant::now() >= deadline {
                let seconds = after.as_secs();
                bail!(
                    "{} was not ready within {seconds} s: {reason:#}{}",
                    self.name,
                    self.last_words()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn last_words(&self) -> String {
        let Some(path) = &self.log else { return String::new() };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(15);
        format!(
            "; the end of {}:\n  {}",
            path.display(),
            lines.get(from..).unwrap_or_default().join("\n  ")
        )
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.lifeline.take();
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests;
