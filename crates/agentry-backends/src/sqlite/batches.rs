//! Batches, their items and their files.

use agentry_core::Timestamp;
use agentry_core::batches::{
    Answer, Batch, Batches, Claim, Claimed, Dropped, File, ItemResult, Lease, NewBatch, Owner,
    Page, Waiting,
};
use agentry_core::keys::StoredTerms;
use agentry_core::store::Error;
use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Result, Row, params};

use super::command::{Command, Outcome, json, signed};
use super::read::unsigned;
use super::{SqliteStore, limit, mismatch};

use rows::{BATCH, BATCHES, FILE, FILES, RESULTS, WAITING, batch, blob, file, owner, result};

mod rows;

#[derive(Debug)]
pub(super) enum Batching {
    /// Terms and metadata are written as JSON already.
    Create {
        batch: Box<NewBatch>,
        terms: String,
        metadata: String,
    },
    Cancel {
        tenant: String,
        id: String,
        now: Timestamp,
    },
    Claim(Claim),
    Renew {
        holder: String,
        lease_until: Timestamp,
    },
    Release {
        holder: String,
    },
    Finish {
        lease: Lease,
        answer: Answer,
        now: Timestamp,
    },
    PutBack {
        lease: Lease,
        tries: u32,
    },
    Sweep {
        now: Timestamp,
    },
    PutFile {
        file: File,
        content: Bytes,
    },
    DeleteFile {
        tenant: String,
        id: String,
    },
    ForgetExpired {
        now: Timestamp,
    },
    ForgetUser {
        tenant: String,
        user: String,
    },
}

/// One kind for each kind of command.
#[derive(Debug)]
pub(super) enum Batched {
    Changed(u64),
    Claimed(Option<Box<Claimed>>),
}

impl Batching {
    /// Roughly what it adds to a transaction.
    pub(super) fn bytes(&self) -> usize {
        const ROW: usize = 256;
        match self {
            Self::Create { batch, terms: _, metadata } => {
                let items = batch.items.iter().map(|item| ROW + item.body.len());
                ROW + metadata.len() + items.sum::<usize>()
            }
            Self::Finish { answer, .. } => ROW + answer.body.len(),
            Self::PutFile { file: _, content } => ROW + content.len(),
            Self::Cancel { .. }
            | Self::Claim(_)
            | Self::Renew { .. }
            | Self::Release { .. }
            | Self::PutBack { .. }
            | Self::Sweep { .. }
            | Self::DeleteFile { .. }
            | Self::ForgetExpired { .. }
            | Self::ForgetUser { .. } => ROW,
        }
    }

    pub(super) fn apply(&self, connection: &Connection) -> Result<Batched> {
        let changed = match self {
            Self::Claim(claim) => {
                let claimed = self::claim(connection, claim)?;
                return Ok(Batched::Claimed(claimed.map(Box::new)));
            }
            Self::Create { batch, terms, metadata } => {
                create(connection, batch, (terms, metadata)).map(|()| 1)
            }
            Self::Cancel { tenant, id, now } => cancel(connection, (tenant, id), *now),
            Self::Renew { holder, lease_until } => execute(
                connection,
                "UPDATE batch_items SET lease_until = ?2 WHERE holder = ?1 AND state = 1",
                params![holder, lease_until.as_micros()],
            ),
            Self::Release { holder } => execute(
                connection,
                "UPDATE batch_items SET state = 0, holder = NULL, lease_until = NULL
                 WHERE holder = ?1 AND state = 1",
                [holder],
            ),
            Self::Finish { lease, answer, now } => finish(connection, lease, (answer, *now)),
            Self::PutBack { lease, tries } => execute(
                connection,
                "UPDATE batch_items SET state = 0, holder = NULL, lease_until = NULL, tries = ?4
                 WHERE batch = (SELECT batch FROM batches WHERE id = ?1) AND number = ?2
                   AND claim = ?3 AND state = 1",
                params![lease.batch, signed(lease.number), lease.claim, tries],
            ),
            Self::Sweep { now } => sweep(connection, *now),
            Self::PutFile { file, content } => execute(
                connection,
                r#"INSERT INTO batch_files (id, tenant, "user", name, created, keep_until, content, bytes)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"#,
                params![
                    file.id,
                    file.tenant,
                    file.user,
                    file.name,
                    file.created.as_micros(),
                    file.keep_until.as_micros(),
                    content.as_ref(),
                    i64::try_from(file.bytes).unwrap_or(i64::MAX)
                ],
            ),
            Self::DeleteFile { tenant, id } => execute(
                connection,
                "DELETE FROM batch_files WHERE tenant = ?1 AND id = ?2",
                params![tenant, id],
            ),
            Self::ForgetExpired { now } => forget_expired(connection, *now),
            Self::ForgetUser { tenant, user } => forget_user(connection, tenant, user),
        };
        changed.map(Batched::Changed)
    }
}

