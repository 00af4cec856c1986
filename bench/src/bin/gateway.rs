//! What the gateway costs: CPU per request, added latency, added time to the first token, memory under many streams.
//!
//! `cargo xtask bench gateway [--json] [--quick] [--only cpu,hit,latency,first-token,streams] [--no-peers] [--unpinned]
//! [--streams N] [--binary PATH]`
//!
//! The same program is, with `mock` or `bare UPSTREAM`, the vendor behind the gateways and the floor they are held to.

use std::process::ExitCode;

use agentry_bench::{gateway, say};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["mock"] => gateway::mock::serve(),
        ["bare", upstream] => gateway::bare::serve(upstream),
        _ => gateway::Options::parse(&args).and_then(|options| gateway::run(&options)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do when even this cannot be written.
            let _ = say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
