//! What a thread remembers: lines, checkpoints, events.

use agentry_core::run::{Delta, Seq};
use agentry_core::thread::{Commit, EventId, Line, Source};
use agentry_core::threads::{At, CheckpointQuery, Claimed, From, ThreadStore as _, Threads as _};
use serde_json::{Map, json};

use super::{
    Store, append, applied, at, begun, checkpoint, checkpoint_id, commit, event, event_id, run_id,
    set, snapshot, states, thread_id, write,
};
use crate::kind::Kind;

/// Entries 2 to 5 append their number to `seen`; 5 builds on 3.
async fn forked(store: &impl Store) -> Claimed {
    let run = begun(store, 1).await;
    for (seq, parent) in [(2, 1), (3, 2), (4, 3), (5, 3)] {
        let mut next = commit(&run, seq);
        next.entry.parent = Seq(parent);
        next.entry.writes = vec![append("seen", &[seq])];
        next.entry.checkpoints = vec![checkpoint("", u8::try_from(seq).unwrap())];
        assert_eq!(store.commit(next).await, Ok(applied(false, false)));
    }
    run
}

async fn line(store: &impl Store, at: At, from: From) -> Option<Line> {
    store.line(thread_id(1), at, from).await.unwrap()
}

pub async fn a_line_follows_the_parents(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    assert_eq!(line(&store, At::Head, From::Root).await, None);
    let run = forked(&store).await;
    let check = async |at, entries: &[u64], seen| {
        for from in [From::Root, From::Snapshot] {
            let line = line(&store, at, from).await.unwrap();
            let seqs: Vec<_> = line.entries.iter().map(|entry| entry.seq.0).collect();
            assert_eq!((line.snapshot.as_ref(), &*seqs), (None, entries), "{at:?} {from:?}");
            let found = json!(states(&line));
            assert_eq!(found[""]["seen"], seen, "{at:?} {from:?}");
        }
    };
    check(At::Head, &[1, 2, 3, 5], json!([2, 3, 5])).await;
    check(At::Seq(Seq(4)), &[1, 2, 3, 4], json!([2, 3, 4])).await;
    check(At::Checkpoint(checkpoint_id(3)), &[1, 2, 3], json!([2, 3])).await;
    assert_eq!(line(&store, At::Seq(Seq(0)), From::Root).await, Some(Line::default()));
    assert_eq!(line(&store, At::Seq(Seq(6)), From::Root).await, None);
    assert_eq!(line(&store, At::Checkpoint(checkpoint_id(9)), From::Root).await, None);
    let loaded = store.load(thread_id(1)).await.unwrap().unwrap();
    assert_eq!(Some(loaded.line), line(&store, At::Head, From::Snapshot).await);

    // From the root there is a way, too.
    let mut anew = commit(&run, 6);
    anew.entry.parent = Seq(0);
    store.commit(anew).await.unwrap();
    check(At::Head, &[6], json!(null)).await;
}

pub async fn a_line_may_begin_at_a_snapshot(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let run = begun(&store, 1).await;
    for seq in 2..=8 {
        let mut next = commit(&run, seq);
        let merged = Map::from_iter([(seq.to_string(), json!(seq))]);
        next.entry.writes = vec![
            append("seen", &[seq]),
            write("sub:1", "seen", Delta::Merge(merged)),
            set("last", seq),
        ];
        if seq == 4 || seq == 7 {
            let seen: Vec<_> = (2..=seq).collect();
            let merged: Map<_, _> = (2..=seq).map(|seq| (seq.to_string(), json!(seq))).collect();
            let values = json!({ "seen": seen, "last": seq });
            let states = json!({ "": values, "sub:1": { "seen": merged } });
            next.snapshot = Some(snapshot(seq, states));
        }
        store.commit(next).await.unwrap();
    }
    for seq in 1..=8 {
        let at = At::Seq(Seq(seq));
        let whole = line(&store, at, From::Root).await.unwrap();
        assert_eq!(whole.snapshot, None);
        assert_eq!(whole.entries.len() as u64, seq);
        let short = line(&store, at, From::Snapshot).await.unwrap();
        assert_eq!(states(&short), states(&whole), "at {seq}");
        let begin = short.snapshot.as_ref().map_or(0, |snapshot| snapshot.seq.0);
        let seqs: Vec<_> = short.entries.iter().map(|entry| entry.seq.0).collect();
        assert_eq!(seqs, (begin + 1..=seq).collect::<Vec<_>>(), "what follows it");
    }
    let newest = line(&store, At::Head, From::Snapshot).await.unwrap();
    let newest = newest.snapshot.expect("the newest one is kept");
    assert_eq!((newest.seq, newest.body), (Seq(7), json!({ "up to": 7 })));
}