fn execute(connection: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<u64> {
    connection.prepare_cached(sql)?.execute(values).map(|changed| changed as u64)
}

fn create(
    connection: &Connection,
    batch: &NewBatch,
    (terms, metadata): (&str, &str),
) -> Result<()> {
    let Owner { tenant, key_id, name, team, user, terms: _ } = &batch.owner;
    let finished = batch.items.is_empty().then_some(batch.created.as_micros());
    execute(
        connection,
        r#"INSERT INTO batches (id, tenant, key_id, name, team, "user", terms, endpoint, input_file,
             metadata, created, expires, keep_until, finished, total)
           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"#,
        params![
            batch.id,
            tenant,
            key_id,
            name,
            team,
            user,
            terms,
            batch.endpoint,
            batch.input_file,
            metadata,
            batch.created.as_micros(),
            batch.expires.as_micros(),
            batch.keep_until.as_micros(),
            finished,
            signed(batch.items.len() as u64)
        ],
    )?;
    let row = connection.last_insert_rowid();
    let mut insert = connection.prepare_cached(
        "INSERT INTO batch_items (batch, number, custom_id, url, body) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for (number, item) in (0_i64..).zip(&batch.items) {
        insert.execute(params![row, number, item.custom_id, item.url, item.body.as_ref()])?;
    }
    Ok(())
}

fn claim(connection: &Connection, claim: &Claim) -> Result<Option<Claimed>> {
    let Claim { batch, holder, now, lease_until } = claim;
    let found = connection
        .prepare_cached(
            r#"SELECT batch, tenant, key_id, name, team, "user", terms FROM batches
               WHERE id = ?1 AND finished IS NULL AND cancelled IS NULL AND expires > ?2"#,
        )?
        .query_row(params![batch, now.as_micros()], |row| {
            Ok((row.get::<_, i64>(0)?, owner(row, 1)?))
        })
        .optional()?;
    let Some((row, owner)) = found else { return Ok(None) };
    connection
        .prepare_cached(
            "UPDATE batch_items SET state = 1, holder = ?2, lease_until = ?4, claim = claim + 1
             WHERE batch = ?1 AND number = (
               SELECT number FROM batch_items
               WHERE batch = ?1 AND state < 2 AND (state = 0 OR lease_until <= ?3)
               ORDER BY number LIMIT 1)
             RETURNING number, claim, url, body, tries",
        )?
        .query_row(params![row, holder, now.as_micros(), lease_until.as_micros()], |row| {
            Ok(Claimed {
                lease: Lease {
                    batch: batch.clone(),
                    number: unsigned(row, 0)?,
                    claim: row.get(1)?,
                },
                owner,
                url: row.get(2)?,
                body: blob(row, 3)?,
                tries: row.get(4)?,
            })
        })
        .optional()
}

fn finish(
    connection: &Connection,
    lease: &Lease,
    (answer, now): (&Answer, Timestamp),
) -> Result<u64> {
    let row = connection
        .prepare_cached(
            "UPDATE batch_items SET state = 2, holder = NULL, lease_until = NULL, body = x'',
               status = ?4, answer = ?5
             WHERE batch = (SELECT batch FROM batches WHERE id = ?1) AND number = ?2
               AND claim = ?3 AND state = 1 RETURNING batch",
        )?
        .query_row(
            params![
                lease.batch,
                signed(lease.number),
                lease.claim,
                answer.status,
                answer.body.as_ref()
            ],
            |row| row.get::<_, i64>(0),
        )
        .optional()?;
    let Some(row) = row else { return Ok(0) };
    let good = i64::from(answer.is_good());
    execute(
        connection,
        "UPDATE batches SET completed = completed + ?2, failed = failed + (1 - ?2) WHERE batch = ?1",
        params![row, good],
    )?;
    close(connection, row, now)?;
    Ok(1)
}

/// It is finished when all of its items are over.
fn close(connection: &Connection, row: i64, now: Timestamp) -> Result<u64> {
    execute(
        connection,
        "UPDATE batches SET finished = ?2
         WHERE batch = ?1 AND finished IS NULL AND completed + failed + dropped = total",
        params![row, now.as_micros()],
    )
}

