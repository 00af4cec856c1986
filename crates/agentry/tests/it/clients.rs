//! The official clients of other people against the real binary: each over the vendor it was made for, and over others.
//!
//! The scripts beside this file print `N of N steps`. Vendors are scripted, so nothing leaves this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{ANSWERS, ASK, CONFIG, PATIENCE, Running, finish_within};

mod upstreams;

use upstreams::{KEY, Upstreams};

/// Where its Python has the packages `openai` and `anthropic`.
const PYTHON: &str = "AGENTRY_TEST_PYTHON";
/// A folder with `bin/node` and `node_modules`.
const NODE: &str = "AGENTRY_TEST_NODE";

#[test]
fn python_openai_speaks_with_every_vendor() {
    let Some(program) = named(PYTHON) else { return };
    let heard = check(Command::new(program), &scripts(), "openai_python.py", 70);
    heard.assert_images(&["chat", "responses", "anthropic", "gemini"]);
    heard.assert_abandoned();
}

#[test]
fn python_anthropic_speaks_with_every_vendor() {
    let Some(program) = named(PYTHON) else { return };
    let heard = check(Command::new(program), &scripts(), "anthropic_python.py", 50);
    heard.assert_images(&["chat", "responses", "anthropic", "gemini"]);
    heard.assert_thoughts();
    heard.assert_abandoned();
}

#[test]
fn node_openai_speaks_with_every_vendor() {
    let Some(folder) = named(NODE) else { return };
    let heard = node(Path::new(&folder), "openai.mjs", 50);
    heard.assert_images(&["chat", "responses", "anthropic", "gemini"]);
    heard.assert_abandoned();
}

#[test]
fn the_ai_sdk_speaks_with_every_vendor() {
    let Some(folder) = named(NODE) else { return };
    let heard = node(Path::new(&folder), "ai.mjs", 40);
    heard.assert_images(&["chat", "responses", "anthropic", "gemini"]);
    heard.assert_abandoned();
}

#[test]
fn python_openai_speaks_with_a_scripted_provider() {
    let Some(program) = named(PYTHON) else { return };
    let server = Running::start();
    let mut client = Command::new(program);
    client.arg(scripts().join("scripted.py")).arg(format!("http://{}/v1", server.address));
    assert_steps(client, 9);
    server.assert_healthy("the client");
}

/// All 24 flows of it, and what can go wrong in them.
#[test]
fn python_langgraph_speaks_with_the_agent() {
    let Some(program) = named(PYTHON) else { return };
    let server = with_graph("sqlite:agentry.db");
    let mut client = Command::new(program);
    client.arg(scripts().join("langgraph_python.py"));
    client.arg(format!("http://{}", server.address)).arg("none");
    client.env("PYTHONDONTWRITEBYTECODE", "1");
    assert_steps(client, 34);
    server.assert_healthy("the client");
}

#[test]
fn node_langgraph_speaks_with_the_agent() {
    let Some(folder) = named(NODE) else { return };
    let server = with_graph("memory:");
    let copies = copies(Path::new(&folder), "langgraph.mjs");
    let mut client = Command::new(Path::new(&folder).join("bin/node"));
    client.arg(copies.path().join("langgraph.mjs"));
    client.arg(format!("http://{}", server.address)).arg("none");
    assert_steps(client, 8);
    server.assert_healthy("the client");
}

/// Beside the agent, a graph that asks.
fn with_graph(storage: &str) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("graphs")).unwrap();
    write("agentry.toml", &CONFIG.replace("memory:", storage));
    write("answers.toml", ANSWERS);
    write("graphs/ask.toml", ASK);
    Running::again(folder)
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients")
}

fn node(folder: &Path, script: &str, least: usize) -> Upstreams {
    let copies = copies(folder, script);
    check(Command::new(folder.join("bin/node")), copies.path(), script, least)
}

/// Modules are looked for beside the script, so it runs from where they are.
fn copies(folder: &Path, script: &str) -> tempfile::TempDir {
    let copies = tempfile::tempdir_in(folder).unwrap();
    for name in ["steps.mjs", script] {
        std::fs::copy(scripts().join(name), copies.path().join(name)).unwrap();
    }
    copies
}

/// Runs a script against a server in front of all vendors. `least` are the steps below which something was left out.
fn check(mut client: Command, folder: &Path, script: &str, least: usize) -> Upstreams {
    let upstreams = Upstreams::start();
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("agentry.toml"), upstreams.config()).unwrap();
    std::fs::write(home.path().join("one.key"), KEY).unwrap();
    let server = Running::again(home);
    client.arg(folder.join(script)).arg(format!("http://{}", server.address)).arg(KEY);
    client.args(upstreams.names()).env("PYTHONDONTWRITEBYTECODE", "1");
    assert_steps(client, least);
    server.assert_healthy(script);
    upstreams
}

fn assert_steps(client: Command, least: usize) {
    let output = finish_within(client, 6 * PATIENCE);
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let counted = said.lines().last().and_then(|line| line.strip_suffix(" steps"));
    let (passed, total) = counted.and_then(|line| line.split_once(" of ")).unwrap_or_default();
    let total: usize = total.parse().unwrap_or_default();
    let all = output.status.success() && passed == total.to_string();
    assert!(all && total >= least, "{said}\n{errors}");
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests should know what was not run")]
fn named(variable: &str) -> Option<OsString> {
    let found = std::env::var_os(variable).filter(|value| !value.is_empty());
    if found.is_none() {
        eprintln!("skipped: {variable} names no client; `cargo xtask test` installs them");
    }
    found
}
