//! From an upstream's responses, whole or streamed, to events.

use std::collections::BTreeMap;

use agentry_core::chat::{Assembly, CallKind, ChatResponse, Event, FinishReason, Head};
use agentry_core::model::ModelError;
use serde_json::{Map, Value, json};

use super::{PACKED, usage};
use crate::error::{Report, from_good_status};
use crate::{Decode, Step, reasoning, sse};

const EVENT_BYTES_MAX: usize = 64 << 20;

/// A streamed response as far as it has come.
#[derive(Debug)]
pub struct Decoder {
    frames: sse::Decoder,
    told: Told,
    over: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    #[must_use]
    pub fn new() -> Self {
        Self { frames: sse::Decoder::new(EVENT_BYTES_MAX), told: Told::default(), over: false }
    }

    fn read(&mut self, frames: &[sse::Frame], steps: &mut Vec<Step>) {
        for frame in frames {
            if self.over {
                return;
            }
            if let Err(error) = self.told.frame(frame, steps) {
                steps.push(Err(error));
                self.over = true;
            }
            self.over |= self.told.done;
        }
    }
}

impl Decode for Decoder {
    fn push(&mut self, bytes: &[u8]) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut frames = Vec::new();
        let pushed = if self.over { Ok(()) } else { self.frames.push(bytes, &mut frames) };
        self.read(&frames, &mut steps);
        if let Err(error) = pushed
            && !self.over
        {
            steps.push(Err(ModelError::Malformed { reason: error.to_string() }));
            self.over = true;
        }
        steps
    }

    fn end(&mut self, error: Option<ModelError>) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.over {
            return steps;
        }
        let mut frames = Vec::new();
        self.frames.finish(&mut frames);
        // A frame that was cut in the middle is not an unreadable one: the cut is what is wrong.
        frames.retain(|frame| serde_json::from_slice::<serde::de::IgnoredAny>(&frame.data).is_ok());
        self.read(&frames, &mut steps);
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

/// A whole response.
pub fn response(body: &[u8], model: &str) -> Result<ChatResponse, ModelError> {
    let response: Value = serde_json::from_slice(body)
        .map_err(|error| ModelError::Malformed { reason: error.to_string() })?;
    if let Some(error) = response.get("error").filter(|error| !error.is_null()) {
        return Err(from_good_status(error, model));
    }
    if !response.get("output").is_some_and(Value::is_array) {
        return Err(ModelError::Malformed { reason: "it has no output".to_owned() });
    }
    let mut told = Told::default();
    let mut steps = Vec::new();
    told.end(&response, &mut steps);
    let mut assembly = Assembly::default();
    for step in steps {
        assembly.push(step?);
    }
    Ok(assembly.into_response())
}

/// What was told so far.
#[derive(Debug, Default)]
struct Told {
    started: bool,
    /// By the place of the item.
    items: BTreeMap<u64, Item>,
    calls: u32,
    done: bool,
}

#[derive(Debug, Default)]
struct Item {
    /// The number of the call, if it is one.
    call: Option<u32>,
    /// Its text, its thoughts or its arguments have been told, in part or whole.
    told: bool,
    /// Which of several summaries is being told.
    summary: Option<u64>,
    ended: bool,
}

