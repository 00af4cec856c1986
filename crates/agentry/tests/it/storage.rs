//! Copies of the database, and whether they are whole.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};

use crate::support::{CONFIG, Running, agentry, finish};

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
