//! What each command does to the tables. Nothing here begins or ends a transaction.
//!
//! A command that is refused writes nothing, so its neighbours in the transaction are not disturbed. A command checks
//! before it writes.

use std::collections::{HashMap, HashSet};

use agentry_core::audit::{self, Digest};
use agentry_core::keys::Changed;
use agentry_core::run::{Closing, Committed, Fence, Next, Status};
use agentry_core::store::{Claim, Signalled, Submitted};
use agentry_core::{RunId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Result, params};

use super::command::{Command, Commit, Outcome, Prepared, Submission, signed};
use super::threads::{Desk, Work};

/// The end of the audit chain.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Chain {
    number: u64,
    digest: Digest,
}

impl Chain {
    pub(super) fn load(connection: &Connection) -> Result<Self> {
        let sql = "SELECT number, digest FROM audit ORDER BY number DESC LIMIT 1";
        let last = connection
            .query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
            .optional()?;
        let Some((number, digest)) = last else { return Ok(Self::default()) };
        let digest = digest.parse().map_err(|problem| {
            rusqlite::Error::FromSqlConversionFailure(
                1,
                rusqlite::types::Type::Text,
                Box::new(problem),
            )
        })?;
        Ok(Self { number: u64::try_from(number).unwrap_or(0), digest })
    }

    /// Adds entries at its end.
    pub(super) fn link(&mut self, connection: &Connection, entries: &[audit::Entry]) -> Result<()> {
        for entry in entries {
            let record = audit::Record::link(self.number, self.digest, entry)
                .map_err(|problem| rusqlite::Error::ToSqlConversionFailure(Box::new(problem)))?;
            connection
                .prepare_cached("INSERT INTO audit (number, entry, digest) VALUES (?1, ?2, ?3)")?
                .execute(params![signed(record.number), record.entry, record.digest.to_string()])?;
            *self = Self { number: record.number, digest: record.digest };
        }
        Ok(())
    }
}

pub(super) struct Transaction<'a> {
    pub connection: &'a Connection,
    pub chain: &'a mut Chain,
    pub desk: &'a mut Desk,
}

struct Row {
    run: i64,
    seq: i64,
    fence: i64,
    held: bool,
    cancel: bool,
    status: Status,
}

impl Row {
    fn holds(&self, fence: i64) -> bool {
        self.held && self.fence == fence
    }
}

