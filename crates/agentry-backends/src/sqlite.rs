//! The store for one process: a SQLite file, one thread that writes and a few connections that read.
//!
//! An acknowledged command is on the disk. Commands that queue up while the disk works are stored together, so the cost
//! of waiting for it is shared.

use std::path::Path;
use std::thread::JoinHandle;

use agentry_core::run::{
    Committed, Effect, Event, Fence, Interrupt, Loaded, NewRun, RunCommit, RunRow,
};
use agentry_core::store::{
    Claim, Claimed, Error, Intake, Log, Record, RunQuery, RunStore, Signal, Signalled, Stored,
    Submitted,
};
use agentry_core::{RunId, Timestamp, audit};
use async_trait::async_trait;
use tracing::error;

use command::{Command, Outcome, Prepared, Submission, signed};
use read::Readers;
use writer::Queue;

pub use schema::OpenError;
pub use upkeep::{UpkeepError, back_up, check};

mod assistants;
mod batches;
mod command;
mod crons;
mod idempotency;
mod items;
mod keys;
mod ledger;
mod read;
mod schema;
mod threads;
mod upkeep;
mod write;
mod writer;

pub struct SqliteStore {
    /// `None` only while it is dropped.
    queue: Option<Queue>,
    readers: Readers,
    thread: Option<JoinHandle<()>>,
    /// Given back last.
    _lock: schema::Lock,
}

impl SqliteStore {
    /// Opens the file, making it or bringing it up to date first. Blocks; one process at a time.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = schema::resolve(path.as_ref())?;
        let lock = schema::lock(&path)?;
        let connection = schema::open_writer(&path)?;
        let unusable = |reason: String| OpenError::Unusable { path: path.clone(), reason };
        let chain = write::Chain::load(&connection)
            .map_err(|problem| unusable(format!("its audit log is damaged: {problem}")))?;
        let (queue, writer) = writer::queue();
        let readers = Readers::new(path.clone());
        let writer = writer.bounding(readers.clone());
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || writer.run(&connection, chain))
            .map_err(|problem| unusable(problem.to_string()))?;
        Ok(Self { queue: Some(queue), readers, thread: Some(thread), _lock: lock })
    }

    async fn call(&self, command: Command) -> Result<Outcome, Error> {
        let Some(queue) = &self.queue else { return Err(mismatch()) };
        match queue.call(command).await? {
            Outcome::Refused(reason) => Err(Error::Refused(reason)),
            outcome => Ok(outcome),
        }
    }

    async fn stored(&self, command: Command) -> Result<(), Error> {
        let Outcome::Stored = self.call(command).await? else { return Err(mismatch()) };
        Ok(())
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has acknowledged nothing that is not stored.
            let _ = thread.join();
        }
    }
}

fn mismatch() -> Error {
    Error::Fatal("the database's writer answered another command".to_owned())
}

fn limit(max: usize) -> i64 {
    signed(max as u64)
}

#[async_trait]
impl RunStore for SqliteStore {
    async fn submit(&self, run: NewRun) -> Result<Submitted, Error> {
        let Outcome::Submitted(submitted) =
            self.call(Command::Submit(Submission::new(run)?)).await?
        else {
            return Err(mismatch());
        };
        Ok(submitted)
    }

    async fn intake(&self, intake: Intake) -> Result<(), Error> {
        self.stored(Command::Intake(Prepared::new(intake)?)).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error> {
        let Outcome::Claimed(claimed) = self.call(Command::Claim(claim)).await? else {
            return Err(mismatch());
        };
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        let load = move |connection: &rusqlite::Connection| {
            let mut loaded = Vec::new();
            for (run, fence) in claimed {
                match read::load(connection, run) {
                    Ok(run) => loaded.extend(run.map(|loaded| Claimed { fence, loaded })),
                    // It stays claimed and is driven by nobody: the others must not wait for it.
                    Err(problem) if read::is_unreadable(&problem) => {
                        error!(run_id = %run, %problem, "what is stored of a run is not readable");
                    }
                    Err(problem) => return Err(problem),
                }
            }
            Ok(loaded)
        };
        // They are claimed by now, whether or not they can be read.
        self.readers.ask(load).await.map_err(|problem| Error::Ambiguous(problem.to_string()))
    }

    async fn renew(&self, worker: &str, _: Timestamp, lease_until: Timestamp) -> Result<(), Error> {
        self.stored(Command::Renew { worker: worker.to_owned(), lease_until }).await
    }

    async fn mail(&self, worker: &str) -> Result<Vec<RunId>, Error> {
        let worker = worker.to_owned();
        self.readers.ask(move |connection| read::mail(connection, &worker)).await
    }

    async fn release(&self, worker: &str) -> Result<(), Error> {
        self.stored(Command::Release { worker: worker.to_owned() }).await
    }

    async fn commit(&self, commit: RunCommit) -> Result<Committed, Error> {
        let Outcome::Committed(committed) = self.call(Command::commit(commit)?).await? else {
            return Err(mismatch());
        };
        Ok(committed)
    }

    async fn journal(
        &self,
        run: RunId,
        fence: Fence,
        key: &str,
        effect: Effect,
    ) -> Result<Committed, Error> {
        let Outcome::Committed(committed) =
            self.call(Command::journal((run, fence), key, &effect)?).await?
        else {
            return Err(mismatch());
        };
        Ok(committed)
    }

    async fn signal(&self, run: RunId, signal: Signal) -> Result<Signalled, Error> {
        let Outcome::Signalled(signalled) = self.call(Command::signal(run, signal)?).await? else {
            return Err(mismatch());
        };
        Ok(signalled)
    }

    async fn load(&self, run: RunId) -> Result<Option<Loaded>, Error> {
        self.readers.ask(move |connection| read::load(connection, run)).await
    }

    async fn runs(&self, query: RunQuery) -> Result<Vec<RunRow>, Error> {
        self.readers.ask(move |connection| read::runs(connection, &query)).await
    }

    async fn questions(&self, max: usize) -> Result<Vec<Interrupt>, Error> {
        self.readers.ask(move |connection| read::questions(connection, limit(max))).await
    }

    async fn events(
        &self,
        run: RunId,
        after: u64,
        max: usize,
    ) -> Result<Vec<Stored<Event>>, Error> {
        self.readers.ask(move |connection| read::events(connection, run, after, limit(max))).await
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, Error> {
        self.readers.ask(read::next_wake).await
    }
}

#[async_trait]
impl Log for SqliteStore {
    async fn records(
        &self,
        topic: &str,
        key: Option<&str>,
        after: u64,
        max: usize,
    ) -> Result<Vec<Record>, Error> {
        let (topic, key) = (topic.to_owned(), key.map(str::to_owned));
        let ask = move |connection: &rusqlite::Connection| {
            read::records(connection, &topic, key.as_deref(), (after, limit(max)))
        };
        self.readers.ask(ask).await
    }

    async fn tail(
        &self,
        topic: &str,
        before: Option<u64>,
        max: usize,
    ) -> Result<Vec<Record>, Error> {
        let topic = topic.to_owned();
        self.readers.ask(move |connection| read::tail(connection, &topic, before, limit(max))).await
    }

    async fn audit(&self, after: u64, max: usize) -> Result<Vec<audit::Record>, Error> {
        self.readers.ask(move |connection| read::audit(connection, after, limit(max))).await
    }
}

#[cfg(test)]
mod tests;
