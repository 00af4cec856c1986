//! What the writer is told: closed commands, with everything composite already written as JSON.

use agentry_core::keys::Changed;
use agentry_core::store::Error;
use serde::Serialize;

use super::assistants::{Staffed, Staffing};
use super::batches::{Batched, Batching};
use super::crons::{Timed, Timing};
use super::idempotency::{Answered, Answering};
use super::items::Shelving;
use super::keys::Keeping;
use super::ledger::{Booked, Bookkeeping};
use super::threads::{Threaded, Threading};

#[derive(Debug)]
pub(super) enum Command {
    Bookkeeping(Bookkeeping),
    Answering(Answering),
    Batching(Batching),
    Keeping(Keeping),
    Shelving(Shelving),
    Staffing(Staffing),
    Timing(Timing),
    Threading(Threading),
}

/// What a command has come to; one kind for each kind of command.
#[derive(Debug)]
pub(super) enum Outcome {
    Booked(Booked),
    Answered(Answered),
    Batched(Batched),
    Kept(Changed),
    Shelved(u64),
    Staffed(Staffed),
    Timed(Timed),
    Threaded(Threaded),
}

/// SQLite counts with a sign; our numbers grow by one and never get there.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|problem| Error::Refused(problem.to_string()))
}

impl Command {
    /// Roughly what it adds to a transaction.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Bookkeeping(bookkeeping) => bookkeeping.bytes(),
            Self::Answering(answering) => answering.bytes(),
            Self::Batching(batching) => batching.bytes(),
            Self::Keeping(keeping) => keeping.bytes(),
            Self::Shelving(shelving) => shelving.bytes(),
            Self::Staffing(staffing) => staffing.bytes(),
            Self::Timing(timing) => timing.bytes(),
            Self::Threading(threading) => threading.bytes(),
        }
    }
}
