//! One decision at a time, and what comes for a run in between.

use agentry_core::run::{Committed, Effect, Next, RunCommit, Status};
use agentry_core::store::{RunStore, Signal, Signalled};
use serde_json::json;

use super::{
    Kind, answer, append, applied, at, claim, claimed, commit, event, id, message, question,
    reclaimed, set,
};

pub async fn a_commit_is_applied_once_and_in_order(kind: &impl Kind) {
    let store = kind.fresh();
    let run = claimed(&store, 1).await;
    let first = RunCommit { deltas: vec![append("seen", &[1])], ..commit(&run, 1) };
    assert_eq!(store.commit(commit(&run, 2)).await, Ok(Committed::Stale));
    assert_eq!(store.commit(first.clone()).await, Ok(applied(false, false)));
    assert_eq!(store.commit(first.clone()).await, Ok(Committed::Duplicate));
    assert_eq!(store.commit(commit(&run, 2)).await, Ok(applied(false, false)));
    assert_eq!(store.commit(first).await, Ok(Committed::Duplicate));
    let loaded = store.load(id(1)).await.unwrap().unwrap();
    assert_eq!(loaded.values["seen"], json!([1]));
    assert_eq!((loaded.row.seq.0, loaded.row.updated), (2, at(102)));
    assert_eq!(loaded.cursor, Some(json!({ "at": 2 })));

    let nobody = RunCommit { run: id(77), ..commit(&run, 1) };
    assert!(store.commit(nobody).await.is_err());
}

pub async fn deltas_fold_into_values(kind: &impl Kind) {
    let store = kind.fresh();
    let run = claimed(&store, 1).await;
    let changes = [
        vec![set("name", "a"), append("seen", &[1])],
        vec![append("seen", &[2, 3]), set("name", json!({ "z": 1, "a": [null] }))],
        vec![set("input", "\u{0}überschrieben")],
    ];
    for (seq, deltas) in (1..).zip(changes) {
        store.commit(RunCommit { deltas, ..commit(&run, seq) }).await.unwrap();
    }
    let values = store.load(id(1)).await.unwrap().unwrap().values;
    let expected = json!({
        "input": "\u{0}überschrieben", "name": { "z": 1, "a": [null] }, "seen": [1, 2, 3]
    });
    assert_eq!(json!(values), expected);
}

pub async fn messages_come_once_and_wake(kind: &impl Kind) {
    let store = kind.fresh();
    let run = claimed(&store, 1).await;
    let park = RunCommit { next: Next::Parked { wake_at: None }, ..commit(&run, 1) };
    store.commit(park).await.unwrap();
    let send = async |number| store.signal(id(1), Signal::Message(message(number))).await;
    assert_eq!(send(2).await, Ok(Signalled::Accepted));
    assert_eq!(send(1).await, Ok(Signalled::Accepted));
    assert_eq!(send(2).await, Ok(Signalled::Duplicate));
    assert_eq!(store.signal(id(77), Signal::Message(message(1))).await, Ok(Signalled::NotFound));

    let run = reclaimed(&store, 1).await;
    assert_eq!(run.loaded.inbox, [message(2), message(1)], "in the order of arrival");
    let fold = RunCommit { consumed: vec!["m2".to_owned()], ..commit(&run, 2) };
    assert_eq!(store.commit(fold).await, Ok(applied(false, true)));
    assert_eq!(store.load(id(1)).await.unwrap().unwrap().inbox, [message(1)]);
    let fold = RunCommit { consumed: vec!["m1".to_owned()], ..commit(&run, 3) };
    assert_eq!(store.commit(fold).await, Ok(applied(false, false)));
    assert_eq!(send(1).await, Ok(Signalled::Duplicate), "also when it was consumed");
}

pub async fn a_parked_run_with_mail_is_ready_again(kind: &impl Kind) {
    let store = kind.fresh();
    let run = claimed(&store, 1).await;
    store.signal(id(1), Signal::Message(message(1))).await.unwrap();
    let park =
        |seq| RunCommit { next: Next::Parked { wake_at: Some(at(900)) }, ..commit(&run, seq) };
    assert_eq!(store.commit(park(1)).await, Ok(applied(false, true)));
    assert_eq!(store.next_wake().await, Ok(None));
    assert_eq!(store.commit(commit(&run, 2)).await, Ok(Committed::Fenced), "it was given back");
    let again = reclaimed(&store, 1).await;
    assert_eq!(again.loaded.inbox, [message(1)]);
}

pub async fn mail_names_the_runs_that_something_came_for(kind: &impl Kind) {
    let store = kind.fresh();
    let runs = [claimed(&store, 1).await, claimed(&store, 2).await, claimed(&store, 3).await];
    let ask = RunCommit { opened: vec![question(3, "q", None)], ..commit(&runs[2], 1) };
    store.commit(ask).await.unwrap();
    assert_eq!(store.mail("w").await, Ok(vec![]));
    store.signal(id(1), Signal::Message(message(1))).await.unwrap();
    let cancel = Signal::Cancel { reason: "enough".to_owned(), audit: Vec::new() };
    store.signal(id(2), cancel).await.unwrap();
    let answer = answer("ada", 60);
    let answer = Signal::Answer { interrupt: "q".to_owned(), answer, audit: Vec::new() };
    store.signal(id(3), answer).await.unwrap();
    let mut found = store.mail("w").await.unwrap();
    found.sort();
    assert_eq!(found, [id(1), id(2), id(3)]);
    assert_eq!(store.mail("v").await, Ok(vec![]));
    let fold = RunCommit { consumed: vec!["m1".to_owned()], ..commit(&runs[0], 1) };
    store.commit(fold).await.unwrap();
    assert_eq!(store.mail("w").await.unwrap().len(), 2);
}

