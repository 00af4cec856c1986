//! What every store of items must do.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::items::{
    Batch, Filter, Hit, Id, Index, Item, Items, Namespace, Namespaces, Put, Search, Words, Write,
};
use agentry_core::listing::Span;
use serde_json::{Map, Value, json};

use crate::kind::Kind;
use crate::ledger::at;

mod modelled;

pub use modelled::any_sequence_of_writes_is_found_as_in_the_model;

/// Calls `$each!(name)` for every part of the contract.
#[macro_export]
macro_rules! for_each_items_test {
    ($each:ident) => {
        $each! { items:
            a_batch_is_stored_whole
            a_search_finds_what_passes_the_filter_and_has_the_words
            an_item_is_kept_as_it_was_put
            an_item_that_has_expired_is_seen_by_nobody
            any_sequence_of_writes_is_found_as_in_the_model
            items_are_listed_last_updated_first
            namespaces_are_listed_by_their_ends
            tenants_have_items_of_their_own
            what_cannot_be_is_not_there
            what_is_refreshed_lives_on
            what_is_swept_is_bounded
            writers_at_once_disturb_nothing
        }
    };
}

fn namespace(text: &str) -> Namespace {
    Namespace::new(text.split_terminator('/')).unwrap()
}

/// From `a/b/key`.
fn id(path: &str) -> Id {
    let (space, key) = path.rsplit_once('/').unwrap();
    Id { namespace: namespace(space), key: key.to_owned() }
}

fn path(id: &Id) -> String {
    let labels: Vec<_> = id.namespace.labels().chain([id.key.as_str()]).collect();
    labels.join("/")
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("{value} is an object") };
    object
}

fn put(path: &str, value: Value) -> Put {
    Put { id: id(path), value: object(value), index: Index::All, ttl: None }
}

/// Lives ten seconds.
fn brief(path: &str) -> Put {
    Put { ttl: Some(Duration::from_secs(10)), ..put(path, json!({})) }
}

async fn write(store: &impl Items, tenant: &str, writes: Vec<Write>, now: u64) {
    store.write(tenant, Batch::new(writes).unwrap(), at(now)).await.unwrap();
}

async fn put_all(store: &impl Items, puts: Vec<Put>, now: u64) {
    write(store, "main", puts.into_iter().map(Write::Put).collect(), now).await;
}

async fn item(store: &impl Items, path: &str, now: u64) -> Option<Item> {
    store.item("main", &id(path), at(now)).await.unwrap()
}

fn search(prefix: &str) -> Search {
    Search {
        prefix: namespace(prefix),
        filter: Filter::default(),
        query: None,
        span: Span::new(0, 100).unwrap(),
    }
}

async fn find(store: &impl Items, search: &Search, now: u64) -> Vec<Hit> {
    store.search("main", search, at(now)).await.unwrap()
}

async fn paths(store: &impl Items, search: &Search, now: u64) -> Vec<String> {
    find(store, search, now).await.iter().map(|hit| path(&hit.item.id)).collect()
}

fn namespaces(prefix: &str, suffix: &str, depth: usize) -> Namespaces {
    Namespaces {
        prefix: namespace(prefix),
        suffix: namespace(suffix),
        depth_max: NonZeroUsize::new(depth),
        span: Span::new(0, 100).unwrap(),
    }
}

async fn listed(store: &impl Items, wanted: &Namespaces, now: u64) -> Vec<String> {
    let found = store.namespaces("main", wanted, at(now)).await.unwrap();
    found.iter().map(|found| found.labels().collect::<Vec<_>>().join("/")).collect()
}

