//! Slices, and what is charged to them.

use agentry_core::MicroUsd;
use agentry_core::ledger::{Ask, Ledger, Per, Reclaim, SliceId};

use super::{ask, assert_balance, at, holder, slice, spends};
use crate::kind::Kind;

pub async fn a_cap_holds_for_all_who_ask<K: Kind<Store: Ledger>>(kind: &K) {
    let store = kind.fresh().await;
    let (one, two) = (slice("a", "one"), slice("a", "two"));
    let first = store.reserve_slice(ask(&one, 600, 600)).await.unwrap();
    assert_eq!((first.granted.0, first.amount.0, first.free.0), (600, 600, 400));
    let refused = store.reserve_slice(ask(&two, 401, 500)).await.unwrap();
    assert_eq!((refused.granted.0, refused.amount.0, refused.free.0), (0, 0, 400));
    let little = store.reserve_slice(ask(&two, 10, 500)).await.unwrap();
    assert_eq!((little.granted.0, little.amount.0, little.free.0), (50, 50, 350));
    let more = store.reserve_slice(ask(&one, 350, 350)).await.unwrap();
    assert_eq!((more.granted.0, more.amount.0, more.free.0), (350, 950, 0));
    assert_eq!(more.opened, first.opened);
    assert!(more.version > first.version);
    let nothing = store.reserve_slice(ask(&one, 1, 1)).await.unwrap();
    assert_eq!((nothing.granted.0, nothing.amount.0), (0, 950));
    assert_balance(&store, "a", 0, 1_000).await;

    // A cap that is lowered takes nothing away, and grants nothing.
    let lower = Ask { cap: MicroUsd(900), ..ask(&two, 1, 1) };
    let lower = store.reserve_slice(lower).await.unwrap();
    assert_eq!((lower.granted.0, lower.free.0), (0, -100));
}

pub async fn what_is_given_back_is_free_again<K: Kind<Store: Ledger>>(kind: &K) {
    let store = kind.fresh().await;
    let one = slice("a", "one");
    let give =
        async |version, amount| store.give_back(&one, version, MicroUsd(amount)).await.unwrap();
    assert!(!give(1, 1).await, "there is no slice");
    let old = store.reserve_slice(ask(&one, 400, 400)).await.unwrap();
    let grant = store.reserve_slice(ask(&one, 400, 400)).await.unwrap();
    store.append_usage(vec![spends(1, &one, 300)]).await.unwrap();
    assert!(!give(old.version, 1).await, "it was asked for since");
    assert!(!give(grant.version, 501).await, "300 of 800 are spent");
    assert!(!give(grant.version, -1).await, "that would be another ask");
    assert_balance(&store, "a", 300, 500).await;
    assert!(give(grant.version, 500).await);
    assert_balance(&store, "a", 300, 0).await;
    let two = slice("a", "two");
    let rest = store.reserve_slice(ask(&two, 700, 700)).await.unwrap();
    assert_eq!(rest.granted.0, 700);
}

pub async fn usage_is_charged_once<K: Kind<Store: Ledger>>(kind: &K) {
    let store = kind.fresh().await;
    let (one, other) = (slice("a", "one"), slice("b", "one"));
    store.reserve_slice(ask(&other, 500, 500)).await.unwrap();
    let old = store.reserve_slice(ask(&one, 400, 400)).await.unwrap();
    let grant = store.reserve_slice(ask(&one, 100, 100)).await.unwrap();
    let mut both = spends(1, &one, 20);
    both.charges.extend(spends(1, &other, 30).charges);
    let batch = vec![both.clone(), spends(2, &one, 5), spends(3, &one, 6)];
    store.append_usage(batch.clone()).await.unwrap();
    // Who was not told that it is stored sends it again, perhaps with what came since.
    store.append_usage(batch).await.unwrap();
    store
        .append_usage(vec![both.clone(), spends(4, &one, 100), spends(4, &one, 100)])
        .await
        .unwrap();
    assert_balance(&store, "a", 131, 369).await;
    assert_balance(&store, "b", 30, 470).await;
    store.append_usage(Vec::new()).await.unwrap();
    assert!(!store.settle(&one, old.version).await.unwrap(), "it was asked for since");
    assert!(store.settle(&one, grant.version).await.unwrap());
    assert!(!store.settle(&one, grant.version).await.unwrap(), "it is over");
    store.append_usage(vec![both]).await.unwrap();
    assert_balance(&store, "a", 131, 0).await;
    assert_balance(&store, "b", 30, 470).await;
}

