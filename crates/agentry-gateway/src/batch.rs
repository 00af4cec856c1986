//! Embedding calls that come within a few milliseconds go upstream as one.
//!
//! Calls are put together only when nothing but their inputs differs, and never across tenants. Each caller gets its own
//! vectors and its own part of the bill. Where the upstream refuses what was put together, the lot is halved until the one
//! that it refuses is alone with its error. A caller who goes away disturbs nobody; when all have gone, the call ends too.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentry_core::embed::{BatchMax, Embedder, EmbeddingRequest, EmbeddingResponse};
use agentry_core::model::{CallContext, ModelError, Waiting};
use async_trait::async_trait;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

mod lot;

use lot::{Group, Lot, Part};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long the first of a lot waits for others. Nothing: every call goes alone.
    pub linger: Duration,
    /// So many inputs may wait and be under way at one target; more are refused.
    pub inputs_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { linger: Duration::from_millis(3), inputs_max: 65_536 }
    }
}

/// One target whose calls are put together. It is an [`Embedder`] like the one that it asks, which must be the vendor's
/// own: whatever is admitted, counted or billed for each caller is so before.
pub struct Embeddings {
    inner: Arc<Inner>,
    tasks: TaskTracker,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub calls: u64,
    /// How many requests they became.
    pub upstream: u64,
    /// Lots that had to be halved because of one of their callers.
    pub halved: u64,
    /// Calls for which there was no room.
    pub refused: u64,
    /// Inputs that wait or are under way.
    pub inputs: u64,
}

struct Inner {
    target: Arc<dyn Embedder>,
    settings: Settings,
    open: Mutex<HashMap<Group, Open>>,
    inputs: AtomicUsize,
    calls: AtomicU64,
    upstream: AtomicU64,
    halved: AtomicU64,
    refused: AtomicU64,
}

/// A lot that others may still join.
struct Open {
    lot: Lot,
    /// It is full: no need to wait any longer.
    full: Arc<Notify>,
    /// Tells this lot from the next one of its group.
    number: u64,
}

impl Embeddings {
    /// What is put together runs on `tasks`: a caller that goes away takes nobody with it.
    #[must_use]
    pub fn new(target: Arc<dyn Embedder>, settings: Settings, tasks: TaskTracker) -> Self {
        let inner = Inner {
            target,
            settings,
            open: Mutex::default(),
            inputs: AtomicUsize::new(0),
            calls: AtomicU64::new(0),
            upstream: AtomicU64::new(0),
            halved: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner), tasks }
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        let Inner { target: _, settings: _, open: _, inputs, calls, upstream, halved, refused } =
            self.inner.as_ref();
        Stats {
            calls: calls.load(Ordering::Relaxed),
            upstream: upstream.load(Ordering::Relaxed),
            halved: halved.load(Ordering::Relaxed),
            refused: refused.load(Ordering::Relaxed),
            inputs: inputs.load(Ordering::Relaxed) as u64,
        }
    }

    /// Puts a part where it belongs, and sees to it that its lot goes.
    fn place(&self, group: Group, part: Part, max: BatchMax) {
        let number = self.inner.calls.fetch_add(1, Ordering::Relaxed);
        let mut open = self.inner.open();
        if let Some(found) = open.get_mut(&group)
            && found.lot.has_room(&part, max)
        {
            found.lot.join(part);
            if found.lot.is_full(max) {
                found.full.notify_one();
            }
            return;
        }
        // What is open already has no room: it goes now, and this begins the next one.
        let gone = open.remove(&group);
        let full = Arc::new(Notify::new());
        let lot = Lot::new(part);
        let alone = if lot.is_full(max) {
            Some(lot)
        } else {
            open.insert(group.clone(), Open { lot, full: Arc::clone(&full), number });
            None
        };
        drop(open);
        let is_open = alone.is_none();
        for lot in gone.map(|open| open.lot).into_iter().chain(alone) {
            self.go(group.clone(), lot);
        }
        if is_open {
            self.linger(group, full, number);
        }
    }

    fn linger(&self, group: Group, full: Arc<Notify>, number: u64) {
        let inner = Arc::clone(&self.inner);
        self.tasks.spawn(async move {
            // Over or full, either way it goes.
            drop(tokio::time::timeout(inner.settings.linger, full.notified()).await);
            let lot = inner.take(&group, number);
            if let Some(lot) = lot {
                inner.run(&group, lot).await;
            }
        });
    }

    fn go(&self, group: Group, lot: Lot) {
        let inner = Arc::clone(&self.inner);
        self.tasks.spawn(async move { inner.run(&group, lot).await });
    }
}