impl Transaction<'_> {
    pub(super) fn apply(&mut self, command: &Command) -> Result<Outcome> {
        match command {
            Command::Submit(submission) => self.submit(submission).map(Outcome::Submitted),
            Command::Intake(prepared) => self.intake(prepared),
            Command::Claim(claim) => self.claim(claim).map(Outcome::Claimed),
            Command::Renew { worker, lease_until } => self.renew(worker, *lease_until),
            Command::Release { worker } => self.release(worker),
            Command::Commit(commit) => self.commit(commit),
            Command::Journal { run, fence, key, value } => {
                self.journal((*run, *fence), key, value.as_deref())
            }
            Command::Message { run, message } => {
                self.message(*run, message).map(Outcome::Signalled)
            }
            Command::Answer { run, interrupt, answer, audit } => {
                let signalled = self.answer(*run, interrupt, answer)?;
                self.signalled(signalled, audit)
            }
            Command::Cancel { run, reason, audit } => {
                let signalled = self.cancel(*run, reason)?;
                self.signalled(signalled, audit)
            }
            Command::Bookkeeping(bookkeeping) => {
                bookkeeping.apply(self.connection).map(Outcome::Booked)
            }
            Command::Answering(answering) => {
                answering.apply(self.connection).map(Outcome::Answered)
            }
            Command::Batching(batching) => batching.apply(self.connection).map(Outcome::Batched),
            Command::Shelving(shelving) => shelving.apply(self.connection).map(Outcome::Shelved),
            Command::Staffing(staffing) => staffing.apply(self.connection).map(Outcome::Staffed),
            Command::Timing(timing) => timing.apply(self.connection).map(Outcome::Timed),
            Command::Keeping(keeping) => {
                let changed = keeping.apply(self.connection)?;
                if let Changed::Done(_) = changed {
                    self.link(keeping.audit())?;
                }
                Ok(Outcome::Kept(changed))
            }
            Command::Threading(threading) => {
                let Transaction { connection, chain, desk } = self;
                Work { connection, chain, desk }.apply(threading).map(Outcome::Threaded)
            }
        }
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize> {
        self.connection.prepare_cached(sql)?.execute(values)
    }

    fn exists(&self, sql: &str, values: impl rusqlite::Params) -> Result<bool> {
        self.connection.prepare_cached(sql)?.query_row(values, |row| row.get(0))
    }

    fn row(&self, run: RunId) -> Result<Option<Row>> {
        self.connection
            .prepare_cached(
                "SELECT run, seq, fence, worker IS NOT NULL, cancel IS NOT NULL, status
                 FROM runs WHERE id = ?1",
            )?
            .query_row([run.as_bytes()], |row| {
                Ok(Row {
                    run: row.get(0)?,
                    seq: row.get(1)?,
                    fence: row.get(2)?,
                    held: row.get(3)?,
                    cancel: row.get(4)?,
                    status: status_from(row.get_ref(5)?.as_str()?),
                })
            })
            .optional()
    }

    fn submit(&self, submission: &Submission) -> Result<Submitted> {
        let Submission { run, input } = submission;
        let created = self.execute(
            "INSERT INTO runs (id, key, graph, version, status, created, updated, deadline, input)
             VALUES (?1, ?2, ?3, ?4, 'ready', ?5, ?5, ?6, ?7)
             ON CONFLICT (key) DO NOTHING",
            params![
                run.id.as_bytes(),
                run.key,
                run.graph,
                run.version,
                run.created.as_micros(),
                run.deadline.map(Timestamp::as_micros),
                input
            ],
        )?;
        if created > 0 {
            return Ok(Submitted::Created(run.id));
        }
        let known = self
            .connection
            .prepare_cached("SELECT id FROM runs WHERE key = ?1")?
            .query_row([&run.key], |row| row.get(0))?;
        Ok(Submitted::Existing(RunId::from_bytes(known)))
    }

    fn intake(&mut self, prepared: &Prepared) -> Result<Outcome> {
        let Prepared { records, submit, messages, audit } = prepared;
        let submitted: HashSet<_> = submit.iter().map(|it| it.run.id).collect();
        for (run, _) in messages {
            if !submitted.contains(run) && self.row(*run)?.is_none() {
                return Ok(no_such_run(*run));
            }
        }
        let mut same = HashMap::new();
        for submission in submit {
            let (Submitted::Created(id) | Submitted::Existing(id)) = self.submit(submission)?;
            same.insert(submission.run.id, id);
        }
        for (run, message) in messages {
            let run = same.get(run).copied().unwrap_or(*run);
            if let Some(row) = self.row(run)? {
                self.deliver(&row, message)?;
            }
        }
        let sql = "INSERT INTO records (topic, key, payload) VALUES (?1, ?2, ?3)";
        let mut insert = self.connection.prepare_cached(sql)?;
        for record in records {
            insert.execute(params![record.0, record.1, record.2])?;
        }
        self.link(audit)?;
        Ok(Outcome::Stored)
    }

    fn link(&mut self, entries: &[audit::Entry]) -> Result<()> {
        self.chain.link(self.connection, entries)
    }

    fn claim(&self, claim: &Claim) -> Result<Vec<(RunId, Fence)>> {
        let graphs = serde_json::to_string(&claim.graphs)
            .map_err(|problem| rusqlite::Error::ToSqlConversionFailure(Box::new(problem)))?;
        let now = claim.now.as_micros();
        let mut find = self.connection.prepare_cached(
            "WITH mine AS MATERIALIZED (
               SELECT value ->> 0 AS graph, value ->> 1 AS version FROM json_each(?1)
             )
             SELECT run, id, fence FROM (
               SELECT * FROM (
                 SELECT run, id, fence, updated FROM runs
                 WHERE status = 'ready' AND worker IS NULL AND (graph, version) IN mine
                 ORDER BY updated LIMIT ?3)
               UNION ALL SELECT * FROM (
                 SELECT run, id, fence, updated FROM runs
                 WHERE status = 'parked' AND wake_at <= ?2 AND (graph, version) IN mine
                 ORDER BY wake_at LIMIT ?3)
               UNION ALL SELECT * FROM (
                 SELECT run, id, fence, updated FROM runs
                 WHERE worker IS NOT NULL AND worker <> ?4 AND (graph, version) IN mine
                   AND worker NOT IN (SELECT worker FROM workers WHERE lease_until > ?2)
                 LIMIT ?3)
             ) ORDER BY updated, id LIMIT ?3",
        )?;
        let runs_max = signed(claim.runs_max as u64);
        let found = find.query_map(params![graphs, now, runs_max, claim.worker], |row| {
            Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get::<_, i64>(2)?))
        })?;
        let mut claimed = Vec::new();
        for found in found.collect::<Result<Vec<_>>>()? {
            let (run, id, fence) = found;
            self.execute(
                "UPDATE runs SET fence = ?2, worker = ?3, status = 'ready', wake_at = NULL
                 WHERE run = ?1",
                params![run, fence + 1, claim.worker],
            )?;
            let fence = u64::try_from(fence + 1).unwrap_or(0);
            claimed.push((RunId::from_bytes(id), Fence(fence)));
        }
        if !claimed.is_empty() {
            self.renew(&claim.worker, claim.lease_until)?;
        }
        Ok(claimed)
    }

    fn renew(&self, worker: &str, lease_until: Timestamp) -> Result<Outcome> {
        self.execute(
            "INSERT INTO workers (worker, lease_until) VALUES (?1, ?2)
             ON CONFLICT (worker) DO UPDATE SET lease_until = excluded.lease_until",
            params![worker, lease_until.as_micros()],
        )?;
        Ok(Outcome::Stored)
    }

    fn release(&self, worker: &str) -> Result<Outcome> {
        self.execute("UPDATE runs SET worker = NULL WHERE worker = ?1", [worker])?;
        self.execute("DELETE FROM workers WHERE worker = ?1", [worker])?;
        Ok(Outcome::Stored)
    }

    fn commit(&mut self, commit: &Commit) -> Result<Outcome> {
        let Some(row) = self.row(commit.run)? else { return Ok(no_such_run(commit.run)) };
        if let Some(refused) = self.refuses(&row, commit)? {
            return Ok(Outcome::Committed(refused));
        }
        let run = row.run;
        self.execute(
            "INSERT INTO commits (run, seq, fence, at, deltas, cursor)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![run, commit.seq, commit.fence, commit.at, commit.deltas, commit.cursor],
        )?;
        for (id, closing) in &commit.closed {
            self.execute(
                "UPDATE interrupts SET closing = ?3 WHERE run = ?1 AND id = ?2 AND closing IS NULL",
                params![run, id, closing_text(*closing)],
            )?;
        }
        for opened in &commit.opened {
            self.execute(
                "INSERT INTO interrupts (run, id, question, opened, deadline, on_timeout)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    run,
                    opened.id,
                    opened.question,
                    opened.opened,
                    opened.deadline,
                    opened.on_timeout
                ],
            )?;
        }
        for id in &commit.consumed {
            self.execute(
                "UPDATE messages SET consumed = ?3 WHERE run = ?1 AND id = ?2",
                params![run, id, commit.seq],
            )?;
        }
        for (at, kind, detail) in &commit.events {
            self.execute(
                "INSERT INTO events (run, at, kind, detail) VALUES (?1, ?2, ?3, ?4)",
                params![run, at, kind, detail],
            )?;
        }
        self.link(&commit.audit)?;
        let inbox = self.has_mail(run)?;
        self.go_on(&row, commit, inbox)?;
        Ok(Outcome::Committed(Committed::Applied { cancel: row.cancel, inbox }))
    }

    fn refuses(&self, row: &Row, commit: &Commit) -> Result<Option<Committed>> {
        if commit.seq <= row.seq {
            let same = self.exists(
                "SELECT EXISTS (SELECT 1 FROM commits WHERE run = ?1 AND seq = ?2 AND fence = ?3)",
                params![row.run, commit.seq, commit.fence],
            )?;
            if same {
                return Ok(Some(Committed::Duplicate));
            }
        }
        if !row.holds(commit.fence) {
            return Ok(Some(Committed::Fenced));
        }
        for (id, closing) in &commit.closed {
            let answered = match closing {
                Closing::Answered | Closing::Withdrawn => false,
                Closing::Expired | Closing::Replaced => self.exists(
                    "SELECT EXISTS (SELECT 1 FROM interrupts WHERE run = ?1 AND id = ?2
                       AND closing IS NULL AND answer IS NOT NULL)",
                    params![row.run, id],
                )?,
            };
            if answered {
                return Ok(Some(Committed::Stale));
            }
        }
        Ok((commit.seq != row.seq + 1).then_some(Committed::Stale))
    }

    fn has_mail(&self, run: i64) -> Result<bool> {
        self.exists(
            "SELECT EXISTS (SELECT 1 FROM messages WHERE run = ?1 AND consumed IS NULL)
                 OR EXISTS (SELECT 1 FROM interrupts WHERE run = ?1 AND closing IS NULL
                              AND answer IS NOT NULL)",
            [run],
        )
    }

    fn go_on(&self, row: &Row, commit: &Commit, inbox: bool) -> Result<()> {
        let (status, wake_at, reason) = match &commit.next {
            Next::Running => {
                self.execute(
                    "UPDATE runs SET seq = ?2, updated = ?3 WHERE run = ?1",
                    params![row.run, commit.seq, commit.at],
                )?;
                return Ok(());
            }
            Next::Parked { .. } if inbox || row.cancel => (Status::Ready, None, None),
            Next::Parked { wake_at } => (Status::Parked, *wake_at, None),
            Next::Succeeded => (Status::Succeeded, None, None),
            Next::Failed { reason } => (Status::Failed, None, Some(reason)),
            Next::Cancelled { reason } => (Status::Cancelled, None, Some(reason)),
        };
        self.execute(
            "UPDATE runs SET seq = ?2, updated = ?3, status = ?4, wake_at = ?5, reason = ?6,
               worker = NULL WHERE run = ?1",
            params![
                row.run,
                commit.seq,
                commit.at,
                status_text(status),
                wake_at.map(Timestamp::as_micros),
                reason
            ],
        )?;
        if status.is_final() {
            self.execute(
                "UPDATE interrupts SET closing = 'withdrawn' WHERE run = ?1 AND closing IS NULL",
                [row.run],
            )?;
        }
        Ok(())
    }

    fn journal(
        &self,
        (run, fence): (RunId, Fence),
        key: &str,
        value: Option<&str>,
    ) -> Result<Outcome> {
        let Some(row) = self.row(run)? else { return Ok(no_such_run(run)) };
        if !row.holds(signed(fence.0)) {
            return Ok(Outcome::Committed(Committed::Fenced));
        }
        let (entries, done): (i64, i64) = self
            .connection
            .prepare_cached(
                "SELECT count(*), count(value) FROM journal WHERE run = ?1 AND key = ?2",
            )?
            .query_row(params![row.run, key], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if value.is_none() && entries > 0 {
            return Ok(Outcome::Committed(Committed::Stale));
        }
        if done > 0 {
            return Ok(Outcome::Committed(Committed::Duplicate));
        }
        self.execute(
            "INSERT INTO journal (run, key, value) VALUES (?1, ?2, ?3)",
            params![row.run, key, value],
        )?;
        let inbox = self.has_mail(row.run)?;
        Ok(Outcome::Committed(Committed::Applied { cancel: row.cancel, inbox }))
    }

    fn signalled(&mut self, signalled: Signalled, audit: &[audit::Entry]) -> Result<Outcome> {
        if signalled == Signalled::Accepted {
            self.link(audit)?;
        }
        Ok(Outcome::Signalled(signalled))
    }
}

mod signal;

fn no_such_run(run: RunId) -> Outcome {
    Outcome::Refused(format!("there is no run {run}"))
}

pub(super) fn status_text(status: Status) -> &'static str {
    match status {
        Status::Ready => "ready",
        Status::Parked => "parked",
        Status::Succeeded => "succeeded",
        Status::Failed => "failed",
        Status::Cancelled => "cancelled",
    }
}

/// The inverse of [`status_text`]; what no version of this schema writes counts as failed.
pub(super) fn status_from(text: &str) -> Status {
    match text {
        "ready" => Status::Ready,
        "parked" => Status::Parked,
        "succeeded" => Status::Succeeded,
        "cancelled" => Status::Cancelled,
        _ => Status::Failed,
    }
}

fn closing_text(closing: Closing) -> &'static str {
    match closing {
        Closing::Answered => "answered",
        Closing::Expired => "expired",
        Closing::Replaced => "replaced",
        Closing::Withdrawn => "withdrawn",
    }
}
