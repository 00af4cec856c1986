//! Whole requests and whole answers.

use std::borrow::Cow;
use std::sync::Arc;

use agentry_core::chat::{
    CallKind, ChatRequest, ChatResponse, Content, FunctionTool, Message, Part, ResponseFormat,
    Role, Stop, ToolCall, ToolChoice, ToolDefinition,
};
use agentry_core::embed::{EmbeddingInput, EmbeddingRequest};
use serde_json::{Map, Value};

use crate::carried::{self, Carried, carried, size_of_fields};
use crate::json::JsonGuard;
use crate::policy::Policy;
use crate::report::{Blocked, Found, Report};
use crate::scan;

pub(crate) fn request(policy: &Arc<Policy>, request: &mut ChatRequest) -> Result<Report, Blocked> {
    let mut screening = Screening { policy, report: Report::default() };
    if policy.is_idle() {
        return Ok(screening.report);
    }
    check_size(policy, &request.messages)?;
    for (at, message) in request.messages.iter_mut().enumerate() {
        screening.message(message, &|part| format!("messages[{at}].{part}"))?;
    }
    screening.beside_messages(request)?;
    Ok(screening.report)
}

/// Texts that become vectors. Nobody follows instructions in them, and those in tokens cannot be read.
pub(crate) fn embedding(
    policy: &Arc<Policy>,
    request: &mut EmbeddingRequest,
) -> Result<Report, Blocked> {
    let mut screening = Screening { policy, report: Report::default() };
    if !policy.reads_text() {
        return Ok(screening.report);
    }
    let EmbeddingRequest { input, user, extra, model: _, dimensions: _, encoding_format: _ } =
        request;
    for (at, input) in input.iter_mut().enumerate() {
        match input {
            EmbeddingInput::Text(text) => {
                screening.text(text, Source::Ours, || format!("input[{at}]"))?;
            }
            EmbeddingInput::Tokens(_) => {}
        }
    }
    if let Some(user) = user {
        screening.text(user, Source::Ours, || "user".to_owned())?;
    }
    screening.parameters(extra)?;
    Ok(screening.report)
}

pub(crate) fn response(
    policy: &Arc<Policy>,
    response: &mut ChatResponse,
) -> Result<Report, Blocked> {
    let mut screening = Screening { policy, report: Report::default() };
    if !policy.reads_text() {
        return Ok(screening.report);
    }
    screening.parameters(&mut response.head.extra)?;
    for choice in &mut response.choices {
        let (index, before) = (choice.index, screening.report.found.len());
        screening
            .message(&mut choice.message, &|part| format!("choices[{index}].message.{part}"))?;
        screening.fields(&mut choice.extra, Source::Ours, &|| format!("choices[{index}]"))?;
        // They spell out the text that was replaced.
        let found = screening.report.found.get(before..).unwrap_or_default();
        if found.iter().any(|one| one.action.acts()) {
            choice.logprobs = None;
        }
    }
    Ok(screening.report)
}

fn check_size(policy: &Policy, messages: &[Message]) -> Result<(), Blocked> {
    if let Some(count_max) = policy.messages_max
        && messages.len() > count_max
    {
        return Err(Blocked::Messages { count: messages.len(), count_max });
    }
    if let Some(bytes_max) = policy.bytes_max {
        let bytes = messages.iter().map(size).sum();
        if bytes > bytes_max {
            return Err(Blocked::Size { bytes, bytes_max });
        }
    }
    Ok(())
}

/// The bytes of text in a message.
fn size(message: &Message) -> usize {
    let content = match &message.content {
        None => 0,
        Some(Content::Text(text)) => text.len(),
        Some(Content::Parts(parts)) => parts
            .iter()
            .map(|part| match part {
                Part::Text { text, .. } => text.len(),
                Part::ImageUrl { .. } => 0,
                Part::Other(fields) => size_of_fields(fields),
            })
            .sum(),
    };
    let calls = message.tool_calls.iter().map(|call| call.arguments.len()).sum::<usize>();
    content + calls + size_of_fields(&message.extra)
}

struct Screening<'a> {
    policy: &'a Arc<Policy>,
    report: Report,
}

/// Names a part of a message in reports.
type Naming<'a> = &'a dyn Fn(&str) -> String;

