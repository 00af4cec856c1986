//! Metadata as words that an index can find: one for each member, for which only an equal member has the same one.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::command::hex;

/// Two different members of one installation do not have this much in common.
const BYTES: usize = 12;

pub(super) fn tokens(metadata: &Map<String, Value>) -> Vec<String> {
    let mut tokens: Vec<_> = metadata.iter().map(|(name, value)| token(name, value)).collect();
    tokens.sort_unstable();
    tokens
}

fn token(name: &str, value: &Value) -> String {
    let mut text = Value::from(name).to_string();
    write(value, &mut text);
    let digest = Sha256::digest(text.as_bytes());
    hex(digest.get(..BYTES).unwrap_or_default())
}

/// The order of an object's members does not matter to its equals.
fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (name, value) in members {
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write(value, out);
                out.push(',');
            }
            out.push('}');
        }
    }
}

#[cfg(test)]
mod tests;
