use serde_json::{Value, json};

use super::*;
use crate::testing::exchanges;

/// What is sent, or which parameter cannot be.
fn check(fields: Value, expected: Result<Value, &str>) {
    let mut request = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let request = ChatRequest::from_value(request).unwrap();
    match (body(&request), expected) {
        (Ok(sent), Ok(expected)) => {
            let mut all = json!({ "model": "m", "stream": false,
                "messages": [{ "role": "user", "content": "hi" }] });
            all.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
            assert_eq!(serde_json::from_slice::<Value>(&sent).unwrap(), all);
        }
        (Err(ModelError::Invalid { param, .. }), Err(expected)) => {
            assert_eq!(param.as_deref(), Some(expected));
        }
        (found, expected) => panic!("{found:?} instead of {expected:?}"),
    }
}

#[test]
fn parameters_become_options() {
    check(
        json!({ "temperature": 0.5, "top_p": 0.9, "top_k": 4, "max_tokens": 7, "seed": 1, "stop": "x",
            "stream": true, "keep_alive": "5m", "options": { "num_ctx": 99, "seed": 2 }, "user": "u",
            "response_format": { "type": "json_schema", "json_schema": { "schema": { "a": 1 } } } }),
        Ok(json!({ "stream": true, "keep_alive": "5m", "format": { "a": 1 },
            "options": { "temperature": 0.5, "top_p": 0.9, "top_k": 4, "num_predict": 7,
                         "stop": ["x"], "num_ctx": 99, "seed": 2 } })),
    );
    check(json!({ "response_format": { "type": "json_object" } }), Ok(json!({ "format": "json" })));
    check(json!({ "reasoning_effort": "none" }), Ok(json!({ "think": false })));
    check(json!({ "reasoning_effort": "high" }), Ok(json!({ "think": true })));
    let model = "gpt-oss:20b";
    check(
        json!({ "model": model, "reasoning_effort": "minimal" }),
        Ok(json!({ "model": model, "think": "low" })),
    );
}

#[test]
fn turns_keep_their_calls_and_images() {
    let messages = json!([
        { "role": "developer", "content": "be brief" },
        { "role": "user", "content": [
            { "type": "text", "text": "look" },
            { "type": "image_url", "image_url": { "url": "data:image/png;base64,AA" } } ] },
        { "role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [
            { "id": "c", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } }] },
        { "role": "tool", "tool_call_id": "c", "content": "one" },
    ]);
    let tool = json!({ "type": "function", "function": { "name": "f" } });
    check(
        json!({ "messages": messages, "tools": [tool], "tool_choice": "auto" }),
        Ok(json!({
            "messages": [
                { "role": "system", "content": "be brief" },
                { "role": "user", "content": "look", "images": ["AA"] },
                { "role": "assistant", "content": "", "thinking": "hm", "tool_calls": [
                    { "id": "c", "function": { "name": "f", "arguments": { "a": 1 } } }] },
                { "role": "tool", "content": "one", "tool_call_id": "c", "tool_name": "f" },
            ],
            "tools": [{ "type": "function", "function": { "name": "f", "description": "",
                "parameters": { "type": "object", "properties": {} } } }],
        })),
    );
    check(json!({ "tools": [tool], "tool_choice": "none" }), Ok(json!({})));
}

#[test]
fn what_cannot_be_asked_is_refused_by_its_name() {
    check(json!({ "n": 2 }), Err("n"));
    check(json!({ "logit_bias": {} }), Err("logit_bias"));
    check(json!({ "tool_choice": "required" }), Err("tool_choice"));
    check(json!({ "tools": [{ "type": "web_search" }] }), Err("tools[0]"));
    let image = json!([{ "type": "image_url", "image_url": { "url": "https://x/a.png" } }]);
    check(
        json!({ "messages": [{ "role": "user", "content": image }] }),
        Err("messages[0].content[0]"),
    );
    let call = json!({ "id": "c", "function": { "name": "f", "arguments": "[" } });
    check(
        json!({ "messages": [{ "role": "assistant", "content": null, "tool_calls": [call] }] }),
        Err("messages[0].tool_calls[0].function.arguments"),
    );
}

#[test]
fn a_recorded_request_is_what_we_would_send() {
    for exchange in exchanges("ollama") {
        if exchange.request.path != "/api/chat" {
            continue;
        }
        let mut recorded = exchange.sent();
        recorded.as_object_mut().unwrap().retain(|_, value| *value != json!({}));
        let mut asked = recorded.clone();
        asked["reasoning_effort"] = "none".into();
        asked.as_object_mut().unwrap().remove("think");
        let sent = body(&ChatRequest::from_value(asked).unwrap()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&sent).unwrap(), recorded, "{}", exchange.name);
    }
}
