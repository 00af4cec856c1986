//! Finding threads and runs, copying them, and taking them away.

use std::time::Duration;

use agentry_core::run::{Effect, Seq};
use agentry_core::thread::{
    Commit, EventId, Interrupt, NewRun, NewThread, Rest, RunStatus, Status,
};
use agentry_core::threads::{
    At, CheckpointQuery, Claimed, Created, Error, From, Keep, Order, RunQuery, Signal, Signalled,
    ThreadQuery, ThreadStore as _, Threads as _,
};
use serde_json::{Map, Value, json};

use super::{
    Store, append, applied, asking, at, begun, check_signal, checkpoint, checkpoint_id, claim,
    commit, ends, event, message, new_run, new_thread, pinned, question, reclaimed, rest, run_id,
    run_on, set, snapshot, states, submit, thread_id,
};
use crate::kind::Kind;

fn members(pairs: &[(&str, Value)]) -> Map<String, Value> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

pub async fn a_thread_is_made_once_and_described(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let metadata = members(&[("owner", json!("ada")), ("deep", json!({ "a": [1, null] }))]);
    let keep_for = Some(Duration::from_secs(90));
    let new = NewThread { metadata: metadata.clone(), keep_for, ..new_thread(1) };
    assert_eq!(store.create(new).await, Ok(Created::New));
    let made = store.thread(thread_id(1)).await.unwrap().unwrap();
    assert_eq!((made.status, made.seq, made.keep_for), (Status::Idle, Seq(0), keep_for));
    assert_eq!((made.metadata.clone(), made.program.clone()), (metadata, None));
    let existing = Ok(Created::Existing(Box::new(made)));
    assert_eq!(store.create(new_thread(1)).await, existing);
    let foreign = NewThread { tenant: "other".to_owned(), ..new_thread(1) };
    assert_eq!(store.create(foreign).await, Ok(Created::Foreign));

    let change = members(&[("owner", json!(null)), ("deep", json!(1)), ("new", json!("x"))]);
    let described = store.describe(thread_id(1), change.clone(), at(40)).await.unwrap().unwrap();
    assert_eq!(described.metadata, members(&[("deep", json!(1)), ("new", json!("x"))]));
    assert_eq!((described.created, described.updated), (at(1), at(40)));
    assert_eq!(store.thread(thread_id(1)).await, Ok(Some(described)));
    assert_eq!(store.describe(thread_id(2), change, at(40)).await, Ok(None));
}

pub async fn threads_are_found(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    for (number, tenant, color) in [(1, "a", "red"), (2, "b", "red"), (3, "a", "blue")] {
        let metadata = members(&[("color", json!(color)), ("number", json!(number))]);
        let tenant = tenant.to_owned();
        store.create(NewThread { tenant, metadata, ..new_thread(number) }).await.unwrap();
    }
    let run = NewRun { tenant: "b".to_owned(), program: pinned("h", "1"), ..run_on(2, 9) };
    submit(&store, run).await;
    store.describe(thread_id(1), Map::new(), at(50)).await.unwrap();

    let all = ThreadQuery { max: 9, ..ThreadQuery::default() };
    let check = async |query: ThreadQuery, expected: &[u8], count: u64| {
        let found = store.threads(query.clone()).await.unwrap();
        let found: Vec<_> = found.iter().map(|thread| thread.id).collect();
        let expected: Vec<_> = expected.iter().map(|number| thread_id(*number)).collect();
        assert_eq!(found, expected, "{query:?}");
        assert_eq!(store.count(query.clone()).await, Ok(count), "{query:?}");
    };
    check(all.clone(), &[3, 2, 1], 3).await;
    check(ThreadQuery { order: Order::CreatedOldest, ..all.clone() }, &[1, 2, 3], 3).await;
    check(ThreadQuery { order: Order::UpdatedNewest, ..all.clone() }, &[1, 2, 3], 3).await;
    check(ThreadQuery { order: Order::UpdatedOldest, ..all.clone() }, &[3, 2, 1], 3).await;
    check(ThreadQuery { offset: 1, max: 1, ..all.clone() }, &[2], 3).await;
    check(ThreadQuery { max: 0, ..all.clone() }, &[], 3).await;
    check(ThreadQuery { tenant: Some("a".to_owned()), ..all.clone() }, &[3, 1], 2).await;
    check(ThreadQuery { status: Some(Status::Ready), ..all.clone() }, &[2], 1).await;
    check(ThreadQuery { graph: Some("h".to_owned()), ..all.clone() }, &[2], 1).await;
    check(ThreadQuery { ids: vec![thread_id(3), thread_id(7)], ..all.clone() }, &[3], 1).await;
    let red = members(&[("color", json!("red"))]);
    check(ThreadQuery { metadata: red.clone(), ..all.clone() }, &[2, 1], 2).await;
    let red_one = members(&[("color", json!("red")), ("number", json!(1))]);
    check(ThreadQuery { metadata: red_one, ..all.clone() }, &[1], 1).await;
    let missing = members(&[("shape", json!(null))]);
    check(ThreadQuery { metadata: missing, ..all }, &[], 0).await;
}

