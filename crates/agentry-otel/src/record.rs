//! What is noted of a call until it is sent.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::{Caller, MicroUsd, Timestamp, Trace};
use agentry_gateway::{Failed, Found, Settled, Status};

use crate::otlp::Span;

/// What waits to be sent.
pub(crate) enum Noted {
    Call(Box<Record>),
    Span(Box<Span>),
}

pub(crate) struct Record {
    pub(crate) trace: Trace,
    pub(crate) ended: Timestamp,
    pub(crate) latency: Duration,
    pub(crate) first_token: Option<Duration>,
    pub(crate) asked_after: Duration,
    pub(crate) endpoint: &'static str,
    pub(crate) model: Box<str>,
    /// `provider/model`.
    pub(crate) target: Option<Box<str>>,
    pub(crate) status: Status,
    pub(crate) tokens: Option<Tokens>,
    pub(crate) cost: Option<MicroUsd>,
    pub(crate) found: Option<Found>,
    pub(crate) attempts: u32,
    pub(crate) fallbacks: u32,
    pub(crate) failed: Box<[Failed]>,
    pub(crate) call_id: Arc<str>,
    pub(crate) caller: Arc<Caller>,
    pub(crate) session: Option<Arc<str>>,
    pub(crate) run: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) input: u64,
    pub(crate) cached_input: u64,
    pub(crate) output: u64,
}

impl Record {
    pub(crate) fn new(settled: &Settled<'_>, trace: Trace, ended: Timestamp) -> Self {
        let cx = settled.cx;
        Self {
            trace,
            ended,
            latency: settled.latency,
            first_token: settled.first_token,
            asked_after: settled.asked_after,
            endpoint: settled.call.endpoint,
            model: settled.call.model.into(),
            target: settled.target.map(Into::into),
            status: settled.status,
            tokens: settled.usage.map(|usage| Tokens {
                input: usage.input_tokens,
                cached_input: usage.cached_input_tokens,
                output: usage.output_tokens,
            }),
            cost: settled.cost,
            found: settled.found,
            attempts: settled.attempts,
            fallbacks: settled.fallbacks,
            failed: settled.failed.into(),
            call_id: Arc::clone(&cx.call_id),
            caller: Arc::clone(&cx.caller),
            session: cx.session.clone(),
            run: cx.run.clone(),
        }
    }
}
