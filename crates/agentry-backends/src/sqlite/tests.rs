use std::path::Path;

use agentry_core::thread::{Absent, Multitask, NewRun, Pinned, Priority};
use agentry_core::threads::{Claim, Intake, RunQuery, Submitted, ThreadStore as _, Threads as _};
use agentry_core::{RunId, Timestamp, audit};
use rusqlite::Connection;
use serde_json::json;

use super::*;

fn new_run(number: u8) -> NewRun {
    let created = Timestamp::from_millis(i64::from(number));
    let id = RunId::new(created, [number; 10]);
    NewRun {
        id,
        thread: id.own_thread(),
        tenant: "main".to_owned(),
        key: Some(number.to_string()),
        program: Pinned { graph: "g".to_owned(), version: "1".to_owned() },
        input: json!({ "text": "x".repeat(100_000) }),
        answers: Vec::new(),
        multitask: Multitask::default(),
        priority: Priority::default(),
        absent: Absent::Create,
        metadata: serde_json::Map::new(),
        created,
        not_before: None,
        deadline: None,
    }
}

fn refused(path: &Path) -> OpenError {
    SqliteStore::open(path).err().expect("it is not opened")
}

#[test]
fn a_file_that_cannot_be_used_says_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let check = |name: &str, expected: &str| {
        let problem = refused(&path(name)).to_string();
        assert!(problem.contains(expected), "{problem}");
        assert!(problem.contains(folder.path().to_str().unwrap()), "{problem}");
    };

    std::fs::write(path("text"), "This is not a database. ".repeat(100)).unwrap();
    check("text", "is not an Agentry database; name another file");
    let other = Connection::open(path("other")).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    check("other", "is not an Agentry database; name another file");
    drop(SqliteStore::open(path("newer")).unwrap());
    Connection::open(path("newer")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    check("newer", "was written by a newer Agentry (schema 99, this one knows ");
    std::fs::create_dir(path("folder")).unwrap();
    check("folder", "it is a folder");
    check("nowhere/a.db", "cannot be opened: No such file");
    let held = SqliteStore::open(path("held")).unwrap();
    check("held", &format!("is in use by process {}; stop that process", std::process::id()));
    drop(held);
    SqliteStore::open(path("held")).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_place_that_cannot_be_written_says_so() {
    let problem = refused(Path::new("/sys/agentry.db")).to_string();
    assert_eq!(
        problem,
        "/sys/agentry.db cannot be written; check the permissions of the file and its folder"
    );
}

#[cfg(unix)]
#[test]
fn a_link_to_an_open_file_is_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("a.db"), folder.path().join("link.db"));
    let _held = SqliteStore::open(&path).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(refused(&link), OpenError::InUse { .. }));
}

#[tokio::test]
async fn a_writer_that_another_program_locks_out_says_so_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let store = SqliteStore::open(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let problem = store.submit(new_run(1)).await.unwrap_err();
    assert!(problem.to_string().contains("locked by another program"), "{problem}");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.submit(new_run(1)).await, Ok(Submitted::Created(new_run(1).id)));
}

#[tokio::test]
async fn the_audit_log_refuses_changes_and_deletions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let store = SqliteStore::open(&path).unwrap();
    let entry = audit::Entry {
        at: Timestamp::from_millis(0),
        actor: "system".to_owned(),
        action: "a".to_owned(),
        subject: "b".to_owned(),
        detail: serde_json::Value::Null,
    };
    store.intake(Intake { audit: vec![entry], ..Intake::default() }).await.unwrap();
    let other = Connection::open(&path).unwrap();
    for change in ["UPDATE audit SET entry = ''", "DELETE FROM audit"] {
        let problem = other.execute(change, []).unwrap_err().to_string();
        assert_eq!(problem, "the audit log is append-only");
    }
}

/// A store whose writer's connection was prepared by `sql`.
fn prepared(folder: &Path, sql: &str) -> SqliteStore {
    let path = folder.join("a.db");
    let lock = schema::lock(&path).unwrap();
    let connection = schema::open_writer(&path).unwrap();
    connection.execute_batch(sql).unwrap();
    let (queue, writer) = writer::queue();
    let thread = std::thread::spawn(move || writer.run(&connection, write::Chain::default()));
    let readers = Readers::new(path);
    SqliteStore { queue: Some(queue), readers, thread: Some(thread), _lock: lock }
}

