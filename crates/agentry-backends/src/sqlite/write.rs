//! What each command does to the tables. Nothing here begins or ends a transaction.
//!
//! A command that is refused writes nothing, so its neighbours in the transaction are not disturbed. A command checks
//! before it writes.

use agentry_core::audit::{self, Digest};
use agentry_core::keys::Changed;
use rusqlite::{Connection, OptionalExtension as _, Result, params};

use super::command::{Command, Outcome, signed};
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

impl Transaction<'_> {
    pub(super) fn apply(&mut self, command: &Command) -> Result<Outcome> {
        match command {
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

    fn link(&mut self, entries: &[audit::Entry]) -> Result<()> {
        self.chain.link(self.connection, entries)
    }
}
