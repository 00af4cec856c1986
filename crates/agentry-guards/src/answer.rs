//! An answer as it is written: each of its texts has a guard, and events keep their order.

use std::sync::Arc;

use agentry_core::chat::{CallKind, Event, REASONING_DETAILS};
use serde_json::{Map, Value};

use crate::json::JsonGuard;
use crate::policy::Policy;
use crate::report::{Blocked, Report};
use crate::screen;
use crate::stream::StreamGuard;

mod field;

use field::Field;

/// The guard of one answer.
///
/// What is held back goes on when the answer turns to something else: to a tool call, to another text of the same choice, to
/// the end. Log probabilities, which spell the text out, wait for the end of their choice and are left out if it was changed.
#[derive(Debug)]
pub struct AnswerGuard {
    policy: Arc<Policy>,
    channels: Vec<Channel>,
    /// The channel that each choice spoke through last.
    latest: Vec<(u32, Slot)>,
    logprobs: Vec<(u32, Value)>,
    /// Where texts stand that have no event of their own.
    fields: Vec<Field>,
    report: Report,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Text,
    Reasoning,
    Refusal,
    Tool(u32),
    /// Its place in `fields`.
    Field(usize),
}

#[derive(Debug)]
struct Channel {
    choice: u32,
    slot: Slot,
    guard: Guard,
    /// Whether something was replaced.
    is_changed: bool,
}

#[derive(Debug)]
enum Guard {
    Text(StreamGuard),
    Json(JsonGuard),
}

/// How a guard is asked for what it has.
#[derive(Debug, Clone, Copy)]
enum Ask<'a> {
    Push(&'a str),
    Flush,
    Finish,
}

impl AnswerGuard {
    pub(crate) fn new(policy: Arc<Policy>) -> Self {
        Self {
            policy,
            channels: Vec::new(),
            latest: Vec::new(),
            logprobs: Vec::new(),
            fields: Vec::new(),
            report: Report::default(),
        }
    }

    /// Takes an event, and adds to `out` those that may go on. After an error the answer is over.
    pub fn push(&mut self, event: Event, out: &mut Vec<Event>) -> Result<(), Blocked> {
        if !self.policy.reads_text() {
            out.push(event);
            return Ok(());
        }
        match event {
            Event::Text { choice, text } => self.say(choice, Slot::Text, &text, out),
            Event::Reasoning { choice, text } => self.say(choice, Slot::Reasoning, &text, out),
            Event::Refusal { choice, text } => self.say(choice, Slot::Refusal, &text, out),
            Event::ToolArguments { choice, index, fragment } => {
                self.say(choice, Slot::Tool(index), &fragment, out)
            }
            Event::ToolCall { choice, index, id, kind, name } => {
                self.turn(choice, Slot::Tool(index), out)?;
                self.open(choice, Slot::Tool(index), kind);
                out.push(Event::ToolCall { choice, index, id, kind, name });
                Ok(())
            }
            Event::Logprobs { choice, value } => {
                self.logprobs.push((choice, value));
                Ok(())
            }
            Event::Extra { choice, fields } => self.extra(choice, fields, out),
            Event::Finished { choice, reason } => {
                self.end(Some(choice), out)?;
                out.push(Event::Finished { choice, reason });
                Ok(())
            }
            Event::Done => {
                self.end(None, out)?;
                out.push(Event::Done);
                Ok(())
            }
            Event::Started(mut head) => {
                let place = || "answer".to_owned();
                let report = screen::fields(&self.policy, &mut head.extra, &place)?;
                self.report.found.extend(report.found);
                out.push(Event::Started(head));
                Ok(())
            }
            Event::Usage(usage) => {
                out.push(Event::Usage(usage));
                Ok(())
            }
        }
    }

    /// The answer was cut off: what is held back goes on, as far as it may.
    pub fn finish(&mut self, out: &mut Vec<Event>) -> Result<(), Blocked> {
        self.end(None, out)
    }

    /// What was found so far.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Fields that are complete pass when they were read; texts that may go on have guards.
    fn extra(
        &mut self,
        choice: u32,
        mut fields: Map<String, Value>,
        out: &mut Vec<Event>,
    ) -> Result<(), Blocked> {
        for (field, text) in field::take(&mut fields) {
            let known = self.fields.iter().position(|known| known.is_same(&field));
            let at = known.unwrap_or_else(|| {
                self.fields.push(field);
                self.fields.len() - 1
            });
            let channel = self.open(choice, Slot::Field(at), CallKind::Function);
            self.ask(channel, Ask::Push(&text), out)?;
        }
        if fields.is_empty() {
            return Ok(());
        }
        if fields.contains_key(REASONING_DETAILS) {
            // What proves a thought stands behind all of it.
            self.flush_thoughts(choice, out)?;
        }
        let place = place(choice, Slot::Field(0));
        let report = screen::fields(&self.policy, &mut fields, &|| place.clone())?;
        self.report.found.extend(report.found);
        out.push(Event::Extra { choice, fields });
        Ok(())
    }

