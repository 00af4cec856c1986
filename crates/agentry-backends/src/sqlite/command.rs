//! What the writer is told: closed commands, with everything composite already written as JSON.

use agentry_core::keys::Changed;
use agentry_core::run::{Answer, Closing, Committed, Effect, Fence, NewRun, Next, RunCommit};
use agentry_core::store::{Claim, Error, Intake, Signal, Signalled, Submitted};
use agentry_core::{RunId, Timestamp, audit, run};
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
    Submit(Submission),
    Intake(Prepared),
    Claim(Claim),
    Renew { worker: String, lease_until: Timestamp },
    Release { worker: String },
    Commit(Box<Commit>),
    Journal { run: RunId, fence: Fence, key: String, value: Option<String> },
    Message { run: RunId, message: Message },
    Answer { run: RunId, interrupt: String, answer: Answer, audit: Vec<audit::Entry> },
    Cancel { run: RunId, reason: String, audit: Vec<audit::Entry> },
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
    Submitted(Submitted),
    Stored,
    Claimed(Vec<(RunId, Fence)>),
    Committed(Committed),
    Signalled(Signalled),
    Booked(Booked),
    Answered(Answered),
    Batched(Batched),
    Kept(Changed),
    Shelved(u64),
    Staffed(Staffed),
    Timed(Timed),
    Threaded(Threaded),
    Refused(String),
}

#[derive(Debug)]
pub(super) struct Submission {
    pub run: NewRun,
    pub input: String,
}

#[derive(Debug)]
pub(super) struct Message {
    pub id: String,
    pub channel: String,
    pub payload: String,
    pub at: Timestamp,
}

#[derive(Debug)]
pub(super) struct Prepared {
    /// Topic, key, payload.
    pub records: Vec<(String, String, String)>,
    pub submit: Vec<Submission>,
    pub messages: Vec<(RunId, Message)>,
    pub audit: Vec<audit::Entry>,
}

#[derive(Debug)]
pub(super) struct Commit {
    pub run: RunId,
    pub fence: i64,
    pub seq: i64,
    pub at: i64,
    pub deltas: String,
    pub cursor: String,
    pub next: Next,
    pub opened: Vec<Opened>,
    pub closed: Vec<(String, Closing)>,
    pub consumed: Vec<String>,
    /// Time, kind, detail.
    pub events: Vec<(i64, String, String)>,
    pub audit: Vec<audit::Entry>,
}

#[derive(Debug)]
pub(super) struct Opened {
    pub id: String,
    pub question: Option<String>,
    pub opened: i64,
    pub deadline: Option<i64>,
    pub on_timeout: String,
}

/// SQLite counts with a sign; our numbers grow by one and never get there.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|problem| Error::Refused(problem.to_string()))
}

impl Submission {
    pub(super) fn new(run: NewRun) -> Result<Self, Error> {
        Ok(Self { input: json(&run.input)?, run })
    }
}

impl Message {
    pub(super) fn new(message: run::Message) -> Result<Self, Error> {
        let run::Message { id, channel, payload, at } = message;
        Ok(Self { id, channel, payload: json(&payload)?, at })
    }
}

impl Prepared {
    pub(super) fn new(intake: Intake) -> Result<Self, Error> {
        let Intake { records, submit, messages, audit } = intake;
        let record = |record: agentry_core::store::NewRecord| {
            Ok((record.topic, record.key, json(&record.payload)?))
        };
        let message = |(run, message)| Ok((run, Message::new(message)?));
        Ok(Self {
            records: records.into_iter().map(record).collect::<Result<_, Error>>()?,
            submit: submit.into_iter().map(Submission::new).collect::<Result<_, Error>>()?,
            messages: messages.into_iter().map(message).collect::<Result<_, Error>>()?,
            audit,
        })
    }
}

impl Commit {
    pub(super) fn new(commit: RunCommit) -> Result<Self, Error> {
        let RunCommit {
            run,
            fence,
            seq,
            at,
            deltas,
            cursor,
            next,
            opened,
            closed,
            consumed,
            events,
            audit,
        } = commit;
        let open = |interrupt: run::Interrupt| {
            Ok(Opened {
                id: interrupt.id,
                question: interrupt.question.as_ref().map(json).transpose()?,
                opened: interrupt.opened.as_micros(),
                deadline: interrupt.deadline.map(Timestamp::as_micros),
                on_timeout: json(&interrupt.on_timeout)?,
            })
        };
        let event =
            |event: run::Event| Ok((event.at.as_micros(), event.kind, json(&event.detail)?));
        Ok(Self {
            run,
            fence: signed(fence.0),
            seq: signed(seq.0),
            at: at.as_micros(),
            deltas: json(&deltas)?,
            cursor: json(&cursor)?,
            next,
            opened: opened.into_iter().map(open).collect::<Result<_, Error>>()?,
            closed,
            consumed,
            events: events.into_iter().map(event).collect::<Result<_, Error>>()?,
            audit,
        })
    }
}

impl Command {
    pub(super) fn commit(commit: RunCommit) -> Result<Self, Error> {
        Ok(Self::Commit(Box::new(Commit::new(commit)?)))
    }

    pub(super) fn journal(
        (run, fence): (RunId, Fence),
        key: &str,
        effect: &Effect,
    ) -> Result<Self, Error> {
        let value = match effect {
            Effect::Intended => None,
            Effect::Done { value } => Some(json(value)?),
        };
        Ok(Self::Journal { run, fence, key: key.to_owned(), value })
    }

    pub(super) fn signal(run: RunId, signal: Signal) -> Result<Self, Error> {
        Ok(match signal {
            Signal::Message(message) => Self::Message { run, message: Message::new(message)? },
            Signal::Answer { interrupt, answer, audit } => {
                Self::Answer { run, interrupt, answer, audit }
            }
            Signal::Cancel { reason, audit } => Self::Cancel { run, reason, audit },
        })
    }

    /// Roughly what it adds to a transaction.
    pub(super) fn bytes(&self) -> usize {
        const ROW: usize = 128;
        match self {
            Self::Submit(submission) => ROW + submission.input.len(),
            Self::Intake(Prepared { records, submit, messages, audit }) => {
                let records: usize = records.iter().map(|it| ROW + it.2.len()).sum();
                let submit: usize = submit.iter().map(|it| ROW + it.input.len()).sum();
                let messages: usize = messages.iter().map(|it| ROW + it.1.payload.len()).sum();
                records + submit + messages + audit.len() * ROW
            }
            Self::Commit(commit) => {
                let events: usize = commit.events.iter().map(|it| ROW + it.2.len()).sum();
                let asked = commit.opened.iter().filter_map(|it| it.question.as_ref());
                let asked: usize = asked.map(|question| ROW + question.len()).sum();
                ROW + commit.deltas.len() + commit.cursor.len() + events + asked
            }
            Self::Journal { value, .. } => ROW + value.as_ref().map_or(0, String::len),
            Self::Message { message, .. } => ROW + message.payload.len(),
            Self::Bookkeeping(bookkeeping) => bookkeeping.bytes(),
            Self::Answering(answering) => answering.bytes(),
            Self::Batching(batching) => batching.bytes(),
            Self::Keeping(keeping) => keeping.bytes(),
            Self::Shelving(shelving) => shelving.bytes(),
            Self::Staffing(staffing) => staffing.bytes(),
            Self::Timing(timing) => timing.bytes(),
            Self::Threading(threading) => threading.bytes(),
            Self::Claim(_)
            | Self::Renew { .. }
            | Self::Release { .. }
            | Self::Answer { .. }
            | Self::Cancel { .. } => ROW,
        }
    }
}
