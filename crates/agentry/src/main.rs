//! The `agentry` command.

use std::process::ExitCode;

mod agent;
mod agents;
mod ask;
mod audit;
mod check;
mod cli;
mod clock;
mod config;
mod demo;
mod graphs;
mod init;
mod instance;
mod keys;
mod logging;
mod operate;
mod run;
mod runs;
mod serve;
mod signals;
mod storage;
mod terminal;
mod threads;
mod usage;
mod versions;
mod wiring;

/// Gives memory back after a burst, which the system's does not, and takes less time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The environment and the working folder are read here and nowhere else.
    let environment = std::env::vars_os().map(|(name, value)| {
        (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
    });
    let folder = std::env::current_dir().unwrap_or_default();
    cli::run(std::env::args_os(), environment.collect(), &folder)
}
