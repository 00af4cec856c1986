//! Database files that cannot be used.

use crate::support::{Running, agentry, finish};

/// `agentry serve` with this storage must end with 1 and say why.
fn check(name: &str, url: &str, says: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("[server]\nlisten = \"127.0.0.1:0\"\n[storage]\nurl = \"{url}\"\n");
    std::fs::write(folder.path().join("agentry.toml"), &config).unwrap();
    let mut command = agentry(folder.path());
    command.arg("serve");
    let output = finish(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{name}: {said}");
    assert!(output.stdout.is_empty(), "{name}: it said that it listens");
    for says in says {
        assert!(said.contains(says), "{name}: no {says:?} in {said}");
    }
    let kept = std::fs::read_to_string(folder.path().join("agentry.toml")).unwrap();
    assert_eq!(kept, config, "{name}: a file that is not ours was changed");
}

#[test]
fn a_database_that_cannot_be_used_is_named_with_the_mend() {
    check(
        "another kind of file",
        "sqlite:agentry.toml",
        &["agentry.toml", "is not an Agentry database"],
    );
    check("a folder", "sqlite:.", &["cannot be"]);
    check("a folder that does not exist", "sqlite:gone/agentry.db", &["gone/agentry.db"]);
    check("a place that takes no files", "sqlite:/proc/agentry.db", &["/proc/agentry.db"]);
}

#[test]
fn a_second_instance_on_the_same_file_is_refused_and_the_first_goes_on() {
    let first = Running::with("[server]\nlisten = \"127.0.0.1:0\"\n");
    let mut second = agentry(first.folder.path());
    second.arg("serve");
    let output = finish(second);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("agentry.db") && said.contains(&first.pid().to_string()), "{said}");
    first.assert_healthy("the second instance");
}
