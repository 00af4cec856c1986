//! The bill of one call, made out exactly once, whichever way the call ends.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::chat::Usage;
use agentry_core::ledger::{self, Tokens, UsageId, UsageRecord};
use agentry_core::meter::Metered;
use agentry_core::model::{CallContext, ModelError, Waiting};
use agentry_core::{Code, Failure as _, MicroUsd};
use agentry_guards::{Blocked, Report};
use tokio::time::Instant;

use crate::Inner;
use crate::answer::Found;
use crate::call::Input;
use crate::error::Error;
use crate::limit::Admitted;
use crate::money::Price;
use crate::money::{Charges, Place, Reservation};
use crate::observe::{Call, Failed, Settled, Status};
use crate::route::{Lane, Route};

/// Everything that a call holds until it is over. Dropped unsettled, the caller went away.
pub(crate) struct Settlement {
    inner: Arc<Inner>,
    cx: CallContext,
    route: Arc<Route>,
    start: Instant,
    lane: Option<Arc<Lane>>,
    /// Whether that one may bill what it was asked.
    owes: bool,
    /// Was asked before or at the same time, in vain, and may bill it.
    beside: Option<Arc<Lane>>,
    /// What was asked in vain before these, with what is held for it.
    given_up: Vec<(Arc<Lane>, MicroUsd)>,
    attempts: u32,
    first_token: Option<Duration>,
    usage: Option<Usage>,
    /// The answer has come to its end, so its usage is the bill. Before, some upstreams tell what was used so far.
    is_complete: bool,
    source: ledger::Cache,
    found: Option<Found>,
    saved: Option<MicroUsd>,
    /// From the start to the last attempt.
    asked_after: Duration,
    failed: Vec<Failed>,
    fallbacks: u32,
    hedges: u32,
    /// The caller's place, and the tokens that are counted for it.
    admitted: Option<Admitted>,
    held: Option<Held>,
    settled: bool,
}

/// What is held for a call that costs money.
pub(crate) struct Held {
    pub(crate) reservation: Option<Reservation>,
    pub(crate) place: Place,
    /// What each attempt has to read.
    pub(crate) input: Input,
}

impl Settlement {
    pub(crate) fn open(inner: &Arc<Inner>, cx: &CallContext, route: &Arc<Route>) -> Self {
        inner.observer.started(&Call { model: &route.name, endpoint: cx.endpoint });
        Self {
            inner: Arc::clone(inner),
            cx: cx.clone(),
            route: Arc::clone(route),
            start: Instant::now(),
            lane: None,
            owes: false,
            beside: None,
            given_up: Vec::new(),
            attempts: 0,
            first_token: None,
            usage: None,
            is_complete: false,
            source: ledger::Cache::Miss,
            found: None,
            saved: None,
            asked_after: Duration::ZERO,
            failed: Vec::new(),
            fallbacks: 0,
            hedges: 0,
            admitted: None,
            held: None,
            settled: false,
        }
    }

    pub(crate) fn admit(&mut self, admitted: Admitted) {
        self.admitted = Some(admitted);
    }

    pub(crate) fn hold(&mut self, held: Held) {
        self.held = Some(held);
    }

    /// The answer is not this call's own.
    pub(crate) fn comes_from(&mut self, source: ledger::Cache) {
        self.source = source;
        match source {
            ledger::Cache::Miss => {}
            ledger::Cache::Hit => self.finds(Found::Hit),
            ledger::Cache::Join => self.finds(Found::Join),
        }
    }

    /// What the cache had.
    pub(crate) fn finds(&mut self, found: Found) {
        self.found = Some(found);
    }

    /// What somebody has paid for the answer before.
    pub(crate) fn saves(&mut self, cost: Option<MicroUsd>) {
        self.saved = cost;
    }

    /// It is the next alias's turn.
    pub(crate) fn falls_back(&mut self) {
        self.fallbacks += 1;
    }

    /// Whether another alias than the one that was asked for answers.
    pub(crate) fn has_fallen_back(&self) -> bool {
        self.fallbacks > 0
    }

