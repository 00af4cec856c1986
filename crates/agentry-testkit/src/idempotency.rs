//! What every store of answered requests must do.

use std::sync::Arc;

use agentry_core::idempotency::{ANSWER_BYTES_MAX, Begin, Begun, Idempotency, Ticket};
use bytes::Bytes;

use crate::kind::Kind;
use crate::ledger::at;

/// Calls `$each!(name)` for every part of the contract.
#[macro_export]
macro_rules! for_each_idempotency_test {
    ($each:ident) => {
        $each! { idempotency:
            a_key_belongs_to_one_tenant_and_one_request
            a_forgotten_user_leaves_no_answer
            a_request_is_answered_once_and_then_replayed
            an_answer_is_kept_as_long_as_was_said
            an_answer_that_is_too_large_is_not_paid_for_again
            one_of_many_answers
            what_was_abandoned_or_left_behind_is_taken_over
        }
    };
}

/// At second `now`; busy for ten seconds, kept for a hundred.
fn begin(key: &str, now: u64) -> Begin {
    Begin {
        tenant: "main".to_owned(),
        key: key.to_owned(),
        user: None,
        request: [7; 32],
        now: at(now),
        busy_until: at(now + 10),
        keep_until: at(now + 100),
    }
}

async fn begun(store: &impl Idempotency, begin: Begin) -> Ticket {
    match store.begin(begin).await.unwrap() {
        Begun::New(ticket) => ticket,
        other => panic!("it is new: {other:?}"),
    }
}

pub async fn a_request_is_answered_once_and_then_replayed<K: Kind<Store: Idempotency>>(kind: &K) {
    let store = kind.fresh().await;
    let ticket = begun(&store, begin("k", 0)).await;
    assert_eq!(store.begin(begin("k", 1)).await.unwrap(), Begun::InProgress);
    let answer = Bytes::from_static(b"data: {}\n\n\0\xff");
    assert!(store.finish(&ticket, answer.clone()).await.unwrap());
    assert!(!store.finish(&ticket, Bytes::from_static(b"other")).await.unwrap(), "once");
    store.abandon(&ticket).await.unwrap();
    assert_eq!(store.begin(begin("k", 50)).await.unwrap(), Begun::Replay(answer.clone()));
    let store = kind.reopen(store).await;
    assert_eq!(store.begin(begin("k", 51)).await.unwrap(), Begun::Replay(answer));
    let empty = begun(&store, begin("empty", 0)).await;
    assert!(store.finish(&empty, Bytes::new()).await.unwrap());
    assert_eq!(store.begin(begin("empty", 1)).await.unwrap(), Begun::Replay(Bytes::new()));
}

pub async fn a_key_belongs_to_one_tenant_and_one_request<K: Kind<Store: Idempotency>>(kind: &K) {
    let store = kind.fresh().await;
    let ticket = begun(&store, begin("k", 0)).await;
    let other = Begin { request: [8; 32], ..begin("k", 1) };
    assert_eq!(store.begin(other.clone()).await.unwrap(), Begun::Conflict);
    let late = Begin { now: at(20), ..other.clone() };
    assert_eq!(store.begin(late).await.unwrap(), Begun::Conflict, "it may have been paid for");
    assert!(store.finish(&ticket, Bytes::from_static(b"x")).await.unwrap());
    assert_eq!(store.begin(other).await.unwrap(), Begun::Conflict);
    begun(&store, Begin { tenant: "other".to_owned(), ..begin("k", 1) }).await;
}

