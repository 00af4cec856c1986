//! Lists: threads, runs, checkpoints, events and open questions.

use agentry_core::run::{Event, Seq};
use agentry_core::thread::{Checkpoint, EventId, Interrupt, Run, Thread, Told};
use agentry_core::threads::{CheckpointQuery, Found, Order, RunQuery, ThreadQuery};
use agentry_core::{RunId, ThreadId};
use rusqlite::{Connection, Result, Row, ToSql, params};
use serde_json::{Map, Value};

use super::super::super::command::signed;
use super::super::super::read::{moment, parse, parse_optional, unsigned};
use super::super::codes;
use super::line::entry_of;
use super::{INTERRUPT, RUN, THREAD, interrupt, number, run_row, thread_row};

/// Which threads: `?1` tenant, `?2` status, `?3` graph, or nothing.
const WANTED: &str = "(?1 IS NULL OR t.tenant = ?1) AND (?2 IS NULL OR t.status = ?2)
    AND (?3 IS NULL OR p.graph = ?3)";
const UPDATED: &str = "CASE WHEN h.seq > t.floor THEN h.at ELSE t.updated END";

pub(in super::super) fn threads(
    connection: &Connection,
    query: &ThreadQuery,
) -> Result<Vec<Thread>> {
    let order = match query.order {
        Order::CreatedNewest => "t.created DESC, t.id DESC".to_owned(),
        Order::CreatedOldest => "t.created, t.id".to_owned(),
        Order::UpdatedNewest => format!("{UPDATED} DESC, t.id DESC"),
        Order::UpdatedOldest => format!("{UPDATED}, t.id"),
    };
    let mut found = Vec::new();
    let mut left = query.offset;
    each_thread(connection, query, &order, |row| {
        if found.len() >= query.max {
            return Ok(false);
        }
        if left > 0 {
            left -= 1;
        } else {
            found.push(thread_row(row)?);
        }
        Ok(true)
    })?;
    Ok(found)
}

pub(in super::super) fn count(connection: &Connection, query: &ThreadQuery) -> Result<u64> {
    let mut found = 0;
    each_thread(connection, query, "NULL", |_| {
        found += 1;
        Ok(true)
    })?;
    Ok(found)
}