pub async fn runs_are_found(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    for number in 1..=3 {
        let metadata = members(&[("number", json!(number))]);
        submit(&store, NewRun { metadata, ..new_run(number) }).await;
    }
    submit(&store, NewRun { program: pinned("h", "1"), ..run_on(1, 4) }).await;
    submit(&store, NewRun { tenant: "other".to_owned(), ..new_run(5) }).await;
    let run = reclaimed(&store, 2).await;
    let begin = Commit { runs: vec![super::begins(2, 0)], ..commit(&run, 1) };
    store.commit(begin).await.unwrap();

    let all = RunQuery { max: 9, ..RunQuery::default() };
    let check = async |query: RunQuery, expected: &[u8]| {
        let found = store.runs(query.clone()).await.unwrap();
        let found: Vec<_> = found.iter().map(|run| run.id).collect();
        let expected: Vec<_> = expected.iter().map(|number| run_id(*number)).collect();
        assert_eq!(found, expected, "{query:?}");
    };
    check(all.clone(), &[5, 4, 3, 2, 1]).await;
    check(RunQuery { tenant: Some("main".to_owned()), ..all.clone() }, &[4, 3, 2, 1]).await;
    check(RunQuery { thread: Some(thread_id(1)), ..all.clone() }, &[4, 1]).await;
    check(RunQuery { graph: Some("h".to_owned()), ..all.clone() }, &[4]).await;
    check(RunQuery { status: Some(RunStatus::Running), ..all.clone() }, &[2]).await;
    check(RunQuery { before: Some(run_id(3)), ..all.clone() }, &[2, 1]).await;
    check(RunQuery { offset: 1, max: 2, ..all.clone() }, &[4, 3]).await;
    let metadata = members(&[("number", json!(3))]);
    check(RunQuery { metadata, ..all }, &[3]).await;
    assert_eq!(store.run(run_id(9)).await, Ok(None));
}

/// Two checkpoints, an open question, an effect that is done and one that is not.
async fn with_history(store: &impl Store) {
    let run = begun(store, 1).await;
    let mut next = Commit { events: vec![event("a")], ..commit(&run, 2) };
    next.entry.writes = vec![append("seen", &[2])];
    next.entry.checkpoints = vec![checkpoint("", 1)];
    store.commit(next).await.unwrap();
    let done = Effect::Done { value: json!(1) };
    for (key, effect) in [("paid", done), ("paying", Effect::Intended)] {
        store.journal(thread_id(1), run.fence, key, effect).await.unwrap();
    }
    let mut asked = Commit {
        runs: vec![ends(1, RunStatus::Interrupted)],
        opened: vec![question(1, "q", None)],
        next: rest(Rest::Interrupted, None),
        ..commit(&run, 3)
    };
    asked.entry.writes = vec![append("seen", &[3])];
    asked.entry.checkpoints = vec![checkpoint("", 2)];
    store.commit(asked).await.unwrap();
}

