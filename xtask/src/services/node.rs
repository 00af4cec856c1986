//! A Node with the official clients for JavaScript, for tests that call us as other people's programs do.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::terminal::say;
use crate::watchdog::Watched;
use crate::workspace::on_path;

/// What is installed, each at the version that the tests were written for.
const PACKAGE: &str = r#"{
  "private": true,
  "dependencies": {
    "@ai-sdk/openai-compatible": "3.0.92",
    "@langchain/langgraph-sdk": "2.0.0",
    "ai": "7.0.173",
    "openai": "7.55.0",
    "zod": "4.6.7"
  }
}
"#;
/// The clients use what came with it.
const MAJOR_MIN: u32 = 20;

/// A Node that is new enough and has its package manager.
pub(super) fn find() -> Option<PathBuf> {
    let node = on_path(&["node", "nodejs"])?;
    on_path(&["npm"])?;
    let said = Command::new(&node).arg("--version").output().ok()?;
    let version = String::from_utf8(said.stdout).ok()?;
    let major = version.trim().trim_start_matches('v').split('.').next()?;
    (major.parse::<u32>().ok()? >= MAJOR_MIN).then_some(node)
}

/// Fills a folder with `node_modules` and `bin/node` unless it is complete, and returns it.
pub(super) fn prepare(node: &Path, folder: &Path) -> Result<PathBuf> {
    let home = folder.join("node");
    let complete = home.join("complete");
    let program = home.join("bin/node");
    let made = std::fs::read_to_string(&complete).is_ok_and(|made| made == PACKAGE);
    if made && program.is_file() {
        return Ok(home);
    }
    say(&format!("node: filling {} with openai, ai and langgraph-sdk", home.display()));
    let npm = on_path(&["npm"]).context("find npm")?;
    if home.exists() {
        std::fs::remove_dir_all(&home).with_context(|| format!("remove {}", home.display()))?;
    }
    std::fs::create_dir_all(home.join("bin"))
        .with_context(|| format!("create {}", home.display()))?;
    std::os::unix::fs::symlink(node, &program)
        .with_context(|| format!("link {}", program.display()))?;
    std::fs::write(home.join("package.json"), PACKAGE)
        .with_context(|| format!("write into {}", home.display()))?;
    Watched::new(npm)
        .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(&home)
        .log(&folder.join("node.log"))
        .spawn()?
        .finish_within(Duration::from_secs(600))
        .context("install openai and ai")?;
    std::fs::write(&complete, PACKAGE).with_context(|| format!("write {}", complete.display()))?;
    Ok(home)
}
