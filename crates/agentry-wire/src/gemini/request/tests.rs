use agentry_core::chat::Message;
use serde_json::{Value, json};

use super::*;
use crate::gemini::response;
use crate::testing::exchanges;

/// What is sent, or which parameter cannot be.
fn check(request: Value, expected: Result<Value, &str>) {
    let request = ChatRequest::from_value(request).unwrap();
    match (body(&request), expected) {
        (Ok(sent), Ok(expected)) => {
            assert_eq!(serde_json::from_slice::<Value>(&sent).unwrap(), expected);
        }
        (Err(ModelError::Invalid { param, .. }), Err(expected)) => {
            assert_eq!(param.as_deref(), Some(expected));
        }
        (found, expected) => panic!("{found:?} instead of {expected:?}"),
    }
}

fn ask(fields: Value) -> Value {
    let mut request = json!({ "model": "gemini-2.5-flash",
        "messages": [{ "role": "user", "content": "hi" }] });
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    request
}

fn asked(fields: Value) -> Value {
    let mut body = json!({ "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }] });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

#[test]
fn a_conversation_is_told_in_their_turns() {
    check(
        json!({ "model": "gemini-3-pro", "messages": [
            { "role": "system", "content": "be brief" },
            { "role": "user", "content": [
                { "type": "text", "text": "look" },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,AA" } },
                { "type": "image_url", "image_url": { "url": "https://x/a.jpg?b" } },
                { "type": "file", "file": { "filename": "a.pdf", "file_data": "data:application/pdf;base64,BB" } },
                { "type": "input_audio", "input_audio": { "data": "CC", "format": "wav" } },
            ] },
            { "role": "assistant", "content": "I call",
              "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } },
                { "id": "c2", "type": "function", "function": { "name": "g", "arguments": "" } },
              ],
              "reasoning_details": [
                { "type": "reasoning.encrypted", "data": "sig", "format": "google-gemini-v1", "id": "c1" },
                { "type": "reasoning.text", "text": "x", "signature": "y", "format": "anthropic-claude-v1" },
              ] },
            { "role": "tool", "tool_call_id": "c2", "content": "{\"b\":2}" },
            { "role": "tool", "tool_call_id": "c1", "content": "one" },
            { "role": "developer", "content": "and kind" },
            { "role": "assistant", "content": "", "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "h", "arguments": "{}" } }] },
            { "role": "tool", "tool_call_id": "c1", "content": [
                { "type": "text", "text": "[1]" },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,DD" } } ] },
        ] }),
        Ok(json!({
            "systemInstruction": { "parts": [{ "text": "be brief" }, { "text": "and kind" }] },
            "contents": [
                { "role": "user", "parts": [
                    { "text": "look" },
                    { "inlineData": { "mimeType": "image/png", "data": "AA" } },
                    { "fileData": { "fileUri": "https://x/a.jpg?b", "mimeType": "image/jpeg" } },
                    { "inlineData": { "mimeType": "application/pdf", "data": "BB" } },
                    { "inlineData": { "mimeType": "audio/wav", "data": "CC" } },
                ] },
                { "role": "model", "parts": [
                    { "text": "I call" },
                    { "functionCall": { "id": "c1", "name": "f", "args": { "a": 1 } },
                      "thoughtSignature": "sig" },
                    { "functionCall": { "id": "c2", "name": "g", "args": {} } },
                ] },
                { "role": "user", "parts": [
                    { "functionResponse": { "id": "c2", "name": "g", "response": { "b": 2 } } },
                    { "functionResponse": { "id": "c1", "name": "f", "response": { "result": "one" } } },
                ] },
                { "role": "model", "parts": [
                    { "functionCall": { "id": "c1", "name": "h", "args": {} },
                      "thoughtSignature": "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=" },
                ] },
                { "role": "user", "parts": [
                    { "functionResponse": { "id": "c1", "name": "h", "response": { "result": "[1]" } } },
                    { "inlineData": { "mimeType": "image/png", "data": "DD" } },
                ] },
            ],
        })),
    );
}

#[test]
fn parameters_have_their_names() {
    check(
        ask(
            json!({ "temperature": 0.5, "top_p": 0.9, "top_k": 4, "max_tokens": 7, "n": 2, "seed": 1,
            "presence_penalty": 0.1, "frequency_penalty": 0.2, "stop": "x", "logprobs": true,
            "top_logprobs": 3, "user": "u", "parallel_tool_calls": true,
            "response_format": { "type": "json_schema", "json_schema": {
                "name": "n", "strict": true, "schema": { "type": "object", "$schema": "x" } } } }),
        ),
        Ok(asked(json!({ "generationConfig": { "temperature": 0.5, "topP": 0.9, "topK": 4,
            "maxOutputTokens": 7, "candidateCount": 2, "seed": 1, "presencePenalty": 0.1,
            "frequencyPenalty": 0.2, "stopSequences": ["x"], "responseLogprobs": true, "logprobs": 3,
            "responseMimeType": "application/json", "responseJsonSchema": { "type": "object" } } }))),
    );
    for (model, effort, expected) in [
        ("gemini-2.5-pro", "low", json!({ "thinkingBudget": 1024, "includeThoughts": true })),
        ("gemini-2.5-pro", "none", json!({ "thinkingBudget": 0 })),
        (
            "models/gemini-3-pro",
            "xhigh",
            json!({ "thinkingLevel": "high", "includeThoughts": true }),
        ),
        (
            "gemini-3-flash",
            "minimal",
            json!({ "thinkingLevel": "minimal", "includeThoughts": true }),
        ),
    ] {
        check(
            ask(json!({ "model": model, "reasoning_effort": effort })),
            Ok(asked(json!({ "generationConfig": { "thinkingConfig": expected } }))),
        );
    }
    check(
        ask(json!({ "response_format": { "type": "json_object" }, "safety_settings": [1] })),
        Ok(asked(json!({ "generationConfig": { "responseMimeType": "application/json" },
                         "safetySettings": [1] }))),
    );
}

#[test]
fn tools_are_declared_and_chosen() {
    let tool = json!({ "type": "function", "function": {
        "name": "f", "description": "d", "parameters": { "type": "object", "pattern": "x" }, "strict": true } });
    let declared = json!([{ "functionDeclarations": [
        { "name": "f", "description": "d", "parametersJsonSchema": { "type": "object" } }] }]);
    for (choice, expected) in [
        (json!("auto"), json!({ "mode": "AUTO" })),
        (json!("none"), json!({ "mode": "NONE" })),
        (json!("required"), json!({ "mode": "ANY" })),
        (
            json!({ "type": "function", "function": { "name": "f" } }),
            json!({ "mode": "ANY", "allowedFunctionNames": ["f"] }),
        ),
        (
            json!({ "type": "allowed_tools", "allowed_tools": { "mode": "auto",
                "tools": [{ "type": "function", "function": { "name": "f" } }] } }),
            json!({ "mode": "VALIDATED", "allowedFunctionNames": ["f"] }),
        ),
    ] {
        check(
            ask(json!({ "tools": [tool], "tool_choice": choice })),
            Ok(asked(json!({ "tools": declared,
                             "toolConfig": { "functionCallingConfig": expected } }))),
        );
    }
    check(
        ask(json!({ "tools": [{ "googleSearch": {} }] })),
        Ok(asked(json!({ "tools": [{ "googleSearch": {} }] }))),
    );
    check(
        ask(json!({ "tools": [{ "type": "web_search_preview", "search_context_size": "low" }] })),
        Ok(asked(json!({ "tools": [{ "googleSearch": {} }] }))),
    );
    check(
        ask(json!({ "web_search_options": {}, "modalities": ["text", "image"] })),
        Ok(asked(json!({ "tools": [{ "googleSearch": {} }],
                         "generationConfig": { "responseModalities": ["TEXT", "IMAGE"] } }))),
    );
}

#[test]
fn what_cannot_be_asked_is_refused_by_its_name() {
    check(ask(json!({ "logit_bias": { "1": 2 } })), Err("logit_bias"));
    check(ask(json!({ "tools": [{ "type": "code_interpreter" }] })), Err("tools[0]"));
    let said =
        |message: Value| ask(json!({ "messages": [{ "role": "user", "content": "hi" }, message] }));
    let call = |kind: &str, body: Value| {
        let mut call = json!({ "id": "c", "type": kind });
        call[kind] = body;
        said(json!({ "role": "assistant", "content": null, "tool_calls": [call] }))
    };
    check(call("custom", json!({ "name": "f", "input": "x" })), Err("messages[1].tool_calls[0]"));
    check(
        call("function", json!({ "name": "f", "arguments": "{" })),
        Err("messages[1].tool_calls[0].function.arguments"),
    );
    check(
        said(json!({ "role": "tool", "tool_call_id": "c", "content": "x" })),
        Err("messages[1].tool_call_id"),
    );
    let image = json!([{ "type": "image_url", "image_url": { "url": "ftp://x" } }]);
    check(said(json!({ "role": "user", "content": image })), Err("messages[1].content[0]"));
    check(ask(json!({ "messages": [{ "role": "system", "content": "x" }] })), Err("messages"));
}

/// The same conversation, in the shape that was recorded.
#[test]
fn recorded_answers_go_back_as_they_came() {
    for exchange in exchanges("gemini") {
        let text = exchange.text();
        if exchange.response.status != 200 || !text.starts_with('{') {
            continue;
        }
        let recorded: Value = serde_json::from_str(text).unwrap();
        let answer = response(text.as_bytes(), "m").unwrap();
        let Some(parts) = recorded["candidates"][0]["content"]["parts"].as_array() else {
            continue;
        };
        let request = ChatRequest {
            messages: vec![Message::user("hi"), answer.choices[0].message.clone()],
            ..ChatRequest::default()
        };
        let sent: Value = serde_json::from_slice(&body(&request).unwrap()).unwrap();
        for (part, sent) in parts.iter().zip(sent["contents"][1]["parts"].as_array().unwrap()) {
            assert_eq!(sent["text"], part["text"], "{}", exchange.name);
            assert_eq!(
                sent["functionCall"]["args"], part["functionCall"]["args"],
                "{}",
                exchange.name
            );
            if part["thoughtSignature"].is_string() {
                assert_eq!(sent["thoughtSignature"], part["thoughtSignature"], "{}", exchange.name);
            }
        }
    }
}
