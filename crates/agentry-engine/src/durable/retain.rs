//! How long threads and their histories are kept, where nobody says so of a single one.

use std::time::Duration;

use agentry_core::thread::{NewThread, Status, Thread};
use agentry_core::threads::{At, From, Order, ThreadQuery};
use agentry_core::{ThreadId, Timestamp};
use serde_json::Map;

use super::handle::Handle;
use crate::Error;

/// So many threads are removed, and as many looked at, in one go.
const PART: usize = 200;
/// Whose thread is the token of whoever tidies up.
const TENANT: &str = "agentry";
/// The token is never removed.
const FOR_EVER: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Nothing is removed without a span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// How long threads with nothing to do are kept after they were last used.
    pub threads: Option<Duration>,
    /// How long all of a thread's history is kept after it was last used; then only where it stands.
    pub history: Option<Duration>,
}

/// Where the next part begins. One for each process that tidies up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    looked_at: usize,
}

impl Place {
    /// After so many threads that were looked at and are old enough.
    #[must_use]
    pub fn after(looked_at: usize) -> Self {
        Self { looked_at }
    }

    #[must_use]
    pub fn looked_at(self) -> usize {
        self.looked_at
    }
}

/// What one part has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tidied {
    pub threads: u64,
    /// Threads whose history was cut, and what that has removed.
    pub cut: u64,
    pub entries: u64,
    /// Whether more is left to be done at once.
    pub more: bool,
}

impl Handle {
    /// Does one part of what is to be done. Of several processes one does it at a time; the others answer that nothing was
    /// done.
    pub async fn tidy(&self, retention: Retention, place: &mut Place) -> Result<Tidied, Error> {
        match self.tidy_now(retention, place).await {
            Err(Error::Busy(_)) => Ok(Tidied::default()),
            other => other,
        }
    }

    /// The same, where whoever asks is to know that somebody else does it: [`Error::Busy`].
    pub async fn tidy_now(&self, retention: Retention, place: &mut Place) -> Result<Tidied, Error> {
        let Retention { threads, history } = retention;
        if threads.is_none() && history.is_none() {
            return Ok(Tidied::default());
        }
        let token = self.token().await?;
        self.take(token).await?;
        let tidied = self.tidy_part((threads, history), place).await;
        self.store().release(&self.door(token)).await?;
        tidied
    }

    /// How many histories one part would cut. Nothing is changed.
    pub async fn would_cut(&self, history: Duration, place: &mut Place) -> Result<Tidied, Error> {
        let before = self.clock().now().minus(history);
        let mut tidied = Tidied::default();
        for thread in self.old(before, place, &mut tidied).await? {
            let cut = self.has_history(&thread).await? && self.would_compact(&thread).await?;
            tidied.cut += u64::from(cut);
        }
        Ok(tidied)
    }

    /// Whether there is anything that cutting the thread's history would remove, and nothing that speaks against it.
    pub async fn would_compact(&self, thread: &Thread) -> Result<bool, Error> {
        let rests = match thread.status {
            Status::Idle | Status::Interrupted | Status::Failed => true,
            Status::Ready | Status::Waiting => false,
        };
        let has_graph = thread
            .program
            .as_ref()
            .is_some_and(|program| self.registry().get(&program.graph, &program.version).is_some());
        Ok(rests && has_graph && thread.seq.0 > 1 && !self.has_run_to_come(thread.id).await?)
    }

    async fn tidy_part(
        &self,
        (threads, history): (Option<Duration>, Option<Duration>),
        place: &mut Place,
    ) -> Result<Tidied, Error> {
        let now = self.clock().now();
        let mut tidied = Tidied::default();
        if let Some(span) = threads {
            tidied.threads = self.archive().retire(now.minus(span), PART).await?;
            tidied.more = tidied.threads == PART as u64;
        }
        if let Some(span) = history {
            self.cut(now.minus(span), place, &mut tidied).await?;
        }
        Ok(tidied)
    }

    async fn cut(
        &self,
        before: Timestamp,
        place: &mut Place,
        tidied: &mut Tidied,
    ) -> Result<(), Error> {
        for thread in self.old(before, place, tidied).await? {
            let entries =
                if self.has_history(&thread).await? { self.cut_one(thread.id).await? } else { 0 };
            tidied.entries += entries;
            tidied.cut += u64::from(entries > 0);
        }
        Ok(())
    }

    /// The next part of the threads that are old enough.
    async fn old(
        &self,
        before: Timestamp,
        place: &mut Place,
        tidied: &mut Tidied,
    ) -> Result<Vec<Thread>, Error> {
        let query = ThreadQuery {
            status: Some(Status::Idle),
            order: Order::UpdatedOldest,
            offset: place.looked_at,
            max: PART,
            ..ThreadQuery::default()
        };
        let mut old = self.archive().threads(query).await?;
        old.retain(|thread| thread.updated < before);
        // Cutting a history changes nothing of when the thread was last used, and so nothing of the order.
        let whole = old.len() == PART;
        place.looked_at = if whole { place.looked_at + PART } else { 0 };
        tidied.more |= whole;
        Ok(old)
    }

    async fn has_history(&self, thread: &Thread) -> Result<bool, Error> {
        let line = self.archive().line(thread.id, At::Head, From::Snapshot).await?;
        let Some(line) = line else { return Ok(false) };
        let whole = line.snapshot.is_some_and(|snapshot| snapshot.seq == thread.seq);
        Ok(thread.seq.0 > 1 && !whole)
    }

    /// A thread whose graph is not here keeps its history.
    async fn cut_one(&self, thread: ThreadId) -> Result<u64, Error> {
        match self.compact(thread).await {
            Err(
                Error::UnknownVersion { .. }
                | Error::UnknownGraph(_)
                | Error::Load(_)
                | Error::NoThread(_),
            ) => Ok(0),
            other => other,
        }
    }

    /// A thread that nothing runs on: who has it tidies up.
    async fn token(&self) -> Result<ThreadId, Error> {
        let beginning = Timestamp::from_micros(0);
        let id = ThreadId::derived(beginning, "retention");
        let (tenant, metadata) = (TENANT.to_owned(), Map::new());
        let keep_for = Some(FOR_EVER);
        let token = NewThread { id, tenant, metadata, created: beginning, keep_for };
        self.archive().create(token).await?;
        Ok(id)
    }
}
