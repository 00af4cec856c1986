//! The way of one call.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agentry_alarm::within;
use agentry_balance::Shed;
use agentry_core::keys::Priority;
use agentry_core::model::{Caching as Wanted, CallContext};
use agentry_core::{Failure as _, MicroUsd, ledger};
use agentry_guards::{Blocked, Guards, Report};
use tokio::time::Instant;

use crate::Inner;
use crate::alias::Target;
use crate::answer::{Found, Outcome};
use crate::cache::{Entered, Key, Leader, Lookup, Ticket, Turn};
use crate::dispatch::after;
use crate::error::Error;
use crate::flight::{Departure, flight};
use crate::hit;
use crate::keep::Keeping;
use crate::money::{Refused, Size, input_tokens_max, worst_cost};
use crate::observe;
use crate::piece::Piece;
use crate::policies::{Allowance, Books, Caching};
use crate::reading::{Reading, Source};
use crate::request::Request;
use crate::route::Route;
use crate::settle::{Held, Settlement};

pub(crate) async fn call(
    inner: &Arc<Inner>,
    cx: &CallContext,
    request: Request,
) -> Result<Outcome, Error> {
    // 1 resolve
    let route = match inner.route(request.model()) {
        Ok(route) => Arc::clone(route),
        Err(error) => {
            observe::refused(inner.observer.as_ref(), cx, error.code());
            return Err(error);
        }
    };
    let settlement = Settlement::open(inner, cx, &route);
    Calling::new(inner, cx, route).run(request, settlement).await
}

fn deadline(cx: &CallContext, timeout: Duration) -> Instant {
    let ours = after(Instant::now(), timeout);
    cx.deadline.map_or(ours, |theirs| ours.min(Instant::from_std(theirs)))
}

/// A call whose alias is known.
pub(crate) struct Calling<'a> {
    inner: &'a Arc<Inner>,
    pub(crate) cx: CallContext,
    pub(crate) route: Arc<Route>,
    pub(crate) end: Instant,
    allowance: Arc<Allowance>,
}

/// What a call may cost at most depends on this.
pub(crate) struct Cost {
    pub(crate) input: Input,
    /// For each choice; nothing when the caller does not say.
    pub(crate) output_tokens: Option<u64>,
    pub(crate) choices: u32,
}

impl<'a> Calling<'a> {
    pub(crate) fn new(inner: &'a Arc<Inner>, cx: &CallContext, route: Arc<Route>) -> Self {
        let end = deadline(cx, route.alias.timeout);
        let cx = CallContext { deadline: Some(end.into_std()), ..cx.clone() };
        let allowance = inner.allowances.of(&inner.policies, &cx.caller);
        Self { inner, cx, route, end, allowance }
    }

    async fn run(self, mut request: Request, mut settlement: Settlement) -> Result<Outcome, Error> {
        // 2 admit
        let admitted = self.admit(request.tokens_expected(), &mut settlement);
        settlement.or_fail(admitted)?;
        // 3 screen
        let screened = self.screen(&mut request);
        settlement.or_fail(screened)?;
        // 4 recall
        let Some((caching, key)) = self.key(&request) else {
            settlement.finds(Found::Off);
            return self.fetch(request, settlement).await;
        };
        settlement.finds(Found::Miss);
        let ticket = match caching.levels.get(&key) {
            Lookup::Hit(kept) => return hit::outcome(&kept, &request, settlement),
            Lookup::Miss(ticket) => ticket,
        };
        if caching.levels.is_shared()
            && let Some(kept) = caching.levels.get_shared(&key, ticket).await
        {
            return hit::outcome(&kept, &request, settlement);
        }
        match caching.flights.enter(&request.flight(key)) {
            Entered::Lead(leader) => self.lead(leader, (key, ticket), request, settlement).await,
            Entered::Follow(follower) => match within(self.end, follower.turn()).await {
                Ok(Turn::Lead(leader)) => {
                    self.lead(leader, (key, ticket), request, settlement).await
                }
                Ok(Turn::Read(reader)) => {
                    caching.levels.cache().joined();
                    settlement.comes_from(ledger::Cache::Join);
                    let reading = Reading::joined(reader, settlement);
                    reading.begin(Found::Join, self.end).await
                }
                Err(_) => settlement.or_fail(Err(Error::TooLate)),
            },
        }
    }