/// Drops what nobody holds.
fn drop_free(connection: &Connection, row: i64, (why, now): (Dropped, Timestamp)) -> Result<u64> {
    let dropped = execute(
        connection,
        "UPDATE batch_items SET state = 2, holder = NULL, lease_until = NULL, body = x'', dropped = ?3
         WHERE batch = ?1 AND state < 2 AND (state = 0 OR lease_until <= ?2)",
        params![row, now.as_micros(), why.as_str()],
    )?;
    execute(
        connection,
        "UPDATE batches SET dropped = dropped + ?2 WHERE batch = ?1",
        params![row, signed(dropped)],
    )?;
    close(connection, row, now)?;
    Ok(dropped)
}

fn cancel(connection: &Connection, (tenant, id): (&str, &str), now: Timestamp) -> Result<u64> {
    let found = connection
        .prepare_cached(
            "SELECT batch, finished IS NULL FROM batches WHERE tenant = ?1 AND id = ?2",
        )?
        .query_row([tenant, id], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?)))
        .optional()?;
    let Some((row, open)) = found else { return Ok(0) };
    if open {
        execute(
            connection,
            "UPDATE batches SET cancelled = coalesce(cancelled, ?2) WHERE batch = ?1",
            params![row, now.as_micros()],
        )?;
        drop_free(connection, row, (Dropped::Cancelled, now))?;
    }
    Ok(1)
}