    /// Guards have read the answer.
    pub(crate) fn screened(&self, read: &Result<Report, Blocked>) {
        match read {
            Ok(report) if report.is_empty() => {}
            Ok(report) => self.inner.observer.screened(&self.cx, report),
            Err(blocked) => self.inner.observer.blocked(&self.cx, blocked),
        }
    }

    /// Whether somebody who may bill it was asked in vain so far.
    pub(crate) fn is_owed(&self) -> bool {
        self.owes || self.beside.is_some()
    }

    /// Somebody else will be asked. Whoever was asked in vain has read the request and may bill that, so it is held beside
    /// what the next attempt may cost.
    pub(crate) async fn gives_up(&mut self) -> Result<(), Error> {
        let lane = self.lane.clone().filter(|_| self.owes);
        let lanes = self.beside.iter().cloned().chain(lane);
        let mut given_up = Vec::new();
        if let Some(Held { reservation: Some(reservation), input, .. }) = &mut self.held {
            given_up.extend(lanes.map(|lane| {
                let cost = input.cost_max(&lane.target);
                (lane, cost)
            }));
            let more = given_up.iter().map(|(_, cost)| *cost).sum();
            reservation.hold_more(more).await.map_err(Error::Budget)?;
        } else {
            given_up.extend(lanes.map(|lane| (lane, MicroUsd(0))));
        }
        self.given_up.append(&mut given_up);
        (self.beside, self.owes) = (None, false);
        Ok(())
    }

    /// A target is asked, and may bill it. If one that was asked before has not failed, it is asked beside that one.
    pub(crate) fn asks(&mut self, lane: &Arc<Lane>) {
        let before = self.lane.replace(Arc::clone(lane));
        if std::mem::replace(&mut self.owes, true) {
            self.beside = before;
        }
        self.attempts += 1;
        self.asked_after = self.start.elapsed();
        if let Some(reservation) = self.held.as_mut().and_then(|held| held.reservation.as_mut()) {
            reservation.dispatched();
        }
    }

    /// A second target is to be asked beside the first.
    pub(crate) fn hedges(&mut self) {
        self.hedges += 1;
    }

    /// Of two that were asked, it is only the other one that may still answer.
    pub(crate) fn goes_on_without(&mut self, lane: &Arc<Lane>) {
        let is_last = self.lane.as_ref().is_some_and(|last| Arc::ptr_eq(last, lane));
        if is_last && self.beside.is_some() {
            std::mem::swap(&mut self.lane, &mut self.beside);
        }
    }

    /// This one's answer it is.
    pub(crate) fn answered_by(&mut self, lane: &Arc<Lane>) {
        if self.beside.as_ref().is_some_and(|beside| Arc::ptr_eq(beside, lane)) {
            std::mem::swap(&mut self.lane, &mut self.beside);
        }
    }

    /// The target bills nothing for it. Who was given up before it is the last one again that may bill all of the call.
    fn was_free(&mut self, lane: &Arc<Lane>) {
        if self.beside.take_if(|beside| Arc::ptr_eq(beside, lane)).is_none() {
            self.owes = false;
        }
        let last = if self.is_owed() { None } else { self.given_up.pop() };
        if let Some((before, held_for)) = last {
            self.beside = Some(before);
            if let Some(Held { reservation: Some(reservation), .. }) = &mut self.held {
                reservation.hold_less(held_for);
            }
        }
        if let Some(reservation) = self.held.as_mut().and_then(|held| held.reservation.as_mut()) {
            reservation.undone();
        }
    }

