//! What every store of assistants must do.

use std::sync::Arc;

use agentry_core::assistants::{
    Added, Assistant, Assistants, Change, Created, Definition, NewAssistant, Query, Search, Sort,
    Updated,
};
use agentry_core::listing::{Order, Span};
use serde_json::{Map, Value, json};

use crate::kind::Kind;
use crate::ledger::at;

/// Calls `$each!(name)` for every part of the contract.
#[macro_export]
macro_rules! for_each_assistants_test {
    ($each:ident) => {
        $each! { assistants:
            a_change_makes_a_version_and_leaves_the_others
            a_version_that_is_made_from_an_older_one_is_refused
            an_assistant_is_kept_as_it_was_made
            an_assistant_is_one_of_its_versions
            assistants_are_found_by_what_they_are
            changes_at_once_are_all_kept
            tenants_have_assistants_of_their_own
            what_cannot_be_is_not_there
        }
    };
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("{value} is an object") };
    object
}

fn definition(name: &str) -> Definition {
    Definition {
        graph: "agent".to_owned(),
        name: name.to_owned(),
        description: Some("reads, then \"writes\"".to_owned()),
        config: object(json!({"configurable": {"model": "fast"}, "a": null})),
        context: object(json!({"user": "änn"})),
        metadata: object(json!({"team": "red", "by": ["x", 1]})),
    }
}

async fn create(store: &impl Assistants, id: &str, definition: Definition, now: u64) -> Assistant {
    let new = NewAssistant::new(id.to_owned(), definition, at(now)).unwrap();
    match store.create("main", new).await.unwrap() {
        Created::New(assistant) => assistant,
        Created::Existing(known) => panic!("it is new: {known:?}"),
    }
}

async fn show(store: &impl Assistants, id: &str) -> Option<Assistant> {
    store.assistant("main", id).await.unwrap()
}

async fn update(store: &impl Assistants, id: &str, change: &Change, now: u64) -> Assistant {
    match store.update(("main", id), change, at(now)).await.unwrap() {
        Updated::Done(assistant) => *assistant,
        other => panic!("it is there: {other:?}"),
    }
}

fn everything() -> Span {
    Span::new(0, 100).unwrap()
}

async fn versions(store: &impl Assistants, id: &str, metadata: Value) -> Vec<u32> {
    let metadata = object(metadata);
    let versions = store.versions(("main", id), &metadata, everything()).await.unwrap();
    versions.iter().map(|version| version.version).collect()
}

pub async fn an_assistant_is_kept_as_it_was_made<K: Kind<Store: Assistants>>(kind: &K) {
    let store = kind.fresh().await;
    let expected = Assistant {
        id: "one".to_owned(),
        version: 1,
        definition: definition("First"),
        created: at(1),
        updated: at(1),
    };
    assert_eq!(create(&store, "one", definition("First"), 1).await, expected);
    let bare = Definition { graph: "g".to_owned(), ..Definition::default() };
    let bare = create(&store, "two", bare, 2).await;
    let store = kind.reopen(store).await;
    assert_eq!(show(&store, "one").await, Some(expected.clone()));
    assert_eq!(show(&store, "two").await, Some(bare));
    assert_eq!(show(&store, "three").await, None);
    let again = NewAssistant::new("one".to_owned(), definition("Again"), at(3)).unwrap();
    let again = store.create("main", again).await.unwrap();
    assert_eq!(again, Created::Existing(expected.clone()));
    assert_eq!(show(&store, "one").await, Some(expected));
}

pub async fn a_change_makes_a_version_and_leaves_the_others<K: Kind<Store: Assistants>>(kind: &K) {
    let store = kind.fresh().await;
    let first = create(&store, "one", definition("First"), 1).await;
    let change = Change {
        graph: Some("other".to_owned()),
        config: Some(Map::new()),
        metadata: object(json!({"team": "blue"})),
        ..Change::default()
    };
    let changed = update(&store, "one", &change, 5).await;
    let definition = Definition {
        graph: "other".to_owned(),
        config: Map::new(),
        metadata: object(json!({"team": "blue", "by": ["x", 1]})),
        ..definition("First")
    };
    let expected = Assistant { version: 2, definition, updated: at(5), ..first.clone() };
    assert_eq!(changed, expected);
    let store = kind.reopen(store).await;
    assert_eq!(show(&store, "one").await.as_ref(), Some(&expected));
    let all = store.versions(("main", "one"), &Map::new(), everything()).await.unwrap();
    assert_eq!(all, [Assistant { created: at(5), ..expected }, first]);
    assert_eq!(versions(&store, "one", json!({"team": "red"})).await, [1]);
    assert_eq!(versions(&store, "nothing", json!({})).await, [0; 0]);
    let nothing = store.update(("main", "nothing"), &change, at(6)).await.unwrap();
    assert_eq!(nothing, Updated::NotFound);
    let wrong = Change { graph: Some(String::new()), ..Change::default() };
    let wrong = store.update(("main", "one"), &wrong, at(6)).await.unwrap();
    assert!(matches!(wrong, Updated::Invalid(_)), "{wrong:?}");
    assert_eq!(versions(&store, "one", json!({})).await, [2, 1]);
}

