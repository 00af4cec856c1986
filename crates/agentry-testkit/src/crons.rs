//! What every store of crons must do.

use std::collections::BTreeSet;
use std::sync::Arc;

use agentry_core::Timestamp;
use agentry_core::crons::{
    Change, Claim, Cron, Crons, Definition, Due, NewCron, Query, Replaced, Replacement, Search,
    Sort, Updated,
};
use agentry_core::listing::{Order, Span};
use serde_json::{Map, Value, json};

use crate::kind::Kind;
use crate::ledger::at;

/// Calls `$each!(name)` for every part of the contract.
#[macro_export]
macro_rules! for_each_crons_test {
    ($each:ident) => {
        $each! { crons:
            a_changed_cron_comes_when_it_says_now
            a_cron_is_kept_as_it_was_made
            a_cron_that_has_come_to_its_end_comes_no_more
            an_occurrence_is_held_by_one_for_a_while
            changes_at_once_are_all_kept
            crons_are_found_by_what_they_are
            crons_of_a_person_are_forgotten
            each_occurrence_is_handed_to_one_of_many
            tenants_have_crons_of_their_own
            what_cannot_be_is_not_there
            what_was_missed_happens_once
        }
    };
}

/// The suite's time begins at noon.
const MINUTE: u64 = 60;

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("{value} is an object") };
    object
}

/// Comes every minute.
fn definition() -> Definition {
    Definition {
        assistant: "agent".to_owned(),
        thread: None,
        user: None,
        schedule: "* * * * *".to_owned(),
        timezone: None,
        payload: object(json!({"input": {"text": "änn"}, "webhook": null})),
        metadata: Map::new(),
        end: None,
        enabled: true,
    }
}

fn new(id: &str, definition: Definition, now: u64) -> NewCron {
    NewCron::new(id.to_owned(), definition, at(now)).unwrap()
}

async fn create(store: &impl Crons, id: &str, definition: Definition, now: u64) -> Cron {
    store.create("main", new(id, definition, now)).await.unwrap()
}

async fn show(store: &impl Crons, id: &str) -> Option<Cron> {
    store.cron("main", id).await.unwrap()
}

async fn next(store: &impl Crons, id: &str) -> Option<Timestamp> {
    show(store, id).await.expect("the cron").next
}

/// Held for half a minute.
async fn due(store: &impl Crons, now: u64, max: usize) -> Vec<Due> {
    let claim = Claim { now: at(now), lease_until: at(now + 30), max };
    store.due(claim).await.unwrap()
}

async fn due_ids(store: &impl Crons, now: u64) -> Vec<String> {
    due(store, now, 100).await.into_iter().map(|due| due.cron.id).collect()
}

async fn update(store: &impl Crons, id: &str, change: &Change, now: u64) -> Cron {
    match store.update(("main", id), change, at(now)).await.unwrap() {
        Updated::Done(cron) => *cron,
        other => panic!("it is there: {other:?}"),
    }
}

pub async fn a_cron_is_kept_as_it_was_made<K: Kind<Store: Crons>>(kind: &K) {
    let store = kind.fresh().await;
    let rich = Definition {
        thread: Some("thread".to_owned()),
        user: Some("änn".to_owned()),
        schedule: "30 8 * * mon-fri".to_owned(),
        timezone: Some("Europe/Berlin".to_owned()),
        metadata: object(json!({"a": [1, {"b": null}]})),
        end: Some(at(1_000_000)),
        ..definition()
    };
    let expected = Cron {
        id: "rich".to_owned(),
        tenant: "main".to_owned(),
        definition: rich.clone(),
        // Monday the 2nd of February 2026, at half past eight in Berlin.
        next: Some("2026-02-02T07:30:00Z".parse().unwrap()),
        created: at(1),
        updated: at(1),
        revision: 0,
    };
    assert_eq!(create(&store, "rich", rich, 1).await, expected);
    let off = create(&store, "off", Definition { enabled: false, ..definition() }, 2).await;
    assert_eq!(off.next, None);
    let store = kind.reopen(store).await;
    assert_eq!(show(&store, "rich").await, Some(expected));
    assert_eq!(show(&store, "off").await, Some(off));
    assert_eq!(show(&store, "nothing").await, None);
    let again = store.create("main", new("off", definition(), 3)).await;
    assert!(again.is_err(), "an id is one cron's");
    assert!(store.delete("main", "off").await.unwrap());
    assert!(!store.delete("main", "off").await.unwrap());
    assert_eq!(show(&store, "off").await, None);
}

