//! What the writer is told: closed commands, with everything composite already written as JSON.

use std::collections::BTreeMap;

use agentry_core::run::{Closing, Committed, Effect, Fence, Message};
use agentry_core::store::NewRecord;
use agentry_core::thread::{
    Cancel, Commit, Interrupt, Multitask, NewRun, Next, Pinned, Priority, Rest, RunChange,
};
use agentry_core::threads::{Error, Intake, Signal};
use agentry_core::{ThreadId, Timestamp, audit};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::id::Id;
use super::tokens::tokens;
use crate::large::{Hole, Text};

/// Roughly what a row takes beside its texts.
const ROW: usize = 128;

/// What `commits` is told of one commit, as columns of its arrays.
#[derive(Debug)]
pub(super) struct Decision {
    pub thread: ThreadId,
    pub fence: i64,
    pub seq: i64,
    pub parent: i64,
    pub run: Option<Id>,
    pub at: i64,
    pub marks: Option<String>,
    pub checkpoints: Option<String>,
    pub events: Option<String>,
    pub holes: Option<Vec<u8>>,
    pub writes: String,
    pub body: String,
    pub rest: Option<&'static str>,
    pub wake_at: Option<i64>,
    pub detail: Option<String>,
}

#[derive(Debug)]
pub(super) struct Note {
    pub thread: ThreadId,
    pub fence: i64,
    pub key: String,
    pub result: Option<String>,
}

/// A command for `act`, and the threads that it names.
#[derive(Debug)]
pub(super) struct Deed {
    pub threads: Vec<ThreadId>,
    pub text: String,
}

/// The server counts with a sign; our numbers grow by one and never get there.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn text(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|problem| Error::Refused(problem.to_string()))
}

pub(super) fn rank(priority: Priority) -> i16 {
    match priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
    }
}

pub(super) fn multitask(word: Multitask) -> &'static str {
    match word {
        Multitask::Reject => "reject",
        Multitask::Enqueue => "enqueue",
        Multitask::Interrupt => "interrupt",
        Multitask::Rollback => "rollback",
    }
}

fn closing(word: Closing) -> &'static str {
    match word {
        Closing::Answered => "answered",
        Closing::Expired => "expired",
        Closing::Replaced => "replaced",
        Closing::Withdrawn => "withdrawn",
    }
}

fn rest(word: Rest) -> &'static str {
    match word {
        Rest::Idle => "idle",
        Rest::Waiting => "waiting",
        Rest::Interrupted => "interrupted",
        Rest::Failed => "failed",
    }
}

impl Decision {
    pub(super) fn new(commit: Commit) -> Result<Self, Error> {
        let (rests, wake_at) = match commit.next {
            Next::Running => (None, None),
            Next::Rest { status, wake_at } => {
                (Some(rest(status)), wake_at.map(Timestamp::as_micros))
            }
        };
        let writes = Text::writes(&commit.entry.writes)?;
        let detail = detail(&commit, &writes.holes)?;
        let Commit { thread, fence, entry, events, .. } = commit;
        let marks: Vec<String> = entry.checkpoints.iter().map(|it| it.id.to_string()).collect();
        let some = !marks.is_empty();
        Ok(Self {
            thread,
            fence: signed(fence.0),
            seq: signed(entry.seq.0),
            parent: signed(entry.parent.0),
            run: entry.run.map(Id::from),
            at: entry.at.as_micros(),
            marks: some.then(|| format!("{{{}}}", marks.join(","))),
            checkpoints: some.then(|| text(&entry.checkpoints)).transpose()?,
            events: (!events.is_empty()).then(|| text(&events)).transpose()?,
            holes: writes.holes(),
            writes: writes.text,
            body: text(&entry.body)?,
            rest: rests,
            wake_at,
            detail,
        })
    }

    pub(super) fn bytes(&self) -> usize {
        let Self { checkpoints, events, detail, .. } = self;
        let others = [checkpoints, events, detail];
        let others: usize = others.into_iter().flatten().map(String::len).sum();
        ROW + self.writes.len() + self.body.len() + others
    }
}