pub async fn a_version_that_is_made_from_an_older_one_is_refused<K: Kind<Store: Assistants>>(
    kind: &K,
) {
    let store = kind.fresh().await;
    create(&store, "one", definition("First"), 1).await;
    let checked = || definition("Second").check().unwrap();
    let added = store.add_version(("main", "one"), 1, checked(), at(2)).await.unwrap();
    assert!(matches!(added, Added::Done(_)), "{added:?}");
    for from in [0, 1, 3] {
        let late = store.add_version(("main", "one"), from, checked(), at(3)).await.unwrap();
        assert_eq!(late, Added::Conflict, "{from}");
    }
    let nothing = store.add_version(("main", "two"), 1, checked(), at(3)).await.unwrap();
    assert_eq!(nothing, Added::NotFound);
    assert_eq!(versions(&store, "one", json!({})).await, [2, 1]);
}

pub async fn an_assistant_is_one_of_its_versions<K: Kind<Store: Assistants>>(kind: &K) {
    let store = kind.fresh().await;
    create(&store, "one", definition("First"), 1).await;
    let renamed = Change { name: Some("Second".to_owned()), ..Change::default() };
    update(&store, "one", &renamed, 2).await;
    let back = store.set_latest(("main", "one"), 1, at(3)).await.unwrap().unwrap();
    assert_eq!((back.version, &*back.definition.name, back.updated), (1, "First", at(3)));
    assert_eq!(show(&store, "one").await, Some(back));
    let described = Change { description: Some("new".to_owned()), ..Change::default() };
    let third = update(&store, "one", &described, 4).await;
    assert_eq!((third.version, &*third.definition.name), (3, "First"));
    for wrong in [0, 4] {
        assert_eq!(store.set_latest(("main", "one"), wrong, at(5)).await.unwrap(), None);
    }
    assert_eq!(store.set_latest(("main", "two"), 1, at(5)).await.unwrap(), None);
    assert_eq!(versions(&store, "one", json!({})).await, [3, 2, 1]);
    let span = Span::new(1, 1).unwrap();
    let part = store.versions(("main", "one"), &Map::new(), span).await.unwrap();
    assert_eq!(part.iter().map(|version| version.version).collect::<Vec<_>>(), [2]);
}

