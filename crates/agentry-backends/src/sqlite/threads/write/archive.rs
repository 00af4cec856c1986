//! Threads that are made, described, copied, deleted and swept.

use agentry_core::thread::NewThread;
use agentry_core::{ThreadId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Result, params};
use serde_json::{Map, Value};

use super::super::codes::INTERRUPTED;
use super::super::command::{Creation, Threaded};
use super::{Work, unreadable, unwritable};

/// What one round of clearing up removes at most, so that nobody waits for it long.
const LEFTOVERS_MAX: i64 = 256;

impl Work<'_> {
    pub(super) fn create(&mut self, thread: &NewThread, metadata: &str) -> Result<Creation> {
        let known: Option<String> = self
            .connection
            .prepare_cached("SELECT tenant FROM threads WHERE id = ?1")?
            .query_row([thread.id.as_bytes()], |row| row.get(0))
            .optional()?;
        match known {
            Some(tenant) if tenant == thread.tenant => Ok(Creation::Existing),
            Some(_) => Ok(Creation::Foreign),
            None => self.insert_thread(thread, metadata).map(|_| Creation::New),
        }
    }

    fn insert_thread(&self, thread: &NewThread, metadata: &str) -> Result<i64> {
        let keep_for = thread.keep_for.map(|span| i64::try_from(span.as_micros()));
        self.execute(
            "INSERT INTO threads (id, tenant, since, created, updated, keep_for, metadata)
             VALUES (?1, ?2, ?3, ?3, ?3, ?4, ?5)",
            params![
                thread.id.as_bytes(),
                thread.tenant,
                thread.created.as_micros(),
                keep_for.map(|span| span.unwrap_or(i64::MAX / 2)),
                metadata
            ],
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    pub(super) fn describe(
        &mut self,
        thread: ThreadId,
        changes: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<bool> {
        let found: Option<(i64, String)> = self
            .connection
            .prepare_cached("SELECT thread, metadata FROM threads WHERE id = ?1")?
            .query_row([thread.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((number, metadata)) = found else { return Ok(false) };
        let mut metadata: Map<String, Value> =
            serde_json::from_str(&metadata).map_err(unreadable)?;
        for (name, value) in changes {
            if value.is_null() {
                metadata.shift_remove(name);
            } else {
                metadata.insert(name.clone(), value.clone());
            }
        }
        let metadata = serde_json::to_string(&metadata).map_err(unwritable)?;
        self.execute(
            "UPDATE threads SET metadata = ?2 WHERE thread = ?1",
            params![number, metadata],
        )?;
        self.touch(number, now.as_micros())?;
        Ok(true)
    }

    pub(super) fn copy(
        &mut self,
        from: ThreadId,
        to: &NewThread,
        metadata: &str,
    ) -> Result<Threaded> {
        if self.row(to.id)?.is_some() {
            return Ok(Threaded::Refused(format!("there is a thread {} already", to.id)));
        }
        let from = self.row(from)?.filter(|row| row.tenant == to.tenant);
        let Some(from) = from else { return Ok(Threaded::Found(false)) };
        let copy = self.insert_thread(to, metadata)?;
        let both = params![copy, from.thread];
        self.execute(
            "UPDATE threads SET program = f.program, floor = max(f.floor, coalesce(
               (SELECT max(seq) FROM entries WHERE thread = ?2), 0))
             FROM (SELECT program, floor FROM threads WHERE thread = ?2) f WHERE thread = ?1",
            both,
        )?;
        if from.status == INTERRUPTED {
            self.execute(
                "UPDATE threads SET status = 3, wake_at = (
                   SELECT min(deadline) FROM questions
                   WHERE thread = ?2 AND closing IS NULL AND answer IS NULL)
                 WHERE thread = ?1",
                both,
            )?;
        }
        // Nobody has committed them to the copy, nor told of them.
        self.execute(
            "INSERT INTO entries (thread, seq, parent, fence, at, run, checkpoint, checkpoints, events,
               holes, body, writes)
             SELECT ?1, seq, parent, 0, at, run, checkpoint, checkpoints, NULL, holes, body, writes
             FROM entries WHERE thread = ?2 ORDER BY seq",
            both,
        )?;
        for rest in [
            "INSERT INTO checkpoints (thread, id, seq)
             SELECT ?1, id, seq FROM checkpoints WHERE thread = ?2",
            "INSERT INTO authors (run, thread) SELECT run, ?1 FROM authors WHERE thread = ?2",
            "INSERT INTO blobs (thread, digest, derived, value)
             SELECT ?1, digest, derived, value FROM blobs WHERE thread = ?2",
            "INSERT INTO snapshots (thread, seq, kept, holes, body, states)
             SELECT ?1, seq, kept, holes, body, states FROM snapshots WHERE thread = ?2",
            "INSERT INTO effects (thread, key, value)
             SELECT ?1, key, value FROM effects WHERE thread = ?2 AND value IS NOT NULL
             ORDER BY effect",
            "INSERT INTO questions (thread, id, run, ns, node, asked, schema, opened, deadline,
               on_timeout, escalations)
             SELECT ?1, id, run, ns, node, asked, schema, opened, deadline, on_timeout, escalations
             FROM questions WHERE thread = ?2 AND closing IS NULL AND answer IS NULL
             ORDER BY question",
        ] {
            self.execute(rest, both)?;
        }
        Ok(Threaded::Found(true))
    }

    /// It is gone at once; what it has written is removed bit by bit.
    pub(super) fn delete(&mut self, thread: ThreadId) -> Result<bool> {
        let Some(row) = self.row(thread)? else { return Ok(false) };
        for rest in [
            "DELETE FROM threads WHERE thread = ?1",
            "DELETE FROM thread_runs WHERE thread = ?1",
            "DELETE FROM authors WHERE thread = ?1",
            "DELETE FROM questions WHERE thread = ?1",
            "DELETE FROM bygone WHERE thread = ?1",
            "INSERT INTO leftovers (thread) VALUES (?1)",
        ] {
            self.execute(rest, [row.thread])?;
        }
        self.desk.drop_head(thread);
        self.desk.litter = true;
        Ok(true)
    }

    pub(super) fn sweep(&mut self, now: Timestamp, max: usize) -> Result<u64> {
        let mut over = self.connection.prepare_cached(
            "SELECT id FROM threads t
             WHERE keep_for IS NOT NULL AND updated + keep_for <= ?1 AND worker IS NULL
               AND status NOT IN (1, 2)
               AND NOT EXISTS (SELECT 1 FROM thread_runs r
                               WHERE r.thread = t.thread AND r.status < 2)
             ORDER BY updated + keep_for LIMIT ?2",
        )?;
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let over = over.query_map([now.as_micros(), max], |row| row.get(0))?;
        let over = over.collect::<Result<Vec<[u8; 16]>>>()?;
        self.delete_all(&over)
    }

    pub(super) fn retire(&mut self, before: Timestamp, max: usize) -> Result<u64> {
        let mut over = self.connection.prepare_cached(
            "SELECT id FROM threads t
             WHERE keep_for IS NULL AND updated < ?1 AND worker IS NULL AND status IN (0, 4)
               AND NOT EXISTS (SELECT 1 FROM thread_runs r
                               WHERE r.thread = t.thread AND r.status < 2)
             ORDER BY updated LIMIT ?2",
        )?;
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let over = over.query_map([before.as_micros(), max], |row| row.get(0))?;
        let over = over.collect::<Result<Vec<[u8; 16]>>>()?;
        self.delete_all(&over)
    }

    fn delete_all(&mut self, threads: &[[u8; 16]]) -> Result<u64> {
        for thread in threads {
            self.delete(ThreadId::from_bytes(*thread))?;
        }
        Ok(threads.len() as u64)
    }
}

