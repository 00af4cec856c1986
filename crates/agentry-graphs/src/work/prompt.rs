//! A call of a model.

use agentry_core::chat::{ChatRequest, Message, ResponseFormat};
use agentry_core::schema::Schema;
use agentry_engine::{Class, NodeError, effect};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Came, Visit, Work, fatal, speech, undone};
use crate::definition::Prompt;
use crate::ports::MODEL;
use crate::view::View;

pub(crate) struct PromptWork {
    pub(crate) prompt: Prompt,
    /// For the schema's name.
    pub(crate) node: String,
}

impl PromptWork {
    fn request(&self, view: &View<'_>) -> Result<ChatRequest, String> {
        let Prompt { model, system, prompt, temperature, tokens_max, schema } = &self.prompt;
        let mut messages = Vec::new();
        if let Some(system) = system {
            messages.push(Message::system(view.render(system)?));
        }
        messages.push(Message::user(view.render(prompt)?));
        let response_format = schema.as_ref().map(|schema| ResponseFormat::JsonSchema {
            json_schema: json!({
                "name": self.node, "strict": true, "schema": schema.value.source(),
            }),
        });
        Ok(ChatRequest {
            model: model.as_ref().map_or(MODEL, |model| model.value.as_str()).to_owned(),
            messages,
            temperature: *temperature,
            max_completion_tokens: *tokens_max,
            response_format,
            ..ChatRequest::default()
        })
    }

    /// The answer's value: a text, or what the schema asks for.
    fn read(&self, text: &str) -> Result<Value, String> {
        let Some(schema) = &self.prompt.schema else { return Ok(text.into()) };
        fitting(&schema.value, text)
    }
}

/// The value that a model has answered with, if it is one that fits.
pub(crate) fn fitting(schema: &Schema, text: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_str(unfenced(text))
        .map_err(|error| format!("the model's answer is no JSON: {error}"))?;
    let complaints = schema.complaints(&value);
    match complaints.is_empty() {
        true => Ok(value),
        false => Err(format!("the model's answer does not fit: {}", complaints.join("; "))),
    }
}

#[async_trait]
impl Work for PromptWork {
    fn call(&self, view: &View<'_>) -> Result<Option<Value>, String> {
        serde_json::to_value(self.request(view)?).map(Some).map_err(|error| error.to_string())
    }

    async fn run(&self, visit: &Visit<'_>, view: &View<'_>) -> Result<Came, NodeError> {
        let request = self.request(view).map_err(fatal)?;
        let cx = visit.call_context(visit.caller().await?);
        // What another attempt says is another message.
        let place = (view.item.map_or(0, |(_, index, _)| index), visit.attempt());
        let value = visit.effect("model", Class::Idempotent, |_| async {
            let said = speech::ask(visit, &cx, request, place).await;
            let response = said.map_err(|error| undone(&error))?;
            // Another attempt may bring one that fits.
            self.read(&response.text()).map_err(effect::Undone::NotDone)
        });
        Ok(Came::Said(value.await?, speech::id(visit.node(), place)))
    }
}

/// Models like to put JSON into a fence though nobody asked for it.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    inner.map_or(text, |inner| inner.strip_prefix("json").unwrap_or(inner).trim())
}
