//! A Python with the official clients, for tests that call us as other people's programs do.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::terminal::say;
use crate::watchdog::Watched;
use crate::workspace::on_path;

const REQUIREMENTS: [&str; 4] = [
    "anthropic==2.11.0",
    "langgraph-checkpoint-conformance==0.0.2",
    "langgraph-sdk==0.4.14",
    "openai==3.52.0",
];

/// A Python that can make a virtual environment.
pub(super) fn find() -> Option<PathBuf> {
    let capable = |python: &PathBuf| {
        let mut probe = Command::new(python);
        probe
            .args(["-c", "import venv, ensurepip"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    };
    [on_path(&["python3"]), Some(PathBuf::from("/usr/bin/python3"))]
        .into_iter()
        .flatten()
        .find(capable)
}

/// Makes the environment unless a complete one is there, and returns its interpreter.
pub(super) fn prepare(python: &Path, folder: &Path) -> Result<PathBuf> {
    let venv = folder.join("venv");
    let interpreter = venv.join("bin/python");
    let complete = venv.join("complete");
    let wanted = REQUIREMENTS.join(" ");
    let made = std::fs::read_to_string(&complete).is_ok_and(|made| made == wanted);
    if made && interpreter.is_file() {
        return Ok(interpreter);
    }
    say(&format!("python: making {} with {wanted}", venv.display()));
    let log = folder.join("venv.log");
    Watched::new(python)
        .args(["-m", "venv", "--clear"])
        .args([&venv])
        .log(&log)
        .spawn()?
        .finish_within(Duration::from_secs(120))?;
    Watched::new(&interpreter)
        .args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"])
        .args(REQUIREMENTS)
        .log(&log)
        .spawn()?
        .finish_within(Duration::from_secs(600))
        .with_context(|| format!("install {wanted}"))?;
    std::fs::write(&complete, &wanted).with_context(|| format!("write {}", complete.display()))?;
    Ok(interpreter)
}