    /// The caller's own limits, and whether there is memory for those who can wait. Nobody waits here.
    pub(crate) fn admit(&self, tokens: u64, settlement: &mut Settlement) -> Result<(), Error> {
        if self.cx.priority == Priority::Low && self.inner.refuses_low.load(Ordering::Relaxed) {
            return Err(Error::Shed(Shed { retry_after: SCARCE_AFTER }));
        }
        if let Some(limits) = &self.allowance.limits {
            let admitted = limits.admit(tokens, Instant::now().into_std());
            settlement.admit(admitted.map_err(Error::Limited)?);
        }
        Ok(())
    }

    /// What guards must read is read; what they change is no longer what came over the wire.
    fn screen(&self, request: &mut Request) -> Result<(), Error> {
        let guards = self.inner.policies.guards.as_ref().filter(|guards| !guards.is_idle());
        let Some(guards) = guards else { return Ok(()) };
        let mut value = request.value().map_err(Error::Invalid)?.clone();
        let report = self.heard(guards.screen(&mut value))?;
        if report.has_changes() || guards.reads_answers() {
            request.replace(value);
        }
        Ok(())
    }

    /// The same for what is asked in another way.
    pub(crate) fn screened(
        &self,
        screen: impl FnOnce(&Guards) -> Result<Report, Blocked>,
    ) -> Result<(), Error> {
        let guards = self.inner.policies.guards.as_ref().filter(|guards| !guards.is_idle());
        guards.map_or(Ok(()), |guards| self.heard(screen(guards)).map(drop))
    }

    /// Tells whoever listens what guards have found.
    fn heard(&self, screened: Result<Report, Blocked>) -> Result<Report, Error> {
        let observer = self.inner.observer.as_ref();
        match screened {
            Ok(report) if report.is_empty() => Ok(report),
            Ok(report) => {
                observer.screened(&self.cx, &report);
                Ok(report)
            }
            Err(blocked) => {
                observer.blocked(&self.cx, &blocked);
                Err(Error::Blocked(blocked))
            }
        }
    }

    /// Under what the answer is kept, if it may be.
    fn key(&self, request: &Request) -> Option<(&Caching, Key)> {
        let caching = self.inner.policies.cache.as_ref()?;
        if self.cx.caching == Wanted::Off {
            return None;
        }
        let guards = self.inner.policies.guards.as_ref().map_or(0, Guards::fingerprint);
        let key = request.key(&self.cx.caller.tenant, &self.route.name, guards)?;
        Some((caching, key))
    }

    /// Asks for others too, and keeps the answer.
    async fn lead(
        self,
        leader: Leader<Piece, Error>,
        (key, ticket): (Key, Ticket),
        request: Request,
        settlement: Settlement,
    ) -> Result<Outcome, Error> {
        let end = self.end;
        let levels = self.inner.policies.cache.as_ref().map(|caching| Arc::clone(&caching.levels));
        let keeping = levels.map(|levels| Keeping {
            levels,
            key,
            tags: self.route.tags(&self.cx.caller.tenant),
            ticket,
            choices: request.choices(),
            seen: Default::default(),
            ttl_max: None,
        });
        let departure = self.depart(request, settlement, keeping).await?;
        let reader = leader.fly(flight(departure));
        Reading::own(Source::Shared(reader)).begin(Found::Miss, end).await
    }

    /// Asks for this caller only.
    async fn fetch(self, request: Request, settlement: Settlement) -> Result<Outcome, Error> {
        let end = self.end;
        let departure = self.depart(request, settlement, None).await?;
        Reading::own(Source::Own(flight(departure))).begin(Found::Off, end).await
    }

