//! The port of items: what a search is held against is opened first.

use std::collections::HashSet;

use agentry_core::Timestamp;
use agentry_core::items::{
    Batch, Filter, Hit, Hits, Id, Item, Items, Namespace, Namespaces, Search,
};
use agentry_core::listing::{LIMIT_MAX, OFFSET_MAX, Span};
use agentry_core::store::Error;
use async_trait::async_trait;
use serde_json::{Map, Value};

use super::keyring::{Keyring, Safe};
use super::value::VALUE;
use super::{Sealed, unreadable};

impl Keyring {
    fn item(&self, tenant: &str, id: &Id) -> Result<Safe<'_>, Error> {
        let Id { namespace, key } = id;
        self.safe(format!("item\0{tenant}\0{}\0{key}", namespace.as_str()).into_bytes())
    }

    fn item_of(&self, tenant: &str, item: &mut Item) -> Result<(), Error> {
        self.item(tenant, &item.id)?.whole_of(VALUE, &mut item.value)
    }
}

impl<S: Items + ?Sized> Sealed<S> {
    async fn page(&self, tenant: &str, search: &Search, now: Timestamp) -> Result<Vec<Hit>, Error> {
        let mut hits = self.inner.search(tenant, search, now).await?;
        for hit in &mut hits {
            self.keys.item_of(tenant, &mut hit.item)?;
        }
        Ok(hits)
    }
}

#[async_trait]
impl<S: Items + ?Sized> Items for Sealed<S> {
    async fn write(&self, tenant: &str, batch: Batch, now: Timestamp) -> Result<(), Error> {
        let seal = |id: &Id, mut value: Map<String, Value>| -> Result<Map<String, Value>, Error> {
            self.keys.item(tenant, id)?.whole(VALUE, &mut value)?;
            Ok(value)
        };
        self.inner.write(tenant, batch.with_values(seal)?, now).await
    }

    async fn item(&self, tenant: &str, id: &Id, now: Timestamp) -> Result<Option<Item>, Error> {
        let Some(mut item) = self.inner.item(tenant, id, now).await? else { return Ok(None) };
        self.keys.item_of(tenant, &mut item)?;
        Ok(Some(item))
    }

    /// With words or a filter it looks through the namespace's newest items, as many as a listing reaches.
    async fn search(
        &self,
        tenant: &str,
        search: &Search,
        now: Timestamp,
    ) -> Result<Vec<Hit>, Error> {
        if search.is_plain() {
            return self.page(tenant, search, now).await;
        }
        let mut hits = Hits::new(search);
        // One that was written meanwhile may come twice.
        let mut seen = HashSet::new();
        for offset in (0..=OFFSET_MAX).step_by(LIMIT_MAX) {
            let span = Span::new(offset, LIMIT_MAX).map_err(unreadable)?;
            let (prefix, filter) = (search.prefix.clone(), Filter::default());
            let page = Search { prefix, filter, query: None, span };
            let page = self.page(tenant, &page, now).await?;
            let last = page.len() < LIMIT_MAX;
            for Hit { item, score: _ } in page {
                if seen.insert(item.id.clone()) {
                    hits.offer(item);
                }
            }
            if last {
                break;
            }
        }
        Ok(hits.finish())
    }

    async fn namespaces(
        &self,
        tenant: &str,
        wanted: &Namespaces,
        now: Timestamp,
    ) -> Result<Vec<Namespace>, Error> {
        self.inner.namespaces(tenant, wanted, now).await
    }

    async fn refresh(&self, tenant: &str, ids: &[Id], now: Timestamp) -> Result<u64, Error> {
        self.inner.refresh(tenant, ids, now).await
    }

    async fn sweep(&self, now: Timestamp, max: usize) -> Result<u64, Error> {
        self.inner.sweep(now, max).await
    }
}
