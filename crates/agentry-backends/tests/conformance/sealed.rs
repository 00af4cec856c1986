//! Encrypted stores against the same contracts, and what only they promise.

use std::path::Path;
use std::sync::Arc;

use agentry_backends::memory::MemoryStore;
use agentry_backends::postgres::PostgresStore;
use agentry_backends::sealed::{KeyError, Keyring, Sealed, arrange};
use agentry_backends::sqlite::SqliteStore;
use agentry_core::items::{
    Batch, Filter, Id, Index, Items, Namespace, Put, Search, Words, Write as ItemWrite,
};
use agentry_core::listing::Span;
use agentry_core::run::{Answer, Delta, Effect, Event, Message, Seq};
use agentry_core::thread::{
    Absent, Commit, Entry, EventId, Interrupt, Loaded, Multitask, NewRun, NewThread, Next, Pinned,
    Priority, Rest, RunChange, RunStatus, Snapshot, Write,
};
use agentry_core::threads::{At, Claim, Claimed, From, Intake, Keep, Signal, ThreadStore, Threads};
use agentry_core::{RunId, ThreadId, Timestamp};
use agentry_testkit::kind::{Files, Kind as _, Memory, Schemas};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

mod beside;

const SECRET: &str = "the-otter-sleeps-at-noon";
const FIRST: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const SECOND: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

fn keys(secrets: &[&str]) -> Arc<Keyring> {
    let secrets: Vec<SecretString> = secrets.iter().map(|it| (*it).into()).collect();
    Arc::new(Keyring::parse(&secrets).unwrap())
}

fn sealed<S>(store: S) -> Sealed<S> {
    Sealed::new(Arc::new(store), keys(&[FIRST]))
}

fn memory() -> Memory<Sealed<MemoryStore>> {
    Memory::new(|| sealed(MemoryStore::new()))
}

fn sqlite() -> Files<Sealed<SqliteStore>> {
    Files::new(|path| sealed(SqliteStore::open(path).unwrap()))
}

fn postgres(test: &str) -> Option<Schemas<Sealed<PostgresStore>>> {
    Schemas::new(&format!("sealed_{test}"), |url| {
        Box::pin(async move {
            sealed(PostgresStore::open(&format!("{url}&clock=caller")).await.unwrap())
        })
    })
}

macro_rules! everywhere {
    ($suite:ident: $($name:ident)*) => {
        mod $suite {
            $(mod $name {
                #[tokio::test]
                async fn memory() {
                    agentry_testkit::$suite::$name(&super::super::memory()).await;
                }

                #[tokio::test]
                async fn sqlite() {
                    agentry_testkit::$suite::$name(&super::super::sqlite()).await;
                }

                #[tokio::test]
                async fn postgres() {
                    let name = concat!(stringify!($suite), "_", stringify!($name));
                    let Some(kind) = super::super::postgres(name) else { return };
                    agentry_testkit::$suite::$name(&kind).await;
                }
            })*
        }
    };
}

agentry_testkit::for_each_thread_test!(everywhere);
agentry_testkit::for_each_items_test!(everywhere);
agentry_testkit::for_each_assistants_test!(everywhere);
agentry_testkit::for_each_crons_test!(everywhere);
agentry_testkit::for_each_batches_test!(everywhere);
// But for the bound, to which the seal belongs.
everywhere! { idempotency:
    a_key_belongs_to_one_tenant_and_one_request
    a_forgotten_user_leaves_no_answer
    a_request_is_answered_once_and_then_replayed
    an_answer_is_kept_as_long_as_was_said
    one_of_many_answers
    what_was_abandoned_or_left_behind_is_taken_over
}

#[tokio::test]
async fn encrypted_files_agree_with_memory() {
    agentry_testkit::threads::agrees_with(&crate::kinds::memory(), &sqlite(), 50).await;
}

#[tokio::test]
async fn an_encrypted_server_agrees_with_memory() {
    let Some(kind) = postgres("agree") else { return };
    agentry_testkit::threads::agrees_with(&crate::kinds::memory(), &kind, 5).await;
}

fn now() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
}