    /// The attempt has failed: what was surely not answered is not billed.
    pub(crate) fn failed_attempt(&mut self, lane: &Arc<Lane>, error: &ModelError) {
        self.failed.push(Failed {
            target: Arc::clone(&lane.name),
            began: self.asked_after,
            ended: self.start.elapsed(),
            code: error.code(),
        });
        let is_free = match error {
            ModelError::Invalid { .. }
            | ModelError::UnknownModel { .. }
            | ModelError::Unauthorized { .. }
            | ModelError::RateLimited { .. }
            | ModelError::QuotaExhausted { .. }
            | ModelError::Unavailable { .. }
            | ModelError::Internal { .. } => true,
            ModelError::TimedOut { waiting, .. } => *waiting == Waiting::Connect,
            ModelError::BrokeOff { .. } | ModelError::Truncated | ModelError::Malformed { .. } => {
                false
            }
        };
        if is_free {
            self.was_free(lane);
        }
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Only the first time counts.
    pub(crate) fn first_token(&mut self) {
        self.first_token = self.first_token.or_else(|| Some(self.start.elapsed()));
    }

    /// What an upstream reports that counts nothing is no bill, and what is more than there can be is not believed.
    pub(crate) fn uses(&mut self, usage: &Usage) {
        if usage.total_tokens() == 0 {
            return;
        }
        let mut usage = usage.clone();
        let Usage { input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, .. } =
            &mut usage;
        for tokens in [input_tokens, cached_input_tokens, output_tokens, reasoning_tokens] {
            *tokens = (*tokens).min(TOKENS_MAX);
        }
        self.usage = Some(usage);
    }

    /// The last word was said: what is known of the usage by then, or comes after, is all of it.
    pub(crate) fn completes(&mut self) {
        self.is_complete = true;
    }

    pub(crate) fn uses_if_known(&mut self, usage: Option<&Usage>) {
        if let Some(usage) = usage {
            self.uses(usage);
        }
    }

    /// The call was answered; returns what it cost.
    pub(crate) fn finish(&mut self) -> Option<MicroUsd> {
        self.completes();
        self.settle(Status::Answered);
        self.cost()
    }

    /// The call ends here if `result` is an error.
    pub(crate) fn or_fail<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        result.inspect_err(|error| self.fail(error.code()))
    }

    /// The `provider/model` that was asked last.
    pub(crate) fn target(&self) -> Arc<str> {
        self.lane.as_ref().map_or_else(|| "".into(), |lane| Arc::clone(&lane.name))
    }

    pub(crate) fn fail(&mut self, code: Code) {
        self.settle(Status::Failed(code));
    }

    /// What is owed; nothing when that is not known. Whoever hangs up before the end owes for more than what was told.
    fn bill(&self) -> Option<MicroUsd> {
        let is_known = self.is_complete || self.source != ledger::Cache::Miss;
        is_known.then(|| self.cost()).flatten()
    }

    /// Of the usage that is known. Nothing when the price or the usage is not known. What somebody else has paid for costs nothing.
    fn cost(&self) -> Option<MicroUsd> {
        if self.source != ledger::Cache::Miss {
            return Some(MicroUsd(0));
        }
        let usage = self.usage.as_ref()?;
        let price = self.lane.as_ref()?.target.price_of(usage.input_tokens)?;
        Some(price.of(usage) + self.in_vain())
    }

    /// What those may bill who have read the request, and whose answer was not waited for.
    fn in_vain(&self) -> MicroUsd {
        let Some(usage) = self.usage.as_ref().filter(|_| self.source == ledger::Cache::Miss) else {
            return MicroUsd(0);
        };
        let read = Usage { input_tokens: usage.input_tokens, ..Usage::default() };
        let lanes = self.beside.iter().chain(self.given_up.iter().map(|(lane, _)| lane));
        let prices = lanes.filter_map(|lane| lane.target.price_of(usage.input_tokens));
        prices.map(|price| price.of(&read)).sum()
    }

    pub(crate) fn price(&self) -> Option<Price> {
        self.lane.as_ref().and_then(|lane| lane.target.price)
    }

