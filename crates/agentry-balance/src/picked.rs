//! One call to one target, under way.

use std::sync::Arc;
use std::time::Instant;

use crate::blame::Blame;
use crate::breaker::{Cause, Ticket};
use crate::health::Verdict;
use crate::limit::{Permit, Shed, Wish};
use crate::pool::{Mode, Pool};
use crate::vitals::{Asked, Vitals};

/// The call counts as under way until this is told how it went. Dropped untold, it was cancelled, which is held neither
/// for nor against the target. It belongs into the answer's stream.
#[derive(Debug)]
pub struct Picked {
    pool: Pool,
    vitals: Arc<Vitals>,
    target: usize,
    asked: Asked,
    has_first_token: bool,
    /// It is a probe, until it was told.
    ticket: Option<Ticket>,
    permit: Option<Permit>,
}

impl Picked {
    pub(crate) fn new(
        pool: Pool,
        vitals: Arc<Vitals>,
        target: usize,
        (mode, at): (Mode, Instant),
        ticket: Option<Ticket>,
    ) -> Self {
        vitals.enter();
        let asked = Asked { mode, at };
        Self { pool, vitals, target, asked, has_first_token: false, ticket, permit: None }
    }

    /// Its number in the pool.
    #[must_use]
    pub fn target(&self) -> usize {
        self.target
    }

    #[must_use]
    pub fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }

    /// Whether the target is believed to be broken, and this call finds out.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.ticket.is_some()
    }

    /// Waits for room where the target has a limit. The wait is not held against the target.
    pub async fn admit(&mut self, wish: Wish) -> Result<(), Shed> {
        if let Some(limiter) = self.vitals.limiter()
            && self.permit.is_none()
        {
            self.permit = Some(match limiter.try_acquire() {
                Some(permit) => permit,
                None => {
                    let permit = limiter.acquire(wish).await?;
                    self.asked.at = tokio::time::Instant::now().into_std();
                    permit
                }
            });
        }
        Ok(())
    }

    /// The first token of a streamed answer is there. Only the first time counts.
    pub fn first_token(&mut self, now: Instant) {
        if self.asked.mode == Mode::Streamed && !self.has_first_token {
            self.has_first_token = true;
            self.vitals.first_token(now, self.asked, self.ticket.take());
        }
    }

    /// The answer is complete.
    pub fn succeed(mut self, now: Instant) {
        self.first_token(now);
        self.vitals.succeeded(now, self.asked, self.ticket.take());
    }

    /// Says why the target is left alone from now on, if it was used until now: worth a line in the log.
    pub fn fail(mut self, now: Instant, blame: Blame) -> Option<Cause> {
        let waited_for = (!self.has_first_token).then_some(self.asked);
        match self.vitals.failed(now, waited_for, self.ticket.take(), blame) {
            Verdict::Settled => None,
            Verdict::Shut(cause) => Some(cause),
            Verdict::Outlier => self.pool.eject(now, self.target),
        }
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.vitals.leave();
        if let Some(ticket) = self.ticket {
            self.vitals.released(ticket);
        }
    }
}
