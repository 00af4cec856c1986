//! `cargo xtask check`: all that a machine can check, with a summary at the end.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::terminal::say;
use crate::workspace::{Workspace, on_path};
use crate::{test, tidy};

const CARGO_DENY: &str = "0.20.2";

pub(crate) struct Options {
    tests: bool,
    advisories: bool,
}

impl Options {
    pub(crate) fn parse(args: &[String]) -> Result<Self> {
        let mut options = Self { tests: true, advisories: false };
        for arg in args {
            match arg.as_str() {
                "--no-tests" => options.tests = false,
                "--advisories" => options.advisories = true,
                other => {
                    bail!("`check` has no option `{other}`; it has --no-tests and --advisories")
                }
            }
        }
        Ok(options)
    }
}

type Step<'a> = (&'static str, Box<dyn Fn() -> Result<()> + 'a>);

pub(crate) fn run(workspace: &Workspace, options: Options) -> Result<()> {
    let Options { tests, advisories } = options;
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    // A workspace of its own, which would rot unseen.
    let target = workspace.target.display().to_string();
    let fuzz = ["check", "--quiet", "--manifest-path=fuzz/Cargo.toml", "--target-dir", &target];
    let mut steps: Vec<Step> = vec![
        ("fmt", Box::new(|| component(workspace, "rustfmt", &["fmt", "--all", "--check"]))),
        ("tidy", Box::new(|| tidy::run(workspace))),
        ("deny", Box::new(|| deny(workspace, advisories))),
        ("clippy", Box::new(move || component(workspace, "clippy", &clippy))),
        ("fuzz", Box::new(move || workspace.cargo(&fuzz))),
    ];
    if tests {
        steps.push(("test", Box::new(|| test::run(workspace, &[]))));
    }

    let mut lines = Vec::new();
    let mut failed = Vec::new();
    for (name, step) in steps {
        say(&format!("── {name}"));
        let began = Instant::now();
        let result = step();
        let seconds = began.elapsed().as_secs_f64();
        match result {
            Ok(()) => lines.push(format!("{name:<8} passed {seconds:>7.1} s")),
            Err(error) => {
                say(&format!("{name}: {error:#}"));
                lines.push(format!("{name:<8} FAILED {seconds:>7.1} s"));
                failed.push(name);
            }
        }
    }
    say(&format!("\n{}", lines.join("\n")));
    ensure!(failed.is_empty(), "not passed: {}", failed.join(", "));
    Ok(())
}

/// A subcommand that comes with the toolchain, unless the toolchain was installed without it.
fn component(workspace: &Workspace, name: &str, args: &[&str]) -> Result<()> {
    let subcommand = args.first().copied().unwrap_or_default();
    let probe =
        crate::workspace::cargo().args([subcommand, "--version"]).output().context("run cargo")?;
    ensure!(
        probe.status.success(),
        "this toolchain has no {name}; `rustup component add {name}` (or your distribution's package) installs it"
    );
    workspace.cargo(args)
}

fn deny(workspace: &Workspace, advisories: bool) -> Result<()> {
    let program = cargo_deny(workspace)?;
    let mut command = Command::new(program);
    // A wrapper that is allowed and not in use yet is no news, nor is a licence.
    command.args(["--workspace", "check", "--hide-inclusion-graph", "--allow", "unused-wrapper"]);
    command.args(["--allow", "license-not-encountered", "bans", "licenses", "sources"]);
    if advisories {
        command.arg("advisories");
    }
    let status = command.current_dir(&workspace.root).status().context("run cargo-deny")?;
    ensure!(
        status.success(),
        "cargo-deny found something wrong; deny.toml says what is allowed and why"
    );
    Ok(())
}

/// The one on PATH, or our own under `target/`, built when it is not there yet.
fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(program) = on_path(&["cargo-deny"]) {
        return Ok(program);
    }
    let tools = workspace.target.join("tools");
    let program = tools.join("bin/cargo-deny");
    if !program.is_file() {
        let mut args: Vec<OsString> =
            ["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--debug", "--root"]
                .map(Into::into)
                .into();
        args.push(tools.into());
        workspace.cargo(&args)?;
    }
    Ok(program)
}
