//! Questions, and who answers them first.

use agentry_core::run::{Closing, Committed, Next, RunCommit};
use agentry_core::store::{RunStore, Signal, Signalled};

use super::{Kind, answer, applied, at, claimed, commit, entry, id, question, reclaimed};

fn answered(interrupt: &str, actor: &str, second: u64) -> Signal {
    let answer = answer(actor, second);
    let audit = vec![entry(&format!("answered.{actor}"))];
    Signal::Answer { interrupt: interrupt.to_owned(), answer, audit }
}

pub async fn an_answer_and_an_expiry_have_one_winner(kind: &impl Kind) {
    let store = kind.fresh();
    let run = claimed(&store, 1).await;
    let names = ["raced", "late", "withdrawn", "replaced"];
    let opened = names.map(|name| question(1, name, Some(200))).to_vec();
    let plain = agentry_core::run::Interrupt { question: None, ..question(1, "wait", Some(200)) };
    let opened = [opened, vec![plain]].concat();
    store.commit(RunCommit { opened, ..commit(&run, 1) }).await.unwrap();
    let check = async |signal: Signal, expected: Signalled| {
        assert_eq!(store.signal(id(1), signal.clone()).await, Ok(expected), "{signal:?}");
    };
    let close = |seq, closed: &[(&str, Closing)]| {
        let closed = closed.iter().map(|(id, how)| ((*id).to_owned(), *how)).collect();
        RunCommit { closed, ..commit(&run, seq) }
    };

    check(answered("raced", "ada", 199), Signalled::Accepted).await;
    check(answered("raced", "bob", 199), Signalled::AlreadyAnswered(answer("ada", 199))).await;
    check(answered("late", "bob", 200), Signalled::Expired).await;
    check(answered("wait", "bob", 100), Signalled::NotFound).await;
    check(answered("nothing", "bob", 100), Signalled::NotFound).await;

    let expire = close(2, &[("late", Closing::Expired), ("raced", Closing::Expired)]);
    assert_eq!(store.commit(expire).await, Ok(Committed::Stale), "an answer beats the expiry");
    assert_eq!(store.commit(close(2, &[("raced", Closing::Replaced)])).await, Ok(Committed::Stale));
    let expire = close(2, &[("late", Closing::Expired), ("withdrawn", Closing::Withdrawn)]);
    assert_eq!(store.commit(expire).await, Ok(applied(false, true)));
    let take = close(3, &[("raced", Closing::Answered), ("replaced", Closing::Replaced)]);
    assert_eq!(store.commit(take).await, Ok(applied(false, false)));

    check(answered("raced", "bob", 150), Signalled::AlreadyAnswered(answer("ada", 199))).await;
    check(answered("late", "bob", 150), Signalled::Expired).await;
    check(answered("withdrawn", "bob", 150), Signalled::NotFound).await;
    check(answered("replaced", "bob", 150), Signalled::NotFound).await;
}

pub async fn questions_are_found_until_answered(kind: &impl Kind) {
    let store = kind.fresh();
    let runs = [claimed(&store, 1).await, claimed(&store, 2).await];
    let earlier = agentry_core::run::Interrupt { opened: at(20), ..question(2, "b", None) };
    for (run, opened) in runs.iter().zip([question(1, "a", None), earlier.clone()]) {
        let next = Next::Parked { wake_at: None };
        store.commit(RunCommit { opened: vec![opened], next, ..commit(run, 1) }).await.unwrap();
    }
    assert_eq!(store.questions(9).await.unwrap(), [earlier.clone(), question(1, "a", None)]);
    assert_eq!(store.questions(1).await.unwrap(), [earlier]);

    let signalled = store.signal(id(2), answered("b", "ada", 60)).await;
    assert_eq!(signalled, Ok(Signalled::Accepted));
    assert_eq!(store.questions(9).await.unwrap(), [question(1, "a", None)]);
    let woken = reclaimed(&store, 2).await;
    assert_eq!(woken.loaded.interrupts[0].answer, Some(answer("ada", 60)));
}
