//! Tool calls out of their fragments, also out of those of servers that number them badly or not at all.

use agentry_core::chat::{CallKind, Event};
use serde_json::Value;

use crate::Step;

/// One entry of a delta's `tool_calls`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CallDelta {
    index: Option<u32>,
    id: String,
    kind: CallKind,
    name: String,
    fragment: String,
}

impl From<&Value> for CallDelta {
    fn from(delta: &Value) -> Self {
        let string = |value: Option<&Value>| match value {
            Some(Value::String(text)) => text.clone(),
            Some(object @ Value::Object(_)) => object.to_string(),
            _ => String::new(),
        };
        let (kind, body, arguments) = match delta.get("custom") {
            Some(body @ Value::Object(_)) => (CallKind::Custom, Some(body), "input"),
            _ => (CallKind::Function, delta.get("function"), "arguments"),
        };
        Self {
            index: delta.get("index").and_then(Value::as_u64).and_then(|at| at.try_into().ok()),
            id: string(delta.get("id")),
            kind,
            name: string(body.and_then(|body| body.get("name"))),
            fragment: string(body.and_then(|body| body.get(arguments))),
        }
    }
}

#[derive(Debug)]
struct Known {
    choice: u32,
    /// The number that the server gives it, which may be another call's too.
    theirs: Option<u32>,
    /// The number that we give it.
    ours: u32,
    id: String,
}

/// The calls that have begun.
#[derive(Debug, Default)]
pub(super) struct Calls {
    known: Vec<Known>,
}

impl Calls {
    pub(super) fn push(&mut self, choice: u32, delta: CallDelta, steps: &mut Vec<Step>) {
        let CallDelta { index, id, kind, name, fragment } = delta;
        let at = match self.find(choice, index, &id, &name) {
            Some(ours) => ours,
            None => {
                let ours = self.next(choice);
                let id = if id.is_empty() { made_up_id(choice, ours) } else { id };
                self.known.push(Known { choice, theirs: index, ours, id: id.clone() });
                steps.push(Ok(Event::ToolCall { choice, index: ours, id, kind, name }));
                ours
            }
        };
        if !fragment.is_empty() {
            steps.push(Ok(Event::ToolArguments { choice, index: at, fragment }));
        }
    }

    /// Which call a fragment belongs to; none when it begins a new one.
    fn find(&self, choice: u32, index: Option<u32>, id: &str, name: &str) -> Option<u32> {
        let mut known = self.known.iter().rev().filter(|known| known.choice == choice);
        let found = if !id.is_empty() {
            known.find(|known| known.id == id)
        } else if index.is_some() {
            known.find(|known| known.theirs == index)
        } else if name.is_empty() {
            known.next()
        } else {
            None
        };
        found.map(|known| known.ours)
    }

    fn next(&self, choice: u32) -> u32 {
        let count = self.known.iter().filter(|known| known.choice == choice).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

/// For servers that give none; the answer to the call needs it.
pub(super) fn made_up_id(choice: u32, index: u32) -> String {
    format!("call_{choice}_{index}")
}