impl Screening<'_> {
    fn message(&mut self, message: &mut Message, place: Naming<'_>) -> Result<(), Blocked> {
        let Message { role, content, tool_calls, refusal, extra, name, tool_call_id: _ } = message;
        // The operator's own instructions and the model's words are no attempts.
        let source = match role {
            Role::User | Role::Tool => Source::Outside,
            Role::System | Role::Developer | Role::Assistant => Source::Ours,
        };
        match content {
            None => {}
            Some(Content::Text(text)) => self.text(text, source, || place("content"))?,
            Some(Content::Parts(parts)) => {
                for (at, part) in parts.iter_mut().enumerate() {
                    let place = || place(&format!("content[{at}]"));
                    match part {
                        Part::Text { text, .. } => self.text(text, source, place)?,
                        Part::ImageUrl { .. } => {}
                        Part::Other(fields) => self.fields(fields, source, &place)?,
                    }
                }
            }
        }
        for (text, called) in [(name, "name"), (refusal, "refusal")] {
            if let Some(text) = text {
                self.text(text, Source::Ours, || place(called))?;
            }
        }
        for (at, call) in tool_calls.iter_mut().enumerate() {
            self.call(call, || place(&format!("tool_calls[{at}].arguments")))?;
        }
        self.fields(extra, Source::Ours, &|| place("extra"))
    }

    fn text(
        &mut self,
        text: &mut String,
        source: Source,
        place: impl FnOnce() -> String,
    ) -> Result<(), Blocked> {
        let cleaned = match source {
            Source::Outside => scan::clean(self.policy, text),
            Source::Ours => scan::clean_ours(self.policy, text),
        };
        self.report.add(cleaned.findings, place)?;
        if let Cow::Owned(cleaned) = cleaned.text {
            *text = cleaned;
        }
        Ok(())
    }

    fn call(&mut self, call: &mut ToolCall, place: impl FnOnce() -> String) -> Result<(), Blocked> {
        match call.kind {
            CallKind::Custom => self.text(&mut call.arguments, Source::Ours, place),
            CallKind::Function => {
                let mut guard = JsonGuard::new(Arc::clone(self.policy), place());
                let mut arguments = String::with_capacity(call.arguments.len());
                guard.push(&call.arguments, &mut arguments)?;
                guard.finish(&mut arguments)?;
                let report = guard.take_report();
                // Without changes it keeps the spelling that it came with.
                if report.has_changes() {
                    call.arguments = arguments;
                }
                self.report.found.extend(report.found);
                Ok(())
            }
        }
    }

    /// What goes upstream with the messages. It may say as much as they do.
    fn beside_messages(&mut self, request: &mut ChatRequest) -> Result<(), Blocked> {
        for (at, tool) in request.tools.iter_mut().enumerate() {
            let place = || format!("tools[{at}]");
            match tool {
                ToolDefinition::Function(FunctionTool { function, extra, .. }) => {
                    if let Some(description) = &mut function.description {
                        self.text(description, Source::Ours, place)?;
                    }
                    if let Some(parameters) = &mut function.parameters {
                        self.value(parameters, Source::Ours, &place)?;
                    }
                    self.fields(&mut function.extra, Source::Ours, &place)?;
                    self.fields(extra, Source::Ours, &place)?;
                }
                ToolDefinition::Other(fields) => self.fields(fields, Source::Ours, &place)?,
            }
        }
        if let Some(ToolChoice::Other(fields)) = &mut request.tool_choice {
            self.fields(fields, Source::Ours, &|| "tool_choice".to_owned())?;
        }
        let place = || "response_format".to_owned();
        match &mut request.response_format {
            Some(ResponseFormat::JsonSchema { json_schema }) => {
                self.value(json_schema, Source::Ours, &place)?;
            }
            Some(ResponseFormat::Other(fields)) => self.fields(fields, Source::Ours, &place)?,
            Some(ResponseFormat::Text | ResponseFormat::JsonObject) | None => {}
        }
        let stops = match &mut request.stop {
            None => &mut [],
            Some(Stop::One(stop)) => std::slice::from_mut(stop),
            Some(Stop::Many(stops)) => stops.as_mut_slice(),
        };
        for stop in stops {
            self.text(stop, Source::Ours, || "stop".to_owned())?;
        }
        self.parameters(&mut request.extra)
    }

    /// Parameters that only the upstream knows, by their names.
    fn parameters(&mut self, extra: &mut Map<String, Value>) -> Result<(), Blocked> {
        for (name, value) in extra.iter_mut() {
            if !carried::is_opaque(name) {
                self.value(value, Source::Ours, &|| name.clone())?;
            }
        }
        Ok(())
    }

    fn fields(
        &mut self,
        fields: &mut Map<String, Value>,
        source: Source,
        place: &dyn Fn() -> String,
    ) -> Result<(), Blocked> {
        let is_text = carried::is_text(fields);
        for (name, value) in fields {
            match value {
                Value::String(text) => match carried((name, is_text), text) {
                    Carried::Text => self.text(text, source, place)?,
                    Carried::File { head, text: mut file } => {
                        let before = self.report.found.len();
                        self.text(&mut file, source, place)?;
                        // Without changes it keeps the spelling that it came with.
                        if self
                            .report
                            .found
                            .get(before..)
                            .is_some_and(|new| new.iter().any(Found::changes))
                        {
                            *text = carried::encode(head, &file);
                        }
                    }
                    Carried::Data => {}
                },
                value => self.value(value, source, place)?,
            }
        }
        Ok(())
    }

    fn value(
        &mut self,
        value: &mut Value,
        source: Source,
        place: &dyn Fn() -> String,
    ) -> Result<(), Blocked> {
        match value {
            Value::String(text) => self.text(text, source, place),
            Value::Array(values) => {
                values.iter_mut().try_for_each(|value| self.value(value, source, place))
            }
            Value::Object(fields) => self.fields(fields, source, place),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }
}

/// Whose words they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// They may try to give the model other instructions.
    Outside,
    Ours,
}

/// Fields of an answer's delta.
pub(crate) fn fields(
    policy: &Arc<Policy>,
    fields: &mut Map<String, Value>,
    place: &dyn Fn() -> String,
) -> Result<Report, Blocked> {
    let mut screening = Screening { policy, report: Report::default() };
    screening.fields(fields, Source::Ours, place)?;
    Ok(screening.report)
}

#[cfg(test)]
mod tests;