impl Told {
    fn frame(&mut self, frame: &sse::Frame, steps: &mut Vec<Step>) -> Result<(), ModelError> {
        let data = frame.data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            return Ok(());
        }
        let event: Value = serde_json::from_slice(data)
            .map_err(|error| ModelError::Malformed { reason: format!("an event: {error}") })?;
        self.event(&event, steps)
    }

    fn event(&mut self, event: &Value, steps: &mut Vec<Step>) -> Result<(), ModelError> {
        let response = event.get("response").unwrap_or(&Value::Null);
        let at = event.get("output_index").and_then(Value::as_u64).unwrap_or(0);
        let delta = || event.get("delta").and_then(Value::as_str).unwrap_or_default().to_owned();
        match event.get("type").and_then(Value::as_str).unwrap_or_default() {
            "response.created" | "response.in_progress" | "response.queued" => {
                self.start(response, steps);
            }
            "response.output_item.added" => {
                if let Some(item) = event.get("item") {
                    self.begin(at, item, steps);
                }
            }
            "response.output_text.delta" => {
                self.say(at, steps, Event::Text { choice: 0, text: delta() });
                logprobs(event, steps);
            }
            "response.refusal.delta" => {
                self.say(at, steps, Event::Refusal { choice: 0, text: delta() });
            }
            "response.reasoning_summary_text.delta" => {
                let summary = event.get("summary_index").and_then(Value::as_u64);
                self.think(at, summary, delta(), steps);
            }
            "response.reasoning_text.delta" => self.think(at, None, delta(), steps),
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                let item = self.items.entry(at).or_default();
                if let Some(index) = item.call {
                    item.told = true;
                    steps.push(Ok(Event::ToolArguments { choice: 0, index, fragment: delta() }));
                }
            }
            "response.output_item.done" => {
                if let Some(item) = event.get("item") {
                    self.item(at, item, steps);
                }
            }
            "response.completed" | "response.incomplete" => self.end(response, steps),
            "response.failed" | "response.cancelled" | "error" => {
                let error = response.get("error").filter(|error| !error.is_null());
                let bill = response.get("usage").filter(|usage| !usage.is_null());
                // What was used so far is paid for, whatever became of the answer.
                steps.extend(bill.map(|bill| Ok(Event::Usage(usage::read(bill)))));
                let report = Report::from_value(error.unwrap_or(event));
                return Err(ModelError::BrokeOff { message: report.message });
            }
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, response: &Value, steps: &mut Vec<Step>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let text = |name: &str| response.get(name).and_then(Value::as_str).unwrap_or_default();
        let mut head = Head {
            id: text("id").to_owned(),
            model: text("model").to_owned(),
            created: response
                .get("created_at")
                .and_then(Value::as_f64)
                .map_or(0, |seconds| seconds as i64),
            extra: Map::new(),
        };
        if !text("service_tier").is_empty() {
            head.extra.insert("service_tier".to_owned(), text("service_tier").into());
        }
        steps.push(Ok(Event::Started(head)));
    }

    fn say(&mut self, at: u64, steps: &mut Vec<Step>, event: Event) {
        self.items.entry(at).or_default().told = true;
        steps.push(Ok(event));
    }

    /// Several summaries are told as paragraphs.
    fn think(&mut self, at: u64, summary: Option<u64>, text: String, steps: &mut Vec<Step>) {
        let item = self.items.entry(at).or_default();
        let next = item.told && item.summary != summary;
        item.told = true;
        item.summary = summary;
        let text = if next { format!("\n\n{text}") } else { text };
        steps.push(Ok(Event::Reasoning { choice: 0, text }));
    }

    /// A call begins with its name; everything else begins with its first word.
    fn begin(&mut self, at: u64, item: &Value, steps: &mut Vec<Step>) {
        let kind = match item.get("type").and_then(Value::as_str) {
            Some("function_call") => CallKind::Function,
            Some("custom_tool_call") => CallKind::Custom,
            _ => return,
        };
        let progress = self.items.entry(at).or_default();
        if progress.call.is_some() {
            return;
        }
        let index = self.calls;
        self.calls += 1;
        progress.call = Some(index);
        let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
        let (id, name) = (text("call_id").to_owned(), text("name").to_owned());
        steps.push(Ok(Event::ToolCall { choice: 0, index, id, kind, name }));
    }

    /// The whole item: what of it was not told yet is told now.
    fn item(&mut self, at: u64, item: &Value, steps: &mut Vec<Step>) {
        self.begin(at, item, steps);
        let progress = self.items.entry(at).or_default();
        if std::mem::replace(&mut progress.ended, true) {
            return;
        }
        let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
        let told = progress.told;
        match (text("type"), progress.call) {
            (_, Some(index)) if !told => {
                let field = if text("type") == "function_call" { "arguments" } else { "input" };
                let fragment = text(field).to_owned();
                steps.push(Ok(Event::ToolArguments { choice: 0, index, fragment }));
            }
            ("message", _) => message(item, told, steps),
            ("reasoning", _) => thoughts(item, told, steps),
            _ => {}
        }
    }

    fn end(&mut self, response: &Value, steps: &mut Vec<Step>) {
        self.start(response, steps);
        let output = response.get("output").and_then(Value::as_array);
        for (at, item) in (0..).zip(output.into_iter().flatten()) {
            self.item(at, item, steps);
        }
        let reason = response.pointer("/incomplete_details/reason").and_then(Value::as_str);
        let reason = match reason {
            Some("max_output_tokens") => FinishReason::Length,
            Some("content_filter") => FinishReason::ContentFilter,
            Some(other) => FinishReason::Other(other.to_owned()),
            None if self.calls > 0 => FinishReason::ToolCalls,
            None => FinishReason::Stop,
        };
        steps.push(Ok(Event::Finished { choice: 0, reason }));
        let bill = response.get("usage").filter(|usage| !usage.is_null());
        steps.extend(bill.map(|bill| Ok(Event::Usage(usage::read(bill)))));
        steps.push(Ok(Event::Done));
        self.done = true;
    }
}

