//! `cargo xtask`: what a machine can do for the developer.
//!
//! It depends on no other crate of the workspace and decides nothing about the product.

mod bench;
mod check;
mod services;
mod sim;
mod terminal;
mod test;
mod tidy;
mod watchdog;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::terminal::say;
use crate::workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [ARGS]           start the real servers that tests need, run every test, stop the servers;
                        ARGS go to the test runner: `cargo xtask test -p agentry-core time`
  check [--no-tests] [--advisories]
                        fmt, clippy, deny, tidy and the tests; --advisories needs the network
  tidy                  what no compiler checks: sizes, error codes, crate depth, dependency count
  sim [--seeds N] [--first K]
                        workers that die, stand still and lose replies, simulated: 10,000 seeds, or as many as said
  bench NAME [ARGS]     run a benchmark from bench/ or an example or bench target named after it
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let Some((command, rest)) = args.split_first() else { bail!("no command given\n\n{USAGE}") };
    match command.as_str() {
        "test" => test::run(&Workspace::find()?, rest),
        "check" => check::run(&Workspace::find()?, check::Options::parse(rest)?),
        "tidy" => tidy::run(&Workspace::find()?),
        "sim" => sim::run(&Workspace::find()?, rest),
        "bench" => bench::run(&Workspace::find()?, rest),
        "help" | "-h" | "--help" => {
            say(USAGE);
            Ok(())
        }
        other => bail!("no command `{other}`\n\n{USAGE}"),
    }
}
