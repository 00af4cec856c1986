use super::*;
use crate::testing::exchanges;

fn sent(asked: &Value) -> Result<Value, ModelError> {
    let request = ChatRequest::from_value(asked.clone()).unwrap();
    body(&request).map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

#[test]
fn what_was_asked_is_sent() {
    let golden = include_str!("../../../tests/wire/requests/bedrock_upstream.json");
    for case in serde_json::from_str::<Vec<Value>>(golden).unwrap() {
        assert_eq!(sent(&case["asked"]).unwrap(), case["sent"], "{}", case["name"]);
    }
}

#[test]
fn what_cannot_be_asked_is_refused_by_name() {
    let check = |field: &str, value: Value, param: &str| {
        let mut asked = json!({
            "model": "m", "messages": [{ "role": "user", "content": "hi" }],
            "tools": [{ "type": "function", "function": { "name": "f" } }],
        });
        asked[field] = value;
        match sent(&asked) {
            Err(ModelError::Invalid { param: Some(found), .. }) => assert_eq!(found, param),
            other => panic!("{asked}: {other:?}"),
        }
    };
    check("n", json!(2), "n");
    check("tools", json!([{ "type": "web_search_20250305", "name": "web_search" }]), "tools[0]");
    check("tool_choice", json!({ "type": "allowed_tools" }), "tool_choice");
    check(
        "response_format",
        json!({ "type": "json_schema", "json_schema": {} }),
        "response_format",
    );
    let content = |part: Value| json!([{ "role": "user", "content": [part] }]);
    let place = "messages[0].content[0]";
    let image = |url: &str| json!({ "type": "image_url", "image_url": { "url": url } });
    check("messages", content(image("https://example.org/a.png")), place);
    check("messages", content(image("data:image/tiff;base64,AA")), place);
    let file = |data: &str| json!({ "type": "file", "file": { "file_data": data } });
    check("messages", content(file("https://example.org/a.pdf")), place);
    check("messages", content(file("data:application/zip;base64,AA")), place);
    check("messages", content(json!({ "type": "file", "file": { "file_id": "f" } })), place);
    check("messages", content(json!({ "type": "search_result" })), place);
}

#[test]
fn no_tool_may_be_chosen_only_while_none_was_called() {
    let mut asked = json!({
        "model": "m", "messages": [{ "role": "user", "content": "hi" }], "tool_choice": "none",
        "tools": [{ "type": "function", "function": { "name": "f" } }],
    });
    assert_eq!(sent(&asked).unwrap().get("toolConfig"), None);
    asked["messages"] = json!([
        { "role": "user", "content": "hi" },
        { "role": "assistant", "content": null, "tool_calls": [
            { "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } },
        ] },
        { "role": "tool", "tool_call_id": "c", "content": "" },
    ]);
    assert!(
        matches!(sent(&asked), Err(ModelError::Invalid { param: Some(param), .. }) if param == "tool_choice")
    );
}

/// What Converse was asked, as a request of the common vocabulary, as far as the recordings go.
fn asked(recorded: &Value, model: &str) -> Value {
    let mut messages: Vec<Value> = Vec::new();
    for text in recorded["system"].as_array().into_iter().flatten() {
        messages.push(json!({ "role": "system", "content": text["text"] }));
    }
    for turn in recorded["messages"].as_array().unwrap() {
        let mut said = json!({ "role": turn["role"], "content": null });
        for block in turn["content"].as_array().unwrap() {
            if let Some(result) = block.get("toolResult") {
                messages.push(json!({
                    "role": "tool", "tool_call_id": result["toolUseId"], "content": result["content"][0]["text"],
                }));
            } else if let Some(call) = block.get("toolUse") {
                said["tool_calls"] = json!([{ "id": call["toolUseId"], "type": "function", "function": {
                    "name": call["name"], "arguments": call["input"].to_string(),
                } }]);
            } else {
                said["content"] = block["text"].clone();
            }
        }
        if !said["content"].is_null() || said.get("tool_calls").is_some() {
            messages.push(said);
        }
    }
    let tools = recorded["toolConfig"]["tools"].as_array().cloned().unwrap_or_default();
    let tools: Vec<Value> = tools
        .iter()
        .map(|tool| &tool["toolSpec"])
        .map(|spec| json!({ "type": "function", "function": {
            "name": spec["name"], "description": spec["description"], "parameters": spec["inputSchema"]["json"],
        } }))
        .collect();
    let mut asked = json!({ "model": model, "messages": messages, "tools": tools });
    if recorded["toolConfig"]["toolChoice"].get("any").is_some() {
        asked["tool_choice"] = json!("required");
    }
    if let Some(top_p) = recorded["inferenceConfig"].get("topP") {
        asked["top_p"] = top_p.clone();
    }
    if let Some(format) = recorded.pointer("/outputConfig/textFormat/structure/jsonSchema") {
        let schema: Value = serde_json::from_str(format["schema"].as_str().unwrap()).unwrap();
        asked["response_format"] = json!({ "type": "json_schema", "json_schema": {
            "name": format["name"], "description": format["description"], "schema": schema,
        } });
    }
    asked
}

#[test]
fn what_others_sent_is_what_we_send() {
    for exchange in exchanges("bedrock") {
        let mut recorded = exchange.sent();
        let path = &exchange.request.path;
        let model = path.split('/').nth(2).unwrap().replace("%3A", ":");
        assert_eq!(*path, super::path(&model, path.ends_with("stream")), "{}", exchange.name);
        let sent = sent(&asked(&recorded, &model)).unwrap();
        if recorded["system"] == json!([]) {
            recorded.as_object_mut().unwrap().shift_remove("system");
        }
        // A schema in a text has its keys in any order.
        let schema = "/outputConfig/textFormat/structure/jsonSchema/schema";
        let schema_of = |body: &Value| {
            body.pointer(schema)
                .map(|text| serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap())
        };
        assert_eq!(schema_of(&sent), schema_of(&recorded));
        let mut sent = sent;
        for body in [&mut sent, &mut recorded] {
            if let Some(text) = body.pointer_mut(schema) {
                *text = Value::Null;
            }
        }
        assert_eq!(sent, recorded, "{}", exchange.name);
    }
}
