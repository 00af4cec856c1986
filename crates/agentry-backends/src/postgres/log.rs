//! Records of topics, and the audit log.

use agentry_core::audit;
use agentry_core::store::{Error, Log, Record};
use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;

const RECORDS: &str = "
SELECT number, topic, key, payload FROM records
WHERE topic = $1 AND number > $2 ORDER BY number LIMIT $3";

const RECORDS_OF_KEY: &str = "
SELECT number, topic, key, payload FROM records
WHERE topic = $1 AND key = $4 AND number > $2 ORDER BY number LIMIT $3";

const TAIL: &str = "
SELECT number, topic, key, payload FROM records
WHERE topic = $1 AND number < $2 ORDER BY number DESC LIMIT $3";

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn record(row: &Row) -> Result<Record, Error> {
    let payload = serde_json::from_str(row.get(3));
    Ok(Record {
        offset: row.get::<_, i64>(0).unsigned_abs(),
        topic: row.get(1),
        key: row.get(2),
        payload: payload.map_err(|problem| Error::Incompatible(format!("records: {problem}")))?,
    })
}

#[async_trait]
impl Log for PostgresStore {
    async fn records(
        &self,
        topic: &str,
        key: Option<&str>,
        after: u64,
        max: usize,
    ) -> Result<Vec<Record>, Error> {
        let (after, max) = (signed(after), signed(max as u64));
        let rows = match key {
            None => self.pool.query(RECORDS, &[&topic, &after, &max]).await?,
            Some(key) => self.pool.query(RECORDS_OF_KEY, &[&topic, &after, &max, &key]).await?,
        };
        rows.iter().map(record).collect()
    }

    async fn tail(
        &self,
        topic: &str,
        before: Option<u64>,
        max: usize,
    ) -> Result<Vec<Record>, Error> {
        let (before, max) = (before.map_or(i64::MAX, signed), signed(max as u64));
        let rows = self.pool.query(TAIL, &[&topic, &before, &max]).await?;
        rows.iter().map(record).collect()
    }

    async fn audit(&self, after: u64, max: usize) -> Result<Vec<audit::Record>, Error> {
        self.audit_records(after, max).await
    }
}