#[async_trait]
impl Embedder for Embeddings {
    fn batch_max(&self) -> BatchMax {
        self.inner.target.batch_max()
    }

    async fn embed(
        &self,
        cx: &CallContext,
        request: EmbeddingRequest,
    ) -> Result<EmbeddingResponse, ModelError> {
        let Settings { linger, inputs_max } = self.inner.settings;
        let inputs = request.input.len();
        let max = self.batch_max();
        if linger.is_zero() || inputs == 0 {
            return self.inner.target.embed(cx, request).await;
        }
        let Some(room) = Room::take(&self.inner, inputs, inputs_max) else {
            let message = format!("{inputs_max} embedding inputs are waiting already");
            return Err(ModelError::Unavailable { message, after: Some(Duration::from_secs(1)) });
        };
        let start = Instant::now();
        let (answer, answered) = oneshot::channel();
        let (group, input) = Group::of(cx, request);
        self.place(group, Part::new(cx.clone(), input, answer, room), max);
        let answered = async { answered.await.unwrap_or_else(|_| Err(dropped())) };
        match cx.deadline {
            None => answered.await,
            Some(deadline) => {
                let answered = tokio::time::timeout_at(Instant::from_std(deadline), answered);
                answered.await.unwrap_or_else(|_| {
                    Err(ModelError::TimedOut { waiting: Waiting::End, after: start.elapsed() })
                })
            }
        }
    }
}

impl Inner {
    fn open(&self) -> MutexGuard<'_, HashMap<Group, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That lot, unless it has gone already.
    fn take(&self, group: &Group, number: u64) -> Option<Lot> {
        let mut open = self.open();
        let is_it = open.get(group).is_some_and(|found| found.number == number);
        if is_it { open.remove(group).map(|found| found.lot) } else { None }
    }

    /// Asks until every caller has its answer. Halves of a lot go one after the other.
    async fn run(&self, group: &Group, lot: Lot) {
        let mut lots = vec![lot];
        while let Some(mut lot) = lots.pop() {
            lot.forget_gone();
            if lot.is_empty() {
                continue;
            }
            self.upstream.fetch_add(1, Ordering::Relaxed);
            let request = group.request(lot.inputs());
            let inputs = request.input.len();
            let cx = lot.context();
            let answer = tokio::select! {
                biased;
                answer = self.target.embed(&cx, request) => answer,
                // Nobody waits for it: dropping the call cancels it.
                () = lot.abandoned() => continue,
            };
            match answer.and_then(|answer| answer.for_inputs(inputs)) {
                Ok(answer) => lot.answer(answer),
                Err(ModelError::Invalid { .. }) if lot.is_shared() => {
                    self.halved.fetch_add(1, Ordering::Relaxed);
                    let (first, second) = lot.halve();
                    lots.extend([second, first]);
                }
                Err(error) => lot.fail(&error),
            }
        }
    }
}

/// Inputs that may wait. Free again when the caller has its answer or the part is dropped.
struct Room {
    inner: Arc<Inner>,
    inputs: usize,
}

impl Room {
    fn take(inner: &Arc<Inner>, inputs: usize, inputs_max: usize) -> Option<Self> {
        let room = Self { inner: Arc::clone(inner), inputs };
        if inner.inputs.fetch_add(inputs, Ordering::AcqRel) + inputs > inputs_max {
            inner.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.inner.inputs.fetch_sub(self.inputs, Ordering::AcqRel);
    }
}

/// Only when the process ends before the answer came.
fn dropped() -> ModelError {
    ModelError::Unavailable { message: "this instance is shutting down".to_owned(), after: None }
}

#[cfg(test)]
mod tests;
