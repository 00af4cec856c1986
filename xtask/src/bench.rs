//! `cargo xtask bench NAME`: one command for every benchmark, wherever it lives.
//!
//! `NAME` stands for `bench/NAME/run`, `bench/NAME.sh`, the example `bench_NAME` or the bench target `NAME` of any crate.
//! What follows the name goes to the benchmark.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::workspace::Workspace;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Benchmark {
    Script(PathBuf),
    Target { package: String, kind: Kind, name: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Example,
    Bench,
}

pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let mut known = scripts(&workspace.root.join("bench"))?;
    known.extend(targets(workspace.packages()));
    let names = || known.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let Some((wanted, rest)) = args.split_first() else {
        bail!("which benchmark? There is: {}", names())
    };
    let (_, benchmark) = known
        .iter()
        .find(|(name, _)| name == wanted)
        .with_context(|| format!("no benchmark `{wanted}`; there is: {}", names()))?;
    match benchmark {
        Benchmark::Script(script) => {
            let status = Command::new(script).args(rest).current_dir(&workspace.root).status();
            let status =
                status.with_context(|| format!("run {} (is it executable?)", script.display()))?;
            ensure!(status.success(), "{} ended with {status}", script.display());
            Ok(())
        }
        Benchmark::Target { package, kind, name } => {
            let (command, flag) = match kind {
                Kind::Example => (vec!["run", "--release"], "--example"),
                Kind::Bench => (vec!["bench"], "--bench"),
            };
            let words = command.into_iter().chain(["--quiet", "-p", package, flag, name, "--"]);
            workspace
                .cargo(&words.map(str::to_owned).chain(rest.iter().cloned()).collect::<Vec<_>>())
        }
    }
}

fn scripts(folder: &Path) -> Result<Vec<(String, Benchmark)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.with_context(|| format!("read {}", folder.display()))?.path();
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        let script = if path.is_dir() { path.join("run") } else { path.clone() };
        let runs = path.is_dir() || path.extension().is_some_and(|extension| extension == "sh");
        if runs && script.is_file() {
            found.push((stem.to_owned(), Benchmark::Script(script)));
        }
    }
    found.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(found)
}

fn targets(packages: &[Value]) -> Vec<(String, Benchmark)> {
    let text = |value: &Value, key: &str| {
        value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut found = Vec::new();
    for package in packages {
        for target in package.get("targets").and_then(Value::as_array).into_iter().flatten() {
            let name = text(target, "name");
            let is = |wanted: &str| {
                target
                    .get("kind")
                    .and_then(Value::as_array)
                    .is_some_and(|kinds| kinds.iter().any(|kind| kind == wanted))
            };
            let (kind, short) = match name.strip_prefix("bench_") {
                Some(short) if is("example") => (Kind::Example, short.to_owned()),
                _ if is("bench") => (Kind::Bench, name.clone()),
                _ => continue,
            };
            found.push((short, Benchmark::Target { package: text(package, "name"), kind, name }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_and_bench_targets_are_found_by_their_names() {
        let packages = serde_json::json!([{
            "name": "agentry-x",
            "targets": [
                {"name": "agentry-x", "kind": ["lib"]},
                {"name": "bench_gateway", "kind": ["example"]},
                {"name": "hello", "kind": ["example"]},
                {"name": "decode", "kind": ["bench"]},
            ],
        }]);
        let target = |kind, name: &str| Benchmark::Target {
            package: "agentry-x".to_owned(),
            kind,
            name: name.to_owned(),
        };
        assert_eq!(
            targets(packages.as_array().unwrap()),
            [
                ("gateway".to_owned(), target(Kind::Example, "bench_gateway")),
                ("decode".to_owned(), target(Kind::Bench, "decode")),
            ]
        );
    }
}
