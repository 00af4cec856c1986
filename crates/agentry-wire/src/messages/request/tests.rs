use agentry_core::chat::Role;
use proptest::prelude::*;

use super::*;

fn read(body: Value) -> Value {
    serde_json::to_value(request(body).unwrap()).unwrap()
}

#[test]
fn every_field_has_its_place() {
    let golden = include_str!("../../../tests/wire/requests/messages_ingress.json");
    for case in serde_json::from_str::<Vec<Value>>(golden).unwrap() {
        assert_eq!(read(case["body"].clone()), case["request"], "{}", case["name"]);
    }
}

#[test]
fn only_a_closed_schema_can_be_followed_to_the_letter() {
    let check = |schema: Value, closed: bool| assert_eq!(is_closed(&schema), closed, "{schema}");
    let object = |properties: Value, required: Value| {
        json!({
            "type": "object", "properties": properties, "required": required,
            "additionalProperties": false,
        })
    };
    check(json!({ "type": "string" }), true);
    check(json!({ "type": "object" }), false);
    check(json!({ "type": "object", "additionalProperties": false }), true);
    check(object(json!({ "a": { "type": "string" } }), json!(["a"])), true);
    check(object(json!({ "a": { "type": "string" } }), json!([])), false);
    check(object(json!({ "a": { "type": "object" } }), json!(["a"])), false);
    let inner = object(json!({ "b": {} }), json!(["b"]));
    check(json!({ "anyOf": [inner, { "type": "array", "items": inner }] }), true);
}

#[test]
fn a_bad_request_names_the_parameter() {
    let check = |field: &str, value: Value, param: &str| {
        let mut body = json!({
            "model": "m", "max_tokens": 5, "messages": [{ "role": "user", "content": "hi" }],
        });
        body[field] = value;
        let error = request(body.clone()).unwrap_err();
        assert_eq!(error.param, param, "{body}: {error}");
    };
    assert_eq!(request(json!([])).unwrap_err().param, "");
    check("model", json!(""), "model");
    check("model", Value::Null, "model");
    check("max_tokens", Value::Null, "max_tokens");
    check("max_tokens", json!(-1), "max_tokens");
    check("messages", json!([]), "messages");
    check("messages", json!("hi"), "messages");
    check("messages", json!([7]), "messages[0]");
    check("messages", json!([{ "role": "tool", "content": "" }]), "messages[0].role");
    check("messages", json!([{ "role": "user" }]), "messages[0].content");
    check("system", json!(7), "system");
    check("tools", json!([7]), "tools[0]");
    check("tools", json!([{ "input_schema": {} }]), "tools[0].name");
    check("tools", json!([{ "name": "f" }]), "tools[0].input_schema");
    check("tool_choice", json!({ "type": "maybe" }), "tool_choice.type");
    check("tool_choice", json!({ "type": "tool" }), "tool_choice.name");
    check("output_config", json!({ "format": { "type": "xml" } }), "output_config.format");
    check("stop_sequences", json!("END"), "stop_sequences");
    let block = |role: &str, block: Value| json!([{ "role": role, "content": [block] }]);
    let at = "messages[0].content[0]";
    check("messages", block("user", json!(7)), at);
    check("messages", block("user", json!({ "type": "hologram" })), at);
    check("messages", block("assistant", json!({ "type": "hologram" })), at);
    check("messages", block("user", json!({ "type": "text" })), &format!("{at}.text"));
    let source = &format!("{at}.source");
    check(
        "messages",
        block("user", json!({ "type": "image", "source": { "type": "url" } })),
        source,
    );
    check("messages", block("user", json!({ "type": "document" })), source);
    let result = json!({ "type": "tool_result" });
    check("messages", block("user", result), &format!("{at}.tool_use_id"));
    let inner = json!({ "type": "tool_result", "tool_use_id": "c", "content": [{ "type": "x" }] });
    check("messages", block("user", inner), &format!("{at}.content[0]"));
    let call = json!({ "type": "tool_use", "id": "c", "input": {} });
    check("messages", block("assistant", call), &format!("{at}.name"));
}

fn json_value() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("type"),
        Just("text"),
        Just("role"),
        Just("user"),
        Just("assistant"),
        Just("content"),
        Just("source"),
        Just("base64"),
        Just("tool_use"),
        Just("tool_result"),
        Just("thinking"),
        Just("document"),
        Just("image"),
        Just("name"),
        Just("id"),
        Just("data"),
        Just("input"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((word.clone(), inner), 0..6).prop_map(|fields| {
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(messages in json_value(), tools in json_value(), rest in json_value()) {
        let body = json!({
            "model": "m", "max_tokens": 1, "messages": messages, "tools": tools, "system": rest,
            "output_config": rest, "tool_choice": rest,
        });
        if let Ok(read) = request(body) {
            let _ = crate::messages::body(&read, 10);
        }
    }

    /// What a caller of Messages sends comes out as it went in, where Messages is spoken on the other side too.
    #[test]
    fn a_conversation_survives_the_way_through(
        texts in proptest::collection::vec("[a-z ]{1,9}", 1..5), arguments in "[a-z\"{}\\\\]{0,9}",
        signature in "[a-z]{1,5}", is_error in any::<bool>(),
    ) {
        let mut messages = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            let id = format!("c{at}");
            let mut result = json!({ "type": "tool_result", "tool_use_id": id, "content": [{ "type": "text", "text": text }] });
            if is_error {
                result["is_error"] = json!(true);
            }
            let marked = json!({ "type": "text", "text": text, "cache_control": { "type": "ephemeral" } });
            let image = json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AA" } });
            let document = json!({ "type": "document", "source": { "type": "text", "media_type": "text/plain", "data": text }, "title": text });
            let first = if at == 0 { vec![] } else { vec![json!({ "type": "tool_result", "tool_use_id": format!("c{}", at - 1), "content": [] }), result] };
            let said = [marked, image, document];
            messages.push(json!({ "role": "user", "content": first.into_iter().chain(said).collect::<Vec<_>>() }));
            messages.push(json!({ "role": "assistant", "content": [
                { "type": "thinking", "thinking": text, "signature": signature },
                { "type": "redacted_thinking", "data": signature },
                { "type": "text", "text": text },
                { "type": "tool_use", "id": id, "name": "f", "input": { "a": arguments } },
            ] }));
        }
        let body = json!({ "model": "m", "max_tokens": 9, "messages": messages });
        let read = request(body.clone()).unwrap();
        prop_assert!(read.messages.iter().any(|message| message.role == Role::Assistant));
        let sent = crate::messages::body(&read, 10).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&sent).unwrap(), body);
    }
}
