//! One decision at a time, and what comes for a thread in between.

use agentry_core::run::{Committed, Effect, Seq};
use agentry_core::thread::{Commit, Multitask, NewRun, Rest, RunStatus, Status};
use agentry_core::threads::{
    Claim, Error, Keep, Signal, Signalled, Taken, ThreadStore as _, Threads as _,
};
use serde_json::json;

use super::{
    Store, answers, append, applied, asking, at, begun, cancel, cancels, check_signal, claim,
    claim_ids, claimed, commit, ends, message, pinned, question, reclaimed, rest, run_id, run_on,
    states, submit, thread_id,
};
use crate::kind::Kind;

pub async fn a_commit_is_applied_once_and_in_order(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let run = claimed(&store, 1).await;
    let mut first = Commit { runs: vec![super::begins(1, 0)], ..commit(&run, 1) };
    first.entry.writes = vec![append("seen", &[1])];
    assert_eq!(store.commit(commit(&run, 2)).await, Ok(Committed::Stale));
    assert_eq!(store.commit(first.clone()).await, Ok(applied(false, false)));
    assert_eq!(store.commit(first.clone()).await, Ok(Committed::Duplicate));
    assert_eq!(store.commit(commit(&run, 2)).await, Ok(applied(false, false)));
    assert_eq!(store.commit(first.clone()).await, Ok(Committed::Duplicate));
    let loaded = store.load(thread_id(1)).await.unwrap().unwrap();
    assert_eq!(json!(states(&loaded.line)), json!({ "": { "seen": [1] } }));
    assert_eq!((loaded.thread.seq, loaded.thread.updated), (Seq(2), at(102)));
    assert_eq!(loaded.line.entries, [first.entry, commit(&run, 2).entry]);
    let begun = &loaded.runs[0];
    assert_eq!(
        (begun.status, begun.base, begun.updated),
        (RunStatus::Running, Some(Seq(0)), at(101))
    );

    let mut orphan = commit(&run, 3);
    orphan.entry.parent = Seq(7);
    let stranger = Commit { runs: vec![ends(9, RunStatus::Success)], ..commit(&run, 3) };
    for refused in [orphan, stranger] {
        let refused = store.commit(refused).await;
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    }
    let failed = agentry_core::thread::RunChange {
        reason: Some("because".to_owned()),
        ..ends(1, RunStatus::Error)
    };
    let last = Commit { runs: vec![failed], next: rest(Rest::Failed, None), ..commit(&run, 3) };
    assert_eq!(store.commit(last.clone()).await, Ok(applied(false, false)));
    assert_eq!(store.commit(last).await, Ok(Committed::Duplicate));
    assert_eq!(store.commit(commit(&run, 4)).await, Ok(Committed::Fenced), "it was given back");
    let loaded = store.load(thread_id(1)).await.unwrap().unwrap();
    assert_eq!(loaded.thread.status, Status::Failed);
    assert_eq!(loaded.runs[0].reason.as_deref(), Some("because"));
    assert_eq!(loaded.runs[0].base, Some(Seq(0)), "kept");
    assert_eq!(claim_ids(&store, claim("v", 999)).await, []);
}

pub async fn a_commit_is_known_when_its_entry_is_gone(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let run = claimed(&store, 1).await;
    for seq in 1..=4 {
        assert_eq!(store.commit(commit(&run, seq)).await, Ok(applied(false, false)));
    }
    let ends = vec![ends(1, RunStatus::Success)];
    let last = Commit { runs: ends, next: rest(Rest::Idle, None), ..commit(&run, 5) };
    store.commit(last.clone()).await.unwrap();
    for keep in [Keep::Latest, Keep::Nothing] {
        assert_ne!(store.prune(thread_id(1), keep).await, Ok(0));
        for seq in 1..=5 {
            assert_eq!(store.commit(commit(&run, seq)).await, Ok(Committed::Duplicate), "{seq}");
        }
        assert_eq!(store.commit(commit(&run, 6)).await, Ok(Committed::Fenced));
    }
    submit(&store, run_on(1, 20)).await;
    let anew = reclaimed(&store, 1).await;
    assert_eq!(store.commit(commit(&run, 2)).await, Ok(Committed::Duplicate));
    assert_eq!(store.commit(commit(&anew, 2)).await, Ok(Committed::Stale), "another's number");
    let mut next = commit(&anew, 6);
    next.entry.parent = Seq(0);
    assert_eq!(store.commit(next).await, Ok(applied(false, false)));
    store.delete(thread_id(1)).await.unwrap();
    assert_eq!(store.commit(last).await, Ok(Committed::Fenced));
}

