//! A thread's log, told to listeners: what is stored entry by entry, and what nodes say while they run.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;

use agentry_core::run::{Event, Seq};
use agentry_core::thread::{EventId, RunStatus, Told};
use agentry_core::{RunId, ThreadId, Timestamp};
use agentry_engine::Machine;
use agentry_engine::durable::{Follower, Handle, Heard};
use agentry_engine::machine::{Home, Record};
use agentry_engine::stream::{Mode, Part as Shown, Reader};
use agentry_server::Refusal;
use agentry_server::engine::{
    Early, Follow, InterruptView, Part, Parts, Subject, Wanted, What, short,
};
use futures_util::stream;
use http::StatusCode;
use serde_json::{Map, Value};

use super::Durable;

mod pages;

use pages::{Pages, line_before};

/// Events of one entry.
const EVENTS_MAX: usize = 10_000;
/// Events that are read at once: most entries have few.
const EVENTS_PAGE: usize = 32;
/// So much that nodes say while they run is remembered until it is stored; more is told when it is.
const LIVE_MAX: usize = 10_000;
/// Attempts whose sayings are followed at the same time.
const ATTEMPTS_MAX: usize = 10_000;
/// Messages that are being written at the same time and are named in one id.
const NAMED_MAX: usize = 16;

impl Durable {
    pub(super) async fn parts(&self, follow: Follow) -> Result<Parts, Refusal> {
        let Follow { thread, run, after, wanted } = follow;
        let archive = self.handle.archive();
        // In this order: a run that begins in between begins after what was read first.
        let known = archive.thread(thread).await?.ok_or_else(gone)?;
        let run = match run {
            None => None,
            Some(run) => Some(archive.run(run).await?.ok_or_else(gone)?),
        };
        let from = match &run {
            _ if after > EventId::default() => after,
            None => after,
            Some(run) => end_of(run.base.unwrap_or(known.seq)),
        };
        let ended = run.as_ref().filter(|run| run.status.is_over());
        let ended = ended.map(|run| (run.status, run.reason.clone(), run.updated));
        let before = end_of(Seq(from.seq.0.saturating_sub(1)));
        let start = if from.index == u32::MAX { from } else { before };
        let mut following = Following {
            handle: self.handle.clone(),
            follower: self.handle.follow(thread, None, start),
            thread,
            run: run.map(|run| run.id),
            from,
            wanted,
            reader: None,
            pages: Pages::default(),
            read: start.seq,
            ahead: VecDeque::new(),
            live: VecDeque::new(),
            unstored: BTreeMap::new(),
            heard: HashMap::new(),
            last: from,
            over: false,
        };
        if let Some(ended) = ended {
            following.all(ended).await?;
        }
        let parts = stream::unfold(Some(following), |following| async {
            let mut following = following?;
            match following.next().await {
                Ok(Some(part)) => Some((Ok(part), Some(following))),
                Ok(None) => None,
                Err(refusal) => Some((Err(refusal), None)),
            }
        });
        Ok(Pin::from(Box::new(parts) as Box<dyn stream::Stream<Item = _> + Send>))
    }
}

fn gone() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "thread_not_found", "the thread or its run is gone")
}

/// After everything in an entry.
fn end_of(seq: Seq) -> EventId {
    EventId { seq, index: u32::MAX }
}

struct Following {
    handle: Handle,
    follower: Follower,
    thread: ThreadId,
    run: Option<RunId>,
    /// What the listener has seen.
    from: EventId,
    wanted: Wanted,
    /// Stands at the entry that was read last, once one was.
    reader: Option<Reader>,
    pages: Pages,
    /// The last entry that was read, whether or not it said anything.
    read: Seq,
    ahead: VecDeque<Part>,
    /// What was told before it was stored, and is not to be told again.
    live: VecDeque<(String, What)>,
    /// Of these how many are pieces of each message, by its short name.
    unstored: BTreeMap<u32, u32>,
    /// How much of each attempt was heard. Of one that was not heard from its beginning nothing is told before it is stored.
    heard: HashMap<u64, usize>,
    /// The last stored part that was told.
    last: EventId,
    /// The run has ended, and nothing more comes.
    over: bool,
}