pub async fn a_copy_has_the_history_and_no_runs(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    with_history(&store).await;
    check_signal(&store, 1, Signal::Message(message(9)), Signalled::Accepted).await;
    let run = reclaimed(&store, 1).await;
    let consumed = vec!["m9".to_owned()];
    let fold = Commit { consumed, next: rest(Rest::Interrupted, None), ..commit(&run, 4) };
    store.commit(fold).await.unwrap();
    let metadata = members(&[("copy", json!(true))]);
    let to = NewThread { metadata: metadata.clone(), ..new_thread(2) };
    assert_eq!(store.copy(thread_id(9), to.clone()).await, Ok(false));
    let foreign = NewThread { tenant: "other".to_owned(), ..to.clone() };
    assert_eq!(store.copy(thread_id(1), foreign).await, Ok(false));
    assert_eq!(store.thread(thread_id(2)).await, Ok(None));
    assert_eq!(store.copy(thread_id(1), to.clone()).await, Ok(true));
    let again = store.copy(thread_id(1), to).await;
    assert!(matches!(again, Err(Error::Refused(_))), "{again:?}");

    let first = store.load(thread_id(1)).await.unwrap().unwrap();
    let copy = store.load(thread_id(2)).await.unwrap().unwrap();
    assert_eq!(copy.line, first.line);
    assert_eq!((copy.thread.status, copy.thread.seq), (Status::Interrupted, Seq(4)));
    assert_eq!((copy.thread.program, copy.thread.metadata), (first.thread.program, metadata));
    assert_eq!((copy.thread.created, copy.thread.wake_at), (at(2), None));
    let open = Interrupt { thread: thread_id(2), ..question(1, "q", None) };
    assert_eq!(copy.interrupts, [open]);
    let done = Effect::Done { value: json!(1) };
    assert_eq!(copy.journal.into_iter().collect::<Vec<_>>(), [("paid".to_owned(), done)]);
    assert_eq!((copy.runs, copy.inbox), (vec![], vec![]));
    let all = CheckpointQuery { max: 9, ..CheckpointQuery::default() };
    let checkpoints =
        async |number| store.checkpoints(thread_id(number), all.clone()).await.unwrap();
    assert_eq!(checkpoints(1).await, checkpoints(2).await);
    let events = store.events(thread_id(2), None, EventId::default(), 9).await;
    assert_eq!(events, Ok(vec![]));

    // They go their own ways.
    submit(&store, run_on(2, 20)).await;
    let run = reclaimed(&store, 2).await;
    let mut next = commit(&run, 5);
    next.entry.writes = vec![set("seen", 5)];
    assert_eq!(store.commit(next).await, Ok(applied(false, false)));
    assert_eq!(store.load(thread_id(1)).await.unwrap().unwrap().line, first.line);

    // Nobody has answered either of them when the deadline passes.
    asking(&store, 3, Some(500)).await;
    assert_eq!(store.copy(thread_id(3), new_thread(4)).await, Ok(true));
    let copy = store.thread(thread_id(4)).await.unwrap().unwrap();
    assert_eq!((copy.status, copy.wake_at), (Status::Interrupted, Some(at(500))));
}

pub async fn a_deleted_thread_leaves_nothing(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    with_history(&store).await;
    submit(&store, NewRun { key: Some("k".to_owned()), ..run_on(1, 2) }).await;
    assert_eq!(store.delete(thread_id(9)).await, Ok(false));
    assert_eq!(store.delete(thread_id(1)).await, Ok(true));
    assert_eq!(store.load(thread_id(1)).await, Ok(None));
    assert_eq!(store.run(run_id(1)).await, Ok(None));
    assert_eq!(store.questions(None, 9).await, Ok(vec![]));
    assert_eq!(store.line(thread_id(1), At::Head, From::Root).await, Ok(None));
    let all = CheckpointQuery { max: 9, ..CheckpointQuery::default() };
    assert_eq!(store.checkpoints(thread_id(1), all).await, Ok(vec![]));
    assert_eq!(store.events(thread_id(1), None, EventId::default(), 9).await, Ok(vec![]));
    submit(&store, NewRun { key: Some("k".to_owned()), ..run_on(1, 3) }).await;
    let fresh = store.load(thread_id(1)).await.unwrap().unwrap();
    assert_eq!((fresh.thread.seq, fresh.line.entries.len(), fresh.journal.len()), (Seq(0), 0, 0));
}