    /// Holds what the call may cost: from here on it is bound to be settled.
    async fn depart(
        self,
        request: Request,
        mut settlement: Settlement,
        keeping: Option<Keeping>,
    ) -> Result<Departure, Error> {
        let cost = || {
            let (size, reads_elsewhere) = request.size();
            let input = Input { size, reads_elsewhere };
            let (output_tokens, choices) = (request.output_tokens_max(), request.choices());
            Cost { input, output_tokens, choices }
        };
        self.hold(cost, &mut settlement).await?;
        let Self { inner, cx, route, end, allowance: _ } = self;
        Ok(Departure { inner: Arc::clone(inner), route, cx, request, settlement, end, keeping })
    }

    /// Holds what the call may cost, and a place for its record.
    pub(crate) async fn hold(
        &self,
        cost: impl FnOnce() -> Cost,
        settlement: &mut Settlement,
    ) -> Result<(), Error> {
        if let Some(books) = &self.inner.policies.books {
            let held = self.held(books, cost).await;
            let held = settlement.or_fail(held)?;
            settlement.hold(held);
        }
        Ok(())
    }

    async fn held(&self, books: &Books, cost: impl FnOnce() -> Cost) -> Result<Held, Error> {
        let place = books.usage.place().map_err(Error::Books)?;
        let accounts = self.allowance.accounts(books, &self.cx);
        if accounts.is_empty() {
            return Ok(Held { reservation: None, place, input: Input::default() });
        }
        let cost = cost();
        let estimate = self.estimate(&cost)?;
        let now = self.inner.clock.now();
        let reserved = match books.budgets.reserve(&accounts, estimate, now) {
            Err(Refused::Dry) => books.budgets.reserve_or_refill(&accounts, estimate).await,
            reserved => reserved,
        };
        let reservation = Some(reserved.map_err(Error::Budget)?);
        Ok(Held { reservation, place, input: cost.input })
    }

    /// The most that any target may bill, those of the fallbacks too.
    fn estimate(&self, cost: &Cost) -> Result<MicroUsd, Error> {
        let mut most = MicroUsd(0);
        let names = &self.route.alias.fallbacks;
        let fallbacks = names.iter().filter_map(|name| self.inner.routes.get(name.as_str()));
        for route in std::iter::once(&self.route).chain(fallbacks) {
            for lane in &route.lanes {
                let target = &lane.target;
                let unpriced = || Error::Unpriced { model: route.name.to_string() };
                let price = target.price.ok_or_else(unpriced)?;
                let read = cost.input.tokens_max(target);
                let long = target.price_of(read).unwrap_or(price);
                let written = cost.output_tokens.or(target.output_tokens_max);
                let unbounded = || Error::Unbounded { model: route.name.to_string() };
                let written = written.ok_or_else(unbounded)?;
                let written = written.saturating_mul(u64::from(cost.choices));
                let asked = if route.alias.hedge { 2 } else { 1 };
                for price in [price, long] {
                    let worst = worst_cost(&price, read, written);
                    most = most.max(MicroUsd(worst.0.saturating_mul(asked)));
                }
            }
        }
        Ok(most)
    }
}

/// What a target has to read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Input {
    pub(crate) size: Size,
    /// What is not in the request is read too.
    pub(crate) reads_elsewhere: bool,
}

impl Input {
    fn tokens_max(self, target: &Target) -> u64 {
        let read = input_tokens_max(self.size, target.image_tokens_max);
        if self.reads_elsewhere { read.max(target.context_tokens) } else { read }
    }

    /// The most that `target` bills for reading it.
    pub(crate) fn cost_max(self, target: &Target) -> MicroUsd {
        let read = self.tokens_max(target);
        let prices = [target.price, target.price_of(read)].into_iter().flatten();
        prices.map(|price| worst_cost(&price, read, 0)).max().unwrap_or(MicroUsd(0))
    }
}

/// When a call of low priority may be tried again while memory is scarce.
const SCARCE_AFTER: Duration = Duration::from_secs(5);
