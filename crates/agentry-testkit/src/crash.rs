//! A store that dies with its process: at a chosen write, before or after it was stored.

use std::sync::{Arc, Mutex, PoisonError};

use agentry_core::run::{Committed, Effect, Fence};
use agentry_core::thread::{Commit, Loaded, NewRun};
use agentry_core::threads::{
    Claim, Claimed, Error, Intake, Signal, Signalled, Submitted, Taken, ThreadStore,
};
use agentry_core::{ThreadId, Timestamp};
use async_trait::async_trait;
use tokio::sync::watch;

/// Where the process ends. Commits and journal entries count as writes, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    Never,
    /// The write is not stored.
    Before(u64),
    /// The write is stored, but nobody hears of it.
    After(u64),
    /// It goes on living, but the store refuses this write for good.
    Refused(u64),
    /// It goes on living, but of every so many writes one is stored without being confirmed, and the next is put off.
    Doubt(u64),
}

/// Passes everything on until it crashes; then every call fails for good.
pub struct CrashStore {
    inner: Arc<dyn ThreadStore>,
    crash: Crash,
    writes: Mutex<u64>,
    /// Counts what has been stored, for whoever waits for a change.
    changes: watch::Sender<u64>,
    dead: watch::Sender<bool>,
}

impl CrashStore {
    #[must_use]
    pub fn new(inner: Arc<dyn ThreadStore>, crash: Crash) -> Self {
        let (changes, dead) = (watch::Sender::new(0), watch::Sender::new(false));
        Self { inner, crash, writes: Mutex::new(0), changes, dead }
    }

    /// Changes whenever something has been stored.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    #[must_use]
    pub fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    fn alive(&self) -> Result<(), Error> {
        if self.is_dead() {
            return Err(Error::Fatal("the process has ended".to_owned()));
        }
        Ok(())
    }

    fn die(&self) {
        self.dead.send_replace(true);
    }

    /// Whether this write is the one before or after which the process ends.
    fn count(&self) -> Crash {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        *writes += 1;
        match self.crash {
            Crash::Before(at) | Crash::After(at) | Crash::Refused(at) if at == *writes => {
                self.crash
            }
            Crash::Doubt(every) if *writes % every < 2 => Crash::Doubt(*writes % every),
            Crash::Never
            | Crash::Before(_)
            | Crash::After(_)
            | Crash::Refused(_)
            | Crash::Doubt(_) => Crash::Never,
        }
    }

    async fn write<T>(
        &self,
        stored: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        self.alive()?;
        let crash = self.count();
        if matches!(crash, Crash::Before(_)) {
            self.die();
        }
        self.alive()?;
        if crash == Crash::Doubt(1) {
            return Err(Error::Unavailable("not now".to_owned()));
        }
        if matches!(crash, Crash::Refused(_)) {
            return Err(Error::Refused("it is too large".to_owned()));
        }
        let stored = stored.await;
        if matches!(crash, Crash::After(_)) {
            self.die();
        }
        self.changes.send_modify(|count| *count += 1);
        self.alive()?;
        if crash == Crash::Doubt(0) {
            return Err(Error::Ambiguous("who knows".to_owned()));
        }
        stored
    }
}

#[async_trait]
impl ThreadStore for CrashStore {
    async fn submit(&self, run: NewRun) -> Result<Submitted, Error> {
        self.alive()?;
        self.inner.submit(run).await
    }

    async fn intake(&self, intake: Intake) -> Result<(), Error> {
        self.alive()?;
        self.inner.intake(intake).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error> {
        self.alive()?;
        self.inner.claim(claim).await
    }

    async fn take(&self, thread: ThreadId, claim: Claim) -> Result<Taken, Error> {
        self.alive()?;
        self.inner.take(thread, claim).await
    }

    async fn renew(
        &self,
        worker: &str,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<(), Error> {
        self.alive()?;
        self.inner.renew(worker, now, lease_until).await
    }

    async fn mail(&self, worker: &str) -> Result<Vec<ThreadId>, Error> {
        self.alive()?;
        self.inner.mail(worker).await
    }

    async fn release(&self, worker: &str) -> Result<(), Error> {
        self.alive()?;
        self.inner.release(worker).await
    }

    async fn succeed(&self, name: &str, worker: &str) -> Result<(), Error> {
        self.alive()?;
        self.inner.succeed(name, worker).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        self.write(self.inner.commit(commit)).await
    }

    async fn journal(
        &self,
        thread: ThreadId,
        fence: Fence,
        key: &str,
        effect: Effect,
    ) -> Result<Committed, Error> {
        self.write(self.inner.journal(thread, fence, key, effect)).await
    }

    async fn signal(&self, thread: ThreadId, signal: Signal) -> Result<Signalled, Error> {
        self.alive()?;
        self.inner.signal(thread, signal).await
    }

    async fn load(&self, thread: ThreadId) -> Result<Option<Loaded>, Error> {
        self.alive()?;
        self.inner.load(thread).await
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, Error> {
        self.alive()?;
        self.inner.next_wake().await
    }
}
