//! What the writer is told about threads: closed commands, with everything composite already written as JSON.

use agentry_core::audit;
use agentry_core::run::{Closing, Committed, Effect, Fence, Message};
use agentry_core::store::{Error, NewRecord};
use agentry_core::thread::{
    Cancel, Checkpoint, Commit, Entry, Interrupt, NewRun, NewThread, Next, Pinned, RunChange,
    Snapshot,
};
use agentry_core::threads::{Claim, Intake, Keep, Signal, Signalled, Submitted};
use agentry_core::{CheckpointId, RunId, ThreadId, Timestamp, run};
use serde_json::{Map, Value};

use super::super::command::{json, signed};
use crate::large::Text;

#[derive(Debug)]
pub(in super::super) enum Threading {
    Submit(Box<Submission>),
    Intake(Box<Arrivals>),
    Claim(Claim),
    Take { thread: ThreadId, claim: Claim },
    Renew { worker: String, until: Timestamp },
    Release { worker: String },
    Succeed { name: String, worker: String },
    Commit(Box<Decision>),
    Journal { thread: ThreadId, fence: Fence, key: String, value: Option<String> },
    Message { thread: ThreadId, message: Letter },
    Answer { thread: ThreadId, interrupt: String, answer: run::Answer, audit: Vec<audit::Entry> },
    Cancel { thread: ThreadId, run: RunId, cancel: Cancel, audit: Vec<audit::Entry> },
    Create { thread: Box<NewThread>, metadata: String },
    Describe { thread: ThreadId, metadata: Map<String, Value>, now: Timestamp },
    Copy { from: ThreadId, to: Box<NewThread>, metadata: String },
    Delete(ThreadId),
    Prune { thread: ThreadId, keep: Keep },
    Sweep { now: Timestamp, max: usize },
    Retire { before: Timestamp, max: usize },
    DeleteRun(RunId),
}

/// What a command has come to; one kind for each kind of command.
#[derive(Debug)]
pub(in super::super) enum Threaded {
    Submitted(Submitted),
    Stored,
    Claimed(Vec<(ThreadId, Fence)>),
    Taken(Grip),
    Committed(Committed),
    Signalled(Signalled),
    Created(Creation),
    Found(bool),
    Counted(u64),
    Refused(String),
}

/// What came of asking for one certain thread.
#[derive(Debug)]
pub(in super::super) enum Grip {
    Yours(Fence),
    Busy,
    NoThread,
}

#[derive(Debug)]
pub(in super::super) enum Creation {
    New,
    Existing,
    Foreign,
}

#[derive(Debug)]
pub(in super::super) struct Submission {
    pub run: NewRun,
    pub input: String,
    pub metadata: String,
}

#[derive(Debug)]
pub(in super::super) struct Letter {
    pub id: String,
    pub channel: String,
    pub payload: String,
    pub at: Timestamp,
}

#[derive(Debug)]
pub(in super::super) struct Arrivals {
    /// Topic, key, payload.
    pub records: Vec<(String, String, String)>,
    pub submit: Vec<Submission>,
    pub messages: Vec<(ThreadId, Letter)>,
    pub audit: Vec<audit::Entry>,
}

/// A commit.
#[derive(Debug)]
pub(in super::super) struct Decision {
    pub thread: ThreadId,
    pub fence: i64,
    pub seq: i64,
    pub parent: i64,
    pub run: Option<RunId>,
    pub at: i64,
    pub marks: Vec<CheckpointId>,
    pub checkpoints: Option<String>,
    pub events: Option<String>,
    pub body: String,
    pub writes: Text,
    pub next: Next,
    pub runs: Vec<RunChange>,
    pub opened: Vec<Opened>,
    pub closed: Vec<(String, Closing)>,
    pub postponed: Vec<(String, Option<Timestamp>)>,
    pub consumed: Vec<String>,
    pub forgotten: Vec<String>,
    pub snapshot: Option<Box<Whole>>,
    pub audit: Vec<audit::Entry>,
    pub program: Option<Pinned>,
}

/// A snapshot.
#[derive(Debug)]
pub(in super::super) struct Whole {
    pub seq: i64,
    pub body: String,
    pub states: Text,
}

#[derive(Debug)]
pub(in super::super) struct Opened {
    pub interrupt: Interrupt,
    pub question: Option<String>,
    pub schema: Option<String>,
    pub on_timeout: String,
    pub answer: Option<String>,
}

impl Submission {
    pub(super) fn new(run: NewRun) -> Result<Self, Error> {
        Ok(Self { input: json(&run.input)?, metadata: json(&run.metadata)?, run })
    }

    fn bytes(&self) -> usize {
        ROW + self.input.len() + self.metadata.len()
    }
}

impl Letter {
    fn new(message: Message) -> Result<Self, Error> {
        let Message { id, channel, payload, at } = message;
        Ok(Self { id, channel, payload: json(&payload)?, at })
    }
}

impl Arrivals {
    fn new(intake: Intake) -> Result<Self, Error> {
        let Intake { records, submit, messages, audit } = intake;
        let record = |record: NewRecord| Ok((record.topic, record.key, json(&record.payload)?));
        let message = |(thread, message)| Ok((thread, Letter::new(message)?));
        Ok(Self {
            records: records.into_iter().map(record).collect::<Result<_, Error>>()?,
            submit: submit.into_iter().map(Submission::new).collect::<Result<_, Error>>()?,
            messages: messages.into_iter().map(message).collect::<Result<_, Error>>()?,
            audit,
        })
    }

