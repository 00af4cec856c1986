//! From Ollama's answers, whole or line by line, to events.

use agentry_core::Timestamp;
use agentry_core::chat::{Assembly, CallKind, ChatResponse, Event, FinishReason, Head, Usage};
use agentry_core::model::ModelError;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{Report, from_report};
use crate::{Decode, Step};

const LINE_BYTES_MAX: usize = 64 << 20;

/// A streamed answer as far as it has come.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    told: Told,
    over: bool,
}

impl Decoder {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn end_line(&mut self, steps: &mut Vec<Step>) {
        let line = std::mem::take(&mut self.line);
        if let Err(error) = self.told.line(line.trim_ascii(), steps) {
            steps.push(Err(error));
            self.over = true;
        }
        self.over |= self.told.done;
        // Keeps its memory for the next line.
        self.line = line;
        self.line.clear();
    }
}

impl Decode for Decoder {
    fn push(&mut self, bytes: &[u8]) -> Vec<Step> {
        let mut steps = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.over {
                break;
            }
            if self.line.len() + piece.len() > LINE_BYTES_MAX {
                let reason = format!("a line is longer than {LINE_BYTES_MAX} bytes");
                steps.push(Err(ModelError::Malformed { reason }));
                self.over = true;
                break;
            }
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.end_line(&mut steps);
            }
        }
        steps
    }

    fn end(&mut self, error: Option<ModelError>) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.over {
            return steps;
        }
        // A line that lacks only its end counts; one that was cut in the middle does not.
        if serde_json::from_slice::<serde::de::IgnoredAny>(&self.line).is_ok() {
            self.end_line(&mut steps);
        }
        if !self.over {
            steps.push(Err(error.unwrap_or(ModelError::Truncated)));
            self.over = true;
        }
        steps
    }

    fn is_over(&self) -> bool {
        self.over
    }
}

/// A whole answer.
pub fn response(body: &[u8], model: &str) -> Result<ChatResponse, ModelError> {
    let line: Line = serde_json::from_slice(body)
        .map_err(|error| ModelError::Malformed { reason: error.to_string() })?;
    if let Some(message) = line.error {
        return Err(from_report(500, Report { message, ..Report::default() }, None, model));
    }
    let mut told = Told::default();
    let mut steps = Vec::new();
    told.tell(line, &mut steps)?;
    if !told.done {
        return Err(ModelError::Truncated);
    }
    let mut assembly = Assembly::default();
    for step in steps {
        assembly.push(step?);
    }
    Ok(assembly.into_response())
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    model: String,
    #[serde(default)]
    created_at: String,
    #[serde(default)]
    message: Option<Said>,
    #[serde(default)]
    logprobs: Option<Vec<Value>>,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    done_reason: Option<String>,
    #[serde(default)]
    prompt_eval_count: u64,
    #[serde(default)]
    eval_count: u64,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Default, Deserialize)]
struct Said {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    #[serde(default)]
    id: Option<String>,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    arguments: Option<Map<String, Value>>,
}

/// What was told so far.
#[derive(Debug, Default)]
struct Told {
    started: bool,
    /// When the answer began: its calls get their names from it where the server gives none.
    began: i64,
    calls: u32,
    done: bool,
}

impl Told {
    fn line(&mut self, line: &[u8], steps: &mut Vec<Step>) -> Result<(), ModelError> {
        if line.is_empty() {
            return Ok(());
        }
        let line: Line = serde_json::from_slice(line)
            .map_err(|error| ModelError::Malformed { reason: format!("a line: {error}") })?;
        self.tell(line, steps)
    }

    fn tell(&mut self, line: Line, steps: &mut Vec<Step>) -> Result<(), ModelError> {
        if let Some(message) = line.error {
            return Err(ModelError::BrokeOff { message });
        }
        if !std::mem::replace(&mut self.started, true) {
            self.began = line.created_at.parse().map_or(0, Timestamp::as_micros);
            let created = self.began.div_euclid(1_000_000);
            steps.push(Ok(Event::Started(Head { model: line.model, created, ..Head::default() })));
        }
        let Said { content, thinking, tool_calls } = line.message.unwrap_or_default();
        if let Some(text) = thinking.filter(|text| !text.is_empty()) {
            steps.push(Ok(Event::Reasoning { choice: 0, text }));
        }
        if let Some(text) = content.filter(|text| !text.is_empty()) {
            steps.push(Ok(Event::Text { choice: 0, text }));
        }
        if let Some(logprobs) = line.logprobs.filter(|all| !all.is_empty()) {
            let value = json!({ "content": logprobs });
            steps.push(Ok(Event::Logprobs { choice: 0, value }));
        }
        for call in tool_calls.unwrap_or_default() {
            self.call(call, steps);
        }
        if line.done {
            self.done = true;
            let reason = finish(line.done_reason.as_deref(), self.calls > 0);
            steps.push(Ok(Event::Finished { choice: 0, reason }));
            steps.push(Ok(Event::Usage(Usage::new(line.prompt_eval_count, line.eval_count))));
            steps.push(Ok(Event::Done));
        }
        Ok(())
    }

    fn call(&mut self, call: Call, steps: &mut Vec<Step>) {
        let Call { id, function: Function { name, arguments } } = call;
        let (choice, index) = (0, self.calls);
        self.calls += 1;
        let id = id
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| format!("call_{:x}_{index}", self.began));
        steps.push(Ok(Event::ToolCall { choice, index, id, kind: CallKind::Function, name }));
        let fragment = Value::Object(arguments.unwrap_or_default()).to_string();
        steps.push(Ok(Event::ToolArguments { choice, index, fragment }));
    }
}

fn finish(reason: Option<&str>, calls: bool) -> FinishReason {
    match reason {
        None | Some("stop" | "") if calls => FinishReason::ToolCalls,
        None | Some("stop" | "") => FinishReason::Stop,
        Some("length") => FinishReason::Length,
        Some(other) => FinishReason::Other(other.to_owned()),
    }
}

#[cfg(test)]
mod tests;