pub async fn what_is_gone_is_fenced(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let run = claimed(&store, 1).await;
    assert_eq!(store.delete(thread_id(1)).await, Ok(true));
    assert_eq!(store.commit(commit(&run, 1)).await, Ok(Committed::Fenced));
    let journal = store.journal(thread_id(1), run.fence, "pay", Effect::Intended).await;
    assert_eq!(journal, Ok(Committed::Fenced));
    check_signal(&store, 1, Signal::Message(message(1)), Signalled::NotFound).await;
    check_signal(&store, 1, cancels(1, "x"), Signalled::NotFound).await;
    // A thread that is made again under the same id is another one.
    submit(&store, super::new_run(1)).await;
    assert_eq!(store.commit(commit(&run, 1)).await, Ok(Committed::Fenced));
}

pub async fn a_commit_moves_a_thread_to_another_program(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let to = Some(pinned("g", "2"));
    let first = claimed(&store, 1).await;
    submit(&store, run_on(1, 2)).await;
    let begin = Commit { runs: vec![super::begins(1, 0)], ..commit(&first, 1) };
    assert!(matches!(store.commit(begin).await, Ok(Committed::Applied { .. })));
    let moves = Commit { program: to.clone(), ..commit(&first, 2) };
    assert_eq!(store.commit(moves.clone()).await, Ok(applied(false, false)));
    assert_eq!(store.commit(moves).await, Ok(Committed::Duplicate));
    let program = async || store.thread(thread_id(1)).await.unwrap().unwrap().program;
    assert_eq!(program().await, to);
    let done = Commit {
        runs: vec![ends(1, RunStatus::Success)],
        next: rest(Rest::Idle, None),
        ..commit(&first, 3)
    };
    assert!(matches!(store.commit(done).await, Ok(Committed::Applied { .. })));
    assert_eq!(program().await, to, "the run that waited its turn has moved too");
    assert_eq!(claim_ids(&store, claim("v", 104)).await, []);
    let new = |now| Claim { programs: to.iter().cloned().collect(), ..claim("v", now) };
    let second = store.claim(new(105)).await.unwrap().remove(0);
    let over = store.run(run_id(1)).await.unwrap().unwrap();
    assert_eq!(over.program, pinned("g", "2"), "it was running then");

    // One that waits for a person, moved while it rests.
    let asks = Commit {
        runs: vec![super::begins(2, 3), ends(2, RunStatus::Interrupted)],
        next: rest(Rest::Interrupted, None),
        ..commit(&second, 4)
    };
    assert_eq!(store.commit(asks).await, Ok(applied(false, false)));
    let Ok(Taken::Yours(taken)) = store.take(thread_id(1), claim("door", 200)).await else {
        panic!("it rests");
    };
    let back = Commit {
        program: Some(pinned("g", "3")),
        next: rest(Rest::Interrupted, None),
        ..commit(&taken, 5)
    };
    assert_eq!(store.commit(back).await, Ok(applied(false, false)));
    assert_eq!(program().await, Some(pinned("g", "3")));
    let status = async |run| store.run(run_id(run)).await.unwrap().unwrap().program.version;
    assert_eq!((status(1).await.as_str(), status(2).await.as_str()), ("2", "3"));
}

