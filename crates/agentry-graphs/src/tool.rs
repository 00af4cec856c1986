//! Tools as data: services that are called with a tool's arguments.
//!
//! Who answers is for the definition to say, never for the arguments: they may come from a model, and stand in the address
//! only behind the host, encoded.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::outbound;
use agentry_core::tool::{Effect, Risks, Tool, ToolContext, ToolError, ToolOutput, ToolSpec};
use agentry_notation::{At, Problem, Reader, Unreadable, value};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::argument::Argument;
use crate::definition::{Given, Http, Source, Spot, node};
use crate::ports::{self, Request};
use crate::types::{Fields, Type};
use crate::work::http;

const TIMEOUT: Duration = Duration::from_secs(30);
/// What vendors take for the name of a function.
const NAME_LETTERS_MAX: usize = 64;
const EFFECTS: [&str; 3] = ["read", "idempotent", "once"];

/// A service as a tool.
#[derive(Debug, Clone)]
pub struct Declared {
    pub spec: ToolSpec,
    /// As in `stock.internal`, which the definition names and nobody else.
    pub host: String,
    pub timeout: Duration,
    http: Http,
}

/// Reads the table of a tool, whose name is the table's; `text` is the file that it stands in.
pub fn read(mut table: Reader<'_>, text: &str) -> Option<Declared> {
    let source = Source { text };
    let notes = table.notes();
    let name = At { place: table.place().clone(), value: table.key().to_owned() };
    check_name(&table, &name.value);
    let description =
        table.required("description", "\"how many of an item there are\"", value::text);
    let effect = table.read("effect", effect);
    let parameters = node::schema_at(&mut table, "parameters");
    let timeout = table.or("timeout", TIMEOUT, value::duration);
    let http = node::http(&mut table, &source);
    table.finish();
    let parameters = match parameters {
        Some(At { place, value }) => {
            let source = value.source().clone();
            if !matches!(Type::of_schema(&source), Type::Object(_)) {
                let message = "the parameters of a tool are an object";
                let help = "begin with type = \"object\" and name them under properties";
                notes.report(Problem::new(place, message).help(help));
            }
            source
        }
        None => json!({ "type": "object", "properties": {}, "additionalProperties": false }),
    };
    let http = http?;
    check_references(&http, &parameters, notes);
    let host = host(&http.url, notes)?;
    let usual = match (http.method.as_str(), http.idempotent) {
        ("GET" | "HEAD", _) => Effect::Read,
        (_, true) => Effect::Idempotent,
        (_, false) => Effect::Once,
    };
    let effect = effect.map_or(usual, |at| at.value);
    let risks = Risks {
        untrusted_input: true,
        private_data: http.headers.iter().any(|(_, header)| header.text().is_none()),
        acts_outside: effect != Effect::Read,
    };
    let (name, description) = (name.value, description?.value);
    let spec = ToolSpec { name, description, parameters, effect, risks };
    Some(Declared { spec, host, timeout, http })
}

fn check_name(table: &Reader<'_>, name: &str) {
    let good = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    if name.is_empty() || name.len() > NAME_LETTERS_MAX || !name.chars().all(good) {
        let message = format!("`{name}` cannot name a tool");
        let problem = Problem::new(table.place().clone(), message);
        table.notes().report(problem.help("letters, digits, `_` and `-`, at most 64"));
    }
}

fn effect(written: &agentry_notation::tree::Value) -> Result<Effect, Unreadable> {
    Ok(match value::text(written)?.as_str() {
        "read" => Effect::Read,
        "idempotent" => Effect::Idempotent,
        "once" => Effect::Once,
        other => {
            let message = format!("is \"{other}\", and there are {}", EFFECTS.join(", "));
            return Err(Unreadable::new(message));
        }
    })
}

/// What a definition refers to must be among what the tool takes.
fn check_references(http: &Http, parameters: &Value, notes: &agentry_notation::Notes<'_>) {
    let Type::Object(Fields { known, .. }) = Type::of_schema(parameters) else { return };
    let headers = http.headers.iter().filter_map(|(_, header)| header.text());
    let given = headers.chain([&http.url]).chain(&http.body);
    for leaf in given.flat_map(|given| &given.leaves) {
        let mut names = leaf.value.names();
        names.retain(|name| !known.contains_key(*name));
        names.dedup();
        for name in names {
            let message = format!("the tool takes no `{name}`");
            let help = match known.keys().map(String::as_str).collect::<Vec<_>>().as_slice() {
                [] => "name it under parameters.properties".to_owned(),
                known => format!("there are {}", known.join(", ")),
            };
            notes.report(Problem::new(leaf.word(name), message).help(help));
        }
    }
}

