//! Brings the schema forward. Only one process at a time does it, and an older program leaves a newer schema alone.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{Client, Transaction};

use super::OpenError;
use super::pool::{Pool, explain};

/// For all of it, waiting for other processes included.
const PATIENCE: Duration = Duration::from_secs(120);

/// `AGRY`: tells our advisory locks from other programs'.
const LOCK: i32 = 0x4147_5259;

/// Each step brings the tables of one port from the version of its index to the next one. Steps are never edited, only
/// added to.
pub(super) struct List {
    pub name: &'static str,
    pub steps: &'static [&'static str],
}

pub(super) async fn run(pool: &Pool, lists: &[&List]) -> Result<(), OpenError> {
    let (server, schema) = (pool.settings.server(), pool.settings.schema.as_str());
    let unreachable = |reason| OpenError::Unreachable { server: server.clone(), reason };
    let mut client = pool.open().await.map_err(unreachable)?;
    let forward = timeout(PATIENCE, forward(&mut client, schema, lists)).await;
    let late = |_| Error::Unusable("another process has held the lock for too long".to_owned());
    forward.unwrap_or_else(|elapsed| Err(late(elapsed))).map_err(|problem| match problem {
        Error::Unusable(reason) => OpenError::Unusable { schema: schema.to_owned(), reason },
        Error::Newer { list, found, known } => {
            OpenError::Newer { schema: schema.to_owned(), list, found, known }
        }
    })
}

enum Error {
    Unusable(String),
    Newer { list: &'static str, found: i32, known: usize },
}

impl From<tokio_postgres::Error> for Error {
    fn from(problem: tokio_postgres::Error) -> Self {
        Self::Unusable(explain(&problem))
    }
}

async fn forward(client: &mut Client, schema: &str, lists: &[&List]) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    // Whoever waits for it may wait longer than a statement may usually take.
    transaction
        .batch_execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        .await?;
    let lock = "SELECT pg_advisory_xact_lock($1, hashtext($2))";
    transaction.execute(lock, &[&LOCK, &schema]).await?;
    // It may be there without our being allowed to make one.
    let exists = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)";
    if !transaction.query_one(exists, &[&schema]).await?.get::<_, bool>(0) {
        transaction.batch_execute(&format!("CREATE SCHEMA {schema}")).await?;
    }
    let versions = "CREATE TABLE IF NOT EXISTS versions (
                      list text PRIMARY KEY, version integer NOT NULL)";
    transaction.batch_execute(versions).await?;
    for list in lists {
        steps(&transaction, list).await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn steps(transaction: &Transaction<'_>, list: &List) -> Result<(), Error> {
    let List { name, steps } = *list;
    let find = "SELECT version FROM versions WHERE list = $1";
    let found = transaction.query_opt(find, &[&name]).await?;
    let found: i32 = found.map_or(0, |row| row.get(0));
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    if done > steps.len() {
        return Err(Error::Newer { list: name, found, known: steps.len() });
    }
    for step in steps.iter().skip(done) {
        transaction.batch_execute(step).await?;
    }
    let write = "INSERT INTO versions (list, version) VALUES ($1, $2)
                 ON CONFLICT (list) DO UPDATE SET version = excluded.version";
    let known = i32::try_from(steps.len()).unwrap_or(i32::MAX);
    transaction.execute(write, &[&name, &known]).await?;
    Ok(())
}
