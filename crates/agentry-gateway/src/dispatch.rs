//! Who is asked, until somebody answers or nobody is left.

use std::sync::Arc;
use std::time::Duration;

use agentry_balance::{Ask, Attempts, Blame, Means, Mode, Next, Picked, Priority, Wish, affinity};
use agentry_core::keys;
use agentry_core::model::{CallContext, ModelError, Waiting};
use tokio::time::{Instant, timeout_at};

use crate::Inner;
use crate::alias::Target;
use crate::error::Error;
use crate::route::Route;
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
                Err(nobody) => attempts.nobody(nobody, self.means()),
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
            let error = || last.clone().unwrap_or_else(|| self.nobody());
            match next {
                Next::Other => {}
                Next::Again { wait } => tokio::time::sleep(wait).await,
                Next::Fallback => return Tried::Fallback(error()),
                Next::GiveUp => return Tried::Failed(error()),
            }
        }
    }

    async fn attempt(
        &self,
        mut picked: Picked,
        settlement: &mut Settlement,
    ) -> Result<Landed<Q::Answer>, Error> {
        let Call { cx, end, .. } = self.call;
        let internal = Error::Internal { reason: "a pool is larger than its alias" };
        let lane = self.route.lane(picked.target()).ok_or(internal)?;
        let wish = Wish {
            priority: priority(cx.priority),
            caller: affinity(cx.caller.tenant.as_bytes()),
            deadline: Some(end.into_std()),
        };
        picked.admit(wish).await.map_err(Error::Shed)?;
        settlement.asks(lane);
        match self.ask(&lane.target).await {
            Ok(asked) => Ok(Landed { asked, picked, idle: self.route.alias.idle_timeout }),
            Err(error) => {
                picked.fail(now(), Blame::of(&error));
                settlement.failed_attempt(&error);
                let target = lane.name.to_string();
                Err(Error::Model { target, attempts: settlement.attempts(), error })
            }
        }
    }

    async fn ask(&self, target: &Target) -> Result<Q::Answer, ModelError> {
        let start = Instant::now();
        let (until, waiting) = self.patience();
        match timeout_at(until, self.call.question.ask(target, self.call.cx)).await {
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
    fn nobody(&self) -> Error {
        Error::NobodyOpen { model: self.route.name.to_string() }
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
