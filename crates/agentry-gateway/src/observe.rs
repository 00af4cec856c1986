//! What a call took, told exactly once.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::chat::Usage;
use agentry_core::model::CallContext;
use agentry_core::{Code, MicroUsd, ledger};
use agentry_guards::{Blocked, Report};

use crate::answer::Found;

/// Who hears of calls. It is called on the path of every call, and must not block.
pub trait Observer: Send + Sync {
    /// Followed by exactly one [`Observer::settled`] for the same call.
    fn started(&self, call: &Call<'_>);
    fn settled(&self, settled: &Settled<'_>);

    /// Guards found something in a request or an answer that went on.
    fn screened(&self, cx: &CallContext, report: &Report) {
        let _ = (cx, report);
    }

    /// Guards let a request or an answer not go on.
    fn blocked(&self, cx: &CallContext, blocked: &Blocked) {
        let _ = (cx, blocked);
    }
}

/// Both are from closed sets, fit for metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// The alias; [`UNKNOWN`] when there is none of that name.
    pub model: &'a str,
    pub endpoint: &'static str,
}

/// Stands for all names that are no model's.
const UNKNOWN: &str = "unknown";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Answered,
    /// The caller went away before the end.
    Cancelled,
    Failed(Code),
}

impl Status {
    /// A metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "success",
            Self::Cancelled => "cancelled",
            Self::Failed(_) => "error",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Settled<'a> {
    pub call: Call<'a>,
    pub status: Status,
    /// The `provider/model` asked last.
    pub target: Option<&'a str>,
    pub attempts: u32,
    pub usage: Option<&'a Usage>,
    pub cost: Option<MicroUsd>,
    /// The part of `cost` that no upstream has told.
    pub estimated: MicroUsd,
    pub latency: Duration,
    /// Of streamed answers.
    pub first_token: Option<Duration>,
    /// Where the answer came from.
    pub source: ledger::Cache,
    /// On whose behalf.
    pub cx: &'a CallContext,
    /// What the cache had; nothing when the call ended before it was its turn.
    pub found: Option<Found>,
    /// What an answer that was there already did cost, where that is known.
    pub saved: Option<MicroUsd>,
    /// From the call to its last attempt.
    pub asked_after: Duration,
    /// In the order in which they were made.
    pub failed: &'a [Failed],
    /// How often it was the next alias's turn.
    pub fallbacks: u32,
    /// How often somebody else was asked beside the one who took long; part of `attempts`.
    pub hedges: u32,
}

/// An attempt that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// `provider/model`.
    pub target: Arc<str>,
    /// Both from the beginning of the call.
    pub began: Duration,
    pub ended: Duration,
    pub code: Code,
}

/// A call that was turned away before it was one.
pub(crate) fn refused(observer: &dyn Observer, cx: &CallContext, code: Code) {
    let call = Call { model: UNKNOWN, endpoint: cx.endpoint };
    observer.started(&call);
    observer.settled(&Settled {
        call,
        status: Status::Failed(code),
        target: None,
        attempts: 0,
        usage: None,
        cost: None,
        estimated: MicroUsd(0),
        latency: Duration::ZERO,
        first_token: None,
        source: ledger::Cache::Miss,
        cx,
        found: None,
        saved: None,
        asked_after: Duration::ZERO,
        failed: &[],
        fallbacks: 0,
        hedges: 0,
    });
}