/// Removes some of what deleted threads have left, in a transaction of its own. Whether something may be left then.
pub(in super::super::super) fn clear_up(connection: &Connection) -> Result<bool> {
    let transaction = connection.unchecked_transaction()?;
    let more = clear_up_some(&transaction)?;
    transaction.commit()?;
    Ok(more)
}

fn clear_up_some(connection: &Connection) -> Result<bool> {
    let thread: Option<i64> = connection
        .prepare_cached("SELECT thread FROM leftovers ORDER BY thread LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let Some(thread) = thread else { return Ok(false) };
    let mut budget = LEFTOVERS_MAX;
    for table in [
        "DELETE FROM entries WHERE entry IN (
           SELECT entry FROM entries WHERE thread = ?1 LIMIT ?2)",
        "DELETE FROM blobs WHERE blob IN (SELECT blob FROM blobs WHERE thread = ?1 LIMIT ?2)",
        "DELETE FROM snapshots WHERE snapshot IN (
           SELECT snapshot FROM snapshots WHERE thread = ?1 LIMIT ?2)",
        "DELETE FROM checkpoints WHERE thread = ?1 AND id IN (
           SELECT id FROM checkpoints WHERE thread = ?1 LIMIT ?2)",
        "DELETE FROM inbox WHERE entry IN (SELECT entry FROM inbox WHERE thread = ?1 LIMIT ?2)",
        "DELETE FROM effects WHERE effect IN (SELECT effect FROM effects WHERE thread = ?1 LIMIT ?2)",
    ] {
        let removed = connection.prepare_cached(table)?.execute([thread, budget])?;
        budget -= i64::try_from(removed).unwrap_or(budget);
        if budget <= 0 {
            return Ok(true);
        }
    }
    connection.prepare_cached("DELETE FROM leftovers WHERE thread = ?1")?.execute([thread])?;
    Ok(true)
}