    fn bytes(&self) -> usize {
        let Self { records, submit, messages, audit } = self;
        let records: usize = records.iter().map(|it| ROW + it.2.len()).sum();
        let submit: usize = submit.iter().map(Submission::bytes).sum();
        let messages: usize = messages.iter().map(|it| ROW + it.1.payload.len()).sum();
        records + submit + messages + audit.len() * ROW
    }
}

impl Whole {
    pub(super) fn new(snapshot: &Snapshot) -> Result<Self, Error> {
        let Snapshot { seq, states, body } = snapshot;
        Ok(Self { seq: signed(seq.0), body: json(body)?, states: Text::states(states)? })
    }
}

impl Opened {
    fn new(interrupt: Interrupt) -> Result<Self, Error> {
        Ok(Self {
            question: interrupt.question.as_ref().map(json).transpose()?,
            schema: interrupt.schema.as_ref().map(json).transpose()?,
            on_timeout: json(&interrupt.on_timeout)?,
            answer: interrupt.answer.as_ref().map(json).transpose()?,
            interrupt,
        })
    }

    fn bytes(&self) -> usize {
        let question = self.question.as_ref().map_or(0, String::len);
        ROW + question + self.schema.as_ref().map_or(0, String::len)
    }
}

impl Decision {
    fn new(commit: Commit) -> Result<Self, Error> {
        let Commit {
            thread,
            fence,
            entry,
            next,
            runs,
            opened,
            closed,
            postponed,
            consumed,
            forgotten,
            events,
            snapshot,
            audit,
            program,
        } = commit;
        let Entry { seq, parent, run, at, checkpoints, writes, body } = entry;
        let marks = checkpoints.iter().map(|it: &Checkpoint| it.id).collect();
        Ok(Self {
            thread,
            fence: signed(fence.0),
            seq: signed(seq.0),
            parent: signed(parent.0),
            run,
            at: at.as_micros(),
            marks,
            checkpoints: (!checkpoints.is_empty()).then(|| json(&checkpoints)).transpose()?,
            events: (!events.is_empty()).then(|| json(&events)).transpose()?,
            body: json(&body)?,
            writes: Text::writes(&writes)?,
            next,
            runs,
            opened: opened.into_iter().map(Opened::new).collect::<Result<_, Error>>()?,
            closed,
            postponed,
            consumed,
            forgotten,
            snapshot: snapshot.as_ref().map(Whole::new).transpose()?.map(Box::new),
            audit,
            program,
        })
    }

    fn bytes(&self) -> usize {
        let snapshot = self.snapshot.as_ref().map_or(0, |it| it.states.bytes() + it.body.len());
        let events = self.events.as_ref().map_or(0, String::len);
        let opened: usize = self.opened.iter().map(Opened::bytes).sum();
        ROW + self.writes.bytes() + self.body.len() + events + opened + snapshot
    }
}

/// Roughly what a row takes beside its texts.
const ROW: usize = 128;

impl Threading {
    pub(super) fn submit(run: NewRun) -> Result<Self, Error> {
        Ok(Self::Submit(Box::new(Submission::new(run)?)))
    }

    pub(super) fn intake(intake: Intake) -> Result<Self, Error> {
        Ok(Self::Intake(Box::new(Arrivals::new(intake)?)))
    }

    pub(super) fn commit(commit: Commit) -> Result<Self, Error> {
        Ok(Self::Commit(Box::new(Decision::new(commit)?)))
    }

    pub(super) fn journal(
        (thread, fence): (ThreadId, Fence),
        key: &str,
        effect: &Effect,
    ) -> Result<Self, Error> {
        let value = match effect {
            Effect::Intended => None,
            Effect::Done { value } => Some(json(value)?),
        };
        Ok(Self::Journal { thread, fence, key: key.to_owned(), value })
    }

    pub(super) fn signal(thread: ThreadId, signal: Signal) -> Result<Self, Error> {
        Ok(match signal {
            Signal::Message(message) => Self::Message { thread, message: Letter::new(message)? },
            Signal::Answer { interrupt, answer, audit } => {
                Self::Answer { thread, interrupt, answer, audit }
            }
            Signal::Cancel { run, cancel, audit } => Self::Cancel { thread, run, cancel, audit },
        })
    }

    pub(super) fn create(thread: NewThread) -> Result<Self, Error> {
        let metadata = json(&thread.metadata)?;
        Ok(Self::Create { thread: Box::new(thread), metadata })
    }

    pub(super) fn copy(from: ThreadId, to: NewThread) -> Result<Self, Error> {
        let metadata = json(&to.metadata)?;
        Ok(Self::Copy { from, to: Box::new(to), metadata })
    }

    /// Roughly what it adds to a transaction.
    pub(in super::super) fn bytes(&self) -> usize {
        match self {
            Self::Submit(submission) => submission.bytes(),
            Self::Intake(arrivals) => arrivals.bytes(),
            Self::Commit(decision) => decision.bytes(),
            Self::Journal { value, .. } => ROW + value.as_ref().map_or(0, String::len),
            Self::Message { message, .. } => ROW + message.payload.len(),
            Self::Create { metadata, .. } | Self::Copy { metadata, .. } => ROW + metadata.len(),
            Self::Claim(_)
            | Self::Take { .. }
            | Self::Renew { .. }
            | Self::Release { .. }
            | Self::Succeed { .. }
            | Self::Answer { .. }
            | Self::Cancel { .. }
            | Self::Describe { .. }
            | Self::Delete(_)
            | Self::Prune { .. }
            | Self::Sweep { .. }
            | Self::Retire { .. }
            | Self::DeleteRun(_) => ROW,
        }
    }
}
