//! API keys.

use agentry_core::keys::{Change, Changed, Key, KeyStore, Keys, StoredTerms, Terms};
use agentry_core::store::{Error, Log as _};
use agentry_core::{Timestamp, audit};
use async_trait::async_trait;
use rusqlite::{Connection, Result, Row, params};

use super::command::{Command, Outcome, json};
use super::read::{moment, optional_moment, parse, unsigned};
use super::{SqliteStore, mismatch};

#[derive(Debug)]
pub(super) enum Keeping {
    /// The terms of a new key are written as JSON already.
    Change {
        change: Change,
        terms: String,
        audit: Vec<audit::Entry>,
    },
    Used(Vec<(String, Timestamp)>),
}

impl Keeping {
    fn change(change: Change, audit: Vec<audit::Entry>) -> std::result::Result<Self, Error> {
        let terms = match &change {
            Change::Create { key } | Change::Rotate { key, .. } => {
                json(&StoredTerms::V1(key.terms.clone()))?
            }
            Change::Revoke { .. } | Change::ForgetUser { .. } => String::new(),
        };
        Ok(Self::Change { change, terms, audit })
    }

    /// Roughly what it adds to a transaction.
    pub(super) fn bytes(&self) -> usize {
        const ROW: usize = 256;
        match self {
            Self::Change { terms, audit, .. } => ROW * (1 + audit.len()) + terms.len(),
            Self::Used(uses) => ROW * uses.len(),
        }
    }

    /// What is to be said about it in the audit log, if it was done.
    pub(super) fn audit(&self) -> &[audit::Entry] {
        match self {
            Self::Change { audit, .. } => audit,
            Self::Used(_) => &[],
        }
    }

    pub(super) fn apply(&self, connection: &Connection) -> Result<Changed> {
        let changed = match self {
            Self::Used(uses) => return used(connection, uses),
            Self::Change { change, terms, audit: _ } => apply(connection, change, terms)?,
        };
        if let Changed::Done(_) = changed {
            connection
                .prepare_cached("UPDATE key_changes SET version = version + 1")?
                .execute([])?;
        }
        Ok(changed)
    }
}

fn apply(connection: &Connection, change: &Change, terms: &str) -> Result<Changed> {
    match change {
        Change::Create { key } => {
            let taken = "SELECT EXISTS (SELECT 1 FROM keys WHERE tenant = ?1 AND name = ?2
                           AND revoked IS NULL AND replaced_by IS NULL)";
            let taken = connection
                .prepare_cached(taken)?
                .query_row([&key.tenant, &key.name], |row| row.get(0))?;
            if taken {
                return Ok(Changed::NameTaken);
            }
            insert(connection, key, terms)?;
            Ok(Changed::Done(1))
        }
        Change::Revoke { tenant, id, at } => {
            let revoked = connection
                .prepare_cached(
                    "UPDATE keys SET revoked = ?3
                     WHERE tenant = ?1 AND id = ?2 AND revoked IS NULL",
                )?
                .execute(params![tenant, id, at.as_micros()])?;
            if revoked == 0 { over(connection, tenant, id) } else { Ok(Changed::Done(1)) }
        }
        Change::Rotate { tenant, id, key, until } => {
            let replaced = connection
                .prepare_cached(
                    "UPDATE keys SET replaced_by = ?3, expires = min(coalesce(expires, ?4), ?4)
                     WHERE tenant = ?1 AND id = ?2 AND revoked IS NULL AND replaced_by IS NULL",
                )?
                .execute(params![tenant, id, key.id, until.as_micros()])?;
            if replaced == 0 {
                return over(connection, tenant, id);
            }
            insert(connection, key, terms)?;
            Ok(Changed::Done(2))
        }
        Change::ForgetUser { tenant, user, at } => {
            let forgotten = connection
                .prepare_cached(
                    r#"UPDATE keys SET "user" = NULL, terms = json_remove(terms, '$.metadata'),
                         revoked = coalesce(revoked, ?3)
                       WHERE tenant = ?1 AND "user" = ?2"#,
                )?
                .execute(params![tenant, user, at.as_micros()])?;
            Ok(Changed::Done(forgotten as u64))
        }
    }
}

fn insert(connection: &Connection, key: &Key, terms: &str) -> Result<()> {
    connection
        .prepare_cached(
            r#"INSERT INTO keys (id, digest, hint, tenant, name, team, "user", terms, created, expires)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"#,
        )?
        .execute(params![
            key.id,
            key.digest,
            key.hint,
            key.tenant,
            key.name,
            key.team,
            key.user,
            terms,
            key.created.as_micros(),
            key.expires.map(Timestamp::as_micros)
        ])
        .map(drop)
}

fn over(connection: &Connection, tenant: &str, id: &str) -> Result<Changed> {
    let known = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM keys WHERE tenant = ?1 AND id = ?2)")?
        .query_row([tenant, id], |row| row.get(0))?;
    Ok(if known { Changed::Over } else { Changed::NotFound })
}

fn used(connection: &Connection, uses: &[(String, Timestamp)]) -> Result<Changed> {
    let mut update = connection
        .prepare_cached("UPDATE keys SET used = max(coalesce(used, ?2), ?2) WHERE id = ?1")?;
    for (id, at) in uses {
        update.execute(params![id, at.as_micros()])?;
    }
    Ok(Changed::Done(uses.len() as u64))
}

fn version(connection: &Connection) -> Result<u64> {
    connection
        .prepare_cached("SELECT version FROM key_changes")?
        .query_row([], |row| unsigned(row, 0))
}

fn read(row: &Row<'_>) -> Result<Key> {
    let terms: StoredTerms = parse(row, 7)?;
    Ok(Key {
        id: row.get(0)?,
        digest: row.get(1)?,
        hint: row.get(2)?,
        tenant: row.get(3)?,
        name: row.get(4)?,
        team: row.get(5)?,
        user: row.get(6)?,
        terms: Terms::from(terms),
        created: moment(row, 8)?,
        expires: optional_moment(row, 9)?,
        revoked: optional_moment(row, 10)?,
        replaced_by: row.get(11)?,
        used: optional_moment(row, 12)?,
    })
}

#[async_trait]
impl KeyStore for SqliteStore {
    async fn version(&self) -> std::result::Result<u64, Error> {
        self.readers.ask(version).await
    }

    async fn keys(&self) -> std::result::Result<Keys, Error> {
        let ask = |connection: &Connection| {
            let mut keys = connection.prepare_cached(
                r#"SELECT id, digest, hint, tenant, name, team, "user", terms, created, expires,
                     revoked, replaced_by, used
                   FROM keys ORDER BY key"#,
            )?;
            let keys = keys.query_map([], read)?.collect::<Result<_>>()?;
            Ok(Keys { version: version(connection)?, keys })
        };
        self.readers.ask(ask).await
    }

    async fn change(
        &self,
        change: Change,
        audit: Vec<audit::Entry>,
    ) -> std::result::Result<Changed, Error> {
        let command = Command::Keeping(Keeping::change(change, audit)?);
        let Outcome::Kept(changed) = self.call(command).await? else { return Err(mismatch()) };
        Ok(changed)
    }

    async fn used(&self, uses: Vec<(String, Timestamp)>) -> std::result::Result<(), Error> {
        self.call(Command::Keeping(Keeping::Used(uses))).await.map(drop)
    }

    async fn key_audit(
        &self,
        after: u64,
        max: usize,
    ) -> std::result::Result<Vec<audit::Record>, Error> {
        self.audit(after, max).await
    }
}
