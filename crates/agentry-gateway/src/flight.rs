//! One call upstream, from asking to its last piece: a stream that several callers may read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::chat::Event;
use agentry_core::model::{CallContext, ModelError};
use agentry_core::relay::Frame;
use agentry_core::{Failure as _, MicroUsd};
use agentry_guards::{AnswerGuard, Blocked, Guards};
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use crate::Inner;
use crate::ask::Asked;
use crate::cache::Upstream;
use crate::dispatch::{Call, Landed};
use crate::error::Error;
use crate::keep::Keeping;
use crate::money::Price;
use crate::piece::{Begun, Piece};
use crate::request::Request;
use crate::route::Route;
use crate::settle::Settlement;
use crate::watch::{Pieces, Watch, watch};

/// Everything that a call upstream needs. It owns it all: the caller who began it may go away.
pub(crate) struct Departure {
    pub(crate) inner: Arc<Inner>,
    pub(crate) route: Arc<Route>,
    pub(crate) cx: CallContext,
    pub(crate) request: Request,
    pub(crate) settlement: Settlement,
    pub(crate) end: Instant,
    /// Nothing when the answer is not to be kept.
    pub(crate) keeping: Option<Keeping>,
}

pub(crate) fn flight(departure: Departure) -> Upstream<Piece, Error> {
    let state = State::Waiting(Box::new(departure));
    stream::unfold(state, |state| async {
        match state {
            // In a box of its own: what it takes to find a target is not held for as long as the answer takes.
            State::Waiting(departure) => Some(Box::pin(depart(*departure)).await),
            State::Flying(flying) => fly(flying).await,
            State::Over => None,
        }
    })
    .boxed()
}

enum State {
    Waiting(Box<Departure>),
    Flying(Box<Flying>),
    Over,
}

/// An answer that is being read.
struct Flying {
    target: Arc<str>,
    attempts: u32,
    price: Option<Price>,
    /// Who hears of what guards find in a stream.
    hears: (Arc<Inner>, CallContext),
    body: Body,
    ready: VecDeque<Piece>,
    keeping: Option<Keeping>,
}

enum Body {
    /// All of it is ready.
    Whole,
    Frames(Pieces<Frame>),
    Events {
        events: Pieces<Event>,
        guard: Option<AnswerGuard>,
    },
}

type Step = (Result<Piece, Error>, State);

async fn depart(departure: Departure) -> Step {
    let Departure { inner, route, cx, request, mut settlement, end, keeping } = departure;
    let call = Call { inner: &inner, cx: &cx, question: &request, end };
    let landed = match call.dispatch(&route, &mut settlement).await {
        Ok(landed) => landed,
        Err(error) => {
            settlement.fail(error.code());
            return (Err(error), State::Over);
        }
    };
    let (target, attempts, price) =
        (settlement.target(), settlement.attempts(), settlement.price());
    let guards = inner.policies.guards.as_ref().filter(|guards| guards.reads_answers());
    let mut ready = VecDeque::new();
    let keeping = keeping.map(|keeping| match settlement.has_fallen_back() {
        true => Keeping { ttl_max: Some(STAND_IN_TTL), ..keeping },
        false => keeping,
    });
    let Beginning { body, whole, cost } = match read(landed, settlement, (end, guards)) {
        Ok(begun) => begun,
        Err(blocked) => return (Err(Error::Blocked(blocked)), State::Over),
    };
    ready.extend(whole);
    let begun = Piece::Begun(Begun { target: Arc::clone(&target), attempts, cost });
    let flying = Flying { target, attempts, price, hears: (inner, cx), body, ready, keeping };
    (Ok(begun), State::Flying(Box::new(flying)))
}

/// What another alias has answered is not given for longer than this: the one that was asked for may be back by then.
const STAND_IN_TTL: Duration = Duration::from_secs(30);

/// What there is of an answer at its beginning.
struct Beginning {
    body: Body,
    whole: Option<Piece>,
    cost: Option<MicroUsd>,
}

impl Beginning {
    fn of(body: Body) -> Self {
        Self { body, whole: None, cost: None }
    }

    fn whole(piece: Piece, cost: Option<MicroUsd>) -> Self {
        Self { body: Body::Whole, whole: Some(piece), cost }
    }
}

