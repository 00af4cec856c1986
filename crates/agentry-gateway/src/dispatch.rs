//! Who is asked, until somebody answers or nobody is left.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentry_alarm::within;
use agentry_balance::{
    Ask, Attempts, Blame, Hedge, Means, Mode, Next, Nobody, Picked, Priority, Shed, Targets, Wish,
    affinity,
};
use agentry_core::keys;
use agentry_core::model::{CallContext, ModelError, Waiting};
use futures_util::future::{Either, select};
use tokio::time::Instant;

use crate::Inner;
use crate::alias::Target;
use crate::error::Error;
use crate::route::{Lane, Route};
use crate::settle::Settlement;

/// Something that a target can be asked.
pub(crate) trait Question: Sync {
    type Answer: Send;

    /// Whether the first word is what is waited for.
    fn is_streamed(&self) -> bool;

    /// What should go to the same target, where that helps.
    fn affinity(&self) -> Option<u64>;

    /// One attempt. It is over when the whole answer is there, or the first word of a streamed one.
    fn ask(
        &self,
        target: &Target,
        cx: &CallContext,
    ) -> impl Future<Output = Result<Self::Answer, ModelError>> + Send;
}

/// What is to be answered, and until when.
pub(crate) struct Call<'a, Q> {
    pub(crate) inner: &'a Inner,
    pub(crate) cx: &'a CallContext,
    pub(crate) question: &'a Q,
    pub(crate) end: Instant,
}

impl<Q> Clone for Call<'_, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q> Copy for Call<'_, Q> {}

/// A target has answered, or has begun to.
pub(crate) struct Landed<A> {
    pub(crate) asked: A,
    pub(crate) picked: Picked,
    pub(crate) lane: Arc<Lane>,
    /// Of the alias that answered.
    pub(crate) idle: Duration,
}

/// How it went with one alias.
enum Tried<A> {
    Landed(Box<Landed<A>>),
    /// Nobody answered, and it is the next alias's turn.
    Fallback(Error),
    Failed(Error),
}

impl<Q: Question> Call<'_, Q> {
    /// Asks the targets of `route`, then those of its fallbacks.
    pub(crate) async fn dispatch(
        self,
        route: &Arc<Route>,
        settlement: &mut Settlement,
    ) -> Result<Landed<Q::Answer>, Error> {
        let mut route = Arc::clone(route);
        let named = |name: &String| self.inner.routes.get(name.as_str()).cloned();
        let mut fallbacks: Vec<_> = route.alias.fallbacks.iter().rev().filter_map(named).collect();
        loop {
            let next = fallbacks.pop();
            let attempts = Attempting { call: self, route: &route, has_fallback: next.is_some() };
            match (attempts.run(settlement).await, next) {
                (Tried::Landed(landed), _) => return Ok(*landed),
                (Tried::Failed(error), _) | (Tried::Fallback(error), None) => return Err(error),
                (Tried::Fallback(error), Some(next)) => {
                    let (call_id, to) = (&*self.cx.call_id, &*next.name);
                    tracing::info!(call_id, from = &*route.name, to, %error, "falling back");
                    settlement.falls_back();
                    route = next;
                }
            }
        }
    }
}

/// All attempts at one alias.
struct Attempting<'a, Q> {
    call: Call<'a, Q>,
    route: &'a Arc<Route>,
    has_fallback: bool,
}