#[tokio::test]
async fn a_full_disk_refuses_what_does_not_fit_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = prepared(folder.path(), "PRAGMA max_page_count = 80");
    let mut refused = None;
    for number in 1..10 {
        if let Err(problem) = store.submit(new_run(number)).await {
            refused = Some((number, problem));
            break;
        }
    }
    let (number, problem) = refused.expect("the file has a limit");
    assert_eq!(
        problem.to_string(),
        "the store cannot take this now: the disk is full; free some space"
    );
    let small = NewRun { input: json!(null), ..new_run(number) };
    assert!(store.submit(small).await.is_ok(), "something small still fits");
    let found = store.runs(RunQuery { max: 99, ..RunQuery::default() }).await.unwrap();
    assert_eq!(found.len(), usize::from(number));
}

#[tokio::test]
async fn after_a_failed_commit_nothing_is_acknowledged_any_more() {
    let folder = tempfile::tempdir().unwrap();
    // The constraint is only checked by COMMIT.
    let store = prepared(
        folder.path(),
        "PRAGMA foreign_keys = ON;
         CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER broken AFTER INSERT ON thread_runs WHEN new.key = '2'
           BEGIN INSERT INTO child VALUES (1); END;",
    );
    assert!(store.submit(new_run(1)).await.is_ok());
    let doubtful = store.submit(new_run(2)).await;
    assert!(matches!(doubtful, Err(Error::Ambiguous(_))), "{doubtful:?}");
    let closed = store.submit(new_run(3)).await;
    assert!(matches!(closed, Err(Error::Fatal(_))), "{closed:?}");
}

#[tokio::test]
async fn in_a_batch_too_nothing_is_acknowledged_after_a_failed_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let lock = schema::lock(&path).unwrap();
    let connection = schema::open_writer(&path).unwrap();
    connection
        .execute_batch(
            "PRAGMA foreign_keys = ON;
             CREATE TABLE parent (id INTEGER PRIMARY KEY);
             CREATE TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
             CREATE TRIGGER refused BEFORE INSERT ON thread_runs WHEN new.key = '1'
               BEGIN SELECT raise(ABORT, 'not this one'); END;
             CREATE TRIGGER broken AFTER INSERT ON thread_runs WHEN new.key = '2'
               BEGIN INSERT INTO child VALUES (1); END;",
        )
        .unwrap();
    let (queue, writer) = writer::queue();
    let (queue, readers) = (Some(queue), Readers::new(path));
    let mut store = SqliteStore { queue, readers, thread: None, _lock: lock };
    let submit = |number| store.submit(new_run(number));
    // All three have queued up when the writer begins.
    let (first, second, third, thread) = tokio::join!(biased; submit(1), submit(2), submit(3), async {
        std::thread::spawn(move || writer.run(&connection, write::Chain::default()))
    });
    assert!(matches!(first, Err(Error::Refused(_))), "{first:?}");
    assert!(matches!(second, Err(Error::Ambiguous(_))), "{second:?}");
    assert!(matches!(third, Err(Error::Fatal(_))), "{third:?}");
    store.queue = None;
    thread.join().unwrap();
}

#[tokio::test]
async fn a_run_that_cannot_be_read_does_not_hold_up_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let store = SqliteStore::open(&path).unwrap();
    for number in 1..=3 {
        store.submit(new_run(number)).await.unwrap();
    }
    let other = Connection::open(&path).unwrap();
    other.execute("UPDATE thread_runs SET input = '{' WHERE key = '2'", []).unwrap();
    let now = Timestamp::from_millis(10);
    let claim = Claim {
        worker: "w".to_owned(),
        now,
        lease_until: now,
        threads_max: 9,
        programs: vec![new_run(1).program],
    };
    let claimed = store.claim(claim).await.unwrap();
    let ids: Vec<_> = claimed.iter().map(|claimed| claimed.loaded.thread.id).collect();
    assert_eq!(ids, [new_run(1).thread, new_run(3).thread]);
}