pub async fn an_occurrence_is_held_by_one_for_a_while<K: Kind<Store: Crons>>(kind: &K) {
    let store = kind.fresh().await;
    assert_eq!(store.next_due().await.unwrap(), None);
    create(&store, "one", definition(), 0).await;
    assert_eq!(store.next_due().await.unwrap(), Some(at(MINUTE)));
    assert_eq!(due(&store, MINUTE - 1, 10).await, []);
    let first = due(&store, MINUTE, 10).await;
    assert_eq!(first.len(), 1);
    let first = &first[0];
    assert_eq!(first.occurrence, at(MINUTE));
    assert_eq!(first.key(), format!("cron:one:{}", at(MINUTE)));
    assert_eq!(due(&store, MINUTE + 29, 10).await, [], "it is held");
    assert_eq!(store.next_due().await.unwrap(), Some(at(MINUTE + 30)));
    let store = kind.reopen(store).await;
    let again = due(&store, MINUTE + 30, 10).await;
    assert_eq!(again[0].key(), first.key(), "whoever held it may be gone");
    assert!(store.fired(first, at(MINUTE + 31)).await.unwrap(), "it was not");
    assert!(!store.fired(&again[0], at(MINUTE + 31)).await.unwrap());
    assert_eq!(next(&store, "one").await, Some(at(2 * MINUTE)));
    assert_eq!(due(&store, MINUTE + 59, 10).await, []);
    assert_eq!(due(&store, 2 * MINUTE, 10).await[0].occurrence, at(2 * MINUTE));
}

pub async fn what_was_missed_happens_once<K: Kind<Store: Crons>>(kind: &K) {
    let store = kind.fresh().await;
    create(&store, "late", definition(), 0).await;
    create(&store, "later", definition(), MINUTE).await;
    let hours = 5 * 60 * MINUTE + 7;
    let missed = due(&store, hours, 10).await;
    let occurrences: Vec<_> = missed.iter().map(|due| (&*due.cron.id, due.occurrence)).collect();
    assert_eq!(occurrences, [("late", at(MINUTE)), ("later", at(2 * MINUTE))]);
    for due in &missed {
        assert!(store.fired(due, at(hours + 1)).await.unwrap());
    }
    assert_eq!(due(&store, hours + 2, 10).await, []);
    assert_eq!(next(&store, "late").await, Some(at(hours - 7 + MINUTE)));
}

pub async fn a_cron_that_has_come_to_its_end_comes_no_more<K: Kind<Store: Crons>>(kind: &K) {
    let store = kind.fresh().await;
    let ends = |end| Definition { end: Some(at(end)), ..definition() };
    create(&store, "last", ends(MINUTE + 30), 0).await;
    create(&store, "missed", ends(MINUTE + 30), 0).await;
    create(&store, "never", ends(MINUTE), 0).await;
    assert_eq!(next(&store, "never").await, None);
    let due = due(&store, MINUTE, 1).await;
    assert_eq!(due[0].cron.id, "last");
    assert!(store.fired(&due[0], at(MINUTE)).await.unwrap());
    assert_eq!(next(&store, "last").await, None);
    assert_eq!(due_ids(&store, MINUTE + 30).await, [""; 0], "its end has come");
    assert_eq!(next(&store, "missed").await, None);
    assert_eq!(store.next_due().await.unwrap(), None);
    let prolonged = Change { end: Some(None), ..Change::default() };
    let prolonged = update(&store, "missed", &prolonged, 3 * MINUTE).await;
    assert_eq!(prolonged.next, Some(at(4 * MINUTE)));
}

