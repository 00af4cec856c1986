use serde_json::{Value, json};

use super::*;
use crate::testing::any_json;

/// What chat completions would have asked, or which parameter is wrong.
fn check(body: Value, expected: Result<Value, &str>) {
    match (request(body.clone()), expected) {
        (Ok(request), Ok(expected)) => {
            assert_eq!(serde_json::to_value(request).unwrap(), expected, "{body}");
        }
        (Err(error), Err(param)) => assert_eq!(error.param, param, "{error} for {body}"),
        (found, expected) => panic!("{found:?} instead of {expected:?} for {body}"),
    }
}

#[test]
fn a_text_is_a_users_message() {
    check(
        json!({ "model": "m", "input": "hi", "instructions": "be brief", "max_output_tokens": 9,
                "stream": true, "store": true, "metadata": { "a": "b" }, "user": "u" }),
        Ok(json!({ "model": "m", "max_completion_tokens": 9, "stream": true, "user": "u",
            "messages": [
                { "role": "system", "content": "be brief" }, { "role": "user", "content": "hi" },
            ] })),
    );
}

#[test]
fn what_an_assistant_did_in_one_go_is_one_message() {
    let input = json!([
        { "role": "user", "content": [
            { "type": "input_text", "text": "what is it?" },
            { "type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low" },
            { "type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA" },
        ] },
        { "type": "reasoning", "id": "rs_1", "summary": [{ "type": "summary_text", "text": "hm" }],
          "encrypted_content": "gAAA" },
        { "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
          "content": [{ "type": "output_text", "text": "I look", "annotations": [] }] },
        { "type": "function_call", "id": "fc_1", "call_id": "c1", "name": "look", "arguments": "{}" },
        { "type": "custom_tool_call", "call_id": "c2", "name": "run", "input": "ls" },
        { "type": "function_call_output", "call_id": "c1", "output": "a cat" },
        { "type": "custom_tool_call_output", "call_id": "c2",
          "output": [{ "type": "input_text", "text": "files" }] },
        { "role": "assistant", "content": [{ "type": "refusal", "refusal": "no" }] },
        { "role": "developer", "content": "go on" },
    ]);
    check(
        json!({ "model": "m", "input": input }),
        Ok(json!({ "model": "m", "messages": [
            { "role": "user", "content": [
                { "type": "text", "text": "what is it?" },
                { "type": "image_url",
                  "image_url": { "url": "data:image/png;base64,AA", "detail": "low" } },
                { "type": "file",
                  "file": { "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA" } },
            ] },
            { "role": "assistant", "content": "I look",
              "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "look", "arguments": "{}" } },
                { "id": "c2", "type": "custom", "custom": { "name": "run", "input": "ls" } },
              ],
              "reasoning_details": [
                { "type": "reasoning.summary", "format": "openai-responses-v1", "id": "rs_1",
                  "summary": "hm" },
                { "type": "reasoning.encrypted", "data": "gAAA", "format": "openai-responses-v1",
                  "id": "rs_1" },
              ] },
            { "role": "tool", "content": "a cat", "tool_call_id": "c1" },
            { "role": "tool", "content": [{ "type": "text", "text": "files" }],
              "tool_call_id": "c2" },
            { "role": "assistant", "content": null, "refusal": "no" },
            { "role": "developer", "content": "go on" },
        ] })),
    );
}

#[test]
fn tools_and_formats_are_nested_as_chat_completions_nest_them() {
    check(
        json!({
            "model": "m", "input": "hi", "parallel_tool_calls": false,
            "tools": [
                { "type": "function", "name": "f", "description": null,
                  "parameters": { "type": "object" }, "strict": true },
                { "type": "custom", "name": "g",
                  "format": { "type": "grammar", "syntax": "regex", "definition": "a+" } },
                { "type": "web_search", "search_context_size": "low" },
            ],
            "tool_choice": { "type": "function", "name": "f" },
            "text": { "verbosity": "low",
                      "format": { "type": "json_schema", "name": "n", "schema": {}, "strict": true } },
            "reasoning": { "effort": "low", "summary": "auto" },
            "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
            "top_logprobs": 2,
        }),
        Ok(json!({
            "model": "m", "messages": [{ "role": "user", "content": "hi" }],
            "parallel_tool_calls": false,
            "tools": [
                { "type": "function",
                  "function": { "name": "f", "parameters": { "type": "object" }, "strict": true } },
                { "type": "custom", "custom": { "name": "g", "format": { "type": "grammar",
                    "grammar": { "definition": "a+", "syntax": "regex" } } } },
                { "type": "web_search", "search_context_size": "low" },
            ],
            "tool_choice": { "type": "function", "function": { "name": "f" } },
            "response_format": { "type": "json_schema",
                                 "json_schema": { "name": "n", "schema": {}, "strict": true } },
            "verbosity": "low", "reasoning_effort": "low", "logprobs": true, "top_logprobs": 2,
        })),
    );
    let chosen = |choice: Value, expected: Value| {
        check(
            json!({ "model": "m", "input": "hi", "tool_choice": choice }),
            Ok(json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }],
                       "tool_choice": expected })),
        );
    };
    for word in ["auto", "none", "required"] {
        chosen(word.into(), word.into());
    }
    chosen(
        json!({ "type": "custom", "name": "g" }),
        json!({ "type": "custom", "custom": { "name": "g" } }),
    );
    chosen(
        json!({ "type": "allowed_tools", "mode": "auto", "tools": [{ "type": "function", "name": "f" }] }),
        json!({ "type": "allowed_tools", "allowed_tools": { "mode": "auto",
            "tools": [{ "type": "function", "function": { "name": "f" } }] } }),
    );
}

