//! Runs that are submitted, and what comes in from outside together with them.

use std::collections::HashMap;

use agentry_core::run::Answer;
use agentry_core::thread::{Absent, Cancel, Multitask, NewRun};
use agentry_core::threads::{Signalled, Submitted};
use agentry_core::{RunId, ThreadId};
use rusqlite::{OptionalExtension as _, Result, params};

use super::super::codes::{self, PENDING, READY};
use super::super::command::{Arrivals, Submission, Threaded};
use super::{Row, Work, micros, unreadable, unwritable};

impl Work<'_> {
    pub(super) fn submit(&mut self, submission: &Submission) -> Result<Submitted> {
        let run = &submission.run;
        if let Some(known) = self.known(run)? {
            return Ok(known);
        }
        let found = self.row(run.thread)?;
        if found.is_none() && run.absent == Absent::Refuse {
            return Ok(Submitted::NoThread);
        }
        if found.as_ref().is_some_and(|row| row.tenant != run.tenant) {
            return Ok(Submitted::Foreign);
        }
        if let Some(refused) = self.turns_away(found.as_ref(), run)? {
            return Ok(refused);
        }
        let ephemeral = found.is_none() && run.absent == Absent::CreateForRun;
        let row = match found {
            Some(row) => row,
            None => self.thread_for(run)?,
        };
        self.add(row, submission, ephemeral)?;
        Ok(Submitted::Created(run.id))
    }

    fn known(&self, run: &NewRun) -> Result<Option<Submitted>> {
        if let Some(key) = &run.key {
            let known = self
                .connection
                .prepare_cached("SELECT id FROM thread_runs WHERE tenant = ?1 AND key = ?2")?
                .query_row([&run.tenant, key], |row| row.get(0))
                .optional()?;
            if let Some(id) = known {
                return Ok(Some(Submitted::Existing(RunId::from_bytes(id))));
            }
        }
        let tenant: Option<String> = self
            .connection
            .prepare_cached("SELECT tenant FROM thread_runs WHERE id = ?1")?
            .query_row([run.id.as_bytes()], |row| row.get(0))
            .optional()?;
        Ok(tenant.map(|tenant| {
            if tenant == run.tenant { Submitted::Existing(run.id) } else { Submitted::Foreign }
        }))
    }

    fn turns_away(&self, row: Option<&Row>, run: &NewRun) -> Result<Option<Submitted>> {
        for (id, answer) in &run.answers {
            let interrupt = id.clone();
            let signalled = match row {
                Some(row) => self.answerable(row.thread, id, answer)?,
                None => Signalled::NotFound,
            };
            match signalled {
                Signalled::Accepted => {}
                Signalled::AlreadyAnswered(answer) => {
                    return Ok(Some(Submitted::AlreadyAnswered { interrupt, answer }));
                }
                Signalled::Duplicate
                | Signalled::NotFound
                | Signalled::Expired
                | Signalled::Finished(_) => return Ok(Some(Submitted::NoInterrupt { interrupt })),
            }
        }
        let Some(row) = row.filter(|_| run.multitask == Multitask::Reject) else { return Ok(None) };
        let active = self
            .connection
            .prepare_cached(
                "SELECT id FROM thread_runs WHERE thread = ?1 AND status < 2
                 ORDER BY status DESC, coalesce(not_before, created), run LIMIT 1",
            )?
            .query_row([row.thread], |row| row.get(0))
            .optional()?;
        Ok(active.map(|active| Submitted::Busy { active: RunId::from_bytes(active) }))
    }

    fn thread_for(&mut self, run: &NewRun) -> Result<Row> {
        let created = run.created.as_micros();
        self.execute(
            "INSERT INTO threads (id, tenant, since, created, updated, metadata)
             VALUES (?1, ?2, ?3, ?3, ?3, '{}')",
            params![run.thread.as_bytes(), run.tenant, created],
        )?;
        Ok(Row {
            thread: self.connection.last_insert_rowid(),
            tenant: run.tenant.clone(),
            status: codes::IDLE,
            program: None,
            fence: 0,
            worker: None,
            queued: false,
            priority: codes::priority(agentry_core::thread::Priority::default()),
            since: created,
            wake_at: None,
        })
    }

    /// The run was not turned away.
    fn add(&mut self, mut row: Row, submission: &Submission, ephemeral: bool) -> Result<()> {
        let run = &submission.run;
        let marked = match Cancel::by(run) {
            Some(cancel) => self.mark_others(row.thread, &cancel)?,
            None => false,
        };
        for (id, answer) in &run.answers {
            self.take_answer(row.thread, id, answer)?;
        }
        self.insert_run(row.thread, submission, ephemeral)?;
        self.follow_runs(&mut row)?;
        let now = run.created.as_micros();
        let due = micros(run.not_before).is_none_or(|moment| moment <= now);
        let news = self.news(row.thread, now)?;
        if marked || !run.answers.is_empty() || (due && !news.running) {
            self.wake(&mut row, now)?;
        } else if row.status != READY {
            row.wake_at = row.wake_at.into_iter().chain(news.later).min();
        }
        self.save(&row)?;
        self.touch(row.thread, now)?;
        self.desk.drop_head(run.thread);
        Ok(())
    }

    fn mark_others(&self, thread: i64, cancel: &Cancel) -> Result<bool> {
        let mut open = self.connection.prepare_cached(
            "SELECT run, cancel FROM thread_runs WHERE thread = ?1 AND status < 2",
        )?;
        let open = open.query_map([thread], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let open: Vec<(i64, Option<String>)> = open.collect::<Result<_>>()?;
        let mut marked = false;
        for (run, earlier) in open {
            if outdoes(cancel, earlier.as_deref())? {
                self.mark(run, cancel)?;
                marked = true;
            }
        }
        Ok(marked)
    }

    pub(super) fn mark(&self, run: i64, cancel: &Cancel) -> Result<()> {
        let cancel = serde_json::to_string(cancel).map_err(unwritable)?;
        self.execute("UPDATE thread_runs SET cancel = ?2 WHERE run = ?1", params![run, cancel])
            .map(drop)
    }

    fn insert_run(&mut self, thread: i64, submission: &Submission, ephemeral: bool) -> Result<()> {
        let Submission { run, input, metadata } = submission;
        let program = self.desk.program(self.connection, &run.program)?;
        self.execute(
            "INSERT INTO thread_runs (id, thread, tenant, key, program, status, multitask, priority,
               created, updated, not_before, deadline, ephemeral, metadata, input)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11, ?12, ?13, ?14)",
            params![
                run.id.as_bytes(),
                thread,
                run.tenant,
                run.key,
                program,
                PENDING,
                codes::multitask(run.multitask),
                codes::priority(run.priority),
                run.created.as_micros(),
                micros(run.not_before),
                micros(run.deadline),
                ephemeral,
                metadata,
                input
            ],
        )
        .map(drop)
    }

    pub(super) fn take_answer(&self, thread: i64, id: &str, answer: &Answer) -> Result<()> {
        let answer = serde_json::to_string(answer).map_err(unwritable)?;
        self.execute(
            "UPDATE questions SET answer = ?3 WHERE thread = ?1 AND id = ?2 AND closing IS NULL",
            params![thread, id, answer],
        )
        .map(drop)
    }

    /// All of it or nothing: what is refused half-way is taken back.
    pub(super) fn intake(&mut self, arrivals: &Arrivals) -> Result<Threaded> {
        let Arrivals { records, submit, messages, audit } = arrivals;
        self.execute("SAVEPOINT intake", [])?;
        let taken = self.take_in(submit, messages)?;
        if let Err(refused) = taken {
            self.execute("ROLLBACK TO intake", [])?;
            self.execute("RELEASE intake", [])?;
            self.desk.forget();
            return Ok(Threaded::Refused(refused));
        }
        self.execute("RELEASE intake", [])?;
        let sql = "INSERT INTO records (topic, key, payload) VALUES (?1, ?2, ?3)";
        let mut insert = self.connection.prepare_cached(sql)?;
        for (topic, key, payload) in records {
            insert.execute(params![topic, key, payload])?;
        }
        self.chain.link(self.connection, audit)?;
        Ok(Threaded::Stored)
    }

    fn take_in(
        &mut self,
        submit: &[Submission],
        messages: &[(ThreadId, super::super::command::Letter)],
    ) -> Result<Result<(), String>> {
        let mut same = HashMap::new();
        for submission in submit {
            let (id, thread) = (submission.run.id, submission.run.thread);
            match self.submit(submission)? {
                Submitted::Created(_) => {}
                Submitted::Existing(existing) => {
                    same.insert(thread, self.thread_of(existing)?.unwrap_or(thread));
                }
                refused @ (Submitted::Busy { .. }
                | Submitted::NoThread
                | Submitted::Foreign
                | Submitted::AlreadyAnswered { .. }
                | Submitted::NoInterrupt { .. }) => {
                    return Ok(Err(format!("run {id}: {refused:?}")));
                }
            }
        }
        for (thread, message) in messages {
            let thread = same.get(thread).copied().unwrap_or(*thread);
            if self.message(thread, message)? == Signalled::NotFound {
                return Ok(Err(format!("there is no thread {thread}")));
            }
        }
        Ok(Ok(()))
    }

    fn thread_of(&self, run: RunId) -> Result<Option<ThreadId>> {
        let found = self
            .connection
            .prepare_cached(
                "SELECT t.id FROM thread_runs r JOIN threads t USING (thread) WHERE r.id = ?1",
            )?
            .query_row([run.as_bytes()], |row| row.get(0))
            .optional()?;
        Ok(found.map(ThreadId::from_bytes))
    }
}

/// Whether `cancel` is to take the place of an earlier mark.
pub(super) fn outdoes(cancel: &Cancel, earlier: Option<&str>) -> Result<bool> {
    let Some(earlier) = earlier else { return Ok(true) };
    let earlier = serde_json::from_str(earlier).map_err(unreadable)?;
    Ok(cancel.outdoes(&earlier))
}