/// Whole answers are settled here, streamed ones when they end.
fn read(
    landed: Landed<Asked>,
    mut settlement: Settlement,
    (end, guards): (Instant, Option<&Guards>),
) -> Result<Beginning, Blocked> {
    let Landed { asked, mut picked, idle, lane: _ } = landed;
    let now = Instant::now().into_std();
    match asked {
        Asked::Whole(mut response) => {
            picked.succeed(now);
            settlement.uses_if_known(response.usage.as_ref());
            settlement.completes();
            if let Some(guards) = guards {
                let report = guards.screen_response(&mut response);
                settlement.screened(&report);
                report.inspect_err(|blocked| settlement.fail(blocked.code()))?;
            }
            let cost = settlement.finish();
            Ok(Beginning::whole(Piece::Whole(Arc::from(response)), cost))
        }
        Asked::WholeBytes(whole) => {
            picked.succeed(now);
            settlement.uses_if_known(whole.usage.as_ref());
            let cost = settlement.finish();
            Ok(Beginning::whole(Piece::WholeBytes(Arc::new(whole)), cost))
        }
        Asked::Streaming(opening) => {
            picked.first_token(now);
            settlement.first_token();
            let events = watch(opening, Watch { settlement, picked, idle, end });
            Ok(Beginning::of(Body::Events { events, guard: guards.map(Guards::answer) }))
        }
        Asked::StreamingBytes(opening) => {
            picked.first_token(now);
            settlement.first_token();
            let frames = watch(opening, Watch { settlement, picked, idle, end });
            Ok(Beginning::of(Body::Frames(frames)))
        }
    }
}

/// The next piece, and what comes after it.
async fn fly(mut flying: Box<Flying>) -> Option<Step> {
    loop {
        if let Some(piece) = flying.ready.pop_front() {
            if let Some(keeping) = &mut flying.keeping {
                keeping.see(&piece);
            }
            let is_last = flying.ready.is_empty() && flying.body.is_over();
            if !is_last {
                return Some((Ok(piece), State::Flying(flying)));
            }
            if let Some(keeping) = flying.keeping.take() {
                keeping.end(&flying.target, flying.price);
            }
            return Some((Ok(piece), State::Over));
        }
        match flying.body.next(&mut flying.ready, &flying.hears).await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                let Flying { target, attempts, .. } = *flying;
                let error = match error {
                    Broken::Upstream(error) => {
                        Error::Model { target: target.to_string(), attempts, error }
                    }
                    Broken::Blocked(blocked) => Error::Blocked(blocked),
                };
                return Some((Err(error), State::Over));
            }
            None => return None,
        }
    }
}

enum Broken {
    Upstream(ModelError),
    Blocked(Blocked),
}

impl Body {
    /// Whether nothing more will come.
    fn is_over(&self) -> bool {
        matches!(self, Self::Whole)
    }

    /// Adds what comes next; perhaps nothing yet.
    async fn next(
        &mut self,
        ready: &mut VecDeque<Piece>,
        (inner, cx): &(Arc<Inner>, CallContext),
    ) -> Option<Result<(), Broken>> {
        let is_end = match self {
            Self::Whole => return None,
            Self::Frames(frames) => {
                let frame = match frames.next().await? {
                    Ok(frame) => frame,
                    Err(error) => return Some(Err(Broken::Upstream(error))),
                };
                let is_end = frame.marks.done;
                ready.push_back(Piece::Frame(frame));
                is_end
            }
            Self::Events { events, guard } => {
                let event = match events.next().await? {
                    Ok(event) => event,
                    Err(error) => return Some(Err(Broken::Upstream(error))),
                };
                let is_end = event == Event::Done;
                let mut passed = Vec::new();
                match guard {
                    None => passed.push(event),
                    Some(guard) => {
                        if let Err(blocked) = guard.push(event, &mut passed) {
                            inner.observer.blocked(cx, &blocked);
                            return Some(Err(Broken::Blocked(blocked)));
                        }
                        if is_end && !guard.report().is_empty() {
                            inner.observer.screened(cx, guard.report());
                        }
                    }
                }
                ready.extend(passed.into_iter().map(|event| Piece::Event(Arc::new(event))));
                is_end
            }
        };
        if is_end {
            *self = Self::Whole;
        }
        Some(Ok(()))
    }
}
