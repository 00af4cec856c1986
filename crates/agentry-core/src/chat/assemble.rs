//! From the events of an answer to the whole answer, and back.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    ChatResponse, Choice, Content, Event, FinishReason, Head, Message, Role, ToolCall, Usage,
};

/// An answer as far as it has come.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Assembly {
    head: Head,
    choices: BTreeMap<u32, Draft>,
    usage: Option<Usage>,
    done: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Draft {
    text: Option<String>,
    reasoning: Option<String>,
    refusal: Option<String>,
    calls: BTreeMap<u32, ToolCall>,
    logprobs: Option<Value>,
    extra: Map<String, Value>,
    finish_reason: Option<FinishReason>,
}

impl Assembly {
    pub fn push(&mut self, event: Event) {
        match event {
            Event::Started(head) => self.head = head,
            Event::Text { choice, text } => append(&mut self.draft(choice).text, &text),
            Event::Reasoning { choice, text } => append(&mut self.draft(choice).reasoning, &text),
            Event::Refusal { choice, text } => append(&mut self.draft(choice).refusal, &text),
            Event::ToolCall { choice, index, id, kind, name } => {
                let call = ToolCall { id, kind, name, arguments: String::new(), extra: Map::new() };
                self.draft(choice).calls.insert(index, call);
            }
            Event::ToolArguments { choice, index, fragment } => {
                if let Some(call) = self.draft(choice).calls.get_mut(&index) {
                    call.arguments.push_str(&fragment);
                }
            }
            Event::Logprobs { choice, value } => merge(&mut self.draft(choice).logprobs, value),
            Event::Extra { choice, fields } => {
                let draft = self.draft(choice);
                for (name, value) in fields {
                    let mut slot = draft.extra.shift_remove(&name);
                    merge(&mut slot, value);
                    draft.extra.extend(slot.map(|value| (name, value)));
                }
            }
            Event::Finished { choice, reason } => self.draft(choice).finish_reason = Some(reason),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Done => self.done = true,
        }
    }

    /// Whether [`Event::Done`] has come.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The answer, complete or not.
    #[must_use]
    pub fn into_response(self) -> ChatResponse {
        let choices = self.choices.into_iter().map(|(index, draft)| draft.into_choice(index));
        ChatResponse { head: self.head, choices: choices.collect(), usage: self.usage }
    }

    fn draft(&mut self, choice: u32) -> &mut Draft {
        self.choices.entry(choice).or_default()
    }
}

impl Draft {
    fn into_choice(self, index: u32) -> Choice {
        let Self { text, reasoning, refusal, calls, logprobs, mut extra, finish_reason } = self;
        if let Some(reasoning) = reasoning {
            let [name, _] = REASONING;
            extra.insert(name.to_owned(), reasoning.into());
        }
        // Only an answer that says nothing in any other way has an empty text.
        let silent = calls.is_empty() && refusal.is_none();
        let message = Message {
            content: text.or_else(|| silent.then(String::new)).map(Content::Text),
            refusal,
            tool_calls: calls.into_values().collect(),
            extra,
            ..Message::empty(Role::Assistant)
        };
        Choice { index, message, finish_reason, logprobs, extra: Map::new() }
    }
}

impl ChatResponse {
    /// The same answer as a stream would have told it.
    #[must_use]
    pub fn into_events(self) -> Vec<Event> {
        let Self { head, choices, usage } = self;
        let mut events = vec![Event::Started(head)];
        for choice in choices {
            choice.tell(&mut events);
        }
        events.extend(usage.map(Event::Usage));
        events.push(Event::Done);
        events
    }
}

impl Choice {
    fn tell(self, events: &mut Vec<Event>) {
        let Self { index: choice, mut message, finish_reason, logprobs, extra: _ } = self;
        tell_thoughts(choice, &mut message.extra, events);
        let text = message.text();
        if !text.is_empty() {
            events.push(Event::Text { choice, text });
        }
        events.extend(message.refusal.map(|text| Event::Refusal { choice, text }));
        for (index, call) in (0..).zip(message.tool_calls) {
            let ToolCall { id, kind, name, arguments: fragment, extra: _ } = call;
            events.push(Event::ToolCall { choice, index, id, kind, name });
            events.push(Event::ToolArguments { choice, index, fragment });
        }
        message.extra.retain(|_, value| !value.is_null());
        if !message.extra.is_empty() {
            events.push(Event::Extra { choice, fields: message.extra });
        }
        events.extend(logprobs.map(|value| Event::Logprobs { choice, value }));
        events.extend(finish_reason.map(|reason| Event::Finished { choice, reason }));
    }
}

/// Each thought before what proves it, where what proves them tells them apart.
fn tell_thoughts(choice: u32, extra: &mut Map<String, Value>, events: &mut Vec<Event>) {
    let details = match extra.shift_remove(REASONING_DETAILS) {
        Some(Value::Array(details)) => details,
        Some(other) => {
            extra.insert(REASONING_DETAILS.to_owned(), other);
            Vec::new()
        }
        None => Vec::new(),
    };
    let proven: String = details.iter().filter_map(proven_thought).collect();
    let mut is_apart = false;
    for name in REASONING {
        if let Some(Value::String(text)) = extra.shift_remove(name) {
            if text.is_empty() || text != proven {
                events.push(Event::Reasoning { choice, text });
            } else {
                is_apart = true;
            }
        }
    }
    for detail in details {
        if let Some(text) = proven_thought(&detail).filter(|text| is_apart && !text.is_empty()) {
            events.push(Event::Reasoning { choice, text: text.to_owned() });
        }
        let mut fields = Map::new();
        fields.insert(REASONING_DETAILS.to_owned(), Value::Array(vec![detail]));
        events.push(Event::Extra { choice, fields });
    }
}

fn proven_thought(detail: &Value) -> Option<&str> {
    let kind = detail.get("type").and_then(Value::as_str)?;
    if kind == "reasoning.text" { detail.get("text")?.as_str() } else { None }
}

/// Under which name travels what must be sent back to the upstream unchanged: signatures, encrypted thoughts.
pub const REASONING_DETAILS: &str = "reasoning_details";

/// Under which names upstreams show what the model thinks.
pub const REASONING: [&str; 2] = ["reasoning_content", "reasoning"];

fn append(slot: &mut Option<String>, text: &str) {
    slot.get_or_insert_default().push_str(text);
}

/// Deltas add up: arrays grow, objects merge, strings go on; anything else replaces what was there.
fn merge(slot: &mut Option<Value>, value: Value) {
    match (slot.as_mut(), value) {
        (Some(Value::Array(old)), Value::Array(new)) => old.extend(new),
        (Some(Value::String(old)), Value::String(new)) => old.push_str(&new),
        (Some(Value::Object(old)), Value::Object(new)) => {
            for (name, value) in new {
                let mut inner = old.shift_remove(&name);
                merge(&mut inner, value);
                old.extend(inner.map(|value| (name, value)));
            }
        }
        (Some(_), Value::Null) => {}
        (_, value) => *slot = Some(value),
    }
}
