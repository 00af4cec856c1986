//! From the bytes of an answer to its events. Any split of the same bytes gives the same events.

use agentry_core::chat::{ChatResponse, Event, FinishReason, Head, REASONING, Usage};
use agentry_core::model::ModelError;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Report, from_good_status};
use crate::{Decode, Step, sse};

mod calls;

use calls::{CallDelta, Calls};

/// One event holds a delta, or at most a whole answer.
const EVENT_BYTES_MAX: usize = 8 << 20;

/// A streamed answer as far as it has come.
#[derive(Debug)]
pub struct Decoder {
    frames: sse::Decoder,
    head: Option<Head>,
    started: bool,
    calls: Calls,
    /// Choices that have begun, and whether they have said why they ended.
    choices: Vec<(u32, bool)>,
    /// Told last: some servers repeat it in every chunk.
    usage: Option<Usage>,
    over: bool,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Option<Vec<ChunkChoice>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
struct ChunkChoice {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    delta: Option<Map<String, Value>>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    logprobs: Option<Value>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decode for Decoder {
    fn is_over(&self) -> bool {
        self.over
    }

    fn is_complete(&self) -> bool {
        !self.over && !self.choices.is_empty() && self.choices.iter().all(|(_, ended)| *ended)
    }

    fn push(&mut self, bytes: &[u8]) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut frames = Vec::new();
        let pushed = if self.over { Ok(()) } else { self.frames.push(bytes, &mut frames) };
        self.read(&frames, &mut steps);
        if let Err(error) = pushed
            && !self.over
        {
            self.fail(ModelError::Malformed { reason: error.to_string() }, &mut steps);
        }
        steps
    }

    /// An answer whose every choice has ended lacks nothing.
    fn end(&mut self, error: Option<ModelError>) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.over {
            return steps;
        }
        let mut frames = Vec::new();
        self.frames.finish(&mut frames);
        // A frame that was cut in the middle is not an unreadable one: the cut is what is wrong.
        frames.retain(|frame| {
            frame.data == b"[DONE]" || serde_json::from_slice::<Value>(&frame.data).is_ok()
        });
        self.read(&frames, &mut steps);
        if !self.over {
            if self.is_complete() {
                self.finish(&mut steps);
            } else {
                self.fail(error.unwrap_or(ModelError::Truncated), &mut steps);
            }
        }
        steps
    }
}

impl Decoder {
    #[must_use]
    pub fn new() -> Self {
        Self {
            frames: sse::Decoder::new(EVENT_BYTES_MAX),
            head: None,
            started: false,
            calls: Calls::default(),
            choices: Vec::new(),
            usage: None,
            over: false,
        }
    }

    fn read(&mut self, frames: &[sse::Frame], steps: &mut Vec<Step>) {
        for frame in frames {
            if self.over {
                return;
            }
            if let Err(error) = self.frame(frame, steps) {
                self.fail(error, steps);
            }
        }
    }

    fn frame(&mut self, frame: &sse::Frame, steps: &mut Vec<Step>) -> Result<(), ModelError> {
        let data = frame.data.trim_ascii();
        if data.is_empty() {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.finish(steps);
            return Ok(());
        }
        if frame.event == b"error" {
            return Err(broke_off(Report::from_bytes(data)));
        }
        let chunk: Chunk = serde_json::from_slice(data)
            .map_err(|error| ModelError::Malformed { reason: format!("a chunk: {error}") })?;
        self.chunk(chunk, steps)
    }

    fn chunk(&mut self, chunk: Chunk, steps: &mut Vec<Step>) -> Result<(), ModelError> {
        let Chunk { choices, usage, error, rest } = chunk;
        if let Some(error) = error {
            return Err(broke_off(Report::from_value(&error)));
        }
        let choices = choices.unwrap_or_default();
        if !self.started {
            self.start(rest, !choices.is_empty(), steps);
        }
        if usage.is_some() {
            self.usage = usage;
        }
        for choice in choices {
            self.choice(choice, steps);
        }
        Ok(())
    }

    /// The first chunk of some servers has neither a choice nor a name: what it says is kept for the one that has.
    fn start(&mut self, rest: Map<String, Value>, has_choices: bool, steps: &mut Vec<Step>) {
        let head = self.head.get_or_insert_default();
        for (name, value) in rest {
            match (name.as_str(), value) {
                ("id", Value::String(id)) => head.id = id,
                ("model", Value::String(model)) => head.model = model,
                ("created", Value::Number(number)) => head.created = seconds(&number),
                ("object" | "obfuscation" | "id" | "model" | "created", _) | (_, Value::Null) => {}
                (_, value) => {
                    head.extra.insert(name, value);
                }
            }
        }
        if has_choices || !head.id.is_empty() {
            self.tell_head(steps);
        }
    }

