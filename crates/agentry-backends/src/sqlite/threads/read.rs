//! Questions about threads, each in one short read transaction.

use std::collections::BTreeMap;
use std::time::Duration;

use agentry_core::run::{Effect, Message, Seq};
use agentry_core::thread::{Interrupt, Line, Loaded, Pinned, Run, Thread};
use agentry_core::threads::From;
use agentry_core::{RunId, ThreadId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Result, Row, params};

use super::super::read::{moment, optional_moment, parse, parse_optional, unsigned};
use super::codes;

pub(super) mod line;
pub(super) mod list;

/// What [`thread_row`] reads, of `threads t`; the last column is the thread's number.
pub(super) const THREAD: &str = "
    t.id, t.tenant, t.status, p.graph, p.version, t.metadata, t.created, t.updated, t.floor, t.wake_at,
    t.keep_for, h.seq, h.at, t.thread
  FROM threads t LEFT JOIN programs p ON p.program = t.program
    LEFT JOIN entries h ON h.thread = t.thread
      AND h.seq = (SELECT max(seq) FROM entries e WHERE e.thread = t.thread)";

pub(super) fn thread_row(row: &Row<'_>) -> Result<Thread> {
    let graph: Option<String> = row.get(3)?;
    let version: Option<String> = row.get(4)?;
    let floor = unsigned(row, 8)?;
    let head = row.get::<_, Option<i64>>(11)?.map_or(0, |seq| u64::try_from(seq).unwrap_or(0));
    let updated = if head > floor { moment(row, 12)? } else { moment(row, 7)? };
    let keep_for: Option<i64> = row.get(10)?;
    Ok(Thread {
        id: ThreadId::from_bytes(row.get(0)?),
        tenant: row.get(1)?,
        status: codes::to_status(row.get(2)?),
        seq: Seq(head.max(floor)),
        program: graph.zip(version).map(|(graph, version)| Pinned { graph, version }),
        metadata: parse(row, 5)?,
        created: moment(row, 6)?,
        updated,
        wake_at: optional_moment(row, 9)?,
        keep_for: keep_for.map(|span| Duration::from_micros(u64::try_from(span).unwrap_or(0))),
    })
}

/// What [`run_row`] reads, of `thread_runs r`.
pub(super) const RUN: &str = "
    r.id, t.id, r.tenant, r.key, p.graph, p.version, r.status, r.input, r.multitask, r.priority,
    r.metadata, r.created, r.updated, r.not_before, r.deadline, r.base, r.cancel, r.reason, r.ephemeral
  FROM thread_runs r JOIN threads t USING (thread) JOIN programs p ON p.program = r.program";

pub(super) fn run_row(row: &Row<'_>) -> Result<Run> {
    let base: Option<i64> = row.get(15)?;
    Ok(Run {
        id: RunId::from_bytes(row.get(0)?),
        thread: ThreadId::from_bytes(row.get(1)?),
        tenant: row.get(2)?,
        key: row.get(3)?,
        program: Pinned { graph: row.get(4)?, version: row.get(5)? },
        status: codes::to_run_status(row.get(6)?),
        input: parse(row, 7)?,
        multitask: codes::to_multitask(row.get(8)?),
        priority: codes::to_priority(row.get(9)?),
        metadata: parse(row, 10)?,
        created: moment(row, 11)?,
        updated: moment(row, 12)?,
        not_before: optional_moment(row, 13)?,
        deadline: optional_moment(row, 14)?,
        base: base.map(|base| Seq(u64::try_from(base).unwrap_or(0))),
        cancel: parse_optional(row, 16)?,
        reason: row.get(17)?,
        ephemeral: row.get(18)?,
    })
}

pub(super) fn thread(connection: &Connection, id: ThreadId) -> Result<Option<Thread>> {
    Ok(numbered(connection, id)?.map(|(thread, _)| thread))
}

fn numbered(connection: &Connection, id: ThreadId) -> Result<Option<(Thread, i64)>> {
    connection
        .prepare_cached(&format!("SELECT {THREAD} WHERE t.id = ?1"))?
        .query_row([id.as_bytes()], |row| Ok((thread_row(row)?, row.get(13)?)))
        .optional()
}

