//! What each command does to the tables of threads. Nothing here begins or ends a transaction.
//!
//! A command that is refused writes nothing, so its neighbours in the transaction are not disturbed.

use agentry_core::{ThreadId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Result, params};

use super::super::write::Chain;
use super::codes::READY;
use super::command::{Threaded, Threading};
use super::desk::{Desk, Head};

pub(super) mod archive;
mod commit;
mod prune;
mod queue;
mod signal;
mod submit;

pub(in super::super) struct Work<'a> {
    pub connection: &'a Connection,
    pub chain: &'a mut Chain,
    pub desk: &'a mut Desk,
}

/// A thread's row, without what nobody decides on.
#[derive(Debug, Clone)]
struct Row {
    thread: i64,
    tenant: String,
    status: i64,
    program: Option<i64>,
    fence: i64,
    worker: Option<String>,
    queued: bool,
    priority: i64,
    since: i64,
    wake_at: Option<i64>,
}

/// What a thread at rest would be woken by.
struct News {
    message: bool,
    answer: bool,
    cancel: bool,
    /// A pending run whose turn has come.
    due: bool,
    /// When the turn of a pending run comes.
    later: Option<i64>,
    /// Others wait for this one.
    running: bool,
}

impl Work<'_> {
    pub(in super::super) fn apply(&mut self, command: &Threading) -> Result<Threaded> {
        match command {
            Threading::Submit(submission) => self.submit(submission).map(Threaded::Submitted),
            Threading::Intake(arrivals) => self.intake(arrivals),
            Threading::Claim(claim) => self.claim(claim).map(Threaded::Claimed),
            Threading::Take { thread, claim } => self.take(*thread, claim).map(Threaded::Taken),
            Threading::Renew { worker, until } => self.renew(worker, *until),
            Threading::Release { worker } => self.release(worker),
            Threading::Succeed { name, worker } => self.succeed(name, worker),
            Threading::Commit(decision) => self.commit(decision),
            Threading::Journal { thread, fence, key, value } => {
                self.journal((*thread, *fence), key, value.as_deref()).map(Threaded::Committed)
            }
            Threading::Message { thread, message } => {
                self.message(*thread, message).map(Threaded::Signalled)
            }
            Threading::Answer { thread, interrupt, answer, audit } => {
                let signalled = self.answer(*thread, interrupt, answer)?;
                self.signalled(signalled, audit)
            }
            Threading::Cancel { thread, run, cancel, audit } => {
                let signalled = self.cancel(*thread, *run, cancel)?;
                self.signalled(signalled, audit)
            }
            Threading::Create { thread, metadata } => {
                self.create(thread, metadata).map(Threaded::Created)
            }
            Threading::Describe { thread, metadata, now } => {
                self.describe(*thread, metadata, *now).map(Threaded::Found)
            }
            Threading::Copy { from, to, metadata } => self.copy(*from, to, metadata),
            Threading::Delete(thread) => self.delete(*thread).map(Threaded::Found),
            Threading::Prune { thread, keep } => self.prune(*thread, *keep).map(Threaded::Counted),
            Threading::Sweep { now, max } => self.sweep(*now, *max).map(Threaded::Counted),
            Threading::Retire { before, max } => self.retire(*before, *max).map(Threaded::Counted),
            Threading::DeleteRun(run) => self.delete_run(*run).map(Threaded::Found),
        }
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize> {
        self.connection.prepare_cached(sql)?.execute(values)
    }

    fn exists(&self, sql: &str, values: impl rusqlite::Params) -> Result<bool> {
        self.connection.prepare_cached(sql)?.query_row(values, |row| row.get(0))
    }

    fn row(&self, thread: ThreadId) -> Result<Option<Row>> {
        self.connection
            .prepare_cached(
                "SELECT thread, tenant, status, program, fence, worker, queued, priority, since, wake_at
                 FROM threads WHERE id = ?1",
            )?
            .query_row([thread.as_bytes()], |row| {
                Ok(Row {
                    thread: row.get(0)?,
                    tenant: row.get(1)?,
                    status: row.get(2)?,
                    program: row.get(3)?,
                    fence: row.get(4)?,
                    worker: row.get(5)?,
                    queued: row.get(6)?,
                    priority: row.get(7)?,
                    since: row.get(8)?,
                    wake_at: row.get(9)?,
                })
            })
            .optional()
    }

    /// Stores what was decided about a thread; whoever claims finds it if it is queued.
    fn save(&mut self, row: &Row) -> Result<()> {
        let Row {
            thread,
            tenant,
            status,
            program,
            fence,
            worker,
            queued,
            priority,
            since,
            wake_at,
        } = row;
        self.execute(
            "UPDATE threads SET status = ?2, program = ?3, fence = ?4, worker = ?5, queued = ?6,
               priority = ?7, since = ?8, wake_at = ?9 WHERE thread = ?1",
            params![thread, status, program, fence, worker, queued, priority, since, wake_at],
        )?;
        if let (true, Some(program)) = (queued, program) {
            self.desk.queues(self.connection)?.join((*program, *priority), tenant, *since);
        }
        Ok(())
    }

    /// Notes when the thread was changed other than by an entry.
    fn touch(&self, thread: i64, at: i64) -> Result<()> {
        self.execute(
            "UPDATE threads SET updated = ?2, floor = max(floor, coalesce(
               (SELECT max(seq) FROM entries e WHERE e.thread = threads.thread), 0))
             WHERE thread = ?1",
            params![thread, at],
        )
        .map(drop)
    }

    /// Makes it ready, if it rests.
    fn wake(&self, row: &mut Row, at: i64) -> Result<()> {
        if row.status != READY {
            row.status = READY;
            row.wake_at = None;
            row.since = at;
        }
        row.queued = match &row.worker {
            None => true,
            Some(worker) => !self.has_lease(worker)?,
        };
        Ok(())
    }

    /// Leases that are over are removed when somebody claims.
    fn has_lease(&self, worker: &str) -> Result<bool> {
        self.exists("SELECT EXISTS (SELECT 1 FROM leases WHERE worker = ?1)", [worker])
    }

    fn head(&mut self, thread: ThreadId) -> Result<Option<Head>> {
        if let Some(head) = self.desk.head(thread) {
            return Ok(Some(head));
        }
        let found = self
            .connection
            .prepare_cached(
                "SELECT thread, fence, worker IS NOT NULL, floor,
                   (SELECT max(seq) FROM entries e WHERE e.thread = t.thread)
                 FROM threads t WHERE id = ?1",
            )?
            .query_row([thread.as_bytes()], |row| {
                let (floor, last): (i64, Option<i64>) = (row.get(3)?, row.get(4)?);
                let seq = floor.max(last.unwrap_or(0));
                Ok(Head {
                    thread: row.get(0)?,
                    fence: row.get(1)?,
                    held: row.get(2)?,
                    seq,
                    kept: last == Some(seq),
                    cancel: false,
                    inbox: false,
                    author: None,
                })
            })
            .optional()?;
        let Some(head) = found else { return Ok(None) };
        let news = self.news(head.thread, 0)?;
        let head = Head { cancel: news.cancel, inbox: news.message || news.answer, ..head };
        self.desk.remember(thread, head);
        Ok(Some(head))
    }

    fn news(&self, thread: i64, now: i64) -> Result<News> {
        let sql = "SELECT
            EXISTS (SELECT 1 FROM inbox WHERE thread = ?1 AND consumed IS NULL),
            EXISTS (SELECT 1 FROM questions WHERE thread = ?1 AND closing IS NULL
                      AND answer IS NOT NULL),
            EXISTS (SELECT 1 FROM thread_runs WHERE thread = ?1 AND status < 2
                      AND cancel IS NOT NULL)
              OR coalesce((SELECT status = 2 AND cancel IS NOT NULL FROM thread_runs
                           WHERE thread = ?1 AND base IS NOT NULL
                           ORDER BY base DESC, run DESC LIMIT 1), 0),
            EXISTS (SELECT 1 FROM thread_runs WHERE thread = ?1 AND status < 2 AND status = 0
                      AND coalesce(not_before, ?2) <= ?2),
            (SELECT min(not_before) FROM thread_runs WHERE thread = ?1 AND status < 2
               AND status = 0),
            EXISTS (SELECT 1 FROM thread_runs WHERE thread = ?1 AND status < 2 AND status = 1)";
        self.connection.prepare_cached(sql)?.query_row([thread, now], |row| {
            let running: bool = row.get(5)?;
            Ok(News {
                message: row.get(0)?,
                answer: row.get(1)?,
                cancel: row.get(2)?,
                due: row.get::<_, bool>(3)? && !running,
                later: row.get::<_, Option<i64>>(4)?.filter(|_| !running),
                running,
            })
        })
    }

    /// What follows from the runs that there are.
    fn follow_runs(&self, row: &mut Row) -> Result<()> {
        let sql = "SELECT program, (SELECT max(priority) FROM thread_runs
                                    WHERE thread = ?1 AND status < 2)
                   FROM thread_runs WHERE thread = ?1 AND status < 2
                   ORDER BY status DESC, coalesce(not_before, created), run LIMIT 1";
        let found = self
            .connection
            .prepare_cached(sql)?
            .query_row([row.thread], |found| Ok((found.get(0)?, found.get(1)?)))
            .optional()?;
        if let Some((program, priority)) = found {
            row.program = Some(program);
            row.priority = priority;
        }
        Ok(())
    }
}

fn micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_micros)
}

fn unwritable(problem: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(problem))
}

fn unreadable(problem: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(problem))
}