    fn flush_thoughts(&mut self, choice: u32, out: &mut Vec<Event>) -> Result<(), Blocked> {
        for at in 0..self.channels.len() {
            let is_thought = self.channels.get(at).is_some_and(|channel| {
                channel.choice == choice
                    && match channel.slot {
                        Slot::Reasoning => true,
                        Slot::Field(at) => self.fields.get(at).is_some_and(Field::is_thought),
                        Slot::Text | Slot::Refusal | Slot::Tool(_) => false,
                    }
            });
            if is_thought {
                self.ask(at, Ask::Flush, out)?;
            }
        }
        Ok(())
    }

    fn say(
        &mut self,
        choice: u32,
        slot: Slot,
        text: &str,
        out: &mut Vec<Event>,
    ) -> Result<(), Blocked> {
        if text.is_empty() {
            out.extend(event(&self.fields, choice, slot, String::new()));
            return Ok(());
        }
        self.turn(choice, slot, out)?;
        let at = self.open(choice, slot, CallKind::Function);
        self.ask(at, Ask::Push(text), out)
    }

    /// The channel, which is made when it is new.
    fn open(&mut self, choice: u32, slot: Slot, kind: CallKind) -> usize {
        let known = self
            .channels
            .iter()
            .position(|channel| channel.choice == choice && channel.slot == slot);
        known.unwrap_or_else(|| {
            let place = place(choice, slot);
            let policy = Arc::clone(&self.policy);
            let guard = match (slot, kind) {
                (Slot::Tool(_), CallKind::Function) => Guard::Json(JsonGuard::new(policy, place)),
                _ => Guard::Text(StreamGuard::new(policy, place)),
            };
            self.channels.push(Channel { choice, slot, guard, is_changed: false });
            self.channels.len() - 1
        })
    }

    /// Lets go of what the choice was saying, if it now says something else.
    fn turn(&mut self, choice: u32, slot: Slot, out: &mut Vec<Event>) -> Result<(), Blocked> {
        let latest = match self.latest.iter_mut().find(|(other, _)| *other == choice) {
            Some((_, latest)) => std::mem::replace(latest, slot),
            None => {
                self.latest.push((choice, slot));
                slot
            }
        };
        if latest == slot {
            return Ok(());
        }
        if latest == Slot::Reasoning {
            return self.flush_thoughts(choice, out);
        }
        let at = self.open(choice, latest, CallKind::Function);
        self.ask(at, Ask::Flush, out)
    }

    fn end(&mut self, choice: Option<u32>, out: &mut Vec<Event>) -> Result<(), Blocked> {
        let ends = |other: u32| choice.is_none_or(|choice| choice == other);
        for at in 0..self.channels.len() {
            if self.channels.get(at).is_some_and(|channel| ends(channel.choice)) {
                self.ask(at, Ask::Finish, out)?;
            }
        }
        for (choice, value) in std::mem::take(&mut self.logprobs) {
            let changed =
                self.channels.iter().any(|channel| channel.choice == choice && channel.is_changed);
            match (ends(choice), changed) {
                (false, _) => self.logprobs.push((choice, value)),
                (true, false) => out.push(Event::Logprobs { choice, value }),
                (true, true) => {}
            }
        }
        Ok(())
    }

    fn ask(&mut self, at: usize, ask: Ask<'_>, out: &mut Vec<Event>) -> Result<(), Blocked> {
        let Some(channel) = self.channels.get_mut(at) else { return Ok(()) };
        let mut text = String::new();
        let done = match (&mut channel.guard, ask) {
            (Guard::Text(guard), Ask::Push(piece)) => guard.push(piece, &mut text),
            (Guard::Text(guard), Ask::Flush) => guard.flush(&mut text),
            (Guard::Text(guard), Ask::Finish) => guard.finish(&mut text),
            (Guard::Json(guard), Ask::Push(piece)) => guard.push(piece, &mut text),
            (Guard::Json(guard), Ask::Flush) => guard.flush(&mut text),
            (Guard::Json(guard), Ask::Finish) => guard.finish(&mut text),
        };
        let report = match &mut channel.guard {
            Guard::Text(guard) => guard.take_report(),
            Guard::Json(guard) => guard.take_report(),
        };
        channel.is_changed |= report.has_changes();
        self.report.found.extend(report.found);
        done?;
        if !text.is_empty() {
            out.extend(event(&self.fields, channel.choice, channel.slot, text));
        }
        Ok(())
    }
}

/// Every field that a slot names is there.
fn event(fields: &[Field], choice: u32, slot: Slot, text: String) -> Option<Event> {
    Some(match slot {
        Slot::Text => Event::Text { choice, text },
        Slot::Reasoning => Event::Reasoning { choice, text },
        Slot::Refusal => Event::Refusal { choice, text },
        Slot::Tool(index) => Event::ToolArguments { choice, index, fragment: text },
        Slot::Field(at) => Event::Extra { choice, fields: fields.get(at)?.with(text) },
    })
}

fn place(choice: u32, slot: Slot) -> String {
    match slot {
        Slot::Text => format!("choices[{choice}].message.content"),
        Slot::Reasoning => format!("choices[{choice}].message.reasoning"),
        Slot::Refusal => format!("choices[{choice}].message.refusal"),
        Slot::Tool(index) => format!("choices[{choice}].message.tool_calls[{index}].arguments"),
        Slot::Field(_) => format!("choices[{choice}].delta"),
    }
}

#[cfg(test)]
mod tests;
