//! The blocks of an answer, one after the other, and what they are in events.

use agentry_core::chat::{CallKind, Event, FinishReason, Head, Usage};
use agentry_core::model::ModelError;
use serde_json::{Map, Value};

use super::encode::ANSWER_TOOL;
use super::turns::OWN_BLOCKS;
use super::{FOREIGN, finish_reason};
use crate::{Step, reasoning};

mod piece;

pub(crate) use piece::{Delta, Piece};

/// There is one choice.
const CHOICE: u32 = 0;
/// What must be kept until its block ends is not longer than this.
const KEPT_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Default)]
pub(crate) struct Reading {
    started: bool,
    open: Vec<(u64, Open)>,
    calls: u32,
    /// The answer came as the call of a tool.
    answered: bool,
    thoughts: u32,
    /// Cumulative: what an event says replaces what an earlier one said.
    usage: Map<String, Value>,
    /// The reason to finish was told.
    pub(crate) finished: bool,
    pub(crate) over: bool,
}

/// A block that has begun.
#[derive(Debug)]
enum Open {
    Text,
    Thinking {
        text: String,
        signature: String,
    },
    Call {
        index: u32,
        has_arguments: bool,
    },
    /// The tool whose arguments are the answer.
    Answer,
    /// What chat completions have no word for; its input comes in pieces.
    Own {
        block: Map<String, Value>,
        input: String,
    },
}

impl Reading {
    pub(crate) fn take(
        &mut self,
        piece: Piece<'_>,
        steps: &mut Vec<Step>,
    ) -> Result<(), ModelError> {
        let Piece { kind, index, message, content_block, delta, usage, error: _ } = piece;
        match kind.as_ref() {
            "message_start" => self.start(message.unwrap_or_default(), steps),
            "content_block_start" => self.begin(index, content_block.unwrap_or_default(), steps),
            "content_block_delta" => {
                return self.delta(index, delta.unwrap_or_default(), steps);
            }
            "content_block_stop" => self.end_block(index, steps),
            "message_delta" => {
                self.account(usage.unwrap_or_default());
                self.message_delta(delta.unwrap_or_default(), steps);
            }
            "message_stop" => self.stop(steps),
            // Pings, and what is not invented yet.
            _ => {}
        }
        Ok(())
    }

    /// Whether the block has begun and not ended.
    pub(crate) fn is_open(&self, at: u64) -> bool {
        self.open.iter().any(|(index, _)| *index == at)
    }

    /// The same steps as a stream would have told.
    pub(crate) fn whole(
        &mut self,
        message: Map<String, Value>,
        blocks: Vec<Value>,
        steps: &mut Vec<Step>,
    ) -> Result<(), ModelError> {
        let text = |name: &str| message.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        let delta = Delta {
            stop_reason: text("stop_reason").map(Into::into),
            stop_sequence: message.get("stop_sequence").cloned(),
            stop_details: message.get("stop_details").cloned(),
            container: message.get("container").cloned(),
            ..Delta::default()
        };
        self.start(message, steps);
        for (index, block) in (0..).zip(blocks) {
            let Value::Object(block) = block else {
                return Err(ModelError::Malformed { reason: "a block is no object".to_owned() });
            };
            self.begin(index, block, steps);
            self.end_block(index, steps);
        }
        self.message_delta(delta, steps);
        self.stop(steps);
        Ok(())
    }

    fn start(&mut self, mut message: Map<String, Value>, steps: &mut Vec<Step>) {
        if let Some(Value::Object(usage)) = message.shift_remove("usage") {
            self.account(usage);
        }
        let text = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        let head = Head { id: text("id"), model: text("model"), ..Head::default() };
        self.tell_head(head, steps);
    }

    fn tell_head(&mut self, head: Head, steps: &mut Vec<Step>) {
        if !std::mem::replace(&mut self.started, true) {
            steps.push(Ok(Event::Started(head)));
        }
    }

    fn account(&mut self, usage: Map<String, Value>) {
        for (name, value) in usage {
            if !value.is_null() {
                self.usage.insert(name, value);
            }
        }
    }

