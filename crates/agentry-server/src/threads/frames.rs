//! From what happens to server-sent events: pure, one writer for each listener.

use std::collections::HashMap;

use agentry_core::ThreadId;
use agentry_core::run::Seq;
use agentry_core::thread::{EventId, RunStatus};
use serde_json::{Map, Value, json};

use super::engine::{Part, Subject, Wanted, What, short};
use super::messages;
use super::modes::{Mode, Modes};
use super::show;

/// Writes one listener's events.
pub(crate) struct Writer {
    thread: ThreadId,
    modes: Modes,
    /// Messages that are being written, by id, for those who want them whole so far.
    partial: HashMap<String, Value>,
    /// Pieces that the listener has seen before they were stored, by the short name of their message.
    seen: HashMap<u32, u32>,
}

/// More messages at the same time are not put together.
const PARTIAL_MAX: usize = 256;

impl Writer {
    pub(crate) fn new(thread: ThreadId, modes: Modes) -> Self {
        Self { thread, modes, partial: HashMap::new(), seen: HashMap::new() }
    }

    /// For a listener who comes back.
    pub(crate) fn after(mut self, place: &Place) -> Self {
        self.seen = place.pieces.iter().copied().collect();
        self
    }

    /// Whether the listener has had this piece before it was stored.
    fn has_had(&mut self, early: bool, message: &Value) -> bool {
        let id = message.get("id").and_then(Value::as_str).unwrap_or_default();
        if early {
            // It is being said anew: nothing of this was seen.
            self.seen.remove(&short(id));
            return false;
        }
        let left = self.seen.get_mut(&short(id)).filter(|left| **left > 0);
        left.is_some_and(|left| {
            *left -= 1;
            true
        })
    }

    pub(crate) fn wanted(&self) -> Wanted {
        self.modes.wanted()
    }

    /// The events that `part` is for this listener, perhaps none. The last of them carries its place in the log.
    pub(crate) fn write(&mut self, part: &Part, out: &mut Vec<u8>) {
        let events = self.events(part);
        let last = events.len().saturating_sub(1);
        for (at, (name, data)) in events.into_iter().enumerate() {
            let early = part.early.as_ref().map(|early| (early.after, early.pieces.as_slice()));
            let seen = part.id.map(|id| (id, [].as_slice())).or(early).filter(|_| at == last);
            written(&name, &data, seen, out);
        }
    }

    fn events(&mut self, part: &Part) -> Vec<(String, Value)> {
        let Part { id: _, early, run, at: _, ns, what } = part;
        if !ns.is_empty() && !self.modes.subgraphs {
            return Vec::new();
        }
        if let What::Message { message, metadata } = what
            && !self.seen.is_empty()
            && self.has_had(early.is_some(), message)
        {
            // Those who want it whole get it whole with the next piece.
            let mut nobody = Telling { modes: &Modes::none(), ns, events: Vec::new() };
            whole(&mut self.partial, (message, metadata), &mut nobody);
            return Vec::new();
        }
        let mut told = Telling { modes: &self.modes, ns, events: Vec::new() };
        match what {
            What::Began => {
                let data = json!({ "run_id": run, "thread_id": self.thread, "attempt": 1 });
                told.plain("metadata", data);
            }
            What::Values { values, interrupts } => {
                let mut data = json!(values);
                if let (false, Some(members)) = (interrupts.is_empty(), data.as_object_mut()) {
                    members.insert(INTERRUPT.to_owned(), show::interrupts(interrupts));
                }
                told.under(Mode::Values, "values", || data);
            }
            What::Message { message, metadata } => {
                told.under(Mode::MessagesTuple, "messages", || json!([message, metadata]));
                told.langchain(
                    "on_chat_model_stream",
                    (part, "model"),
                    || json!({ "chunk": message }),
                );
                if self.modes.has(Mode::Messages) {
                    whole(&mut self.partial, (message, metadata), &mut told);
                }
            }
            What::Told { subject, data } => told.subject(self.thread, *subject, (part, data)),
            What::Ended { status, reason } => match failure(*status, reason.as_deref()) {
                Some(data) => told.plain("error", data),
                None => told.plain("end", Value::Null),
            },
        }
        told.events
    }
}

/// What stands for questions where nodes and channels are named.
pub(crate) const INTERRUPT: &str = "__interrupt__";

/// Gathers the events of one part.
struct Telling<'a> {
    modes: &'a Modes,
    ns: &'a str,
    events: Vec<(String, Value)>,
}