pub async fn cancellation_is_told_with_every_commit(kind: &impl Kind) {
    let store = kind.fresh();
    let run = claimed(&store, 1).await;
    let cancel = |reason: &str| Signal::Cancel { reason: reason.to_owned(), audit: Vec::new() };
    assert_eq!(store.signal(id(1), cancel("first")).await, Ok(Signalled::Accepted));
    assert_eq!(store.signal(id(1), cancel("second")).await, Ok(Signalled::Duplicate));
    assert_eq!(store.commit(commit(&run, 1)).await, Ok(applied(true, false)));
    let park = RunCommit { next: Next::Parked { wake_at: None }, ..commit(&run, 2) };
    assert_eq!(store.commit(park).await, Ok(applied(true, false)));
    let run = reclaimed(&store, 1).await;
    assert_eq!(run.loaded.cancel.as_deref(), Some("first"));
}

pub async fn what_is_over_changes_no_more(kind: &impl Kind) {
    let store = kind.fresh();
    let run = claimed(&store, 1).await;
    store
        .commit(RunCommit { opened: vec![question(1, "q", None)], ..commit(&run, 1) })
        .await
        .unwrap();
    let next = Next::Failed { reason: "because".to_owned() };
    let last = RunCommit { next, ..commit(&run, 2) };
    store.commit(last.clone()).await.unwrap();
    assert_eq!(store.commit(last).await, Ok(Committed::Duplicate));
    assert_eq!(store.commit(commit(&run, 3)).await, Ok(Committed::Fenced));
    let loaded = store.load(id(1)).await.unwrap().unwrap();
    assert_eq!(loaded.row.status, Status::Failed);
    assert_eq!(loaded.row.reason.as_deref(), Some("because"));
    assert_eq!(loaded.interrupts, []);
    assert_eq!(store.claim(claim("v", 999)).await, Ok(vec![]));

    let finished = Ok(Signalled::Finished(Status::Failed));
    assert_eq!(store.signal(id(1), Signal::Message(message(1))).await, finished);
    let cancel = Signal::Cancel { reason: "late".to_owned(), audit: Vec::new() };
    assert_eq!(store.signal(id(1), cancel).await, finished);
    let answer = answer("ada", 60);
    let answer = Signal::Answer { interrupt: "q".to_owned(), answer, audit: Vec::new() };
    assert_eq!(store.signal(id(1), answer).await, finished);
}

pub async fn effects_are_remembered_once_done(kind: &impl Kind) {
    let store = kind.fresh();
    let run = claimed(&store, 1).await;
    let done = |value: u32| Effect::Done { value: json!(value) };
    let write = async |key: &str, effect| store.journal(id(1), run.fence, key, effect).await;
    assert_eq!(write("pay", Effect::Intended).await, Ok(applied(false, false)));
    assert_eq!(write("pay", Effect::Intended).await, Ok(Committed::Stale));
    assert_eq!(write("mail", Effect::Intended).await, Ok(applied(false, false)));
    assert_eq!(write("pay", done(1)).await, Ok(applied(false, false)));
    assert_eq!(write("pay", done(2)).await, Ok(Committed::Duplicate));
    assert_eq!(write("pay", Effect::Intended).await, Ok(Committed::Stale));
    assert_eq!(write("look", done(3)).await, Ok(applied(false, false)));
    let journal = store.load(id(1)).await.unwrap().unwrap().journal;
    let journal: Vec<_> = journal.into_iter().collect();
    let expected = [("look", done(3)), ("mail", Effect::Intended), ("pay", done(1))];
    assert_eq!(journal, expected.map(|(key, effect)| (key.to_owned(), effect)));

    store.release("w").await.unwrap();
    let late = store.journal(id(1), run.fence, "late", Effect::Intended).await;
    assert_eq!(late, Ok(Committed::Fenced));
}

pub async fn events_keep_their_order(kind: &impl Kind) {
    let store = kind.fresh();
    let (one, two) = (claimed(&store, 1).await, claimed(&store, 2).await);
    let log = async |run: &agentry_core::store::Claimed, seq, kinds: &[&str]| {
        let events = kinds.iter().map(|kind| event(kind)).collect();
        store.commit(RunCommit { events, ..commit(run, seq) }).await.unwrap();
    };
    log(&one, 1, &["a", "b"]).await;
    log(&two, 1, &["x"]).await;
    log(&one, 2, &["c"]).await;
    let read = async |after, max| store.events(id(1), after, max).await.unwrap();
    let all = read(0, 10).await;
    let kinds: Vec<_> = all.iter().map(|stored| stored.item.kind.as_str()).collect();
    assert_eq!(kinds, ["a", "b", "c"]);
    assert_eq!(all[0].item, event("a"));
    assert_eq!(read(all[0].offset, 1).await, all[1..2]);
    assert_eq!(read(all[2].offset, 10).await, []);
}
