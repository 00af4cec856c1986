use serde_json::{Value, json};

use super::*;

fn request(body: Value) -> Result<ChatRequest, Invalid> {
    ChatRequest::from_value(body)
}

/// A request says the same after it was read and written.
#[track_caller]
fn survives(body: Value) {
    let read = request(body.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), body);
    assert_eq!(request(serde_json::to_value(&read).unwrap()), Ok(read));
}

#[test]
fn a_request_loses_nothing() {
    survives(json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] }));
    survives(json!({
        "model": "m",
        "messages": [
            { "role": "system", "content": "be brief" },
            { "role": "developer", "content": [{ "type": "text", "text": "x", "cache_control": {} }] },
            { "role": "user", "name": "ann", "content": [
                { "type": "text", "text": "what is this?" },
                { "type": "image_url", "image_url": { "url": "data:,", "detail": "low" } },
                { "type": "input_audio", "input_audio": { "data": "", "format": "wav" } },
            ] },
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "a", "type": "function", "function": { "name": "f", "arguments": "{\"x\":" } },
                { "id": "b", "type": "custom", "custom": { "name": "g", "input": "free" } },
            ] },
            { "role": "tool", "content": "1", "tool_call_id": "a" },
            { "role": "assistant", "content": "so", "refusal": "no", "reasoning_content": "hm" },
        ],
        "tools": [
            { "type": "function", "function": {
                "name": "f", "description": "d", "parameters": { "type": "object" }, "strict": true,
            } },
            { "type": "web_search", "max_uses": 3 },
        ],
        "tool_choice": { "type": "function", "function": { "name": "f" } },
        "parallel_tool_calls": false,
        "response_format": { "type": "json_schema", "json_schema": { "name": "n", "schema": {} } },
        "temperature": 0.5, "top_p": 1.0, "frequency_penalty": -1.0, "presence_penalty": 2.0,
        "max_tokens": 5, "max_completion_tokens": 6, "n": 2, "stop": ["a", "b"], "seed": -3,
        "stream": true, "stream_options": { "include_usage": true, "include_obfuscation": false },
        "logit_bias": { "50256": -100 }, "reasoning_effort": "low", "user": "u", "metadata": {},
    }));
    for choice in
        [json!("auto"), json!("none"), json!("required"), json!({ "type": "allowed_tools" })]
    {
        survives(json!({
            "model": "m", "messages": [{ "role": "user", "content": "hi" }], "tool_choice": choice,
            "response_format": { "type": "grammar", "grammar": "x" }, "stop": "one",
        }));
    }
}

#[test]
fn a_bad_request_names_the_parameter() {
    let hi = json!([{ "role": "user", "content": "hi" }]);
    for (body, param) in [
        (json!([]), ""),
        (json!({ "messages": hi }), "model"),
        (json!({ "model": "", "messages": hi }), "model"),
        (json!({ "model": 7, "messages": hi }), "model"),
        (json!({ "model": "m" }), "messages"),
        (json!({ "model": "m", "messages": "hi" }), "messages"),
        (json!({ "model": "m", "messages": [{ "role": "robot", "content": "" }] }), "messages[0]"),
        (json!({ "model": "m", "messages": [{ "role": "user" }] }), "messages[0].content"),
        (json!({ "model": "m", "messages": [{ "role": "user", "content": 5 }] }), "messages[0]"),
        (json!({ "model": "m", "messages": [{ "role": "user", "content": [{}] }] }), "messages[0]"),
        (
            json!({ "model": "m", "messages": [{ "role": "tool", "content": "1" }] }),
            "messages[0].tool_call_id",
        ),
        (json!({ "model": "m", "messages": hi, "temperature": "hot" }), "temperature"),
        (json!({ "model": "m", "messages": hi, "n": 0 }), "n"),
        (json!({ "model": "m", "messages": hi, "max_tokens": -1 }), "max_tokens"),
        (json!({ "model": "m", "messages": hi, "stream": "yes" }), "stream"),
        (json!({ "model": "m", "messages": hi, "tools": [7] }), "tools[0]"),
        (json!({ "model": "m", "messages": hi, "tool_choice": "maybe" }), "tool_choice"),
        (json!({ "model": "m", "messages": hi, "response_format": "json" }), "response_format"),
    ] {
        let error = request(body.clone()).unwrap_err();
        assert_eq!(error.param, param, "{body}: {error}");
    }
}

