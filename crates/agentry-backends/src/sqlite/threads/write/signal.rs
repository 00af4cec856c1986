//! What comes for a thread from outside: messages, answers, cancellations.

use agentry_core::run::Answer;
use agentry_core::thread::{Cancel, RunStatus};
use agentry_core::threads::Signalled;
use agentry_core::{RunId, ThreadId, audit};
use rusqlite::{OptionalExtension as _, Result, params};

use super::super::codes::{self, INTERRUPTED, WAITING};
use super::super::command::{Letter, Threaded};
use super::submit::outdoes;
use super::{Work, unreadable};

impl Work<'_> {
    pub(super) fn signalled(
        &mut self,
        signalled: Signalled,
        audit: &[audit::Entry],
    ) -> Result<Threaded> {
        if signalled == Signalled::Accepted {
            self.chain.link(self.connection, audit)?;
        }
        Ok(Threaded::Signalled(signalled))
    }

    pub(super) fn message(&mut self, thread: ThreadId, message: &Letter) -> Result<Signalled> {
        let Some(mut row) = self.row(thread)? else { return Ok(Signalled::NotFound) };
        let Letter { id, channel, payload, at } = message;
        let stored = self.execute(
            "INSERT INTO inbox (thread, id, channel, at, payload) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (thread, id) DO NOTHING",
            params![row.thread, id, channel, at.as_micros(), payload],
        )?;
        if stored == 0 {
            return Ok(Signalled::Duplicate);
        }
        if row.status == WAITING || row.status == INTERRUPTED {
            self.wake(&mut row, at.as_micros())?;
            self.save(&row)?;
        }
        self.desk.drop_head(thread);
        Ok(Signalled::Accepted)
    }

    pub(super) fn answer(
        &mut self,
        thread: ThreadId,
        interrupt: &str,
        answer: &Answer,
    ) -> Result<Signalled> {
        let Some(mut row) = self.row(thread)? else { return Ok(Signalled::NotFound) };
        let signalled = self.answerable(row.thread, interrupt, answer)?;
        if signalled == Signalled::Accepted {
            self.take_answer(row.thread, interrupt, answer)?;
            self.wake(&mut row, answer.at.as_micros())?;
            self.save(&row)?;
            self.desk.drop_head(thread);
        }
        Ok(signalled)
    }

    pub(super) fn answerable(&self, thread: i64, id: &str, answer: &Answer) -> Result<Signalled> {
        let found = self
            .connection
            .prepare_cached(
                "SELECT deadline, answer, closing, run FROM questions
                 WHERE thread = ?1 AND id = ?2 AND asked IS NOT NULL",
            )?
            .query_row(params![thread, id], |row| {
                Ok((
                    row.get::<_, Option<i64>>(0)?,
                    row.get::<_, Option<String>>(1)?,
                    row.get::<_, Option<String>>(2)?,
                    row.get::<_, [u8; 16]>(3)?,
                ))
            })
            .optional()?;
        let Some((deadline, first, closing, run)) = found else { return Ok(Signalled::NotFound) };
        if let Some(first) = first {
            let first = serde_json::from_str(&first).map_err(unreadable)?;
            return Ok(Signalled::AlreadyAnswered(first));
        }
        match closing.as_deref() {
            None if deadline.is_some_and(|it| it <= answer.at.as_micros()) => {
                Ok(Signalled::Expired)
            }
            None => Ok(Signalled::Accepted),
            Some("expired") => Ok(Signalled::Expired),
            Some(_) => {
                let over = self
                    .status_of(run)?
                    .filter(|status| status.is_over() && *status != RunStatus::Interrupted);
                Ok(over.map_or(Signalled::NotFound, Signalled::Finished))
            }
        }
    }

    fn status_of(&self, run: [u8; 16]) -> Result<Option<RunStatus>> {
        let status = self
            .connection
            .prepare_cached("SELECT status FROM thread_runs WHERE id = ?1")?
            .query_row([run], |row| row.get(0))
            .optional()?;
        Ok(status.map(codes::to_run_status))
    }

    pub(super) fn cancel(
        &mut self,
        thread: ThreadId,
        run: RunId,
        cancel: &Cancel,
    ) -> Result<Signalled> {
        let Some(mut row) = self.row(thread)? else { return Ok(Signalled::NotFound) };
        let found = self
            .connection
            .prepare_cached(
                "SELECT run, status, cancel, run IS (
                   SELECT run FROM thread_runs WHERE thread = ?2 AND base IS NOT NULL
                   ORDER BY base DESC, run DESC LIMIT 1)
                 FROM thread_runs WHERE id = ?1 AND thread = ?2",
            )?
            .query_row(params![run.as_bytes(), row.thread], |row| {
                let status = codes::to_run_status(row.get(1)?);
                let earlier: Option<String> = row.get(2)?;
                Ok((row.get::<_, i64>(0)?, status, earlier, row.get::<_, bool>(3)?))
            })
            .optional()?;
        let Some((number, status, earlier, last)) = found else { return Ok(Signalled::NotFound) };
        let waits = status == RunStatus::Interrupted && last;
        if status.is_over() && !waits {
            return Ok(Signalled::Finished(status));
        }
        if !outdoes(cancel, earlier.as_deref())? {
            return Ok(Signalled::Duplicate);
        }
        self.mark(number, cancel)?;
        self.wake(&mut row, cancel.at.as_micros())?;
        self.save(&row)?;
        self.desk.drop_head(thread);
        Ok(Signalled::Accepted)
    }
}
