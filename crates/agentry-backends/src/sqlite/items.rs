//! Items.

use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::items::{
    Batch, Hit, Hits, Id, Index, Item, Items, Namespace, Namespaces, Outline, Search,
};
use agentry_core::store::Error;
use async_trait::async_trait;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Result, Row, params};

use super::command::{Command, Outcome};
use super::read::{moment, optional_moment, parse};
use super::{SqliteStore, limit, mismatch};

#[derive(Debug)]
pub(super) enum Shelving {
    Write { tenant: String, batch: Batch, now: Timestamp },
    Refresh { tenant: String, ids: Vec<Id>, now: Timestamp },
    Sweep { now: Timestamp, max: usize },
}

impl Shelving {
    /// Roughly what it adds to a transaction.
    pub(super) fn bytes(&self) -> usize {
        const ROW: usize = 256;
        match self {
            Self::Write { batch, .. } => {
                let values = batch.iter().map(|(_, checked)| checked.map_or(0, |it| it.json.len()));
                values.map(|value| ROW + value).sum()
            }
            Self::Refresh { ids, .. } => ROW * ids.len(),
            Self::Sweep { now: _, max } => ROW * max,
        }
    }

    /// How many rows are not what they were.
    pub(super) fn apply(&self, connection: &Connection) -> Result<u64> {
        match self {
            Self::Write { tenant, batch, now } => write(connection, (tenant, batch), *now),
            Self::Refresh { tenant, ids, now } => refresh(connection, (tenant, ids), *now),
            Self::Sweep { now, max } => {
                let swept = connection
                    .prepare_cached(
                        "DELETE FROM items WHERE item IN (
                           SELECT item FROM items WHERE expires <= ?1 ORDER BY expires LIMIT ?2)",
                    )?
                    .execute(params![now.as_micros(), limit(*max)])?;
                Ok(swept as u64)
            }
        }
    }
}

fn write(connection: &Connection, (tenant, batch): (&str, &Batch), now: Timestamp) -> Result<u64> {
    let mut put = connection.prepare_cached(
        "INSERT INTO items (tenant, namespace, key, value, fields, created, updated, ttl, expires)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8)
         ON CONFLICT (tenant, namespace, key) DO UPDATE SET value = excluded.value,
           fields = excluded.fields, updated = excluded.updated, ttl = excluded.ttl,
           created = CASE WHEN expires <= ?6 THEN ?6 ELSE created END, expires = excluded.expires",
    )?;
    let mut delete = connection
        .prepare_cached("DELETE FROM items WHERE tenant = ?1 AND namespace = ?2 AND key = ?3")?;
    let mut changed = 0;
    for (id, checked) in batch.iter() {
        let namespace = id.namespace.as_str();
        changed += match checked {
            None => delete.execute(params![tenant, namespace, id.key])?,
            Some(checked) => put.execute(params![
                tenant,
                namespace,
                id.key,
                checked.json,
                checked.fields,
                now.as_micros(),
                checked.ttl.map(micros),
                checked.ttl.map(|ttl| now.plus(ttl).as_micros())
            ])?,
        };
    }
    Ok(changed as u64)
}

fn refresh(connection: &Connection, (tenant, ids): (&str, &[Id]), now: Timestamp) -> Result<u64> {
    let mut refresh = connection.prepare_cached(
        "UPDATE items SET expires = max(expires, ?4 + ttl)
         WHERE tenant = ?1 AND namespace = ?2 AND key = ?3 AND expires > ?4",
    )?;
    let mut refreshed = 0;
    for Id { namespace, key } in ids {
        let values = params![tenant, namespace.as_str(), key, now.as_micros()];
        refreshed += refresh.execute(values)?;
    }
    Ok(refreshed as u64)
}

/// Bounded, so it fits.
fn micros(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX)
}

fn unreadable(problem: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(problem))
}

fn namespace(row: &Row<'_>, column: usize) -> Result<Namespace> {
    Namespace::read(row.get_ref(column)?.as_str()?).map_err(unreadable)
}

fn item(row: &Row<'_>) -> Result<Item> {
    let ttl: Option<i64> = row.get(6)?;
    Ok(Item {
        id: Id { namespace: namespace(row, 0)?, key: row.get(1)? },
        value: parse(row, 2)?,
        index: Index::read(row.get_ref(3)?.as_str_or_null()?).map_err(unreadable)?,
        created: moment(row, 4)?,
        updated: moment(row, 5)?,
        ttl: ttl.map(|ttl| Duration::from_micros(ttl.unsigned_abs())),
        expires: optional_moment(row, 7)?,
    })
}

