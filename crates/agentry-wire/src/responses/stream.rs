//! From the events of an answer to the events that clients of Responses read.

use std::collections::BTreeMap;

use agentry_core::chat::{CallKind, Event, FinishReason, ToolCall, Usage};
use serde_json::{Map, Value, json};

use super::object::{self, Object};
use super::usage;
use crate::error::Refused;
use crate::{Asked, Encode, reasoning};

/// One answer. Of several choices only the first can be told.
#[derive(Debug)]
pub struct Events {
    object: Object,
    started: bool,
    sequence: u64,
    /// By their index; null as long as they are open.
    output: Vec<Value>,
    /// What is being said or thought.
    open: Option<Open>,
    /// By the number of the call.
    calls: BTreeMap<u32, Call>,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
}

#[derive(Debug)]
enum Open {
    Thoughts(Thoughts),
    Message(Said),
}

#[derive(Debug)]
struct Thoughts {
    at: usize,
    id: String,
    text: String,
    details: Vec<Value>,
}

#[derive(Debug)]
struct Said {
    at: usize,
    id: String,
    parts: Vec<Value>,
    part: Option<(Saying, String)>,
    annotations: Vec<Value>,
    logprobs: Vec<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saying {
    Text,
    Refusal,
}

#[derive(Debug)]
struct Call {
    at: usize,
    item: String,
    call: ToolCall,
}

impl Saying {
    fn event(self, step: Step) -> &'static str {
        match (self, step) {
            (Self::Text, Step::Delta) => "response.output_text.delta",
            (Self::Text, Step::Done) => "response.output_text.done",
            (Self::Refusal, Step::Delta) => "response.refusal.delta",
            (Self::Refusal, Step::Done) => "response.refusal.done",
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Delta,
    Done,
}

impl Encode for Events {
    fn encode(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Started(head) => {
                self.object.name(head);
                self.start(out);
            }
            Event::Text { choice: 0, text } => self.say(Saying::Text, &text, out),
            Event::Refusal { choice: 0, text } => self.say(Saying::Refusal, &text, out),
            Event::Reasoning { choice: 0, text } => self.think(&text, out),
            Event::ToolCall { choice: 0, index, id, kind, name } => {
                let call = ToolCall { id, kind, name, arguments: String::new(), extra: Map::new() };
                self.call(index, call, out);
            }
            Event::ToolArguments { choice: 0, index, fragment } => {
                self.arguments(index, &fragment, out);
            }
            Event::Logprobs { choice: 0, mut value } => {
                if let Some(Open::Message(said)) = &mut self.open
                    && let Some(Value::Array(more)) = value.get_mut("content")
                {
                    said.logprobs.append(more);
                }
            }
            Event::Extra { choice: 0, fields } => self.extra(fields, out),
            Event::Finished { choice: 0, reason } => self.finish = Some(reason),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Done => self.done(out),
            Event::Text { .. }
            | Event::Refusal { .. }
            | Event::Reasoning { .. }
            | Event::ToolCall { .. }
            | Event::ToolArguments { .. }
            | Event::Logprobs { .. }
            | Event::Extra { .. }
            | Event::Finished { .. } => {}
        }
    }

    /// Clients look for the error in either place.
    fn fail(&mut self, refused: &Refused<'_>, out: &mut Vec<u8>) {
        self.start(out);
        let Refused { code, message, param, .. } = *refused;
        let body: Value = serde_json::from_slice(&refused.openai()).unwrap_or_default();
        let error = [
            ("code", code.into()),
            ("message", message.into()),
            ("param", param.into()),
            ("error", body.get("error").cloned().unwrap_or_default()),
        ];
        self.emit("error", error, out);
        let output: Vec<Value> =
            self.output.iter().filter(|item| !item.is_null()).cloned().collect();
        let response = self.object.with([
            ("status", "failed".into()),
            ("error", json!({ "code": code, "message": message })),
            ("output", output.into()),
        ]);
        self.emit("response.failed", [("response", response)], out);
    }
}

impl Events {
    #[must_use]
    pub fn new(asked: &Asked) -> Self {
        Self {
            object: Object::new(asked),
            started: false,
            sequence: 0,
            output: Vec::new(),
            open: None,
            calls: BTreeMap::new(),
            finish: None,
            usage: None,
        }
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.started, true) {
            for name in ["response.created", "response.in_progress"] {
                self.emit(name, [("response", self.object.in_progress())], out);
            }
        }
    }

