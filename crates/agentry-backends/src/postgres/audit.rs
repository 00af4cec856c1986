//! The audit log: one chain for all instances.
//!
//! Whoever adds to it has read its end, computes what follows, and stores both only if the end is still the same. That is
//! decided by the statement that also makes the change which the entries are about.

use agentry_core::audit::{Digest, Entry, Record};
use agentry_core::store::Error;

use super::{PostgresStore, migrate};

pub(super) const MIGRATIONS: migrate::List =
    migrate::List { name: "audit", steps: &[include_str!("audit/1.sql")] };

/// Entries, chained behind the end that was read.
pub(super) struct Links {
    pub before: i64,
    pub after: i64,
    pub digest: String,
    pub entries: Vec<String>,
    pub digests: Vec<String>,
}

impl PostgresStore {
    /// Records after `after`, oldest first.
    pub(super) async fn audit_records(&self, after: u64, max: usize) -> Result<Vec<Record>, Error> {
        let sql =
            "SELECT number, entry, digest FROM audit WHERE number > $1 ORDER BY number LIMIT $2";
        let bound = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let rows = self.pool.query(sql, &[&bound(after), &bound(max as u64)]).await?;
        let record = |row: &tokio_postgres::Row| {
            let number: i64 = row.get(0);
            let digest = parse(row.get(2))?;
            Ok(Record { number: number.unsigned_abs(), entry: row.get(1), digest })
        };
        rows.iter().map(record).collect()
    }

    pub(super) async fn link(&self, audit: &[Entry]) -> Result<Links, Error> {
        let head = self.pool.query_one("SELECT number, digest FROM audit_head", &[]).await?;
        let before: i64 = head.get(0);
        let mut digest = parse(head.get(1))?;
        let mut number = before.unsigned_abs();
        let (mut entries, mut digests) = (Vec::new(), Vec::new());
        for entry in audit {
            let record = Record::link(number, digest, entry)
                .map_err(|problem| Error::Refused(format!("audit entry: {problem}")))?;
            (number, digest) = (record.number, record.digest);
            entries.push(record.entry);
            digests.push(record.digest.to_string());
        }
        let after = i64::try_from(number).unwrap_or(i64::MAX);
        Ok(Links { before, after, digest: digest.to_string(), entries, digests })
    }
}

fn parse(text: &str) -> Result<Digest, Error> {
    text.parse().map_err(|problem| Error::Incompatible(format!("audit log: {problem}")))
}
