//! Runs a file of scenarios and prints what the engine did, in the form of the recordings.

use std::process::ExitCode;

mod build;
mod play;
mod shape;

#[tokio::main]
async fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        return complain("usage: scenario FILE.json");
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(problem) => return complain(&format!("`{path}` cannot be read: {problem}")),
    };
    let scenarios: Vec<serde_json::Value> = match serde_json::from_str(&text) {
        Ok(scenarios) => scenarios,
        Err(problem) => {
            return complain(&format!("`{path}` is not a list of scenarios: {problem}"));
        }
    };
    let mut played = Vec::new();
    for scenario in &scenarios {
        match play::play(scenario).await {
            Ok(done) => played.push(done),
            Err(problem) => return complain(&format!("{}: {problem}", scenario["name"])),
        }
    }
    let mut out = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut writer = serde_json::Serializer::with_formatter(&mut out, indent);
    if let Err(problem) = serde::Serialize::serialize(&played, &mut writer) {
        return complain(&problem.to_string());
    }
    #[expect(clippy::print_stdout, reason = "this program is for its output")]
    {
        println!("{}", String::from_utf8_lossy(&out));
    }
    ExitCode::SUCCESS
}

fn complain(problem: &str) -> ExitCode {
    #[expect(clippy::print_stderr, reason = "there is no log here")]
    {
        eprintln!("{problem}");
    }
    ExitCode::from(2)
}