/// Its number in the tables.
pub(super) fn number(connection: &Connection, id: ThreadId) -> Result<Option<i64>> {
    connection
        .prepare_cached("SELECT thread FROM threads WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()
}

pub(super) fn load(connection: &Connection, id: ThreadId) -> Result<Option<Loaded>> {
    let Some((thread, number)) = numbered(connection, id)? else { return Ok(None) };
    let line = match line::head(connection, number)? {
        Seq(0) => Line::default(),
        head => line::line(connection, number, head, From::Snapshot)?,
    };
    Ok(Some(Loaded {
        line,
        journal: journal(connection, number)?,
        inbox: inbox(connection, number)?,
        interrupts: interrupts(connection, number)?,
        runs: current_runs(connection, number)?,
        thread,
    }))
}

fn journal(connection: &Connection, thread: i64) -> Result<BTreeMap<String, Effect>> {
    let mut find = connection.prepare_cached("SELECT key, value FROM effects WHERE thread = ?1")?;
    let effects = find.query_map([thread], |row| {
        let effect = match parse_optional(row, 1)? {
            Some(value) => Effect::Done { value },
            None => Effect::Intended,
        };
        Ok((row.get(0)?, effect))
    })?;
    effects.collect()
}

fn inbox(connection: &Connection, thread: i64) -> Result<Vec<Message>> {
    let mut find = connection.prepare_cached(
        "SELECT id, channel, payload, at FROM inbox
         WHERE thread = ?1 AND consumed IS NULL ORDER BY entry",
    )?;
    let messages = find.query_map([thread], |row| {
        let (payload, at) = (parse(row, 2)?, moment(row, 3)?);
        Ok(Message { id: row.get(0)?, channel: row.get(1)?, payload, at })
    })?;
    messages.collect()
}

/// What [`interrupt`] reads, of `questions q`.
pub(super) const INTERRUPT: &str = "
    t.id, q.run, q.id, q.ns, q.node, q.asked, q.schema, q.opened, q.deadline, q.on_timeout,
    q.escalations, q.answer
  FROM questions q JOIN threads t USING (thread)";

pub(super) fn interrupt(row: &Row<'_>) -> Result<Interrupt> {
    Ok(Interrupt {
        thread: ThreadId::from_bytes(row.get(0)?),
        run: RunId::from_bytes(row.get(1)?),
        id: row.get(2)?,
        ns: row.get(3)?,
        node: row.get(4)?,
        question: parse_optional(row, 5)?,
        schema: parse_optional(row, 6)?,
        opened: moment(row, 7)?,
        deadline: optional_moment(row, 8)?,
        on_timeout: parse(row, 9)?,
        escalations: row.get(10)?,
        answer: parse_optional(row, 11)?,
    })
}

fn interrupts(connection: &Connection, thread: i64) -> Result<Vec<Interrupt>> {
    let mut find = connection.prepare_cached(&format!(
        "SELECT {INTERRUPT} WHERE q.thread = ?1 AND q.closing IS NULL ORDER BY q.question"
    ))?;
    find.query_map([thread], interrupt)?.collect()
}

/// Those that are not over, and the one that last began.
fn current_runs(connection: &Connection, thread: i64) -> Result<Vec<Run>> {
    let mut find = connection.prepare_cached(&format!(
        "SELECT {RUN} WHERE r.run IN (
           SELECT run FROM thread_runs WHERE thread = ?1 AND status < 2
           UNION SELECT run FROM (SELECT run FROM thread_runs
             WHERE thread = ?1 AND base IS NOT NULL ORDER BY base DESC, run DESC LIMIT 1))
         ORDER BY r.run"
    ))?;
    find.query_map([thread], run_row)?.collect()
}

pub(super) fn run(connection: &Connection, id: RunId) -> Result<Option<Run>> {
    connection
        .prepare_cached(&format!("SELECT {RUN} WHERE r.id = ?1"))?
        .query_row([id.as_bytes()], run_row)
        .optional()
}

pub(super) fn mail(connection: &Connection, worker: &str) -> Result<Vec<ThreadId>> {
    let mut find = connection.prepare_cached(
        "SELECT id FROM threads t WHERE worker = ?1 AND (
           EXISTS (SELECT 1 FROM inbox i WHERE i.thread = t.thread AND consumed IS NULL)
           OR EXISTS (SELECT 1 FROM questions q WHERE q.thread = t.thread AND closing IS NULL
                        AND answer IS NOT NULL)
           OR EXISTS (SELECT 1 FROM thread_runs r WHERE r.thread = t.thread AND r.status < 2
                        AND (cancel IS NOT NULL OR (r.status = 0 AND not_before IS NULL
                          AND NOT EXISTS (SELECT 1 FROM thread_runs o WHERE o.thread = t.thread
                                            AND o.status < 2 AND o.status = 1))))
           OR coalesce((SELECT r.status = 2 AND cancel IS NOT NULL FROM thread_runs r
                        WHERE r.thread = t.thread AND base IS NOT NULL
                        ORDER BY base DESC, run DESC LIMIT 1), 0))
         ORDER BY id",
    )?;
    find.query_map([worker], |row| row.get(0).map(ThreadId::from_bytes))?.collect()
}

pub(super) fn next_wake(connection: &Connection) -> Result<Option<Timestamp>> {
    let sql = "SELECT min(wake_at) FROM (
                 SELECT * FROM (SELECT wake_at FROM threads
                   WHERE queued = 0 AND wake_at IS NOT NULL AND worker IS NULL
                   ORDER BY wake_at LIMIT 1)
                 UNION ALL SELECT * FROM (SELECT wake_at FROM threads
                   WHERE queued = 1 AND wake_at IS NOT NULL AND worker IS NULL
                   ORDER BY wake_at LIMIT 1))";
    connection.prepare_cached(sql)?.query_row(params![], |row| optional_moment(row, 0))
}