pub async fn an_item_is_kept_as_it_was_put<K: Kind<Store: Items>>(kind: &K) {
    let store = kind.fresh().await;
    let value = json!({"z": 1, "a": [true, null, {"deep": "\u{0}\u{1F600}'\"\\"}], "": "ä"});
    let fields = Index::Fields(vec!["a[*].deep".to_owned(), "z".to_owned()]);
    let ttl = Some(Duration::from_millis(90_500));
    let odd = Id { namespace: namespace("users/ann-1"), key: " kéy. /'%".to_owned() };
    let get = async |store: &K::Store, now| store.item("main", &odd, at(now)).await.unwrap();
    let rich = Put { index: fields.clone(), ttl, id: odd.clone(), value: object(value.clone()) };
    let bare = Put { index: Index::Nothing, ..put("users/ann-1/other", json!({})) };
    put_all(&store, vec![rich, bare], 1).await;
    let store = kind.reopen(store).await;
    let expected = Item {
        id: odd.clone(),
        value: object(value),
        index: fields,
        created: at(1),
        updated: at(1),
        ttl,
        expires: Some(at(91).plus(Duration::from_millis(500))),
    };
    assert_eq!(get(&store, 2).await, Some(expected.clone()));
    let other = item(&store, "users/ann-1/other", 2).await.unwrap();
    assert_eq!((other.index, other.ttl, other.expires), (Index::Nothing, None, None));
    let anew = Put { id: odd.clone(), ..put("a/b", json!({"new": 1})) };
    put_all(&store, vec![anew], 5).await;
    let replaced = Item {
        value: object(json!({"new": 1})),
        index: Index::All,
        updated: at(5),
        ttl: None,
        expires: None,
        ..expected
    };
    assert_eq!(get(&store, 1_000).await, Some(replaced));
    write(&store, "main", vec![Write::Delete(odd.clone())], 6).await;
    write(&store, "main", vec![Write::Delete(odd.clone())], 6).await;
    assert_eq!(get(&store, 6).await, None);
    assert_eq!(item(&store, "users/other", 6).await, None);
}

pub async fn a_batch_is_stored_whole<K: Kind<Store: Items>>(kind: &K) {
    let store = kind.fresh().await;
    write(&store, "main", Vec::new(), 0).await;
    put_all(&store, vec![put("a/x", json!({"n": 1})), put("a/y", json!({"n": 1}))], 1).await;
    let mut writes = vec![
        Write::Delete(id("a/x")),
        Write::Put(put("a/y", json!({"n": 2}))),
        Write::Put(put("b/z", json!({"n": 2}))),
        Write::Delete(id("b/nothing")),
    ];
    write(&store, "main", writes.clone(), 2).await;
    assert_eq!(paths(&store, &search(""), 2).await, ["a/y", "b/z"]);
    assert_eq!(item(&store, "a/y", 2).await.unwrap().created, at(1));
    writes.extend((0..996).map(|number| Write::Put(put(&format!("c/{number:04}"), json!({})))));
    write(&store, "main", writes, 3).await;
    let span = Span::new(990, 1_000).unwrap();
    let end = paths(&store, &Search { span, ..search("") }, 3).await;
    assert_eq!(end[..2], ["c/0988", "c/0989"]);
    assert_eq!(end.len(), 8);
}

pub async fn tenants_have_items_of_their_own<K: Kind<Store: Items>>(kind: &K) {
    let store = kind.fresh().await;
    for (tenant, number) in [("main", 1), ("other", 2), ("", 3)] {
        let writes = vec![Write::Put(put("a/x", json!({"n": number})))];
        write(&store, tenant, writes, 1).await;
    }
    write(&store, "other", vec![Write::Delete(id("a/x"))], 2).await;
    assert_eq!(item(&store, "a/x", 2).await.unwrap().value, object(json!({"n": 1})));
    assert_eq!(store.item("other", &id("a/x"), at(2)).await.unwrap(), None);
    assert_eq!(store.search("other", &search(""), at(2)).await.unwrap(), []);
    assert_eq!(store.namespaces("other", &namespaces("", "", 0), at(2)).await.unwrap(), []);
    assert_eq!(find(&store, &search(""), 2).await.len(), 1);
}

pub async fn an_item_that_has_expired_is_seen_by_nobody<K: Kind<Store: Items>>(kind: &K) {
    let store = kind.fresh().await;
    put_all(&store, vec![brief("a/x"), put("b/y", json!({}))], 0).await;
    let filtered =
        Search { filter: Filter::parse(&object(json!({"no": null}))).unwrap(), ..search("") };
    assert_eq!(paths(&store, &search(""), 9).await, ["a/x", "b/y"]);
    assert_eq!(paths(&store, &filtered, 9).await, ["a/x", "b/y"]);
    assert_eq!(listed(&store, &namespaces("", "", 0), 9).await, ["a", "b"]);
    assert!(item(&store, "a/x", 9).await.is_some());
    assert_eq!(paths(&store, &search(""), 10).await, ["b/y"]);
    assert_eq!(paths(&store, &filtered, 10).await, ["b/y"]);
    assert_eq!(listed(&store, &namespaces("", "", 0), 10).await, ["b"]);
    assert_eq!(item(&store, "a/x", 10).await, None);
    put_all(&store, vec![put("a/x", json!({}))], 11).await;
    let anew = item(&store, "a/x", 100).await.unwrap();
    assert_eq!((anew.created, anew.expires), (at(11), None), "it is another one");
}

