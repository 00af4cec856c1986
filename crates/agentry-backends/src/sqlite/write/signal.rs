//! What comes for a run from outside: messages, answers, a cancellation.

use agentry_core::RunId;
use agentry_core::run::{Answer, Status};
use agentry_core::store::Signalled;
use rusqlite::{OptionalExtension as _, Result, params};

use super::super::command::Message;
use super::{Row, Transaction};

impl Transaction<'_> {
    pub(super) fn message(&self, run: RunId, message: &Message) -> Result<Signalled> {
        let Some(row) = self.row(run)? else { return Ok(Signalled::NotFound) };
        if row.status.is_final() {
            let seen = self.exists(
                "SELECT EXISTS (SELECT 1 FROM messages WHERE run = ?1 AND id = ?2)",
                params![row.run, message.id],
            )?;
            return Ok(if seen { Signalled::Duplicate } else { Signalled::Finished(row.status) });
        }
        self.deliver(&row, message)
    }

    pub(super) fn deliver(&self, row: &Row, message: &Message) -> Result<Signalled> {
        let Message { id, channel, payload, at } = message;
        let stored = self.execute(
            "INSERT INTO messages (run, id, channel, payload, at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (run, id) DO NOTHING",
            params![row.run, id, channel, payload, at.as_micros()],
        )?;
        if stored == 0 {
            return Ok(Signalled::Duplicate);
        }
        self.wake(row)?;
        Ok(Signalled::Accepted)
    }

    fn wake(&self, row: &Row) -> Result<()> {
        if row.status == Status::Parked {
            self.execute(
                "UPDATE runs SET status = 'ready', wake_at = NULL WHERE run = ?1",
                [row.run],
            )?;
        }
        Ok(())
    }

    pub(super) fn answer(&self, run: RunId, interrupt: &str, answer: &Answer) -> Result<Signalled> {
        let Some(row) = self.row(run)? else { return Ok(Signalled::NotFound) };
        let found = self
            .connection
            .prepare_cached(
                "SELECT entry, deadline, answer, closing FROM interrupts
                 WHERE run = ?1 AND id = ?2 AND question IS NOT NULL",
            )?
            .query_row(params![row.run, interrupt], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, Option<i64>>(1)?,
                    row.get::<_, Option<String>>(2)?,
                    row.get::<_, Option<String>>(3)?,
                ))
            })
            .optional()?;
        let Some((entry, deadline, first, closing)) = found else {
            return Ok(Signalled::NotFound);
        };
        if let Some(first) = first {
            let first = serde_json::from_str(&first).map_err(unreadable)?;
            return Ok(Signalled::AlreadyAnswered(first));
        }
        match closing.as_deref() {
            None => {}
            Some("expired") => return Ok(Signalled::Expired),
            Some(_) if row.status.is_final() => return Ok(Signalled::Finished(row.status)),
            Some(_) => return Ok(Signalled::NotFound),
        }
        if deadline.is_some_and(|deadline| deadline <= answer.at.as_micros()) {
            return Ok(Signalled::Expired);
        }
        let text = serde_json::to_string(answer)
            .map_err(|problem| rusqlite::Error::ToSqlConversionFailure(Box::new(problem)))?;
        self.execute("UPDATE interrupts SET answer = ?2 WHERE entry = ?1", params![entry, text])?;
        self.wake(&row)?;
        Ok(Signalled::Accepted)
    }

    pub(super) fn cancel(&self, run: RunId, reason: &str) -> Result<Signalled> {
        let Some(row) = self.row(run)? else { return Ok(Signalled::NotFound) };
        if row.status.is_final() {
            return Ok(Signalled::Finished(row.status));
        }
        if row.cancel {
            return Ok(Signalled::Duplicate);
        }
        self.execute("UPDATE runs SET cancel = ?2 WHERE run = ?1", params![row.run, reason])?;
        self.wake(&row)?;
        Ok(Signalled::Accepted)
    }
}

fn unreadable(problem: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(problem))
}