pub async fn pruning_leaves_the_latest(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    with_history(&store).await;
    let before = store.line(thread_id(1), At::Head, From::Root).await.unwrap().unwrap();
    let run = begun(&store, 2).await;
    assert_eq!(store.prune(thread_id(2), Keep::Latest).await, Ok(0), "it is ready");
    assert_eq!(store.prune(thread_id(9), Keep::Latest).await, Ok(0));
    let wait = Commit { next: rest(Rest::Waiting, None), ..commit(&run, 2) };
    store.commit(wait).await.unwrap();
    assert_eq!(store.prune(thread_id(2), Keep::Nothing).await, Ok(0), "it waits");

    assert_eq!(store.prune(thread_id(1), Keep::Latest).await, Ok(2));
    let loaded = store.load(thread_id(1)).await.unwrap().unwrap();
    assert_eq!(states(&loaded.line), states(&before));
    assert_eq!(loaded.thread.seq, Seq(3));
    assert_eq!((loaded.interrupts.len(), loaded.journal.len(), loaded.runs.len()), (1, 2, 1));
    let root = store.line(thread_id(1), At::Head, From::Root).await.unwrap().unwrap();
    assert_eq!(root, loaded.line);
    let cut = root.snapshot.expect("the head has lost its parent");
    assert_eq!((cut.seq, cut.body), (Seq(3), json!({ "at": 3 })), "the entry's own body");
    let all = CheckpointQuery { max: 9, ..CheckpointQuery::default() };
    let found = store.checkpoints(thread_id(1), all.clone()).await.unwrap();
    assert_eq!(found.iter().map(|it| it.checkpoint.id).collect::<Vec<_>>(), [checkpoint_id(2)]);
    let at_it = At::Checkpoint(checkpoint_id(2));
    assert_eq!(store.line(thread_id(1), at_it, From::Root).await.unwrap().unwrap(), loaded.line);
    assert_eq!(store.line(thread_id(1), At::Seq(Seq(2)), From::Root).await, Ok(None));
    assert_eq!(store.events(thread_id(1), None, EventId::default(), 9).await, Ok(vec![]));
    assert_eq!(store.prune(thread_id(1), Keep::Latest).await, Ok(0), "once more changes nothing");

    // A namespace that was last written to long ago keeps its checkpoint, a snapshot that is there stays.
    let run = begun(&store, 3).await;
    for (seq, ns) in [(2, "sub"), (3, "sub"), (4, ""), (5, "")] {
        let mut next = commit(&run, seq);
        next.entry.writes = vec![super::write(ns, "n", agentry_core::run::Delta::Set(json!(seq)))];
        next.entry.checkpoints = vec![checkpoint(ns, u8::try_from(seq).unwrap())];
        if seq == 5 {
            next.snapshot = Some(snapshot(5, json!({ "": { "n": 5 }, "sub": { "n": 3 } })));
            next.runs = vec![ends(3, RunStatus::Success)];
        }
        store.commit(next).await.unwrap();
    }
    let last = Commit { next: rest(Rest::Idle, None), ..commit(&run, 6) };
    store.commit(last).await.unwrap();
    assert_eq!(store.prune(thread_id(3), Keep::Latest).await, Ok(3), "1, 2 and 4");
    let found = store.checkpoints(thread_id(3), all.clone()).await.unwrap();
    assert_eq!(found.iter().map(|it| it.seq.0).collect::<Vec<_>>(), [5, 3]);
    let line = store.line(thread_id(3), At::Head, From::Root).await.unwrap().unwrap();
    let cut = line.snapshot.as_ref().map(|cut| (cut.seq, cut.body.clone()));
    assert_eq!(cut, Some((Seq(5), json!({ "up to": 5 }))));
    assert_eq!(line.entries.len(), 1, "what builds on it");
    let sub = store.line(thread_id(3), At::Seq(Seq(3)), From::Root).await.unwrap().unwrap();
    assert_eq!(json!(states(&sub)), json!({ "sub": { "n": 3 } }));

    assert_eq!(store.prune(thread_id(1), Keep::Nothing).await, Ok(1));
    let bare = store.load(thread_id(1)).await.unwrap().unwrap();
    assert_eq!((bare.thread.status, bare.thread.seq), (Status::Idle, Seq(3)));
    assert_eq!(bare.line, agentry_core::thread::Line::default());
    assert_eq!((bare.interrupts.len(), bare.journal.len(), bare.runs.len()), (0, 0, 1));
    submit(&store, run_on(1, 30)).await;
    let anew = reclaimed(&store, 1).await;
    let mut next = commit(&anew, 4);
    next.entry.parent = Seq(0);
    assert_eq!(store.commit(next).await, Ok(applied(false, false)));
}

