//! Runs that come in, alone and beside others.

use agentry_core::run::Seq;
use agentry_core::store::Log as _;
use agentry_core::store::{Error, NewRecord};
use agentry_core::thread::{
    Absent, Cancel, Commit, EPHEMERAL_KEPT_FOR, Multitask, NewRun, NewThread, Rest, Run, RunStatus,
    Status, Thread,
};
use agentry_core::threads::{Claim, Intake, Signalled, Submitted, ThreadStore as _, Threads as _};
use serde_json::json;

use super::{
    Store, answer, answers, applied, asking, at, audit_entry, begun, check_signal, claim,
    claim_ids, commit, ends, message, new_run, new_thread, pinned, question, reclaimed, rest,
    run_id, run_on, submit, thread_id,
};
use crate::kind::Kind;

pub async fn submitting_makes_a_thread_ready(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let refuse = NewRun { absent: Absent::Refuse, ..new_run(1) };
    assert_eq!(store.submit(refuse.clone()).await, Ok(Submitted::NoThread));
    assert_eq!(store.load(thread_id(1)).await, Ok(None));
    submit(&store, new_run(1)).await;
    let loaded = store.load(thread_id(1)).await.unwrap().unwrap();
    let thread = Thread {
        id: thread_id(1),
        tenant: "main".to_owned(),
        status: Status::Ready,
        seq: Seq(0),
        program: Some(pinned("g", "1")),
        metadata: serde_json::Map::new(),
        created: at(1),
        updated: at(1),
        wake_at: None,
        keep_for: None,
    };
    assert_eq!(loaded.thread, thread);
    let run = Run {
        id: run_id(1),
        thread: thread_id(1),
        tenant: "main".to_owned(),
        key: None,
        program: pinned("g", "1"),
        status: RunStatus::Pending,
        input: json!({ "input": 1 }),
        multitask: Multitask::Enqueue,
        priority: agentry_core::thread::Priority::Normal,
        metadata: serde_json::Map::new(),
        created: at(1),
        updated: at(1),
        not_before: None,
        deadline: None,
        base: None,
        cancel: None,
        reason: None,
        ephemeral: false,
    };
    assert_eq!(store.run(run_id(1)).await, Ok(Some(run.clone())));
    assert_eq!(loaded.runs, [run]);

    store.create(new_thread(2)).await.unwrap();
    submit(&store, NewRun { absent: Absent::Refuse, ..run_on(2, 3) }).await;
    let thread = store.thread(thread_id(2)).await.unwrap().unwrap();
    assert_eq!((thread.status, thread.updated), (Status::Ready, at(3)));
}

pub async fn one_key_is_one_run(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let keyed = |number| NewRun { key: Some("k".to_owned()), ..new_run(number) };
    submit(&store, keyed(1)).await;
    assert_eq!(store.submit(keyed(2)).await, Ok(Submitted::Existing(run_id(1))));
    assert_eq!(store.load(thread_id(2)).await, Ok(None), "no thread is made for it");
    submit(&store, new_run(3)).await;
    assert_eq!(store.submit(run_on(4, 3)).await, Ok(Submitted::Existing(run_id(3))));
    let elsewhere = |run| NewRun { tenant: "other".to_owned(), ..run };
    submit(&store, elsewhere(keyed(5))).await;
    assert_eq!(store.submit(elsewhere(new_run(3))).await, Ok(Submitted::Foreign), "same id");
    assert_eq!(store.submit(elsewhere(run_on(1, 6))).await, Ok(Submitted::Foreign), "same thread");
}

