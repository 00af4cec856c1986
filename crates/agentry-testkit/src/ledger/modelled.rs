//! Sequences that nobody has thought of.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentry_core::MicroUsd;
use agentry_core::ledger::{Ask, Ledger, Reclaim, SliceId};

use super::{ask, assert_balance, at, day, holder, slice, spends};
use crate::kind::Kind;

const CAP: i64 = 1_000;

/// What the books must say, in the plainest way.
#[derive(Default)]
struct Model {
    settled: BTreeMap<Arc<str>, i64>,
    slices: BTreeMap<SliceId, Held>,
}

#[derive(Clone, Copy)]
struct Held {
    amount: i64,
    spent: i64,
    version: i64,
    expires: u64,
}

impl Model {
    fn sums(&self, account: &str) -> (i64, i64) {
        let settled = self.settled.get(account).copied().unwrap_or(0);
        let slices = self.slices.iter().filter(|(id, _)| *id.account == *account);
        slices.fold((settled, 0), |(spent, held), (_, slice)| {
            (spent + slice.spent, held + slice.amount - slice.spent)
        })
    }

    fn end(&mut self, ends: impl Fn(&SliceId, &Held) -> bool) -> u64 {
        let before = self.slices.len();
        let settled = &mut self.settled;
        self.slices.retain(|id, held| {
            if ends(id, held) {
                *settled.entry(Arc::clone(&id.account)).or_default() += held.spent;
                return false;
            }
            true
        });
        (before - self.slices.len()) as u64
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn amount(&mut self, bound: u64) -> i64 {
        self.below(bound) as i64
    }
}

pub async fn any_sequence_of_commands_ends_as_in_the_model<K: Kind<Store: Ledger>>(kind: &K) {
    for seed in 1..=6_u64 {
        let store = kind.fresh().await;
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut model = Model::default();
        for step in 0..60 {
            perform(&store, &mut model, &mut random, step).await;
            for account in ["a", "b"] {
                let (spent, held) = model.sums(account);
                assert!(spent + held <= CAP, "seed {seed}, step {step}");
                assert_balance(&store, account, spent, held).await;
            }
        }
    }
}

async fn perform(store: &impl Ledger, model: &mut Model, random: &mut Random, step: u64) {
    let account = ["a", "b"][random.below(2) as usize];
    let mut id = slice(account, ["one", "two"][random.below(2) as usize]);
    id.holder.life = ["1", "2"][random.below(2) as usize].into();
    let held = model.slices.get(&id).copied();
    match random.below(8) {
        0..=2 => {
            let expires = 100 + random.below(100);
            let asked = Ask {
                expires: at(expires),
                now: at(step),
                ..ask(&id, random.amount(150), random.amount(400))
            };
            let (spent, outstanding) = model.sums(account);
            let share = asked.share_of(MicroUsd(CAP - spent - outstanding));
            let grant = store.reserve_slice(asked).await.unwrap();
            assert_eq!(grant.granted, share);
            let none = Held { amount: 0, spent: 0, version: 0, expires };
            let held = model.slices.entry(id).or_insert(none);
            held.amount += share.0;
            held.version = grant.version;
            held.expires = held.expires.max(expires);
            assert_eq!(grant.amount.0, held.amount);
        }
        3 | 4 => {
            // Never more than was granted: that has a test of its own.
            let left = held.map_or(0, |held| held.amount - held.spent);
            let amount = random.amount(left.max(0) as u64 + 1);
            store.append_usage(vec![spends(step, &id, amount)]).await.unwrap();
            match model.slices.get_mut(&id) {
                Some(held) => held.spent += amount,
                None => *model.settled.entry(id.account).or_default() += amount,
            }
        }
        5 => {
            let amount = random.amount(200);
            let current = held.filter(|held| held.amount - held.spent >= amount);
            let version = held.map_or(1, |held| held.version);
            let given = store.give_back(&id, version, MicroUsd(amount)).await.unwrap();
            assert_eq!(given, current.is_some());
            if let Some(held) = model.slices.get_mut(&id).filter(|_| given) {
                held.amount -= amount;
            }
        }
        6 => {
            let version = held.map_or(1, |held| held.version);
            assert_eq!(store.settle(&id, version).await.unwrap(), held.is_some());
            model.end(|other, _| *other == id);
        }
        _ if random.below(2) == 0 => {
            let now = 100 + random.below(60);
            let ended = store.reclaim(Reclaim::Expired { now: at(now) }).await.unwrap();
            assert_eq!(ended, model.end(|_, held| held.expires <= now));
        }
        _ => {
            let ended = store.reclaim(Reclaim::Former(id.holder.clone())).await.unwrap();
            let theirs = |other: &SliceId, _: &Held| {
                other.holder.instance == id.holder.instance && other.holder.life != id.holder.life
            };
            assert_eq!(ended, model.end(theirs));
        }
    }
}

pub async fn parallel_askers_never_exceed_the_cap<K: Kind<Store: Ledger>>(kind: &K) {
    let store = Arc::new(kind.fresh().await);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..24_u64 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let holder = holder(&format!("instance-{}", number % 3), "1");
            let id = SliceId { account: "a".into(), period: day(), holder };
            let mut granted = 0;
            let mut random = Random(number + 1);
            for _ in 0..20 {
                let need = 1 + random.amount(12);
                let grant = store.reserve_slice(ask(&id, need, 2 * need)).await.unwrap();
                granted += grant.granted.0;
                assert!(grant.free.0 >= 0, "{grant:?}");
            }
            granted
        });
    }
    let granted: i64 = tasks.join_all().await.iter().sum();
    let balance = store.balance("a", day()).await.unwrap();
    assert_eq!((balance.spent.0, balance.held.0), (0, granted));
    assert!(granted <= CAP && granted > CAP - 12, "{granted}");
}

