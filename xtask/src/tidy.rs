//! `cargo xtask tidy`: house rules that no compiler checks.

mod codes;
mod graph;
mod text;

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::terminal::say;
use crate::workspace::Workspace;

const PACKAGES_MAX: usize = 500;
const DEPTH_MAX: usize = 5;

/// A broken rule, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    path: String,
    /// Counts from 1; 0 is the file as a whole.
    line: usize,
    text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, text } = self;
        if *line == 0 { write!(f, "{path}: {text}") } else { write!(f, "{path}:{line}: {text}") }
    }
}

/// A tracked file that is text.
struct File {
    /// From the workspace's root, with `/`.
    path: String,
    text: String,
}

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let files = files(&workspace.root)?;
    let mut findings: Vec<Finding> = files.iter().flat_map(text::findings).collect();
    findings.extend(codes::findings(&files));

    let (depth, chain) = graph::deepest(workspace.packages(), "agentry");
    if depth > DEPTH_MAX {
        let text =
            format!("the crate graph is {depth} deep, at most {DEPTH_MAX}: {}", chain.join(" → "));
        findings.push(Finding { path: "Cargo.toml".to_owned(), line: 0, text });
    }
    findings.extend(graph::misplaced(workspace.packages()).into_iter().map(|text| Finding {
        path: "Cargo.toml".to_owned(),
        line: 0,
        text,
    }));
    let packages = graph::packages(workspace)?;
    if packages >= PACKAGES_MAX {
        let text = format!(
            "the binary depends on {packages} packages, fewer than {PACKAGES_MAX} are allowed"
        );
        findings.push(Finding { path: "Cargo.lock".to_owned(), line: 0, text });
    }

    for warning in files.iter().filter_map(text::warning) {
        say(&format!("warning: {warning}"));
    }
    for finding in &findings {
        say(&format!("error: {finding}"));
    }
    say(&format!("{} files, {packages} packages, crate depth {depth}", files.len()));
    ensure!(findings.is_empty(), "{} house rules are broken", findings.len());
    Ok(())
}

/// What git tracks or would track. Binary files are left out.
fn files(root: &Path) -> Result<Vec<File>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("run git, which tidy asks for the files")?;
    ensure!(
        output.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let list = String::from_utf8(output.stdout).context("a file's name is not UTF-8")?;
    let read = |path: &str| {
        let text = std::fs::read_to_string(root.join(path)).ok()?;
        Some(File { path: path.to_owned(), text })
    };
    Ok(list.split_terminator('\0').filter_map(read).collect())
}

#[cfg(test)]
mod tests;
