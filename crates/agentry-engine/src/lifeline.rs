//! What ties a run in memory to the store: patience while it is away, and a clean end when it is lost.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use agentry_core::store::Error;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(crate) struct Lifeline {
    run: CancellationToken,
    worker: CancellationToken,
    fatal: Arc<OnceLock<Error>>,
    hopeless: Arc<OnceLock<String>>,
}

impl Lifeline {
    /// A worker's own; cancelling `worker` abandons everything it holds.
    pub(crate) fn new(worker: CancellationToken) -> Self {
        Self { run: worker.child_token(), worker, fatal: Arc::default(), hopeless: Arc::default() }
    }

    pub(crate) fn for_run(&self) -> Self {
        Self {
            run: self.worker.child_token(),
            worker: self.worker.clone(),
            fatal: Arc::clone(&self.fatal),
            hopeless: Arc::default(),
        }
    }

    /// Gives up this run: somebody else has it, or nobody can go on with it here.
    pub(crate) fn cut(&self) {
        self.run.cancel();
    }

    /// Gives up this run for everybody: it could not go on elsewhere either. The first reason counts.
    pub(crate) fn give_up(&self, why: String) {
        let _ = self.hopeless.set(why);
        self.cut();
    }

    pub(crate) fn hopeless(&self) -> Option<&str> {
        self.hopeless.get().map(String::as_str)
    }

    pub(crate) fn fatal(&self) -> Option<Error> {
        self.fatal.get().cloned()
    }

    pub(crate) async fn hold<F: Future>(&self, future: F) -> Option<F::Output> {
        self.run.run_until_cancelled(future).await
    }

    /// Calls the store until it has decided. The flag says that an earlier call may have been stored.
    pub(crate) async fn insist<T, F, Call>(&self, call: F) -> Option<(T, bool)>
    where
        F: Fn() -> Call + Send,
        Call: Future<Output = Result<T, Error>> + Send,
    {
        let mut pause = PAUSE_FIRST;
        let mut doubted = false;
        loop {
            let problem = match call().await {
                Ok(decided) => return Some((decided, doubted)),
                Err(problem) => problem,
            };
            match problem {
                Error::Unavailable(_) | Error::Overloaded => {}
                Error::Ambiguous(_) => doubted = true,
                Error::Incompatible(_) | Error::Refused(_) => {
                    error!(%problem, "a run cannot go on here");
                    self.give_up(problem.to_string());
                    return None;
                }
                Error::Fatal(_) => {
                    // The first cause is kept; the worker reports it.
                    let _ = self.fatal.set(problem);
                    self.worker.cancel();
                    return None;
                }
            }
            warn!(%problem, "the store is away");
            self.run.run_until_cancelled(tokio::time::sleep(pause)).await?;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
