//! The model that every other store is held to: all in memory, gone with the process.

use std::sync::{Mutex, MutexGuard, PoisonError};

use agentry_core::audit;
use agentry_core::keys::Keys;
use agentry_core::store::{Error, Log, Record};
use async_trait::async_trait;

use chronicle::Chronicle;
use threads::Book;

pub use shared::MemoryShared;

mod assistants;
mod batches;
mod chronicle;
mod crons;
mod idempotency;
mod items;
mod keys;
mod ledger;
mod shared;
mod threads;

#[derive(Default)]
pub struct MemoryStore {
    world: Mutex<World>,
    books: Mutex<ledger::Books>,
    requests: Mutex<idempotency::Requests>,
    batches: Mutex<batches::Kept>,
    keys: Mutex<Keys>,
    items: Mutex<items::Shelves>,
    assistants: Mutex<assistants::Staff>,
    crons: Mutex<crons::Calendar>,
}

/// What one intake may touch all of.
#[derive(Default)]
struct World {
    log: Chronicle,
    threads: Book,
}

impl MemoryStore {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For a process that goes on for long: only so many of the latest usage records are kept.
    #[must_use]
    pub fn keeping_usage(records_max: usize) -> Self {
        let books = Mutex::new(ledger::Books::keeping_usage(records_max));
        Self { books, ..Self::default() }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Log for MemoryStore {
    async fn records(
        &self,
        topic: &str,
        key: Option<&str>,
        after: u64,
        max: usize,
    ) -> Result<Vec<Record>, Error> {
        let world = self.world();
        let found = world
            .log
            .records(topic)
            .filter(|record| record.offset > after && key.is_none_or(|key| record.key == key));
        Ok(found.take(max).cloned().collect())
    }

    async fn tail(
        &self,
        topic: &str,
        before: Option<u64>,
        max: usize,
    ) -> Result<Vec<Record>, Error> {
        let world = self.world();
        let found = world.log.records(topic).rev();
        let found = found.filter(|record| before.is_none_or(|before| record.offset < before));
        Ok(found.take(max).cloned().collect())
    }

    async fn audit(&self, after: u64, max: usize) -> Result<Vec<audit::Record>, Error> {
        let world = self.world();
        Ok(world
            .log
            .audit()
            .iter()
            .filter(|record| record.number > after)
            .take(max)
            .cloned()
            .collect())
    }
}
