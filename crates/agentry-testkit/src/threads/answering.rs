//! Questions, and who answers them first; messages.

use std::sync::Arc;

use agentry_core::run::{Closing, Committed};
use agentry_core::thread::{Commit, Interrupt, NewRun, Rest, RunStatus, Status};
use agentry_core::threads::{Signal, Signalled, Submitted, ThreadStore as _, Threads as _};

use super::{
    Store, answer, answers, applied, asking, at, begun, check_signal, closing, commit, ends,
    message, new_thread, question, reclaimed, rest, run_on, thread_id,
};
use crate::kind::Kind;

pub async fn an_answer_and_an_expiry_have_one_winner(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let run = begun(&store, 1).await;
    let names = ["raced", "late", "withdrawn", "replaced", "handed"];
    let mut opened = names.map(|name| question(1, name, Some(200))).to_vec();
    opened.push(Interrupt { question: None, ..question(1, "wait", Some(200)) });
    store.commit(Commit { opened, ..commit(&run, 2) }).await.unwrap();
    let close = |seq, how, ids: &[&str]| Commit { closed: closing(how, ids), ..commit(&run, seq) };

    check_signal(&store, 1, answers("raced", "ada", 199), Signalled::Accepted).await;
    let first = Signalled::AlreadyAnswered(answer("ada", 199));
    check_signal(&store, 1, answers("raced", "bob", 199), first.clone()).await;
    check_signal(&store, 1, answers("late", "bob", 200), Signalled::Expired).await;
    check_signal(&store, 1, answers("wait", "bob", 100), Signalled::NotFound).await;
    check_signal(&store, 1, answers("nothing", "bob", 100), Signalled::NotFound).await;

    let expire = close(3, Closing::Expired, &["late", "raced"]);
    assert_eq!(store.commit(expire).await, Ok(Committed::Stale), "an answer beats the expiry");
    let replace = close(3, Closing::Replaced, &["raced"]);
    assert_eq!(store.commit(replace).await, Ok(Committed::Stale));
    let postponed = vec![("raced".to_owned(), Some(at(300)))];
    let hand_on = Commit { postponed, ..commit(&run, 3) };
    assert_eq!(store.commit(hand_on).await, Ok(Committed::Stale));
    let expire = close(3, Closing::Expired, &["late"]);
    assert_eq!(store.commit(expire).await, Ok(applied(false, true)));
    let withdraw = close(4, Closing::Withdrawn, &["withdrawn"]);
    assert_eq!(store.commit(withdraw).await, Ok(applied(false, true)));
    let take = close(5, Closing::Answered, &["raced"]);
    assert_eq!(store.commit(take).await, Ok(applied(false, false)));
    let replace = close(6, Closing::Replaced, &["replaced"]);
    assert_eq!(store.commit(replace).await, Ok(applied(false, false)));

    check_signal(&store, 1, answers("raced", "bob", 150), first).await;
    check_signal(&store, 1, answers("late", "bob", 150), Signalled::Expired).await;
    check_signal(&store, 1, answers("withdrawn", "bob", 150), Signalled::NotFound).await;
    check_signal(&store, 1, answers("replaced", "bob", 150), Signalled::NotFound).await;
    // What is asked again under the same id is a new question.
    let again = Commit { opened: vec![question(1, "raced", None)], ..commit(&run, 7) };
    store.commit(again).await.unwrap();
    check_signal(&store, 1, answers("raced", "bob", 210), Signalled::Accepted).await;
    let end = Commit {
        runs: vec![ends(1, RunStatus::Error)],
        closed: [closing(Closing::Answered, &["raced"]), closing(Closing::Withdrawn, &["handed"])]
            .concat(),
        next: rest(Rest::Failed, None),
        ..commit(&run, 8)
    };
    store.commit(end).await.unwrap();
    let over = Signalled::Finished(RunStatus::Error);
    check_signal(&store, 1, answers("handed", "bob", 150), over).await;
}

pub async fn of_many_answers_one_counts(kind: &impl Kind<Store: Store>) {
    let store = Arc::new(kind.fresh().await);
    asking(&*store, 1, None).await;
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..20_u8 {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            let mine = answer(&number.to_string(), 60);
            if number % 2 == 0 {
                let answers = answers("q", &number.to_string(), 60);
                return match store.signal(thread_id(1), answers).await.unwrap() {
                    Signalled::Accepted => (true, mine),
                    Signalled::AlreadyAnswered(first) => (false, first),
                    other => panic!("{other:?}"),
                };
            }
            let answers = vec![("q".to_owned(), mine.clone())];
            let resume = NewRun { answers, ..run_on(1, 100 + number) };
            match store.submit(resume).await.unwrap() {
                Submitted::Created(_) => (true, mine),
                Submitted::AlreadyAnswered { answer, .. } => (false, answer),
                other => panic!("{other:?}"),
            }
        });
    }
    let mut told = Vec::new();
    while let Some(joined) = callers.join_next().await {
        told.push(joined.unwrap());
    }
    let winners: Vec<_> = told.iter().filter(|(won, _)| *won).map(|(_, answer)| answer).collect();
    assert_eq!(winners.len(), 1, "{told:?}");
    assert!(told.iter().all(|(_, answer)| answer == winners[0]), "all are told the same: {told:?}");
    let loaded = reclaimed(&*store, 1).await.loaded;
    assert_eq!(loaded.interrupts[0].answer.as_ref(), Some(winners[0]));
}