fn program() -> Pinned {
    Pinned { graph: "g".to_owned(), version: "1".to_owned() }
}

fn run(number: &str) -> NewRun {
    let id = RunId::derived(now(), number);
    NewRun {
        id,
        thread: id.own_thread(),
        tenant: "main".to_owned(),
        key: None,
        program: program(),
        input: json!({ "topic": SECRET }),
        answers: Vec::new(),
        multitask: Multitask::Enqueue,
        priority: Priority::Normal,
        absent: Absent::Create,
        metadata: Map::new(),
        created: now(),
        not_before: None,
        deadline: None,
    }
}

fn claim() -> Claim {
    Claim {
        worker: "w".to_owned(),
        now: now(),
        lease_until: now().plus(std::time::Duration::from_secs(60)),
        threads_max: 8,
        programs: vec![program()],
    }
}

fn write(channel: &str, delta: Delta) -> Write {
    Write { ns: String::new(), channel: channel.to_owned(), delta }
}

fn entry(seq: u64, run: RunId, writes: Vec<Write>) -> Entry {
    Entry {
        seq: Seq(seq),
        parent: Seq(seq - 1),
        run: Some(run),
        at: now(),
        checkpoints: Vec::new(),
        writes,
        body: json!([{ "moved": SECRET, "seq": seq }]),
    }
}

fn commit(claimed: &Claimed, entry: Entry) -> Commit {
    Commit {
        thread: claimed.loaded.thread.id,
        fence: claimed.fence,
        entry,
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
    }
}

fn large(letter: char) -> String {
    format!("{SECRET}{}", String::from(letter).repeat(40_000))
}

/// Every kind of write, and a state that they come to.
fn writes() -> [Vec<Write>; 2] {
    let first = vec![
        write("text", Delta::Set(SECRET.into())),
        write("large", Delta::Set(large('a').into())),
        write("list", Delta::Set(json!([1, SECRET, large('b'), { "x": null }]))),
        write("object", Delta::Set(json!({ "big": large('c'), "gone": 1, SECRET: [2] }))),
        write("late", Delta::Append(vec![1.into()])),
    ];
    let second = vec![
        write("list", Delta::Append(vec![large('d').into(), 2.into()])),
        write(
            "object",
            Delta::Merge(Map::from_iter([
                ("gone".to_owned(), Value::Null),
                ("big".to_owned(), large('e').into()),
                (format!("{SECRET}-more"), 7.into()),
            ])),
        ),
    ];
    [first, second]
}

fn question(thread: ThreadId, run: RunId) -> Interrupt {
    Interrupt {
        thread,
        run,
        id: "q".to_owned(),
        ns: String::new(),
        node: "ask".to_owned(),
        question: Some(json!({ "ask": SECRET })),
        schema: Some(json!({ "title": SECRET })),
        opened: now(),
        deadline: None,
        on_timeout: json!({ "default": SECRET }),
        escalations: 0,
        answer: None,
    }
}

/// A thread that holds the secret in every place there is for it; what is loaded of it.
async fn fill<S: ThreadStore + Threads + Items>(store: &S) -> Loaded {
    let run = run("one");
    let (id, thread) = (run.id, run.thread);
    let message = |id: &str| Message {
        id: id.to_owned(),
        channel: "news".to_owned(),
        payload: SECRET.into(),
        at: now(),
    };
    let intake = Intake {
        submit: vec![run],
        messages: vec![(thread, message("with"))],
        ..Intake::default()
    };
    store.intake(intake).await.unwrap();
    store.signal(thread, Signal::Message(message("later"))).await.unwrap();
    let claimed = store.claim(claim()).await.unwrap().remove(0);
    let [first, second] = writes();
    let event = Event { at: now(), kind: "told".to_owned(), detail: json!({ "of": SECRET }) };
    let mut one = commit(&claimed, entry(1, id, first));
    one.events = vec![event.clone(), event];
    store.commit(one).await.unwrap();
    let done = Effect::Done { value: json!([SECRET]) };
    store.journal(thread, claimed.fence, "called", done).await.unwrap();
    let mut two = commit(&claimed, entry(2, id, second));
    two.opened = vec![question(thread, id)];
    two.next = Next::Rest { status: Rest::Interrupted, wake_at: None };
    let reason = Some(format!("it says {SECRET}"));
    two.runs =
        vec![RunChange { run: id, status: RunStatus::Interrupted, base: Some(Seq(0)), reason }];
    store.commit(two).await.unwrap();
    let answer = Answer { value: SECRET.into(), actor: "ann".to_owned(), at: now() };
    let answer = Signal::Answer { interrupt: "q".to_owned(), answer, audit: Vec::new() };
    store.signal(thread, answer).await.unwrap();
    let value = Map::from_iter([("note".to_owned(), Value::from(SECRET))]);
    let put = Put { id: item(), value, index: Index::All, ttl: None };
    let batch = Batch::new(vec![ItemWrite::Put(put)]).unwrap();
    store.write("main", batch, now()).await.unwrap();
    store.load(thread).await.unwrap().unwrap()
}

