//! What a call took, told exactly once.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::chat::Usage;
use agentry_core::model::ModelError;
use agentry_core::{Code, Failure as _, MicroUsd};
use tokio::time::Instant;

use crate::alias::{Price, Target};

/// Who hears of calls. It is called on the path of every call, and must not block.
pub trait Observer: Send + Sync {
    /// Followed by exactly one [`Observer::settled`] for the same call.
    fn started(&self, call: &Call<'_>);
    fn settled(&self, settled: &Settled<'_>);
}

/// Both are from closed sets, fit for metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// The alias; [`UNKNOWN`] when there is none of that name.
    pub model: &'a str,
    pub endpoint: &'static str,
}

/// Stands for all names that are no model's.
pub(crate) const UNKNOWN: &str = "unknown";

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
    pub latency: Duration,
    /// Of streamed answers.
    pub first_token: Option<Duration>,
}

/// Tells the observer at the end of a call, whichever way it ends: a call that nobody finishes was cancelled.
pub(crate) struct Settlement {
    observer: Arc<dyn Observer>,
    model: String,
    endpoint: &'static str,
    start: Instant,
    target: Option<String>,
    price: Option<Price>,
    attempts: u32,
    first_token: Option<Duration>,
    usage: Option<Usage>,
    settled: bool,
}

impl Settlement {
    pub(crate) fn open(observer: Arc<dyn Observer>, model: &str, endpoint: &'static str) -> Self {
        observer.started(&Call { model, endpoint });
        Self {
            observer,
            model: model.to_owned(),
            endpoint,
            start: Instant::now(),
            target: None,
            price: None,
            attempts: 0,
            first_token: None,
            usage: None,
            settled: false,
        }
    }

    pub(crate) fn asks(&mut self, target: &Target) {
        self.target = Some(target.name());
        self.price = target.price;
        self.attempts += 1;
    }

    pub(crate) fn first_token(&mut self) {
        self.first_token = Some(self.start.elapsed());
    }

    pub(crate) fn uses(&mut self, usage: &Usage) {
        self.usage = Some(usage.clone());
    }

    /// The call was answered; returns what it cost.
    pub(crate) fn finish(&mut self, usage: Option<&Usage>) -> Option<MicroUsd> {
        if let Some(usage) = usage {
            self.uses(usage);
        }
        self.settle(Status::Answered)
    }

    pub(crate) fn fail(&mut self, error: &ModelError) {
        self.settle(Status::Failed(error.code()));
    }

    fn settle(&mut self, status: Status) -> Option<MicroUsd> {
        let cost = self.price.zip(self.usage.as_ref()).map(|(price, usage)| price.of(usage));
        if !std::mem::replace(&mut self.settled, true) {
            self.observer.settled(&Settled {
                call: Call { model: &self.model, endpoint: self.endpoint },
                status,
                target: self.target.as_deref(),
                attempts: self.attempts,
                usage: self.usage.as_ref(),
                cost,
                latency: self.start.elapsed(),
                first_token: self.first_token,
            });
        }
        cost
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        self.settle(Status::Cancelled);
    }
}

/// A call for a model that does not exist.
pub(crate) fn refused(observer: &Arc<dyn Observer>, endpoint: &'static str) {
    let mut settlement = Settlement::open(Arc::clone(observer), UNKNOWN, endpoint);
    settlement.settle(Status::Failed(Code("model_not_found")));
}