/// The host, which is there before anything is filled in.
fn host(url: &Given, notes: &agentry_notation::Notes<'_>) -> Option<String> {
    let text =
        url.leaves.first().map(|Spot::<Argument> { text, .. }| text.as_str()).unwrap_or_default();
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let (authority, rest) =
        rest.map(|rest| rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())))?;
    let fixed =
        !authority.contains(['$', '{', '@']) && (!rest.is_empty() || !text.contains(['$', '{']));
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|digit| digit.is_ascii_digit()) => host,
        _ => authority,
    };
    if host.is_empty() || !fixed {
        let message = "which service a tool calls cannot depend on its arguments";
        let help = "write the host as it is, as in https://stock.internal/items/${sku}";
        notes.report(Problem::new(url.place.clone(), message).help(help));
        return None;
    }
    Some(host.to_owned())
}

impl Declared {
    /// As something that can be called.
    #[must_use]
    pub fn tool(self, http: Arc<dyn ports::Http>) -> Arc<dyn Tool> {
        Arc::new(Service { declared: self, http })
    }

    fn request(&self, arguments: &Value) -> Result<Request, String> {
        let given = |name: &str| Some(arguments.get(name).cloned().unwrap_or_default());
        let missing = std::cell::RefCell::new(None);
        let in_url = |name: &str| match arguments.get(name) {
            None | Some(Value::Null) => Some("".into()),
            Some(value) => match encoded(&http::text(value.clone())) {
                Some(text) => Some(text.into()),
                None => {
                    *missing.borrow_mut() = Some(name.to_owned());
                    Some("".into())
                }
            },
        };
        let request = http::request(&self.http, &in_url, &given)?;
        if let Some(name) = missing.into_inner() {
            return Err(format!("`{name}` cannot stand in an address"));
        }
        let takes_body = !["GET", "HEAD", "DELETE"].contains(&request.method.as_str());
        Ok(match &self.http.body {
            // Whoever says nothing of a body wants to hand on what there is.
            None if takes_body => http::with_body(request, arguments.clone()),
            Some(_) | None => request,
        })
    }
}

/// A part of an address that cannot lead anywhere else; nothing for what would.
fn encoded(text: &str) -> Option<String> {
    if text == "." || text == ".." {
        return None;
    }
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    Some(encoded)
}

struct Service {
    declared: Declared,
    http: Arc<dyn ports::Http>,
}

#[async_trait]
impl Tool for Service {
    fn spec(&self) -> &ToolSpec {
        &self.declared.spec
    }

    async fn call(&self, cx: &ToolContext, arguments: Value) -> Result<ToolOutput, ToolError> {
        let Declared { timeout, http, .. } = &self.declared;
        let arguments = if arguments.is_null() { Value::Object(Map::new()) } else { arguments };
        let wrong = |reason| ToolError::InvalidArguments { reason };
        let request = self.declared.request(&arguments).map_err(wrong)?;
        let request = Request { idempotency_key: Some(cx.call_id.clone()), ..request };
        let left = cx
            .deadline
            .map(|deadline| Instant::from_std(deadline).saturating_duration_since(Instant::now()));
        let within = left.map_or(*timeout, |left| left.min(*timeout));
        let response = self.http.send(&request, within).await.map_err(|error| match error {
            outbound::Error::Refused { .. } => ToolError::Refused { reason: error.to_string() },
            outbound::Error::Unavailable { .. } | outbound::Error::Ambiguous { .. } => {
                ToolError::Failed { reason: error.to_string() }
            }
        })?;
        let (body, expected) = http::read(http, &response);
        if expected {
            return Ok(ToolOutput(body));
        }
        let reason = http::refusal(response.status, body);
        Err(match response.status {
            401 | 403 => ToolError::Refused { reason },
            408 | 425 | 429 | 500.. => ToolError::Failed { reason },
            _ => ToolError::InvalidArguments { reason },
        })
    }
}

#[cfg(test)]
mod tests;
