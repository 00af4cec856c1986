//! `cargo xtask test`.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::services::Services;
use crate::terminal::say;
use crate::watchdog::Watched;
use crate::workspace::{Workspace, cargo, cargo_path};

pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let began = Instant::now();
    let services = Services::start(workspace)?;
    for (variable, value) in &services.variables {
        match value {
            Some(value) => say(&format!("{variable}={}", value.to_string_lossy())),
            None => say(&format!("{variable} is left out")),
        }
    }
    say(&format!("services ready in {:.1} s", began.elapsed().as_secs_f64()));
    for command in commands(args, nextest_is_installed()) {
        let words = command.join(" ");
        say(&format!("cargo {words}"));
        let mut tests = Watched::new(cargo_path())
            .args(&command)
            .current_dir(&workspace.root)
            // The runner passes the signal on and gives each test time of its own.
            .end_with("TERM", Duration::from_secs(15));
        for (variable, value) in &services.variables {
            tests = tests.variable(variable, value.clone());
        }
        ensure!(tests.spawn()?.wait()?.success(), "`cargo {words}` did not pass");
    }
    Ok(())
}

fn nextest_is_installed() -> bool {
    let mut probe = cargo();
    probe.args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// What to run, one after the other. Doc tests, which nextest cannot run, are part of a run of everything only.
fn commands(args: &[String], nextest: bool) -> Vec<Vec<String>> {
    let named =
        |arg: &String| arg == "-p" || arg.starts_with("--package") || arg.starts_with("-p=");
    let scope = if args.iter().any(named) { None } else { Some("--workspace".to_owned()) };
    let with = |words: &[&str]| {
        let words = words.iter().map(|&word| word.to_owned());
        words.chain(scope.clone()).chain(args.iter().cloned()).collect::<Vec<String>>()
    };
    if !nextest {
        return vec![with(&["test"])];
    }
    let mut commands = vec![with(&["nextest", "run"])];
    if args.is_empty() {
        commands.push(with(&["test", "--doc"]));
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_reach_the_runner() {
        let check = |args: &[&str], nextest: bool, expected: &[&str]| {
            let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
            let lines: Vec<String> =
                commands(&args, nextest).iter().map(|words| words.join(" ")).collect();
            assert_eq!(lines, expected);
        };
        check(&[], true, &["nextest run --workspace", "test --doc --workspace"]);
        check(&[], false, &["test --workspace"]);
        check(&["a_name"], true, &["nextest run --workspace a_name"]);
        check(&["-p", "agentry-core"], true, &["nextest run -p agentry-core"]);
        check(&["-p", "agentry-core"], false, &["test -p agentry-core"]);
    }
}
