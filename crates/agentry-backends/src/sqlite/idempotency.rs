//! Answered requests.

use agentry_core::Timestamp;
use agentry_core::idempotency::{ANSWER_BYTES_MAX, Begin, Begun, Idempotency, Ticket};
use agentry_core::store::Error;
use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Result, params};

use super::command::{Command, Outcome};
use super::{SqliteStore, mismatch};

#[derive(Debug)]
pub(super) enum Answering {
    Begin(Begin),
    Finish { ticket: Ticket, answer: Bytes },
    Abandon(Ticket),
    ForgetExpired { now: Timestamp },
    ForgetUser { tenant: String, user: String },
}

/// One kind for each kind of command.
#[derive(Debug)]
pub(super) enum Answered {
    Begun(Begun),
    Changed(u64),
}

impl Answering {
    /// Roughly what it adds to a transaction.
    pub(super) fn bytes(&self) -> usize {
        const ROW: usize = 128;
        match self {
            Self::Finish { ticket: _, answer } => ROW + answer.len(),
            Self::Begin(_)
            | Self::Abandon(_)
            | Self::ForgetExpired { .. }
            | Self::ForgetUser { .. } => ROW,
        }
    }

    pub(super) fn apply(&self, connection: &Connection) -> Result<Answered> {
        let execute = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
            let changed = connection.prepare_cached(sql)?.execute(values)?;
            Ok(Answered::Changed(changed as u64))
        };
        match self {
            Self::Begin(begin) => self::begin(connection, begin).map(Answered::Begun),
            Self::Finish { ticket, answer } => {
                let kept = (answer.len() <= ANSWER_BYTES_MAX).then_some(answer.as_ref());
                execute(
                    "UPDATE requests SET busy_until = NULL, answer = ?4
                     WHERE tenant = ?1 AND key = ?2 AND attempt = ?3 AND busy_until IS NOT NULL",
                    &[&ticket.tenant, &ticket.key, &ticket.attempt, &kept],
                )
            }
            Self::Abandon(Ticket { tenant, key, attempt }) => execute(
                "DELETE FROM requests
                 WHERE tenant = ?1 AND key = ?2 AND attempt = ?3 AND busy_until IS NOT NULL",
                &[tenant, key, attempt],
            ),
            Self::ForgetExpired { now } => {
                execute("DELETE FROM requests WHERE expires <= ?1", &[&now.as_micros()])
            }
            Self::ForgetUser { tenant, user } => {
                execute("DELETE FROM requests WHERE tenant = ?1 AND \"user\" = ?2", &[tenant, user])
            }
        }
    }
}

fn begin(connection: &Connection, begin: &Begin) -> Result<Begun> {
    let Begin { tenant, key, user, request, now, busy_until, keep_until } = begin;
    let now = now.as_micros();
    let sql = "INSERT INTO requests (tenant, key, digest, attempt, busy_until, expires, \"user\")
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT (tenant, key) DO UPDATE
                 SET digest = excluded.digest, attempt = max(attempt + 1, excluded.attempt),
                     busy_until = excluded.busy_until, expires = excluded.expires, answer = NULL,
                     \"user\" = excluded.\"user\"
                 WHERE expires <= ?4 OR (busy_until <= ?4 AND digest = excluded.digest)
               RETURNING attempt";
    let (busy_until, keep_until) = (busy_until.as_micros(), keep_until.as_micros());
    let values = params![tenant, key, request, now, busy_until, keep_until, user];
    let attempt = connection.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?;
    if let Some(attempt) = attempt {
        return Ok(Begun::New(Ticket { tenant: tenant.clone(), key: key.clone(), attempt }));
    }
    let sql = "SELECT digest, busy_until IS NOT NULL, answer FROM requests
               WHERE tenant = ?1 AND key = ?2";
    connection.prepare_cached(sql)?.query_row([tenant, key], |row| {
        let (digest, busy): ([u8; 32], bool) = (row.get(0)?, row.get(1)?);
        if digest != *request {
            return Ok(Begun::Conflict);
        }
        if busy {
            return Ok(Begun::InProgress);
        }
        let answer: Option<Vec<u8>> = row.get(2)?;
        Ok(answer.map_or(Begun::NotKept, |answer| Begun::Replay(answer.into())))
    })
}

impl SqliteStore {
    async fn answer(&self, answering: Answering) -> std::result::Result<Answered, Error> {
        let Outcome::Answered(answered) = self.call(Command::Answering(answering)).await? else {
            return Err(mismatch());
        };
        Ok(answered)
    }

    async fn answer_changes(&self, answering: Answering) -> std::result::Result<u64, Error> {
        let Answered::Changed(changed) = self.answer(answering).await? else {
            return Err(mismatch());
        };
        Ok(changed)
    }
}

#[async_trait]
impl Idempotency for SqliteStore {
    async fn begin(&self, begin: Begin) -> std::result::Result<Begun, Error> {
        let Answered::Begun(begun) = self.answer(Answering::Begin(begin)).await? else {
            return Err(mismatch());
        };
        Ok(begun)
    }

    async fn finish(&self, ticket: &Ticket, answer: Bytes) -> std::result::Result<bool, Error> {
        let ticket = ticket.clone();
        Ok(self.answer_changes(Answering::Finish { ticket, answer }).await? > 0)
    }

    async fn abandon(&self, ticket: &Ticket) -> std::result::Result<(), Error> {
        self.answer_changes(Answering::Abandon(ticket.clone())).await.map(drop)
    }

    async fn forget_expired(&self, now: Timestamp) -> std::result::Result<u64, Error> {
        self.answer_changes(Answering::ForgetExpired { now }).await
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> std::result::Result<u64, Error> {
        let (tenant, user) = (tenant.to_owned(), user.to_owned());
        self.answer_changes(Answering::ForgetUser { tenant, user }).await
    }
}
