//! What every shared store must do. Each function is one part of the contract; a backend's tests call all of them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::shared::{Count, Counted, Entry, Error, Hint, Shared, VALUE_BYTES_MAX};
use futures_util::StreamExt as _;

/// Makes shared stores of one kind.
pub trait SharedKind {
    /// An empty one.
    fn fresh(&self) -> impl Future<Output = Arc<dyn Shared>>;
    /// Lets its clock go on for about so long.
    fn pass(&self, span: Duration) -> impl Future<Output = ()>;
}

/// Calls `$each!(name)` for every part of the contract.
#[macro_export]
macro_rules! for_each_shared_test {
    ($each:ident) => {
        $each! {
            a_value_that_is_too_long_is_refused
            hints_reach_everybody_once
            instances_are_counted_while_they_live
            sums_of_many_at_once_are_exact
            uses_are_counted_by_window
            what_was_deleted_is_gone
            what_was_invalidated_is_gone_and_what_came_later_is_not
            what_was_set_is_found_until_its_time_is_over
        }
    };
}

const HOUR: Duration = Duration::from_secs(3_600);
const STEP: Duration = Duration::from_millis(10);
const HEARD_WITHIN: Duration = Duration::from_secs(20);
const STEPS_MAX: u32 = 1_000;

fn entry(key: &[u8], value: &'static str, ttl: Duration, tags: &[&str]) -> Entry {
    let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
    Entry { key: key.to_vec(), value: value.into(), ttl, tags }
}

async fn value(store: &Arc<dyn Shared>, key: &[u8]) -> Option<String> {
    let found = store.get(key).await.unwrap();
    found.map(|found| String::from_utf8(found.value.to_vec()).unwrap())
}

pub async fn what_was_set_is_found_until_its_time_is_over(kind: &impl SharedKind) {
    let store = kind.fresh().await;
    assert_eq!(value(&store, b"a").await, None);
    store.set(entry(b"a", "one", HOUR, &[])).await.unwrap();
    store.set(entry(b"a\0\xff\n", "two", HOUR, &["t"])).await.unwrap();
    assert_eq!(value(&store, b"a").await.as_deref(), Some("one"));
    assert_eq!(value(&store, b"a\0\xff\n").await.as_deref(), Some("two"));
    let ttl = store.get(b"a").await.unwrap().unwrap().ttl;
    assert!(ttl <= HOUR && ttl > HOUR - Duration::from_secs(60), "{ttl:?}");

    store.set(entry(b"a", "three", Duration::from_millis(50), &[])).await.unwrap();
    kind.pass(Duration::from_millis(60)).await;
    assert_eq!(value(&store, b"a").await, None);
    assert_eq!(value(&store, b"a\0\xff\n").await.as_deref(), Some("two"));
}

pub async fn what_was_deleted_is_gone(kind: &impl SharedKind) {
    let store = kind.fresh().await;
    store.set(entry(b"a", "one", HOUR, &[])).await.unwrap();
    store.set(entry(b"b", "two", HOUR, &[])).await.unwrap();
    store.delete(b"a").await.unwrap();
    store.delete(b"never").await.unwrap();
    assert_eq!(value(&store, b"a").await, None);
    assert_eq!(value(&store, b"b").await.as_deref(), Some("two"));
}

pub async fn what_was_invalidated_is_gone_and_what_came_later_is_not(kind: &impl SharedKind) {
    let store = kind.fresh().await;
    store.set(entry(b"a", "one", HOUR, &["tenant:x y", "alias:fast"])).await.unwrap();
    store.set(entry(b"b", "two", HOUR, &["tenant:z", "alias:fast"])).await.unwrap();
    store.set(entry(b"c", "three", HOUR, &[])).await.unwrap();
    store.invalidate("tenant:x").await.unwrap();
    store.invalidate("alias").await.unwrap();
    assert_eq!(value(&store, b"a").await.as_deref(), Some("one"), "tags are whole words");
    store.invalidate("tenant:x y").await.unwrap();
    assert_eq!(value(&store, b"a").await, None);
    assert_eq!(value(&store, b"b").await.as_deref(), Some("two"));
    kind.pass(STEP).await;
    store.set(entry(b"a", "anew", HOUR, &["tenant:x y", "alias:fast"])).await.unwrap();
    assert_eq!(value(&store, b"a").await.as_deref(), Some("anew"));
    store.invalidate("alias:fast").await.unwrap();
    assert_eq!(value(&store, b"a").await, None);
    assert_eq!(value(&store, b"b").await, None);
    assert_eq!(value(&store, b"c").await.as_deref(), Some("three"));
}

