use super::*;
use crate::error::from_response;
use crate::messages::request::request;
use crate::testing::exchanges;

#[test]
fn recorded_streams_are_the_same_however_they_are_cut() {
    for exchange in exchanges("anthropic") {
        let (name, text) = (&exchange.name, exchange.text());
        if !text.starts_with("event:") {
            continue;
        }
        let bytes = text.as_bytes();
        let whole = decode([bytes]);
        assert_eq!(whole.last(), Some(&Ok(Event::Done)), "{name}");
        for size in [1, 2, 3, 5, 7, 64, 1_000] {
            assert_eq!(decode(bytes.chunks(size)), whole, "{name} in pieces of {size}");
        }
        for at in (0..bytes.len()).step_by(bytes.len() / 97 + 1) {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(decode([head, tail]), whole, "{name} cut at {at}");
            let cut = decode([head]);
            let ended = head.windows(11).any(|window| window == b"stop_reason");
            assert!(
                matches!(cut.last(), Some(Err(ModelError::Truncated))) || ended,
                "{name} ends at {at}"
            );
        }
        let crlf = text.replace('\n', "\r\n");
        assert_eq!(decode(crlf.as_bytes().chunks(3)), whole, "{name} with CRLF");
        let mut assembly = Assembly::default();
        whole.into_iter().for_each(|step| assembly.push(step.unwrap()));
        let answer = assembly.into_response();
        let message = &answer.choices[0].message;
        assert_eq!(message.text(), added_up(text, "text"), "{name}");
        let thoughts = message.extra.get("reasoning_content").and_then(Value::as_str);
        assert_eq!(thoughts.unwrap_or(""), added_up(text, "thinking"), "{name}");
        assert!(answer.head.id.starts_with("msg_"), "{name}");
        assert!(answer.usage.unwrap().output_tokens > 100, "{name}");
    }
}

/// What the deltas of a stream say, read without the decoder.
fn added_up(text: &str, field: &str) -> String {
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    events
        .map(|data| serde_json::from_str::<Value>(data).unwrap())
        .filter_map(|event| Some(event["delta"].get(field)?.as_str()?.to_owned()))
        .collect()
}

#[test]
fn recorded_answers_lose_nothing() {
    for exchange in exchanges("anthropic") {
        let (name, text) = (&exchange.name, exchange.text());
        if exchange.response.status != 200 {
            let status = http::StatusCode::from_u16(exchange.response.status).unwrap();
            let error = from_response(status, &http::HeaderMap::new(), text.as_bytes(), "m");
            let recorded: Value = serde_json::from_str(text).unwrap();
            let message = recorded["error"]["message"].as_str().unwrap();
            assert!(error.to_string().contains(message), "{name}: {error}");
        } else if text.starts_with('{') {
            let recorded: Value = serde_json::from_str(text).unwrap();
            let read = response(text.as_bytes(), "m").unwrap();
            let written = crate::messages::whole(&read, &crate::Asked::default());
            let written: Value = serde_json::from_slice(&written).unwrap();
            for field in ["id", "model", "content", "stop_reason", "stop_sequence"] {
                assert_eq!(written[field], recorded[field], "{name}: {field}");
            }
            for field in ["input_tokens", "output_tokens", "cache_read_input_tokens"] {
                assert_eq!(written["usage"][field], recorded["usage"][field], "{name}: {field}");
            }
        }
    }
}

/// Content as blocks, instructions as blocks, and no word about what is so anyway.
fn normal(value: &Value) -> Value {
    let blocks = |content: &Value| match content {
        Value::String(text) => json!([{ "type": "text", "text": text }]),
        other => normal(other),
    };
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| **value != json!(false) || value.is_null())
            .map(|(name, value)| match name.as_str() {
                "content" | "system" => (name.clone(), blocks(value)),
                _ => (name.clone(), normal(value)),
            })
            .collect(),
        Value::Array(items) => items.iter().map(normal).collect(),
        other => other.clone(),
    }
}

#[test]
fn what_others_sent_is_what_we_send() {
    for exchange in exchanges("anthropic") {
        let asked = request(exchange.sent()).unwrap();
        let sent = crate::messages::body(&asked, 4_096).unwrap();
        let sent: Value = serde_json::from_slice(&sent).unwrap();
        let mut recorded = normal(&exchange.sent());
        // The vendor refuses what is out of its range, and says so.
        if let Some(fields) = recorded.as_object_mut()
            && !fields.contains_key("tools")
        {
            fields.shift_remove("tool_choice");
        }
        assert_eq!(normal(&sent), recorded, "{}", exchange.name);
    }
}