pub async fn a_second_run_does_what_its_strategy_says(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let on = |number, multitask| NewRun { multitask, ..run_on(1, number) };
    begun(&store, 1).await;
    let busy = store.submit(on(2, Multitask::Reject)).await;
    assert_eq!(busy, Ok(Submitted::Busy { active: run_id(1) }));
    assert_eq!(store.run(run_id(2)).await, Ok(None));
    submit(&store, on(3, Multitask::Enqueue)).await;
    let marks = async || {
        let runs = store.load(thread_id(1)).await.unwrap().unwrap().runs;
        runs.into_iter().map(|run| (run.id, run.cancel)).collect::<Vec<_>>()
    };
    assert_eq!(marks().await, [(run_id(1), None), (run_id(3), None)]);

    let (four, five, six) =
        (on(4, Multitask::Interrupt), on(5, Multitask::Rollback), on(6, Multitask::Interrupt));
    submit(&store, four.clone()).await;
    let by_four = Cancel::by(&four);
    assert_eq!(by_four.as_ref().map(|cancel| (cancel.at, cancel.rollback)), Some((at(4), false)));
    let expected = [(1, by_four.clone()), (3, by_four), (4, None)];
    assert_eq!(marks().await, expected.map(|(number, mark)| (run_id(number), mark)));
    submit(&store, five.clone()).await;
    submit(&store, six.clone()).await;
    let by_five = Cancel::by(&five);
    let marked = [1, 3, 4].map(|number| (run_id(number), by_five.clone()));
    let expected = [&marked[..], &[(run_id(5), Cancel::by(&six)), (run_id(6), None)]].concat();
    assert_eq!(marks().await, expected, "a rollback outdoes, a second interruption does not");

    // Pending runs make a thread busy, too: the one that is next is named.
    submit(&store, NewRun { not_before: Some(at(60)), ..new_run(8) }).await;
    submit(&store, run_on(8, 9)).await;
    let busy = store.submit(NewRun { multitask: Multitask::Reject, ..run_on(8, 10) }).await;
    assert_eq!(busy, Ok(Submitted::Busy { active: run_id(9) }));
}

pub async fn a_run_brings_all_its_answers_or_is_refused(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let run = begun(&store, 1).await;
    let plain = agentry_core::thread::Interrupt { question: None, ..question(1, "wait", None) };
    let asked = Commit {
        runs: vec![ends(1, RunStatus::Interrupted)],
        opened: vec![question(1, "a", None), question(1, "b", Some(60)), plain],
        next: rest(Rest::Interrupted, Some(60)),
        ..commit(&run, 2)
    };
    store.commit(asked).await.unwrap();
    let with = |number, ids: &[&str]| NewRun {
        answers: ids.iter().map(|id| ((*id).to_owned(), answer("ada", 55))).collect(),
        ..run_on(1, number)
    };
    let none = |id: &str| Ok(Submitted::NoInterrupt { interrupt: id.to_owned() });
    assert_eq!(store.submit(with(2, &["a", "nothing"])).await, none("nothing"));
    assert_eq!(store.submit(with(2, &["wait"])).await, none("wait"));
    let late = vec![("b".to_owned(), answer("ada", 60))];
    assert_eq!(store.submit(NewRun { answers: late, ..run_on(1, 2) }).await, none("b"));
    let open = store.load(thread_id(1)).await.unwrap().unwrap();
    assert!(open.interrupts.iter().all(|it| it.answer.is_none()), "none of them counts");
    assert_eq!(open.thread.status, Status::Interrupted);

    submit(&store, with(3, &["a", "b"])).await;
    let again = store.submit(with(4, &["a"])).await;
    let answered = Submitted::AlreadyAnswered { interrupt: "a".into(), answer: answer("ada", 55) };
    assert_eq!(again, Ok(answered));
    let late = Signalled::AlreadyAnswered(answer("ada", 55));
    check_signal(&store, 1, answers("b", "bob", 56), late).await;
    let loaded = reclaimed(&store, 1).await.loaded;
    let given: Vec<_> = loaded.interrupts.iter().map(|it| it.answer.is_some()).collect();
    assert_eq!(given, [true, true, false]);
    assert_eq!(loaded.runs.iter().map(|run| run.id).collect::<Vec<_>>(), [run_id(1), run_id(3)]);
}