pub async fn a_value_that_is_too_long_is_refused(kind: &impl SharedKind) {
    let store = kind.fresh().await;
    let long = vec![b'x'; VALUE_BYTES_MAX + 1];
    let entry = Entry { key: b"a".to_vec(), value: long.into(), ttl: HOUR, tags: Vec::new() };
    assert_eq!(store.set(entry).await, Err(Error::TooLong { bytes: VALUE_BYTES_MAX + 1 }));
    assert_eq!(value(&store, b"a").await, None);
}

async fn add(store: &Arc<dyn Shared>, key: &str, window: Duration, amount: i64) -> Counted {
    let count = Count { key: key.to_owned(), window, amount };
    store.add(vec![count]).await.unwrap()[0]
}

pub async fn uses_are_counted_by_window(kind: &impl SharedKind) {
    let store = kind.fresh().await;
    assert_eq!(store.add(Vec::new()).await, Ok(Vec::new()));
    let check = async |key: &str, window, amount, current| {
        let counted = add(&store, key, window, amount).await;
        assert_eq!(counted.current, current, "{key} {window:?} {amount}");
        assert!(counted.into < window);
    };
    let year = HOUR * 24 * 365;
    check("a", year, 3, 3).await;
    check("a", year, 0, 3).await;
    check("a", year, -1, 2).await;
    check("b", year, 5, 5).await;
    check("a", year * 2, 1, 1).await;
    check("c", year, -4, 0).await;

    // From one window into the next; again, if a busy machine misses it.
    let window = Duration::from_millis(300);
    for _ in 0..STEPS_MAX {
        let first = add(&store, "w", window, 7).await;
        let mut later = first;
        while later.window == first.window {
            kind.pass(STEP).await;
            later = add(&store, "w", window, 0).await;
        }
        if later.window == first.window + 1 {
            assert_eq!((later.current, later.previous), (0, first.current));
            return;
        }
    }
    panic!("it never goes from one window to the next");
}

pub async fn sums_of_many_at_once_are_exact(kind: &impl SharedKind) {
    let store = kind.fresh().await;
    let year = HOUR * 24 * 365;
    let count = |amount| Count { key: "a".to_owned(), window: year, amount };
    let adders = (0..8).map(|_| async {
        for _ in 0..20 {
            store.add(vec![count(1), count(2)]).await.unwrap();
        }
    });
    futures_util::future::join_all(adders).await;
    assert_eq!(add(&store, "a", year, 0).await.current, 8 * 20 * 3);
}

pub async fn instances_are_counted_while_they_live(kind: &impl SharedKind) {
    let store = kind.fresh().await;
    assert_eq!(store.present("a", HOUR).await, Ok(1));
    assert_eq!(store.present("a", HOUR).await, Ok(1));
    assert_eq!(store.present("b", Duration::from_millis(200)).await, Ok(2));
    for _ in 0..STEPS_MAX {
        if store.present("a", HOUR).await == Ok(1) {
            return;
        }
        kind.pass(STEP).await;
    }
    panic!("an instance that is gone is counted for ever");
}

pub async fn hints_reach_everybody_once(kind: &impl SharedKind) {
    let store = kind.fresh().await;
    let mut listeners = [store.hints(), store.hints()];
    let sent = [
        Hint::KeyRevoked { id: "k".to_owned() },
        Hint::TagInvalidated { tag: "tenant:ü".to_owned() },
        Hint::KeyInvalidated { key: "00ff".to_owned() },
    ];
    for hint in &sent {
        store.publish(hint.clone()).await.unwrap();
    }
    for listener in &mut listeners {
        let heard = listener.filter(|hint| std::future::ready(*hint != Hint::Missed));
        let heard = tokio::time::timeout(HEARD_WITHIN, heard.take(sent.len()).collect::<Vec<_>>());
        assert_eq!(heard.await.expect("hints come soon"), sent);
    }
}
