//! Batches, their items and their files.

use agentry_core::Timestamp;
use agentry_core::batches::{
    Answer, Batch, Batches, Claim, Claimed, Counts, Dropped, File, ItemResult, Lease, NewBatch,
    Owner, Page, Waiting,
};
use agentry_core::keys::StoredTerms;
use agentry_core::store::Error;
use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use tokio_postgres::Row;

use super::pool::Values;
use super::{PostgresStore, migrate};

mod sql;

pub(super) const MIGRATIONS: migrate::List = migrate::List {
    name: "batches",
    steps: &[include_str!("batches/1.sql"), include_str!("batches/2.sql")],
};

fn json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|problem| Error::Refused(problem.to_string()))
}

fn incompatible(problem: &serde_json::Error) -> Error {
    Error::Incompatible(format!("batches: {problem}"))
}

/// Numbers here grow by one and never get there.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(row: &Row, column: usize) -> u64 {
    u64::try_from(row.get::<_, i64>(column)).unwrap_or(0)
}

fn moment(row: &Row, column: usize) -> Timestamp {
    Timestamp::from_micros(row.get(column))
}

fn optional_moment(row: &Row, column: usize) -> Option<Timestamp> {
    row.get::<_, Option<i64>>(column).map(Timestamp::from_micros)
}

fn blob(row: &Row, column: usize) -> Bytes {
    row.get::<_, Vec<u8>>(column).into()
}

/// The columns from 1 to 6.
fn owner(row: &Row) -> Result<Owner, Error> {
    let terms: StoredTerms =
        serde_json::from_str(row.get(6)).map_err(|problem| incompatible(&problem))?;
    Ok(Owner {
        tenant: row.get(1),
        key_id: row.get(2),
        name: row.get(3),
        team: row.get(4),
        user: row.get(5),
        terms: terms.into(),
    })
}

fn batch(row: &Row) -> Result<Batch, Error> {
    Ok(Batch {
        id: row.get(0),
        owner: owner(row)?,
        endpoint: row.get(7),
        input_file: row.get(8),
        metadata: serde_json::from_str(row.get(9)).map_err(|problem| incompatible(&problem))?,
        created: moment(row, 10),
        expires: moment(row, 11),
        keep_until: moment(row, 12),
        cancelled: optional_moment(row, 13),
        finished: optional_moment(row, 14),
        counts: Counts {
            total: unsigned(row, 15),
            completed: unsigned(row, 16),
            failed: unsigned(row, 17),
            dropped: unsigned(row, 18),
        },
    })
}

fn result(row: &Row) -> ItemResult {
    let outcome = match row.get::<_, Option<i32>>(2) {
        Some(status) => {
            Ok(Answer { status: u16::try_from(status).unwrap_or(500), body: blob(row, 3) })
        }
        None if row.get::<_, &str>(4) == Dropped::Cancelled.as_str() => Err(Dropped::Cancelled),
        None => Err(Dropped::Expired),
    };
    ItemResult { number: unsigned(row, 0), custom_id: row.get(1), outcome }
}

fn file(row: &Row) -> File {
    File {
        id: row.get(0),
        tenant: row.get(1),
        user: row.get(2),
        name: row.get(3),
        bytes: unsigned(row, 4),
        created: moment(row, 5),
        keep_until: moment(row, 6),
    }
}

