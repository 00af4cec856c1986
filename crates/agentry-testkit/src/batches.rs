//! What every store of batches must do. Each function is one part of the contract; a backend's tests call all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agentry_core::batches::{
    Answer, Batch, Batches, Claim, Claimed, Counts, Dropped, File, ItemResult, Lease, NewBatch,
    NewItem, Owner, Page, Status, Waiting,
};
use agentry_core::keys::Terms;
use bytes::Bytes;

use crate::kind::Kind;
use crate::ledger::at;

/// Calls `$each!(name)` for every part of the contract.
#[macro_export]
macro_rules! for_each_batches_test {
    ($each:ident) => {
        $each! { batches:
            a_batch_is_there_as_it_was_made
            a_batch_that_is_cancelled_drops_what_nobody_holds
            a_batch_whose_time_is_over_drops_what_nobody_holds
            a_lapsed_lease_is_worth_nothing
            batches_and_files_of_a_person_are_forgotten
            each_item_is_claimed_by_one_of_many
            files_are_kept_as_long_as_was_said
            items_are_answered_in_any_order
            tenants_see_nothing_of_each_other
            of_each_tenant_the_oldest_batches_wait
            what_a_former_life_held_waits_again
            what_is_put_back_waits_again
        }
    };
}

pub fn owner(tenant: &str, user: Option<&str>) -> Owner {
    Owner {
        tenant: tenant.to_owned(),
        key_id: "key_1".to_owned(),
        name: "ci".to_owned(),
        team: Some("red".to_owned()),
        user: user.map(str::to_owned),
        terms: Terms { rpm: Some(7), ..Terms::default() },
    }
}

/// Made at second 0, to be done by second 100, kept until second 1,000.
pub fn batch(id: &str, tenant: &str, items: u64) -> NewBatch {
    let item = |number| NewItem {
        custom_id: format!("item {number}"),
        url: "/v1/chat/completions".to_owned(),
        body: format!("{{\"number\":{number}}}").into(),
    };
    NewBatch {
        id: id.to_owned(),
        owner: owner(tenant, Some("ann")),
        endpoint: "/v1/chat/completions".to_owned(),
        input_file: Some("file-1".to_owned()),
        metadata: BTreeMap::from([("purpose".to_owned(), "test".to_owned())]),
        created: at(0),
        expires: at(100),
        keep_until: at(1_000),
        items: (0..items).map(item).collect(),
    }
}

fn file(id: &str, tenant: &str) -> File {
    File {
        id: id.to_owned(),
        tenant: tenant.to_owned(),
        user: Some("ann".to_owned()),
        name: "requests.jsonl".to_owned(),
        bytes: 3,
        created: at(0),
        keep_until: at(1_000),
    }
}

/// At second `now`, for ten seconds.
async fn claim(store: &impl Batches, id: &str, now: u64) -> Option<Claimed> {
    let batch = id.to_owned();
    let claim = Claim { batch, holder: "me".to_owned(), now: at(now), lease_until: at(now + 10) };
    store.claim(claim).await.unwrap()
}

async fn lease(store: &impl Batches, id: &str, now: u64) -> Lease {
    claim(store, id, now).await.expect("an item").lease
}

fn answer(status: u16) -> Answer {
    Answer { status, body: format!("{{\"status\":{status}}}").into() }
}

async fn show(store: &impl Batches, id: &str) -> Batch {
    store.batch("main", id).await.unwrap().expect("the batch")
}

async fn waiting(store: &impl Batches, now: u64) -> Vec<String> {
    let waiting: Vec<Waiting> = store.waiting(at(now), 10).await.unwrap();
    waiting.into_iter().map(|waiting| format!("{}/{}", waiting.tenant, waiting.batch)).collect()
}

fn page(tenant: &str, before: Option<&str>, max: usize) -> Page {
    Page { tenant: tenant.to_owned(), before: before.map(str::to_owned), max }
}