fn message(item: &Value, told: bool, steps: &mut Vec<Step>) {
    let parts = item.get("content").and_then(Value::as_array).into_iter().flatten();
    for part in parts {
        let text =
            |name: &str| part.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        if !told {
            match text("type").as_str() {
                "output_text" => {
                    steps.push(Ok(Event::Text { choice: 0, text: text("text") }));
                    logprobs(part, steps);
                }
                "refusal" => steps.push(Ok(Event::Refusal { choice: 0, text: text("refusal") })),
                _ => {}
            }
        }
        let annotations = part.get("annotations").and_then(Value::as_array);
        let annotations: Vec<Value> = annotations.into_iter().flatten().map(nested).collect();
        if !annotations.is_empty() {
            let fields = [("annotations".to_owned(), annotations.into())].into_iter().collect();
            steps.push(Ok(Event::Extra { choice: 0, fields }));
        }
    }
}

/// Chat completions put what an annotation says one level deeper.
fn nested(annotation: &Value) -> Value {
    let mut inner = super::request::object(annotation.clone());
    let Some(Value::String(kind)) = inner.shift_remove("type") else { return annotation.clone() };
    let mut outer = Map::new();
    outer.insert("type".to_owned(), kind.as_str().into());
    outer.insert(kind, Value::Object(inner));
    Value::Object(outer)
}

fn thoughts(item: &Value, told: bool, steps: &mut Vec<Step>) {
    if !told {
        let texts: Vec<&str> = ["summary", "content"]
            .iter()
            .filter_map(|name| item.get(*name)?.as_array())
            .flatten()
            .filter_map(|part| part.get("text")?.as_str())
            .collect();
        if !texts.is_empty() {
            steps.push(Ok(Event::Reasoning { choice: 0, text: texts.join("\n\n") }));
        }
    }
    let data = item.get("encrypted_content").and_then(Value::as_str);
    if let Some(packed) = data.and_then(|data| data.strip_prefix(PACKED)) {
        let details: Vec<Value> = serde_json::from_str(packed).unwrap_or_default();
        steps.extend(details.into_iter().map(|detail| Ok(reasoning::told(0, detail))));
    } else if let Some(data) = data {
        let mut detail = super::request::object(reasoning::encrypted(data, reasoning::OPENAI, 0));
        detail.extend(item.get("id").map(|id| ("id".to_owned(), id.clone())));
        steps.push(Ok(reasoning::told(0, Value::Object(detail))));
    }
}

fn logprobs(event: &Value, steps: &mut Vec<Step>) {
    if let Some(Value::Array(all)) = event.get("logprobs")
        && !all.is_empty()
    {
        steps.push(Ok(Event::Logprobs { choice: 0, value: json!({ "content": all }) }));
    }
}

#[cfg(test)]
mod tests;
