//! Who has a run, and until when.

use agentry_core::run::{Committed, Fence, Next, Status};
use agentry_core::store::{Claim, RunQuery, RunStore};

use super::{Kind, applied, at, claim, claimed, commit, id, new_run, older, reclaimed};

async fn ids(store: &impl RunStore, claim: Claim) -> Vec<agentry_core::RunId> {
    let claimed = store.claim(claim).await.unwrap();
    claimed.iter().map(|claimed| claimed.loaded.row.id).collect()
}

pub async fn runs_are_claimed_once_and_oldest_first(kind: &impl Kind) {
    let store = kind.fresh();
    for number in [3, 1, 2, 4] {
        store.submit(new_run(number)).await.unwrap();
    }
    let mut foreign = new_run(9);
    foreign.version = "2".to_owned();
    store.submit(foreign).await.unwrap();

    let few = Claim { runs_max: 3, ..claim("w", 100) };
    assert_eq!(ids(&store, few).await, [id(1), id(2), id(3)]);
    assert_eq!(ids(&store, claim("v", 100)).await, [id(4)], "the rest, of its graph version only");
    assert_eq!(ids(&store, claim("w", 101)).await, [], "its own claims are not handed out again");
}

pub async fn a_lease_that_is_over_lets_others_in(kind: &impl Kind) {
    let store = kind.fresh();
    let first = claimed(&store, 1).await;
    assert_eq!(first.fence, Fence(1));
    assert_eq!(store.commit(commit(&first, 1)).await, Ok(applied(false, false)));

    assert_eq!(ids(&store, claim("v", 109)).await, []);
    store.renew("w", at(109), at(119)).await.unwrap();
    assert_eq!(ids(&store, claim("v", 118)).await, []);

    assert_eq!(ids(&store, claim("w", 119)).await, [], "nobody takes its own");
    let second = store.claim(claim("v", 119)).await.unwrap().remove(0);
    assert_eq!((second.fence, second.loaded.row.seq.0), (Fence(2), 1));
    assert_eq!(older(second.fence), first.fence);
    assert_eq!(store.commit(commit(&first, 2)).await, Ok(Committed::Fenced));
    assert_eq!(store.commit(commit(&second, 2)).await, Ok(applied(false, false)));
}

pub async fn claims_are_released_at_once(kind: &impl Kind) {
    let store = kind.fresh();
    let first = claimed(&store, 1).await;
    store.release("v").await.unwrap();
    assert_eq!(ids(&store, claim("v", 100)).await, [], "another worker's release changes nothing");
    store.release("w").await.unwrap();
    assert_eq!(store.commit(commit(&first, 1)).await, Ok(Committed::Fenced));
    assert_eq!(ids(&store, claim("v", 100)).await, [id(1)]);
}

pub async fn a_parked_run_wakes_when_its_moment_comes(kind: &impl Kind) {
    let store = kind.fresh();
    for (number, wake_at) in [(1, Some(at(500))), (2, Some(at(400))), (3, None)] {
        let run = claimed(&store, number).await;
        let park = commit(&run, 1);
        let parked = agentry_core::run::RunCommit { next: Next::Parked { wake_at }, ..park };
        assert_eq!(store.commit(parked).await, Ok(applied(false, false)));
    }
    assert_eq!(store.next_wake().await, Ok(Some(at(400))));
    assert_eq!(ids(&store, claim("v", 399)).await, []);
    assert_eq!(ids(&store, claim("v", 400)).await, [id(2)]);
    assert_eq!(store.next_wake().await, Ok(Some(at(500))));
    let row = store.load(id(2)).await.unwrap().unwrap().row;
    assert_eq!((row.status, row.wake_at), (Status::Ready, None));
    let row = store.load(id(3)).await.unwrap().unwrap().row;
    assert_eq!((row.status, row.wake_at), (Status::Parked, None));
}

pub async fn runs_are_listed_newest_first(kind: &impl Kind) {
    let store = kind.fresh();
    for number in 1..=4 {
        store.submit(new_run(number)).await.unwrap();
    }
    let mut other = new_run(5);
    other.graph = "other".to_owned();
    store.submit(other).await.unwrap();
    let run = reclaimed(&store, 2).await;
    let done = agentry_core::run::RunCommit { next: Next::Succeeded, ..commit(&run, 1) };
    store.commit(done).await.unwrap();

    let all = RunQuery { runs_max: 100, ..RunQuery::default() };
    let check = async |query: RunQuery, expected: &[u8]| {
        let found = store.runs(query.clone()).await.unwrap();
        let found: Vec<_> = found.iter().map(|row| row.id).collect();
        let expected: Vec<_> = expected.iter().map(|number| id(*number)).collect();
        assert_eq!(found, expected, "{query:?}");
    };
    check(all.clone(), &[5, 4, 3, 2, 1]).await;
    check(RunQuery { graph: Some("g".to_owned()), ..all.clone() }, &[4, 3, 2, 1]).await;
    check(RunQuery { status: Some(Status::Succeeded), ..all.clone() }, &[2]).await;
    check(RunQuery { before: Some(id(4)), runs_max: 2, ..all.clone() }, &[3, 2]).await;
    check(RunQuery { runs_max: 0, ..all }, &[]).await;
}
