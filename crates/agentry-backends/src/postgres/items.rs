//! Items.

use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::items::{
    Batch, Hit, Hits, Id, Index, Item, Items, Namespace, Namespaces, Outline, Search,
};
use agentry_core::store::Error;
use async_trait::async_trait;
use tokio_postgres::Row;

use super::pool::Values;
use super::{PostgresStore, migrate};

mod sql;

pub(super) const MIGRATIONS: migrate::List =
    migrate::List { name: "items", steps: &[include_str!("items/1.sql")] };

/// So many rows are read at a time where all of a namespace must be looked at.
const ITEMS_AT_ONCE: usize = 100;
const NAMESPACES_AT_ONCE: usize = 1_000;

fn incompatible(problem: impl std::fmt::Display) -> Error {
    Error::Incompatible(format!("items: {problem}"))
}

/// Bounded, so they fit.
fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn micros(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX)
}

fn namespace(row: &Row) -> Result<Namespace, Error> {
    Namespace::read(row.get(0)).map_err(incompatible)
}

fn item(row: &Row) -> Result<Item, Error> {
    let ttl: Option<i64> = row.get(6);
    let expires: Option<i64> = row.get(7);
    Ok(Item {
        id: Id { namespace: namespace(row)?, key: row.get(1) },
        value: serde_json::from_str(row.get(2)).map_err(incompatible)?,
        index: Index::read(row.get(3)).map_err(incompatible)?,
        created: Timestamp::from_micros(row.get(4)),
        updated: Timestamp::from_micros(row.get(5)),
        ttl: ttl.map(|ttl| Duration::from_micros(ttl.unsigned_abs())),
        expires: expires.map(Timestamp::from_micros),
    })
}

impl PostgresStore {
    /// By the database's own order.
    async fn plain(&self, values: Values<'_>) -> Result<Vec<Hit>, Error> {
        let rows = self.pool.query(sql::PLAIN, values).await?;
        rows.iter().map(|row| Ok(Hit { item: item(row)?, score: None })).collect()
    }
}

#[async_trait]
impl Items for PostgresStore {
    async fn write(&self, tenant: &str, batch: Batch, now: Timestamp) -> Result<(), Error> {
        let (mut gone, mut put) = (<[Vec<&str>; 2]>::default(), <[Vec<&str>; 3]>::default());
        let (mut fields, mut ttls, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for (id, checked) in batch.iter() {
            let (namespace, key) = (id.namespace.as_str(), id.key.as_str());
            let Some(checked) = checked else {
                let [namespaces, keys] = &mut gone;
                namespaces.push(namespace);
                keys.push(key);
                continue;
            };
            let [namespaces, keys, values] = &mut put;
            namespaces.push(namespace);
            keys.push(key);
            values.push(&checked.json);
            fields.push(checked.fields.as_deref());
            ttls.push(checked.ttl.map(micros));
            ends.push(checked.ttl.map(|ttl| now.plus(ttl).as_micros()));
        }
        let ([gone_namespaces, gone_keys], [namespaces, keys, values]) = (&gone, &put);
        let now = now.as_micros();
        let values: Values<'_> = &[
            &tenant,
            &now,
            gone_namespaces,
            gone_keys,
            namespaces,
            keys,
            values,
            &fields,
            &ttls,
            &ends,
        ];
        self.pool.query(sql::WRITE, values).await.map(drop)
    }

    async fn item(&self, tenant: &str, id: &Id, now: Timestamp) -> Result<Option<Item>, Error> {
        if !id.is_possible() {
            return Ok(None);
        }
        let values: Values<'_> = &[&tenant, &id.namespace.as_str(), &id.key, &now.as_micros()];
        self.pool.query(sql::ITEM, values).await?.first().map(item).transpose()
    }

    async fn search(
        &self,
        tenant: &str,
        search: &Search,
        now: Timestamp,
    ) -> Result<Vec<Hit>, Error> {
        let (begin, end, now) = (search.prefix.as_str(), search.prefix.end(), now.as_micros());
        if search.is_plain() {
            let (offset, limit) = (signed(search.span.offset()), signed(search.span.limit()));
            return self.plain(&[&tenant, &begin, &end, &now, &offset, &limit]).await;
        }
        let mut hits = Hits::new(search);
        let mut last = (begin.to_owned(), String::new());
        let limit = signed(ITEMS_AT_ONCE);
        loop {
            let (namespace, key) = &last;
            let values: Values<'_> = &[&tenant, &end, &now, namespace, key, &limit];
            let rows = self.pool.query(sql::AFTER, values).await?;
            for row in &rows {
                hits.offer(item(row)?);
            }
            match rows.last() {
                Some(row) if rows.len() == ITEMS_AT_ONCE => last = (row.get(0), row.get(1)),
                Some(_) | None => return Ok(hits.finish()),
            }
        }
    }

    async fn namespaces(
        &self,
        tenant: &str,
        wanted: &Namespaces,
        now: Timestamp,
    ) -> Result<Vec<Namespace>, Error> {
        let within = wanted.within();
        let (begin, end, now) = (within.as_str(), within.end(), now.as_micros());
        let mut outline = Outline::new(wanted);
        let (mut last, limit) = (String::new(), signed(NAMESPACES_AT_ONCE));
        loop {
            let values: Values<'_> = &[&tenant, &begin, &end, &now, &last, &limit];
            let rows = self.pool.query(sql::NAMESPACES, values).await?;
            for row in &rows {
                if outline.offer(&namespace(row)?).is_break() {
                    return Ok(outline.finish());
                }
            }
            match rows.last() {
                Some(row) if rows.len() == NAMESPACES_AT_ONCE => last = row.get(0),
                Some(_) | None => return Ok(outline.finish()),
            }
        }
    }

    async fn refresh(&self, tenant: &str, ids: &[Id], now: Timestamp) -> Result<u64, Error> {
        let ids = || ids.iter().filter(|id| id.is_possible());
        let namespaces: Vec<&str> = ids().map(|id| id.namespace.as_str()).collect();
        let keys: Vec<&str> = ids().map(|id| id.key.as_str()).collect();
        let values: Values<'_> = &[&tenant, &namespaces, &keys, &now.as_micros()];
        self.pool.count(sql::REFRESH, values).await
    }

    async fn sweep(&self, now: Timestamp, max: usize) -> Result<u64, Error> {
        self.pool.count(sql::SWEEP, &[&now.as_micros(), &signed(max)]).await
    }
}
