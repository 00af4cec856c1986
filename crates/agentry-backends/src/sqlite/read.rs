//! Questions to the tables, each in one short read transaction on a connection that cannot write.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use agentry_core::run::{
    Answer, Delta, Effect, Event, Interrupt, Loaded, Message, RunRow, Seq, Values,
};
use agentry_core::store::{Error, Record, RunQuery, Stored};
use agentry_core::{RunId, Timestamp, audit};
use rusqlite::{Connection, OptionalExtension as _, Result, Row, params};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::command::signed;
use super::schema::open_reader;
use super::write::{status_from, status_text};
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

/// The first eleven columns.
fn run_row(row: &Row<'_>) -> Result<RunRow> {
    Ok(RunRow {
        id: RunId::from_bytes(row.get(0)?),
        key: row.get(1)?,
        graph: row.get(2)?,
        version: row.get(3)?,
        status: status_from(row.get_ref(4)?.as_str()?),
        seq: Seq(unsigned(row, 5)?),
        created: moment(row, 6)?,
        updated: moment(row, 7)?,
        deadline: optional_moment(row, 8)?,
        wake_at: optional_moment(row, 9)?,
        reason: row.get(10)?,
    })
}

pub(super) fn load(connection: &Connection, run: RunId) -> Result<Option<Loaded>> {
    let found = connection
        .prepare_cached(
            "SELECT id, key, graph, version, status, seq, created, updated, deadline, wake_at,
               reason, run, input, cancel
             FROM runs WHERE id = ?1",
        )?
        .query_row([run.as_bytes()], |row| {
            let input: Values = parse(row, 12)?;
            Ok((run_row(row)?, row.get::<_, i64>(11)?, input, row.get(13)?))
        })
        .optional()?;
    let Some((row, number, mut values, cancel)) = found else { return Ok(None) };
    let mut commits =
        connection.prepare_cached("SELECT deltas FROM commits WHERE run = ?1 ORDER BY seq")?;
    let mut commits = commits.query([number])?;
    while let Some(commit) = commits.next()? {
        for (channel, delta) in parse::<Vec<(String, Delta)>>(commit, 0)? {
            delta.apply(&mut values, channel);
        }
    }
    let cursor = connection
        .prepare_cached("SELECT cursor FROM commits WHERE run = ?1 ORDER BY seq DESC LIMIT 1")?
        .query_row([number], |row| parse::<Value>(row, 0))
        .optional()?;
    Ok(Some(Loaded {
        row,
        values,
        cursor,
        journal: journal(connection, number)?,
        inbox: inbox(connection, number)?,
        interrupts: open_interrupts(connection, number)?,
        cancel,
    }))
}

fn journal(connection: &Connection, run: i64) -> Result<BTreeMap<String, Effect>> {
    let mut find = connection
        .prepare_cached("SELECT key, value FROM journal WHERE run = ?1 ORDER BY entry")?;
    let entries = find.query_map([run], |row| {
        let effect = match parse_optional(row, 1)? {
            Some(value) => Effect::Done { value },
            None => Effect::Intended,
        };
        Ok((row.get(0)?, effect))
    })?;
    entries.collect()
}

fn inbox(connection: &Connection, run: i64) -> Result<Vec<Message>> {
    let mut find = connection.prepare_cached(
        "SELECT id, channel, payload, at FROM messages
         WHERE run = ?1 AND consumed IS NULL ORDER BY entry",
    )?;
    let messages = find.query_map([run], |row| {
        let (payload, at) = (parse(row, 2)?, moment(row, 3)?);
        Ok(Message { id: row.get(0)?, channel: row.get(1)?, payload, at })
    })?;
    messages.collect()
}

fn interrupt(row: &Row<'_>) -> Result<Interrupt> {
    Ok(Interrupt {
        run: RunId::from_bytes(row.get(0)?),
        id: row.get(1)?,
        question: parse_optional(row, 2)?,
        opened: moment(row, 3)?,
        deadline: optional_moment(row, 4)?,
        on_timeout: parse(row, 5)?,
        answer: parse_optional::<Answer>(row, 6)?,
    })
}

fn open_interrupts(connection: &Connection, run: i64) -> Result<Vec<Interrupt>> {
    let mut find = connection.prepare_cached(
        "SELECT r.id, i.id, question, opened, i.deadline, on_timeout, answer
         FROM interrupts i JOIN runs r USING (run)
         WHERE i.run = ?1 AND closing IS NULL ORDER BY entry",
    )?;
    find.query_map([run], interrupt)?.collect()
}

pub(super) fn questions(connection: &Connection, max: i64) -> Result<Vec<Interrupt>> {
    let mut find = connection.prepare_cached(
        "SELECT r.id, i.id, question, opened, i.deadline, on_timeout, answer
         FROM interrupts i JOIN runs r USING (run)
         WHERE closing IS NULL AND answer IS NULL AND question IS NOT NULL
         ORDER BY opened, r.id, i.id LIMIT ?1",
    )?;
    find.query_map([max], interrupt)?.collect()
}

pub(super) fn runs(connection: &Connection, query: &RunQuery) -> Result<Vec<RunRow>> {
    let RunQuery { graph, status, before, runs_max } = query;
    let mut find = connection.prepare_cached(
        "SELECT id, key, graph, version, status, seq, created, updated, deadline, wake_at, reason
         FROM runs
         WHERE (?1 IS NULL OR graph = ?1) AND (?2 IS NULL OR status = ?2)
           AND (?3 IS NULL OR id < ?3) ORDER BY id DESC LIMIT ?4",
    )?;
    let status = status.map(status_text);
    let before = before.as_ref().map(RunId::as_bytes);
    find.query_map(params![graph, status, before, signed(*runs_max as u64)], run_row)?.collect()
}

pub(super) fn events(
    connection: &Connection,
    run: RunId,
    after: u64,
    max: i64,
) -> Result<Vec<Stored<Event>>> {
    let mut find = connection.prepare_cached(
        "SELECT entry, at, kind, detail FROM events
         WHERE run = (SELECT run FROM runs WHERE id = ?1) AND entry > ?2 ORDER BY entry LIMIT ?3",
    )?;
    let events = find.query_map(params![run.as_bytes(), signed(after), max], |row| {
        let item = Event { at: moment(row, 1)?, kind: row.get(2)?, detail: parse(row, 3)? };
        Ok(Stored { offset: unsigned(row, 0)?, item })
    })?;
    events.collect()
}

pub(super) fn next_wake(connection: &Connection) -> Result<Option<Timestamp>> {
    let sql = "SELECT min(wake_at) FROM runs WHERE status = 'parked' AND wake_at IS NOT NULL";
    connection.prepare_cached(sql)?.query_row([], |row| optional_moment(row, 0))
}

pub(super) fn mail(connection: &Connection, worker: &str) -> Result<Vec<RunId>> {
    let mut find = connection.prepare_cached(
        "SELECT id FROM runs WHERE worker = ?1 AND (
           cancel IS NOT NULL
           OR EXISTS (SELECT 1 FROM messages m WHERE m.run = runs.run AND consumed IS NULL)
           OR EXISTS (SELECT 1 FROM interrupts i WHERE i.run = runs.run AND closing IS NULL
                        AND answer IS NOT NULL))",
    )?;
    find.query_map([worker], |row| row.get(0).map(RunId::from_bytes))?.collect()
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
