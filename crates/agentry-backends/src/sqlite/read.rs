//! Questions to the tables, each in one short read transaction on a connection that cannot write.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use agentry_core::store::{Error, Record};
use agentry_core::{Timestamp, audit};
use rusqlite::{Connection, Result, Row, params};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::command::signed;
use super::schema::open_reader;
use super::writer::describe;

const READERS_MAX: usize = 4;

/// A few connections, opened when they are first needed.
#[derive(Clone)]
pub(super) struct Readers {
    path: Arc<PathBuf>,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    gate: Arc<RwLock<()>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path: Arc::new(path),
            idle: Arc::default(),
            permits: Arc::new(Semaphore::new(READERS_MAX)),
            gate: Arc::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Nobody reads while `act` is done; it begins when those who read have finished.
    pub(super) fn hold_off<T>(&self, act: impl FnOnce() -> T) -> T {
        let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        act()
    }

    pub(super) async fn ask<T, F>(&self, question: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|closed| Error::Fatal(closed.to_string()))?;
        let readers = self.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let answer = readers.ask_now(question);
            drop(permit);
            answer
        });
        let answer = answer.await.map_err(|lost| Error::Unavailable(lost.to_string()))?;
        answer.map_err(|problem| describe(&problem))
    }

    fn ask_now<T>(&self, question: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open_reader(&self.path)?,
        };
        let transaction = connection.unchecked_transaction()?;
        let answer = question(&transaction)?;
        transaction.commit()?;
        // After an error the connection is dropped instead.
        self.idle().push(connection);
        Ok(answer)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asking again gives the same answer: the data is damaged, or of another version.
pub(super) fn is_unreadable(problem: &rusqlite::Error) -> bool {
    matches!(describe(problem), Error::Incompatible(_))
}

pub(super) fn parse<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|problem| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(problem))
    })
}

pub(super) fn parse_optional<T: DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
) -> Result<Option<T>> {
    if row.get_ref(column)? == rusqlite::types::ValueRef::Null {
        return Ok(None);
    }
    parse(row, column).map(Some)
}

pub(super) fn moment(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    row.get(column).map(Timestamp::from_micros)
}

pub(super) fn optional_moment(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}

fn record(row: &Row<'_>) -> Result<Record> {
    let (topic, key) = (row.get(1)?, row.get(2)?);
    Ok(Record { offset: unsigned(row, 0)?, topic, key, payload: parse(row, 3)? })
}

pub(super) fn records(
    connection: &Connection,
    topic: &str,
    key: Option<&str>,
    (after, max): (u64, i64),
) -> Result<Vec<Record>> {
    let after = signed(after);
    let Some(key) = key else {
        let sql = "SELECT entry, topic, key, payload FROM records
                   WHERE topic = ?1 AND entry > ?2 ORDER BY entry LIMIT ?3";
        let mut find = connection.prepare_cached(sql)?;
        return find.query_map(params![topic, after, max], record)?.collect();
    };
    let sql = "SELECT entry, topic, key, payload FROM records
               WHERE key = ?1 AND topic = ?2 AND entry > ?3 ORDER BY entry LIMIT ?4";
    let mut find = connection.prepare_cached(sql)?;
    find.query_map(params![key, topic, after, max], record)?.collect()
}

pub(super) fn tail(
    connection: &Connection,
    topic: &str,
    before: Option<u64>,
    max: i64,
) -> Result<Vec<Record>> {
    let before = before.map_or(i64::MAX, signed);
    let sql = "SELECT entry, topic, key, payload FROM records
               WHERE topic = ?1 AND entry < ?2 ORDER BY entry DESC LIMIT ?3";
    let mut find = connection.prepare_cached(sql)?;
    find.query_map(params![topic, before, max], record)?.collect()
}

pub(super) fn audit(connection: &Connection, after: u64, max: i64) -> Result<Vec<audit::Record>> {
    let sql = "SELECT number, entry, digest FROM audit WHERE number > ?1 ORDER BY number LIMIT ?2";
    let mut find = connection.prepare_cached(sql)?;
    let records = find.query_map(params![signed(after), max], |row| {
        let digest = row.get_ref(2)?.as_str()?.parse().map_err(|problem| {
            let kind = rusqlite::types::Type::Text;
            rusqlite::Error::FromSqlConversionFailure(2, kind, Box::new(problem))
        })?;
        Ok(audit::Record { number: unsigned(row, 0)?, entry: row.get(1)?, digest })
    })?;
    records.collect()
}