pub async fn a_rest_ends_when_something_came(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let mut number = 0;
    let mut check = async |what: &str, rest_: Rest, expected: Status, cancels_: bool| {
        number += 1;
        let run = begun(&store, number).await;
        let opened = vec![question(number, "q", None)];
        store.commit(Commit { opened, ..commit(&run, 2) }).await.unwrap();
        match what {
            "nothing" => {}
            "message" => {
                check_signal(&store, number, Signal::Message(message(1)), Signalled::Accepted)
                    .await;
            }
            "answer" => {
                check_signal(&store, number, answers("q", "ada", 60), Signalled::Accepted).await;
            }
            "cancel" => {
                check_signal(&store, number, cancels(number, "x"), Signalled::Accepted).await;
            }
            "run" => submit(&store, run_on(number, number + 100)).await,
            "later run" => {
                let not_before = Some(at(900));
                submit(&store, NewRun { not_before, ..run_on(number, number + 100) }).await;
            }
            _ => panic!("what is {what}?"),
        }
        let status = match rest_ {
            Rest::Waiting => RunStatus::Running,
            Rest::Interrupted => RunStatus::Interrupted,
            Rest::Idle => RunStatus::Success,
            Rest::Failed => RunStatus::Error,
        };
        let runs = if status == RunStatus::Running { vec![] } else { vec![ends(number, status)] };
        let last = Commit { runs, next: rest(rest_, Some(950)), ..commit(&run, 3) };
        let ready = expected == Status::Ready;
        let inbox = ready || ["message", "answer"].contains(&what);
        let committed = store.commit(last).await;
        assert_eq!(committed, Ok(applied(cancels_, inbox)), "{what}, {rest_:?}");
        let thread = store.thread(thread_id(number)).await.unwrap().unwrap();
        assert_eq!(thread.status, expected, "{what}, {rest_:?}");
        let pending = what == "later run" && rest_ != Rest::Waiting;
        let wake_at = if ready { None } else { Some(at(if pending { 900 } else { 950 })) };
        assert_eq!(thread.wake_at, wake_at, "{what}, {rest_:?}");
        assert_eq!(store.commit(commit(&run, 4)).await, Ok(Committed::Fenced), "it was given back");
    };
    for (status, rests) in [
        (Status::Waiting, Rest::Waiting),
        (Status::Interrupted, Rest::Interrupted),
        (Status::Idle, Rest::Idle),
        (Status::Failed, Rest::Failed),
    ] {
        let (waits, open) = match rests {
            Rest::Waiting => (true, true),
            Rest::Interrupted => (false, true),
            Rest::Idle | Rest::Failed => (false, false),
        };
        let or_ready = |ready| if ready { Status::Ready } else { status };
        check("nothing", rests, status, false).await;
        check("message", rests, or_ready(open), false).await;
        check("answer", rests, Status::Ready, false).await;
        check("cancel", rests, or_ready(open), open).await;
        check("run", rests, or_ready(!waits), false).await;
        check("later run", rests, status, false).await;
    }
}

pub async fn a_run_that_waits_its_turn_disturbs_nobody(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let run = begun(&store, 1).await;
    let wait = Commit { next: rest(Rest::Waiting, Some(900)), ..commit(&run, 2) };
    store.commit(wait).await.unwrap();
    submit(&store, run_on(1, 2)).await;
    submit(&store, NewRun { not_before: Some(at(500)), ..run_on(1, 3) }).await;
    let thread = async || {
        let thread = store.thread(thread_id(1)).await.unwrap().unwrap();
        (thread.status, thread.wake_at)
    };
    assert_eq!(thread().await, (Status::Waiting, Some(at(900))));
    // One that takes the place of the others does.
    submit(&store, NewRun { multitask: Multitask::Interrupt, ..run_on(1, 4) }).await;
    assert_eq!(thread().await, (Status::Ready, None));
    let loaded = reclaimed(&store, 1).await.loaded;
    let marked: Vec<_> = loaded.runs.iter().map(|run| run.cancel.is_some()).collect();
    assert_eq!(marked, [true, true, true, false]);
}

pub async fn mail_names_the_threads_to_look_at(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let mut runs = Vec::new();
    for number in 1..=5 {
        runs.push(begun(&store, number).await);
    }
    let ask = Commit { opened: vec![question(3, "q", None)], ..commit(&runs[2], 2) };
    store.commit(ask).await.unwrap();
    submit(&store, run_on(4, 14)).await;
    assert_eq!(store.mail("w").await, Ok(vec![]), "it waits its turn");
    check_signal(&store, 1, Signal::Message(message(1)), Signalled::Accepted).await;
    check_signal(&store, 2, cancels(2, "enough"), Signalled::Accepted).await;
    check_signal(&store, 3, answers("q", "ada", 60), Signalled::Accepted).await;
    let over = Commit { runs: vec![ends(4, RunStatus::Success)], ..commit(&runs[3], 2) };
    store.commit(over).await.unwrap();
    let mut found = store.mail("w").await.unwrap();
    found.sort();
    assert_eq!(found, [1, 2, 3, 4].map(thread_id));
    assert_eq!(store.mail("v").await, Ok(vec![]));
    let fold = Commit { consumed: vec!["m1".to_owned()], ..commit(&runs[0], 2) };
    store.commit(fold).await.unwrap();
    assert_eq!(store.mail("w").await.unwrap().len(), 3);
}

