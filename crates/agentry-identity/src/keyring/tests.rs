use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use agentry_backends::memory::MemoryStore;
use agentry_backends::postgres::PostgresStore;
use agentry_core::keys::Terms;
use async_trait::async_trait;

use super::*;
use crate::Secret;

fn at(seconds: i32) -> Timestamp {
    Timestamp::from_seconds(1_000_000 + seconds)
}

fn secret(number: u8) -> Secret {
    Secret::of([number; 32])
}

fn key(number: u8, name: &str) -> Key {
    Key {
        id: format!("key_{number}"),
        digest: secret(number).digest(),
        hint: secret(number).hint(),
        tenant: "main".to_owned(),
        name: name.to_owned(),
        team: None,
        user: Some("alice".to_owned()),
        terms: Terms { scopes: vec!["llm:chat".to_owned()], ..Terms::default() },
        created: at(0),
        expires: None,
        revoked: None,
        replaced_by: None,
        used: None,
    }
}

fn create(key: Key) -> Change {
    Change::Create { key: Box::new(key) }
}

fn revoke(id: &str) -> Change {
    Change::Revoke { tenant: "main".to_owned(), id: id.to_owned(), at: at(5) }
}

/// What somebody with the secret of that number is told.
fn told(ring: &KeyRing, number: u8, now: Timestamp) -> String {
    match ring.find(&secret(number).digest(), now) {
        None => "nobody".to_owned(),
        Some(Ok(caller)) => format!("{} {}", caller.key_id, caller.user.as_deref().unwrap_or("-")),
        Some(Err(denied)) => format!("{denied:?}"),
    }
}

async fn ring(store: &Arc<MemoryStore>) -> KeyRing {
    KeyRing::open(Arc::clone(store) as _, Vec::new()).await.unwrap()
}

#[tokio::test]
async fn a_change_is_in_force_when_it_is_acknowledged() {
    let store = Arc::new(MemoryStore::new());
    let ring = ring(&store).await;
    assert!(ring.is_empty());
    ring.change(create(key(1, "ci")), vec![]).await.unwrap();
    assert_eq!(told(&ring, 1, at(0)), "key_1 alice");
    assert_eq!(told(&ring, 2, at(0)), "nobody");
    let rotate = Change::Rotate {
        tenant: "main".to_owned(),
        id: "key_1".to_owned(),
        key: Box::new(key(2, "ci")),
        until: at(60),
    };
    ring.change(rotate, vec![]).await.unwrap();
    assert_eq!(told(&ring, 2, at(0)), "key_2 alice");
    assert_eq!(told(&ring, 1, at(59)), "key_1 alice", "both, for a while");
    assert_eq!(told(&ring, 1, at(60)), "Expired");
    ring.change(revoke("key_2"), vec![]).await.unwrap();
    assert_eq!(told(&ring, 2, at(0)), "Revoked");
    assert!(ring.change(create(key(2, "again")), vec![]).await.is_err());
    assert!(!ring.is_empty(), "the door does not open again when the last key is gone");
}

#[tokio::test]
async fn keys_of_the_configuration_and_of_the_store_are_known_together() {
    let store = Arc::new(MemoryStore::new());
    let configured = Key { id: "config:main/fixed".to_owned(), ..key(9, "fixed") };
    let ring = KeyRing::open(Arc::clone(&store) as _, vec![configured]).await.unwrap();
    ring.change(create(key(1, "ci")), vec![]).await.unwrap();
    assert_eq!(told(&ring, 9, at(0)), "config:main/fixed alice");
    assert_eq!(told(&ring, 1, at(0)), "key_1 alice");
    let ring = ring.with_pseudonyms(Arc::new(Pseudonyms::new(&"a secret".into())));
    let names: Vec<String> = [1, 9].map(|number| told(&ring, number, at(0))).to_vec();
    assert!(names.iter().all(|name| name.contains(" u_") && !name.contains("alice")), "{names:?}");
    assert_eq!(ring.keys().len(), 2);
    assert_eq!(ring.keys()[1].user.as_deref(), Some("alice"));
}

async fn eventually(what: &str, done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("waited for {what}"));
}

/// What is revoked `there` ends `here` without anybody saying so.
async fn check_instances(here: Arc<dyn KeyStore>, there: Arc<dyn KeyStore>) {
    let here = Arc::new(KeyRing::open(here, Vec::new()).await.unwrap());
    let there = KeyRing::open(there, Vec::new()).await.unwrap();
    let shutdown = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(Arc::clone(&here).run(None, shutdown.clone()));
    there.change(create(key(1, "ci")), vec![]).await.unwrap();
    eventually("the key to be known", || told(&here, 1, at(0)) == "key_1 alice").await;
    there.change(revoke("key_1"), vec![]).await.unwrap();
    eventually("the key to end", || told(&here, 1, at(0)) == "Revoked").await;
    shutdown.cancel();
    tasks.join_all().await;
}

#[tokio::test]
async fn what_another_instance_revokes_ends_here_too() {
    let store: Arc<dyn KeyStore> = Arc::new(MemoryStore::new());
    check_instances(Arc::clone(&store), store).await;
}