pub async fn what_cannot_be_is_not_there<K: Kind<Store: Items>>(kind: &K) {
    let store = kind.fresh().await;
    let long = "x".repeat(5_000);
    for (space, key) in [("a", "\0"), ("a", ""), ("a", &*long), ("", "x")] {
        let id = Id { namespace: namespace(space), key: key.to_owned() };
        assert_eq!(store.item("main", &id, at(1)).await.unwrap(), None);
        assert_eq!(store.refresh("main", std::slice::from_ref(&id), at(1)).await.unwrap(), 0);
        write(&store, "main", vec![Write::Delete(id)], 1).await;
    }
}

pub async fn what_is_refreshed_lives_on<K: Kind<Store: Items>>(kind: &K) {
    let store = kind.fresh().await;
    put_all(&store, vec![brief("a/x"), brief("a/y"), put("a/z", json!({}))], 0).await;
    let ids = ["a/x", "a/z", "a/nothing"].map(id);
    assert_eq!(store.refresh("main", &ids, at(8)).await.unwrap(), 1);
    assert_eq!(store.refresh("other", &ids, at(8)).await.unwrap(), 0);
    let refreshed = item(&store, "a/x", 17).await.unwrap();
    assert_eq!((refreshed.expires, refreshed.updated), (Some(at(18)), at(0)));
    assert_eq!(item(&store, "a/y", 17).await, None);
    assert_eq!(store.refresh("main", &ids, at(5)).await.unwrap(), 1);
    assert_eq!(item(&store, "a/x", 5).await.unwrap().expires, Some(at(18)), "never shorter");
    assert_eq!(store.refresh("main", &ids, at(18)).await.unwrap(), 0, "it is too late");
}

pub async fn what_is_swept_is_bounded<K: Kind<Store: Items>>(kind: &K) {
    let store = kind.fresh().await;
    put_all(&store, vec![brief("a/1"), brief("a/2"), brief("b/3"), put("a/4", json!({}))], 0).await;
    put_all(&store, vec![brief("a/5")], 5).await;
    assert_eq!(store.sweep(at(9), 10).await.unwrap(), 0);
    assert_eq!(store.sweep(at(10), 2).await.unwrap(), 2);
    assert_eq!(store.sweep(at(10), 2).await.unwrap(), 1);
    assert_eq!(store.sweep(at(10), 2).await.unwrap(), 0);
    assert_eq!(paths(&store, &search(""), 10).await, ["a/5", "a/4"]);
}

pub async fn items_are_listed_last_updated_first<K: Kind<Store: Items>>(kind: &K) {
    let store = kind.fresh().await;
    for (second, at) in ["a/b/1", "a/2", "ab/3", "a-b/4", "a/b/c/5"].into_iter().zip(1..) {
        put_all(&store, vec![put(second, json!({"n": at}))], at).await;
    }
    put_all(&store, vec![put("a/2", json!({}))], 9).await;
    let check = async |prefix: &str, expected: &[&str]| {
        assert_eq!(paths(&store, &search(prefix), 9).await, expected, "{prefix}");
    };
    check("", &["a/2", "a/b/c/5", "a-b/4", "ab/3", "a/b/1"]).await;
    check("a", &["a/2", "a/b/c/5", "a/b/1"]).await;
    check("a/b", &["a/b/c/5", "a/b/1"]).await;
    check("a/b/c/5", &[]).await;
    check("b", &[]).await;
    for filter in [json!({}), json!({"missing": null})] {
        let filter = Filter::parse(&object(filter)).unwrap();
        let span = Span::new(1, 2).unwrap();
        let part = Search { filter, span, ..search("") };
        assert_eq!(paths(&store, &part, 9).await, ["a/b/c/5", "a-b/4"]);
    }
}

