//! That all of it is kept, whoever else is there.

use std::sync::Arc;

use agentry_core::audit::Verifier;
use agentry_core::run::{Committed, Effect};
use agentry_core::store::Log as _;
use agentry_core::thread::{Commit, EventId, NewRun, Priority, Rest, RunStatus};
use agentry_core::threads::{
    At, CheckpointQuery, Claim, From, Intake, RunQuery, Signal, Signalled, Submitted, ThreadQuery,
    ThreadStore as _, Threads as _,
};
use agentry_core::{RunId, ThreadId};
use serde_json::json;

use super::{
    Store, answers, append, applied, asking, at, audit_entry, begun, cancels, check_signal,
    checkpoint, claim, commit, event, message, new_run, pinned, question, rest, run_on, set,
    snapshot, states, submit, thread_id,
};
use crate::kind::Kind;

pub async fn everything_survives_reopening(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let run = begun(&store, 1).await;
    let mut full = Commit {
        opened: vec![question(1, "q", Some(300)), question(1, "r", None)],
        events: vec![event("a")],
        audit: vec![audit_entry("one")],
        snapshot: Some(snapshot(2, json!({ "": { "seen": [1, 2], "x": "\u{0}ü" } }))),
        ..commit(&run, 2)
    };
    full.entry.writes = vec![append("seen", &[1, 2]), set("x", "\u{0}ü")];
    full.entry.checkpoints = vec![checkpoint("", 1), checkpoint("sub:1|x:2", 2)];
    store.commit(full).await.unwrap();
    let mut more = commit(&run, 3);
    more.entry.writes = vec![append("seen", &[3])];
    store.commit(more).await.unwrap();
    store.journal(thread_id(1), run.fence, "pay", Effect::Intended).await.unwrap();
    check_signal(&store, 1, Signal::Message(message(1)), Signalled::Accepted).await;
    check_signal(&store, 1, answers("r", "ada", 60), Signalled::Accepted).await;
    let later = NewRun {
        key: Some("k".to_owned()),
        priority: Priority::High,
        not_before: Some(at(900)),
        deadline: Some(at(950)),
        metadata: serde_json::Map::from_iter([("a".to_owned(), json!([1]))]),
        ..run_on(1, 2)
    };
    submit(&store, later.clone()).await;
    check_signal(&store, 1, cancels(2, "x"), Signalled::Accepted).await;
    asking(&store, 3, Some(700)).await;
    let all = CheckpointQuery { max: 9, ..CheckpointQuery::default() };
    let before = (store.load(thread_id(1)).await, store.load(thread_id(3)).await);
    let checkpoints = store.checkpoints(thread_id(1), all.clone()).await;
    let audited = store.audit(0, 9).await.unwrap().len();
    assert_eq!(audited, 3);

    let store = kind.reopen(store).await;
    assert_eq!((store.load(thread_id(1)).await, store.load(thread_id(3)).await), before);
    assert_eq!(store.checkpoints(thread_id(1), all).await, checkpoints);
    assert_eq!(store.events(thread_id(1), None, EventId::default(), 9).await.unwrap().len(), 1);
    assert_eq!(store.claim(claim("v", 100)).await, Ok(vec![]), "leases are kept");
    assert_eq!(store.next_wake().await, Ok(Some(at(700))));
    assert_eq!(store.submit(later).await, Ok(Submitted::Existing(super::run_id(2))));
    assert_eq!(store.commit(commit(&run, 3)).await, Ok(Committed::Duplicate));
    assert_eq!(store.commit(commit(&run, 4)).await, Ok(applied(true, true)));
    let line = store.line(thread_id(1), At::Head, From::Snapshot).await.unwrap().unwrap();
    let expected = json!({ "": { "seen": [1, 2, 3], "x": "\u{0}ü" } });
    assert_eq!(json!(states(&line)), expected);

    let intake = Intake { audit: vec![audit_entry("two")], ..Intake::default() };
    store.intake(intake).await.unwrap();
    let mut verifier = Verifier::default();
    for record in store.audit(0, 9).await.unwrap() {
        verifier.check(&record).unwrap();
    }
    assert_eq!(verifier.head().0, 4, "the chain goes on where it ended");
}

