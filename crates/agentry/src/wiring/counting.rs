//! What the engine does, for `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::run::Closing;
use agentry_core::thread::{Commit, RunStatus, Status};
use agentry_core::threads::{Error, RunQuery, ThreadQuery, Threads};
use agentry_core::{Clock as _, Trace};
use agentry_engine::observe::{Came, End, Execution, Observer, Observers, Outcome, Task, TaskEnd};
use agentry_otel::Tracer;
use agentry_server::{Metrics, ThreadsNow};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clock::SystemClock;

/// How often it is looked at what waits.
const EVERY: Duration = Duration::from_secs(5);
/// More questions and more runs that wait than this are not looked at.
const LOOKED_AT_MAX: usize = 1_000;

/// Whoever hears of what workers do: the metrics, and what traces if anything does.
pub(crate) fn observer(metrics: Arc<Metrics>, tracer: Option<Arc<Tracer>>) -> Arc<dyn Observer> {
    let counting: Arc<dyn Observer> = Arc::new(Counting(metrics));
    match tracer {
        None => counting,
        Some(tracer) => Arc::new(Observers(vec![counting, tracer])),
    }
}

/// Tells the metrics of everything that workers do.
struct Counting(Arc<Metrics>);

impl Observer for Counting {
    fn claimed(&self, execution: &Execution) {
        self.0.thread_claimed(execution.ready.map(|ready| execution.at.since(ready)));
    }

    fn begins(&self, _: &Execution, _: &Task) -> Option<Trace> {
        None
    }

    fn ended(&self, execution: &Execution, task: &Task, end: &TaskEnd<'_>) {
        let came = match end.came {
            Came::Done => "done",
            Came::Cached => "cached",
            Came::Asks => "asks",
            Came::Failed(_) => "failed",
            Came::Aborted => "aborted",
        };
        self.0.node_ran((&execution.graph, &task.node), came, end.at.since(task.at));
    }

    fn committed(&self, execution: &Execution, commit: &Commit, took: Duration) {
        self.0.thread_committed(took);
        for change in commit.runs.iter().filter(|change| change.status.is_over()) {
            self.0.run_over(&execution.graph, outcome(change.status));
        }
        let asked = commit.opened.iter().filter(|opened| opened.question.is_some()).count();
        self.0.interrupts("opened", asked as u64);
        self.0.interrupts("escalated", commit.postponed.len() as u64);
        let closed = |how| commit.closed.iter().filter(|(_, closing)| *closing == how).count();
        self.0.interrupts("answered", closed(Closing::Answered) as u64);
        self.0.interrupts("expired", closed(Closing::Expired) as u64);
        let gone = closed(Closing::Withdrawn) + closed(Closing::Replaced);
        self.0.interrupts("withdrawn", gone as u64);
    }

    fn performed(&self) {
        self.0.effect_done();
    }

    fn let_go(&self, _: &Execution, outcome: &Outcome) {
        match outcome.end {
            End::Lost => self.0.lease_lost(),
            End::Rests | End::GivenBack | End::Changed => {}
        }
        self.0.thread_let_go();
    }
}

fn outcome(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Pending | RunStatus::Running => "going_on",
        RunStatus::Interrupted => "interrupted",
        RunStatus::Success => "success",
        RunStatus::Error => "error",
        RunStatus::Timeout => "timeout",
        RunStatus::Cancelled => "cancelled",
        RunStatus::RolledBack => "rolled_back",
    }
}

/// Looks, every few seconds, at what waits in the store.
pub(crate) async fn look(
    archive: Arc<dyn Threads>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) {
    while !shutdown.is_cancelled() {
        match now(archive.as_ref()).await {
            Ok(now) => metrics.threads_now(now),
            Err(problem) => warn!(%problem, "threads cannot be counted now"),
        }
        shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await;
    }
}

async fn now(archive: &dyn Threads) -> Result<ThreadsNow, Error> {
    let of = |status| ThreadQuery { status: Some(status), max: 1, ..ThreadQuery::default() };
    let pending =
        RunQuery { status: Some(RunStatus::Pending), max: LOOKED_AT_MAX, ..RunQuery::default() };
    let moment = SystemClock.now();
    let pending = archive.runs(pending).await?;
    let waits = pending.iter().map(|run| moment.since(run.turn().max(run.created)));
    Ok(ThreadsNow {
        ready: archive.count(of(Status::Ready)).await?,
        waiting: archive.count(of(Status::Waiting)).await?,
        interrupted: archive.count(of(Status::Interrupted)).await?,
        failed: archive.count(of(Status::Failed)).await?,
        questions: archive.questions(None, LOOKED_AT_MAX).await?.len(),
        oldest: waits.max().unwrap_or_default(),
    })
}
