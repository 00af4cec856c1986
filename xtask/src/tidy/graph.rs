//! Rules about what depends on what.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::workspace::{Workspace, cargo};

/// The longest chain of workspace crates that starts at `top`, and its length. Dev-dependencies do not count.
pub(super) fn deepest(packages: &[Value], top: &str) -> (usize, Vec<String>) {
    let edges: BTreeMap<&str, Vec<&str>> =
        packages.iter().filter_map(|package| Some((name(package)?, needs(package)))).collect();
    let chain = walk(&edges, top, &mut Vec::new());
    (chain.len(), chain)
}

fn walk<'a>(
    edges: &BTreeMap<&'a str, Vec<&'a str>>,
    at: &'a str,
    path: &mut Vec<&'a str>,
) -> Vec<String> {
    // Cargo refuses cycles; metadata that has one must not hang us.
    if path.contains(&at) {
        return Vec::new();
    }
    path.push(at);
    let below = edges.get(at).into_iter().flatten().filter(|next| edges.contains_key(*next));
    let longest =
        below.map(|next| walk(edges, next, path)).max_by_key(Vec::len).unwrap_or_default();
    path.pop();
    std::iter::once(at.to_owned()).chain(longest).collect()
}

/// Edges that no crate may have: the test kit outside of tests, and a runtime or a transport in the words.
pub(super) fn misplaced(packages: &[Value]) -> Vec<String> {
    const NOT_IN_CORE: [&str; 5] = ["tokio", "hyper", "http", "axum", "rusqlite"];
    let mut found = Vec::new();
    for package in packages {
        let Some(package_name) = name(package) else { continue };
        for need in real_needs(package).filter_map(name) {
            if need == "agentry-testkit"
                || (package_name == "agentry-core" && NOT_IN_CORE.contains(&need))
            {
                found.push(format!("{package_name} must not depend on {need}"));
            }
        }
    }
    found
}

fn name(value: &Value) -> Option<&str> {
    value.get("name").and_then(Value::as_str)
}

/// The crates of the workspace that it needs to be built.
fn needs(package: &Value) -> Vec<&str> {
    real_needs(package).filter(|need| need.get("path").is_some()).filter_map(name).collect()
}

fn real_needs(package: &Value) -> impl Iterator<Item = &Value> {
    let all = package.get("dependencies").and_then(Value::as_array).into_iter().flatten();
    all.filter(|need| need.get("kind").and_then(Value::as_str) != Some("dev"))
}

/// How many packages the binary is made of on this machine, its build scripts' included.
pub(super) fn packages(workspace: &Workspace) -> Result<usize> {
    let output = cargo()
        .args([
            "tree",
            "--package",
            "agentry",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(&workspace.root)
        .output()
        .context("run `cargo tree`")?;
    ensure!(
        output.status.success(),
        "cargo tree: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(distinct(&String::from_utf8_lossy(&output.stdout)))
}

/// A package that appears again is marked with `(*)`, a macro with `(proc-macro)`.
pub(super) fn distinct(tree: &str) -> usize {
    let named = tree.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.next()?))
    });
    named.collect::<BTreeSet<_>>().len()
}