    fn begin(&mut self, index: u64, mut block: Map<String, Value>, steps: &mut Vec<Step>) {
        self.tell_head(Head::default(), steps);
        let mut text = |name: &str| match block.shift_remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let open = match text("type").as_str() {
            "text" => {
                say(steps, text("text"), |text| Event::Text { choice: CHOICE, text });
                if let Some(Value::Array(citations)) = block.shift_remove("citations") {
                    for citation in citations {
                        cite(citation, steps);
                    }
                }
                Open::Text
            }
            "thinking" => {
                let (thought, signature) = (text("thinking"), text("signature"));
                say(steps, thought.clone(), |text| Event::Reasoning { choice: CHOICE, text });
                Open::Thinking { text: thought, signature }
            }
            "redacted_thinking" => {
                let data = text("data");
                let detail = match data.strip_prefix(FOREIGN) {
                    // Our own words, read back.
                    Some(detail) => serde_json::from_str(detail).ok(),
                    None => {
                        let index = self.next_thought();
                        Some(reasoning::encrypted(&data, reasoning::ANTHROPIC, index))
                    }
                };
                steps.extend(detail.map(|detail| Ok(reasoning::told(CHOICE, detail))));
                Open::Text
            }
            "tool_use" => {
                let (id, name) = (text("id"), text("name"));
                let input = block.shift_remove("input").filter(|input| !is_empty(input));
                if name == ANSWER_TOOL {
                    self.answered = true;
                    let text = input.map(|input| input.to_string()).unwrap_or_default();
                    say(steps, text, |text| Event::Text { choice: CHOICE, text });
                    Open::Answer
                } else {
                    self.call(id, name, input, steps)
                }
            }
            kind => {
                let mut own = Map::new();
                own.insert("type".to_owned(), kind.into());
                own.extend(block);
                Open::Own { block: own, input: String::new() }
            }
        };
        self.open.push((index, open));
    }

    fn call(
        &mut self,
        id: String,
        name: String,
        input: Option<Value>,
        steps: &mut Vec<Step>,
    ) -> Open {
        let index = self.calls;
        self.calls = index.saturating_add(1);
        let kind = CallKind::Function;
        steps.push(Ok(Event::ToolCall { choice: CHOICE, index, id, kind, name }));
        let has_arguments = input.is_some();
        if let Some(input) = input {
            let fragment = input.to_string();
            steps.push(Ok(Event::ToolArguments { choice: CHOICE, index, fragment }));
        }
        Open::Call { index, has_arguments }
    }

    fn delta(
        &mut self,
        at: u64,
        delta: Delta<'_>,
        steps: &mut Vec<Step>,
    ) -> Result<(), ModelError> {
        let Delta { text, thinking, signature, partial_json, citation, .. } = delta;
        self.tell_head(Head::default(), steps);
        if let Some(text) = text {
            say(steps, text, |text| Event::Text { choice: CHOICE, text });
        }
        if let Some(citation) = citation {
            cite(citation, steps);
        }
        let open = self.open.iter_mut().rev().find(|(index, _)| *index == at);
        let kept = match open.map(|(_, open)| open) {
            Some(Open::Thinking { text, signature: known }) => {
                if let Some(thought) = &thinking {
                    text.push_str(thought);
                }
                known.push_str(signature.as_deref().unwrap_or(""));
                text.len() + known.len()
            }
            Some(Open::Call { index, has_arguments }) => {
                if let Some(fragment) = partial_json.filter(|fragment| !fragment.is_empty()) {
                    *has_arguments = true;
                    let index = *index;
                    steps.push(Ok(Event::ToolArguments { choice: CHOICE, index, fragment }));
                }
                0
            }
            Some(Open::Answer) => {
                let text = partial_json.unwrap_or_default();
                say(steps, text, |text| Event::Text { choice: CHOICE, text });
                0
            }
            Some(Open::Own { input, .. }) => {
                input.push_str(partial_json.as_deref().unwrap_or(""));
                input.len()
            }
            Some(Open::Text) | None => 0,
        };
        if let Some(text) = thinking {
            say(steps, text, |text| Event::Reasoning { choice: CHOICE, text });
        }
        if kept > KEPT_BYTES_MAX {
            let reason = format!("a block is longer than {KEPT_BYTES_MAX} bytes");
            return Err(ModelError::Malformed { reason });
        }
        Ok(())
    }

    fn end_block(&mut self, at: u64, steps: &mut Vec<Step>) {
        let Some(known) = self.open.iter().rposition(|(index, _)| *index == at) else { return };
        let (_, open) = self.open.remove(known);
        match open {
            Open::Text | Open::Answer => {}
            Open::Thinking { text, signature } if !matches!(signature.as_str(), "" | FOREIGN) => {
                let index = self.next_thought();
                let detail = reasoning::signed(&text, &signature, reasoning::ANTHROPIC, index);
                steps.push(Ok(reasoning::told(CHOICE, detail)));
            }
            Open::Thinking { .. } => {}
            Open::Call { index, has_arguments: false } => {
                let fragment = "{}".to_owned();
                steps.push(Ok(Event::ToolArguments { choice: CHOICE, index, fragment }));
            }
            Open::Call { .. } => {}
            Open::Own { mut block, input } => {
                if let Ok(input) = serde_json::from_str::<Value>(&input) {
                    block.insert("input".to_owned(), input);
                }
                extra(OWN_BLOCKS, Value::Array(vec![Value::Object(block)]), steps);
            }
        }
    }