impl Telling<'_> {
    fn plain(&mut self, name: &str, data: Value) {
        self.events.push((name.to_owned(), data));
    }

    fn under(&mut self, mode: Mode, name: &str, data: impl FnOnce() -> Value) {
        if self.modes.has(mode) {
            let name = match self.ns {
                "" => name.to_owned(),
                ns => format!("{name}|{ns}"),
            };
            self.events.push((name, data()));
        }
    }

    fn subject(&mut self, thread: ThreadId, subject: Subject, (part, data): (&Part, &Value)) {
        match subject {
            Subject::Updates => self.under(Mode::Updates, "updates", || data.clone()),
            Subject::Custom => self.under(Mode::Custom, "custom", || data.clone()),
            Subject::Tasks => {
                self.under(Mode::Tasks, "tasks", || data.clone());
                let name = data.get("name").and_then(Value::as_str).unwrap_or_default();
                let (event, member) = match data.get("input") {
                    Some(_) => ("on_chain_start", "input"),
                    None => ("on_chain_end", "output"),
                };
                let value = data.get("input").or_else(|| data.get("result"));
                self.langchain(event, (part, name), || {
                    one(member, value.cloned().unwrap_or_default())
                });
            }
            Subject::Checkpoints => {
                self.under(Mode::Checkpoints, "checkpoints", || checkpointed(thread, data));
            }
            Subject::Debug => self.under(Mode::Debug, "debug", || {
                let mut data = data.clone();
                if data.get("type").is_some_and(|kind| kind == "checkpoint")
                    && let Some(payload) = data.get_mut("payload")
                {
                    *payload = checkpointed(thread, payload);
                }
                data
            }),
        }
    }

    /// The same in the words of LangChain's callbacks.
    fn langchain(
        &mut self,
        event: &str,
        (part, name): (&Part, &str),
        data: impl FnOnce() -> Value,
    ) {
        self.under(Mode::Events, "events", || {
            json!({
                "event": event, "name": name, "run_id": part.run, "tags": [], "parent_ids": [],
                "metadata": { "langgraph_checkpoint_ns": part.ns }, "data": data(),
            })
        });
    }
}

/// Each message as it is so far, for those who do not put pieces together themselves.
fn whole(
    partial: &mut HashMap<String, Value>,
    (message, metadata): (&Value, &Map<String, Value>),
    told: &mut Telling<'_>,
) {
    let id = message.get("id").and_then(Value::as_str).unwrap_or_default();
    if !messages::is_chunk(message) {
        partial.remove(id);
        told.under(Mode::Messages, "messages/complete", || json!([message]));
        return;
    }
    if !partial.contains_key(id) {
        if partial.len() >= PARTIAL_MAX {
            partial.clear();
        }
        told.under(Mode::Messages, "messages/metadata", || {
            one(id, json!({ "metadata": metadata }))
        });
    }
    let so_far = partial.entry(id.to_owned()).or_insert_with(|| messages::begun(message));
    messages::add(so_far, message);
    told.under(Mode::Messages, "messages/partial", || json!([so_far]));
}

/// With the configuration under which the checkpoint is found again.
fn checkpointed(thread: ThreadId, data: &Value) -> Value {
    let mut shown = data.clone();
    if let Some(members) = shown.as_object_mut() {
        let id = members.shift_remove("checkpoint_id").unwrap_or_default();
        let ns = members.shift_remove("checkpoint_ns").unwrap_or_else(|| "".into());
        let place = json!({
            "thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": id, "checkpoint_map": null,
        });
        members.insert("config".to_owned(), json!({ "configurable": place }));
    }
    shown
}

/// What a caller is told of a run that did not end well; nothing when it did.
pub(crate) fn failure(status: RunStatus, reason: Option<&str>) -> Option<Value> {
    let (error, usual) = match status {
        RunStatus::Pending | RunStatus::Running | RunStatus::Interrupted | RunStatus::Success => {
            return None;
        }
        RunStatus::Error => ("RunFailed", "the run failed"),
        RunStatus::Timeout => ("RunTimedOut", "the run was not done by its deadline"),
        RunStatus::Cancelled => ("UserInterrupt", "the run was cancelled"),
        RunStatus::RolledBack => ("UserRollback", "the run was cancelled and taken back"),
    };
    Some(json!({ "error": error, "message": reason.unwrap_or(usual) }))
}

fn one(name: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}

/// One server-sent event.
pub(crate) fn event(name: &str, data: &Value, id: Option<EventId>, out: &mut Vec<u8>) {
    written(name, data, id.map(|id| (id, [].as_slice())), out);
}

/// With what the listener has seen when it has seen this: `12-3`, and of messages that are not stored yet so many pieces,
/// `12-3+1f3a.5`.
fn written(name: &str, data: &Value, seen: Option<(EventId, &[(u32, u32)])>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    // A name with a line break would be read as more than a name.
    out.extend(name.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')));
    out.extend_from_slice(b"\ndata: ");
    out.extend_from_slice(data.to_string().as_bytes());
    if let Some((EventId { seq, index }, pieces)) = seen {
        out.extend_from_slice(format!("\nid: {}-{index}", seq.0).as_bytes());
        for (message, count) in pieces {
            out.extend_from_slice(format!("+{message:x}.{count}").as_bytes());
        }
    }
    out.extend_from_slice(b"\n\n");
}

/// Where a listener has been.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: EventId,
    /// Of messages that were not stored yet.
    pub(crate) pieces: Vec<(u32, u32)>,
}

impl Place {
    /// As the listener says it; `-1`, `0` and `-` are before the first.
    pub(crate) fn read(id: &str) -> Option<Self> {
        let id = id.trim();
        if matches!(id, "" | "-" | "-1" | "0") {
            return Some(Self::default());
        }
        let mut parts = id.split('+');
        let (seq, index) = parts.next()?.split_once('-')?;
        let at = EventId { seq: Seq(seq.parse().ok()?), index: index.parse().ok()? };
        let piece = |part: &str| {
            let (message, count) = part.split_once('.')?;
            Some((u32::from_str_radix(message, 16).ok()?, count.parse().ok()?))
        };
        Some(Self { at, pieces: parts.map(piece).collect::<Option<_>>()? })
    }
}

#[cfg(test)]
mod tests;
