//! An answer that was given before, in the form in which it is wanted now.

use std::sync::Arc;

use agentry_core::chat::{ChatResponse, Event};
use agentry_core::ledger;
use agentry_core::relay::{Dialect, Frame, Marks};
use agentry_wire::ingress;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use crate::answer::{Answer, Found, Outcome};
use crate::cache::{Form, Kept};
use crate::error::Error;
use crate::request::Request;
use crate::settle::Settlement;

pub(crate) fn outcome(
    kept: &Arc<Kept>,
    request: &Request,
    mut settlement: Settlement,
) -> Result<Outcome, Error> {
    settlement.comes_from(ledger::Cache::Hit);
    settlement.uses_if_known(kept.usage());
    settlement.saves(kept.cost_saved());
    let answer = answer(kept, request);
    let answer = settlement.or_fail(answer)?;
    settlement.finish();
    Ok(Outcome {
        answer,
        target: Arc::clone(kept.target()),
        attempts: 0,
        cost: Some(agentry_core::MicroUsd(0)),
        found: Found::Hit,
    })
}

fn answer(kept: &Kept, request: &Request) -> Result<Answer, Error> {
    let response = match (kept.form(), request.wire()) {
        (Form::Whole(bytes), Some(_)) if !request.stream() => {
            return Ok(Answer::WholeBytes(bytes.clone()));
        }
        (Form::Response(response), _) => response.as_ref().clone(),
        (Form::Whole(bytes), wire) => {
            ingress::read_whole(dialect(wire), bytes).map_err(unreadable)?
        }
        (Form::Frames(kept_frames), wire) => {
            let bytes = kept_frames.text();
            if let Some(wire) = wire
                && request.stream()
                && ingress::tells_usage(wire.dialect, &bytes) == wire.wants_usage()
            {
                return Ok(frames(bytes));
            }
            let response = ingress::read_frames(dialect(wire), &bytes).map_err(unreadable)?;
            ChatResponse { usage: kept.usage().cloned().or(response.usage), ..response }
        }
    };
    Ok(if request.stream() { events(response) } else { Answer::Whole(Box::new(response)) })
}

/// What was never on the wire is kept as a value, so its form is no other.
fn dialect(wire: Option<&crate::request::Wire>) -> Dialect {
    wire.map_or(Dialect::ChatCompletions, |wire| wire.dialect)
}

fn frames(bytes: Bytes) -> Answer {
    let marks = Marks { done: true, ..Marks::default() };
    Answer::StreamedBytes(stream::iter([Ok(Frame { bytes, marks })]).boxed())
}

fn events(response: ChatResponse) -> Answer {
    let events: Vec<Event> = response.into_events();
    Answer::Streamed(stream::iter(events.into_iter().map(Ok)).boxed())
}

fn unreadable<E>(_: E) -> Error {
    Error::Internal { reason: "a kept answer cannot be read" }
}