pub async fn pruning_leaves_what_a_run_to_come_may_begin_at(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    with_history(&store).await;
    let all = CheckpointQuery { max: 9, ..CheckpointQuery::default() };
    let before = store.checkpoints(thread_id(1), all.clone()).await.unwrap();
    assert!(before.len() > 1, "there is an older one");
    // Which one it begins at its input says, and that is nobody's business here.
    let later = NewRun {
        not_before: Some(at(9_000)),
        input: json!({ "from": before.last().map(|found| found.checkpoint.id) }),
        ..run_on(1, 40)
    };
    submit(&store, later).await;
    for keep in [Keep::Latest, Keep::Nothing] {
        assert_eq!(store.prune(thread_id(1), keep).await, Ok(0), "{keep:?}");
    }
    assert_eq!(store.checkpoints(thread_id(1), all.clone()).await.unwrap(), before);
    for found in &before {
        let at_it = At::Checkpoint(found.checkpoint.id);
        assert!(store.line(thread_id(1), at_it, From::Root).await.unwrap().is_some());
    }
    // It begins, and nothing is to come any more.
    let claimed = store.claim(claim("w1", 9_001)).await.unwrap();
    let [claimed] = claimed.as_slice() else { panic!("{claimed:?}") };
    let done = Commit {
        runs: vec![super::begins(40, 3), ends(40, RunStatus::Success)],
        next: rest(Rest::Idle, None),
        ..commit(claimed, 4)
    };
    assert_eq!(store.commit(done).await, Ok(applied(false, false)));
    assert_eq!(store.prune(thread_id(1), Keep::Latest).await, Ok(2));
}

pub async fn threads_are_retired_when_nothing_has_happened_for_long_enough(
    kind: &impl Kind<Store: Store>,
) {
    let store = kind.fresh().await;
    // One that is done, one that failed, one that waits for a person, one with a run to come, one that is a worker's, one that
    // says itself how long it is kept, one that nothing was ever done on.
    for (number, status, rests) in [
        (1, RunStatus::Success, Rest::Idle),
        (2, RunStatus::Error, Rest::Failed),
        (3, RunStatus::Interrupted, Rest::Interrupted),
    ] {
        let run = begun(&store, number).await;
        let over =
            Commit { runs: vec![ends(number, status)], next: rest(rests, None), ..commit(&run, 2) };
        assert_eq!(store.commit(over).await, Ok(applied(false, false)));
    }
    let later = NewRun { not_before: Some(at(9_000)), ..new_run(4) };
    submit(&store, later).await;
    begun(&store, 5).await;
    let keep_for = Some(Duration::from_secs(9_000));
    store.create(NewThread { keep_for, ..new_thread(6) }).await.unwrap();
    store.create(new_thread(7)).await.unwrap();
    assert_eq!(store.retire(at(7), 99).await, Ok(0));
    assert_eq!(store.retire(at(102), 99).await, Ok(1), "the one that was never used");
    assert_eq!(store.retire(at(103), 1).await, Ok(1));
    assert_eq!(store.retire(at(103), 99).await, Ok(1));
    assert_eq!(store.retire(at(9_999), 99).await, Ok(0));
    let mut left = Vec::new();
    for number in 1..=7 {
        if store.thread(thread_id(number)).await.unwrap().is_some() {
            left.push(number);
        }
    }
    assert_eq!(left, [3, 4, 5, 6]);
}

