//! What a process says it knows, and a store that writes down there which commits were acknowledged.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use agentry_core::run::{Committed, Effect, Fence};
use agentry_core::thread::{Commit, Loaded, NewRun};
use agentry_core::threads::{
    Claim, Claimed, Error, Intake, Signal, Signalled, Submitted, Taken, ThreadStore,
};
use agentry_core::{ThreadId, Timestamp};
use async_trait::async_trait;

/// A line is written at once and outlives the process.
pub(crate) struct Diary(File);

impl Diary {
    pub(crate) const NAME: &str = "diary";

    pub(crate) fn open(folder: &Path) -> Self {
        let mut options = OpenOptions::new();
        Self(options.create(true).append(true).open(folder.join(Self::NAME)).unwrap())
    }

    pub(crate) fn note(&self, line: &str) {
        (&self.0).write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

pub(crate) struct Noting {
    pub(crate) inner: Arc<dyn ThreadStore>,
    pub(crate) diary: Arc<Diary>,
}

#[async_trait]
impl ThreadStore for Noting {
    async fn submit(&self, run: NewRun) -> Result<Submitted, Error> {
        self.inner.submit(run).await
    }

    async fn intake(&self, intake: Intake) -> Result<(), Error> {
        self.inner.intake(intake).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error> {
        self.inner.claim(claim).await
    }

    async fn take(&self, thread: ThreadId, claim: Claim) -> Result<Taken, Error> {
        self.inner.take(thread, claim).await
    }

    async fn renew(
        &self,
        worker: &str,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<(), Error> {
        self.inner.renew(worker, now, lease_until).await
    }

    async fn mail(&self, worker: &str) -> Result<Vec<ThreadId>, Error> {
        self.inner.mail(worker).await
    }

    async fn release(&self, worker: &str) -> Result<(), Error> {
        self.inner.release(worker).await
    }

    async fn succeed(&self, name: &str, worker: &str) -> Result<(), Error> {
        self.inner.succeed(name, worker).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        let (thread, seq) = (commit.thread, commit.entry.seq.0);
        let committed = self.inner.commit(commit).await?;
        if matches!(committed, Committed::Applied { .. } | Committed::Duplicate) {
            self.diary.note(&format!("committed {thread} {seq}"));
        }
        Ok(committed)
    }

    async fn journal(
        &self,
        thread: ThreadId,
        fence: Fence,
        key: &str,
        effect: Effect,
    ) -> Result<Committed, Error> {
        let done = matches!(effect, Effect::Done { .. });
        let committed = self.inner.journal(thread, fence, key, effect).await?;
        if done && matches!(committed, Committed::Applied { .. }) {
            self.diary.note(&format!("journaled {thread} {key}"));
        }
        Ok(committed)
    }

    async fn signal(&self, thread: ThreadId, signal: Signal) -> Result<Signalled, Error> {
        self.inner.signal(thread, signal).await
    }

    async fn load(&self, thread: ThreadId) -> Result<Option<Loaded>, Error> {
        self.inner.load(thread).await
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, Error> {
        self.inner.next_wake().await
    }
}