pub async fn a_batch_is_there_as_it_was_made<K: Kind<Store: Batches>>(kind: &K) {
    let store = kind.fresh().await;
    store.create(batch("a", "main", 2)).await.unwrap();
    assert!(store.create(batch("a", "main", 1)).await.is_err(), "an id is one batch's");
    let store = kind.reopen(store).await;
    let NewBatch {
        id, owner, endpoint, input_file, metadata, created, expires, keep_until, ..
    } = batch("a", "main", 0);
    let expected = Batch {
        id,
        owner: owner.clone(),
        endpoint,
        input_file,
        metadata,
        created,
        expires,
        keep_until,
        cancelled: None,
        finished: None,
        counts: Counts { total: 2, ..Counts::default() },
    };
    assert_eq!(show(&store, "a").await, expected);
    let claimed = claim(&store, "a", 1).await.unwrap();
    assert_eq!(claimed.owner, owner);
    assert_eq!((&*claimed.url, claimed.tries), ("/v1/chat/completions", 0));
    assert_eq!(claimed.body, "{\"number\":0}");
    assert_eq!(claimed.lease.number, 0);
    store.create(batch("empty", "main", 0)).await.unwrap();
    assert_eq!(show(&store, "empty").await.status(), Status::Completed);
}

pub async fn items_are_answered_in_any_order<K: Kind<Store: Batches>>(kind: &K) {
    let store = kind.fresh().await;
    store.create(batch("a", "main", 3)).await.unwrap();
    assert_eq!(waiting(&store, 1).await, ["main/a"]);
    let first = lease(&store, "a", 1).await;
    let second = lease(&store, "a", 1).await;
    let third = lease(&store, "a", 1).await;
    assert_eq!(claim(&store, "a", 1).await, None);
    assert_eq!(waiting(&store, 1).await, [""; 0]);
    assert!(store.finish(&third, answer(200), at(2)).await.unwrap());
    assert!(store.finish(&first, answer(400), at(3)).await.unwrap());
    assert!(!store.finish(&first, answer(200), at(3)).await.unwrap(), "once");
    let counts = Counts { total: 3, completed: 1, failed: 1, dropped: 0 };
    let open = show(&store, "a").await;
    assert_eq!((open.status(), open.counts), (Status::InProgress, counts));
    let store = kind.reopen(store).await;
    let result = |number, status| ItemResult {
        number,
        custom_id: format!("item {number}"),
        outcome: Ok(answer(status)),
    };
    let results = store.results(("main", "a"), 0, 10).await.unwrap();
    assert_eq!(results, [result(0, 400), result(2, 200)]);
    assert!(store.finish(&second, answer(200), at(4)).await.unwrap());
    let done = show(&store, "a").await;
    assert_eq!((done.status(), done.finished), (Status::Completed, Some(at(4))));
    let results = store.results(("main", "a"), 1, 1).await.unwrap();
    assert_eq!(results, [result(1, 200)]);
}

pub async fn a_lapsed_lease_is_worth_nothing<K: Kind<Store: Batches>>(kind: &K) {
    let store = kind.fresh().await;
    store.create(batch("a", "main", 1)).await.unwrap();
    let old = lease(&store, "a", 1).await;
    assert_eq!(claim(&store, "a", 10).await, None);
    store.renew("somebody else", at(50)).await.unwrap();
    assert_eq!(waiting(&store, 11).await, ["main/a"]);
    let new = lease(&store, "a", 11).await;
    assert!(new.claim > old.claim);
    assert!(!store.finish(&old, answer(200), at(12)).await.unwrap());
    store.put_back(&old, 1).await.unwrap();
    store.renew("me", at(40)).await.unwrap();
    assert_eq!(claim(&store, "a", 39).await, None, "it is renewed");
    assert!(store.finish(&new, answer(200), at(39)).await.unwrap());
}

pub async fn what_is_put_back_waits_again<K: Kind<Store: Batches>>(kind: &K) {
    let store = kind.fresh().await;
    store.create(batch("a", "main", 1)).await.unwrap();
    let old = lease(&store, "a", 1).await;
    store.put_back(&old, 2).await.unwrap();
    let claimed = claim(&store, "a", 1).await.unwrap();
    assert_eq!(claimed.tries, 2);
    assert!(!store.finish(&old, answer(200), at(2)).await.unwrap());
    assert!(store.finish(&claimed.lease, answer(200), at(2)).await.unwrap());
    store.put_back(&claimed.lease, 3).await.unwrap();
    assert_eq!(show(&store, "a").await.status(), Status::Completed);
}

