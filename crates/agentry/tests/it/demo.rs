//! `agentry demo` as a newcomer runs it.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::agentry;

/// Whether the culprit comes first is measured by `cargo xtask bench incident`, not here: a busy machine is no defect.
#[test]
fn the_demo_ends_with_one_json_object_that_tells_the_whole_story() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = agentry(folder.path());
    command.args([
        "demo", "--once", "--json", "--fault", "hang", "--seed", "1", "--yes", "--folder", "kept",
    ]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let begun = std::time::Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(120) {
            child.kill().unwrap();
            panic!("the demo did not end");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let told: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    for field in
        ["fault", "service", "suspects", "correct_rank", "detect_seconds", "diagnose_seconds"]
    {
        assert!(told.get(field).is_some(), "no {field} in {told}");
    }
    assert_eq!(
        (told["fault"].as_str(), told["incidents"].as_u64()),
        (Some("hang"), Some(1)),
        "{told}"
    );
    assert!(told["firings"].as_u64() >= Some(1), "{told}");
    assert_eq!(told["audit_verified"], true);
    for suspect in told["suspects"].as_array().unwrap() {
        assert!(!suspect["evidence"].as_array().unwrap().is_empty(), "{suspect}");
        assert!(suspect["score"].is_number() && suspect["service"].is_string(), "{suspect}");
    }
    let ticket = told["ticket"]["link"].as_str().unwrap();
    let ticket: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join(ticket)).unwrap()).unwrap();
    assert!(ticket.to_string().contains("INC-1"), "{ticket}");
}