/// What few commits have; nothing when there is nothing of it. Payloads are JSON within JSON: the server's `jsonb` would
/// not keep them as they are.
fn detail(commit: &Commit, pieces: &[Hole]) -> Result<Option<String>, Error> {
    let Commit { runs, opened, closed, postponed, consumed, forgotten, snapshot, audit, .. } =
        commit;
    let program = &commit.program;
    let mut out = Map::new();
    let mut put = |name: &str, items: Vec<Value>| {
        if !items.is_empty() {
            out.insert(name.to_owned(), items.into());
        }
    };
    put("runs", changes(runs));
    let opened = opened.iter().map(opening).collect::<Result<_, Error>>()?;
    put("opened", opened);
    let close = |(id, why): &(String, Closing)| json!({ "id": id, "closing": closing(*why) });
    put("closed", closed.iter().map(close).collect());
    let postpone = |(id, deadline): &(String, Option<Timestamp>)| json!({ "id": id, "deadline": deadline.map(Timestamp::as_micros) });
    put("postponed", postponed.iter().map(postpone).collect());
    let unanswered = closed.iter().filter(|(_, why)| match why {
        Closing::Expired | Closing::Replaced => true,
        Closing::Answered | Closing::Withdrawn => false,
    });
    let unanswered = unanswered.map(|(id, _)| id).chain(postponed.iter().map(|(id, _)| id));
    put("unanswered", unanswered.map(|id| id.as_str().into()).collect());
    put("consumed", consumed.iter().map(|id| id.as_str().into()).collect());
    put("forgotten", forgotten.iter().map(|key| key.as_str().into()).collect());
    put("audit", entries(audit)?);
    if let Some(program) = program {
        let Pinned { graph, version } = program;
        out.insert("program".to_owned(), json!({ "graph": graph, "version": version }));
    }
    let mut pieces: BTreeMap<_, _> =
        pieces.iter().map(|it| (it.digest, it.value.clone())).collect();
    if let Some(snapshot) = snapshot {
        let states = Text::states(&snapshot.states)?;
        let holes = states.holes().map(|bytes| hex(&bytes));
        pieces.extend(states.holes.iter().map(|it| (it.digest, it.value.clone())));
        let body = text(&snapshot.body)?;
        let value =
            json!({ "seq": snapshot.seq.0, "holes": holes, "body": body, "states": states.text });
        out.insert("snapshot".to_owned(), value);
    }
    let piece =
        |(digest, value): ([u8; 32], String)| json!({ "digest": hex(&digest), "value": value });
    if !pieces.is_empty() {
        out.insert("pieces".to_owned(), pieces.into_iter().map(piece).collect());
    }
    (!out.is_empty()).then(|| text(&out)).transpose()
}

/// One for each run, the later one's word after the earlier one's.
fn changes(runs: &[RunChange]) -> Vec<Value> {
    let mut last: BTreeMap<_, RunChange> = BTreeMap::new();
    for change in runs {
        let base = change.base.or_else(|| last.get(&change.run).and_then(|it| it.base));
        last.insert(change.run, RunChange { base, ..change.clone() });
    }
    let change = |change: RunChange| {
        let RunChange { run, status, base, reason } = change;
        json!({ "run": run, "status": status, "base": base, "reason": reason })
    };
    last.into_values().map(change).collect()
}

fn opening(interrupt: &Interrupt) -> Result<Value, Error> {
    let Interrupt {
        thread: _,
        run,
        id,
        ns,
        node,
        question,
        schema,
        opened,
        deadline,
        on_timeout,
        ..
    } = interrupt;
    Ok(json!({
        "id": id,
        "run": run,
        "ns": ns,
        "node": node,
        "question": question.as_ref().map(text).transpose()?,
        "schema": schema.as_ref().map(text).transpose()?,
        "opened": opened.as_micros(),
        "deadline": deadline.map(Timestamp::as_micros),
        "on_timeout": text(on_timeout)?,
        "escalations": interrupt.escalations,
        "answer": interrupt.answer.as_ref().map(text).transpose()?,
    }))
}

