//! Who has a thread, and until when.

use agentry_core::run::{Committed, Fence, Seq};
use agentry_core::thread::{Commit, NewRun, Priority, Rest, RunStatus, Status};
use agentry_core::threads::{
    Claim, Signal, Signalled, Taken, ThreadStore as _, Threads as _, life,
};

use super::{
    Store, applied, asking, at, begun, check_signal, claim, claim_ids, claimed, commit, ends,
    message, new_run, new_thread, pinned, rest, submit, thread_id,
};
use crate::kind::Kind;

pub async fn threads_are_claimed_once_by_priority_and_time(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    for number in [3, 1, 2, 4] {
        submit(&store, new_run(number)).await;
    }
    submit(&store, NewRun { priority: Priority::High, ..new_run(5) }).await;
    submit(&store, NewRun { priority: Priority::Low, ..new_run(6) }).await;
    // A run that waits its turn lifts its whole thread.
    let urgent = NewRun { priority: Priority::High, ..super::run_on(4, 7) };
    submit(&store, urgent).await;
    let few = Claim { threads_max: 4, ..claim("w", 100) };
    assert_eq!(claim_ids(&store, few).await, [4, 5, 1, 2].map(thread_id));
    assert_eq!(claim_ids(&store, claim("v", 101)).await, [3, 6].map(thread_id));
    assert_eq!(claim_ids(&store, claim("w", 102)).await, [], "its own are not handed out again");
}

pub async fn tenants_take_turns(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    for (tenant, numbers) in [("a", &[1, 2, 3, 4][..]), ("b", &[5, 6]), ("c", &[7])] {
        for number in numbers {
            submit(&store, NewRun { tenant: tenant.to_owned(), ..new_run(*number) }).await;
        }
    }
    let mut now = 100;
    let mut take = async |threads_max| {
        now += 1;
        claim_ids(&store, Claim { threads_max, ..claim("w", now) }).await
    };
    assert_eq!(take(1).await, [thread_id(1)]);
    assert_eq!(take(1).await, [thread_id(5)], "who was never served comes first");
    assert_eq!(take(1).await, [thread_id(7)]);
    assert_eq!(take(3).await, [2, 6, 3].map(thread_id));
    assert_eq!(take(9).await, [thread_id(4)]);
}

pub async fn a_lease_that_is_over_lets_others_in(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let first = claimed(&store, 1).await;
    assert_eq!(first.fence, Fence(1));
    assert_eq!(store.commit(commit(&first, 1)).await, Ok(applied(false, false)));
    assert_eq!(claim_ids(&store, claim("v", 109)).await, []);
    store.renew("w", at(109), at(119)).await.unwrap();
    assert_eq!(claim_ids(&store, claim("v", 118)).await, []);
    assert_eq!(claim_ids(&store, claim("w", 119)).await, [], "nobody takes its own");
    let second = store.claim(claim("v", 119)).await.unwrap().remove(0);
    assert_eq!((second.fence, second.loaded.thread.seq), (Fence(2), Seq(1)));
    assert_eq!(store.commit(commit(&first, 2)).await, Ok(Committed::Fenced));
    let effect = agentry_core::run::Effect::Intended;
    let journal = store.journal(thread_id(1), first.fence, "late", effect).await;
    assert_eq!(journal, Ok(Committed::Fenced));
    assert_eq!(store.commit(commit(&second, 2)).await, Ok(applied(false, false)));
    assert_eq!(store.commit(commit(&first, 1)).await, Ok(Committed::Duplicate));
}

pub async fn claims_are_released_at_once(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let first = claimed(&store, 1).await;
    store.release("v").await.unwrap();
    assert_eq!(claim_ids(&store, claim("v", 100)).await, [], "only one's own");
    store.release("w").await.unwrap();
    assert_eq!(store.commit(commit(&first, 1)).await, Ok(Committed::Fenced));
    assert_eq!(claim_ids(&store, claim("v", 100)).await, [thread_id(1)]);
}

/// What a process that is gone has sent may arrive when its successor works already.
pub async fn a_life_succeeds_its_former_ones(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let (former, today) = (life("w", "1"), life("w", "2"));
    for number in 1..=5 {
        submit(&store, new_run(number)).await;
    }
    let one = |worker: &str, now| Claim { threads_max: 1, ..claim(worker, now) };
    assert_eq!(claim_ids(&store, one(&former, 100)).await, [thread_id(1)]);
    assert_eq!(claim_ids(&store, one("w", 100)).await, [thread_id(2)]);
    assert_eq!(claim_ids(&store, one(&life("w2", "1"), 100)).await, [thread_id(3)]);
    assert_eq!(claim_ids(&store, one(&format!("{today}/door"), 100)).await, [thread_id(4)]);
    store.succeed("w", &today).await.unwrap();
    let mine = store.claim(Claim { threads_max: 2, ..claim(&today, 101) }).await.unwrap();
    let ids: Vec<_> = mine.iter().map(|claimed| claimed.loaded.thread.id).collect();
    assert_eq!(ids, [1, 2].map(thread_id), "at once, and only those of its former lives");

    // A claim of the life before arrives late: nobody drives it, and its lease is over though the successor lives.
    assert_eq!(claim_ids(&store, one(&former, 102)).await, [thread_id(5)]);
    store.renew(&today, at(111), at(121)).await.unwrap();
    let others = claim_ids(&store, claim(&today, 111)).await;
    assert_eq!(others, [3, 4].map(thread_id), "the lease of the late claim is not over yet");
    assert_eq!(claim_ids(&store, claim(&today, 112)).await, [thread_id(5)]);
    // A release that arrives late gives back nothing of the successor's.
    store.release(&former).await.unwrap();
    assert_eq!(store.commit(commit(&mine[0], 1)).await, Ok(applied(false, false)));
}