pub async fn threads_are_swept_when_they_were_kept_for_long_enough(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let keeping = |number: u8, seconds: u64| NewThread {
        keep_for: Some(Duration::from_secs(seconds)),
        ..new_thread(number)
    };
    for new in [keeping(1, 100), keeping(2, 100), keeping(3, 500), new_thread(4), keeping(5, 100)] {
        store.create(new).await.unwrap();
    }
    submit(&store, NewRun { not_before: Some(at(9_000)), ..run_on(5, 5) }).await;
    store.describe(thread_id(2), Map::new(), at(50)).await.unwrap();
    store.take(thread_id(3), claim("w", 60)).await.unwrap();
    assert_eq!(store.sweep(at(100), 9).await, Ok(0));
    assert_eq!(store.sweep(at(101), 9).await, Ok(1));
    assert_eq!(store.thread(thread_id(1)).await, Ok(None));
    assert_eq!(store.sweep(at(150), 0).await, Ok(0));
    assert_eq!(store.sweep(at(9_999), 9).await, Ok(1), "one is a worker's, one has a run to do");
    store.release("w").await.unwrap();
    assert_eq!(store.sweep(at(9_999), 9).await, Ok(1));
    let all = ThreadQuery { max: 9, ..ThreadQuery::default() };
    assert_eq!(store.count(all).await, Ok(2));
}

pub async fn a_deleted_run_leaves_what_others_build_on(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let run = begun(&store, 1).await;
    assert_eq!(store.delete_run(run_id(1)).await, Ok(false), "it is not over");
    let mut done = Commit {
        runs: vec![ends(1, RunStatus::Success)],
        events: vec![event("one")],
        next: rest(Rest::Idle, None),
        ..commit(&run, 2)
    };
    done.entry.writes = vec![append("seen", &[2])];
    done.entry.checkpoints = vec![checkpoint("", 2)];
    store.commit(done).await.unwrap();
    submit(&store, NewRun { key: Some("k".to_owned()), ..run_on(1, 2) }).await;
    let second = reclaimed(&store, 1).await;
    for seq in 3..=4 {
        let mut next = Commit { events: vec![event("two")], ..commit(&second, seq) };
        next.entry.run = Some(run_id(2));
        next.entry.writes = vec![append("seen", &[seq])];
        next.entry.checkpoints = vec![checkpoint("", u8::try_from(seq).unwrap())];
        if seq == 3 {
            next.runs = vec![super::begins(2, 2)];
        } else {
            next.runs = vec![ends(2, RunStatus::Success)];
            next.next = rest(Rest::Idle, None);
        }
        store.commit(next).await.unwrap();
    }
    let all = CheckpointQuery { max: 9, ..CheckpointQuery::default() };
    let checkpoints = async || {
        let found = store.checkpoints(thread_id(1), all.clone()).await.unwrap();
        found.iter().map(|found| found.seq.0).collect::<Vec<_>>()
    };
    let seen = async || {
        let line = store.line(thread_id(1), At::Head, From::Root).await.unwrap().unwrap();
        json!(states(&line))[""]["seen"].clone()
    };
    // The second run builds on the first one: its state stays, its checkpoints do not.
    assert_eq!(store.delete_run(run_id(1)).await, Ok(true));
    assert_eq!((checkpoints().await, seen().await), (vec![4, 3], json!([2, 3, 4])));
    assert_eq!(store.run(run_id(1)).await, Ok(None));
    assert_eq!(store.delete_run(run_id(2)).await, Ok(true));
    assert_eq!((checkpoints().await, seen().await), (vec![], json!([2])));
    let events = store.events(thread_id(1), None, EventId::default(), 9).await.unwrap();
    assert_eq!(events.iter().map(|told| told.id.seq.0).collect::<Vec<_>>(), [2]);
    let thread = store.thread(thread_id(1)).await.unwrap().unwrap();
    assert_eq!(thread.seq, Seq(4), "numbers are not given twice");
    assert_eq!(store.delete_run(run_id(77)).await, Ok(false));

    submit(&store, NewRun { key: Some("k".to_owned()), ..run_on(1, 3) }).await;
    let third = reclaimed(&store, 1).await;
    let mut next = commit(&third, 5);
    next.entry.parent = Seq(2);
    assert_eq!(store.commit(next).await, Ok(applied(false, false)));

    what_a_worker_goes_on_from_stays(&store, &third).await;

    // What only entries know of.
    let copied = NewThread { ..new_thread(2) };
    store.copy(thread_id(1), copied).await.unwrap();
    assert_eq!(store.delete_run(run_id(1)).await, Ok(true));

    what_stands_for_the_past_stays(&store).await;

    asking(&store, 4, Some(500)).await;
    assert_eq!(store.delete_run(run_id(4)).await, Ok(true));
    let thread = store.load(thread_id(4)).await.unwrap().unwrap();
    assert_eq!((thread.thread.status, thread.thread.wake_at), (Status::Idle, None));
    assert_eq!((thread.interrupts, thread.line.entries), (vec![], vec![]));
}

