use proptest::prelude::*;

use super::*;
use crate::responses::request as read;
use crate::testing::exchanges;

/// What is sent, or which parameter cannot be.
fn check(fields: Value, expected: Result<Value, &str>) {
    let mut request = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let request = ChatRequest::from_value(request).unwrap();
    match (body(&request), expected) {
        (Ok(sent), Ok(expected)) => {
            let mut all = json!({ "model": "m", "store": false,
                "input": [{ "type": "message", "role": "user", "content": "hi" }] });
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
fn parameters_have_their_names_and_places() {
    check(
        json!({ "max_tokens": 9, "temperature": 0.5, "stream": true, "seed": 1, "user": "u",
            "reasoning_effort": "low", "verbosity": "low", "logprobs": true, "top_logprobs": 2,
            "response_format": { "type": "json_schema",
                "json_schema": { "name": "n", "schema": {}, "strict": true } },
            "tools": [
                { "type": "function", "function": { "name": "f", "parameters": {} } },
                { "type": "custom", "custom": { "name": "g", "format": { "type": "grammar",
                    "grammar": { "definition": "a+", "syntax": "regex" } } } },
            ],
            "tool_choice": { "type": "function", "function": { "name": "f" } } }),
        Ok(json!({ "max_output_tokens": 9, "temperature": 0.5, "stream": true, "user": "u",
            "reasoning": { "effort": "low" }, "top_logprobs": 2,
            "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
            "text": { "verbosity": "low",
                "format": { "type": "json_schema", "name": "n", "schema": {}, "strict": true } },
            "tools": [
                { "type": "function", "name": "f", "parameters": {}, "strict": false },
                { "type": "custom", "name": "g",
                  "format": { "type": "grammar", "definition": "a+", "syntax": "regex" } },
            ],
            "tool_choice": { "type": "function", "name": "f" } })),
    );
    check(
        json!({ "web_search_options": { "search_context_size": "low" } }),
        Ok(json!({ "tools": [{ "type": "web_search", "search_context_size": "low" }] })),
    );
    check(json!({ "n": 2 }), Err("n"));
    check(json!({ "stop": "x" }), Err("stop"));
    check(json!({ "logit_bias": {} }), Err("logit_bias"));
}

#[test]
fn turns_become_items() {
    let thought = json!([
        { "type": "reasoning.summary", "summary": "hm", "format": "openai-responses-v1", "id": "rs" },
        { "type": "reasoning.encrypted", "data": "gA", "format": "openai-responses-v1", "id": "rs" },
        { "type": "reasoning.text", "text": "x", "signature": "y", "format": "anthropic-claude-v1" },
    ]);
    check(
        json!({ "messages": [
            { "role": "user", "content": [
                { "type": "text", "text": "look" },
                { "type": "image_url", "image_url": { "url": "https://x/a.png", "detail": "low" } },
                { "type": "file", "file": { "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA" } },
            ] },
            { "role": "assistant", "content": "ok", "reasoning_details": thought, "tool_calls": [
                { "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } },
                { "id": "d", "type": "custom", "custom": { "name": "g", "input": "ls" } } ] },
            { "role": "tool", "tool_call_id": "d", "content": "x" },
            { "role": "tool", "tool_call_id": "c", "content": [{ "type": "text", "text": "y" }] },
        ] }),
        Ok(json!({
            "include": ["reasoning.encrypted_content"],
            "input": [
                { "type": "message", "role": "user", "content": [
                    { "type": "input_text", "text": "look" },
                    { "type": "input_image", "image_url": "https://x/a.png", "detail": "low" },
                    { "type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA" },
                ] },
                { "type": "reasoning", "id": "rs", "encrypted_content": "gA",
                  "summary": [{ "type": "summary_text", "text": "hm" }] },
                { "type": "message", "role": "assistant",
                  "content": [{ "type": "output_text", "text": "ok" }] },
                { "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" },
                { "type": "custom_tool_call", "call_id": "d", "name": "g", "input": "ls" },
                { "type": "custom_tool_call_output", "call_id": "d", "output": "x" },
                { "type": "function_call_output", "call_id": "c",
                  "output": [{ "type": "input_text", "text": "y" }] },
            ],
        })),
    );
}

/// There and back again.
fn returned(request: &ChatRequest) -> ChatRequest {
    let sent: Value = serde_json::from_slice(&body(request).unwrap()).unwrap();
    read(sent).unwrap()
}

#[test]
fn recorded_requests_survive_the_way_there_and_back() {
    for exchange in exchanges("openai_responses") {
        let Ok(request) = read(exchange.sent()) else { continue };
        let mut expected = serde_json::to_value(&request).unwrap();
        // Instructions are the first message; a function says whether it is strict.
        for tool in expected.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
            let strict = tool["function"]["strict"] == true;
            tool["function"]["strict"] = strict.into();
        }
        let found = serde_json::to_value(returned(&request)).unwrap();
        assert_eq!(found, expected, "{}", exchange.name);
    }
}

fn any_message() -> impl Strategy<Value = Message> {
    let text = "[a-zé \"\\\\]{1,6}";
    let call = (text, any::<bool>()).prop_map(|(name, custom)| ToolCall {
        id: format!("c-{name}"),
        kind: if custom { CallKind::Custom } else { CallKind::Function },
        name,
        arguments: "{\"a\":1}".to_owned(),
        extra: Map::new(),
    });
    prop_oneof![
        text.prop_map(Message::user),
        text.prop_map(Message::system),
        (text, text).prop_map(|(text, url)| Message {
            content: Some(Content::Parts(vec![
                Part::Text { text, extra: Map::new() },
                Part::ImageUrl { image_url: json!({ "url": url }), extra: Map::new() },
            ])),
            ..Message::empty(Role::User)
        }),
        (text, prop::collection::vec(call, 0..3))
            .prop_map(|(text, tool_calls)| Message { tool_calls, ..Message::assistant(text) }),
        (text, text).prop_map(|(id, text)| Message::tool(id, text)),
    ]
}

proptest! {
    #[test]
    fn conversations_survive_the_way_there_and_back(messages in prop::collection::vec(any_message(), 1..6), max in prop::option::of(1_u64..9)) {
        let mut messages = messages;
        // What an assistant says in one go comes back as one message.
        messages.dedup_by(|next, last| next.role == Role::Assistant && last.role == Role::Assistant);
        let request = ChatRequest {
            model: "m".to_owned(),
            messages,
            max_completion_tokens: max,
            ..ChatRequest::default()
        };
        prop_assert_eq!(returned(&request), request);
    }
}
