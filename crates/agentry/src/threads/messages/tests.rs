use agentry_core::chat::{Choice, Head, Usage};

use super::*;

#[test]
fn messages_are_brought_into_one_shape() {
    let check = |given: Value, expected: Value| {
        assert_eq!(normal(given.clone(), |number| format!("m{number}")), expected, "{given}");
    };
    check(json!("hi"), json!([{ "type": "human", "content": "hi", "id": "m0" }]));
    check(
        json!([{ "role": "user", "content": "a" }, { "role": "assistant", "content": "b", "id": "x" }]),
        json!([{ "content": "a", "type": "human", "id": "m0" }, { "content": "b", "id": "x", "type": "ai" }]),
    );
    check(
        json!({ "type": "system", "content": "s", "id": null }),
        json!([{ "type": "system", "content": "s", "id": "m0" }]),
    );
}

#[test]
fn a_model_is_asked_what_stands_in_the_thread() {
    let thread = json!([
        { "type": "system", "content": "be brief" },
        { "type": "human", "content": [{ "type": "text", "text": "hi" }] },
        { "type": "ai", "content": "", "tool_calls": [{ "name": "f", "args": { "n": 1 }, "id": "c1" }] },
        { "type": "tool", "content": "2", "tool_call_id": "c1" },
    ]);
    let call = ToolCall {
        id: "c1".to_owned(),
        kind: CallKind::Function,
        name: "f".to_owned(),
        arguments: "{\"n\":1}".to_owned(),
        extra: Map::new(),
    };
    let text = Part::Text { text: "hi".to_owned(), extra: Map::new() };
    let expected = vec![
        Message::system("be brief"),
        Message { content: Some(Content::Parts(vec![text])), ..Message::empty(Role::User) },
        Message { tool_calls: vec![call], ..Message::assistant("") },
        Message::tool("c1", "2"),
    ];
    assert_eq!(asked(&thread), Ok(expected));
}

#[test]
fn what_is_no_message_is_named() {
    let check = |message: Value, expected: &str| {
        let refused = asked(&json!([message])).unwrap_err();
        assert!(refused.starts_with("messages[0]: ") && refused.contains(expected), "{refused}");
    };
    check(json!({ "type": "ghost", "content": "x" }), "no type");
    check(json!({ "type": "human" }), "content is missing");
    check(json!({ "type": "human", "content": 7 }), "a text or a list");
    check(json!({ "type": "tool", "content": "x" }), "which call");
    check(json!(7), "no type");
}

#[test]
fn an_answer_says_all_that_was_said() {
    let calls = ["{\"n\":1}", "{"].map(|arguments| ToolCall {
        id: "c1".to_owned(),
        kind: CallKind::Function,
        name: "f".to_owned(),
        arguments: arguments.to_owned(),
        extra: Map::new(),
    });
    let message = Message { tool_calls: calls.into(), ..Message::assistant("hello") };
    let response = ChatResponse {
        head: Head { model: "m-1".to_owned(), ..Head::default() },
        choices: vec![Choice {
            index: 0,
            message,
            finish_reason: Some(FinishReason::ToolCalls),
            logprobs: None,
            extra: Map::new(),
        }],
        usage: Some(Usage::new(3, 4)),
    };
    let shown = answer("m1", &response);
    assert_eq!((&shown["id"], &shown["content"]), (&json!("m1"), &json!("hello")));
    let call = json!([{ "name": "f", "args": { "n": 1 }, "id": "c1", "type": "tool_call" }]);
    assert_eq!(shown["tool_calls"], call);
    assert_eq!(shown["invalid_tool_calls"][0]["args"], "{");
    assert_eq!(shown["usage_metadata"]["total_tokens"], 7);
    let metadata = json!({ "model_name": "m-1", "finish_reason": "tool_calls" });
    assert_eq!(shown["response_metadata"], metadata);
}
