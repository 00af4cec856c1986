//! What is asked of the tables of batches, and how their rows read.

use agentry_core::batches::{Answer, Batch, Counts, Dropped, File, ItemResult, Owner};
use agentry_core::keys::StoredTerms;
use bytes::Bytes;
use rusqlite::{Result, Row};

use super::super::read::{moment, optional_moment, parse, unsigned};

/// The six columns from `first` on.
pub(super) fn owner(row: &Row<'_>, first: usize) -> Result<Owner> {
    Ok(Owner {
        tenant: row.get(first)?,
        key_id: row.get(first + 1)?,
        name: row.get(first + 2)?,
        team: row.get(first + 3)?,
        user: row.get(first + 4)?,
        terms: parse::<StoredTerms>(row, first + 5)?.into(),
    })
}

pub(super) fn blob(row: &Row<'_>, column: usize) -> Result<Bytes> {
    row.get::<_, Vec<u8>>(column).map(Bytes::from)
}

pub(super) const BATCH: &str = r#"
SELECT id, tenant, key_id, name, team, "user", terms, endpoint, input_file, metadata, created, expires,
  keep_until, cancelled, finished, total, completed, failed, dropped
FROM batches WHERE tenant = ?1 AND id = ?2"#;

pub(super) const BATCHES: &str = r#"
SELECT id, tenant, key_id, name, team, "user", terms, endpoint, input_file, metadata, created, expires,
  keep_until, cancelled, finished, total, completed, failed, dropped
FROM batches
WHERE tenant = ?1 AND (?2 IS NULL OR batch < (SELECT batch FROM batches WHERE tenant = ?1 AND id = ?2))
ORDER BY batch DESC LIMIT ?3"#;

pub(super) fn batch(row: &Row<'_>) -> Result<Batch> {
    Ok(Batch {
        id: row.get(0)?,
        owner: owner(row, 1)?,
        endpoint: row.get(7)?,
        input_file: row.get(8)?,
        metadata: parse(row, 9)?,
        created: moment(row, 10)?,
        expires: moment(row, 11)?,
        keep_until: moment(row, 12)?,
        cancelled: optional_moment(row, 13)?,
        finished: optional_moment(row, 14)?,
        counts: Counts {
            total: unsigned(row, 15)?,
            completed: unsigned(row, 16)?,
            failed: unsigned(row, 17)?,
            dropped: unsigned(row, 18)?,
        },
    })
}

pub(super) const RESULTS: &str = "
SELECT number, custom_id, status, answer, dropped FROM batch_items
WHERE batch = (SELECT batch FROM batches WHERE tenant = ?1 AND id = ?2) AND number >= ?3 AND state = 2
ORDER BY number LIMIT ?4";

pub(super) fn result(row: &Row<'_>) -> Result<ItemResult> {
    let outcome = match row.get::<_, Option<u16>>(2)? {
        Some(status) => Ok(Answer { status, body: blob(row, 3)? }),
        None if row.get_ref(4)?.as_str()? == Dropped::Cancelled.as_str() => Err(Dropped::Cancelled),
        None => Err(Dropped::Expired),
    };
    Ok(ItemResult { number: unsigned(row, 0)?, custom_id: row.get(1)?, outcome })
}

pub(super) const WAITING: &str = "
SELECT id, tenant FROM (
  SELECT batch, id, tenant, row_number() OVER (PARTITION BY tenant ORDER BY batch) AS place
  FROM batches b
  WHERE finished IS NULL AND cancelled IS NULL AND expires > ?1 AND EXISTS (
    SELECT 1 FROM batch_items i
    WHERE i.batch = b.batch AND state < 2 AND (state = 0 OR lease_until <= ?1)))
WHERE place <= ?2 ORDER BY batch";

pub(super) const FILE: &str = r#"
SELECT id, tenant, "user", name, coalesce(bytes, length(content)), created, keep_until FROM batch_files
WHERE tenant = ?1 AND id = ?2"#;

pub(super) const FILES: &str = r#"
SELECT id, tenant, "user", name, coalesce(bytes, length(content)), created, keep_until FROM batch_files
WHERE tenant = ?1 AND (?2 IS NULL OR file < (SELECT file FROM batch_files WHERE tenant = ?1 AND id = ?2))
ORDER BY file DESC LIMIT ?3"#;

pub(super) fn file(row: &Row<'_>) -> Result<File> {
    Ok(File {
        id: row.get(0)?,
        tenant: row.get(1)?,
        user: row.get(2)?,
        name: row.get(3)?,
        bytes: unsigned(row, 4)?,
        created: moment(row, 5)?,
        keep_until: moment(row, 6)?,
    })
}