impl<Q: Question> Attempting<'_, Q> {
    async fn run(&self, settlement: &mut Settlement) -> Tried<Q::Answer> {
        self.route.retries.deposit(now());
        let others = u32::try_from(self.route.lanes.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let mut attempts = Attempts::new(self.route.alias.retries.max(others));
        let mut last = None;
        loop {
            let next = match self.route.pool.pick(now(), self.wanted(&attempts)) {
                Err(nobody) => {
                    last = last.or_else(|| Some(self.nobody(nobody)));
                    attempts.nobody(nobody, self.means())
                }
                Ok(picked) => {
                    let at = picked.target();
                    match self.attempt(picked, settlement).await {
                        Ok(landed) => return Tried::Landed(Box::new(landed)),
                        Err(Error::Model { target, attempts: made, error }) => {
                            let next = self.after(&mut attempts, at, &error);
                            last = Some(Error::Model { target, attempts: made, error });
                            next
                        }
                        Err(error) => return Tried::Failed(error),
                    }
                }
            };
            let nobody_asked =
                Error::Internal { reason: "nobody was asked, and nobody was missing" };
            let error = || last.clone().unwrap_or(nobody_asked);
            match next {
                Next::Other => {}
                // In a box of its own: the timer is larger than all the rest.
                Next::Again { wait } => Box::pin(tokio::time::sleep(wait)).await,
                Next::Fallback => return Tried::Fallback(error()),
                Next::GiveUp => return Tried::Failed(error()),
            }
        }
    }

    /// One attempt and, where the alias says so, a second one beside it when the first takes long to begin.
    async fn attempt(
        &self,
        picked: Picked,
        settlement: &mut Settlement,
    ) -> Result<Landed<Q::Answer>, Error> {
        if settlement.is_owed() {
            // In a box of its own: most calls are answered by the first who is asked.
            Box::pin(settlement.gives_up()).await?;
        }
        match self.hedge_after() {
            None => told(self.one(picked, |lane| settlement.asks(lane)).await, settlement),
            // In a box of its own: it has room for two.
            Some(wait) => Box::pin(self.hedged(picked, wait, settlement)).await,
        }
    }

    async fn hedged(
        &self,
        picked: Picked,
        wait: Duration,
        settlement: &mut Settlement,
    ) -> Result<Landed<Q::Answer>, Error> {
        let at = picked.target();
        // Both tell it when they are asked: neither is before there is room for it.
        let settlement = Mutex::new(settlement);
        let settled = || settlement.lock().unwrap_or_else(PoisonError::into_inner);
        let first = self.one(picked, |lane| settled().asks(lane));
        tokio::pin!(first);
        if let Ok(ended) = within(after(Instant::now(), wait), first.as_mut()).await {
            return told(ended, &mut settled());
        }
        let Some(other) = self.second(at) else {
            let ended = first.await;
            return told(ended, &mut settled());
        };
        settled().hedges();
        let second = self.one(other, |lane| settled().asks(lane));
        tokio::pin!(second);
        // The one that loses is dropped, and with it its call.
        let (missed, other) = match select(first, second).await {
            Either::Left((Ok(landed), _)) | Either::Right((Ok(landed), _)) => {
                return told(Ok(landed), &mut settled());
            }
            Either::Left((Err(missed), second)) => (missed, Either::Left(second)),
            Either::Right((Err(missed), first)) => (missed, Either::Right(first)),
        };
        if let Missed::Failed(lane, _) = &missed {
            settled().goes_on_without(lane);
        }
        drop(told::<()>(Err(missed), &mut settled()));
        let ended = other.await;
        told(ended, &mut settled())
    }

    /// `asks` hears when the target is asked.
    async fn one(
        &self,
        mut picked: Picked,
        asks: impl FnOnce(&Arc<Lane>),
    ) -> Result<Landed<Q::Answer>, Missed> {
        let Call { cx, end, .. } = self.call;
        let lane = self.lane(picked.target()).map_err(Missed::Defect)?;
        let wish = Wish {
            priority: priority(cx.priority),
            caller: affinity(cx.caller.tenant.as_bytes()),
            deadline: Some(end.into_std()),
        };
        picked.admit(wish).await.map_err(Missed::Shed)?;
        asks(lane);
        match self.ask(&lane.target).await {
            Ok(asked) => {
                let (lane, idle) = (Arc::clone(lane), self.route.alias.idle_timeout);
                Ok(Landed { asked, picked, lane, idle })
            }
            Err(error) => {
                if let Some(cause) = picked.fail(now(), Blame::of(&error)) {
                    tracing::warn!(target = &*lane.name, ?cause, %error, "a target is left alone");
                }
                Err(Missed::Failed(Arc::clone(lane), error))
            }
        }
    }

    /// How long a first word may take before somebody else is asked too.
    fn hedge_after(&self) -> Option<Duration> {
        let hedge = self.route.hedge.as_ref().filter(|_| self.call.question.is_streamed())?;
        hedge.after(&self.route.pool, now())
    }

    /// Somebody else, if the hedge can be afforded.
    fn second(&self, first: usize) -> Option<Picked> {
        let mut asked = Targets::NONE;
        asked.insert(first);
        let ask = Ask { tried: asked, has_resort: true, ..self.wanted(&Attempts::new(0)) };
        let other = self.route.pool.pick(now(), ask).ok()?;
        self.route.hedge.as_deref().is_some_and(Hedge::spend).then_some(other)
    }

    fn lane(&self, at: usize) -> Result<&Arc<Lane>, Error> {
        self.route.lane(at).ok_or(Error::Internal { reason: "a pool is larger than its alias" })
    }

    async fn ask(&self, target: &Target) -> Result<Q::Answer, ModelError> {
        let start = Instant::now();
        let (until, waiting) = self.patience();
        match within(until, self.call.question.ask(target, self.call.cx)).await {
            Ok(asked) => asked,
            Err(_) => Err(ModelError::TimedOut { waiting, after: start.elapsed() }),
        }
    }

    fn after(&self, attempts: &mut Attempts, at: usize, error: &ModelError) -> Next {
        let (means, now) = (self.means(), now());
        let outlook = self.route.pool.outlook(now, at);
        let next = attempts.after(Blame::of(error), outlook, means);
        let next = next.within(&self.route.retries, now, means);
        let (call_id, target) =
            (&*self.call.cx.call_id, self.route.lane(at).map(|lane| &*lane.name));
        tracing::info!(call_id, target, %error, ?next, "an attempt failed");
        next
    }

    /// Until when an attempt is waited for, and for what. Where somebody else could answer, a silent target does not get
    /// all of the time.
    fn patience(&self) -> (Instant, Waiting) {
        let end = self.call.end;
        if self.call.question.is_streamed() {
            let first_by = after(Instant::now(), self.route.alias.first_token_timeout);
            let waiting = if first_by < end { Waiting::FirstEvent } else { Waiting::End };
            return (end.min(first_by), waiting);
        }
        let others = self.has_fallback || self.route.lanes.len() > 1;
        let left = end.saturating_duration_since(Instant::now());
        (if others { end - left / 2 } else { end }, Waiting::End)
    }

    fn wanted(&self, attempts: &Attempts) -> Ask {
        let Call { inner, cx, question, .. } = self.call;
        Ask {
            mode: if question.is_streamed() { Mode::Streamed } else { Mode::Whole },
            affinity: cx
                .session
                .as_deref()
                .map(|session| affinity(session.as_bytes()))
                .or_else(|| question.affinity()),
            tried: attempts.tried(),
            has_resort: self.has_fallback,
            random: inner.dice.roll(),
        }
    }

    fn means(&self) -> Means {
        Means {
            time: self.call.end.saturating_duration_since(Instant::now()),
            has_fallback: self.has_fallback,
            random: self.call.inner.dice.roll(),
        }
    }

    /// Everybody is left alone for now.
    fn nobody(&self, nobody: Nobody) -> Error {
        let after = nobody.after.max(Duration::from_secs(1));
        Error::NobodyOpen { model: self.route.name.to_string(), after }
    }
}

/// How an attempt failed.
enum Missed {
    Failed(Arc<Lane>, ModelError),
    /// It was not made.
    Shed(Shed),
    Defect(Error),
}

fn told<A>(
    ended: Result<Landed<A>, Missed>,
    settlement: &mut Settlement,
) -> Result<Landed<A>, Error> {
    match ended {
        Ok(landed) => {
            settlement.answered_by(&landed.lane);
            Ok(landed)
        }
        Err(Missed::Failed(lane, error)) => {
            settlement.failed_attempt(&lane, &error);
            let target = lane.name.to_string();
            Err(Error::Model { target, attempts: settlement.attempts(), error })
        }
        Err(Missed::Shed(shed)) => Err(Error::Shed(shed)),
        Err(Missed::Defect(error)) => Err(error),
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// A time that is too far away to be written down is as good as a year from now.
pub(crate) fn after(start: Instant, span: Duration) -> Instant {
    start.checked_add(span).unwrap_or_else(|| start + Duration::from_secs(365 * 86_400))
}

fn priority(priority: keys::Priority) -> Priority {
    match priority {
        keys::Priority::Low => Priority::Low,
        keys::Priority::Normal => Priority::Normal,
        keys::Priority::High => Priority::High,
    }
}