fn item() -> Id {
    Id { namespace: Namespace::new(["notes"]).unwrap(), key: "k".to_owned() }
}

async fn everything<S: ThreadStore + Threads + Items>(store: &S) -> Value {
    let thread = RunId::derived(now(), "one").own_thread();
    let loaded = store.load(thread).await.unwrap().unwrap();
    let told = store.events(thread, None, EventId::default(), 10).await.unwrap();
    let item = store.item("main", &item(), now()).await.unwrap().unwrap();
    Value::String(format!("{loaded:?} {told:?} {item:?}"))
}

/// What a folder's files hold, with and without base64 of what people wrote.
fn assert_nothing_readable(bytes: &[u8], place: &str) {
    for needle in [SECRET.as_bytes(), b"default", b"moved"] {
        let found = bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!found, "{place} holds {:?}", String::from_utf8_lossy(needle));
    }
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

#[tokio::test]
async fn what_a_file_holds_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.db");
    let expected = {
        let plain = SqliteStore::open(&path).unwrap();
        fill(&plain).await;
        beside::fill(&plain).await;
        let open = files(folder.path());
        let holds = |bytes: &[u8]| bytes.windows(SECRET.len()).any(|it| it == SECRET.as_bytes());
        assert!(open.iter().any(|(_, bytes)| holds(bytes)), "the search finds what is there");
        (everything(&plain).await, beside::everything(&plain).await)
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sealed.db");
    {
        let store = sealed(SqliteStore::open(&path).unwrap());
        fill(&store).await;
        beside::fill(&store).await;
        assert_eq!((everything(&store).await, beside::everything(&store).await), expected);
        // While it is open there is a write-ahead log.
        for (file, bytes) in files(folder.path()) {
            assert_nothing_readable(&bytes, &file);
        }
    }
    for (file, bytes) in files(folder.path()) {
        assert_nothing_readable(&bytes, &file);
    }
    let store = sealed(SqliteStore::open(&path).unwrap());
    assert_eq!((everything(&store).await, beside::everything(&store).await), expected);
}

#[tokio::test]
async fn what_a_server_holds_says_nothing() {
    let Some(kind) = postgres("bytes") else { return };
    let store = kind.fresh().await;
    fill(&store).await;
    beside::fill(&store).await;
    let connecting = tokio_postgres::connect(kind.server(), tokio_postgres::NoTls);
    let (client, driver) = connecting.await.unwrap();
    tokio_util::task::TaskTracker::new().spawn(driver);
    let schema = kind.schema();
    let tables = "SELECT tablename FROM pg_tables WHERE schemaname = $1";
    let tables = client.query(tables, &[&schema]).await.unwrap();
    assert!(tables.len() > 10);
    for table in tables {
        let table: String = table.get(0);
        let all = format!("SELECT coalesce(string_agg(t::text, ' '), '') FROM {schema}.{table} t");
        let all: String = client.query_one(&all, &[]).await.unwrap().get(0);
        assert_nothing_readable(all.as_bytes(), &table);
    }
}