    fn next_thought(&mut self) -> u32 {
        let index = self.thoughts;
        self.thoughts = index.saturating_add(1);
        index
    }

    fn message_delta(&mut self, delta: Delta<'_>, steps: &mut Vec<Step>) {
        let Delta { stop_reason, stop_sequence, stop_details, container, .. } = delta;
        let Some(stop_reason) = stop_reason else { return };
        self.tell_head(Head::default(), steps);
        while let Some(index) = self.open.first().map(|(index, _)| *index) {
            self.end_block(index, steps);
        }
        for (name, value) in [
            ("stop_sequence", stop_sequence),
            ("stop_details", stop_details),
            ("container", container),
        ] {
            if let Some(value) = value.filter(|value| !value.is_null()) {
                extra(name, value, steps);
            }
        }
        if !std::mem::replace(&mut self.finished, true) {
            let reason = match finish_reason(&stop_reason) {
                FinishReason::ToolCalls if self.answered && self.calls == 0 => FinishReason::Stop,
                reason => reason,
            };
            steps.push(Ok(Event::Finished { choice: CHOICE, reason }));
        }
    }

    pub(crate) fn stop(&mut self, steps: &mut Vec<Step>) {
        self.tell_head(Head::default(), steps);
        self.tell_usage(steps);
        steps.push(Ok(Event::Done));
        self.over = true;
    }

    fn tell_usage(&mut self, steps: &mut Vec<Step>) {
        if !self.usage.is_empty() {
            steps.push(Ok(Event::Usage(usage(std::mem::take(&mut self.usage)))));
        }
    }

    pub(crate) fn broke_off(&self, error: ModelError) -> ModelError {
        match error {
            ModelError::Invalid { message, .. }
            | ModelError::UnknownModel { message, .. }
            | ModelError::Unauthorized { message }
            | ModelError::RateLimited { message, .. }
            | ModelError::QuotaExhausted { message }
            | ModelError::Unavailable { message, .. }
                if self.started =>
            {
                ModelError::BrokeOff { message }
            }
            other => other,
        }
    }

    pub(crate) fn fail(&mut self, error: ModelError, steps: &mut Vec<Step>) {
        if self.started {
            // What was used so far is paid for, whatever became of the answer.
            self.tell_usage(steps);
        }
        steps.push(Err(error));
        self.over = true;
    }
}

fn say(steps: &mut Vec<Step>, text: String, event: impl FnOnce(String) -> Event) {
    if !text.is_empty() {
        steps.push(Ok(event(text)));
    }
}

/// In a stream a call begins with an empty object, and the real one comes in pieces.
fn is_empty(input: &Value) -> bool {
    input.as_object().is_none_or(Map::is_empty)
}

fn cite(citation: Value, steps: &mut Vec<Step>) {
    extra("citations", Value::Array(vec![citation]), steps);
}

fn extra(name: &str, value: Value, steps: &mut Vec<Step>) {
    let mut fields = Map::new();
    fields.insert(name.to_owned(), value);
    steps.push(Ok(Event::Extra { choice: CHOICE, fields }));
}

/// The vendor counts what it read from its cache and what it wrote there apart from the rest of the input.
pub(super) fn usage(mut reported: Map<String, Value>) -> Usage {
    let mut count = |name: &str| reported.shift_remove(name).and_then(|count| count.as_u64());
    let (fresh, output) = (count("input_tokens"), count("output_tokens"));
    let kept = |name: &str| reported.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (read, written) = (kept("cache_read_input_tokens"), kept("cache_creation_input_tokens"));
    let details = reported.get("output_tokens_details");
    let thought = details.and_then(|details| details.get("thinking_tokens")?.as_u64());
    Usage {
        input_tokens: fresh.unwrap_or(0).saturating_add(read).saturating_add(written),
        cached_input_tokens: read,
        output_tokens: output.unwrap_or(0),
        reasoning_tokens: thought.unwrap_or(0),
        reported,
    }
}
