//! The model of a store of items.

use std::collections::{BTreeMap, HashMap};
use std::sync::{MutexGuard, PoisonError};

use agentry_core::Timestamp;
use agentry_core::items::{
    Batch, Hit, Hits, Id, Item, Items, Namespace, Namespaces, Outline, Search,
};
use agentry_core::store::Error;
use async_trait::async_trait;

use super::MemoryStore;

/// By tenant.
pub(super) type Shelves = HashMap<String, BTreeMap<Id, Item>>;

impl MemoryStore {
    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All of a tenant's that lie within `namespace`, whether or not they are live.
fn within<'a>(
    shelves: &'a Shelves,
    tenant: &str,
    namespace: &'a Namespace,
) -> impl Iterator<Item = &'a Item> {
    let first = Id { namespace: namespace.clone(), key: String::new() };
    let shelf = shelves.get(tenant).into_iter().flat_map(move |shelf| shelf.range(first.clone()..));
    shelf.map(|(_, item)| item).take_while(|item| namespace.contains(&item.id.namespace))
}

#[async_trait]
impl Items for MemoryStore {
    async fn write(&self, tenant: &str, batch: Batch, now: Timestamp) -> Result<(), Error> {
        let mut shelves = self.shelves();
        let shelf = shelves.entry(tenant.to_owned()).or_default();
        for (id, checked) in batch {
            let before = shelf.remove(&id).filter(|before| before.is_live(now));
            if let Some(checked) = checked {
                shelf.insert(id.clone(), checked.into_item(id, before.as_ref(), now));
            }
        }
        Ok(())
    }

    async fn item(&self, tenant: &str, id: &Id, now: Timestamp) -> Result<Option<Item>, Error> {
        let shelves = self.shelves();
        let item = shelves.get(tenant).and_then(|shelf| shelf.get(id));
        Ok(item.filter(|item| item.is_live(now)).cloned())
    }

    async fn search(
        &self,
        tenant: &str,
        search: &Search,
        now: Timestamp,
    ) -> Result<Vec<Hit>, Error> {
        let shelves = self.shelves();
        let mut hits = Hits::new(search);
        for item in within(&shelves, tenant, &search.prefix).filter(|item| item.is_live(now)) {
            hits.offer(item.clone());
        }
        Ok(hits.finish())
    }

    async fn namespaces(
        &self,
        tenant: &str,
        wanted: &Namespaces,
        now: Timestamp,
    ) -> Result<Vec<Namespace>, Error> {
        let shelves = self.shelves();
        let mut outline = Outline::new(wanted);
        let within_ = wanted.within();
        for item in within(&shelves, tenant, &within_).filter(|item| item.is_live(now)) {
            if outline.offer(&item.id.namespace).is_break() {
                break;
            }
        }
        Ok(outline.finish())
    }

    async fn refresh(&self, tenant: &str, ids: &[Id], now: Timestamp) -> Result<u64, Error> {
        let mut shelves = self.shelves();
        let Some(shelf) = shelves.get_mut(tenant) else { return Ok(0) };
        let mut refreshed = 0;
        for id in ids {
            let item = shelf.get_mut(id).filter(|item| item.is_live(now));
            if let Some((item, ttl)) = item.and_then(|item| item.ttl.map(|ttl| (item, ttl))) {
                item.expires = item.expires.max(Some(now.plus(ttl)));
                refreshed += 1;
            }
        }
        Ok(refreshed)
    }

    async fn sweep(&self, now: Timestamp, max: usize) -> Result<u64, Error> {
        let mut shelves = self.shelves();
        let mut swept = 0;
        for shelf in shelves.values_mut() {
            shelf.retain(|_, item| {
                let stays = item.is_live(now) || swept == max;
                swept += usize::from(!stays);
                stays
            });
        }
        shelves.retain(|_, shelf| !shelf.is_empty());
        Ok(swept as u64)
    }
}