pub async fn checkpoints_are_found_newest_first(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let run = begun(&store, 1).await;
    let entries: [&[(&str, u8)]; 4] =
        [&[("", 0), ("", 1)], &[("sub:a", 2)], &[("", 3), ("sub:a", 4)], &[]];
    for (seq, checkpoints) in (2..).zip(entries) {
        let mut next = commit(&run, seq);
        next.entry.checkpoints =
            checkpoints.iter().map(|(ns, number)| checkpoint(ns, *number)).collect();
        store.commit(next).await.unwrap();
    }
    let all = CheckpointQuery { max: 9, ..CheckpointQuery::default() };
    let check = async |query: CheckpointQuery, expected: &[u8]| {
        let found = store.checkpoints(thread_id(1), query.clone()).await.unwrap();
        let found: Vec<_> = found.iter().map(|found| found.checkpoint.id).collect();
        let expected: Vec<_> = expected.iter().map(|number| checkpoint_id(*number)).collect();
        assert_eq!(found, expected, "{query:?}");
    };
    check(all.clone(), &[4, 3, 2, 1, 0]).await;
    check(CheckpointQuery { max: 2, ..all.clone() }, &[4, 3]).await;
    check(CheckpointQuery { ns: Some(String::new()), ..all.clone() }, &[3, 1, 0]).await;
    check(CheckpointQuery { ns: Some("sub:a".to_owned()), ..all.clone() }, &[4, 2]).await;
    check(CheckpointQuery { source: Some(Source::Input), ..all.clone() }, &[0]).await;
    check(CheckpointQuery { before: Some(checkpoint_id(4)), ..all.clone() }, &[2, 1, 0]).await;
    check(CheckpointQuery { before: Some(checkpoint_id(99)), ..all.clone() }, &[]).await;
    let metadata = Map::from_iter([("number".to_owned(), json!(2))]);
    check(CheckpointQuery { metadata: metadata.clone(), ..all.clone() }, &[2]).await;
    let metadata = Map::from_iter([("number".to_owned(), json!(2)), ("x".to_owned(), json!(null))]);
    check(CheckpointQuery { metadata, ..all.clone() }, &[]).await;
    assert_eq!(store.checkpoints(thread_id(9), all.clone()).await, Ok(vec![]));

    let found = store.checkpoints(thread_id(1), all).await.unwrap();
    let second = &found[1];
    assert_eq!((second.seq, second.run, second.at), (Seq(4), Some(run_id(1)), at(104)));
    assert_eq!(second.checkpoint, checkpoint("", 3));
}

pub async fn progress_is_what_was_done_since_a_checkpoint(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let run = begun(&store, 1).await;
    // 2 is a checkpoint; 3 and 4 follow it, 5 is the next checkpoint; 6 builds on 2 again, 7 on the root.
    for (seq, parent, marked) in
        [(2, 1, true), (3, 2, false), (4, 3, false), (5, 4, true), (6, 2, false), (7, 0, false)]
    {
        let mut next = commit(&run, seq);
        next.entry.parent = Seq(parent);
        if marked {
            next.entry.checkpoints = vec![checkpoint("", u8::try_from(seq).unwrap())];
        }
        store.commit(next).await.unwrap();
    }
    let check = async |at, expected: &[u64]| {
        let found = store.progress(thread_id(1), at).await.unwrap();
        let found: Vec<_> = found.iter().map(|entry| entry.seq.0).collect();
        assert_eq!(found, expected, "{at:?}");
    };
    check(At::Checkpoint(checkpoint_id(2)), &[3, 4, 6]).await;
    check(At::Checkpoint(checkpoint_id(5)), &[]).await;
    check(At::Seq(Seq(3)), &[4]).await;
    check(At::Seq(Seq(0)), &[1, 7]).await;
    check(At::Checkpoint(checkpoint_id(9)), &[]).await;
}

pub async fn events_are_read_on_from_where_one_stopped(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let (one, two) = (begun(&store, 1).await, begun(&store, 2).await);
    let log = async |run: &Claimed, seq, kinds: &[&str]| {
        let events = kinds.iter().map(|kind| event(kind)).collect();
        store.commit(Commit { events, ..commit(run, seq) }).await.unwrap();
    };
    log(&one, 2, &["a", "b"]).await;
    log(&two, 2, &["x"]).await;
    log(&one, 3, &[]).await;
    let mut other = Commit { events: vec![event("c")], ..commit(&one, 4) };
    other.entry.run = None;
    store.commit(other).await.unwrap();
    let read = async |run, after, max| store.events(thread_id(1), run, after, max).await.unwrap();
    let all = read(None, EventId::default(), 9).await;
    let found: Vec<_> = all.iter().map(|told| (told.id, &*told.event.kind)).collect();
    assert_eq!(found, [(event_id(2, 0), "a"), (event_id(2, 1), "b"), (event_id(4, 0), "c")]);
    assert_eq!((all[0].run, &all[0].event), (Some(run_id(1)), &event("a")));
    assert_eq!(all[2].run, None);
    assert_eq!(read(None, event_id(2, 0), 1).await, all[1..2]);
    assert_eq!(read(None, event_id(2, 1), 9).await, all[2..]);
    assert_eq!(read(Some(run_id(1)), EventId::default(), 9).await, all[..2]);
    assert_eq!(read(Some(run_id(2)), EventId::default(), 9).await, []);
    assert_eq!(read(None, event_id(9, 0), 9).await, []);
}