pub async fn a_search_finds_what_passes_the_filter_and_has_the_words<K: Kind<Store: Items>>(
    kind: &K,
) {
    let store = kind.fresh().await;
    let note = |path: &str, size: u32, text: &str| {
        put(path, json!({"kind": "note", "size": size, "by": {"name": "ann"}, "text": text}))
    };
    let hidden = Put { index: Index::Nothing, ..note("a/hidden", 1, "red green") };
    let titled = Index::Fields(vec!["by.name".to_owned()]);
    let titled = Put { index: titled, ..note("a/titled", 1, "red green") };
    let puts = vec![
        note("a/1", 1, "A red house"),
        note("a/2", 2, "RED, and green!"),
        note("a/3", 3, "blue"),
        hidden,
        titled,
    ];
    put_all(&store, puts, 1).await;
    // Enough for several steps through a database.
    let many = (0..250).map(|number| put(&format!("z/{number}"), json!({"kind": "filler"})));
    put_all(&store, many.collect(), 2).await;
    let check = async |filter: Value, query: &str, expected: &[(&str, Option<f64>)]| {
        let filter = Filter::parse(&object(filter)).unwrap();
        let search = Search { filter, query: Words::new(query), ..search("") };
        let found = find(&store, &search, 3).await;
        let found: Vec<_> = found.iter().map(|hit| (path(&hit.item.id), hit.score)).collect();
        let found: Vec<_> = found.iter().map(|(path, score)| (&**path, *score)).collect();
        assert_eq!(found, expected, "{query}");
    };
    check(json!({"size": {"$gte": 2}}), "", &[("a/2", None), ("a/3", None)]).await;
    check(json!({}), "red green", &[("a/2", Some(1.0)), ("a/1", Some(0.5))]).await;
    check(json!({"size": 1}), "Green red", &[("a/1", Some(0.5))]).await;
    check(
        json!({"by": {"name": "ann"}, "size": {"$lt": 2, "$ne": 0}}),
        "Ann",
        &[("a/1", Some(1.0)), ("a/titled", Some(1.0))],
    )
    .await;
    check(json!({"by": "ann"}), "", &[]).await;
    let fillers = Filter::parse(&object(json!({"kind": "filler"}))).unwrap();
    let span = Span::new(240, 100).unwrap();
    let last = Search { filter: fillers, span, ..search("z") };
    assert_eq!(find(&store, &last, 3).await.len(), 10);
}

pub async fn namespaces_are_listed_by_their_ends<K: Kind<Store: Items>>(kind: &K) {
    let store = kind.fresh().await;
    let all = ["users/ann/notes", "users/ann/tasks", "users/bob/notes", "teams/red", "users"];
    let puts = all
        .iter()
        .flat_map(|all| [put(&format!("{all}/1"), json!({})), put(&format!("{all}/2"), json!({}))]);
    put_all(&store, puts.collect(), 1).await;
    let check = async |wanted: Namespaces, expected: &[&str]| {
        assert_eq!(listed(&store, &wanted, 1).await, expected, "{wanted:?}");
    };
    let sorted = ["teams/red", "users", "users/ann/notes", "users/ann/tasks", "users/bob/notes"];
    check(namespaces("", "", 0), &sorted).await;
    check(namespaces("", "", 1), &["teams", "users"]).await;
    check(namespaces("users", "", 2), &["users", "users/ann", "users/bob"]).await;
    check(namespaces("", "notes", 0), &["users/ann/notes", "users/bob/notes"]).await;
    check(namespaces("users/*/tasks", "", 0), &["users/ann/tasks"]).await;
    check(namespaces("*", "ann/*", 0), &["users/ann/notes", "users/ann/tasks"]).await;
    let span = Span::new(1, 2).unwrap();
    check(Namespaces { span, ..namespaces("", "", 0) }, &sorted[1..3]).await;
    let many = (0..1_000).map(|number| put(&format!("m/{number:04}/x/1"), json!({})));
    put_all(&store, many.collect(), 2).await;
    let many = (0..1_000).map(|number| put(&format!("n/{number:04}/x/1"), json!({})));
    put_all(&store, many.collect(), 2).await;
    let span = Span::new(1_998, 9).unwrap();
    let end = ["n/0998/x", "n/0999/x"];
    check(Namespaces { span, ..namespaces("", "x", 0) }, &end).await;
    check(namespaces("", "", 1), &["m", "n", "teams", "users"]).await;
}

pub async fn writers_at_once_disturb_nothing<K: Kind<Store: Items>>(kind: &K) {
    let store = Arc::new(kind.fresh().await);
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..8_u32 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for round in 0..10 {
                let key = |number: u32| format!("a/{}", (number + writer) % 8);
                let puts = (0..8).map(|number| put(&key(number), json!({"by": [writer, round]})));
                put_all(store.as_ref(), puts.collect(), 1).await;
            }
        });
    }
    tasks.join_all().await;
    let found = find(store.as_ref(), &search(""), 1).await;
    let values: Vec<_> = found.iter().map(|hit| &hit.item.value).collect();
    assert_eq!(values.len(), 8);
    assert!(values.iter().all(|value| *value == values[0]), "the last batch is there as a whole");
}