pub async fn a_delayed_run_begins_when_it_may(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let delayed =
        |number, second: u64| NewRun { not_before: Some(at(second)), ..run_on(1, number) };
    submit(&store, delayed(1, 500)).await;
    submit(&store, NewRun { program: pinned("h", "1"), ..delayed(2, 400) }).await;
    let thread = async || store.thread(thread_id(1)).await.unwrap().unwrap();
    let found = thread().await;
    assert_eq!((found.status, found.wake_at), (Status::Idle, Some(at(400))));
    assert_eq!(found.program, Some(pinned("h", "1")), "what the next one runs on");
    assert_eq!(store.next_wake().await, Ok(Some(at(400))));
    let h = |now| Claim { programs: vec![pinned("h", "1")], ..claim("w", now) };
    assert_eq!(claim_ids(&store, h(399)).await, []);
    assert_eq!(claim_ids(&store, claim("w", 400)).await, []);
    let claimed = store.claim(h(400)).await.unwrap().remove(0);
    assert_eq!(claimed.loaded.next_run(at(400)).map(|run| run.id), Some(run_id(2)));
    assert_eq!(store.next_wake().await, Ok(None));

    let first = Commit { runs: vec![super::begins(2, 0)], ..commit(&claimed, 1) };
    store.commit(first).await.unwrap();
    let done = Commit {
        runs: vec![ends(2, RunStatus::Success)],
        next: rest(Rest::Idle, None),
        ..commit(&claimed, 2)
    };
    assert_eq!(store.commit(done).await, Ok(applied(false, false)));
    let found = thread().await;
    assert_eq!((found.status, found.wake_at), (Status::Idle, Some(at(500))));
    assert_eq!(found.program, Some(pinned("g", "1")));
    // One that may begin now does not wait for the other.
    submit(&store, run_on(1, 3)).await;
    let found = thread().await;
    assert_eq!((found.status, found.wake_at), (Status::Ready, None));
    let loaded = reclaimed(&store, 1).await.loaded;
    assert_eq!(loaded.next_run(at(400)).map(|run| run.id), Some(run_id(3)));
}

pub async fn a_thread_made_for_a_run_goes_after_it(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let for_run = |run| NewRun { absent: Absent::CreateForRun, ..run };
    submit(&store, for_run(new_run(1))).await;
    store.create(new_thread(2)).await.unwrap();
    submit(&store, for_run(run_on(2, 2))).await;
    assert!(store.run(run_id(1)).await.unwrap().unwrap().ephemeral);
    assert!(!store.run(run_id(2)).await.unwrap().unwrap().ephemeral, "its thread was there");
    let both = store.claim(claim("w", 100)).await.unwrap();
    for (number, claimed) in (1_u8..).zip(&both) {
        let begin = Commit { runs: vec![super::begins(number, 0)], ..commit(claimed, 1) };
        store.commit(begin).await.unwrap();
        let done = Commit {
            runs: vec![ends(number, RunStatus::Success)],
            next: rest(Rest::Idle, None),
            events: vec![super::event("run.succeeded")],
            ..commit(claimed, 2)
        };
        store.commit(done).await.unwrap();
    }
    let kept = store.thread(thread_id(1)).await.unwrap().unwrap().keep_for;
    assert_eq!(kept, Some(EPHEMERAL_KEPT_FOR));
    assert_eq!(store.thread(thread_id(2)).await.unwrap().unwrap().keep_for, None);
    assert_eq!(store.sweep(at(102 + 59), 9).await, Ok(0), "whoever waited can read its end");
    let events = super::EventId::default();
    assert_eq!(store.events(thread_id(1), None, events, 9).await.unwrap().len(), 1);
    assert_eq!(store.sweep(at(102 + 60), 9).await, Ok(1));
    assert_eq!(store.thread(thread_id(1)).await, Ok(None));
    assert_eq!(store.run(run_id(1)).await, Ok(None));

    // One that waits for a person is not over.
    submit(&store, for_run(new_run(3))).await;
    let asks = store.claim(claim("w", 100)).await.unwrap().remove(0);
    let begin = Commit { runs: vec![super::begins(3, 0)], ..commit(&asks, 1) };
    store.commit(begin).await.unwrap();
    let asked = Commit {
        runs: vec![ends(3, RunStatus::Interrupted)],
        opened: vec![question(3, "q", None)],
        next: rest(Rest::Interrupted, None),
        ..commit(&asks, 2)
    };
    store.commit(asked).await.unwrap();
    assert_eq!(store.sweep(at(9_000), 9).await, Ok(0));
}