fn sweep(connection: &Connection, now: Timestamp) -> Result<u64> {
    let mut find = connection.prepare_cached(
        "SELECT batch, cancelled IS NOT NULL FROM batches
         WHERE finished IS NULL AND (cancelled IS NOT NULL OR expires <= ?1)",
    )?;
    let open = find.query_map([now.as_micros()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut dropped = 0;
    for open in open.collect::<Result<Vec<(i64, bool)>>>()? {
        let (row, is_cancelled) = open;
        let why = if is_cancelled { Dropped::Cancelled } else { Dropped::Expired };
        dropped += drop_free(connection, row, (why, now))?;
    }
    Ok(dropped)
}

fn forget_expired(connection: &Connection, now: Timestamp) -> Result<u64> {
    let now = now.as_micros();
    execute(
        connection,
        "DELETE FROM batch_items WHERE batch IN (SELECT batch FROM batches WHERE keep_until <= ?1)",
        [now],
    )?;
    let batches = execute(connection, "DELETE FROM batches WHERE keep_until <= ?1", [now])?;
    let files = execute(connection, "DELETE FROM batch_files WHERE keep_until <= ?1", [now])?;
    Ok(batches + files)
}

fn forget_user(connection: &Connection, tenant: &str, user: &str) -> Result<u64> {
    execute(
        connection,
        r#"DELETE FROM batch_items WHERE batch IN (
             SELECT batch FROM batches WHERE tenant = ?1 AND "user" = ?2)"#,
        [tenant, user],
    )?;
    let batches = execute(
        connection,
        r#"DELETE FROM batches WHERE tenant = ?1 AND "user" = ?2"#,
        [tenant, user],
    )?;
    let files = execute(
        connection,
        r#"DELETE FROM batch_files WHERE tenant = ?1 AND "user" = ?2"#,
        [tenant, user],
    )?;
    Ok(batches + files)
}

impl SqliteStore {
    async fn batched(&self, batching: Batching) -> std::result::Result<Batched, Error> {
        let Outcome::Batched(batched) = self.call(Command::Batching(batching)).await? else {
            return Err(mismatch());
        };
        Ok(batched)
    }

    async fn batch_changes(&self, batching: Batching) -> std::result::Result<u64, Error> {
        let Batched::Changed(changed) = self.batched(batching).await? else {
            return Err(mismatch());
        };
        Ok(changed)
    }

    /// The only row of a tenant's that has the id.
    async fn one<T: Send + 'static>(
        &self,
        sql: &'static str,
        (tenant, id): (&str, &str),
        read: fn(&Row<'_>) -> Result<T>,
    ) -> std::result::Result<Option<T>, Error> {
        let names = [tenant.to_owned(), id.to_owned()];
        let ask = move |connection: &Connection| {
            connection.prepare_cached(sql)?.query_row(names, read).optional()
        };
        self.readers.ask(ask).await
    }

    async fn page<T: Send + 'static>(
        &self,
        sql: &'static str,
        page: Page,
        read: fn(&Row<'_>) -> Result<T>,
    ) -> std::result::Result<Vec<T>, Error> {
        let ask = move |connection: &Connection| {
            let Page { tenant, before, max } = page;
            let mut find = connection.prepare_cached(sql)?;
            find.query_map(params![tenant, before, limit(max)], read)?.collect()
        };
        self.readers.ask(ask).await
    }
}

#[async_trait]
impl Batches for SqliteStore {
    async fn create(&self, batch: NewBatch) -> std::result::Result<(), Error> {
        let terms = json(&StoredTerms::V1(batch.owner.terms.clone()))?;
        let metadata = json(&batch.metadata)?;
        let create = Batching::Create { batch: Box::new(batch), terms, metadata };
        self.batch_changes(create).await.map(drop)
    }

    async fn batch(&self, tenant: &str, id: &str) -> std::result::Result<Option<Batch>, Error> {
        self.one(BATCH, (tenant, id), batch).await
    }

    async fn batches(&self, page: Page) -> std::result::Result<Vec<Batch>, Error> {
        self.page(BATCHES, page, batch).await
    }

    async fn results(
        &self,
        (tenant, id): (&str, &str),
        from: u64,
        max: usize,
    ) -> std::result::Result<Vec<ItemResult>, Error> {
        let (tenant, id) = (tenant.to_owned(), id.to_owned());
        let ask = move |connection: &Connection| {
            let mut find = connection.prepare_cached(RESULTS)?;
            find.query_map(params![tenant, id, signed(from), limit(max)], result)?.collect()
        };
        self.readers.ask(ask).await
    }

    async fn cancel(
        &self,
        tenant: &str,
        id: &str,
        now: Timestamp,
    ) -> std::result::Result<bool, Error> {
        let cancel = Batching::Cancel { tenant: tenant.to_owned(), id: id.to_owned(), now };
        Ok(self.batch_changes(cancel).await? > 0)
    }

    async fn waiting(
        &self,
        now: Timestamp,
        of_each: usize,
    ) -> std::result::Result<Vec<Waiting>, Error> {
        let ask = move |connection: &Connection| {
            let mut find = connection.prepare_cached(WAITING)?;
            let waiting = find.query_map(params![now.as_micros(), limit(of_each)], |row| {
                Ok(Waiting { batch: row.get(0)?, tenant: row.get(1)? })
            })?;
            waiting.collect()
        };
        self.readers.ask(ask).await
    }

    async fn claim(&self, claim: Claim) -> std::result::Result<Option<Claimed>, Error> {
        let Batched::Claimed(claimed) = self.batched(Batching::Claim(claim)).await? else {
            return Err(mismatch());
        };
        Ok(claimed.map(|claimed| *claimed))
    }

    async fn renew(&self, holder: &str, lease_until: Timestamp) -> std::result::Result<(), Error> {
        let renew = Batching::Renew { holder: holder.to_owned(), lease_until };
        self.batch_changes(renew).await.map(drop)
    }

    async fn release(&self, holder: &str) -> std::result::Result<u64, Error> {
        self.batch_changes(Batching::Release { holder: holder.to_owned() }).await
    }

    async fn finish(
        &self,
        lease: &Lease,
        answer: Answer,
        now: Timestamp,
    ) -> std::result::Result<bool, Error> {
        let finish = Batching::Finish { lease: lease.clone(), answer, now };
        Ok(self.batch_changes(finish).await? > 0)
    }

    async fn put_back(&self, lease: &Lease, tries: u32) -> std::result::Result<(), Error> {
        let put_back = Batching::PutBack { lease: lease.clone(), tries };
        self.batch_changes(put_back).await.map(drop)
    }

    async fn sweep(&self, now: Timestamp) -> std::result::Result<u64, Error> {
        self.batch_changes(Batching::Sweep { now }).await
    }

    async fn put_file(&self, file: File, content: Bytes) -> std::result::Result<(), Error> {
        self.batch_changes(Batching::PutFile { file, content }).await.map(drop)
    }

    async fn file(&self, tenant: &str, id: &str) -> std::result::Result<Option<File>, Error> {
        self.one(FILE, (tenant, id), file).await
    }

    async fn files(&self, page: Page) -> std::result::Result<Vec<File>, Error> {
        self.page(FILES, page, file).await
    }

    async fn content(&self, tenant: &str, id: &str) -> std::result::Result<Option<Bytes>, Error> {
        let sql = "SELECT content FROM batch_files WHERE tenant = ?1 AND id = ?2";
        self.one(sql, (tenant, id), |row| blob(row, 0)).await
    }

    async fn delete_file(&self, tenant: &str, id: &str) -> std::result::Result<bool, Error> {
        let delete = Batching::DeleteFile { tenant: tenant.to_owned(), id: id.to_owned() };
        Ok(self.batch_changes(delete).await? > 0)
    }

    async fn forget_expired(&self, now: Timestamp) -> std::result::Result<u64, Error> {
        self.batch_changes(Batching::ForgetExpired { now }).await
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> std::result::Result<u64, Error> {
        let forget = Batching::ForgetUser { tenant: tenant.to_owned(), user: user.to_owned() };
        self.batch_changes(forget).await
    }
}