impl Following {
    async fn next(&mut self) -> Result<Option<Part>, Refusal> {
        loop {
            if let Some(part) = self.ahead.pop_front() {
                return Ok(Some(part));
            }
            if self.over {
                return Ok(None);
            }
            match self.follower.next().await? {
                None => return Ok(None),
                Some(heard) => self.hear(heard).await?,
            }
        }
    }

    /// All that is stored of a run that is over.
    async fn all(
        &mut self,
        (status, reason, at): (RunStatus, Option<String>, Timestamp),
    ) -> Result<(), Refusal> {
        for heard in self.follower.rest().await? {
            if !self.over {
                self.hear(heard).await?;
            }
        }
        if !self.over {
            // Nothing is known of how, or the listener has seen it.
            let what = What::Ended { status, reason };
            let ns = String::new();
            self.ahead.push_back(Part { id: None, early: None, run: self.run, at, ns, what });
            self.over = true;
        }
        Ok(())
    }

    async fn hear(&mut self, heard: Heard) -> Result<(), Refusal> {
        match heard {
            Heard::Stored(told) if told.id.seq > self.read => self.entry(told.id.seq).await,
            // The whole entry was read with its first event.
            Heard::Stored(_) => Ok(()),
            Heard::Live { run, ns, node: _, attempt, number, kind, detail } => {
                let what = said(&kind, detail);
                let ours = self.run.is_none_or(|wanted| wanted == run);
                let follows = self.follows(attempt, number);
                let has_room = self.live.len() < LIVE_MAX;
                if ours && follows && has_room && self.is_wanted(&ns, &what) {
                    self.early(run, ns, what);
                }
                Ok(())
            }
        }
    }

    /// Whether nothing that the attempt has said was missed: what comes out of order would be no message any more.
    fn follows(&mut self, attempt: u64, number: usize) -> bool {
        if self.heard.len() >= ATTEMPTS_MAX && number == 0 {
            self.heard.clear();
        }
        match self.heard.get_mut(&attempt) {
            None if number == 0 => {
                self.heard.insert(attempt, 1);
                true
            }
            Some(next) if *next == number => {
                *next += 1;
                true
            }
            None | Some(_) => false,
        }
    }

    /// Tells something before it is stored.
    fn early(&mut self, run: RunId, ns: String, what: What) {
        if let Some(message) = message_id(&what) {
            *self.unstored.entry(short(message)).or_default() += 1;
        }
        let pieces = self.unstored.iter().take(NAMED_MAX).map(|(name, count)| (*name, *count));
        let early = Some(Early { after: self.last, pieces: pieces.collect() });
        let at = self.handle.clock().now();
        self.live.push_back((ns.clone(), what.clone()));
        self.ahead.push_back(Part { id: None, early, run: Some(run), at, ns, what });
    }

    /// Everything that one entry says.
    async fn entry(&mut self, seq: Seq) -> Result<(), Refusal> {
        self.read = seq;
        let told = self.told(seq).await?;
        let run = told.iter().find_map(|told| told.run);
        let events: Vec<Event> = told.into_iter().map(|told| told.event).collect();
        let mut parts = Vec::new();
        let ours = self.run.is_none() || self.run == run;
        if ours && self.wanted != Wanted::default() {
            parts = self.shown(seq, &events).await?;
        }
        let mut all = Vec::with_capacity(parts.len() + 2);
        let at = events.first().map_or_else(|| self.handle.clock().now(), |event| event.at);
        all.extend(
            events
                .iter()
                .filter(|event| event.kind == "run.started")
                .map(|event| (run_of(event).or(run), event.at, String::new(), What::Began)),
        );
        all.extend(parts.into_iter().filter_map(|part| {
            let ns = part.ns.join("|");
            what(part.mode, part.data).map(|what| (run, at, ns, what))
        }));
        for event in &events {
            let Some((status, reason)) = ended(event) else { continue };
            let run = run_of(event).or(run);
            if let Some(status) = self.really(run, status).await? {
                all.push((run, event.at, String::new(), What::Ended { status, reason }));
            }
        }
        for (index, (run, at, ns, what)) in all.into_iter().enumerate() {
            let id = EventId { seq, index: u32::try_from(index).unwrap_or(u32::MAX - 1) };
            self.tell(Part { id: Some(id), early: None, run, at, ns, what });
        }
        Ok(())
    }

