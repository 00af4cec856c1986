//! The workspace as cargo sees it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    /// What `cargo metadata --no-deps` says.
    pub(crate) metadata: Value,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version=1"])
            .output()
            .context("run `cargo metadata`")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        let metadata: Value =
            serde_json::from_slice(&output.stdout).context("read `cargo metadata`")?;
        let path = |key: &str| metadata.get(key).and_then(Value::as_str).map(PathBuf::from);
        Ok(Self {
            root: path("workspace_root").context("`cargo metadata` names no workspace root")?,
            target: path("target_directory").context("`cargo metadata` names no target folder")?,
            metadata,
        })
    }

    pub(crate) fn packages(&self) -> &[Value] {
        self.metadata.get("packages").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Runs cargo in the workspace's root with its output on the terminal.
    pub(crate) fn cargo<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<()> {
        let words: Vec<String> =
            args.iter().map(|arg| arg.as_ref().to_string_lossy().into_owned()).collect();
        let status = cargo().args(args).current_dir(&self.root).status().context("run cargo")?;
        ensure!(status.success(), "`cargo {}` found something wrong, see above", words.join(" "));
        Ok(())
    }
}

/// The cargo that runs us, so that a chosen toolchain stays chosen.
pub(crate) fn cargo() -> Command {
    Command::new(cargo_path())
}

pub(crate) fn cargo_path() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The first of `names` that is an executable file in a folder of PATH.
pub(crate) fn on_path(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names
        .iter()
        .find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()))
}