pub(super) fn entries(audit: &[audit::Entry]) -> Result<Vec<Value>, Error> {
    audit.iter().map(|entry| text(entry).map(Value::from)).collect()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a string does not fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

impl Note {
    pub(super) fn new(
        (thread, fence): (ThreadId, Fence),
        key: &str,
        effect: &Effect,
    ) -> Result<Self, Error> {
        let result = match effect {
            Effect::Intended => None,
            Effect::Done { value } => Some(text(value)?),
        };
        Ok(Self { thread, fence: signed(fence.0), key: key.to_owned(), result })
    }

    pub(super) fn bytes(&self) -> usize {
        ROW + self.key.len() + self.result.as_ref().map_or(0, String::len)
    }
}

impl Deed {
    pub(super) fn submit(run: &NewRun) -> Result<Self, Error> {
        let mut command = submission(run)?;
        command.insert("do".to_owned(), "submit".into());
        Ok(Self { threads: vec![run.thread], text: text(&command)? })
    }

    pub(super) fn intake(intake: &Intake) -> Result<Self, Error> {
        let Intake { records, submit, messages, audit } = intake;
        let threads = submit.iter().map(|run| run.thread);
        let threads = threads.chain(messages.iter().map(|(thread, _)| *thread)).collect();
        let record = |record: &NewRecord| {
            let NewRecord { topic, key, payload } = record;
            Ok(json!({ "topic": topic, "key": key, "payload": text(payload)? }))
        };
        let message = |(thread, it): &(ThreadId, Message)| {
            let mut it = letter(it)?;
            it.insert("thread".to_owned(), thread.to_string().into());
            Ok(Value::from(it))
        };
        let run = |run| submission(run).map(Value::from);
        let command = json!({
            "do": "intake",
            "submit": submit.iter().map(run).collect::<Result<Vec<_>, Error>>()?,
            "messages": messages.iter().map(message).collect::<Result<Vec<_>, Error>>()?,
            "records": records.iter().map(record).collect::<Result<Vec<_>, Error>>()?,
            "audit": entries(audit)?,
        });
        Ok(Self { threads, text: text(&command)? })
    }

    pub(super) fn signal(thread: ThreadId, signal: &Signal) -> Result<Self, Error> {
        let command = match signal {
            Signal::Message(message) => {
                json!({ "do": "signal", "thread": thread, "message": letter(message)? })
            }
            Signal::Answer { interrupt, answer, audit } => json!({
                "do": "signal",
                "thread": thread,
                "interrupt": interrupt,
                "answer": text(answer)?,
                "at": answer.at.as_micros(),
                "audit": entries(audit)?,
            }),
            Signal::Cancel { run, cancel, audit } => json!({
                "do": "signal",
                "thread": thread,
                "run": run,
                "mark": text(cancel)?,
                "rollback": cancel.rollback,
                "at": cancel.at.as_micros(),
                "audit": entries(audit)?,
            }),
        };
        Ok(Self { threads: vec![thread], text: text(&command)? })
    }
}

fn letter(message: &Message) -> Result<Map<String, Value>, Error> {
    let Message { id, channel, payload, at } = message;
    let mut out = Map::new();
    out.insert("id".to_owned(), id.as_str().into());
    out.insert("channel".to_owned(), channel.as_str().into());
    out.insert("payload".to_owned(), text(payload)?.into());
    out.insert("at".to_owned(), at.as_micros().into());
    Ok(out)
}

fn submission(run: &NewRun) -> Result<Map<String, Value>, Error> {
    let mark = Cancel::by(run);
    let answers = run.answers.iter().map(|(id, answer)| {
        Ok(json!({ "id": id, "answer": text(answer)?, "at": answer.at.as_micros() }))
    });
    let command = json!({
        "id": run.id,
        "thread": run.thread,
        "tenant": run.tenant,
        "key": run.key,
        "graph": run.program.graph,
        "version": run.program.version,
        "input": text(&run.input)?,
        "answers": answers.collect::<Result<Vec<_>, Error>>()?,
        "multitask": multitask(run.multitask),
        "priority": rank(run.priority),
        "absent": run.absent,
        "metadata": text(&run.metadata)?,
        "members": tokens(&run.metadata),
        "created": run.created.as_micros(),
        "not_before": run.not_before.map(Timestamp::as_micros),
        "deadline": run.deadline.map(Timestamp::as_micros),
        "rollback": mark.as_ref().is_some_and(|it| it.rollback),
        "mark": mark.as_ref().map(text).transpose()?,
    });
    match command {
        Value::Object(command) => Ok(command),
        _ => Ok(Map::new()),
    }
}

/// What the number that `commits` and `journals` answer with stands for.
pub(super) fn verdict(number: i32, cancel: bool, inbox: bool) -> Result<Committed, Error> {
    match number {
        1 => Ok(Committed::Applied { cancel, inbox }),
        2 => Ok(Committed::Duplicate),
        3 => Ok(Committed::Fenced),
        4 => Ok(Committed::Stale),
        5 => Err(Error::Refused("the thread does not have the parent of this entry".to_owned())),
        6 => {
            Err(Error::Refused("the thread does not have a run that the commit changes".to_owned()))
        }
        other => Err(Error::Incompatible(format!("an unknown verdict: {other}"))),
    }
}
