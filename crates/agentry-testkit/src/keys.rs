//! What every store of API keys must do.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentry_core::audit::{self, Record, Verifier};
use agentry_core::keys::{Budget, Change, Changed, Key, KeyStore, Priority, Terms};
use agentry_core::ledger::Per;
use agentry_core::store::Error;
use agentry_core::{MicroUsd, Timestamp};
use serde_json::json;

use crate::kind::Kind;

/// Calls `$each!(name)` for every part of the contract.
#[macro_export]
macro_rules! for_each_key_test {
    ($each:ident) => {
        $each! { keys:
            a_key_is_kept_as_it_was_made
            a_name_is_held_by_one_key_of_a_tenant
            a_person_is_forgotten_with_all_keys
            a_revoked_key_stays_revoked
            a_rotated_key_has_one_successor
            every_change_is_in_the_audit_log_once
            one_of_many_gets_the_name
            when_a_key_was_used_is_no_change
        }
    };
}

fn at(seconds: i32) -> Timestamp {
    Timestamp::from_seconds(1_700_000_000 + seconds)
}

fn key(number: u8, tenant: &str, name: &str) -> Key {
    Key {
        id: format!("key_{number}"),
        digest: [number; 32],
        hint: "wxyz".to_owned(),
        tenant: tenant.to_owned(),
        name: name.to_owned(),
        team: None,
        user: None,
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

fn revoke(tenant: &str, id: &str, seconds: i32) -> Change {
    Change::Revoke { tenant: tenant.to_owned(), id: id.to_owned(), at: at(seconds) }
}

fn rotate(id: &str, key: Key, until: i32) -> Change {
    let tenant = key.tenant.clone();
    Change::Rotate { tenant, id: id.to_owned(), key: Box::new(key), until: at(until) }
}

fn entry(action: &str) -> Vec<audit::Entry> {
    vec![audit::Entry {
        at: at(0),
        actor: "system".to_owned(),
        action: action.to_owned(),
        subject: "it".to_owned(),
        detail: json!({}),
    }]
}

async fn change(store: &impl KeyStore, change: Change) -> Changed {
    store.change(change, entry("key.changed")).await.unwrap()
}

async fn all(store: &impl KeyStore) -> Vec<Key> {
    store.keys().await.unwrap().keys
}

pub async fn a_key_is_kept_as_it_was_made<K: Kind<Store: KeyStore>>(kind: &K) {
    let store = kind.fresh().await;
    assert_eq!(all(&store).await, []);
    let before = store.version().await.unwrap();
    let rich = Key {
        team: Some("search".to_owned()),
        user: Some("Älice".to_owned()),
        terms: Terms {
            scopes: vec!["llm:*".to_owned(), "admin".to_owned()],
            models: vec!["fast".to_owned()],
            addresses: vec!["10.0.0.0/8".to_owned()],
            rpm: Some(600),
            tpm: Some(u32::MAX),
            concurrency: Some(1),
            budgets: vec![Budget { cap: MicroUsd(i64::MAX), per: Per::Month }],
            priority: Priority::Low,
            metadata: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        },
        expires: Some(at(99)),
        ..key(1, "main", "rich")
    };
    assert_eq!(change(&store, create(rich.clone())).await, Changed::Done(1));
    assert_eq!(change(&store, create(key(2, "main", "plain"))).await, Changed::Done(1));
    let store = kind.reopen(store).await;
    let kept = store.keys().await.unwrap();
    assert_eq!(kept.keys, [rich, key(2, "main", "plain")]);
    assert!(kept.version > before);
    assert_eq!(store.version().await.unwrap(), kept.version);
}

pub async fn a_name_is_held_by_one_key_of_a_tenant<K: Kind<Store: KeyStore>>(kind: &K) {
    let store = kind.fresh().await;
    change(&store, create(key(1, "main", "ci"))).await;
    let version = store.version().await.unwrap();
    assert_eq!(change(&store, create(key(2, "main", "ci"))).await, Changed::NameTaken);
    assert_eq!(store.version().await.unwrap(), version, "nothing has changed");
    assert_eq!(change(&store, create(key(2, "other", "ci"))).await, Changed::Done(1));
    change(&store, revoke("main", "key_1", 5)).await;
    assert_eq!(change(&store, create(key(3, "main", "ci"))).await, Changed::Done(1));
    let twin = Key { digest: [1; 32], ..key(9, "main", "twin") };
    let refused = store.change(create(twin), entry("x")).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    assert_eq!(all(&store).await.len(), 3);
}

pub async fn a_revoked_key_stays_revoked<K: Kind<Store: KeyStore>>(kind: &K) {
    let store = kind.fresh().await;
    change(&store, create(key(1, "main", "ci"))).await;
    assert_eq!(change(&store, revoke("main", "key_2", 5)).await, Changed::NotFound);
    assert_eq!(change(&store, revoke("other", "key_1", 5)).await, Changed::NotFound);
    let before = store.version().await.unwrap();
    assert_eq!(change(&store, revoke("main", "key_1", 5)).await, Changed::Done(1));
    assert!(store.version().await.unwrap() > before);
    assert_eq!(change(&store, revoke("main", "key_1", 9)).await, Changed::Over);
    assert_eq!(change(&store, rotate("key_1", key(2, "main", "ci"), 9)).await, Changed::Over);
    let store = kind.reopen(store).await;
    assert_eq!(all(&store).await, [Key { revoked: Some(at(5)), ..key(1, "main", "ci") }]);
}

pub async fn a_rotated_key_has_one_successor<K: Kind<Store: KeyStore>>(kind: &K) {
    let store = kind.fresh().await;
    change(&store, create(key(1, "main", "ci"))).await;
    assert_eq!(change(&store, rotate("key_7", key(2, "main", "ci"), 60)).await, Changed::NotFound);
    assert_eq!(change(&store, rotate("key_1", key(2, "main", "ci"), 60)).await, Changed::Done(2));
    assert_eq!(change(&store, rotate("key_1", key(3, "main", "ci"), 60)).await, Changed::Over);
    assert_eq!(change(&store, create(key(3, "main", "ci"))).await, Changed::NameTaken);
    let replaced = Key {
        expires: Some(at(60)),
        replaced_by: Some("key_2".to_owned()),
        ..key(1, "main", "ci")
    };
    assert_eq!(all(&store).await, [replaced.clone(), key(2, "main", "ci")]);

    let ending = Key { expires: Some(at(30)), ..key(4, "main", "ending") };
    change(&store, create(ending)).await;
    change(&store, rotate("key_4", key(5, "main", "ending"), 60)).await;
    assert_eq!(all(&store).await[2].expires, Some(at(30)), "no rotation makes it live longer");
    assert_eq!(change(&store, revoke("main", "key_1", 5)).await, Changed::Done(1));
    assert_eq!(all(&store).await[0], Key { revoked: Some(at(5)), ..replaced });
}

pub async fn a_person_is_forgotten_with_all_keys<K: Kind<Store: KeyStore>>(kind: &K) {
    let store = kind.fresh().await;
    let theirs = |number, tenant, name| {
        let mut key = Key { user: Some("alice".to_owned()), ..key(number, tenant, name) };
        key.terms.metadata.insert("mail".to_owned(), "alice@example.com".to_owned());
        key
    };
    let all_keys = [
        theirs(1, "main", "a"),
        theirs(2, "main", "b"),
        theirs(3, "other", "a"),
        key(4, "main", "c"),
    ];
    for key in all_keys.clone() {
        change(&store, create(key)).await;
    }
    change(&store, revoke("main", "key_2", 5)).await;
    let forget = Change::ForgetUser { tenant: "main".into(), user: "alice".into(), at: at(9) };
    assert_eq!(change(&store, forget.clone()).await, Changed::Done(2));
    assert_eq!(change(&store, forget).await, Changed::Done(0));
    let [_, _, third, fourth] = all_keys;
    let gone =
        |number, name, seconds| Key { revoked: Some(at(seconds)), ..key(number, "main", name) };
    assert_eq!(all(&store).await, [gone(1, "a", 9), gone(2, "b", 5), third, fourth]);
}

pub async fn every_change_is_in_the_audit_log_once<K: Kind<Store: KeyStore>>(kind: &K) {
    let store = kind.fresh().await;
    let act = async |change, action: &str| store.change(change, entry(action)).await.unwrap();
    act(create(key(1, "main", "ci")), "1 created").await;
    act(create(key(2, "main", "ci")), "taken").await;
    act(rotate("key_1", key(3, "main", "ci"), 9), "2 rotated").await;
    act(revoke("main", "key_9", 1), "unknown").await;
    act(revoke("main", "key_1", 1), "3 revoked").await;
    act(revoke("main", "key_1", 1), "again").await;
    let store = kind.reopen(store).await;
    let records = store.key_audit(0, 99).await.unwrap();
    assert_eq!(store.key_audit(1, 1).await.unwrap(), records[1..2]);
    let mut verifier = Verifier::default();
    records.iter().for_each(|record| verifier.check(record).unwrap());
    let action =
        |record: &Record| serde_json::from_str::<audit::Entry>(&record.entry).unwrap().action;
    let actions: Vec<String> = records.iter().map(action).collect();
    assert_eq!(actions, ["1 created", "2 rotated", "3 revoked"]);
}

pub async fn one_of_many_gets_the_name<K: Kind<Store: KeyStore>>(kind: &K) {
    let store = Arc::new(kind.fresh().await);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 1..=16 {
        let store = Arc::clone(&store);
        tasks.spawn(async move { change(&*store, create(key(number, "main", "ci"))).await });
    }
    let outcomes = tasks.join_all().await;
    let won = outcomes.iter().filter(|outcome| **outcome == Changed::Done(1)).count();
    let lost = outcomes.iter().filter(|outcome| **outcome == Changed::NameTaken).count();
    assert_eq!((won, lost), (1, 15));
    assert_eq!(all(&*store).await.len(), 1);
}

pub async fn when_a_key_was_used_is_no_change<K: Kind<Store: KeyStore>>(kind: &K) {
    let store = kind.fresh().await;
    change(&store, create(key(1, "main", "ci"))).await;
    let version = store.version().await.unwrap();
    let use_at = async |seconds| store.used(vec![("key_1".into(), at(seconds))]).await.unwrap();
    use_at(50).await;
    use_at(40).await;
    store.used(vec![("key_9".into(), at(1))]).await.unwrap();
    store.used(vec![]).await.unwrap();
    assert_eq!(store.version().await.unwrap(), version);
    let store = kind.reopen(store).await;
    assert_eq!(all(&store).await, [Key { used: Some(at(50)), ..key(1, "main", "ci") }]);
}