#[tokio::test]
async fn a_pruned_thread_and_its_copies_hold_what_they_held() {
    let kind = sqlite();
    let store = kind.fresh().await;
    let loaded = fill(&store).await;
    let thread = loaded.thread.id;
    let fold = |line: agentry_core::thread::Line| {
        let mut states = line.snapshot.map(|it| it.states).unwrap_or_default();
        for write in line.entries.into_iter().flat_map(|entry| entry.writes) {
            write.delta.apply(states.entry(write.ns).or_default(), write.channel);
        }
        states
    };
    let expected = fold(loaded.line.clone());
    let object = expected.get("").unwrap().get("object").unwrap().as_object().unwrap();
    assert_eq!(
        object.keys().collect::<Vec<_>>(),
        ["big", "gone", SECRET, &format!("{SECRET}-more")]
    );
    let mut of = thread;
    for number in 0..3 {
        let copy = ThreadId::derived(now(), &format!("copy {number}"));
        let metadata = Map::from_iter([("~copy_of".to_owned(), Value::from("me"))]);
        let tenant = "main".to_owned();
        let to = NewThread { id: copy, tenant, metadata, created: now(), keep_for: None };
        assert!(store.copy(of, to).await.unwrap());
        let copied = store.load(copy).await.unwrap().unwrap();
        assert_eq!(copied.thread.metadata, Map::new());
        assert_eq!(copied.journal, loaded.journal);
        assert_eq!(fold(copied.line), expected);
        // Its answer is awaited no longer than the original's is.
        store
            .describe(copy, Map::from_iter([("~copy_of".to_owned(), Value::Null)]), now())
            .await
            .unwrap();
        let removed = store.prune(copy, Keep::Latest).await.unwrap();
        assert_eq!(removed, if number == 0 { 1 } else { 0 });
        let line = store.line(copy, At::Head, From::Root).await.unwrap().unwrap();
        assert_eq!(fold(line), expected);
        of = copy;
    }
}

#[tokio::test]
async fn a_large_value_is_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = sealed(SqliteStore::open(folder.path().join("a.db")).unwrap());
    let run = run("large");
    let id = run.id;
    store.submit(run).await.unwrap();
    let claimed = store.claim(claim()).await.unwrap().remove(0);
    let mut all = Vec::new();
    for seq in 1..=20 {
        let item: Value = format!("{seq}{}", large('x')).into();
        all.push(item.clone());
        let writes = vec![write("list", Delta::Append(vec![item]))];
        let mut commit = commit(&claimed, entry(seq, id, writes));
        let values = [("list".to_owned(), Value::from(all.clone()))].into();
        let states = [(String::new(), values)].into();
        commit.snapshot = Some(Snapshot { seq: Seq(seq), states, body: Value::Null });
        store.commit(commit).await.unwrap();
    }
    drop(store);
    let bytes: usize = files(folder.path()).iter().map(|(_, bytes)| bytes.len()).sum();
    // Ten times as much when each snapshot has its own.
    assert!(bytes < 20 * 40_000 * 2, "{bytes} bytes");
}

async fn check_open(kind: &Files<SqliteStore>, with: &[&[&str]], expected: Result<(), &str>) {
    let mut store = kind.fresh().await;
    let mut last = Ok(());
    for secrets in with {
        let secrets: Vec<SecretString> = secrets.iter().map(|it| (*it).into()).collect();
        let keys = (!secrets.is_empty()).then(|| Keyring::parse(&secrets).unwrap());
        last = arrange(&store, keys.as_ref(), now()).await.unwrap();
        store = kind.reopen(store).await;
    }
    let problem = last.map_err(|problem| problem.to_string());
    match expected {
        Ok(()) => assert_eq!(problem, Ok(())),
        Err(part) => {
            let problem = problem.unwrap_err();
            assert!(problem.contains(part), "{problem}");
        }
    }
}