#[test]
fn what_cannot_be_done_is_refused_by_its_name() {
    check(json!([]), Err(""));
    check(json!({ "input": "hi" }), Err("model"));
    check(json!({ "model": "m" }), Err("input"));
    check(json!({ "model": "m", "input": [] }), Err("input"));
    for (name, value) in [
        ("previous_response_id", json!("resp_1")),
        ("conversation", json!("conv_1")),
        ("prompt", json!({ "id": "pmpt_1" })),
        ("background", json!(true)),
        ("temperature", json!("hot")),
        ("tool_choice", json!("some")),
        ("include", json!("all")),
    ] {
        let mut body = json!({ "model": "m", "input": "hi" });
        body[name] = value;
        check(body, Err(name));
    }
    for (item, param) in [
        (json!(3), "input[1]"),
        (json!({ "type": "item_reference", "id": "rs_1" }), "input[1]"),
        (json!({ "type": "web_search_call", "id": "ws_1" }), "input[1]"),
        (json!({ "type": "function_call", "name": "f" }), "input[1].call_id"),
        (json!({ "role": "tool", "content": "x" }), "input[1].role"),
        (json!({ "role": "user" }), "input[1].content"),
        (json!({ "role": "user", "content": [{ "type": "video" }] }), "input[1].content[0].type"),
        (
            json!({ "role": "user", "content": [{ "type": "input_image", "file_id": "f" }] }),
            "input[1].content[0].image_url",
        ),
    ] {
        check(
            json!({ "model": "m", "input": [{ "role": "user", "content": "hi" }, item] }),
            Err(param),
        );
    }
    check(
        json!({ "model": "m", "input": "hi", "tools": [{ "type": "function" }] }),
        Err("tools[0].name"),
    );
    check(
        json!({ "model": "m", "input": "hi", "text": { "format": { "type": "xml" } } }),
        Err("text.format.type"),
    );
}

#[test]
fn recorded_requests_are_read() {
    for exchange in crate::testing::exchanges("openai_responses") {
        let sent = exchange.sent();
        let keeps = sent["previous_response_id"].is_string() || sent["background"] == json!(true);
        let read = request(sent.clone());
        assert_eq!(read.is_err(), keeps, "{}: {read:?}", exchange.name);
        let Ok(read) = read else { continue };
        let items = sent["input"].as_array().unwrap().len();
        let instructed = sent["instructions"].as_str().is_some_and(|text| !text.is_empty());
        assert_eq!(read.messages.len(), items + usize::from(instructed), "{}", exchange.name);
        assert_eq!(read.tools.len(), sent["tools"].as_array().map_or(0, Vec::len));
    }
}

proptest::proptest! {
    /// Read or refused by a name; and what was read is sent on or refused by every upstream.
    #[test]
    fn no_request_makes_anything_panic(input in any_json(), value in any_json(), name in "(input|tools|tool_choice|text|reasoning|instructions|include)") {
        let items = if input.is_array() { input } else { json!([input]) };
        let mut body = json!({ "model": "m", "input": items });
        body[name] = value;
        if let Ok(request) = request(body) {
            let _ = crate::responses::body(&request);
            let _ = crate::gemini::body(&request);
            let _ = crate::ollama::body(&request);
            let _ = crate::chat::body(&request, &crate::chat::Quirks::of("https://api.mistral.ai"));
        }
    }

    #[test]
    fn no_conversation_makes_an_upstream_panic(message in any_json(), role in "(user|assistant|tool|system)") {
        let mut message = if message.is_object() { message } else { json!({ "content": message }) };
        message["role"] = role.into();
        let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }, message] });
        if let Ok(request) = ChatRequest::from_value(body) {
            let _ = crate::responses::body(&request);
            let _ = crate::gemini::body(&request);
            let _ = crate::ollama::body(&request);
        }
    }
}