const ITEM: &str = "
SELECT namespace, key, value, fields, created, updated, ttl, expires FROM items
WHERE tenant = ?1 AND namespace = ?2 AND key = ?3 AND (expires IS NULL OR expires > ?4)";

const WITHIN: &str = "
SELECT namespace, key, value, fields, created, updated, ttl, expires FROM items
WHERE tenant = ?1 AND namespace >= ?2 AND namespace < ?3 AND (expires IS NULL OR expires > ?4)";

const PLAIN: &str = "
SELECT namespace, key, value, fields, created, updated, ttl, expires FROM items
WHERE tenant = ?1 AND namespace >= ?2 AND namespace < ?3 AND (expires IS NULL OR expires > ?4)
ORDER BY updated DESC, namespace, key LIMIT ?5 OFFSET ?6";

const NAMESPACES: &str = "
SELECT DISTINCT namespace FROM items
WHERE tenant = ?1 AND namespace >= ?2 AND namespace < ?3 AND (expires IS NULL OR expires > ?4)
ORDER BY namespace";

fn search(
    connection: &Connection,
    (tenant, search): (&str, &Search),
    now: Timestamp,
) -> Result<Vec<Hit>> {
    let (begin, end, now) = (search.prefix.as_str(), search.prefix.end(), now.as_micros());
    if search.is_plain() {
        let mut find = connection.prepare_cached(PLAIN)?;
        let (count, offset) = (limit(search.span.limit()), limit(search.span.offset()));
        let found = find.query_map(params![tenant, begin, end, now, count, offset], item)?;
        return found.map(|item| Ok(Hit { item: item?, score: None })).collect();
    }
    let mut find = connection.prepare_cached(WITHIN)?;
    let mut hits = Hits::new(search);
    for item in find.query_map(params![tenant, begin, end, now], item)? {
        hits.offer(item?);
    }
    Ok(hits.finish())
}

fn namespaces(
    connection: &Connection,
    (tenant, wanted): (&str, &Namespaces),
    now: Timestamp,
) -> Result<Vec<Namespace>> {
    let within = wanted.within();
    let mut find = connection.prepare_cached(NAMESPACES)?;
    let values = params![tenant, within.as_str(), within.end(), now.as_micros()];
    let mut outline = Outline::new(wanted);
    for found in find.query_map(values, |row| namespace(row, 0))? {
        if outline.offer(&found?).is_break() {
            break;
        }
    }
    Ok(outline.finish())
}

impl SqliteStore {
    async fn shelve(&self, shelving: Shelving) -> std::result::Result<u64, Error> {
        let Outcome::Shelved(changed) = self.call(Command::Shelving(shelving)).await? else {
            return Err(mismatch());
        };
        Ok(changed)
    }
}

#[async_trait]
impl Items for SqliteStore {
    async fn write(
        &self,
        tenant: &str,
        batch: Batch,
        now: Timestamp,
    ) -> std::result::Result<(), Error> {
        self.shelve(Shelving::Write { tenant: tenant.to_owned(), batch, now }).await.map(drop)
    }

    async fn item(
        &self,
        tenant: &str,
        id: &Id,
        now: Timestamp,
    ) -> std::result::Result<Option<Item>, Error> {
        let (tenant, id) = (tenant.to_owned(), id.clone());
        let ask = move |connection: &Connection| {
            let values = params![tenant, id.namespace.as_str(), id.key, now.as_micros()];
            connection.prepare_cached(ITEM)?.query_row(values, item).optional()
        };
        self.readers.ask(ask).await
    }

    async fn search(
        &self,
        tenant: &str,
        search: &Search,
        now: Timestamp,
    ) -> std::result::Result<Vec<Hit>, Error> {
        let (tenant, wanted) = (tenant.to_owned(), search.clone());
        self.readers.ask(move |connection| self::search(connection, (&tenant, &wanted), now)).await
    }

    async fn namespaces(
        &self,
        tenant: &str,
        wanted: &Namespaces,
        now: Timestamp,
    ) -> std::result::Result<Vec<Namespace>, Error> {
        let (tenant, wanted) = (tenant.to_owned(), wanted.clone());
        let ask = move |connection: &Connection| namespaces(connection, (&tenant, &wanted), now);
        self.readers.ask(ask).await
    }

    async fn refresh(
        &self,
        tenant: &str,
        ids: &[Id],
        now: Timestamp,
    ) -> std::result::Result<u64, Error> {
        let (tenant, ids) = (tenant.to_owned(), ids.to_vec());
        self.shelve(Shelving::Refresh { tenant, ids, now }).await
    }

    async fn sweep(&self, now: Timestamp, max: usize) -> std::result::Result<u64, Error> {
        self.shelve(Shelving::Sweep { now, max }).await
    }
}