/// Everything at once, more than was foreseen and charges to slices that are gone included.
pub async fn parallel_commands_lose_no_micro_dollar<K: Kind<Store: Ledger>>(kind: &K) {
    let store = Arc::new(kind.fresh().await);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..12_u64 {
        let store = Arc::clone(&store);
        tasks.spawn(async move { disturb(store.as_ref(), number).await });
    }
    let mut spent = [0; 2];
    for [a, b] in tasks.join_all().await {
        spent[0] += a;
        spent[1] += b;
    }
    store.reclaim(Reclaim::Expired { now: at(1_000) }).await.unwrap();
    assert_balance(store.as_ref(), "a", spent[0], 0).await;
    assert_balance(store.as_ref(), "b", spent[1], 0).await;
}

/// Returns what it has charged to each account.
async fn disturb(store: &impl Ledger, number: u64) -> [i64; 2] {
    let mut random = Random(number + 1);
    let mut spent = [0; 2];
    // One instance does not ask twice at the same time.
    let holder = holder(&format!("instance-{number}"), "1");
    let mut slices = ["a", "b"].map(|account| slice(account, "one"));
    for slice in &mut slices {
        slice.holder = holder.clone();
    }
    for step in 0..20 {
        let [here, there] = if random.below(2) == 0 { [0, 1] } else { [1, 0] };
        let need = random.amount(40);
        let grant = store.reserve_slice(ask(&slices[here], need, 3 * need)).await.unwrap();
        let amount = random.amount(60);
        let mut entry = spends(number * 1_000 + step, &slices[here], amount);
        entry.charges.extend(spends(0, &slices[there], amount).charges);
        spent = spent.map(|sum| sum + amount);
        let entries = vec![entry; 1 + random.below(2) as usize];
        store.append_usage(entries).await.unwrap();
        match random.below(4) {
            0 => drop(store.give_back(&slices[here], grant.version, MicroUsd(need)).await.unwrap()),
            1 => drop(store.settle(&slices[here], grant.version).await.unwrap()),
            2 => drop(store.reclaim(Reclaim::Expired { now: at(100) }).await.unwrap()),
            _ => drop(store.renew(&holder, at(100)).await.unwrap()),
        }
    }
    spent
}