pub async fn cancellations_are_told_until_they_are_done(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let run = begun(&store, 1).await;
    submit(&store, run_on(1, 2)).await;
    check_signal(&store, 1, cancels(2, "first"), Signalled::Accepted).await;
    check_signal(&store, 1, cancels(2, "second"), Signalled::Duplicate).await;
    let stronger = Signal::Cancel { run: run_id(2), cancel: cancel("third", true), audit: vec![] };
    check_signal(&store, 1, stronger.clone(), Signalled::Accepted).await;
    check_signal(&store, 1, stronger, Signalled::Duplicate).await;
    check_signal(&store, 1, cancels(77, "nobody"), Signalled::NotFound).await;
    assert_eq!(store.commit(commit(&run, 2)).await, Ok(applied(true, false)));
    let ended = agentry_core::thread::RunChange {
        reason: Some("third".to_owned()),
        ..ends(2, RunStatus::Cancelled)
    };
    let end = Commit { runs: vec![ended], ..commit(&run, 3) };
    assert_eq!(store.commit(end).await, Ok(applied(false, false)));
    let cancelled = store.run(run_id(2)).await.unwrap().unwrap();
    assert_eq!(cancelled.cancel, Some(cancel("third", true)), "kept for the record");
    assert_eq!(cancelled.reason.as_deref(), Some("third"));

    // A run that waits for a person can be cancelled.
    asking(&store, 5, None).await;
    check_signal(&store, 5, cancels(5, "x"), Signalled::Accepted).await;
    let claimed = reclaimed(&store, 5).await;
    assert_eq!(claimed.loaded.runs[0].cancel, Some(cancel("x", false)));
    assert_eq!(store.mail("w").await, Ok(vec![thread_id(5)]));
    let rests = Commit { next: rest(Rest::Interrupted, None), ..commit(&claimed, 3) };
    assert_eq!(store.commit(rests).await, Ok(applied(true, true)), "it is ready at once");
    let claimed = reclaimed(&store, 5).await;
    let end = Commit {
        runs: vec![ends(5, RunStatus::Cancelled)],
        next: rest(Rest::Idle, None),
        ..commit(&claimed, 4)
    };
    assert_eq!(store.commit(end).await, Ok(applied(false, false)));
}

pub async fn runs_that_are_over_are_left_alone(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let run = begun(&store, 1).await;
    let done = Commit {
        runs: vec![ends(1, RunStatus::Success)],
        next: rest(Rest::Idle, None),
        ..commit(&run, 2)
    };
    store.commit(done).await.unwrap();
    check_signal(&store, 1, cancels(1, "late"), Signalled::Finished(RunStatus::Success)).await;
    submit(&store, NewRun { multitask: Multitask::Rollback, ..run_on(1, 2) }).await;
    assert_eq!(store.run(run_id(1)).await.unwrap().unwrap().cancel, None);

    // One that waited for a person is over when another one has begun.
    asking(&store, 5, None).await;
    submit(&store, run_on(5, 6)).await;
    let next = reclaimed(&store, 5).await;
    assert_eq!(next.loaded.runs.len(), 2);
    let begin = Commit { runs: vec![super::begins(6, 2)], ..commit(&next, 3) };
    store.commit(begin).await.unwrap();
    let over = Signalled::Finished(RunStatus::Interrupted);
    check_signal(&store, 5, cancels(5, "late"), over).await;
    let runs = store.load(thread_id(5)).await.unwrap().unwrap().runs;
    assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), [run_id(6)]);
}

pub async fn effects_are_remembered_until_they_are_forgotten(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let run = claimed(&store, 1).await;
    let done = |value: u32| Effect::Done { value: json!(value) };
    let write = async |key: &str, effect| store.journal(thread_id(1), run.fence, key, effect).await;
    assert_eq!(write("pay", Effect::Intended).await, Ok(applied(false, false)));
    assert_eq!(write("pay", Effect::Intended).await, Ok(Committed::Stale));
    assert_eq!(write("mail", Effect::Intended).await, Ok(applied(false, false)));
    assert_eq!(write("pay", done(1)).await, Ok(applied(false, false)));
    assert_eq!(write("pay", done(2)).await, Ok(Committed::Duplicate));
    assert_eq!(write("pay", Effect::Intended).await, Ok(Committed::Stale));
    assert_eq!(write("look", done(3)).await, Ok(applied(false, false)));
    let journal = async || {
        let journal = store.load(thread_id(1)).await.unwrap().unwrap().journal;
        journal.into_iter().collect::<Vec<_>>()
    };
    let expected = [("look", done(3)), ("mail", Effect::Intended), ("pay", done(1))];
    assert_eq!(journal().await, expected.map(|(key, effect)| (key.to_owned(), effect)));
    let forgotten = vec!["look".to_owned(), "pay".to_owned(), "never".to_owned()];
    store.commit(Commit { forgotten, ..commit(&run, 1) }).await.unwrap();
    assert_eq!(journal().await, [("mail".to_owned(), Effect::Intended)]);
    store.release("w").await.unwrap();
    assert_eq!(write("late", Effect::Intended).await, Ok(Committed::Fenced));
}