    fn emit(
        &mut self,
        name: &str,
        fields: impl IntoIterator<Item = (&'static str, Value)>,
        out: &mut Vec<u8>,
    ) {
        let mut event = Map::new();
        event.insert("type".to_owned(), name.into());
        event.insert("sequence_number".to_owned(), self.sequence.into());
        event.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
        self.sequence += 1;
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        out.extend_from_slice(Value::Object(event).to_string().as_bytes());
        out.extend_from_slice(b"\n\n");
    }

    /// Begins an item; says where it is.
    fn add(
        &mut self,
        prefix: &str,
        item: impl FnOnce(&str) -> Value,
        out: &mut Vec<u8>,
    ) -> (usize, String) {
        self.start(out);
        let at = self.output.len();
        let id = self.object.id(prefix, at);
        self.output.push(Value::Null);
        let item = [("output_index", at.into()), ("item", item(&id))];
        self.emit("response.output_item.added", item, out);
        (at, id)
    }

    fn end(&mut self, at: usize, item: Value, out: &mut Vec<u8>) {
        let event = [("output_index", at.into()), ("item", item.clone())];
        self.emit("response.output_item.done", event, out);
        if let Some(slot) = self.output.get_mut(at) {
            *slot = item;
        }
    }

    fn say(&mut self, saying: Saying, text: &str, out: &mut Vec<u8>) {
        let mut said = match self.open.take() {
            Some(Open::Message(said)) => said,
            other => {
                self.open = other;
                self.close("completed", out);
                let empty = |id: &str| object::message(id, &[], "in_progress");
                let (at, id) = self.add("msg", empty, out);
                Said {
                    at,
                    id,
                    parts: Vec::new(),
                    part: None,
                    annotations: Vec::new(),
                    logprobs: Vec::new(),
                }
            }
        };
        if said.part.as_ref().is_some_and(|(other, _)| *other != saying) {
            self.end_part(&mut said, out);
        }
        if said.part.is_none() {
            let added = said.place().into_iter().chain([("part", empty_part(saying))]);
            self.emit("response.content_part.added", added, out);
        }
        let logprobs = (saying == Saying::Text).then(|| ("logprobs", json!([])));
        let delta = said.place().into_iter().chain([("delta", text.into())]).chain(logprobs);
        self.emit(saying.event(Step::Delta), delta, out);
        let (_, so_far) = said.part.get_or_insert_with(|| (saying, String::new()));
        so_far.push_str(text);
        self.open = Some(Open::Message(said));
    }

    fn end_part(&mut self, said: &mut Said, out: &mut Vec<u8>) {
        let Some((saying, text)) = said.part.take() else { return };
        let whole = Value::from(text.as_str());
        let (part, told) = match saying {
            Saying::Text => {
                let logprobs = ("logprobs", said.logprobs.as_slice().into());
                let part = object::text_part(&text, &said.annotations, &said.logprobs);
                (part, vec![("text", whole), logprobs])
            }
            Saying::Refusal => (object::refusal_part(&text), vec![("refusal", whole)]),
        };
        self.emit(saying.event(Step::Done), said.place().into_iter().chain(told), out);
        let done = said.place().into_iter().chain([("part", part.clone())]);
        self.emit("response.content_part.done", done, out);
        said.parts.push(part);
    }

    fn think(&mut self, text: &str, out: &mut Vec<u8>) {
        let mut thoughts = match self.open.take() {
            // What it had to send back belonged to the thoughts before.
            Some(Open::Thoughts(thoughts)) if thoughts.details.is_empty() => thoughts,
            other => {
                self.open = other;
                self.close("completed", out);
                self.begin_thoughts(out)
            }
        };
        if thoughts.text.is_empty() {
            let added = thoughts.place().into_iter().chain([("part", object::summary_part(""))]);
            self.emit("response.reasoning_summary_part.added", added, out);
        }
        let delta = thoughts.place().into_iter().chain([("delta", text.into())]);
        self.emit("response.reasoning_summary_text.delta", delta, out);
        thoughts.text.push_str(text);
        self.open = Some(Open::Thoughts(thoughts));
    }

    fn begin_thoughts(&mut self, out: &mut Vec<u8>) -> Thoughts {
        let empty = |id: &str| object::thoughts(id, "", &[], "in_progress");
        let (at, id) = self.add("rs", empty, out);
        Thoughts { at, id, text: String::new(), details: Vec::new() }
    }

    fn end_thoughts(&mut self, thoughts: &Thoughts, out: &mut Vec<u8>) {
        let Thoughts { at, id, text, details } = thoughts;
        if !text.is_empty() {
            let done = thoughts.place().into_iter().chain([("text", text.as_str().into())]);
            self.emit("response.reasoning_summary_text.done", done, out);
            let done = thoughts.place().into_iter().chain([("part", object::summary_part(text))]);
            self.emit("response.reasoning_summary_part.done", done, out);
        }
        self.end(*at, object::thoughts(id, text, details, "completed"), out);
    }

    fn extra(&mut self, mut fields: Map<String, Value>, out: &mut Vec<u8>) {
        if let Some(Value::Array(details)) = fields.shift_remove(reasoning::DETAILS) {
            match &mut self.open {
                Some(Open::Thoughts(thoughts)) => thoughts.details.extend(details),
                Some(Open::Message(_)) | None => {
                    let thoughts = Thoughts { details, ..self.begin_thoughts(out) };
                    self.end_thoughts(&thoughts, out);
                }
            }
        }
        if let Some(Value::Array(annotations)) = fields.shift_remove("annotations") {
            for annotation in annotations {
                self.annotate(object::annotation(annotation), out);
            }
        }
    }

    /// What is said about a text belongs to the message that is open.
    fn annotate(&mut self, annotation: Value, out: &mut Vec<u8>) {
        let Some(Open::Message(said)) = &mut self.open else { return };
        let told = [
            ("annotation_index", said.annotations.len().into()),
            ("annotation", annotation.clone()),
        ];
        let added = said.place().into_iter().chain(told);
        said.annotations.push(annotation);
        self.emit("response.output_text.annotation.added", added, out);
    }

    fn call(&mut self, index: u32, call: ToolCall, out: &mut Vec<u8>) {
        self.close("completed", out);
        let begun = |id: &str| object::call(id, &call, "in_progress");
        let (at, item) = self.add(object::call_prefix(call.kind), begun, out);
        if let Some(former) = self.calls.insert(index, Call { at, item, call }) {
            self.end_call(&former, "completed", out);
        }
    }

    fn arguments(&mut self, index: u32, fragment: &str, out: &mut Vec<u8>) {
        let Some(Call { at, item, call }) = self.calls.get_mut(&index) else { return };
        call.arguments.push_str(fragment);
        let name = match call.kind {
            CallKind::Function => "response.function_call_arguments.delta",
            CallKind::Custom => "response.custom_tool_call_input.delta",
        };
        let delta = place(item, *at).into_iter().chain([("delta", fragment.into())]);
        self.emit(name, delta, out);
    }

    fn end_call(&mut self, call: &Call, status: &str, out: &mut Vec<u8>) {
        let Call { at, item, call } = call;
        let arguments = Value::from(call.arguments.as_str());
        let (name, told) = match call.kind {
            CallKind::Function => (
                "response.function_call_arguments.done",
                vec![("arguments", arguments), ("name", call.name.as_str().into())],
            ),
            CallKind::Custom => {
                ("response.custom_tool_call_input.done", vec![("input", arguments)])
            }
        };
        self.emit(name, place(item, *at).into_iter().chain(told), out);
        self.end(*at, object::call(item, call, status), out);
    }

    /// Ends what is being said or thought.
    fn close(&mut self, status: &str, out: &mut Vec<u8>) {
        match self.open.take() {
            Some(Open::Thoughts(thoughts)) => self.end_thoughts(&thoughts, out),
            Some(Open::Message(mut said)) => {
                self.end_part(&mut said, out);
                self.end(said.at, object::message(&said.id, &said.parts, status), out);
            }
            None => {}
        }
    }

    fn done(&mut self, out: &mut Vec<u8>) {
        self.start(out);
        let (status, details) = object::status(self.finish.as_ref());
        self.close(status, out);
        for call in std::mem::take(&mut self.calls).into_values() {
            self.end_call(&call, status, out);
        }
        let response = self.object.with([
            ("status", status.into()),
            ("incomplete_details", details),
            ("output", std::mem::take(&mut self.output).into()),
            ("usage", self.usage.as_ref().map(usage::write).unwrap_or_default()),
        ]);
        let name = if status == "completed" { "response.completed" } else { "response.incomplete" };
        self.emit(name, [("response", response)], out);
    }
}

impl Said {
    fn place(&self) -> impl IntoIterator<Item = (&'static str, Value)> + use<> {
        place(&self.id, self.at).into_iter().chain([("content_index", self.parts.len().into())])
    }
}

impl Thoughts {
    fn place(&self) -> impl IntoIterator<Item = (&'static str, Value)> + use<> {
        place(&self.id, self.at).into_iter().chain([("summary_index", 0.into())])
    }
}

fn place(item: &str, at: usize) -> [(&'static str, Value); 2] {
    [("item_id", item.into()), ("output_index", at.into())]
}

fn empty_part(saying: Saying) -> Value {
    match saying {
        Saying::Text => object::text_part("", &[], &[]),
        Saying::Refusal => object::refusal_part(""),
    }
}

#[cfg(test)]
mod tests;
