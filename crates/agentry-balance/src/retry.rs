//! What follows a failed attempt. Pure.

use std::time::{Duration, Instant};

use crate::blame::Blame;
use crate::budget::RetryBudget;
use crate::dice::below;
use crate::moment::micros;
use crate::pool::{Nobody, Why};
use crate::targets::Targets;

const BACKOFF: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(8);
/// Whoever wants to be left alone for longer is not waited for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Pick again at once: somebody else can be asked.
    Other,
    /// Pick again after the wait. With one target, that is the same one.
    Again { wait: Duration },
    /// Go on with the next alias, with [`Attempts`] of its own.
    Fallback,
    /// Nobody is left who could answer, or no time.
    GiveUp,
}

/// What the pool looks like after a failure, from [`Pool::outlook`](crate::Pool::outlook).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// Who failed.
    pub failed: usize,
    pub all: Targets,
    /// Who could be asked now.
    pub open: Targets,
    /// Who is shut, and is not worth waiting for.
    pub shut: Targets,
    /// Who is the same model as the one that failed, itself included.
    pub same_model: Targets,
}

/// What is left to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Means {
    /// Until its deadline.
    pub time: Duration,
    /// Whether there is another alias.
    pub has_fallback: bool,
    pub random: u64,
}

/// One call's attempts at one alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    retries_left: u32,
    made: u32,
    /// How often all were asked in vain.
    rounds: u32,
    /// In this round.
    tried: Targets,
    /// Will not be asked again by this call.
    struck: Targets,
}

impl Attempts {
    /// With so many attempts after the first.
    #[must_use]
    pub const fn new(retries: u32) -> Self {
        Self {
            retries_left: retries,
            made: 1,
            rounds: 0,
            tried: Targets::NONE,
            struck: Targets::NONE,
        }
    }

    /// Who must not be picked now.
    #[must_use]
    pub const fn tried(&self) -> Targets {
        self.tried.or(self.struck)
    }

    /// The first one included.
    #[must_use]
    pub const fn made(&self) -> u32 {
        self.made
    }

    /// What to do after a failure before the first token. After it, nothing can be done.
    pub fn after(&mut self, blame: Blame, outlook: Outlook, means: Means) -> Next {
        let Outlook { failed, all, open, shut, same_model } = outlook;
        self.tried.insert(failed);
        let end = if means.has_fallback { Next::Fallback } else { Next::GiveUp };
        if means.time.is_zero() {
            return Next::GiveUp;
        }
        match blame {
            Blame::Caller => return Next::GiveUp,
            Blame::ContextLength | Blame::ContentPolicy => self.struck = self.struck.or(same_model),
            Blame::Silent | Blame::NoModel | Blame::Credentials => self.struck.insert(failed),
            Blame::Target { .. } | Blame::Throttled { .. } => {}
        }
        if self.retries_left == 0 {
            return end;
        }
        if !open.without(self.tried()).is_empty() {
            self.count();
            return Next::Other;
        }
        if all.without(self.struck).without(shut).is_empty() {
            return end;
        }
        let wait = match blame {
            Blame::Target { retry_after: Some(asked) }
            | Blame::Throttled { retry_after: Some(asked) } => {
                // All who were told the same time do not come back in the same instant.
                asked.saturating_add(backoff(0, means.random))
            }
            Blame::Target { retry_after: None }
            | Blame::Throttled { retry_after: None }
            | Blame::Silent
            | Blame::NoModel
            | Blame::Credentials
            | Blame::ContextLength
            | Blame::ContentPolicy
            | Blame::Caller => backoff(self.rounds, means.random),
        };
        if !is_worth(wait, means) {
            return end;
        }
        self.rounds += 1;
        self.tried = Targets::NONE;
        self.count();
        Next::Again { wait }
    }

    /// What to do when the pool has nobody. Whoever is shut is not waited for: that is what shutting it is for.
    pub fn nobody(&mut self, nobody: Nobody, means: Means) -> Next {
        let Nobody { after, why } = nobody;
        let wait = after.saturating_add(backoff(0, means.random));
        match why {
            Why::Throttled if self.retries_left > 0 && is_worth(wait, means) => {
                self.tried = Targets::NONE;
                self.count();
                Next::Again { wait }
            }
            Why::Throttled | Why::Tried | Why::Shut(_) if means.has_fallback => Next::Fallback,
            Why::Throttled | Why::Tried | Why::Shut(_) => Next::GiveUp,
        }
    }

    fn count(&mut self) {
        self.retries_left = self.retries_left.saturating_sub(1);
        self.made += 1;
    }
}

impl Next {
    /// The same, if the budget allows; else what comes instead. Asking another alias is no retry.
    #[must_use]
    pub fn within(self, budget: &RetryBudget, now: Instant, means: Means) -> Self {
        match self {
            Self::Other | Self::Again { .. } if budget.withdraw(now) => self,
            Self::Other | Self::Again { .. } if means.has_fallback => Self::Fallback,
            Self::Other | Self::Again { .. } => Self::GiveUp,
            Self::Fallback | Self::GiveUp => self,
        }
    }
}

/// Where there is another alias, no more than half of the time is spent on waiting.
fn is_worth(wait: Duration, means: Means) -> bool {
    let bearable = if means.has_fallback { means.time / 2 } else { means.time };
    wait <= RETRY_AFTER_MAX + BACKOFF && wait < bearable
}

/// How long to wait before the next attempt after so many in vain: any time up to a bound that doubles, so that calls
/// which failed together do not come back together.
#[must_use]
pub fn backoff(attempts: u32, random: u64) -> Duration {
    let bound = BACKOFF.saturating_mul(1 << attempts.min(10)).min(BACKOFF_MAX);
    Duration::from_micros(below(random, micros(bound) + 1))
}

#[cfg(test)]
mod tests;
