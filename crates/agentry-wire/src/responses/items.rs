//! From the items of a request to the turns of a conversation.

use agentry_core::chat::{CallKind, Content, Invalid, Message, Part, Role, ToolCall};
use serde_json::{Map, Value, json};

use super::PACKED;
use super::request::{invalid, object, text};
use crate::reasoning;

/// Adds what the items say to `messages`. What an assistant said, thought and called in one go is one message.
pub(super) fn read(items: Vec<Value>, messages: &mut Vec<Message>) -> Result<(), Invalid> {
    for (at, item) in items.into_iter().enumerate() {
        let param = format!("input[{at}]");
        let Value::Object(item) = item else {
            return Err(invalid(&param, "an item is an object"));
        };
        Item { fields: item, param: &param }.read(messages)?;
    }
    Ok(())
}

struct Item<'a> {
    fields: Map<String, Value>,
    param: &'a str,
}

impl Item<'_> {
    fn read(mut self, messages: &mut Vec<Message>) -> Result<(), Invalid> {
        let kind = text(self.fields.shift_remove("type"));
        match kind.as_deref() {
            Some("message") | None => self.message(messages),
            Some("function_call") => self.call(CallKind::Function, "arguments", messages),
            Some("custom_tool_call") => self.call(CallKind::Custom, "input", messages),
            Some("function_call_output" | "custom_tool_call_output") => {
                let id = self.required("call_id")?;
                let content = self.content("output")?;
                messages.push(Message { content: Some(content), ..Message::tool(id, "") });
                Ok(())
            }
            Some("reasoning") => {
                let details = self.thoughts();
                think(assistant(messages), details);
                Ok(())
            }
            Some("item_reference") => {
                let reason = "responses are not kept here: send the item itself";
                Err(invalid(self.param, reason))
            }
            Some(other) => {
                let reason = format!(
                    "an item of type `{other}` can only be sent to an upstream that speaks Responses"
                );
                Err(invalid(self.param, &reason))
            }
        }
    }

    fn message(mut self, messages: &mut Vec<Message>) -> Result<(), Invalid> {
        let role = match text(self.fields.shift_remove("role")).as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            Some("developer") => Role::Developer,
            _ => {
                let reason = "a message is of `user`, `assistant`, `system` or `developer`";
                return Err(invalid(&format!("{}.role", self.param), reason));
            }
        };
        if role == Role::Assistant {
            let refusal = self.take_refusal();
            let said = self.content("content")?;
            let message = assistant(messages);
            if let Some(refusal) = refusal {
                message.refusal.get_or_insert_default().push_str(&refusal);
            }
            say(message, said);
        } else {
            let content = Some(self.content("content")?);
            messages.push(Message { content, ..Message::empty(role) });
        }
        Ok(())
    }

    fn call(
        mut self,
        kind: CallKind,
        arguments: &str,
        messages: &mut Vec<Message>,
    ) -> Result<(), Invalid> {
        let call = ToolCall {
            id: self.required("call_id")?,
            kind,
            name: self.required("name")?,
            arguments: text(self.fields.shift_remove(arguments)).unwrap_or_default(),
            extra: Map::new(),
        };
        assistant(messages).tool_calls.push(call);
        Ok(())
    }

    fn required(&mut self, name: &str) -> Result<String, Invalid> {
        text(self.fields.shift_remove(name))
            .filter(|value| !value.is_empty())
            .ok_or_else(|| invalid(&format!("{}.{name}", self.param), "this must be a string"))
    }

    /// A refusal is a part of the content here, and a field of its own in chat completions.
    fn take_refusal(&mut self) -> Option<String> {
        let Some(Value::Array(parts)) = self.fields.get_mut("content") else { return None };
        let refusals: Vec<String> = parts
            .extract_if(.., |part| part.get("type").and_then(Value::as_str) == Some("refusal"))
            .filter_map(|part| part.get("refusal")?.as_str().map(str::to_owned))
            .collect();
        (!refusals.is_empty()).then(|| refusals.concat())
    }

    fn content(&mut self, name: &str) -> Result<Content, Invalid> {
        let param = format!("{}.{name}", self.param);
        match self.fields.shift_remove(name) {
            Some(Value::String(text)) => Ok(Content::Text(text)),
            Some(Value::Array(parts)) => parts
                .into_iter()
                .enumerate()
                .map(|(at, part)| self::part(part, &format!("{param}[{at}]")))
                .collect::<Result<_, _>>()
                .map(Content::Parts),
            _ => Err(invalid(&param, "this must be a string or an array of parts")),
        }
    }

    /// What must be sent back unchanged, in the form in which all dialects carry it.
    fn thoughts(mut self) -> Vec<Value> {
        let encrypted = text(self.fields.shift_remove("encrypted_content"));
        if let Some(packed) = encrypted.as_deref().and_then(|data| data.strip_prefix(PACKED)) {
            return serde_json::from_str(packed).unwrap_or_default();
        }
        let id = self.fields.shift_remove("id").unwrap_or(Value::Null);
        let mut details = Vec::new();
        for (name, kind, field) in
            [("summary", "reasoning.summary", "summary"), ("content", "reasoning.text", "text")]
        {
            let parts = self.fields.get(name).and_then(Value::as_array).into_iter().flatten();
            for text in parts.filter_map(|part| part.get("text")) {
                let mut detail =
                    object(json!({ "type": kind, "format": reasoning::OPENAI, "id": id }));
                detail.insert(field.to_owned(), text.clone());
                details.push(Value::Object(detail));
            }
        }
        details.extend(encrypted.map(|data| {
            json!({ "type": "reasoning.encrypted", "data": data, "format": reasoning::OPENAI, "id": id })
        }));
        details
    }
}