    /// The events of one entry.
    async fn told(&self, seq: Seq) -> Result<Vec<Told>, Refusal> {
        let archive = self.handle.archive();
        let mut all: Vec<Told> = Vec::new();
        let mut after = end_of(Seq(seq.0.saturating_sub(1)));
        while all.len() < EVENTS_MAX {
            let page = archive.events(self.thread, None, after, EVENTS_PAGE).await?;
            let read = page.len();
            all.extend(page.into_iter().filter(|told| told.id.seq == seq));
            match all.last() {
                Some(last) if read == EVENTS_PAGE && last.id > after => after = last.id,
                Some(_) | None => break,
            }
        }
        Ok(all)
    }

    /// How the run has ended. A run that is taken back says first that it ended, and is over with the entry after that.
    async fn really(
        &self,
        run: Option<RunId>,
        status: RunStatus,
    ) -> Result<Option<RunStatus>, Refusal> {
        let Some(run) = run.filter(|run| self.run.is_none_or(|ours| ours == *run)) else {
            return Ok(Some(status));
        };
        Ok(match self.handle.archive().run(run).await? {
            Some(known) if !known.status.is_over() => None,
            Some(known) if known.status == RunStatus::RolledBack => Some(RunStatus::RolledBack),
            Some(_) | None => Some(status),
        })
    }

    fn tell(&mut self, part: Part) {
        let ours = self.run.is_none() || self.run == part.run;
        let seen = part.id.is_some_and(|id| id <= self.from);
        if !ours || self.over {
            return;
        }
        if matches!(part.what, What::Ended { .. }) && self.run.is_some() {
            self.over = true;
        } else if seen || !self.is_wanted(&part.ns, &part.what) {
            return;
        }
        let early = self.live.iter().position(|(ns, what)| *ns == part.ns && *what == part.what);
        self.last = part.id.unwrap_or(self.last);
        match early {
            Some(at) => {
                if let Some(message) = message_id(&part.what) {
                    let left = self.unstored.entry(short(message)).or_default();
                    *left = left.saturating_sub(1);
                    self.unstored.retain(|_, count| *count > 0);
                }
                self.live.remove(at);
            }
            None => self.ahead.push_back(part),
        }
    }

    fn is_wanted(&self, ns: &str, what: &What) -> bool {
        let wanted = &self.wanted;
        let by_kind = match what {
            What::Began | What::Ended { .. } => return true,
            What::Values { .. } => wanted.values,
            What::Message { .. } => wanted.messages,
            What::Told { subject, data: _ } => match subject {
                Subject::Updates => wanted.updates,
                Subject::Custom => wanted.custom,
                Subject::Tasks => wanted.tasks,
                Subject::Checkpoints => wanted.checkpoints,
                Subject::Debug => wanted.debug,
            },
        };
        by_kind && (ns.is_empty() || wanted.subgraphs)
    }

