//! The store for one process: a SQLite file, one thread that writes and a few connections that read.
//!
//! An acknowledged command is on the disk. Commands that queue up while the disk works are stored together, so the cost
//! of waiting for it is shared.

use std::path::Path;
use std::thread::JoinHandle;

use agentry_core::audit;
use agentry_core::store::{Error, Log, Record};
use async_trait::async_trait;

use command::{Command, Outcome, signed};
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
        queue.call(command).await
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