#[tokio::test]
async fn what_another_instance_on_postgresql_revokes_ends_here_too() {
    let url = std::env::var_os("AGENTRY_TEST_POSTGRES_URL").filter(|url| !url.is_empty());
    let Some(url) = url else {
        let mut terminal = std::io::stderr();
        let skipped = "skipped: AGENTRY_TEST_POSTGRES_URL is not set; `cargo xtask test` sets it";
        std::io::Write::write_all(&mut terminal, skipped.as_bytes()).unwrap();
        return;
    };
    let url = url.into_string().unwrap();
    let url = format!("{url}?connections=2&schema=r{}", std::process::id());
    let here = PostgresStore::open(&url).await.unwrap();
    let there = PostgresStore::open(&url).await.unwrap();
    check_instances(Arc::new(here), Arc::new(there)).await;
}

#[tokio::test]
async fn a_hint_is_enough() {
    let store = Arc::new(MemoryStore::new());
    let here = Arc::new(ring(&store).await);
    let there = ring(&store).await;
    there.change(create(key(1, "ci")), vec![]).await.unwrap();
    let (say, hints) = tokio::sync::mpsc::channel(1);
    let hints: Hints = Box::pin(stream::unfold(hints, async |mut hints| {
        hints.recv().await.map(|hint| (hint, hints))
    }));
    let mut tasks = tokio::task::JoinSet::new();
    let shutdown = CancellationToken::new();
    tasks.spawn(Arc::clone(&here).run(Some(hints), shutdown.clone()));
    say.send(Hint::TagInvalidated { tag: "x".to_owned() }).await.unwrap();
    say.send(Hint::Missed).await.unwrap();
    drop(say);
    eventually("the key to be known", || told(&here, 1, at(0)) == "key_1 alice").await;
    there.change(revoke("key_1"), vec![]).await.unwrap();
    eventually("polling to go on without hints", || told(&here, 1, at(0)) == "Revoked").await;
    shutdown.cancel();
    tasks.join_all().await;
}

#[tokio::test]
async fn when_keys_were_used_is_stored_in_the_end() {
    let store = Arc::new(MemoryStore::new());
    let ring = Arc::new(ring(&store).await);
    for number in [1, 2] {
        ring.change(create(key(number, &format!("ci{number}"))), vec![]).await.unwrap();
    }
    let shutdown = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(Arc::clone(&ring).run(None, shutdown.clone()));
    for seconds in [100, 130, 159] {
        told(&ring, 1, at(seconds));
    }
    let used =
        |keys: Vec<Key>| keys.into_iter().map(|key| (key.id, key.used)).collect::<BTreeMap<_, _>>();
    let expected =
        BTreeMap::from([("key_1".to_owned(), Some(at(100))), ("key_2".to_owned(), None)]);
    assert_eq!(used(ring.keys()), expected, "to the minute");
    told(&ring, 1, at(160));
    shutdown.cancel();
    tasks.join_all().await;
    let stored = used(store.keys().await.unwrap().keys);
    assert_eq!(stored["key_1"], Some(at(160)));
    assert_eq!(stored["key_2"], None);
}

/// Stores and then cannot be read.
struct Blind {
    store: MemoryStore,
    blind: AtomicBool,
}

impl Blind {
    fn look(&self) -> Result<(), Error> {
        match self.blind.load(Ordering::Relaxed) {
            true => Err(Error::Unavailable("it is dark".to_owned())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl KeyStore for Blind {
    async fn version(&self) -> Result<u64, Error> {
        self.look()?;
        self.store.version().await
    }

    async fn keys(&self) -> Result<Keys, Error> {
        self.look()?;
        self.store.keys().await
    }

    async fn change(&self, change: Change, audit: Vec<audit::Entry>) -> Result<Changed, Error> {
        self.store.change(change, audit).await
    }

    async fn used(&self, uses: Vec<(String, Timestamp)>) -> Result<(), Error> {
        self.store.used(uses).await
    }

    async fn key_audit(&self, after: u64, max: usize) -> Result<Vec<audit::Record>, Error> {
        self.store.key_audit(after, max).await
    }
}

#[tokio::test]
async fn a_revoked_key_ends_though_the_store_cannot_be_read() {
    let blind = Arc::new(Blind { store: MemoryStore::new(), blind: AtomicBool::new(false) });
    let ring = KeyRing::open(Arc::clone(&blind) as _, Vec::new()).await.unwrap();
    for number in [1, 2] {
        ring.change(create(key(number, &format!("ci{number}"))), vec![]).await.unwrap();
    }
    blind.blind.store(true, Ordering::Relaxed);
    ring.change(revoke("key_1"), vec![]).await.unwrap();
    assert_eq!(told(&ring, 1, at(0)), "Revoked");
    assert_eq!(told(&ring, 2, at(0)), "key_2 alice", "the others stay");
    assert!(ring.refresh().await.is_err());
    assert_eq!(told(&ring, 1, at(0)), "Revoked");
    blind.blind.store(false, Ordering::Relaxed);
    ring.refresh().await.unwrap();
    assert_eq!(told(&ring, 1, at(0)), "Revoked");
    ring.change(create(key(3, "ci3")), vec![]).await.unwrap();
    assert_eq!(told(&ring, 3, at(0)), "key_3 alice");
}
