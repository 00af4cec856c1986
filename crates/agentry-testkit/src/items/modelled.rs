//! Sequences that nobody has thought of.

use std::collections::BTreeMap;
use std::time::Duration;

use agentry_core::items::{Items, Namespace, Put, Write};
use serde_json::json;

use super::{id, listed, namespace, namespaces, path, paths, put, search, write};
use crate::kind::Kind;
use crate::ledger::at;

/// Labels that are easily confused.
const LABELS: [&str; 6] = ["a", "a-", "ab", "b", "ä", " "];

/// Not random, but far from any pattern.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn labels(&mut self, least: u64) -> String {
        let labels: Vec<_> =
            (0..least + self.below(3)).map(|_| LABELS[self.below(6) as usize]).collect();
        labels.join("/")
    }
}

/// When each was put, and when it expires.
type Model = BTreeMap<String, (u64, Option<u64>)>;

fn live(model: &Model, now: u64) -> impl Iterator<Item = (&String, u64)> {
    let live = model.iter().filter(move |(_, (_, expires))| expires.is_none_or(|end| end > now));
    live.map(|(path, (put, _))| (path, *put))
}

fn space(path: &str) -> Namespace {
    id(path).namespace
}

pub async fn any_sequence_of_writes_is_found_as_in_the_model<K: Kind<Store: Items>>(kind: &K) {
    for seed in 1..=4 {
        let store = kind.fresh().await;
        let (mut model, mut random) = (Model::new(), Random(seed));
        for now in 0..60 {
            step(&store, &mut model, (&mut random, now)).await;
            let prefix = random.labels(0);
            let wanted = namespace(&prefix);
            let mut expected: Vec<_> = live(&model, now)
                .filter(|(path, _)| wanted.contains(&space(path)))
                .map(|(path, put)| (u64::MAX - put, id(path)))
                .collect();
            expected.sort();
            let expected: Vec<_> = expected.iter().map(|(_, id)| path(id)).collect();
            assert_eq!(paths(&store, &search(&prefix), now).await, expected, "seed {seed} {now}");
            let mut spaces: Vec<_> = live(&model, now).map(|(path, _)| space(path)).collect();
            spaces.sort();
            spaces.dedup();
            let spaces: Vec<_> =
                spaces.iter().map(|space| space.labels().collect::<Vec<_>>().join("/")).collect();
            let found = listed(&store, &namespaces("", "", 0), now).await;
            assert_eq!(found, spaces, "seed {seed} {now}");
        }
    }
}

async fn step(store: &impl Items, model: &mut Model, (random, now): (&mut Random, u64)) {
    match random.below(8) {
        0 => {
            let expired = model.len() - live(model, now).count();
            let max = random.below(3) as usize;
            let swept = store.sweep(at(now), max).await.unwrap();
            assert_eq!(swept as usize, max.min(expired));
            // Which ones go first is left open.
            assert_eq!(
                store.sweep(at(now), 1_000).await.unwrap() as usize,
                expired - max.min(expired)
            );
            model.retain(|_, (_, expires)| expires.is_none_or(|end| end > now));
        }
        1 => {
            let ids: Vec<_> = model.keys().filter(|_| random.below(3) == 0).cloned().collect();
            store
                .refresh("main", &ids.iter().map(|path| id(path)).collect::<Vec<_>>(), at(now))
                .await
                .unwrap();
            for path in ids {
                let Some((_, Some(end))) = model.get_mut(&path) else { continue };
                if *end > now {
                    *end = (*end).max(now + 7);
                }
            }
        }
        _ => {
            let mut writes = Vec::new();
            for _ in 0..random.below(6) {
                let path = format!("{}/{}", random.labels(1), random.below(3));
                if random.below(3) == 0 {
                    writes.push(Write::Delete(id(&path)));
                    model.remove(&path);
                    continue;
                }
                let brief = random.below(2) == 0;
                let ttl = brief.then_some(Duration::from_secs(7));
                writes.push(Write::Put(Put { ttl, ..put(&path, json!({"at": now})) }));
                model.insert(path, (now, brief.then_some(now + 7)));
            }
            write(store, "main", writes, now).await;
        }
    }
}