/// Until `each` has enough.
fn each_thread(
    connection: &Connection,
    query: &ThreadQuery,
    order: &str,
    mut each: impl FnMut(&Row<'_>) -> Result<bool>,
) -> Result<()> {
    let ThreadQuery { tenant, status, graph, metadata, ids, offset: _, max: _, order: _ } = query;
    // Each index is used only when its column is named alone.
    let (which, ids) = if !ids.is_empty() {
        let ids: Vec<_> = ids.iter().map(|id| format!("\"{}\"", hex(id))).collect();
        ("t.id IN (SELECT unhex(value) FROM json_each(?4))", Some(format!("[{}]", ids.join(","))))
    } else if tenant.is_some() {
        ("t.tenant = ?1 AND ?4 IS NULL", None)
    } else {
        ("?4 IS NULL", None)
    };
    let sql = format!("SELECT {THREAD} WHERE {which} AND {WANTED} ORDER BY {order}");
    let mut find = connection.prepare_cached(&sql)?;
    let mut rows = find.query(params![tenant, status.map(codes::status), graph, ids])?;
    while let Some(row) = rows.next()? {
        if has(row, 5, metadata)? && !each(row)? {
            break;
        }
    }
    Ok(())
}

fn hex(id: &ThreadId) -> String {
    id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the JSON object in `column` has `members`.
fn has(row: &Row<'_>, column: usize, members: &Map<String, Value>) -> Result<bool> {
    if members.is_empty() {
        return Ok(true);
    }
    let all: Map<String, Value> = parse(row, column)?;
    Ok(members.iter().all(|(name, value)| all.get(name) == Some(value)))
}

pub(in super::super) fn runs(connection: &Connection, query: &RunQuery) -> Result<Vec<Run>> {
    let RunQuery { tenant, thread, graph, status, metadata, before, offset, max } = query;
    let thread = match thread {
        None => None,
        Some(id) => match number(connection, *id)? {
            None => return Ok(Vec::new()),
            number => number,
        },
    };
    // Each index is used only when its column is named alone.
    let (which, of): (&str, &dyn ToSql) = match (&thread, tenant) {
        (Some(thread), _) => ("r.thread = ?1", thread),
        (None, Some(tenant)) => ("r.tenant = ?1", tenant),
        (None, None) => ("?1 IS NULL", &rusqlite::types::Null),
    };
    let mut find = connection.prepare_cached(&format!(
        "SELECT {RUN} WHERE {which} AND (?2 IS NULL OR r.tenant = ?2)
           AND (?3 IS NULL OR p.graph = ?3) AND (?4 IS NULL OR r.status = ?4)
           AND (?5 IS NULL OR r.id < ?5) ORDER BY r.id DESC"
    ))?;
    let before = before.as_ref().map(RunId::as_bytes);
    let mut rows = find.query(params![of, tenant, graph, status.map(codes::run_status), before])?;
    let (mut found, mut left) = (Vec::new(), *offset);
    while found.len() < *max
        && let Some(row) = rows.next()?
    {
        if !has(row, 10, metadata)? {
            continue;
        }
        if left > 0 {
            left -= 1;
        } else {
            found.push(run_row(row)?);
        }
    }
    Ok(found)
}

pub(in super::super) fn checkpoints(
    connection: &Connection,
    thread: i64,
    query: &CheckpointQuery,
) -> Result<Vec<Found>> {
    let CheckpointQuery { ns, source, metadata, before, max } = query;
    let before = match before {
        None => i64::MAX,
        Some(id) => match entry_of(connection, thread, *id)? {
            None => return Ok(Vec::new()),
            Some(seq) => signed(seq.0),
        },
    };
    let matches = |checkpoint: &Checkpoint| {
        let described =
            metadata.iter().all(|(name, value)| checkpoint.metadata.get(name) == Some(value));
        let ns = ns.as_ref().is_none_or(|ns| *ns == checkpoint.ns);
        described && ns && source.is_none_or(|source| source == checkpoint.source)
    };
    let mut find = connection.prepare_cached(
        "SELECT seq, run, at, checkpoints FROM entries
         WHERE thread = ?1 AND seq < ?2 AND checkpoints IS NOT NULL ORDER BY seq DESC",
    )?;
    let mut rows = find.query([thread, before])?;
    let mut found = Vec::new();
    while found.len() < *max
        && let Some(row) = rows.next()?
    {
        let run: Option<[u8; 16]> = row.get(1)?;
        let checkpoints: Vec<Checkpoint> = parse_optional(row, 3)?.unwrap_or_default();
        for checkpoint in checkpoints.into_iter().rev().filter(matches) {
            found.push(Found {
                seq: Seq(unsigned(row, 0)?),
                run: run.map(RunId::from_bytes),
                at: moment(row, 2)?,
                checkpoint,
            });
        }
    }
    found.truncate(*max);
    Ok(found)
}

pub(in super::super) fn events(
    connection: &Connection,
    thread: i64,
    run: Option<RunId>,
    (after, max): (EventId, usize),
) -> Result<Vec<Told>> {
    let mut find = connection.prepare_cached(
        "SELECT seq, run, events FROM entries
         WHERE thread = ?1 AND seq >= ?2 AND events IS NOT NULL AND (?3 IS NULL OR run = ?3)
         ORDER BY seq",
    )?;
    let run = run.as_ref().map(RunId::as_bytes);
    let mut rows = find.query(params![thread, signed(after.seq.0), run])?;
    let mut told = Vec::new();
    while told.len() < max
        && let Some(row) = rows.next()?
    {
        let seq = Seq(unsigned(row, 0)?);
        let run: Option<[u8; 16]> = row.get(1)?;
        let events: Vec<Event> = parse(row, 2)?;
        for (index, event) in (0..).zip(events) {
            let id = EventId { seq, index };
            if id > after {
                told.push(Told { id, run: run.map(RunId::from_bytes), event });
            }
        }
    }
    told.truncate(max);
    Ok(told)
}

pub(in super::super) fn questions(
    connection: &Connection,
    thread: Option<i64>,
    max: i64,
) -> Result<Vec<Interrupt>> {
    let mut find = connection.prepare_cached(&format!(
        "SELECT {INTERRUPT} WHERE q.closing IS NULL AND q.answer IS NULL AND q.asked IS NOT NULL
           AND (?1 IS NULL OR q.thread = ?1) ORDER BY q.opened, t.id, q.id LIMIT ?2"
    ))?;
    find.query_map(params![thread, max], interrupt)?.collect()
}
