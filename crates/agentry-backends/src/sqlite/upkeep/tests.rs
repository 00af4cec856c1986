use agentry_core::RunId;
use agentry_core::Timestamp;
use agentry_core::audit;
use agentry_core::run::{Delta, Seq};
use agentry_core::thread::{
    Absent, Commit, Entry, Multitask, NewRun, Next, Pinned, Priority, Write,
};
use agentry_core::threads::{Claim, Intake, ThreadStore};
use serde_json::{Map, Value};

use super::{check as check_file, *};

fn run(number: u8) -> NewRun {
    let id = RunId::new(Timestamp::from_millis(1), [number; 10]);
    NewRun {
        id,
        thread: id.own_thread(),
        tenant: "main".to_owned(),
        key: None,
        program: Pinned { graph: "g".to_owned(), version: "1".to_owned() },
        input: Value::Null,
        answers: Vec::new(),
        multitask: Multitask::default(),
        priority: Priority::default(),
        absent: Absent::Create,
        metadata: Map::new(),
        created: Timestamp::from_millis(1),
        not_before: None,
        deadline: None,
    }
}

/// A thread with two entries, the second one with a large value, and an audit log.
async fn filled(path: &Path) -> SqliteStore {
    let store = SqliteStore::open(path).unwrap();
    let entry = |number: u32| audit::Entry {
        at: Timestamp::from_millis(0),
        actor: "system".to_owned(),
        action: "a".to_owned(),
        subject: number.to_string(),
        detail: Value::Null,
    };
    let intake = Intake { audit: vec![entry(1), entry(2)], ..Intake::default() };
    ThreadStore::intake(&store, intake).await.unwrap();
    ThreadStore::submit(&store, run(1)).await.unwrap();
    let claim = Claim {
        worker: "w".to_owned(),
        now: Timestamp::from_millis(1),
        lease_until: Timestamp::from_millis(9),
        threads_max: 1,
        programs: vec![run(1).program],
    };
    let claimed = ThreadStore::claim(&store, claim).await.unwrap().remove(0);
    for seq in 1..=2 {
        let delta = Delta::Set("x".repeat(seq * 10_000).into());
        let commit = Commit {
            thread: run(1).thread,
            fence: claimed.fence,
            entry: Entry {
                seq: Seq(seq as u64),
                parent: Seq(seq as u64 - 1),
                run: Some(run(1).id),
                at: Timestamp::from_millis(2),
                checkpoints: Vec::new(),
                writes: vec![Write { ns: String::new(), channel: "a".to_owned(), delta }],
                body: Value::Null,
            },
            next: Next::Running,
            runs: Vec::new(),
            opened: Vec::new(),
            closed: Vec::new(),
            postponed: Vec::new(),
            consumed: Vec::new(),
            forgotten: Vec::new(),
            events: Vec::new(),
            snapshot: None,
            audit: Vec::new(),
            program: None,
        };
        ThreadStore::commit(&store, commit).await.unwrap();
    }
    store
}

#[tokio::test]
async fn a_copy_of_a_database_in_use_has_all_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("a.db"), folder.path().join("copy.db"));
    let store = filled(&path).await;
    let expected = ThreadStore::load(&store, run(1).thread).await.unwrap();
    assert!(store.back_up(&copy).await.unwrap() > 20_000);
    let again = store.back_up(&copy).await.unwrap_err();
    assert_eq!(
        again.to_string(),
        format!("{} is there already; name another file", copy.display())
    );
    let restored = SqliteStore::open(&copy).unwrap();
    assert_eq!(ThreadStore::load(&restored, run(1).thread).await.unwrap(), expected);
    let nowhere = back_up(&folder.path().join("no.db"), &folder.path().join("b.db")).unwrap_err();
    assert!(nowhere.to_string().contains("is not there"), "{nowhere}");
}

#[tokio::test]
async fn damage_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, damage: &str, expected: &str| {
        let path = folder.path().join(name);
        fs::copy(folder.path().join("whole.db"), &path).unwrap();
        Connection::open(&path).unwrap().execute_batch(damage).unwrap();
        let problems = check_file(&path).unwrap();
        let thread = run(1).thread.to_string();
        let expected = expected.replace("THREAD", &thread);
        assert!(problems.iter().any(|problem| problem.contains(&expected)), "{problems:?}");
    };
    drop(filled(&folder.path().join("whole.db")).await);
    assert_eq!(check_file(&folder.path().join("whole.db")).unwrap(), Vec::<String>::new());

    check(
        "a",
        "DELETE FROM entries WHERE seq = 1",
        "entry 2 of thread THREAD builds on an entry that is not there",
    );
    check("b", "DELETE FROM blobs", "a large value of entry 2 of thread THREAD is missing");
    check(
        "c",
        "UPDATE entries SET body = '{' WHERE seq = 1",
        "entry 1 of thread THREAD is not readable",
    );
    check("d", "DELETE FROM threads", "belongs to no thread");
    check(
        "e",
        "DROP TRIGGER audit_is_not_changed; UPDATE audit SET entry = '' WHERE number = 2",
        "audit log: record 2 was changed",
    );
    check(
        "f",
        "PRAGMA writable_schema = ON;
         DELETE FROM sqlite_schema WHERE name = 'entries_fork';
         PRAGMA writable_schema = OFF;",
        "never used",
    );
}
