use super::*;

fn read(body: &Value) -> ChatRequest {
    ChatRequest::from_value(body.clone()).unwrap()
}

fn sent(asked: &Value) -> Result<Value, ModelError> {
    body(&read(asked), 4_096).map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

#[test]
fn what_was_asked_is_sent() {
    let golden = include_str!("../../../tests/wire/requests/messages_upstream.json");
    for case in serde_json::from_str::<Vec<Value>>(golden).unwrap() {
        assert_eq!(sent(&case["asked"]).unwrap(), case["sent"], "{}", case["name"]);
    }
}

#[test]
fn what_cannot_be_asked_is_refused_by_name() {
    let check = |field: &str, value: Value, param: &str| {
        let mut asked = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
        asked[field] = value;
        match sent(&asked) {
            Err(ModelError::Invalid { param: Some(found), .. }) => assert_eq!(found, param),
            other => panic!("{asked}: {other:?}"),
        }
    };
    check("n", json!(2), "n");
    check("logprobs", json!(true), "logprobs");
    check("logit_bias", json!({ "50256": -100 }), "logit_bias");
    check("modalities", json!(["text", "audio"]), "modalities");
    check("functions", json!([{ "name": "f" }]), "functions");
    check("tools", json!([{ "type": "custom", "custom": { "name": "f" } }]), "tools[0]");
    check("tool_choice", json!({ "type": "allowed_tools" }), "tool_choice");
    check("response_format", json!({ "type": "grammar" }), "response_format");
    check(
        "response_format",
        json!({ "type": "json_schema", "json_schema": {} }),
        "response_format",
    );
    let content = |part: Value| json!([{ "role": "user", "content": [part] }]);
    let place = "messages[0].content[0]";
    check("messages", content(json!({ "type": "input_audio", "input_audio": {} })), place);
    check("messages", content(json!({ "type": "image_url", "image_url": { "url": "a" } })), place);
    check("messages", content(json!({ "type": "file", "file": { "file_data": "JVBER" } })), place);
    check("messages", content(json!({ "type": "file", "file": {} })), place);
}

#[test]
fn what_asks_for_nothing_is_not_refused() {
    let asked = json!({
        "model": "m", "messages": [{ "role": "user", "content": "hi" }], "n": 1, "logprobs": false,
        "logit_bias": {}, "modalities": ["text"], "tool_choice": "auto", "response_format": { "type": "text" },
        "reasoning_effort": "none",
    });
    let plain = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    assert_eq!(sent(&asked).unwrap(), sent(&plain).unwrap());
}

#[test]
fn thoughts_take_at_most_half_of_what_may_be_written() {
    let budget = |max_tokens: Option<u64>, effort: &str| {
        let mut asked = json!({
            "model": "claude-sonnet-4-5", "messages": [{ "role": "user", "content": "hi" }],
            "reasoning_effort": effort,
        });
        asked["max_tokens"] = json!(max_tokens);
        let sent = sent(&asked).unwrap();
        (sent["thinking"]["budget_tokens"].as_u64(), sent["max_tokens"].as_u64().unwrap())
    };
    assert_eq!(budget(None, "high"), (Some(16_384), 20_480));
    assert_eq!(budget(Some(10_000), "high"), (Some(5_000), 10_000));
    assert_eq!(budget(Some(2_048), "high"), (Some(1_024), 2_048));
    assert_eq!(budget(Some(2_047), "high"), (None, 2_047));
    assert_eq!(budget(Some(100_000), "max"), (Some(32_000), 100_000));
}