pub async fn tenants_never_see_each_other(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let of = |tenant: &str, number| {
        let (tenant, key) = (tenant.to_owned(), Some("k".to_owned()));
        NewRun { tenant, key, ..new_run(number) }
    };
    submit(&store, of("a", 1)).await;
    submit(&store, of("b", 2)).await;
    assert_eq!(store.submit(of("a", 3)).await, Ok(Submitted::Existing(super::run_id(1))));
    let threads = async |tenant: &str| {
        let query =
            ThreadQuery { tenant: Some(tenant.to_owned()), max: 9, ..ThreadQuery::default() };
        let found = store.threads(query.clone()).await.unwrap();
        assert_eq!(store.count(query).await, Ok(found.len() as u64));
        found.iter().map(|thread| thread.id).collect::<Vec<_>>()
    };
    assert_eq!(threads("a").await, [thread_id(1)], "one key, one run, one thread");
    assert_eq!(threads("b").await, [thread_id(2)]);
    assert_eq!(threads("c").await, []);
    let query = RunQuery {
        tenant: Some("b".to_owned()),
        thread: Some(thread_id(1)),
        max: 9,
        ..RunQuery::default()
    };
    assert_eq!(store.runs(query).await, Ok(vec![]));
    let into = NewRun { tenant: "b".to_owned(), ..run_on(1, 9) };
    assert_eq!(store.submit(into).await, Ok(Submitted::Foreign));
}

/// Many callers at once, some of them refused: a batch is not one fate.
pub async fn thousands_of_neighbours_do_not_disturb_each_other(kind: &impl Kind<Store: Store>) {
    const CALLERS: u8 = 40;
    const COMMITS: u64 = 25;
    let store = Arc::new(kind.fresh().await);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 1..=CALLERS {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            let graph = format!("g{caller}");
            submit(&*store, NewRun { program: pinned(&graph, "1"), ..new_run(caller) }).await;
            let programs = vec![pinned(&graph, "1")];
            let claim = Claim { programs, ..claim(&format!("w{caller}"), 100) };
            let claimed = store.claim(claim).await.unwrap().remove(0);
            for seq in 1..=COMMITS {
                let mut next = Commit { audit: vec![audit_entry("c")], ..commit(&claimed, seq) };
                next.entry.writes = vec![append("seen", &[seq])];
                let mut gap = next.clone();
                gap.entry.seq = agentry_core::run::Seq(seq + 5);
                let nobody = Commit { thread: ThreadId::from_bytes([250; 16]), ..next.clone() };
                let stranger = agentry_core::thread::RunChange {
                    run: RunId::from_bytes([9; 16]),
                    status: RunStatus::Success,
                    base: None,
                    reason: None,
                };
                let wrong = Commit { runs: vec![stranger], ..next.clone() };
                // The refused one is sent first: whichever comes first must not matter.
                let (wrong, ok, stale, gone) = tokio::join!(
                    store.commit(wrong),
                    store.commit(next),
                    store.commit(gap),
                    store.commit(nobody)
                );
                assert!(
                    matches!(wrong, Err(agentry_core::threads::Error::Refused(_))),
                    "{wrong:?}"
                );
                assert_eq!(ok, Ok(applied(false, false)));
                assert_eq!(stale, Ok(Committed::Stale));
                assert_eq!(gone, Ok(Committed::Fenced));
            }
            let end = Commit {
                runs: vec![super::ends(caller, RunStatus::Success)],
                next: rest(Rest::Idle, None),
                ..commit(&claimed, COMMITS + 1)
            };
            assert_eq!(store.commit(end).await, Ok(applied(false, false)));
            let line = store.load(thread_id(caller)).await.unwrap().unwrap().line;
            assert_eq!(json!(states(&line))[""]["seen"], json!((1..=COMMITS).collect::<Vec<_>>()));
        });
    }
    while let Some(joined) = callers.join_next().await {
        joined.unwrap();
    }
    let mut verifier = Verifier::default();
    for record in store.audit(0, 10_000).await.unwrap() {
        verifier.check(&record).unwrap();
    }
    assert_eq!(verifier.head().0, u64::from(CALLERS) * COMMITS);
}
