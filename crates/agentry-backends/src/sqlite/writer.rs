//! The one thread that writes: it takes what has queued up, stores it in one transaction, and acknowledges it then.

use std::time::Duration;

use agentry_core::store::Error;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::error;

use super::command::{Command, Outcome};
use super::write::{Chain, Transaction};

const QUEUE: usize = 4096;
const OPS_MAX: usize = 512;
const BYTES_MAX: usize = 4 << 20;
/// How long a caller waits for a place in the queue.
const ADMISSION: Duration = Duration::from_secs(5);
/// How long a caller waits for the disk.
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(60);

type Acknowledgement = oneshot::Sender<Result<Outcome, Error>>;

/// Where commands go in.
#[derive(Clone)]
pub(super) struct Queue {
    commands: mpsc::Sender<(Command, Acknowledgement)>,
}

impl Queue {
    pub(super) async fn call(&self, command: Command) -> Result<Outcome, Error> {
        let (acknowledge, acknowledged) = oneshot::channel();
        let sent = self.commands.send_timeout((command, acknowledge), ADMISSION).await;
        sent.map_err(|problem| match problem {
            mpsc::error::SendTimeoutError::Timeout(_) => Error::Overloaded,
            mpsc::error::SendTimeoutError::Closed(_) => stopped(),
        })?;
        match timeout(ACKNOWLEDGEMENT, acknowledged).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(stopped()),
            Err(_) => Err(Error::Ambiguous("the disk has not answered for a minute".to_owned())),
        }
    }
}

fn stopped() -> Error {
    Error::Fatal("the database's writer has stopped".to_owned())
}

pub(super) fn queue() -> (Queue, Writer) {
    let (commands, incoming) = mpsc::channel(QUEUE);
    (Queue { commands }, Writer { incoming, poison: None })
}

pub(super) struct Writer {
    incoming: mpsc::Receiver<(Command, Acknowledgement)>,
    /// Why nothing is acknowledged any more.
    poison: Option<Error>,
}

impl Writer {
    /// Until every [`Queue`] is dropped.
    pub(super) fn run(mut self, connection: &Connection, mut chain: Chain) {
        while let Some(first) = self.incoming.blocking_recv() {
            let batch = self.collect(first);
            self.store(connection, &mut chain, batch);
        }
        if self.poison.is_none() {
            // The file is then whole by itself. All that was acknowledged is durable either way.
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
    }

    /// Never waits: while the disk works, the next batch queues up by itself.
    fn collect(&mut self, first: (Command, Acknowledgement)) -> Vec<(Command, Acknowledgement)> {
        let mut bytes = first.0.bytes();
        let mut batch = vec![first];
        while batch.len() < OPS_MAX && bytes < BYTES_MAX {
            let Ok(next) = self.incoming.try_recv() else { break };
            bytes += next.0.bytes();
            batch.push(next);
        }
        batch
    }

    fn store(
        &mut self,
        connection: &Connection,
        chain: &mut Chain,
        batch: Vec<(Command, Acknowledgement)>,
    ) {
        if let Some(poison) = &self.poison {
            for (_, acknowledge) in batch {
                let _ = acknowledge.send(Err(poison.clone()));
            }
            return;
        }
        let commands: Vec<&Command> = batch.iter().map(|(command, _)| command).collect();
        match transact(connection, chain, &commands) {
            Ok(outcomes) => {
                for ((_, acknowledge), outcome) in batch.into_iter().zip(outcomes) {
                    // Whoever no longer listens will read it.
                    let _ = acknowledge.send(Ok(outcome));
                }
            }
            // One of them failed and nothing was stored: alone, each shows what it is.
            Err(Failed::Before(_)) if batch.len() > 1 => {
                for one in batch {
                    self.store(connection, chain, vec![one]);
                }
            }
            Err(Failed::Before(problem)) => {
                for (_, acknowledge) in batch {
                    let _ = acknowledge.send(Err(describe(&problem)));
                }
            }
            Err(Failed::Commit(problem)) => {
                error!(%problem, "a commit has failed; the store acknowledges nothing any more");
                let reason = problem.to_string();
                self.poison = Some(Error::Fatal(reason.clone()));
                for (_, acknowledge) in batch {
                    let _ = acknowledge.send(Err(Error::Ambiguous(reason.clone())));
                }
            }
        }
    }
}

enum Failed {
    /// Rolled back; nothing was stored.
    Before(rusqlite::Error),
    /// Nobody knows what is on the disk.
    Commit(rusqlite::Error),
}

fn transact(
    connection: &Connection,
    chain: &mut Chain,
    commands: &[&Command],
) -> Result<Vec<Outcome>, Failed> {
    let execute = |sql: &str| connection.prepare_cached(sql)?.execute([]).map(drop);
    execute("BEGIN IMMEDIATE").map_err(Failed::Before)?;
    let mut grown = *chain;
    let mut transaction = Transaction { connection, chain: &mut grown };
    let outcomes: Result<Vec<_>, _> =
        commands.iter().map(|command| transaction.apply(command)).collect();
    let roll_back = |problem: rusqlite::Error| {
        // SQLite has rolled back by itself after some errors.
        if !connection.is_autocommit()
            && let Err(worse) = execute("ROLLBACK")
        {
            return Failed::Commit(worse);
        }
        Failed::Before(problem)
    };
    let outcomes = outcomes.map_err(roll_back)?;
    match execute("COMMIT") {
        Ok(()) => {
            *chain = grown;
            Ok(outcomes)
        }
        // No room for the log, or somebody reads: it was not written, and rolling back is sound.
        Err(problem) if is_transient(&problem) => Err(roll_back(problem)),
        Err(problem) => Err(Failed::Commit(problem)),
    }
}

fn is_transient(problem: &rusqlite::Error) -> bool {
    matches!(
        problem.sqlite_error_code(),
        Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

pub(super) fn describe(problem: &rusqlite::Error) -> Error {
    match problem.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            Error::Unavailable("the disk is full; free some space".to_owned())
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Unavailable(
            "the database is locked by another program; close that program".to_owned(),
        ),
        Some(ErrorCode::ReadOnly) => {
            Error::Unavailable("the database cannot be written; check its permissions".to_owned())
        }
        Some(ErrorCode::ConstraintViolation) => Error::Refused(problem.to_string()),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::Fatal(problem.to_string())
        }
        _ => match problem {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..) => Error::Incompatible(problem.to_string()),
            _ => Error::Unavailable(problem.to_string()),
        },
    }
}