fn record(key: &str) -> NewRecord {
    NewRecord { topic: "alerts".to_owned(), key: key.to_owned(), payload: json!({ "of": key }) }
}

pub async fn an_intake_is_all_or_nothing(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let keyed = |number| NewRun { key: Some("k".to_owned()), ..new_run(number) };
    submit(&store, keyed(1)).await;
    let to = |thread, number| (thread_id(thread), message(number));
    let intake = Intake {
        records: vec![record("a"), record("b")],
        submit: vec![new_run(2), keyed(3), run_on(2, 4)],
        messages: vec![to(1, 1), to(2, 2), to(3, 3)],
        audit: vec![audit_entry("taken.in")],
    };
    let to_nobody = Intake { messages: vec![to(2, 2), to(99, 9)], ..intake.clone() };
    let reject = NewRun { multitask: Multitask::Reject, ..run_on(2, 5) };
    let busy = Intake { submit: vec![new_run(2), reject], ..intake.clone() };
    let foreign = NewRun { tenant: "other".to_owned(), ..run_on(1, 6) };
    let foreign = Intake { submit: vec![new_run(2), foreign], ..intake.clone() };
    let marks = NewRun { multitask: Multitask::Interrupt, ..run_on(1, 7) };
    let marks = Intake { submit: vec![marks], messages: vec![to(99, 9)], ..intake.clone() };
    let before = store.load(thread_id(1)).await;
    for broken in [to_nobody, busy, foreign, marks] {
        let refused = store.intake(broken).await;
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
        assert_eq!(store.records("alerts", None, 0, 9).await, Ok(vec![]));
        assert_eq!(store.load(thread_id(2)).await, Ok(None));
        assert_eq!(store.run(run_id(2)).await, Ok(None));
        assert_eq!(store.load(thread_id(1)).await, before);
        assert_eq!(store.audit(0, 9).await, Ok(vec![]));
    }
    store.intake(intake.clone()).await.unwrap();
    assert_eq!(store.records("alerts", None, 0, 9).await.unwrap().len(), 2);
    let inbox = async |thread| store.load(thread_id(thread)).await.unwrap().unwrap().inbox;
    assert_eq!(inbox(1).await, [message(1), message(3)], "what went to the same key came here");
    assert_eq!(inbox(2).await, [message(2)]);
    assert_eq!(store.load(thread_id(2)).await.unwrap().unwrap().runs.len(), 2);
    assert_eq!(store.load(thread_id(3)).await, Ok(None));
    assert_eq!(store.audit(0, 9).await.unwrap().len(), 1);
    store.intake(intake).await.unwrap();
    assert_eq!(inbox(2).await, [message(2)]);
    assert_eq!(store.records("alerts", None, 0, 9).await.unwrap().len(), 4);

    // A thread with nothing to do keeps a message; a waiting one is woken.
    store.create(NewThread { ..new_thread(20) }).await.unwrap();
    asking(&store, 21, None).await;
    let messages = vec![to(20, 1), to(21, 1)];
    store.intake(Intake { messages, ..Intake::default() }).await.unwrap();
    let status = async |number| store.thread(thread_id(number)).await.unwrap().unwrap().status;
    assert_eq!((status(20).await, status(21).await), (Status::Idle, Status::Ready));
}