#[test]
fn nulls_in_a_request_are_as_good_as_nothing() {
    let read = request(json!({
        "model": "m", "messages": [{ "role": "user", "content": "hi", "tool_calls": null }],
        "tools": null, "stop": null, "stream": null, "temperature": null,
    }));
    let plain = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    assert_eq!(read, request(plain));
}

fn response() -> Value {
    json!({
        "id": "c1", "model": "m-1", "created": 7, "system_fingerprint": "fp", "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": { "role": "assistant", "content": null, "tool_calls": [
                    { "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" } },
                ], "refusal": null },
                "logprobs": null,
                "finish_reason": "tool_calls",
            },
            {
                "index": 1,
                "message": { "role": "assistant", "content": "hi", "annotations": [1], "refusal": null },
                "logprobs": { "content": [] },
                "finish_reason": "eos",
            },
        ],
        "usage": {
            "prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13,
            "prompt_tokens_details": { "cached_tokens": 2, "audio_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": 3 },
        },
    })
}

#[test]
fn a_response_loses_nothing_and_has_the_fields_that_clients_demand() {
    let read: ChatResponse = serde_json::from_value(response()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), response());
    let usage = read.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.cached_input_tokens), (9, 2));
    assert_eq!((usage.output_tokens, usage.reasoning_tokens), (4, 3));
}

#[test]
fn the_events_of_a_response_assemble_to_it() {
    let whole: ChatResponse = serde_json::from_value(response()).unwrap();
    let mut assembly = Assembly::default();
    for event in whole.clone().into_events() {
        assert!(!assembly.is_done());
        assembly.push(event);
    }
    assert!(assembly.is_done());
    assert_eq!(serde_json::to_value(assembly.into_response()).unwrap(), response());
}

#[test]
fn deltas_add_up() {
    let text = |choice, text: &str| Event::Text { choice, text: text.to_owned() };
    let logprobs = |value| Event::Logprobs { choice: 0, value };
    let extra =
        |value: Value| Event::Extra { choice: 0, fields: value.as_object().unwrap().clone() };
    let mut assembly = Assembly::default();
    for event in [
        text(1, "b"),
        text(0, "a"),
        text(1, "c"),
        logprobs(json!({ "content": [1], "refusal": null })),
        logprobs(json!({ "content": [2, 3], "refusal": null })),
        extra(json!({ "function_call": { "name": "f", "arguments": "{" } })),
        extra(json!({ "function_call": { "arguments": "}" } })),
        Event::Finished { choice: 0, reason: FinishReason::Length },
    ] {
        assembly.push(event);
    }
    let response = assembly.into_response();
    assert_eq!(response.text(), "a");
    assert_eq!(response.choices[1].message.text(), "bc");
    let first = &response.choices[0];
    assert_eq!(first.logprobs, Some(json!({ "content": [1, 2, 3], "refusal": null })));
    assert_eq!(first.message.extra["function_call"], json!({ "name": "f", "arguments": "{}" }));
    assert_eq!(first.finish_reason, Some(FinishReason::Length));
}

#[test]
fn thoughts_are_told_before_what_proves_them_and_both_before_the_text() {
    let detail = |text: &str| json!({ "type": "reasoning.text", "text": text, "signature": "s" });
    let redacted = json!({ "type": "reasoning.encrypted", "data": "x" });
    let check = |thoughts: &str, told: Vec<Value>| {
        let mut body = response();
        body["choices"][1]["message"]["reasoning_content"] = thoughts.into();
        body["choices"][1]["message"]["reasoning_details"] =
            json!([detail("a"), redacted, detail("b")]);
        let whole: ChatResponse = serde_json::from_value(body).unwrap();
        let mut assembly = Assembly::default();
        let mut order = Vec::new();
        for event in whole.clone().into_events() {
            match &event {
                Event::Reasoning { text, .. } => order.push(json!(text)),
                Event::Extra { choice: 1, fields } if fields.contains_key("reasoning_details") => {
                    order.push(fields["reasoning_details"][0].clone());
                }
                Event::Text { text, .. } => order.push(json!({ "text": text })),
                _ => {}
            }
            assembly.push(event);
        }
        assert_eq!(order, told);
        assert_eq!(assembly.into_response(), whole);
    };
    let hi = json!({ "text": "hi" });
    let apart =
        vec![json!("a"), detail("a"), redacted.clone(), json!("b"), detail("b"), hi.clone()];
    check("ab", apart);
    check("other", vec![json!("other"), detail("a"), redacted.clone(), detail("b"), hi]);
}