pub async fn a_batch_that_is_cancelled_drops_what_nobody_holds<K: Kind<Store: Batches>>(kind: &K) {
    let store = kind.fresh().await;
    store.create(batch("a", "main", 3)).await.unwrap();
    let (held, lost) = (lease(&store, "a", 1).await, lease(&store, "a", 1).await);
    assert!(store.cancel("main", "a", at(2)).await.unwrap());
    assert!(!store.cancel("main", "b", at(2)).await.unwrap());
    assert_eq!(show(&store, "a").await.status(), Status::Cancelling);
    assert_eq!((claim(&store, "a", 20).await, waiting(&store, 20).await), (None, Vec::new()));
    assert!(store.finish(&held, answer(200), at(3)).await.unwrap());
    assert_eq!(store.sweep(at(4)).await.unwrap(), 0, "one is held");
    assert_eq!(store.sweep(at(11)).await.unwrap(), 1);
    assert!(!store.finish(&lost, answer(200), at(12)).await.unwrap());
    let over = show(&store, "a").await;
    let counts = Counts { total: 3, completed: 1, failed: 0, dropped: 2 };
    assert_eq!((over.status(), over.counts), (Status::Cancelled, counts));
    assert_eq!((over.cancelled, over.finished), (Some(at(2)), Some(at(11))));
    assert!(store.cancel("main", "a", at(20)).await.unwrap(), "again is no error");
    assert_eq!(show(&store, "a").await, over);
    let results = store.results(("main", "a"), 1, 10).await.unwrap();
    let outcomes: Vec<_> = results.into_iter().map(|result| result.outcome).collect();
    assert_eq!(outcomes, [Err(Dropped::Cancelled), Err(Dropped::Cancelled)]);
    store.create(batch("done", "main", 1)).await.unwrap();
    let only = lease(&store, "done", 1).await;
    store.finish(&only, answer(200), at(2)).await.unwrap();
    assert!(store.cancel("main", "done", at(3)).await.unwrap());
    assert_eq!(show(&store, "done").await.status(), Status::Completed);
}

pub async fn a_batch_whose_time_is_over_drops_what_nobody_holds<K: Kind<Store: Batches>>(kind: &K) {
    let store = kind.fresh().await;
    store.create(batch("a", "main", 2)).await.unwrap();
    let held = lease(&store, "a", 95).await;
    assert_eq!(store.sweep(at(99)).await.unwrap(), 0);
    assert_eq!((claim(&store, "a", 100).await, waiting(&store, 100).await), (None, Vec::new()));
    assert_eq!(store.sweep(at(100)).await.unwrap(), 1);
    assert!(store.finish(&held, answer(200), at(101)).await.unwrap(), "it was begun in time");
    let over = show(&store, "a").await;
    let counts = Counts { total: 2, completed: 1, failed: 0, dropped: 1 };
    assert_eq!((over.status(), over.counts), (Status::Expired, counts));
    let results = store.results(("main", "a"), 1, 10).await.unwrap();
    assert_eq!(results[0].outcome, Err(Dropped::Expired));
}

pub async fn tenants_see_nothing_of_each_other<K: Kind<Store: Batches>>(kind: &K) {
    let store = kind.fresh().await;
    for (id, tenant) in [("a", "main"), ("b", "other"), ("c", "main"), ("d", "main")] {
        store.create(batch(id, tenant, 1)).await.unwrap();
        store.put_file(file(id, tenant), Bytes::from_static(b"abc")).await.unwrap();
    }
    let only = lease(&store, "b", 1).await;
    store.finish(&only, answer(200), at(2)).await.unwrap();
    assert_eq!(store.batch("main", "b").await.unwrap(), None);
    assert_eq!(store.results(("main", "b"), 0, 9).await.unwrap(), []);
    assert!(!store.cancel("main", "b", at(3)).await.unwrap());
    assert_eq!(store.file("main", "b").await.unwrap(), None);
    assert_eq!(store.content("main", "b").await.unwrap(), None);
    assert!(!store.delete_file("main", "b").await.unwrap());
    let pages = [
        (("main", None, 2), vec!["d", "c"]),
        (("main", Some("c"), 2), vec!["a"]),
        (("main", Some("b"), 2), vec![]),
        (("other", None, 2), vec!["b"]),
        (("nobody", None, 2), vec![]),
    ];
    for ((tenant, before, max), expected) in pages {
        let batches = store.batches(page(tenant, before, max)).await.unwrap();
        let files = store.files(page(tenant, before, max)).await.unwrap();
        let batches: Vec<_> = batches.iter().map(|batch| batch.id.as_str()).collect();
        let files: Vec<_> = files.iter().map(|file| file.id.as_str()).collect();
        assert_eq!((&batches, &files), (&expected, &expected), "{tenant} before {before:?}");
    }
}