    fn settle(&mut self, status: Status) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let latency = self.start.elapsed();
        if let Some(mut admitted) = self.admitted.take() {
            let used = match (&self.usage, self.source) {
                (Some(usage), ledger::Cache::Miss) if self.is_complete => {
                    Some(usage.total_tokens())
                }
                (_, ledger::Cache::Hit | ledger::Cache::Join) => Some(0),
                // Never asked: nothing was used. Asked, and nobody knows: the estimate stands.
                (_, ledger::Cache::Miss) => (self.attempts == 0).then_some(0),
            };
            if let Some(used) = used {
                admitted.settle(used, Instant::now().into_std());
            }
        }
        let (cost, estimated) = self.record(status, latency);
        if status == Status::Answered
            && self.source != ledger::Cache::Miss
            && let Some(books) = &self.inner.policies.books
        {
            let caller = &self.cx.caller;
            let names = (&caller.tenant, &caller.name, &self.route.name);
            books.usage.reuse.count(self.inner.clock.now(), names, self.saved);
        }
        if let Some(meter) = &self.cx.meter {
            let tokens = self.usage.as_ref();
            meter.add(Metered {
                calls: 1,
                input_tokens: tokens.map_or(0, |usage| usage.input_tokens),
                output_tokens: tokens.map_or(0, |usage| usage.output_tokens),
                cost: cost.unwrap_or(MicroUsd(0)),
            });
        }
        self.inner.observer.settled(&Settled {
            call: Call { model: &self.route.name, endpoint: self.cx.endpoint },
            status,
            target: self.lane.as_ref().map(|lane| &*lane.name),
            attempts: self.attempts,
            usage: self.usage.as_ref(),
            cost,
            estimated,
            latency,
            first_token: self.first_token,
            source: self.source,
            cx: &self.cx,
            found: self.found,
            saved: self.saved,
            asked_after: self.asked_after,
            failed: &self.failed,
            fallbacks: self.fallbacks,
            hedges: self.hedges,
        });
    }

    /// Charges the budgets and writes the record. What is charged when nothing is known is what was held. Says what the
    /// call has cost, and how much of it no upstream has told.
    fn record(&mut self, status: Status, latency: Duration) -> (Option<MicroUsd>, MicroUsd) {
        let (cost, in_vain) = (self.cost(), self.in_vain());
        let Some(Held { reservation, place, input: _ }) = self.held.take() else {
            return (cost, in_vain);
        };
        let (cost, charges) = match (reservation, self.bill()) {
            (None, _) => (cost, Charges::default()),
            (Some(reservation), Some(bill)) => (Some(bill), reservation.settle(bill)),
            (Some(reservation), None) => (None, reservation.settle_as_known()),
        };
        let charged = cost.unwrap_or_else(|| charges.amount());
        let estimated = if cost.is_some() { in_vain } else { charged };
        let record = self.usage_record(status, latency);
        place.record(UsageRecord { cost: charged, estimated, ..record }, charges);
        (cost.or_else(|| (charged.0 > 0).then_some(charged)), estimated)
    }

    /// Without what it has cost.
    fn usage_record(&self, status: Status, latency: Duration) -> UsageRecord {
        let Self { inner, cx, route, .. } = self;
        let at = inner.clock.now();
        let text = |text: &Option<Arc<str>>| text.as_ref().map(ToString::to_string);
        let usage = self.usage.as_ref();
        UsageRecord {
            id: UsageId::new(at, inner.random()),
            at,
            call_id: cx.call_id.to_string(),
            tenant: cx.caller.tenant.to_string(),
            key: cx.caller.name.to_string(),
            user: text(&cx.caller.user),
            team: text(&cx.caller.team),
            session: text(&cx.session),
            run: text(&cx.run),
            model: route.name.to_string(),
            target: self.lane.as_ref().map(|lane| lane.name.to_string()),
            status: match status {
                Status::Failed(code) => code.0.to_owned(),
                Status::Answered | Status::Cancelled => status.as_str().to_owned(),
            },
            tokens: usage.map_or_else(Tokens::default, |usage| Tokens {
                input: usage.input_tokens,
                cached: usage.cached_input_tokens,
                output: usage.output_tokens,
                reasoning: usage.reasoning_tokens,
            }),
            cost: MicroUsd(0),
            estimated: MicroUsd(0),
            latency,
            first_token: self.first_token,
            cache: self.source,
            attempts: self.attempts,
        }
    }
}

/// More tokens than any call has.
const TOKENS_MAX: u64 = 10_000_000_000_000;

impl Drop for Settlement {
    fn drop(&mut self) {
        self.settle(Status::Cancelled);
    }
}
