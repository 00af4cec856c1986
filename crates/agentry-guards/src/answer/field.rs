//! Texts of an answer that have no event of their own: they arrive in pieces as other texts do, in fields of deltas.

use agentry_core::chat::REASONING_DETAILS;
use serde_json::{Map, Value};

use crate::carried;

/// Where in a delta a text stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Field {
    /// Right in the delta.
    Named(String),
    /// What is said, as text.
    Transcript,
    /// A thought, in an object that says which it is.
    Thought { name: &'static str, around: Map<String, Value> },
}

const AUDIO: &str = "audio";
const TRANSCRIPT: &str = "transcript";
/// The fields of a thought that have text.
const THOUGHTS: [&str; 2] = ["text", "summary"];

impl Field {
    pub(super) fn is_thought(&self) -> bool {
        matches!(self, Self::Thought { .. })
    }

    /// Whether a text in `other` goes on with the one that stands here.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Thought { name, around }, Self::Thought { name: other_name, around: other }) => {
                let same = |what: &str| around.get(what) == other.get(what);
                name == other_name && same("index") && same("type")
            }
            (Self::Named(name), Self::Named(other)) => name == other,
            (Self::Transcript, Self::Transcript) => true,
            (Self::Thought { .. } | Self::Named(_) | Self::Transcript, _) => false,
        }
    }

    /// A delta with nothing but this text.
    pub(super) fn with(&self, text: String) -> Map<String, Value> {
        let one = |name: &str, value: Value| Map::from_iter([(name.to_owned(), value)]);
        match self {
            Self::Named(name) => one(name, text.into()),
            Self::Transcript => one(AUDIO, one(TRANSCRIPT, text.into()).into()),
            Self::Thought { name, around } => {
                let mut detail = around.clone();
                detail.insert((*name).to_owned(), text.into());
                one(REASONING_DETAILS, vec![Value::Object(detail)].into())
            }
        }
    }
}

/// Takes out of a delta the texts that may go on in the next one. What stays is complete.
pub(super) fn take(fields: &mut Map<String, Value>) -> Vec<(Field, String)> {
    let mut taken = Vec::new();
    let mut rest = Map::new();
    for (name, value) in std::mem::take(fields) {
        match value {
            Value::String(text) if !carried::is_opaque(&name) => {
                taken.push((Field::Named(name), text));
            }
            Value::Object(mut audio) if name == AUDIO => {
                match audio.shift_remove(TRANSCRIPT) {
                    Some(Value::String(text)) => taken.push((Field::Transcript, text)),
                    other => audio.extend(other.map(|other| (TRANSCRIPT.to_owned(), other))),
                }
                if !audio.is_empty() {
                    rest.insert(name, audio.into());
                }
            }
            Value::Array(details) if name == REASONING_DETAILS => {
                let whole: Vec<Value> =
                    details.into_iter().filter_map(|detail| unsigned(detail, &mut taken)).collect();
                if !whole.is_empty() {
                    rest.insert(name, whole.into());
                }
            }
            value => {
                rest.insert(name, value);
            }
        }
    }
    *fields = rest;
    taken
}

/// A thought goes on until it is signed. Gives back a detail that is complete.
fn unsigned(detail: Value, taken: &mut Vec<(Field, String)>) -> Option<Value> {
    let Value::Object(mut around) = detail else { return Some(detail) };
    let is_signed =
        around.get("signature").and_then(Value::as_str).is_some_and(|it| !it.is_empty());
    let text = |name: &&str| {
        around.get(*name).and_then(Value::as_str).is_some_and(|text| !text.is_empty())
    };
    let name = THOUGHTS.into_iter().find(text).filter(|_| !is_signed);
    match name.and_then(|name| Some((name, around.shift_remove(name)?))) {
        Some((name, Value::String(text))) => {
            taken.push((Field::Thought { name, around }, text));
            None
        }
        Some((name, other)) => {
            around.insert(name.to_owned(), other);
            Some(around.into())
        }
        None => Some(around.into()),
    }
}