/// The last entry of a run that is over, for as long as it is the last.
async fn what_a_worker_goes_on_from_stays(store: &impl Store, third: &Claimed) {
    let done = Commit {
        runs: vec![super::begins(3, 5), ends(3, RunStatus::Success)],
        next: rest(Rest::Idle, None),
        ..commit(third, 6)
    };
    store.commit(done).await.unwrap();
    submit(store, run_on(1, 5)).await;
    let fourth = reclaimed(store, 1).await;
    assert_eq!(store.delete_run(run_id(3)).await, Ok(true));
    let mut next = commit(&fourth, 7);
    next.entry.run = Some(run_id(5));
    next.runs = vec![super::begins(5, 6), ends(5, RunStatus::Success)];
    next.next = rest(Rest::Idle, None);
    assert_eq!(store.commit(next).await, Ok(applied(false, false)));
}

/// When the run is deleted that the rest of a cut history ends with.
async fn what_stands_for_the_past_stays(store: &impl Store) {
    let before = begun(store, 6).await;
    let mut first = Commit {
        runs: vec![ends(6, RunStatus::Success)],
        next: rest(Rest::Idle, None),
        ..commit(&before, 2)
    };
    first.entry.writes = vec![append("seen", &[2])];
    store.commit(first).await.unwrap();
    submit(store, run_on(6, 7)).await;
    let after = reclaimed(store, 6).await;
    let mut last = Commit {
        runs: vec![super::begins(7, 2), ends(7, RunStatus::Success)],
        next: rest(Rest::Idle, None),
        ..commit(&after, 3)
    };
    last.entry.run = Some(run_id(7));
    last.entry.writes = vec![append("seen", &[3])];
    last.entry.checkpoints = vec![checkpoint("", 3)];
    store.commit(last).await.unwrap();
    assert_eq!(store.prune(thread_id(6), Keep::Latest).await, Ok(2));
    assert_eq!(store.delete_run(run_id(7)).await, Ok(true));
    let line = store.line(thread_id(6), At::Head, From::Root).await.unwrap().unwrap();
    assert_eq!(json!(states(&line)), json!({ "": { "seen": [2, 3] } }));
}