pub async fn a_changed_cron_comes_when_it_says_now<K: Kind<Store: Crons>>(kind: &K) {
    let store = kind.fresh().await;
    let made = create(&store, "one", definition(), 0).await;
    let described = Change {
        metadata: object(json!({"a": 1})),
        payload: object(json!({"webhook": "x"})),
        ..Change::default()
    };
    let held = due(&store, MINUTE, 1).await;
    let changed = update(&store, "one", &described, MINUTE + 1).await;
    let expected = Definition {
        metadata: object(json!({"a": 1})),
        payload: object(json!({"input": {"text": "änn"}, "webhook": "x"})),
        ..definition()
    };
    assert_eq!((&changed.definition, changed.next), (&expected, made.next));
    assert_eq!((changed.created, changed.updated), (at(0), at(MINUTE + 1)));
    assert_eq!(due_ids(&store, MINUTE + 2).await, [""; 0], "it is still held");
    let rescheduled = Change { schedule: Some("*/5 * * * *".to_owned()), ..Change::default() };
    let rescheduled = update(&store, "one", &rescheduled, MINUTE + 3).await;
    assert_eq!(rescheduled.next, Some(at(5 * MINUTE)));
    assert!(!store.fired(&held[0], at(MINUTE + 4)).await.unwrap(), "it is another time now");
    assert_eq!(next(&store, "one").await, Some(at(5 * MINUTE)));
    let off = Change { enabled: Some(false), ..Change::default() };
    assert_eq!(update(&store, "one", &off, MINUTE + 5).await.next, None);
    assert_eq!(due_ids(&store, 9 * MINUTE).await, [""; 0]);
    let on = Change { enabled: Some(true), ..Change::default() };
    assert_eq!(update(&store, "one", &on, 9 * MINUTE).await.next, Some(at(10 * MINUTE)));
    let wrong = Change { schedule: Some("never".to_owned()), ..Change::default() };
    let wrong = store.update(("main", "one"), &wrong, at(9 * MINUTE)).await.unwrap();
    assert!(matches!(wrong, Updated::Invalid(_)), "{wrong:?}");
    let nothing = store.update(("main", "two"), &on, at(9 * MINUTE)).await.unwrap();
    assert_eq!(nothing, Updated::NotFound);
    let known = show(&store, "one").await.unwrap();
    let by = || Replacement {
        definition: definition().check().unwrap(),
        next: None,
        updated: at(9 * MINUTE),
    };
    let late = store.replace(("main", "one"), known.revision - 1, by()).await.unwrap();
    assert_eq!(late, Replaced::Conflict);
    assert_eq!(show(&store, "one").await, Some(known));
    assert_eq!(store.replace(("main", "two"), 0, by()).await.unwrap(), Replaced::NotFound);
}

pub async fn each_occurrence_is_handed_to_one_of_many<K: Kind<Store: Crons>>(kind: &K) {
    let store = Arc::new(kind.fresh().await);
    for number in 0..20 {
        create(store.as_ref(), &format!("cron {number}"), definition(), 0).await;
    }
    let mut handed = Vec::new();
    for minute in 1..=3 {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                let mut keys = Vec::new();
                for due in due(store.as_ref(), minute * MINUTE, 3).await {
                    assert!(store.fired(&due, at(minute * MINUTE)).await.unwrap());
                    keys.push(due.key());
                }
                keys
            });
        }
        handed.extend(tasks.join_all().await.into_iter().flatten());
        for due in due(store.as_ref(), minute * MINUTE, 100).await {
            assert!(store.fired(&due, at(minute * MINUTE)).await.unwrap());
            handed.push(due.key());
        }
    }
    let distinct: BTreeSet<_> = handed.iter().collect();
    assert_eq!((handed.len(), distinct.len()), (60, 60));
}

