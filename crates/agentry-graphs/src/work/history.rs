//! What somebody is asked, from whatever a graph has: a text, a conversation, or any value.

use agentry_core::chat::{Message, Role};
use serde_json::Value;

/// A conversation is a list of messages, each with a `type` or a `role`; what tools said in it is left out.
pub(crate) fn messages(input: Value) -> Vec<Message> {
    if let Value::Array(items) = &input
        && !items.is_empty()
        && items.iter().all(|item| item.get("content").is_some())
    {
        return items.iter().filter_map(message).collect();
    }
    let text = match input {
        Value::String(text) => text,
        other => other.to_string(),
    };
    vec![Message::user(text)]
}

fn message(item: &Value) -> Option<Message> {
    let kind = item.get("role").or_else(|| item.get("type")).and_then(Value::as_str);
    let role = match kind.unwrap_or("human") {
        "system" | "developer" => Role::System,
        "ai" | "assistant" => Role::Assistant,
        "tool" | "remove" => return None,
        _ => Role::User,
    };
    let content = item.get("content").cloned().unwrap_or_default();
    let content = serde_json::from_value(content).ok().flatten();
    content.as_ref()?;
    Some(Message { content, ..Message::empty(role) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_there_is_becomes_messages() {
        let check = |input: Value, expected: &[(Role, &str)]| {
            let found = messages(input.clone());
            let found: Vec<_> = found.iter().map(|one| (one.role, one.text())).collect();
            let expected: Vec<_> =
                expected.iter().map(|(role, text)| (*role, (*text).to_owned())).collect();
            assert_eq!(found, expected, "{input}");
        };
        check(json!("why?"), &[(Role::User, "why?")]);
        check(json!({ "a": 1 }), &[(Role::User, r#"{"a":1}"#)]);
        check(json!([1, 2]), &[(Role::User, "[1,2]")]);
        check(json!([]), &[(Role::User, "[]")]);
        let talk = json!([
            { "type": "system", "content": "be kind" }, { "type": "human", "content": "hello" },
            { "role": "assistant", "content": "hi" }, { "type": "tool", "content": "7" },
            { "type": "ai", "content": null },
        ]);
        let expected = [(Role::System, "be kind"), (Role::User, "hello"), (Role::Assistant, "hi")];
        check(talk, &expected);
    }
}
