//! LangGraph's own suite for checkpointers, on our stores through `examples/checkpoints.rs`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where its Python has the package `langgraph-checkpoint-conformance`.
const PYTHON: &str = "AGENTRY_TEST_PYTHON";

#[test]
fn the_memory_store_conforms() {
    check("memory:");
}

#[test]
fn the_sqlite_store_conforms() {
    let folder = tempfile::tempdir().unwrap();
    check(&format!("sqlite:{}", folder.path().join("checkpoints.db").display()));
}

#[test]
fn the_postgres_store_conforms() {
    let Some(server) = std::env::var_os("AGENTRY_TEST_POSTGRES_URL") else {
        return skipped("AGENTRY_TEST_POSTGRES_URL names no server");
    };
    let (server, process) = (server.into_string().unwrap(), std::process::id());
    check(&format!("{server}?connections=4&schema=langgraph_{process}"));
}

fn check(store: &str) {
    let Some(python) = std::env::var_os(PYTHON) else {
        return skipped(&format!("{PYTHON} names no Python"));
    };
    let saver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/langgraph/saver.py");
    let run = Command::new(python).arg(saver).arg(bridge()).arg(store).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    let problems = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}\n{problems}");
    assert!(said.contains("base: True all: True"), "{said}");
}

/// Built beside this test, and now where this test was built alone.
fn bridge() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let profile = here.parent().and_then(Path::parent).unwrap();
    let bridge = profile.join("examples/checkpoints");
    if !bridge.is_file() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", "checkpoints", "--target-dir"]);
        cargo.arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let built = cargo.status().unwrap().success() && bridge.is_file();
        let missing = bridge.display();
        assert!(built, "{missing} is not there; build it: cargo build --example checkpoints");
    }
    bridge
}

fn skipped(why: &str) {
    let mut terminal = std::io::stderr();
    writeln!(terminal, "skipped: {why}; `cargo xtask test` sets it").unwrap();
}