pub async fn a_thread_wakes_when_its_moment_comes(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    for (number, wake_at) in [(1, Some(500)), (2, Some(400)), (3, None)] {
        let run = begun(&store, number).await;
        let wait = Commit { next: rest(Rest::Waiting, wake_at), ..commit(&run, 2) };
        assert_eq!(store.commit(wait).await, Ok(applied(false, false)));
    }
    assert_eq!(store.next_wake().await, Ok(Some(at(400))));
    assert_eq!(claim_ids(&store, claim("v", 399)).await, []);
    assert_eq!(claim_ids(&store, claim("v", 400)).await, [thread_id(2)]);
    assert_eq!(store.next_wake().await, Ok(Some(at(500))));
    let thread = async |number| {
        let thread = store.thread(thread_id(number)).await.unwrap().unwrap();
        (thread.status, thread.wake_at)
    };
    assert_eq!(thread(1).await, (Status::Waiting, Some(at(500))));
    assert_eq!(thread(2).await, (Status::Ready, None));
    assert_eq!(thread(3).await, (Status::Waiting, None));
}

pub async fn threads_go_to_workers_that_have_their_program(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    let on = |number, version: &str| NewRun { program: pinned("g", version), ..new_run(number) };
    submit(&store, on(1, "1")).await;
    submit(&store, on(2, "2")).await;
    // What runs decides, not what waits behind it.
    submit(&store, NewRun { thread: thread_id(1), ..on(3, "2") }).await;
    let with = |versions: &[&str], now| Claim {
        programs: versions.iter().map(|version| pinned("g", version)).collect(),
        ..claim("w", now)
    };
    assert_eq!(claim_ids(&store, with(&[], 100)).await, []);
    assert_eq!(claim_ids(&store, with(&["2", "3"], 100)).await, [thread_id(2)]);
    let first = store.claim(with(&["1"], 100)).await.unwrap().remove(0);
    let begin = Commit { runs: vec![super::begins(1, 0)], ..commit(&first, 1) };
    store.commit(begin).await.unwrap();
    let version = async || store.thread(thread_id(1)).await.unwrap().unwrap().program;
    assert_eq!(version().await, Some(pinned("g", "1")));
    let done = Commit {
        runs: vec![ends(1, RunStatus::Success)],
        next: rest(Rest::Idle, None),
        ..commit(&first, 2)
    };
    assert_eq!(store.commit(done).await, Ok(applied(false, true)));
    assert_eq!(version().await, Some(pinned("g", "2")));
    assert_eq!(claim_ids(&store, with(&["1"], 100)).await, []);
    assert_eq!(claim_ids(&store, with(&["2"], 100)).await, [thread_id(1)]);
}

pub async fn a_thread_at_rest_is_taken_by_one(kind: &impl Kind<Store: Store>) {
    let store = kind.fresh().await;
    assert_eq!(store.take(thread_id(1), claim("w", 100)).await, Ok(Taken::NoThread));
    submit(&store, new_run(2)).await;
    assert_eq!(store.take(thread_id(2), claim("w", 100)).await, Ok(Taken::Busy), "it is ready");
    let waits = begun(&store, 3).await;
    let wait = Commit { next: rest(Rest::Waiting, None), ..commit(&waits, 2) };
    store.commit(wait).await.unwrap();
    assert_eq!(store.take(thread_id(3), claim("w", 100)).await, Ok(Taken::Busy), "it waits");

    let take = async |number, worker: &str, now| {
        let taken = store.take(thread_id(number), claim(worker, now)).await.unwrap();
        let Taken::Yours(claimed) = taken else { panic!("{taken:?}") };
        *claimed
    };
    store.create(new_thread(1)).await.unwrap();
    let first = take(1, "w", 100).await;
    assert_eq!(first.loaded.thread.status, Status::Idle);
    assert_eq!(store.take(thread_id(1), claim("v", 109)).await, Ok(Taken::Busy));
    assert_eq!(store.take(thread_id(1), claim("w", 109)).await, Ok(Taken::Busy), "not twice");
    let second = take(1, "v", 110).await;
    assert_eq!(store.commit(commit(&first, 1)).await, Ok(Committed::Fenced));
    let update = Commit { next: rest(Rest::Idle, None), ..commit(&second, 1) };
    assert_eq!(store.commit(update).await, Ok(applied(false, false)));
    assert_eq!(store.thread(thread_id(1)).await.unwrap().unwrap().status, Status::Idle);

    // Nobody else gets a thread that was taken, also when something comes for it or its moment does.
    asking(&store, 4, Some(150)).await;
    let taken = take(4, "w", 140).await;
    assert_eq!(claim_ids(&store, claim("v", 149)).await, []);
    store.renew("w", at(145), at(200)).await.unwrap();
    check_signal(&store, 4, Signal::Message(message(1)), Signalled::Accepted).await;
    assert_eq!(claim_ids(&store, claim("u", 160)).await, []);
    assert!(store.mail("w").await.unwrap().contains(&thread_id(4)));
    let update = Commit { next: rest(Rest::Interrupted, None), ..commit(&taken, 3) };
    assert_eq!(store.commit(update).await, Ok(applied(false, true)));
    assert_eq!(claim_ids(&store, claim("u", 160)).await, [thread_id(4)], "the message is there");
}
