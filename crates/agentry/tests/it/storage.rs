//! Copies of the database, and whether they are whole.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::process::Command;

use serde_json::json;

use crate::support::{CONFIG, Running, agentry, finish, get, post};

#[test]
fn a_database_in_use_is_copied_and_checked() {
    let server = Running::with(&CONFIG.replace("memory:", "sqlite:a.db"));
    let folder = server.folder.path().to_owned();
    let told = |arguments: &[&str]| {
        let mut command = agentry(&folder);
        command.arg("storage").args(arguments);
        let output = finish(command);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };

    let (code, said) = told(&["backup", "copy.db"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("bytes and is whole"), "{said}");
    let (code, said) = told(&["backup", "copy.db"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is there already; name another file"), "{said}");
    for arguments in [&["check"][..], &["check", "copy.db"]] {
        let (code, said) = told(arguments);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("is whole"), "{said}");
    }
    let mut copy = fs::OpenOptions::new().write(true).open(folder.join("copy.db")).unwrap();
    copy.seek(SeekFrom::Start(5 * 4_096)).unwrap();
    copy.write_all(&[0xff; 4_096]).unwrap();
    assert_eq!(told(&["check", "copy.db"]).0, Some(1));
    let (code, said) = told(&["check", "nowhere.db"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nowhere.db is not there"), "{said}");
    server.assert_healthy("copies");
}

/// The limit of a process's file sizes is told to it by a signal that ends it, unless it asks for an error instead.
#[test]
fn a_file_that_may_not_grow_refuses_and_loses_nothing() {
    let server = Running::with(&CONFIG.replace("memory:", "sqlite:a.db"));
    let pid = server.pid().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, "--fsize=1500000"]).status();
    if !limited.is_ok_and(|status| status.success()) {
        std::io::stderr().write_all(b"skipped: there is no `prlimit` here\n").unwrap();
        return;
    }
    let body = json!({ "metadata": { "pad": "x".repeat(30_000) } }).to_string();
    let (mut kept, mut refused) = (Vec::new(), None);
    for _ in 0..200 {
        let (status, said) = server.json(&post("/threads", body.clone()));
        match status {
            200 => kept.push(said["thread_id"].as_str().unwrap().to_owned()),
            _ => {
                refused = Some((status, said["code"].clone()));
                break;
            }
        }
    }
    assert_eq!(refused, Some((503, json!("storage_unavailable"))));
    let server = Running::again(server.kill_hard());
    for thread in kept {
        assert_eq!(server.json(&get(&format!("/threads/{thread}"))).0, 200, "{thread}");
    }
}
