//! The official OpenAI client against `agentry serve`.

use std::path::Path;
use std::process::Command;

use crate::support::{Running, finish};

#[test]
fn the_official_client_lists_chats_streams_and_calls_a_tool() {
    let Some(python) = std::env::var_os("AGENTRY_TEST_PYTHON") else {
        return skip();
    };
    let server = Running::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/openai_chat.py");
    let mut client = Command::new(python);
    client.arg(script).arg(format!("http://{}/v1", server.address));
    let output = finish(client);
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert_eq!(said.lines().last(), Some("all 9 steps passed"), "{said}\n{errors}");
    server.assert_healthy("the client");
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests should know what was not run")]
fn skip() {
    eprintln!("skipped: AGENTRY_TEST_PYTHON names no Python with the `openai` package");
}