/// The assistant's turn that is going on, or a new one.
fn assistant(messages: &mut Vec<Message>) -> &mut Message {
    match messages.pop_if(|last| last.role == Role::Assistant) {
        Some(going_on) => messages.push_mut(going_on),
        None => messages.push_mut(Message::empty(Role::Assistant)),
    }
}

/// One text stays a plain one: not every server reads the parts of an assistant.
fn say(message: &mut Message, said: Content) {
    let parts = |content| match content {
        Content::Text(text) => vec![Part::Text { text, extra: Map::new() }],
        Content::Parts(parts) => parts,
    };
    let mut all = message.content.take().map(parts).unwrap_or_default();
    all.extend(parts(said));
    message.content = match all.as_mut_slice() {
        [] => None,
        [Part::Text { text, extra }] if extra.is_empty() => {
            Some(Content::Text(std::mem::take(text)))
        }
        _ => Some(Content::Parts(all)),
    };
}

fn think(message: &mut Message, details: Vec<Value>) {
    if details.is_empty() {
        return;
    }
    let known = message.extra.entry(reasoning::DETAILS).or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(known) = known {
        known.extend(details);
    }
}

fn part(part: Value, param: &str) -> Result<Part, Invalid> {
    let Value::Object(mut fields) = part else {
        return Err(invalid(param, "a part is an object"));
    };
    fields.retain(|_, value| !value.is_null());
    let kind = text(fields.shift_remove("type"));
    match kind.as_deref() {
        Some("input_text" | "output_text" | "text" | "summary_text") => {
            let Some(text) = text(fields.shift_remove("text")) else {
                return Err(invalid(&format!("{param}.text"), "this must be a string"));
            };
            fields.retain(|name, _| name == "cache_control");
            Ok(Part::Text { text, extra: fields })
        }
        Some("input_image") => image(&mut fields, param),
        Some("input_file") => Ok(Part::Other(object(json!({ "type": "file", "file": fields })))),
        Some("input_audio") => {
            let audio = fields.shift_remove("input_audio");
            Ok(Part::Other(object(json!({ "type": "input_audio", "input_audio": audio }))))
        }
        _ => {
            let reason = "the type is `input_text`, `input_image`, `input_file` or `output_text`";
            Err(invalid(&format!("{param}.type"), reason))
        }
    }
}

fn image(fields: &mut Map<String, Value>, param: &str) -> Result<Part, Invalid> {
    let Some(url) = text(fields.shift_remove("image_url")) else {
        let reason = "files are not kept here: send the image as a URL, or as a data URI";
        return Err(invalid(&format!("{param}.image_url"), reason));
    };
    let mut image_url = object(json!({ "url": url }));
    image_url.extend(fields.shift_remove("detail").map(|detail| ("detail".to_owned(), detail)));
    fields.retain(|name, _| name == "cache_control");
    Ok(Part::ImageUrl { image_url: Value::Object(image_url), extra: std::mem::take(fields) })
}
