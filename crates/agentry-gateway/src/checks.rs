//! Looks whether targets are there while nobody calls them.
//!
//! A check that fails often enough in a row takes its targets out, one that passes often enough puts them back. It says nothing
//! of what calls have found: something that answers a check need not answer calls. Each instance looks for itself.

use std::sync::Arc;
use std::time::Duration;

use agentry_balance::Checked;
use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::Gateway;

mod book;

pub use book::{Found, Last, State};

pub(crate) use book::Book;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// From the beginning of one look to that of the next.
    pub interval: Duration,
    /// For one look.
    pub timeout: Duration,
    /// So many in a row take a target out.
    pub failures: u32,
    /// So many in a row put it back.
    pub successes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            failures: 3,
            successes: 2,
        }
    }
}

/// One thing to look at.
#[async_trait]
pub trait Check: Send + Sync {
    /// What is wrong, in words for people.
    async fn look(&self) -> Result<(), String>;
}

/// What is looked at, and what it says about which targets.
#[derive(Clone)]
pub struct Plan {
    /// Each is a `provider/model`.
    pub targets: Vec<Arc<str>>,
    pub settings: Settings,
    pub check: Arc<dyn Check>,
}

/// Says what is looked at. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<watch::Sender<Vec<Plan>>>);

/// Looks. It must run for as long as calls are made.
pub struct Service {
    gateway: Arc<Gateway>,
    plans: watch::Receiver<Vec<Plan>>,
    /// Somebody may always change what is looked at.
    _handle: Handle,
}

impl Service {
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, plans: Vec<Plan>) -> (Handle, Self) {
        gateway.checks.expect(&plans);
        let (sender, receiver) = watch::channel(plans);
        let handle = Handle(Arc::new(sender));
        (handle.clone(), Self { gateway, plans: receiver, _handle: handle })
    }

    /// Until told to stop.
    pub async fn run(mut self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let plans = self.plans.borrow_and_update().clone();
            let looking = join_all(plans.iter().map(|plan| self.look_at(plan)));
            let mut changes = self.plans.clone();
            tokio::select! {
                () = shutdown.cancelled() => {}
                _ = changes.changed() => {}
                _ = looking, if !plans.is_empty() => {}
            }
        }
    }

    /// Again and again.
    async fn look_at(&self, plan: &Plan) {
        let Plan { targets, settings, check } = plan;
        let mut next = Instant::now();
        loop {
            sleep_until(next).await;
            let began = Instant::now();
            let said = timeout(settings.timeout, check.look()).await.unwrap_or_else(|_| {
                Err(format!("no answer within {} ms", settings.timeout.as_millis()))
            });
            for target in targets {
                self.gateway.checked(target, settings, (&said, began.elapsed()));
            }
            next = began + self.gateway.around(settings.interval);
        }
    }
}

impl Handle {
    /// From now on this is looked at. What is known of targets that are still looked at is kept.
    pub fn replace(&self, gateway: &Gateway, plans: Vec<Plan>) {
        gateway.forget_unchecked(&plans);
        gateway.checks.expect(&plans);
        self.0.send_replace(plans);
    }
}

impl Gateway {
    /// A look has said this of a target.
    fn checked(
        &self,
        target: &Arc<str>,
        settings: &Settings,
        (said, took): (&Result<(), String>, Duration),
    ) {
        let inner = self.inner();
        let last = Last { at: inner.clock.now(), took, problem: said.as_ref().err().cloned() };
        let (state, turned) = self.checks.hear(target, settings, last);
        match (turned, said) {
            (true, Err(problem)) => {
                tracing::warn!(target = &**target, problem, "a target does not pass its check");
            }
            (true, Ok(())) => tracing::info!(target = &**target, "a target passes its check"),
            (false, _) => {}
        }
        let Some(vitals) = inner.targets.get(target) else { return };
        // Two looks that do not come are as good as none.
        let believed_for = settings.interval.saturating_mul(2).saturating_add(settings.timeout);
        vitals.mark_checked(
            Instant::now().into_std(),
            match state {
                Found::Down => Checked::Down { believed_for },
                Found::Up | Found::Unknown => Checked::Up,
            },
        );
    }

    /// Those that nobody will look at any more are not held to what was seen.
    fn forget_unchecked(&self, plans: &[Plan]) {
        let inner = self.inner();
        let is_planned = |target: &str| {
            plans.iter().any(|plan| plan.targets.iter().any(|planned| **planned == *target))
        };
        let now = Instant::now().into_std();
        for target in self.checks.keep_only(is_planned) {
            if let Some(vitals) = inner.targets.get(&target) {
                vitals.mark_checked(now, Checked::Up);
            }
        }
    }

    /// About `span`: instances that began together do not look together for ever.
    fn around(&self, span: Duration) -> Duration {
        const PARTS: u64 = 1_000;
        let part = u32::try_from(self.inner().dice.roll() % (PARTS / 5)).unwrap_or(0);
        span.mul_f64(0.9 + f64::from(part) / PARTS as f64)
    }
}

#[cfg(test)]
mod tests;