pub async fn questions_are_found_until_answered(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    asking(&store, 1, None).await;
    let run = begun(&store, 2).await;
    let earlier = Interrupt { opened: at(20), ..question(2, "b", None) };
    let plain = Interrupt { question: None, ..question(2, "wait", Some(300)) };
    let opened = vec![earlier.clone(), plain.clone()];
    store.commit(Commit { opened, ..commit(&run, 2) }).await.unwrap();
    let first = question(1, "q", None);
    assert_eq!(store.questions(None, 9).await.unwrap(), [earlier.clone(), first.clone()]);
    assert_eq!(store.questions(None, 1).await.unwrap(), std::slice::from_ref(&earlier));
    assert_eq!(store.questions(Some(thread_id(1)), 9).await.unwrap(), [first]);
    let open = store.load(thread_id(2)).await.unwrap().unwrap().interrupts;
    assert_eq!(open, [earlier, plain], "in the order in which they were opened");

    check_signal(&store, 1, answers("q", "ada", 60), Signalled::Accepted).await;
    assert_eq!(store.questions(Some(thread_id(1)), 9).await, Ok(vec![]));
    let woken = reclaimed(&store, 1).await;
    assert_eq!(woken.loaded.interrupts[0].answer, Some(answer("ada", 60)));
    let closed = closing(Closing::Expired, &["b", "wait"]);
    store.commit(Commit { closed, ..commit(&run, 3) }).await.unwrap();
    assert_eq!(store.questions(None, 9).await, Ok(vec![]));
    assert_eq!(store.load(thread_id(2)).await.unwrap().unwrap().interrupts, []);
}

pub async fn a_question_is_handed_on(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    asking(&store, 1, Some(200)).await;
    let due = store.claim(super::claim("v", 200)).await.unwrap().remove(0);
    let postponed = vec![("q".to_owned(), Some(at(400)))];
    let hand_on = Commit { postponed, next: rest(Rest::Interrupted, Some(400)), ..commit(&due, 3) };
    assert_eq!(store.commit(hand_on).await, Ok(applied(false, false)));
    let open = Interrupt { escalations: 1, ..question(1, "q", Some(400)) };
    assert_eq!(store.questions(None, 9).await.unwrap(), [open]);
    check_signal(&store, 1, answers("q", "ada", 300), Signalled::Accepted).await;
}

pub async fn messages_wake_who_listens(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    store.create(new_thread(1)).await.unwrap();
    let send = async |thread, number, expected| {
        check_signal(&store, thread, Signal::Message(message(number)), expected).await;
        store.thread(thread_id(thread)).await.unwrap().map(|thread| thread.status)
    };
    assert_eq!(send(1, 5, Signalled::Accepted).await, Some(Status::Idle));
    assert_eq!(send(9, 5, Signalled::NotFound).await, None);
    asking(&store, 2, None).await;
    assert_eq!(send(2, 2, Signalled::Accepted).await, Some(Status::Ready));
    assert_eq!(send(2, 1, Signalled::Accepted).await, Some(Status::Ready));
    assert_eq!(send(2, 2, Signalled::Duplicate).await, Some(Status::Ready));
    let waits = begun(&store, 3).await;
    let wait = Commit { next: rest(Rest::Waiting, Some(900)), ..commit(&waits, 2) };
    store.commit(wait).await.unwrap();
    assert_eq!(send(3, 5, Signalled::Accepted).await, Some(Status::Ready));

    let run = reclaimed(&store, 3).await;
    let fold = Commit { consumed: vec!["m5".to_owned()], ..commit(&run, 3) };
    assert_eq!(store.commit(fold).await, Ok(applied(false, false)));
    assert_eq!(send(3, 5, Signalled::Duplicate).await, Some(Status::Ready), "also when consumed");
    let inbox = store.load(thread_id(2)).await.unwrap().unwrap().inbox;
    assert_eq!(inbox, [message(2), message(1)], "in the order of arrival");
}
