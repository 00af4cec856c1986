//! The one thread that writes: it takes what has queued up, stores it in one transaction, and acknowledges it then.

use std::path::PathBuf;
use std::time::Duration;

use agentry_core::store::Error;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{error, warn};

use super::command::{Command, Outcome};
use super::read::Readers;
use super::schema::BUSY;
use super::threads::{Desk, clear_up};
use super::write::{Chain, Transaction};
use pace::Pace;

mod pace;

const QUEUE: usize = 4096;
const OPS_MAX: usize = 512;
const BYTES_MAX: usize = 4 << 20;
/// How long a caller waits for a place in the queue.
const ADMISSION: Duration = Duration::from_secs(5);
/// Four times what SQLite lets the write-ahead log grow to where nobody is in the way.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// After how many bytes somebody looks how large the log is, and what a command is counted with beside its own bytes. For whoever
/// has looked, the system notes the exact moment of the next write, and the sync after it takes a third longer.
const LOOK_AFTER: usize = 8 << 20;
const COMMAND_BYTES: usize = 64 << 10;
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
    (Queue { commands }, Writer::new(incoming))
}

pub(super) struct Writer {
    incoming: mpsc::Receiver<(Command, Acknowledgement)>,
    /// Why nothing is acknowledged any more.
    poison: Option<Error>,
    desk: Desk,
    pace: Pace,
    log: Option<Overflow>,
}

/// Readers that follow each other without a gap keep the write-ahead log from being begun anew. When it has become large, they
/// are held off for as long as that takes.
struct Overflow {
    path: PathBuf,
    readers: Readers,
    bytes_max: u64,
    /// About as much has been written since somebody looked.
    unseen: usize,
}

impl Overflow {
    /// `bytes` more were written.
    fn grown(&mut self, connection: &Connection, bytes: usize) {
        self.unseen += bytes;
        if self.unseen >= LOOK_AFTER {
            self.unseen = 0;
            self.empty(connection);
        }
    }

    fn empty(&mut self, connection: &Connection) {
        let Ok(log) = std::fs::metadata(&self.path) else { return };
        if log.len() < self.bytes_max {
            return;
        }
        let busy = self.readers.hold_off(|| {
            connection.busy_timeout(Duration::ZERO)?;
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            let busy = connection.query_row(checkpoint, [], |row| row.get::<_, bool>(0));
            connection.busy_timeout(BUSY)?;
            busy
        });
        // Another process reads: a copy is made, for example. It is not asked again with every batch.
        self.bytes_max = match busy {
            Ok(false) => LOG_BYTES_MAX,
            Ok(true) | Err(_) => log.len() + LOG_BYTES_MAX,
        };
    }
}

impl Writer {
    fn new(incoming: mpsc::Receiver<(Command, Acknowledgement)>) -> Self {
        Self { incoming, poison: None, desk: Desk::new(), pace: Pace::new(), log: None }
    }

    /// Keeps the write-ahead log of the file that `readers` read from growing without a bound.
    pub(super) fn bounding(mut self, readers: Readers) -> Self {
        let mut path = readers.path().as_os_str().to_owned();
        path.push("-wal");
        let (path, bytes_max) = (path.into(), LOG_BYTES_MAX);
        self.log = Some(Overflow { path, readers, bytes_max, unseen: 0 });
        self
    }

    /// Until every [`Queue`] is dropped.
    pub(super) fn run(mut self, connection: &Connection, mut chain: Chain) {
        while let Some(first) = self.next(connection) {
            let batch = self.collect(first);
            let commands = batch.len();
            let bytes = batch.iter().map(|(command, _)| command.bytes() + COMMAND_BYTES).sum();
            self.store(connection, &mut chain, batch);
            self.pace.answered(commands);
            self.clear_up(connection);
            if let (Some(log), None) = (&mut self.log, &self.poison) {
                log.grown(connection, bytes);
            }
        }
        if self.poison.is_none() {
            // The file is then whole by itself. All that was acknowledged is durable either way.
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
    }

    /// Clears up as long as nobody wants anything.
    fn next(&mut self, connection: &Connection) -> Option<(Command, Acknowledgement)> {
        while self.desk.litter && self.poison.is_none() {
            match self.incoming.try_recv() {
                Ok(first) => return Some(first),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
                Err(mpsc::error::TryRecvError::Empty) => self.clear_up(connection),
            }
        }
        if let Ok(first) = self.incoming.try_recv() {
            self.pace.waited_for();
            return Some(first);
        }
        let first = self.expect(connection).or_else(|| self.incoming.blocking_recv());
        self.pace.came();
        first
    }

    /// What comes soon, if something is likely to. Its transaction is begun before it comes.
    fn expect(&mut self, connection: &Connection) -> Option<(Command, Acknowledgement)> {
        if !self.pace.is_quick() || self.poison.is_some() {
            return None;
        }
        // Else the command begins it, and says why it cannot be begun.
        let _ = begin(connection);
        while self.pace.is_soon() {
            if let Ok(next) = self.incoming.try_recv() {
                return Some(next);
            }
            std::thread::yield_now();
        }
        // Nothing was written in it.
        let _ = execute(connection, "ROLLBACK");
        None
    }

    /// Bit by bit, so that nobody waits for it long. What is left is left for the next time.
    fn clear_up(&mut self, connection: &Connection) {
        if !self.desk.litter || self.poison.is_some() {
            return;
        }
        match clear_up(connection) {
            Ok(more) => self.desk.litter = more,
            Err(problem) => {
                warn!(%problem, "what deleted threads have left could not be removed");
                self.desk.litter = false;
            }
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
        match transact(connection, (chain, &mut self.desk), &commands) {
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
    (chain, desk): (&mut Chain, &mut Desk),
    commands: &[&Command],
) -> Result<Vec<Outcome>, Failed> {
    begin(connection).map_err(Failed::Before)?;
    let mut grown = *chain;
    let mut transaction = Transaction { connection, chain: &mut grown, desk };
    let outcomes: Result<Vec<_>, _> =
        commands.iter().map(|command| transaction.apply(command)).collect();
    let roll_back = |problem: rusqlite::Error| {
        // SQLite has rolled back by itself after some errors.
        if !connection.is_autocommit()
            && let Err(worse) = execute(connection, "ROLLBACK")
        {
            return Failed::Commit(worse);
        }
        Failed::Before(problem)
    };
    let outcomes = match outcomes {
        Ok(outcomes) => outcomes,
        Err(problem) => {
            desk.forget();
            return Err(roll_back(problem));
        }
    };
    match execute(connection, "COMMIT") {
        Ok(()) => {
            *chain = grown;
            Ok(outcomes)
        }
        // No room for the log, or somebody reads: it was not written, and rolling back is sound.
        Err(problem) if is_transient(&problem) => {
            desk.forget();
            Err(roll_back(problem))
        }
        Err(problem) => Err(Failed::Commit(problem)),
    }
}

fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

/// Unless it is begun already.
fn begin(connection: &Connection) -> rusqlite::Result<()> {
    if connection.is_autocommit() { execute(connection, "BEGIN IMMEDIATE") } else { Ok(()) }
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

#[cfg(test)]
mod tests;
