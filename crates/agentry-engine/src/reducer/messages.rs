//! A conversation as a channel: messages are recognised by their ids.

use agentry_core::run::Delta;
use serde_json::Value;

/// Removes every message before it.
const REMOVE_ALL: &str = "__remove_all__";

/// Appends what is new; where a message is replaced or removed, the whole list is set.
pub(super) fn add(current: Option<&Value>, value: Value) -> Result<Delta, String> {
    let mut added: Vec<Value> = match value {
        Value::Array(items) => items,
        one => vec![one],
    };
    for message in &mut added {
        normalise(message)?;
    }
    let known: &[Value] = match current {
        Some(Value::Array(list)) => list,
        Some(_) | None => &[],
    };
    let cleared = added.iter().rposition(|one| removes(one) && id(one) == Some(REMOVE_ALL));
    if let Some(cleared) = cleared {
        return Ok(Delta::Set(Value::Array(added.split_off(cleared + 1))));
    }
    let fresh = |one: &Value| !removes(one) && id(one).is_none_or(|it| !contains(known, it));
    if added.iter().all(fresh) && distinct(&added) {
        return Ok(Delta::Append(added));
    }
    let mut merged = known.to_vec();
    let mut gone = Vec::new();
    for message in added {
        let place = id(&message).and_then(|it| merged.iter().position(|one| id(one) == Some(it)));
        match (place, removes(&message)) {
            (Some(place), true) => gone.push(place),
            (Some(place), false) => {
                gone.retain(|one| *one != place);
                if let Some(slot) = merged.get_mut(place) {
                    *slot = message;
                }
            }
            (None, true) => {
                let name = id(&message).unwrap_or_default();
                return Err(format!("there is no message `{name}` to remove"));
            }
            (None, false) => merged.push(message),
        }
    }
    let mut place = 0;
    merged.retain(|_| {
        place += 1;
        !gone.contains(&(place - 1))
    });
    Ok(Delta::Set(Value::Array(merged)))
}

/// A bare text, or a pair of role and text, is a message too.
fn normalise(message: &mut Value) -> Result<(), String> {
    match message {
        Value::String(text) => {
            *message = serde_json::json!({ "type": "human", "content": std::mem::take(text) });
            Ok(())
        }
        Value::Object(_) => Ok(()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            Err("it holds messages, so it takes objects with `type` and `content`".to_owned())
        }
    }
}

fn id(message: &Value) -> Option<&str> {
    message.get("id").and_then(Value::as_str)
}

fn removes(message: &Value) -> bool {
    message.get("type").is_some_and(|kind| kind == "remove")
}

fn contains(list: &[Value], wanted: &str) -> bool {
    list.iter().any(|one| id(one) == Some(wanted))
}

fn distinct(list: &[Value]) -> bool {
    let mut seen = std::collections::HashSet::new();
    list.iter().filter_map(id).all(|id| seen.insert(id))
}