pub async fn batches_and_files_of_a_person_are_forgotten<K: Kind<Store: Batches>>(kind: &K) {
    let store = kind.fresh().await;
    store.create(batch("a", "main", 2)).await.unwrap();
    store.create(NewBatch { owner: owner("main", None), ..batch("b", "main", 1) }).await.unwrap();
    store.create(batch("c", "other", 1)).await.unwrap();
    store.put_file(file("a", "main"), Bytes::from_static(b"abc")).await.unwrap();
    let held = lease(&store, "a", 1).await;
    assert_eq!(store.forget_user("main", "ann").await.unwrap(), 2);
    assert_eq!(store.forget_user("main", "ann").await.unwrap(), 0);
    assert!(!store.finish(&held, answer(200), at(2)).await.unwrap());
    assert_eq!(store.batch("main", "a").await.unwrap(), None);
    assert_eq!(store.content("main", "a").await.unwrap(), None);
    assert_eq!(waiting(&store, 2).await, ["main/b", "other/c"]);
}

pub async fn files_are_kept_as_long_as_was_said<K: Kind<Store: Batches>>(kind: &K) {
    let store = kind.fresh().await;
    let content = Bytes::from_static(b"a\0\xff");
    store.put_file(file("f", "main"), content.clone()).await.unwrap();
    store.create(batch("a", "main", 1)).await.unwrap();
    let store = kind.reopen(store).await;
    assert_eq!(store.file("main", "f").await.unwrap(), Some(file("f", "main")));
    assert_eq!(store.content("main", "f").await.unwrap(), Some(content.clone()));
    store.put_file(file("g", "main"), content).await.unwrap();
    assert!(store.delete_file("main", "g").await.unwrap());
    assert_eq!(store.file("main", "g").await.unwrap(), None);
    assert_eq!(store.forget_expired(at(999)).await.unwrap(), 0);
    assert_eq!(store.forget_expired(at(1_000)).await.unwrap(), 2);
    assert_eq!(store.file("main", "f").await.unwrap(), None);
    assert_eq!(store.batch("main", "a").await.unwrap(), None);
}

pub async fn each_item_is_claimed_by_one_of_many<K: Kind<Store: Batches>>(kind: &K) {
    let store = Arc::new(kind.fresh().await);
    store.create(batch("a", "main", 20)).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let store = Arc::clone(&store);
        tasks.spawn(async move { claim(store.as_ref(), "a", 1).await });
    }
    let claimed = tasks.join_all().await.into_iter().flatten();
    let numbers: Vec<u64> = claimed.map(|claimed| claimed.lease.number).collect();
    let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
    assert_eq!((numbers.len(), distinct.len()), (20, 20));
}

pub async fn what_a_former_life_held_waits_again<K: Kind<Store: Batches>>(kind: &K) {
    let store = kind.fresh().await;
    store.create(batch("a", "main", 2)).await.unwrap();
    let old = lease(&store, "a", 1).await;
    let store = kind.reopen(store).await;
    assert_eq!(store.release("somebody else").await.unwrap(), 0);
    assert_eq!(store.release("me").await.unwrap(), 1);
    let new = lease(&store, "a", 1).await;
    assert_eq!(new.number, old.number);
    assert!(!store.finish(&old, answer(200), at(2)).await.unwrap());
    assert!(store.finish(&new, answer(200), at(2)).await.unwrap());
    assert_eq!(store.release("me").await.unwrap(), 0);
}

pub async fn of_each_tenant_the_oldest_batches_wait<K: Kind<Store: Batches>>(kind: &K) {
    let store = kind.fresh().await;
    for (id, tenant) in [("a", "main"), ("b", "main"), ("c", "main"), ("d", "other")] {
        store.create(batch(id, tenant, 1)).await.unwrap();
    }
    let waiting = store.waiting(at(1), 2).await.unwrap();
    let ids: Vec<_> = waiting.iter().map(|waiting| waiting.batch.as_str()).collect();
    assert_eq!(ids, ["a", "b", "d"]);
}
