//! Hooks for whoever counts or traces what a worker does. They are called on its way, so they must not wait.
//!
//! An *execution* is one claim of a thread: from the moment a worker takes it until it lets go of it, because it rests or is
//! lost. The spans of executions have ids that follow from the thread and its fence, so that each one can name the one before
//! without anything being stored.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentry_core::run::Fence;
use agentry_core::thread::{Commit, Loaded, RunStatus};
use agentry_core::{Clock, RunId, ThreadId, Timestamp, Trace};

use crate::machine::Start;

/// Hears what happens. Nothing that it does changes anything.
pub trait Observer: Send + Sync {
    /// A worker has taken a thread.
    fn claimed(&self, execution: &Execution) {
        let _ = execution;
    }

    /// A node begins; the answer is the span that it runs in, if it is traced.
    fn begins(&self, execution: &Execution, task: &Task) -> Option<Trace> {
        let _ = (execution, task);
        None
    }

    fn ended(&self, execution: &Execution, task: &Task, end: &TaskEnd<'_>) {
        let _ = (execution, task, end);
    }

    /// A decision is stored; `took` is how long the store took.
    fn committed(&self, execution: &Execution, commit: &Commit, took: Duration) {
        let _ = (execution, commit, took);
    }

    /// An effect is done and remembered.
    fn performed(&self) {}

    /// The worker has the thread no more.
    fn let_go(&self, execution: &Execution, outcome: &Outcome) {
        let _ = (execution, outcome);
    }
}

/// One claim of a thread.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    pub thread: ThreadId,
    pub fence: Fence,
    pub tenant: Arc<str>,
    pub graph: Arc<str>,
    pub at: Timestamp,
    /// Since when it could have been taken, as far as that can be told.
    pub ready: Option<Timestamp>,
}

/// One attempt at a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    pub run: RunId,
    /// The graph that it is in: empty for the thread's own.
    pub ns: Arc<str>,
    pub node: Arc<str>,
    /// Counts from 1.
    pub attempt: u32,
    pub at: Timestamp,
    /// Different for each task of an execution.
    pub number: u64,
    /// What [`Observer::begins`] has said.
    pub trace: Option<Trace>,
}

/// What an attempt has come to.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskEnd<'a> {
    pub at: Timestamp,
    pub came: Came<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came<'a> {
    Done,
    /// Its node's cache has answered.
    Cached,
    /// It asks, and runs again when it is answered.
    Asks,
    Failed(&'a str),
    /// It was dropped before its end: its time was up, or the run's.
    Aborted,
}

/// How an execution has ended, and what it did.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub at: Timestamp,
    pub end: End,
    pub commits: u64,
    /// Those that were over when it ended, or rested.
    pub runs: Vec<(RunId, RunStatus)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is done for now: it waits, or has nothing to do.
    Rests,
    /// The worker stops; another one goes on.
    GivenBack,
    /// Another worker has it, or nobody can say who.
    Lost,
    /// It was changed from outside, by no run.
    Changed,
}

/// Of all that are named, none of which waits for another.
#[derive(Clone, Default)]
pub struct Observers(pub Vec<Arc<dyn Observer>>);

impl Observer for Observers {
    fn claimed(&self, execution: &Execution) {
        self.0.iter().for_each(|one| one.claimed(execution));
    }

    fn begins(&self, execution: &Execution, task: &Task) -> Option<Trace> {
        // Each one hears of it; the first that traces it counts.
        let each = |one: &Arc<dyn Observer>| one.begins(execution, task);
        self.0.iter().map(each).fold(None, Option::or)
    }

    fn ended(&self, execution: &Execution, task: &Task, end: &TaskEnd<'_>) {
        self.0.iter().for_each(|one| one.ended(execution, task, end));
    }

    fn committed(&self, execution: &Execution, commit: &Commit, took: Duration) {
        self.0.iter().for_each(|one| one.committed(execution, commit, took));
    }

    fn performed(&self) {
        self.0.iter().for_each(|one| one.performed());
    }

    fn let_go(&self, execution: &Execution, outcome: &Outcome) {
        self.0.iter().for_each(|one| one.let_go(execution, outcome));
    }
}

