//! Rows as what they stand for.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::run::{Effect, Message, Seq};
use agentry_core::thread::{
    Entry, Interrupt, Multitask, Pinned, Priority, Run, RunStatus, Snapshot, Status, Thread,
};
use agentry_core::threads::Error;
use serde::de::DeserializeOwned;
use tokio_postgres::Row;

use super::id::Id;
use crate::large::{digests, fill};

pub(super) fn unreadable(problem: impl std::fmt::Display) -> Error {
    Error::Incompatible(format!("threads: {problem}"))
}

pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(unreadable)
}

/// A word that is written as its JSON is.
pub(super) fn word<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_value(text.into()).map_err(unreadable)
}

fn optional<T: DeserializeOwned>(row: &Row, column: usize) -> Result<Option<T>, Error> {
    row.get::<_, Option<&str>>(column).map(parse).transpose()
}

pub(super) fn moment(row: &Row, column: usize) -> Timestamp {
    Timestamp::from_micros(row.get(column))
}

fn perhaps(row: &Row, column: usize) -> Option<Timestamp> {
    row.get::<_, Option<i64>>(column).map(Timestamp::from_micros)
}

pub(super) fn seq(row: &Row, column: usize) -> Seq {
    Seq(row.get::<_, i64>(column).unsigned_abs())
}

fn pinned(graph: Option<String>, version: Option<String>) -> Option<Pinned> {
    Some(Pinned { graph: graph?, version: version? })
}

pub(super) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn thread(row: &Row) -> Result<Thread, Error> {
    let status: Status = word(row.get(3))?;
    let keep_for = row.get::<_, Option<i64>>(9);
    Ok(Thread {
        id: row.get::<_, Id>(1).into(),
        tenant: row.get(2),
        status,
        seq: seq(row, 11),
        program: pinned(row.get(4), row.get(5)),
        metadata: parse(row.get(6))?,
        created: moment(row, 7),
        updated: moment(row, 10),
        wake_at: perhaps(row, 8),
        keep_for: keep_for.map(|span| Duration::from_micros(span.unsigned_abs())),
    })
}

pub(super) fn run(row: &Row) -> Result<Run, Error> {
    let multitask: Multitask = word(row.get(9))?;
    let priority = match row.get::<_, i16>(10) {
        0 => Priority::Low,
        1 => Priority::Normal,
        _ => Priority::High,
    };
    let status: RunStatus = word(row.get(7))?;
    Ok(Run {
        id: row.get::<_, Id>(2).into(),
        thread: row.get::<_, Id>(1).into(),
        tenant: row.get(3),
        key: row.get(4),
        program: Pinned { graph: row.get(5), version: row.get(6) },
        status,
        input: parse(row.get(8))?,
        multitask,
        priority,
        metadata: parse(row.get(11))?,
        created: moment(row, 12),
        updated: moment(row, 13),
        not_before: perhaps(row, 14),
        deadline: perhaps(row, 15),
        base: row.get::<_, Option<i64>>(16).map(|base| Seq(base.unsigned_abs())),
        cancel: optional(row, 17)?,
        reason: row.get(18),
        ephemeral: row.get(19),
    })
}

pub(super) fn interrupt(row: &Row) -> Result<Interrupt, Error> {
    Ok(Interrupt {
        thread: row.get::<_, Id>(1).into(),
        run: row.get::<_, Id>(3).into(),
        id: row.get(2),
        ns: row.get(4),
        node: row.get(5),
        question: optional(row, 6)?,
        schema: optional(row, 7)?,
        opened: moment(row, 8),
        deadline: perhaps(row, 9),
        on_timeout: parse(row.get(10))?,
        escalations: row.get::<_, i32>(11).unsigned_abs(),
        answer: optional(row, 12)?,
    })
}

pub(super) fn message(row: &Row) -> Result<Message, Error> {
    Ok(Message {
        id: row.get(1),
        channel: row.get(2),
        payload: parse(row.get(3))?,
        at: moment(row, 4),
    })
}

pub(super) fn effect(row: &Row) -> Result<(String, Effect), Error> {
    let effect = match row.get::<_, Option<&str>>(2) {
        None => Effect::Intended,
        Some(value) => Effect::Done { value: parse(value)? },
    };
    Ok((row.get(1), effect))
}

/// Large values of one thread, by digest.
#[derive(Default)]
pub(super) struct Pieces(pub HashMap<Vec<u8>, String>);

impl Pieces {
    fn whole<T: DeserializeOwned>(&self, text: &str, holes: Option<&[u8]>) -> Result<T, Error> {
        let Some(holes) = holes else { return parse(text) };
        let piece = |digest: &[u8]| self.0.get(digest).map(String::as_str);
        parse(&fill(text, holes, piece).map_err(unreadable)?)
    }
}

/// Which large values these rows need; `column` is where their holes are.
pub(super) fn needed<'a>(rows: impl Iterator<Item = &'a Row>, column: usize) -> HashSet<Vec<u8>> {
    let holes = rows.filter_map(|row| row.get::<_, Option<&[u8]>>(column));
    holes.flat_map(|holes| digests(holes).map(<[u8]>::to_vec).collect::<Vec<_>>()).collect()
}

pub(super) fn entry(row: &Row, pieces: &Pieces) -> Result<Entry, Error> {
    Ok(Entry {
        seq: seq(row, 1),
        parent: seq(row, 2),
        run: row.get::<_, Option<Id>>(4).map(Into::into),
        at: moment(row, 3),
        checkpoints: optional(row, 5)?.unwrap_or_default(),
        writes: pieces.whole(row.get(8), row.get(6))?,
        body: parse(row.get(7))?,
    })
}

pub(super) fn snapshot(row: &Row, pieces: &Pieces) -> Result<Snapshot, Error> {
    Ok(Snapshot {
        seq: seq(row, 1),
        states: pieces.whole(row.get(4), row.get(2))?,
        body: parse(row.get(3))?,
    })
}