#[tokio::test]
async fn a_key_that_is_missing_or_another_one_is_found_when_the_store_is_opened() {
    let kind = crate::kinds::sqlite();
    check_open(&kind, &[&[]], Ok(())).await;
    check_open(&kind, &[&[], &[FIRST]], Ok(())).await;
    check_open(&kind, &[&[FIRST], &[FIRST]], Ok(())).await;
    check_open(&kind, &[&[FIRST], &[]], Err("set `[storage] encryption_key`")).await;
    check_open(&kind, &[&[FIRST], &[SECOND]], Err("add it behind the first one")).await;
    check_open(&kind, &[&[FIRST], &[SECOND, FIRST], &[SECOND]], Ok(())).await;
    check_open(&kind, &[&[FIRST], &[SECOND, FIRST], &[FIRST]], Err("was last written with")).await;
}

#[test]
fn a_key_is_32_bytes_in_base64() {
    let check = |secrets: &[&str], expected: Option<KeyError>| {
        let secrets: Vec<SecretString> = secrets.iter().map(|it| (*it).into()).collect();
        assert_eq!(Keyring::parse(&secrets).err(), expected);
    };
    check(&[FIRST], None);
    check(&[FIRST.trim_end_matches('='), SECOND], None);
    check(&[], Some(KeyError::Number));
    check(&["secret"], Some(KeyError::Malformed(1)));
    check(&[FIRST, "MDEyMw=="], Some(KeyError::Malformed(2)));
    check(&[FIRST, FIRST], Some(KeyError::Twice(2)));
    assert!(!format!("{:?}", keys(&[FIRST])).contains("MDEy"));
}

#[tokio::test]
async fn old_values_stay_readable_when_the_key_changes() {
    let store = Arc::new(MemoryStore::new());
    let plain = fill(&*store).await;
    // What was there before there was a key is read as it is.
    let first = Sealed::new(Arc::clone(&store), keys(&[FIRST]));
    assert_eq!(first.load(plain.thread.id).await.unwrap(), Some(plain));
    let store = Arc::new(MemoryStore::new());
    let first = Sealed::new(Arc::clone(&store), keys(&[FIRST]));
    let loaded = fill(&first).await;
    let id = loaded.thread.id;
    let both = Sealed::new(Arc::clone(&store), keys(&[SECOND, FIRST]));
    assert_eq!(both.load(id).await.unwrap(), Some(loaded));
    let second = Sealed::new(store, keys(&[SECOND]));
    let problem = second.load(id).await.unwrap_err().to_string();
    assert!(problem.contains("add that key to `[storage] encryption_key`"), "{problem}");
}

#[tokio::test]
async fn a_value_in_another_ones_place_is_refused() {
    let store = Arc::new(MemoryStore::new());
    let ring = Sealed::new(Arc::clone(&store), keys(&[FIRST]));
    let loaded = fill(&ring).await;
    let raw = store.load(loaded.thread.id).await.unwrap().unwrap();
    let check = async |input: Value| {
        let run = NewRun { input, ..run("two") };
        let id = run.id;
        store.submit(run).await.unwrap();
        let problem = ring.run(id).await.unwrap_err().to_string();
        assert!(problem.contains("somebody has changed it"), "{problem}");
        assert!(store.delete(id.own_thread()).await.unwrap());
    };
    // Of another thread, and another value of it.
    check(raw.runs[0].input.clone()).await;
    check(raw.line.entries[0].body.clone()).await;
    let Value::String(text) = &raw.runs[0].input else { panic!("not sealed: {:?}", raw.runs) };
    check(text[..text.len() - 2].into()).await;
}

#[tokio::test]
async fn searches_look_into_encrypted_items() {
    let store = sealed(MemoryStore::new());
    fill(&store).await;
    let check = async |filter: Value, words: &str, found: usize| {
        let search = Search {
            prefix: Namespace::default(),
            filter: Filter::parse(filter.as_object().unwrap()).unwrap(),
            query: Words::new(words),
            span: Span::new(0, 10).unwrap(),
        };
        assert_eq!(store.search("main", &search, now()).await.unwrap().len(), found);
    };
    check(json!({}), "otter", 1).await;
    check(json!({}), "beaver", 0).await;
    check(json!({ "note": SECRET }), "", 1).await;
    check(json!({ "note": "other" }), "", 0).await;
}
