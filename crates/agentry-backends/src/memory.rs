//! The model that every other store is held to: all in memory, gone with the process.

use std::sync::{Mutex, MutexGuard, PoisonError};

use agentry_core::keys::Keys;
use agentry_core::run::{
    Committed, Effect, Event, Fence, Interrupt, Loaded, NewRun, RunCommit, RunRow,
};
use agentry_core::store::{
    Claim, Claimed, Error, Intake, Log, Record, RunQuery, RunStore, Signal, Signalled, Stored,
    Submitted,
};
use agentry_core::{RunId, Timestamp, audit};
use async_trait::async_trait;

use chronicle::Chronicle;
use model::Model;
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
mod model;
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
    runs: Model,
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
impl RunStore for MemoryStore {
    async fn submit(&self, run: NewRun) -> Result<Submitted, Error> {
        Ok(self.world().runs.submit(run))
    }

    async fn intake(&self, intake: Intake) -> Result<(), Error> {
        let World { log, runs, .. } = &mut *self.world();
        runs.intake(intake, log)
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error> {
        Ok(self.world().runs.claim(&claim))
    }

    async fn renew(&self, worker: &str, _: Timestamp, lease_until: Timestamp) -> Result<(), Error> {
        self.world().runs.renew(worker, lease_until);
        Ok(())
    }

    async fn mail(&self, worker: &str) -> Result<Vec<RunId>, Error> {
        Ok(self.world().runs.mail(worker))
    }

    async fn release(&self, worker: &str) -> Result<(), Error> {
        self.world().runs.release(worker);
        Ok(())
    }

    async fn commit(&self, commit: RunCommit) -> Result<Committed, Error> {
        let World { log, runs, .. } = &mut *self.world();
        runs.commit(commit, log)
    }

    async fn journal(
        &self,
        run: RunId,
        fence: Fence,
        key: &str,
        effect: Effect,
    ) -> Result<Committed, Error> {
        self.world().runs.journal(run, fence, key, effect)
    }

    async fn signal(&self, run: RunId, signal: Signal) -> Result<Signalled, Error> {
        let World { log, runs, .. } = &mut *self.world();
        runs.signal(run, signal, log)
    }

    async fn load(&self, run: RunId) -> Result<Option<Loaded>, Error> {
        Ok(self.world().runs.load(run))
    }

    async fn runs(&self, query: RunQuery) -> Result<Vec<RunRow>, Error> {
        Ok(self.world().runs.runs(&query))
    }

    async fn questions(&self, max: usize) -> Result<Vec<Interrupt>, Error> {
        Ok(self.world().runs.questions(max))
    }

    async fn events(
        &self,
        run: RunId,
        after: u64,
        max: usize,
    ) -> Result<Vec<Stored<Event>>, Error> {
        Ok(self.world().runs.events(run, after, max))
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, Error> {
        Ok(self.world().runs.next_wake())
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
