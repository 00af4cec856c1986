use agentry_core::chat::{CallKind, FinishReason};
use serde_json::json;

use super::*;

fn head() -> Head {
    Head { id: "c1".to_owned(), model: "m".to_owned(), created: 7, ..Head::default() }
}

/// Encodes `events`; what a client gets must be `expected`: chunks without their head, `"[DONE]"` at the end.
fn check(include_usage: bool, events: Vec<Event>, expected: Vec<Value>) {
    let mut chunks = Chunks::new(head(), include_usage);
    let mut out = Vec::new();
    for event in events {
        chunks.encode(event, &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    let frames: Vec<Value> = text
        .split_terminator("\n\n")
        .map(|frame| match frame.strip_prefix("data: ").unwrap() {
            "[DONE]" => json!("[DONE]"),
            data => {
                let mut chunk: Value = serde_json::from_str(data).unwrap();
                let fields = chunk.as_object_mut().unwrap();
                for (name, value) in [
                    ("id", json!("c1")),
                    ("object", json!("chat.completion.chunk")),
                    ("created", json!(7)),
                    ("model", json!("m")),
                ] {
                    assert_eq!(fields.shift_remove(name), Some(value), "{name}");
                }
                chunk
            }
        })
        .collect();
    assert_eq!(frames, expected);
}

fn choice(index: u32, delta: Value, finish: Value) -> Value {
    json!([{ "index": index, "delta": delta, "logprobs": null, "finish_reason": finish }])
}

#[test]
fn text_tools_and_usage_become_the_chunks_that_clients_read() {
    let text = |text: &str| Event::Text { choice: 0, text: text.to_owned() };
    let stop = Event::Finished { choice: 0, reason: FinishReason::Stop };
    check(
        false,
        vec![
            Event::Started(head()),
            text("a"),
            text("b"),
            Event::Usage(Usage::new(1, 2)),
            stop.clone(),
            Event::Done,
        ],
        vec![
            json!({ "choices": choice(0, json!({ "role": "assistant", "content": "a" }), json!(null)) }),
            json!({ "choices": choice(0, json!({ "content": "b" }), json!(null)) }),
            json!({ "choices": choice(0, json!({}), json!("stop")) }),
            json!("[DONE]"),
        ],
    );
    check(
        true,
        vec![Event::Usage(Usage::new(1, 2)), stop, Event::Done],
        vec![
            json!({ "choices": choice(0, json!({}), json!("stop")), "usage": null }),
            json!({ "choices": [], "usage": Usage::new(1, 2) }),
            json!("[DONE]"),
        ],
    );
    let call = |index, id: &str, kind, name: &str| Event::ToolCall {
        choice: 1,
        index,
        id: id.to_owned(),
        kind,
        name: name.to_owned(),
    };
    let arguments =
        |index, text: &str| Event::ToolArguments { choice: 1, index, fragment: text.to_owned() };
    check(
        false,
        vec![
            call(0, "x", CallKind::Function, "f"),
            arguments(0, "{}"),
            call(1, "y", CallKind::Custom, "g"),
            arguments(1, "go"),
        ],
        vec![
            json!({ "choices": choice(1, json!({ "role": "assistant", "content": null, "tool_calls": [
                { "index": 0, "id": "x", "type": "function", "function": { "name": "f", "arguments": "" } }
            ] }), json!(null)) }),
            json!({ "choices": choice(1, json!({ "tool_calls": [
                { "index": 0, "function": { "arguments": "{}" } }
            ] }), json!(null)) }),
            json!({ "choices": choice(1, json!({ "tool_calls": [
                { "index": 1, "id": "y", "type": "custom", "custom": { "name": "g", "input": "" } }
            ] }), json!(null)) }),
            json!({ "choices": choice(1, json!({ "tool_calls": [
                { "index": 1, "custom": { "input": "go" } }
            ] }), json!(null)) }),
        ],
    );
}

#[test]
fn a_broken_answer_is_told_with_all_four_fields() {
    let mut out = Vec::new();
    let refused = Refused {
        status: 502,
        code: "model_truncated",
        message: "the answer was cut off before its end",
        param: None,
    };
    Chunks::new(head(), false).fail(&refused, &mut out);
    let text = String::from_utf8(out).unwrap();
    let data = text.strip_prefix("event: error\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
    let error: Value = serde_json::from_str(data).unwrap();
    assert_eq!(
        error,
        json!({ "error": {
            "message": "the answer was cut off before its end",
            "type": "server_error",
            "param": null,
            "code": "model_truncated",
        } })
    );
}