#[async_trait]
impl Batches for PostgresStore {
    async fn create(&self, batch: NewBatch) -> Result<(), Error> {
        let terms = json(&StoredTerms::V1(batch.owner.terms.clone()))?;
        let metadata = json(&batch.metadata)?;
        let Owner { tenant, key_id, name, team, user, terms: _ } = &batch.owner;
        let created = batch.created.as_micros();
        let (expires, keep_until) = (batch.expires.as_micros(), batch.keep_until.as_micros());
        let finished = batch.items.is_empty().then_some(created);
        let total = signed(batch.items.len() as u64);
        let ids: Vec<&str> = batch.items.iter().map(|item| item.custom_id.as_str()).collect();
        let urls: Vec<&str> = batch.items.iter().map(|item| item.url.as_str()).collect();
        let bodies: Vec<&[u8]> = batch.items.iter().map(|item| item.body.as_ref()).collect();
        let NewBatch { id, endpoint, input_file, .. } = &batch;
        let values: Values<'_> = &[
            id,
            tenant,
            key_id,
            name,
            team,
            user,
            &terms,
            endpoint,
            input_file,
            &metadata,
            &created,
            &expires,
            &keep_until,
            &finished,
            &total,
            &ids,
            &urls,
            &bodies,
        ];
        self.pool.query(sql::CREATE, values).await.map(drop)
    }

    async fn batch(&self, tenant: &str, id: &str) -> Result<Option<Batch>, Error> {
        self.pool.query(sql::BATCH, &[&tenant, &id]).await?.first().map(batch).transpose()
    }

    async fn batches(&self, page: Page) -> Result<Vec<Batch>, Error> {
        let Page { tenant, before, max } = page;
        let max = signed(max as u64);
        let rows = self.pool.query(sql::BATCHES, &[&tenant, &before, &max]).await?;
        rows.iter().map(batch).collect()
    }

    async fn results(
        &self,
        (tenant, id): (&str, &str),
        from: u64,
        max: usize,
    ) -> Result<Vec<ItemResult>, Error> {
        let (from, max) = (signed(from), signed(max as u64));
        let rows = self.pool.query(sql::RESULTS, &[&tenant, &id, &from, &max]).await?;
        Ok(rows.iter().map(result).collect())
    }

    async fn cancel(&self, tenant: &str, id: &str, now: Timestamp) -> Result<bool, Error> {
        let known = self.pool.count(sql::CANCEL, &[&tenant, &id, &now.as_micros()]).await?;
        Ok(known > 0)
    }

    async fn waiting(&self, now: Timestamp, of_each: usize) -> Result<Vec<Waiting>, Error> {
        let values: Values<'_> = &[&now.as_micros(), &signed(of_each as u64)];
        let rows = self.pool.query(sql::WAITING, values).await?;
        let waiting = |row: &Row| Waiting { batch: row.get(0), tenant: row.get(1) };
        Ok(rows.iter().map(waiting).collect())
    }

    async fn claim(&self, claim: Claim) -> Result<Option<Claimed>, Error> {
        let Claim { batch, holder, now, lease_until } = claim;
        let (now, lease_until) = (now.as_micros(), lease_until.as_micros());
        let values: Values<'_> = &[&batch, &holder, &now, &lease_until];
        let rows = self.pool.query(sql::CLAIM, values).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Claimed {
            owner: owner(row)?,
            lease: Lease { batch, number: unsigned(row, 0), claim: row.get(7) },
            url: row.get(8),
            body: blob(row, 9),
            tries: u32::try_from(row.get::<_, i32>(10)).unwrap_or(0),
        }))
    }

    async fn renew(&self, holder: &str, lease_until: Timestamp) -> Result<(), Error> {
        self.pool.query(sql::RENEW, &[&holder, &lease_until.as_micros()]).await.map(drop)
    }

    async fn release(&self, holder: &str) -> Result<u64, Error> {
        self.pool.count(sql::RELEASE, &[&holder]).await
    }

    async fn finish(&self, lease: &Lease, answer: Answer, now: Timestamp) -> Result<bool, Error> {
        let (number, status) = (signed(lease.number), i32::from(answer.status));
        let (good, body) = (i64::from(answer.is_good()), answer.body.as_ref());
        let now = now.as_micros();
        let values: Values<'_> =
            &[&lease.batch, &number, &lease.claim, &status, &body, &good, &now];
        Ok(!self.pool.query(sql::FINISH, values).await?.is_empty())
    }

    async fn put_back(&self, lease: &Lease, tries: u32) -> Result<(), Error> {
        let (number, tries) = (signed(lease.number), i32::try_from(tries).unwrap_or(i32::MAX));
        let values: Values<'_> = &[&lease.batch, &number, &lease.claim, &tries];
        self.pool.query(sql::PUT_BACK, values).await.map(drop)
    }

    async fn sweep(&self, now: Timestamp) -> Result<u64, Error> {
        self.pool.count(sql::SWEEP, &[&now.as_micros()]).await
    }

    async fn put_file(&self, file: File, content: Bytes) -> Result<(), Error> {
        let File { id, tenant, user, name, bytes, created, keep_until } = &file;
        let bytes = signed(*bytes);
        let (created, keep_until) = (created.as_micros(), keep_until.as_micros());
        let content = content.as_ref();
        let values: Values<'_> = &[id, tenant, user, name, &created, &keep_until, &content, &bytes];
        self.pool.query(sql::PUT_FILE, values).await.map(drop)
    }

    async fn file(&self, tenant: &str, id: &str) -> Result<Option<File>, Error> {
        Ok(self.pool.query(sql::FILE, &[&tenant, &id]).await?.first().map(file))
    }

    async fn files(&self, page: Page) -> Result<Vec<File>, Error> {
        let Page { tenant, before, max } = page;
        let max = signed(max as u64);
        let rows = self.pool.query(sql::FILES, &[&tenant, &before, &max]).await?;
        Ok(rows.iter().map(file).collect())
    }

    async fn content(&self, tenant: &str, id: &str) -> Result<Option<Bytes>, Error> {
        let rows = self.pool.query(sql::CONTENT, &[&tenant, &id]).await?;
        Ok(rows.first().map(|row| blob(row, 0)))
    }

    async fn delete_file(&self, tenant: &str, id: &str) -> Result<bool, Error> {
        Ok(!self.pool.query(sql::DELETE_FILE, &[&tenant, &id]).await?.is_empty())
    }

    async fn forget_expired(&self, now: Timestamp) -> Result<u64, Error> {
        self.pool.count(sql::FORGET_EXPIRED, &[&now.as_micros()]).await
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error> {
        self.pool.count(sql::FORGET_USER, &[&tenant, &user]).await
    }
}