pub async fn a_slice_whose_holder_is_gone_is_worth_its_records<K: Kind<Store: Ledger>>(kind: &K) {
    let store = kind.fresh().await;
    let (one, two) = (slice("a", "one"), slice("a", "two"));
    store.reserve_slice(ask(&one, 400, 400)).await.unwrap();
    store.reserve_slice(ask(&two, 400, 400)).await.unwrap();
    store.append_usage(vec![spends(1, &one, 10), spends(2, &two, 20)]).await.unwrap();

    // The instance was started again: what its former life did not spend is free, and nobody else's is touched.
    let reborn = holder("one", "2");
    assert_eq!(store.reclaim(Reclaim::Former(reborn.clone())).await.unwrap(), 1);
    assert_eq!(store.reclaim(Reclaim::Former(reborn.clone())).await.unwrap(), 0);
    assert_balance(&store, "a", 30, 380).await;
    let again = SliceId { holder: reborn.clone(), ..one };
    let grant = store.reserve_slice(ask(&again, 590, 590)).await.unwrap();
    assert_eq!((grant.granted.0, grant.amount.0), (590, 590));

    // The other one is silent: it holds what it has until its time is over.
    assert_eq!(store.renew(&reborn, at(300)).await.unwrap(), 1);
    assert_eq!(store.renew(&reborn, at(200)).await.unwrap(), 1, "never made shorter");
    assert_eq!(store.reclaim(Reclaim::Expired { now: at(99) }).await.unwrap(), 0);
    assert_balance(&store, "a", 30, 970).await;
    assert_eq!(store.reclaim(Reclaim::Expired { now: at(100) }).await.unwrap(), 1);
    assert_balance(&store, "a", 30, 590).await;
    assert_eq!(store.reclaim(Reclaim::Expired { now: at(299) }).await.unwrap(), 0);
    assert_eq!(store.reclaim(Reclaim::Expired { now: at(300) }).await.unwrap(), 1);
    assert_balance(&store, "a", 30, 0).await;
    assert_eq!(store.renew(&reborn, at(400)).await.unwrap(), 0);
}

pub async fn what_comes_late_is_charged_to_the_account<K: Kind<Store: Ledger>>(kind: &K) {
    let store = kind.fresh().await;
    let one = slice("a", "one");
    let lost = store.reserve_slice(ask(&one, 100, 100)).await.unwrap();
    store.reclaim(Reclaim::Expired { now: at(100) }).await.unwrap();
    store.append_usage(vec![spends(1, &one, 60)]).await.unwrap();
    assert_balance(&store, "a", 60, 0).await;
    // Whoever comes back sees that its slice is another one.
    let later = Ask { now: at(150), expires: at(250), ..ask(&one, 10, 10) };
    let grant = store.reserve_slice(later).await.unwrap();
    assert_eq!((grant.granted.0, grant.amount.0, grant.free.0), (10, 10, 930));
    assert_ne!(grant.opened, lost.opened);
    assert!(grant.version > lost.version);
    // An account that nobody has held a slice of.
    store.append_usage(vec![spends(2, &slice("new", "one"), 8)]).await.unwrap();
    assert_balance(&store, "new", 8, 0).await;
}

pub async fn more_than_was_foreseen_is_taken_from_everybody<K: Kind<Store: Ledger>>(kind: &K) {
    let store = kind.fresh().await;
    let (one, two) = (slice("a", "one"), slice("a", "two"));
    store.reserve_slice(ask(&one, 100, 100)).await.unwrap();
    store.append_usage(vec![spends(1, &one, 90), spends(2, &one, 60)]).await.unwrap();
    assert_balance(&store, "a", 150, 0).await;
    let grant = store.reserve_slice(ask(&two, 851, 851)).await.unwrap();
    assert_eq!((grant.granted.0, grant.free.0), (0, 850));
    let grant = store.reserve_slice(ask(&one, 50, 50)).await.unwrap();
    assert_eq!((grant.granted.0, grant.amount.0, grant.free.0), (50, 200, 800));
    // All of the cap and more.
    store.append_usage(vec![spends(3, &one, 1_000)]).await.unwrap();
    let grant = store.reserve_slice(ask(&two, 0, 100)).await.unwrap();
    assert_eq!((grant.granted.0, grant.free.0), (0, -150));
    let last = store.reserve_slice(ask(&one, 0, 0)).await.unwrap();
    assert!(store.settle(&one, last.version).await.unwrap());
    assert_balance(&store, "a", 1_150, 0).await;
}

pub async fn accounts_and_periods_are_apart<K: Kind<Store: Ledger>>(kind: &K) {
    let store = kind.fresh().await;
    let today = slice("a", "one");
    let tomorrow = SliceId { period: Per::Day.period(at(86_400)), ..today.clone() };
    let month = SliceId { period: Per::Month.period(at(0)), ..today.clone() };
    let other = slice("b", "one");
    for slice in [&today, &tomorrow, &month, &other] {
        let grant = store.reserve_slice(ask(slice, 1_000, 1_000)).await.unwrap();
        assert_eq!(grant.granted.0, 1_000, "{slice:?}");
    }
    store.append_usage(vec![spends(1, &tomorrow, 5)]).await.unwrap();
    assert_balance(&store, "a", 0, 1_000).await;
    let balance = store.balance("a", tomorrow.period).await.unwrap();
    assert_eq!((balance.spent.0, balance.held.0), (5, 995));
    assert_balance(&store, "nobody", 0, 0).await;
}

pub async fn spending_survives_reopening<K: Kind<Store: Ledger>>(kind: &K) {
    let store = kind.fresh().await;
    let one = slice("a", "one");
    let before = store.reserve_slice(ask(&one, 100, 100)).await.unwrap();
    store.append_usage(vec![spends(1, &one, 40)]).await.unwrap();
    let store = kind.reopen(store).await;
    assert_balance(&store, "a", 40, 60).await;
    let after = store.reserve_slice(ask(&one, 0, 0)).await.unwrap();
    assert_eq!((after.amount, after.opened), (before.amount, before.opened));
    assert_eq!((before.spent.0, after.spent.0), (0, 40));
    store.append_usage(vec![spends(1, &one, 40)]).await.unwrap();
    assert_balance(&store, "a", 40, 60).await;
}
