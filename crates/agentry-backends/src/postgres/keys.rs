//! API keys. Each change is one statement, with its entries in the audit log.

use agentry_core::keys::{Change, Changed, Key, KeyStore, Keys, StoredTerms, Terms};
use agentry_core::store::Error;
use agentry_core::{Timestamp, audit};
use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::audit::Links;
use super::pool::Values;
use super::{PostgresStore, migrate};

mod sql;

pub(super) const MIGRATIONS: migrate::List =
    migrate::List { name: "keys", steps: &[include_str!("keys/1.sql")] };

/// How often the end of the audit log may have moved before we give up.
const TRIES: u32 = 200;

impl PostgresStore {
    /// Nothing when the audit log has moved on.
    async fn try_change(&self, change: &Change, links: &Links) -> Result<Option<Changed>, Error> {
        let Links { before, after, digest, entries, digests } = links;
        let chain: Values<'_> = &[before, after, digest, entries, digests];
        let row = match change {
            Change::Create { key } => {
                let written = Written::new(key)?;
                let made = written.values(key);
                self.pool.query_one(sql::CREATE, &[chain, &made].concat()).await?
            }
            Change::Rotate { tenant: _, id, key, until } => {
                let written = Written::new(key)?;
                let made = written.values(key);
                let until = until.as_micros();
                let values = [chain, &made, &[id, &until]].concat();
                self.pool.query_one(sql::ROTATE, &values).await?
            }
            Change::Revoke { tenant, id, at } => {
                let at = at.as_micros();
                let values = [chain, &[tenant, id, &at]].concat();
                self.pool.query_one(sql::REVOKE, &values).await?
            }
            Change::ForgetUser { tenant, user, at } => {
                let at = at.as_micros();
                let values = [chain, &[tenant, user, &at]].concat();
                self.pool.query_one(sql::FORGET_USER, &values).await?
            }
        };
        let (held, count) = (row.get::<_, i64>(0) > 0, row.get::<_, i64>(1));
        if !held {
            return Ok(None);
        }
        Ok(Some(match change {
            Change::ForgetUser { .. } => Changed::Done(count.unsigned_abs()),
            Change::Create { .. } if count == 0 => Changed::NameTaken,
            Change::Create { .. } => Changed::Done(1),
            Change::Revoke { .. } if count > 0 => Changed::Done(1),
            Change::Rotate { .. } if count > 0 => Changed::Done(2),
            Change::Revoke { .. } | Change::Rotate { .. } if row.get(2) => Changed::Over,
            Change::Revoke { .. } | Change::Rotate { .. } => Changed::NotFound,
        }))
    }
}

/// What `$6` to `$15` are, where a key has it in another form.
struct Written {
    digest: Vec<u8>,
    terms: String,
    created: i64,
    expires: Option<i64>,
}

impl Written {
    fn new(key: &Key) -> Result<Self, Error> {
        let terms = serde_json::to_string(&StoredTerms::V1(key.terms.clone()));
        Ok(Self {
            digest: key.digest.to_vec(),
            terms: terms.map_err(|problem| Error::Refused(problem.to_string()))?,
            created: key.created.as_micros(),
            expires: key.expires.map(Timestamp::as_micros),
        })
    }

    fn values<'a>(&'a self, key: &'a Key) -> [&'a (dyn ToSql + Sync); 10] {
        let Self { digest, terms, created, expires } = self;
        let Key { id, hint, tenant, name, team, user, .. } = key;
        [id, digest, hint, tenant, name, team, user, terms, created, expires]
    }
}

fn read(row: &Row) -> Result<Key, Error> {
    let moment = |column: usize| row.get::<_, Option<i64>>(column).map(Timestamp::from_micros);
    let incompatible = |problem: String| Error::Incompatible(format!("keys: {problem}"));
    let terms: StoredTerms =
        serde_json::from_str(row.get(7)).map_err(|problem| incompatible(problem.to_string()))?;
    let digest: &[u8] = row.get(1);
    let digest = digest.try_into();
    Ok(Key {
        id: row.get(0),
        digest: digest.map_err(|_| incompatible("a digest has not 32 bytes".to_owned()))?,
        hint: row.get(2),
        tenant: row.get(3),
        name: row.get(4),
        team: row.get(5),
        user: row.get(6),
        terms: Terms::from(terms),
        created: Timestamp::from_micros(row.get(8)),
        expires: moment(9),
        revoked: moment(10),
        replaced_by: row.get(11),
        used: moment(12),
    })
}

#[async_trait]
impl KeyStore for PostgresStore {
    async fn version(&self) -> Result<u64, Error> {
        let row = self.pool.query_one(sql::VERSION, &[]).await?;
        Ok(row.get::<_, i64>(0).unsigned_abs())
    }

    async fn keys(&self) -> Result<Keys, Error> {
        let version = self.version().await?;
        let keys = self.pool.query(sql::KEYS, &[]).await?;
        Ok(Keys { version, keys: keys.iter().map(read).collect::<Result<_, _>>()? })
    }

    async fn change(&self, change: Change, audit: Vec<audit::Entry>) -> Result<Changed, Error> {
        for _ in 0..TRIES {
            let links = self.link(&audit).await?;
            if let Some(changed) = self.try_change(&change, &links).await? {
                return Ok(changed);
            }
        }
        Err(Error::Overloaded)
    }

    async fn used(&self, uses: Vec<(String, Timestamp)>) -> Result<(), Error> {
        let (ids, times): (Vec<String>, Vec<i64>) =
            uses.into_iter().map(|(id, at)| (id, at.as_micros())).unzip();
        self.pool.query(sql::USED, &[&ids, &times]).await.map(drop)
    }

    async fn key_audit(&self, after: u64, max: usize) -> Result<Vec<audit::Record>, Error> {
        self.audit_records(after, max).await
    }
}
