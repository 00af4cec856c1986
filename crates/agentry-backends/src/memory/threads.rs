//! Threads in memory: what every other store of them is held to.

use agentry_core::run::{Committed, Effect, Fence};
use agentry_core::thread::{
    Commit, Entry, EventId, Interrupt, Line, Loaded, NewRun, NewThread, Run, Thread, Told,
};
use agentry_core::threads::{
    At, CheckpointQuery, Claim, Claimed, Created, Error, Found, From, Intake, Keep, RunQuery,
    Signal, Signalled, Submitted, Taken, ThreadQuery, ThreadStore, Threads,
};
use agentry_core::{RunId, ThreadId, Timestamp};
use async_trait::async_trait;
use serde_json::{Map, Value};

pub(super) use book::Book;
use held::Held;

use super::{MemoryStore, World};

mod book;
mod held;
mod history;

#[async_trait]
impl ThreadStore for MemoryStore {
    async fn submit(&self, run: NewRun) -> Result<Submitted, Error> {
        Ok(self.world().threads.submit(run))
    }

    async fn intake(&self, intake: Intake) -> Result<(), Error> {
        let World { log, threads } = &mut *self.world();
        threads.intake(intake, log)
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error> {
        Ok(self.world().threads.claim(&claim))
    }

    async fn take(&self, thread: ThreadId, claim: Claim) -> Result<Taken, Error> {
        Ok(self.world().threads.take(thread, &claim))
    }

    async fn renew(&self, worker: &str, _: Timestamp, lease_until: Timestamp) -> Result<(), Error> {
        self.world().threads.renew(worker, lease_until);
        Ok(())
    }

    async fn mail(&self, worker: &str) -> Result<Vec<ThreadId>, Error> {
        Ok(self.world().threads.mail(worker))
    }

    async fn release(&self, worker: &str) -> Result<(), Error> {
        self.world().threads.release(worker);
        Ok(())
    }

    async fn succeed(&self, name: &str, worker: &str) -> Result<(), Error> {
        self.world().threads.succeed(name, worker);
        Ok(())
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        let World { log, threads } = &mut *self.world();
        threads.commit(commit, log)
    }

    async fn journal(
        &self,
        thread: ThreadId,
        fence: Fence,
        key: &str,
        effect: Effect,
    ) -> Result<Committed, Error> {
        Ok(self.world().threads.journal(thread, fence, key, effect))
    }

    async fn signal(&self, thread: ThreadId, signal: Signal) -> Result<Signalled, Error> {
        let World { log, threads } = &mut *self.world();
        threads.signal(thread, signal, log)
    }

    async fn load(&self, thread: ThreadId) -> Result<Option<Loaded>, Error> {
        Ok(self.look_at(thread, Held::loaded))
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, Error> {
        Ok(self.world().threads.next_wake())
    }
}

#[async_trait]
impl Threads for MemoryStore {
    async fn create(&self, thread: NewThread) -> Result<Created, Error> {
        Ok(self.world().threads.create(thread))
    }

    async fn thread(&self, thread: ThreadId) -> Result<Option<Thread>, Error> {
        Ok(self.look_at(thread, |held| held.thread.clone()))
    }

    async fn threads(&self, query: ThreadQuery) -> Result<Vec<Thread>, Error> {
        let found = self.world().threads.list(&query);
        Ok(found.into_iter().skip(query.offset).take(query.max).collect())
    }

    async fn count(&self, query: ThreadQuery) -> Result<u64, Error> {
        Ok(self.world().threads.list(&query).len() as u64)
    }

    async fn describe(
        &self,
        thread: ThreadId,
        metadata: Map<String, Value>,
        now: Timestamp,
    ) -> Result<Option<Thread>, Error> {
        Ok(self.world().threads.describe(thread, metadata, now))
    }

    async fn copy(&self, from: ThreadId, to: NewThread) -> Result<bool, Error> {
        self.world().threads.copy(from, to)
    }

    async fn delete(&self, thread: ThreadId) -> Result<bool, Error> {
        Ok(self.world().threads.delete(thread))
    }

    async fn prune(&self, thread: ThreadId, keep: Keep) -> Result<u64, Error> {
        let mut world = self.world();
        let held = world.threads.threads.get_mut(&thread);
        Ok(held.map_or(0, |held| held.prune(keep)))
    }

    async fn sweep(&self, now: Timestamp, max: usize) -> Result<u64, Error> {
        Ok(self.world().threads.sweep(now, max))
    }

    async fn retire(&self, before: Timestamp, max: usize) -> Result<u64, Error> {
        Ok(self.world().threads.retire(before, max))
    }

    async fn run(&self, run: RunId) -> Result<Option<Run>, Error> {
        Ok(self.world().threads.run(run).cloned())
    }

    async fn runs(&self, query: RunQuery) -> Result<Vec<Run>, Error> {
        Ok(self.world().threads.runs(&query))
    }

    async fn delete_run(&self, run: RunId) -> Result<bool, Error> {
        Ok(self.world().threads.delete_run(run))
    }

    async fn checkpoints(
        &self,
        thread: ThreadId,
        query: CheckpointQuery,
    ) -> Result<Vec<Found>, Error> {
        Ok(self.look_at(thread, |held| held.checkpoints(&query)).unwrap_or_default())
    }

    async fn line(&self, thread: ThreadId, at: At, from: From) -> Result<Option<Line>, Error> {
        Ok(self.look_at(thread, |held| held.find(at).map(|at| held.line(at, from))).flatten())
    }

    async fn progress(&self, thread: ThreadId, at: At) -> Result<Vec<Entry>, Error> {
        let found = self.look_at(thread, |held| held.find(at).map(|at| held.progress(at)));
        Ok(found.flatten().unwrap_or_default())
    }

    async fn events(
        &self,
        thread: ThreadId,
        run: Option<RunId>,
        after: EventId,
        max: usize,
    ) -> Result<Vec<Told>, Error> {
        Ok(self.look_at(thread, |held| held.told(run, after, max)).unwrap_or_default())
    }

    async fn questions(
        &self,
        thread: Option<ThreadId>,
        max: usize,
    ) -> Result<Vec<Interrupt>, Error> {
        Ok(self.world().threads.questions(thread, max))
    }
}

impl MemoryStore {
    /// What `look` finds in a thread that there is.
    fn look_at<T>(&self, thread: ThreadId, look: impl FnOnce(&Held) -> T) -> Option<T> {
        self.world().threads.threads.get(&thread).map(look)
    }
}