pub async fn crons_are_found_by_what_they_are<K: Kind<Store: Crons>>(kind: &K) {
    let store = kind.fresh().await;
    let all = [("c", "one", None, true), ("a", "two", Some("t"), true), ("b", "two", None, false)];
    for (second, (id, assistant, thread, enabled)) in (1..).zip(all) {
        let metadata = object(json!({"number": second, "known": {"x": true}}));
        let (assistant, thread) = (assistant.to_owned(), thread.map(str::to_owned));
        let schedule = format!("{} * * * *", 10 * second);
        let definition =
            Definition { assistant, thread, enabled, metadata, schedule, ..definition() };
        create(&store, id, definition, second).await;
    }
    // Enough for several steps through a database.
    for number in 0..120 {
        create(&store, &format!("filler {number:03}"), definition(), 10).await;
    }
    let check = async |query: Query, (sort, order), (offset, limit), expected: &[&str]| {
        let span = Span::new(offset, limit).unwrap();
        let search = Search { query: query.clone(), sort, order, span };
        let found = store.search("main", &search).await.unwrap();
        let found: Vec<_> = found.iter().map(|cron| &*cron.id).collect();
        assert_eq!(found, expected, "{search:?}");
        if offset == 0 && limit > expected.len() {
            let count = store.count("main", &query).await.unwrap();
            assert_eq!(count, expected.len() as u64, "{query:?}");
        }
    };
    let known = || Query { metadata: object(json!({"known": {}})), ..Query::default() };
    let (up, down) = (Order::Ascending, Order::Descending);
    check(known(), (Sort::Created, up), (0, 9), &["c", "a", "b"]).await;
    check(known(), (Sort::Updated, down), (1, 1), &["a"]).await;
    check(known(), (Sort::Id, up), (0, 9), &["a", "b", "c"]).await;
    check(known(), (Sort::Assistant, up), (0, 9), &["c", "a", "b"]).await;
    check(known(), (Sort::Thread, down), (0, 9), &["a", "c", "b"]).await;
    check(known(), (Sort::Next, up), (0, 9), &["c", "a", "b"]).await;
    let two = Query { assistant: Some("two".to_owned()), ..Query::default() };
    check(two.clone(), (Sort::Id, up), (0, 9), &["a", "b"]).await;
    let off = Query { enabled: Some(false), ..Query::default() };
    check(off, (Sort::Id, up), (0, 9), &["b"]).await;
    check(Query { enabled: Some(true), ..two }, (Sort::Id, up), (0, 9), &["a"]).await;
    let thread = Query { thread: Some("t".to_owned()), ..Query::default() };
    check(thread, (Sort::Id, up), (0, 9), &["a"]).await;
    let third = Query { metadata: object(json!({"number": 3})), ..Query::default() };
    check(third, (Sort::Id, up), (0, 9), &["b"]).await;
    assert_eq!(store.count("main", &Query::default()).await.unwrap(), 123);
}

pub async fn crons_of_a_person_are_forgotten<K: Kind<Store: Crons>>(kind: &K) {
    let store = kind.fresh().await;
    let of = |user: &str| Definition { user: Some(user.to_owned()), ..definition() };
    create(&store, "a", of("ann"), 0).await;
    create(&store, "b", of("bob"), 0).await;
    create(&store, "c", definition(), 0).await;
    store.create("other", new("d", of("ann"), 0)).await.unwrap();
    assert_eq!(store.forget_user("main", "ann").await.unwrap(), 1);
    assert_eq!(store.forget_user("main", "ann").await.unwrap(), 0);
    assert_eq!(due_ids(&store, MINUTE).await, ["b", "c", "d"]);
}

pub async fn tenants_have_crons_of_their_own<K: Kind<Store: Crons>>(kind: &K) {
    let store = kind.fresh().await;
    let mine = create(&store, "one", definition(), 0).await;
    let other = store.create("other", new("one", definition(), 0)).await.unwrap();
    assert_eq!(other.tenant, "other");
    assert_eq!(store.count("other", &Query::default()).await.unwrap(), 1);
    assert_eq!(store.count("third", &Query::default()).await.unwrap(), 0);
    let off = Change { enabled: Some(false), ..Change::default() };
    store.update(("other", "one"), &off, at(1)).await.unwrap();
    assert_eq!(show(&store, "one").await, Some(mine));
    assert!(store.delete("other", "one").await.unwrap());
    let due = due(&store, MINUTE, 10).await;
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].cron.tenant, "main");
}

pub async fn what_cannot_be_is_not_there<K: Kind<Store: Crons>>(kind: &K) {
    let store = kind.fresh().await;
    let id = "a\0";
    assert_eq!(show(&store, id).await, None);
    let definition = definition().check().unwrap();
    let by = Replacement { definition, next: None, updated: at(1) };
    assert_eq!(store.replace(("main", id), 0, by).await.unwrap(), Replaced::NotFound);
    assert!(!store.delete("main", id).await.unwrap());
    assert_eq!(store.forget_user("main", id).await.unwrap(), 0);
    let id = Some(id.to_owned());
    for query in [
        Query { assistant: id.clone(), ..Query::default() },
        Query { thread: id, ..Query::default() },
    ] {
        assert_eq!(store.count("main", &query).await.unwrap(), 0);
    }
}

pub async fn changes_at_once_are_all_kept<K: Kind<Store: Crons>>(kind: &K) {
    let store = Arc::new(kind.fresh().await);
    create(store.as_ref(), "one", definition(), 0).await;
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
    assert_eq!((changed.revision, changed.definition.metadata.len()), (20, 20));
}