impl Execution {
    pub(crate) fn of(fence: Fence, loaded: &Loaded, graph: &str, now: Timestamp) -> Self {
        Self {
            thread: loaded.thread.id,
            fence,
            tenant: loaded.thread.tenant.as_str().into(),
            graph: graph.into(),
            at: now,
            ready: ready(loaded, now),
        }
    }

    /// The execution's own span: the same wherever it is asked for. Whether it is sampled is for others to say.
    #[must_use]
    pub fn span(&self) -> Trace {
        span(self.thread, self.fence)
    }

    /// The span of the execution before this one, on whichever worker; nothing for the first.
    #[must_use]
    pub fn before(&self) -> Option<Trace> {
        let before = self.fence.0.checked_sub(1).filter(|before| *before > 0)?;
        Some(span(self.thread, Fence(before)))
    }
}

fn span(thread: ThreadId, fence: Fence) -> Trace {
    let word = |salt: u64| hashed((thread, fence.0, salt));
    let id = (u128::from(word(1)) << 64) | u128::from(word(2));
    Trace::root(id, word(3), true)
}

fn hashed((thread, fence, salt): (ThreadId, u64, u64)) -> u64 {
    let bytes = thread.as_bytes().iter();
    let seed = bytes.fold(mixed(salt), |word, byte| mixed(word ^ u64::from(*byte)));
    mixed(seed ^ fence)
}

/// Spreads the bits of a number over all of a word; another number for each.
pub(crate) fn mixed(number: u64) -> u64 {
    let mut word = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Since when there was something to do.
fn ready(loaded: &Loaded, now: Timestamp) -> Option<Timestamp> {
    let Loaded { thread, runs, inbox, interrupts, .. } = loaded;
    let running = runs.iter().any(|run| run.status == RunStatus::Running);
    let turns = runs.iter().filter(|run| run.status == RunStatus::Pending && !running);
    let turns = turns.map(|run| run.turn().max(run.created));
    let said = inbox.iter().map(|message| message.at);
    let answered = interrupts.iter().filter_map(|asked| Some(asked.answer.as_ref()?.at));
    let ended = runs.iter().filter_map(|run| Some(run.cancel.as_ref()?.at));
    let moments = turns.chain(said).chain(answered).chain(ended).chain(thread.wake_at);
    moments.filter(|at| *at <= now).min()
}

/// Sees to it that the end of an execution is told, also when its future is dropped.
pub(crate) struct Watched {
    observer: Option<Arc<dyn Observer>>,
    execution: Execution,
    clock: Arc<dyn Clock>,
    outcome: Mutex<Outcome>,
    begun: AtomicU64,
}

impl Watched {
    pub(crate) fn new(
        observer: Option<Arc<dyn Observer>>,
        execution: Execution,
        clock: Arc<dyn Clock>,
    ) -> Self {
        if let Some(observer) = &observer {
            observer.claimed(&execution);
        }
        let outcome = Outcome { at: execution.at, end: End::Lost, commits: 0, runs: Vec::new() };
        let outcome = Mutex::new(outcome);
        Self { observer, execution, clock, outcome, begun: AtomicU64::new(0) }
    }

    /// Nothing when nobody watches.
    pub(crate) fn begins(&self, start: &mut Start) -> Option<Task> {
        let observer = self.observer.as_ref()?;
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let mut task = start.told((number, self.clock.now()));
        task.trace = observer.begins(&self.execution, &task);
        start.traced(task.trace);
        Some(task)
    }

    pub(crate) fn performed(&self) {
        if let Some(observer) = &self.observer {
            observer.performed();
        }
    }

    pub(crate) fn ended(&self, task: &Task, came: Came<'_>) {
        if let Some(observer) = &self.observer {
            let end = TaskEnd { at: self.clock.now(), came };
            observer.ended(&self.execution, task, &end);
        }
    }

    pub(crate) fn committed(&self, commit: &Commit, took: Duration) {
        let Some(observer) = &self.observer else { return };
        observer.committed(&self.execution, commit, took);
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.commits += 1;
        let over = commit.runs.iter().filter(|change| change.status.is_over());
        outcome.runs.extend(over.map(|change| (change.run, change.status)));
    }

    pub(crate) fn ends(&self, end: End) {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).end = end;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some(observer) = &self.observer else { return };
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.at = self.clock.now();
        observer.let_go(&self.execution, &outcome);
    }
}

#[cfg(test)]
mod tests;