    /// What the engine makes of an entry.
    async fn shown(&mut self, seq: Seq, events: &[Event]) -> Result<Vec<Shown>, Refusal> {
        let archive = self.handle.archive();
        let Some((before, entry)) = self.pages.at(archive.as_ref(), self.thread, seq).await? else {
            return Ok(Vec::new());
        };
        let follows = self.reader.as_ref().is_some_and(|it| it.machine().at() == entry.parent);
        if !follows {
            let Some(thread) = archive.thread(self.thread).await? else { return Ok(Vec::new()) };
            let Some(pinned) = &thread.program else { return Ok(Vec::new()) };
            let registry = self.handle.registry();
            let Some(program) = registry.get(&pinned.graph, &pinned.version) else {
                return Ok(Vec::new());
            };
            let home = Home { thread: self.thread, fence: Default::default(), head: entry.parent };
            let before = match before {
                Some(before) => before,
                None => line_before(archive.as_ref(), self.thread, &entry).await?,
            };
            let machine = Machine::load(program, home, Record::Nothing, &before);
            // What another graph has written cannot be shown as this one's.
            let Ok(machine) = machine else { return Ok(Vec::new()) };
            self.reader = Some(Reader::new(machine));
        }
        let Some(reader) = &mut self.reader else { return Ok(Vec::new()) };
        match reader.read(&entry, events) {
            Ok(parts) => Ok(parts),
            Err(_) => {
                self.reader = None;
                Ok(Vec::new())
            }
        }
    }
}

fn run_of(event: &Event) -> Option<RunId> {
    event.detail.get("run").and_then(Value::as_str).and_then(|run| run.parse().ok())
}

/// How a run has ended, if the event says that one has.
fn ended(event: &Event) -> Option<(RunStatus, Option<String>)> {
    if !matches!(event.kind.as_str(), "run.ended" | "run.rests") {
        return None;
    }
    let status = event.detail.get("status")?.clone();
    let status: RunStatus = serde_json::from_value(status).ok()?;
    let reason = event.detail.get("reason").and_then(Value::as_str).map(str::to_owned);
    status.is_over().then_some((status, reason))
}

fn what(mode: Mode, data: Value) -> Option<What> {
    let told = |subject| Some(What::Told { subject, data: data.clone() });
    match mode {
        Mode::Values => match data {
            Value::Object(mut values) => {
                let asked = values.shift_remove("__interrupt__");
                let interrupts = asked.as_ref().and_then(Value::as_array);
                let interrupts = interrupts.into_iter().flatten().map(interrupt).collect();
                Some(What::Values { values: values.into_iter().collect(), interrupts })
            }
            _ => None,
        },
        Mode::Messages => Some(message(data)),
        Mode::Updates => told(Subject::Updates),
        Mode::Custom => told(Subject::Custom),
        Mode::Tasks => told(Subject::Tasks),
        Mode::Checkpoints => told(Subject::Checkpoints),
        Mode::Debug => told(Subject::Debug),
    }
}

fn interrupt(asked: &Value) -> InterruptView {
    InterruptView {
        id: asked.get("id").and_then(Value::as_str).unwrap_or_default().to_owned(),
        value: asked.get("value").cloned().unwrap_or_default(),
        schema: asked.get("schema").cloned(),
        ..InterruptView::default()
    }
}

/// What a node says while it runs, as it will be read when it is stored.
fn said(kind: &str, detail: Value) -> What {
    match kind {
        "message" | "messages" => message(detail),
        "custom" => What::Told { subject: Subject::Custom, data: detail },
        kind => {
            let data = serde_json::json!({ "kind": kind, "detail": detail });
            What::Told { subject: Subject::Custom, data }
        }
    }
}

fn message_id(what: &What) -> Option<&str> {
    match what {
        What::Message { message, .. } => message.get("id").and_then(Value::as_str),
        What::Began | What::Values { .. } | What::Told { .. } | What::Ended { .. } => None,
    }
}

/// A message alone, or with what is known of it.
fn message(data: Value) -> What {
    match data {
        Value::Array(pair) => {
            let mut pair = pair.into_iter();
            let message = pair.next().unwrap_or_default();
            let metadata = match pair.next() {
                Some(Value::Object(metadata)) => metadata,
                Some(_) | None => Map::new(),
            };
            What::Message { message, metadata }
        }
        message => What::Message { message, metadata: Map::new() },
    }
}