pub async fn what_was_abandoned_or_left_behind_is_taken_over<K: Kind<Store: Idempotency>>(
    kind: &K,
) {
    let store = kind.fresh().await;
    let first = begun(&store, begin("k", 0)).await;
    store.abandon(&first).await.unwrap();
    let second = begun(&store, begin("k", 1)).await;
    assert!(second.attempt > first.attempt);
    let third = begun(&store, begin("k", 11)).await;
    assert!(third.attempt > second.attempt);
    assert!(!store.finish(&second, Bytes::from_static(b"late")).await.unwrap());
    store.abandon(&second).await.unwrap();
    assert!(store.finish(&third, Bytes::from_static(b"x")).await.unwrap());
    let replay = Begun::Replay(Bytes::from_static(b"x"));
    assert_eq!(store.begin(begin("k", 30)).await.unwrap(), replay);
    let nobody = Ticket { key: "nobody's".to_owned(), ..third };
    assert!(!store.finish(&nobody, Bytes::new()).await.unwrap());
}

pub async fn an_answer_is_kept_as_long_as_was_said<K: Kind<Store: Idempotency>>(kind: &K) {
    let store = kind.fresh().await;
    for key in ["a", "b"] {
        let ticket = begun(&store, begin(key, 0)).await;
        store.finish(&ticket, Bytes::from_static(b"x")).await.unwrap();
    }
    assert_eq!(store.forget_expired(at(99)).await.unwrap(), 0);
    let other = Begin { request: [8; 32], ..begin("a", 100) };
    begun(&store, other).await;
    assert_eq!(store.forget_expired(at(100)).await.unwrap(), 1);
    begun(&store, begin("b", 50)).await;
}

pub async fn a_forgotten_user_leaves_no_answer<K: Kind<Store: Idempotency>>(kind: &K) {
    let store = kind.fresh().await;
    let of = |key: &str, user: &str| Begin { user: Some(user.to_owned()), ..begin(key, 0) };
    let elsewhere = Begin { tenant: "other".to_owned(), ..of("a", "ada") };
    let answer = Bytes::from_static(b"x");
    for begin in [of("a", "ada"), of("e", "eve"), begin("n", 0), elsewhere.clone()] {
        let ticket = begun(&store, begin).await;
        assert!(store.finish(&ticket, answer.clone()).await.unwrap());
    }
    let busy = begun(&store, of("b", "ada")).await;
    // Whoever takes a key over makes it his own.
    begun(&store, of("t", "ada")).await;
    let taken = Begin { now: at(20), busy_until: at(30), ..of("t", "eve") };
    begun(&store, taken).await;

    assert_eq!(store.forget_user("main", "ada").await.unwrap(), 2);
    assert_eq!(store.forget_user("main", "ada").await.unwrap(), 0);
    assert!(!store.finish(&busy, answer.clone()).await.unwrap(), "it is not kept any more");
    begun(&store, of("a", "ada")).await;
    for left in [of("e", "eve"), begin("n", 0), elsewhere] {
        assert_eq!(store.begin(left).await.unwrap(), Begun::Replay(answer.clone()));
    }
    assert_eq!(store.begin(of("t", "eve")).await.unwrap(), Begun::InProgress);
}

pub async fn an_answer_that_is_too_large_is_not_paid_for_again<K: Kind<Store: Idempotency>>(
    kind: &K,
) {
    let store = kind.fresh().await;
    for (key, bytes) in [("fits", ANSWER_BYTES_MAX), ("large", ANSWER_BYTES_MAX + 1)] {
        let ticket = begun(&store, begin(key, 0)).await;
        let answer = Bytes::from(vec![b'x'; bytes]);
        assert!(store.finish(&ticket, answer.clone()).await.unwrap());
        let kept = if key == "fits" { Begun::Replay(answer) } else { Begun::NotKept };
        assert!(store.begin(begin(key, 20)).await.unwrap() == kept, "{key}");
    }
}

pub async fn one_of_many_answers<K: Kind<Store: Idempotency>>(kind: &K) {
    let store = Arc::new(kind.fresh().await);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let store = Arc::clone(&store);
        tasks.spawn(async move { store.begin(begin("k", 0)).await.unwrap() });
    }
    let outcomes = tasks.join_all().await;
    let new = outcomes.iter().filter(|begun| matches!(begun, Begun::New(_))).count();
    let waiting = outcomes.iter().filter(|begun| **begun == Begun::InProgress).count();
    assert_eq!((new, waiting), (1, 15));
}