    fn tell_head(&mut self, steps: &mut Vec<Step>) {
        if !std::mem::replace(&mut self.started, true) {
            steps.push(Ok(Event::Started(self.head.take().unwrap_or_default())));
        }
    }

    fn choice(&mut self, chunk: ChunkChoice, steps: &mut Vec<Step>) {
        let ChunkChoice { index: choice, delta, finish_reason, logprobs } = chunk;
        if !self.choices.iter().any(|(known, _)| *known == choice) {
            self.choices.push((choice, false));
        }
        self.delta(choice, delta.unwrap_or_default(), steps);
        if let Some(value) = logprobs {
            steps.push(Ok(Event::Logprobs { choice, value }));
        }
        if let Some(reason) = finish_reason.filter(|reason| !reason.is_empty()) {
            for (known, ended) in &mut self.choices {
                *ended |= *known == choice;
            }
            let reason = FinishReason::from(reason.as_str());
            steps.push(Ok(Event::Finished { choice, reason }));
        }
    }

    fn delta(&mut self, choice: u32, mut delta: Map<String, Value>, steps: &mut Vec<Step>) {
        // What only other messages have would be taken for theirs.
        for name in ["role", "name", "tool_call_id"] {
            delta.shift_remove(name);
        }
        for name in REASONING {
            if let Some(Value::String(text)) = delta.shift_remove(name) {
                say(steps, text, |text| Event::Reasoning { choice, text });
            }
        }
        match delta.shift_remove("content") {
            Some(Value::String(text)) => say(steps, text, |text| Event::Text { choice, text }),
            Some(Value::Array(parts)) => {
                for part in &parts {
                    content_part(choice, part, steps);
                }
            }
            _ => {}
        }
        if let Some(Value::String(text)) = delta.shift_remove("refusal") {
            say(steps, text, |text| Event::Refusal { choice, text });
        }
        if let Some(Value::Array(deltas)) = delta.shift_remove("tool_calls") {
            for delta in deltas {
                self.calls.push(choice, CallDelta::from(&delta), steps);
            }
        }
        delta.retain(|_, value| !value.is_null());
        if !delta.is_empty() {
            steps.push(Ok(Event::Extra { choice, fields: delta }));
        }
    }

    fn finish(&mut self, steps: &mut Vec<Step>) {
        self.tell_head(steps);
        steps.extend(self.usage.take().map(|usage| Ok(Event::Usage(usage))));
        steps.push(Ok(Event::Done));
        self.over = true;
    }

    fn fail(&mut self, error: ModelError, steps: &mut Vec<Step>) {
        if self.started {
            // What was used so far is paid for, whatever became of the answer.
            steps.extend(self.usage.take().map(|usage| Ok(Event::Usage(usage))));
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

/// Some servers send content as typed parts, with the model's thoughts among them.
fn content_part(choice: u32, part: &Value, steps: &mut Vec<Step>) {
    let text = |value: &Value| value.get("text").and_then(Value::as_str).unwrap_or("").to_owned();
    match part.get("type").and_then(Value::as_str) {
        Some("thinking") => {
            let thoughts = part.get("thinking").and_then(Value::as_array).into_iter().flatten();
            say(steps, thoughts.map(text).collect(), |text| Event::Reasoning { choice, text });
        }
        _ => say(steps, text(part), |text| Event::Text { choice, text }),
    }
}

/// Some servers write them as a float.
fn seconds(number: &serde_json::Number) -> i64 {
    number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds as i64)).unwrap_or(0)
}

fn broke_off(report: Report) -> ModelError {
    ModelError::BrokeOff { message: report.message }
}

/// A whole answer. Some servers report an error under a good status.
pub fn response(body: &[u8], model: &str) -> Result<ChatResponse, ModelError> {
    let malformed = |reason: String| ModelError::Malformed { reason };
    let mut value: Value =
        serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?;
    if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
        return Err(from_good_status(error, model));
    }
    if let Value::Object(fields) = &mut value {
        fields.retain(|name, value| !(name == "id" || name == "created") || !value.is_null());
        if let Some(Value::Number(number)) = fields.get("created") {
            let whole = seconds(number);
            fields.insert("created".to_owned(), whole.into());
        }
    }
    let mut response: ChatResponse =
        serde_json::from_value(value).map_err(|error| malformed(error.to_string()))?;
    if response.choices.is_empty() {
        return Err(malformed("it has no choices".to_owned()));
    }
    for choice in &mut response.choices {
        for (index, call) in (0..).zip(&mut choice.message.tool_calls) {
            if call.id.is_empty() {
                call.id = calls::made_up_id(choice.index, index);
            }
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests;