pub async fn assistants_are_found_by_what_they_are<K: Kind<Store: Assistants>>(kind: &K) {
    let store = kind.fresh().await;
    let all = [("d", "Beta", "agent"), ("a", "alpha", "agent"), ("c", "Gamma", "review")];
    for (second, (id, name, graph)) in (1..).zip(all) {
        let graph = graph.to_owned();
        let metadata = object(json!({"number": second, "of": {"team": "red"}}));
        create(&store, id, Definition { graph, metadata, ..definition(name) }, second).await;
    }
    // Enough for several steps through a database.
    for number in 0..120 {
        let filler = Definition { graph: "filler".to_owned(), ..definition("filler") };
        create(&store, &format!("filler {number:03}"), filler, 10).await;
    }
    let check = async |query: Query, (sort, order), span: (usize, usize), expected: &[&str]| {
        let query = if query.graph.is_none() && query.name.is_none() && query.metadata.is_empty() {
            Query { metadata: object(json!({"of": {}})), ..query }
        } else {
            query
        };
        let span = Span::new(span.0, span.1).unwrap();
        let search = Search { query: query.clone(), sort, order, span };
        let found = store.search("main", &search).await.unwrap();
        let found: Vec<_> = found.iter().map(|assistant| &*assistant.id).collect();
        assert_eq!(found, expected, "{search:?}");
        if span.offset() == 0 && span.limit() > expected.len() {
            let count = store.count("main", &query).await.unwrap();
            assert_eq!(count, expected.len() as u64, "{query:?}");
        }
    };
    let any = Query::default;
    let (up, down) = (Order::Ascending, Order::Descending);
    check(any(), (Sort::Created, up), (0, 9), &["d", "a", "c"]).await;
    check(any(), (Sort::Created, down), (0, 2), &["c", "a"]).await;
    check(any(), (Sort::Id, up), (1, 9), &["c", "d"]).await;
    check(any(), (Sort::Name, up), (0, 9), &["d", "c", "a"]).await;
    check(any(), (Sort::Graph, down), (0, 9), &["c", "d", "a"]).await;
    let graph = Query { graph: Some("agent".to_owned()), ..any() };
    check(graph, (Sort::Id, up), (0, 9), &["a", "d"]).await;
    let named = Query { name: Some("A".to_owned()), graph: Some("agent".to_owned()), ..any() };
    check(named, (Sort::Id, up), (0, 9), &["a", "d"]).await;
    let named = Query { name: Some("ALPH".to_owned()), ..any() };
    check(named, (Sort::Id, up), (0, 9), &["a"]).await;
    let third = Query { metadata: object(json!({"number": 3})), ..any() };
    check(third, (Sort::Id, up), (0, 9), &["c"]).await;
    assert_eq!(store.count("main", &any()).await.unwrap(), 123);
    update(&store, "d", &Change { name: Some("Zeta".to_owned()), ..Change::default() }, 50).await;
    let zeta = Query { name: Some("zeta".to_owned()), ..any() };
    check(zeta, (Sort::Updated, down), (0, 9), &["d"]).await;
    let beta = Query { name: Some("beta".to_owned()), ..any() };
    check(beta, (Sort::Updated, down), (0, 9), &[]).await;
}

pub async fn tenants_have_assistants_of_their_own<K: Kind<Store: Assistants>>(kind: &K) {
    let store = kind.fresh().await;
    let mine = create(&store, "one", definition("Mine"), 1).await;
    let theirs = NewAssistant::new("one".to_owned(), definition("Theirs"), at(2)).unwrap();
    let theirs = store.create("other", theirs).await.unwrap();
    assert!(matches!(theirs, Created::New(_)), "{theirs:?}");
    assert_eq!(show(&store, "one").await, Some(mine));
    assert_eq!(store.count("other", &Query::default()).await.unwrap(), 1);
    assert_eq!(store.count("third", &Query::default()).await.unwrap(), 0);
    assert!(store.delete("main", "one").await.unwrap());
    assert!(!store.delete("main", "one").await.unwrap());
    assert_eq!(show(&store, "one").await, None);
    assert_eq!(versions(&store, "one", json!({})).await, [0; 0]);
    let left = store.assistant("other", "one").await.unwrap().unwrap();
    assert_eq!(left.definition.name, "Theirs");
    let anew = create(&store, "one", definition("Anew"), 3).await;
    assert_eq!((anew.version, anew.created), (1, at(3)));
}

pub async fn what_cannot_be_is_not_there<K: Kind<Store: Assistants>>(kind: &K) {
    let store = kind.fresh().await;
    let (id, graph) = ("a\0", Some("\0".to_owned()));
    assert_eq!(show(&store, id).await, None);
    assert_eq!(versions(&store, id, json!({})).await, [0; 0]);
    assert_eq!(store.set_latest(("main", id), 1, at(1)).await.unwrap(), None);
    let checked = definition("First").check().unwrap();
    let added = store.add_version(("main", id), 1, checked, at(1)).await.unwrap();
    assert_eq!(added, Added::NotFound);
    assert!(!store.delete("main", id).await.unwrap());
    let query = Query { graph, name: Some("\0".to_owned()), ..Query::default() };
    assert_eq!(store.count("main", &query).await.unwrap(), 0);
}

pub async fn changes_at_once_are_all_kept<K: Kind<Store: Assistants>>(kind: &K) {
    let store = Arc::new(kind.fresh().await);
    create(store.as_ref(), "one", definition("First"), 1).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..20 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let metadata = Map::from_iter([(format!("change {number}"), json!(number))]);
            update(store.as_ref(), "one", &Change { metadata, ..Change::default() }, 2).await;
        });
    }
    tasks.join_all().await;
    let changed = show(store.as_ref(), "one").await.unwrap();
    assert_eq!((changed.version, changed.definition.metadata.len()), (21, 22));
}
