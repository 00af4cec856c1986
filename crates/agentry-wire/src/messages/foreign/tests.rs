use serde_json::json;

use super::*;

fn check(asked: Value, sent: Value) {
    let request = ChatRequest::from_value(asked).unwrap();
    let mut left = Cow::Borrowed(&request);
    forget(&mut left);
    assert_eq!(serde_json::to_value(&left).unwrap(), sent);
}

#[test]
fn what_others_do_not_know_is_left_out() {
    let marker = json!({ "type": "ephemeral" });
    check(
        json!({
            "model": "m", "thinking": { "type": "adaptive" }, "top_k": 5, "user": "u", "reasoning_effort": "low",
            "tools": [{ "type": "function", "cache_control": marker, "function": { "name": "f", "strict": true, "cache_control": marker } }],
            "messages": [
                { "role": "system", "content": [{ "type": "text", "text": "s", "cache_control": marker }] },
                { "role": "user", "content": [{ "type": "file", "file": { "file_id": "x" }, "context": "c" }] },
                { "role": "assistant", "content": "a", "content_blocks": [{}], "reasoning_content": "hm", "tool_calls": [
                    { "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" }, "cache_control": marker },
                ] },
                { "role": "tool", "tool_call_id": "c", "content": "no", "is_error": true },
            ],
        }),
        json!({
            "model": "m", "user": "u", "reasoning_effort": "low",
            "tools": [{ "type": "function", "function": { "name": "f", "strict": true } }],
            "messages": [
                { "role": "system", "content": [{ "type": "text", "text": "s" }] },
                { "role": "user", "content": [{ "type": "file", "file": { "file_id": "x" } }] },
                { "role": "assistant", "content": "a", "reasoning_content": "hm", "tool_calls": [
                    { "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } },
                ] },
                { "role": "tool", "tool_call_id": "c", "content": "no" },
            ],
        }),
    );
}

#[test]
fn images_in_results_follow_as_the_users() {
    let image = json!({ "type": "image_url", "image_url": { "url": "https://example.org/a.png" } });
    let text = |text: &str| json!({ "type": "text", "text": text });
    let result = |id: &str, content: Value| json!({ "role": "tool", "tool_call_id": id, "content": content });
    let shown = text("(shown in the next message)");
    let go = json!({ "role": "user", "content": "go" });
    check(
        json!({ "model": "m", "messages": [
            result("a", json!([text("one"), image])), result("b", json!("two")), go, result("c", json!([image])),
        ] }),
        json!({ "model": "m", "messages": [
            result("a", json!([text("one"), shown])), result("b", json!("two")),
            { "role": "user", "content": [image] }, go,
            result("c", json!([shown])), { "role": "user", "content": [image] },
        ] }),
    );
}

#[test]
fn a_user_whose_name_is_too_long_has_a_short_one() {
    let asked = |user: &str| json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }], "user": user });
    let fits = "u".repeat(64);
    check(asked(&fits), asked(&fits));
    let digest = "635361c48bb9eab14198e76ea8ab7f1a41685d6ad62aa9146d301d4f17eb0ae0";
    check(asked(&"a".repeat(65)), asked(digest));
}

#[test]
fn a_request_without_such_things_is_not_copied() {
    let body =
        json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }], "user": "u" });
    let request = ChatRequest::from_value(body).unwrap();
    let mut left = Cow::Borrowed(&request);
    forget(&mut left);
    assert!(matches!(left, Cow::Borrowed(_)));
}
