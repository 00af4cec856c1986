//! The way from the root, or a snapshot, to an entry.

use std::collections::HashMap;

use agentry_core::run::Seq;
use agentry_core::thread::{Entry, Line, Snapshot, States, Write};
use agentry_core::threads::{At, From};
use agentry_core::{CheckpointId, RunId};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Result, Row, params};
use serde::de::DeserializeOwned;

use super::super::super::command::signed;
use super::super::super::read::{moment, parse, parse_optional, unsigned};
use crate::large;

/// The newest entry that is kept; zero when there is none.
pub(in super::super) fn head(connection: &Connection, thread: i64) -> Result<Seq> {
    connection
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM entries WHERE thread = ?1")?
        .query_row([thread], |row| unsigned(row, 0).map(Seq))
}

/// `None` when there is no such entry.
pub(in super::super) fn find(connection: &Connection, thread: i64, at: At) -> Result<Option<Seq>> {
    match at {
        At::Head => head(connection, thread).map(Some),
        At::Seq(Seq(0)) => Ok(Some(Seq(0))),
        At::Seq(seq) => connection
            .prepare_cached("SELECT seq FROM entries WHERE thread = ?1 AND seq = ?2")?
            .query_row(params![thread, signed(seq.0)], |row| unsigned(row, 0).map(Seq))
            .optional(),
        At::Checkpoint(id) => entry_of(connection, thread, id),
    }
}

pub(super) fn entry_of(
    connection: &Connection,
    thread: i64,
    id: CheckpointId,
) -> Result<Option<Seq>> {
    let seq: Option<i64> = connection
        .prepare_cached(
            "SELECT min(seq) FROM (
               SELECT seq FROM entries INDEXED BY entries_checkpoint
               WHERE checkpoint = ?2 AND thread = ?1
               UNION ALL SELECT seq FROM checkpoints WHERE thread = ?1 AND id = ?2)",
        )?
        .query_row(params![thread, id.as_bytes()], |row| row.get(0))?;
    Ok(seq.map(|seq| Seq(u64::try_from(seq).unwrap_or(0))))
}

/// Entries of a line that follow each other without a gap.
struct Stretch {
    first: i64,
    last: i64,
}

pub(in super::super) fn line(
    connection: &Connection,
    thread: i64,
    at: Seq,
    from: From,
) -> Result<Line> {
    let mut stretches = Vec::new();
    let mut line = Line::default();
    let mut last = signed(at.0);
    while last > 0 {
        let fork = last_fork(connection, thread, last)?;
        let first = fork.map_or(1, |(seq, _)| seq);
        if let Some(seq) = nearest_snapshot(connection, (thread, first, last), from)? {
            line.snapshot = Some(snapshot(connection, thread, seq)?);
            stretches.push(Stretch { first: seq + 1, last });
            break;
        }
        stretches.push(Stretch { first, last });
        last = fork.map_or(0, |(_, parent)| parent);
    }
    for Stretch { first, last } in stretches.into_iter().rev() {
        read(connection, (thread, first, last), &mut line.entries)?;
    }
    Ok(line)
}

/// The last entry up to `seq` that does not build on the one before it, and what it builds on.
fn last_fork(connection: &Connection, thread: i64, seq: i64) -> Result<Option<(i64, i64)>> {
    connection
        .prepare_cached(
            "SELECT seq, parent FROM entries INDEXED BY entries_fork
             WHERE thread = ?1 AND seq <= ?2 AND parent <> seq - 1 ORDER BY seq DESC LIMIT 1",
        )?
        .query_row([thread, seq], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// Where pruning has cut there is one that cannot be passed.
fn nearest_snapshot(
    connection: &Connection,
    (thread, first, last): (i64, i64, i64),
    from: From,
) -> Result<Option<i64>> {
    let all = match from {
        From::Snapshot => true,
        From::Root => false,
    };
    connection
        .prepare_cached(
            "SELECT max(seq) FROM snapshots
             WHERE thread = ?1 AND seq BETWEEN ?2 AND ?3 AND (?4 OR kept = 1)",
        )?
        .query_row(params![thread, first, last, all], |row| row.get(0))
}

fn snapshot(connection: &Connection, thread: i64, seq: i64) -> Result<Snapshot> {
    connection
        .prepare_cached(
            "SELECT holes, states, body, seq FROM snapshots WHERE thread = ?1 AND seq = ?2",
        )?
        .query_row([thread, seq], |row| {
            let states: States = filled(connection, thread, row)?;
            Ok(Snapshot { seq: Seq(unsigned(row, 3)?), states, body: parse(row, 2)? })
        })
}

fn read(
    connection: &Connection,
    (thread, first, last): (i64, i64, i64),
    entries: &mut Vec<Entry>,
) -> Result<()> {
    let mut find = connection.prepare_cached(
        "SELECT holes, writes, body, seq, parent, run, at, checkpoints FROM entries
         WHERE thread = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq",
    )?;
    let mut rows = find.query([thread, first, last])?;
    while let Some(row) = rows.next()? {
        entries.push(entry(connection, thread, row)?);
    }
    Ok(())
}

fn entry(connection: &Connection, thread: i64, row: &Row<'_>) -> Result<Entry> {
    let run: Option<[u8; 16]> = row.get(5)?;
    let writes: Vec<Write> = filled(connection, thread, row)?;
    Ok(Entry {
        seq: Seq(unsigned(row, 3)?),
        parent: Seq(unsigned(row, 4)?),
        run: run.map(RunId::from_bytes),
        at: moment(row, 6)?,
        checkpoints: parse_optional(row, 7)?.unwrap_or_default(),
        writes,
        body: parse(row, 2)?,
    })
}

/// The first column has the holes, the second one the text.
fn filled<T: DeserializeOwned>(connection: &Connection, thread: i64, row: &Row<'_>) -> Result<T> {
    let Some(holes) = row.get_ref(0)?.as_blob_or_null()? else { return parse(row, 1) };
    let mut find =
        connection.prepare_cached("SELECT value FROM blobs WHERE thread = ?1 AND digest = ?2")?;
    let mut pieces: HashMap<&[u8], String> = HashMap::new();
    for digest in large::digests(holes) {
        let piece = find.query_row(params![thread, digest], |row| row.get(0)).optional()?;
        pieces.extend(piece.map(|piece| (digest, piece)));
    }
    let unreadable = |problem: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(1, Type::Text, problem)
    };
    let piece = |digest: &[u8]| pieces.get(digest).map(String::as_str);
    let text = large::fill(row.get_ref(1)?.as_str()?, holes, piece)
        .map_err(|torn| unreadable(torn.into()))?;
    serde_json::from_str(&text).map_err(|problem| unreadable(problem.into()))
}

/// Entries without a checkpoint that build on `at`, directly or over others like them, oldest first.
pub(in super::super) fn progress(
    connection: &Connection,
    thread: i64,
    at: Seq,
) -> Result<Vec<Entry>> {
    let mut find = connection.prepare_cached(
        "WITH RECURSIVE built (seq) AS (
           VALUES (?2)
           UNION ALL SELECT e.seq FROM built b JOIN entries e
             ON e.thread = ?1 AND e.seq > b.seq AND e.parent = b.seq AND e.checkpoint IS NULL)
         SELECT holes, writes, body, seq, parent, run, at, checkpoints FROM entries
         WHERE thread = ?1 AND seq IN built AND seq <> ?2 ORDER BY seq",
    )?;
    let mut rows = find.query(params![thread, signed(at.0)])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(connection, thread, row)?);
    }
    Ok(entries)
}
