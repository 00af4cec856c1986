use agentry_core::chat::{CallKind, Event as Told, FinishReason, Head, Usage};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use proptest::prelude::*;

use super::*;
use crate::bedrock::eventstream::written;
use crate::testing::exchanges;

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Step> {
    let mut decoder = Decoder::new("m");
    let mut steps = Vec::new();
    for piece in pieces {
        steps.extend(decoder.push(piece));
    }
    steps.extend(decoder.end(None));
    assert!(decoder.is_over());
    steps
}

fn event(name: &str, payload: &Value) -> Vec<u8> {
    let headers =
        [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
    written(&headers, payload.to_string().as_bytes())
}

fn everything() -> Vec<Vec<u8>> {
    let delta = |index: u32, delta: Value| {
        event(
            "contentBlockDelta",
            &json!({ "contentBlockIndex": index, "delta": delta, "p": "ab" }),
        )
    };
    let stop = |index: u32| event("contentBlockStop", &json!({ "contentBlockIndex": index }));
    let call = |index: u32, id: &str| {
        let start = json!({ "toolUse": { "toolUseId": id, "name": "f" } });
        event("contentBlockStart", &json!({ "contentBlockIndex": index, "start": start }))
    };
    vec![
        event("messageStart", &json!({ "role": "assistant", "p": "abc" })),
        delta(0, json!({ "reasoningContent": { "text": "h" } })),
        delta(0, json!({ "reasoningContent": { "text": "m" } })),
        delta(0, json!({ "reasoningContent": { "signature": "SIG" } })),
        stop(0),
        delta(1, json!({ "reasoningContent": { "redactedContent": "RU5D" } })),
        stop(1),
        delta(2, json!({ "text": "grüße" })),
        stop(2),
        call(3, "t1"),
        delta(3, json!({ "toolUse": { "input": "{\"a\":" } })),
        delta(3, json!({ "toolUse": { "input": "1}" } })),
        stop(3),
        call(4, "t2"),
        stop(4),
        event("messageStop", &json!({ "stopReason": "tool_use" })),
        event(
            "metadata",
            &json!({ "usage": {
            "inputTokens": 10, "outputTokens": 5, "totalTokens": 25, "cacheReadInputTokens": 7,
            "cacheWriteInputTokens": 3,
        }, "metrics": { "latencyMs": 1 } }),
        ),
    ]
}

fn expected() -> Vec<Told> {
    let extra = |detail: Value| {
        let mut fields = Map::new();
        fields.insert("reasoning_details".to_owned(), json!([detail]));
        Told::Extra { choice: 0, fields }
    };
    let thought = |text: &str| Told::Reasoning { choice: 0, text: text.to_owned() };
    let call = |index: u32, id: &str| Told::ToolCall {
        choice: 0,
        index,
        id: id.to_owned(),
        kind: CallKind::Function,
        name: "f".to_owned(),
    };
    let arguments = |index: u32, fragment: &str| Told::ToolArguments {
        choice: 0,
        index,
        fragment: fragment.to_owned(),
    };
    let reported = json!({ "cache_read_input_tokens": 7, "cache_creation_input_tokens": 3 });
    vec![
        Told::Started(Head { model: "m".to_owned(), ..Head::default() }),
        thought("h"),
        thought("m"),
        extra(json!({
            "type": "reasoning.text", "text": "hm", "signature": "SIG",
            "format": "anthropic-claude-v1", "index": 0,
        })),
        extra(json!({
            "type": "reasoning.encrypted", "data": "RU5D", "format": "anthropic-claude-v1", "index": 1,
        })),
        Told::Text { choice: 0, text: "grüße".to_owned() },
        call(0, "t1"),
        arguments(0, "{\"a\":"),
        arguments(0, "1}"),
        call(1, "t2"),
        arguments(1, "{}"),
        Told::Finished { choice: 0, reason: FinishReason::ToolCalls },
        Told::Usage(Usage {
            cached_input_tokens: 7,
            reported: reported.as_object().unwrap().clone(),
            ..Usage::new(20, 5)
        }),
        Told::Done,
    ]
}

#[test]
fn everything_that_an_answer_may_hold_is_told_however_it_is_cut() {
    let bytes = everything().concat();
    let expected: Vec<Step> = expected().into_iter().map(Ok).collect();
    for size in [1, 2, 3, 7, 64, bytes.len()] {
        assert_eq!(decode(bytes.chunks(size)), expected, "in pieces of {size}");
    }
}

#[test]
fn an_answer_that_was_cut_is_truncated() {
    let frames = everything();
    let bytes = frames.concat();
    let ended = bytes.len() - frames.last().unwrap().len();
    for at in 0..bytes.len() {
        let steps = decode([&bytes[..at]]);
        let last = steps.last().unwrap();
        // Only the bill is missing then.
        let expected = if at == ended { Ok(Told::Done) } else { Err(ModelError::Truncated) };
        assert_eq!(*last, expected, "cut at {at}");
    }
}

#[test]
fn an_exception_means_what_it_says_until_something_was_said() {
    let exception = |name: &str| {
        let headers = [(":message-type", "exception"), (":exception-type", name)];
        written(&headers, b"{\"message\":\"so\"}")
    };
    let check = |frames: &[Vec<u8>], expected: ModelError| {
        assert_eq!(decode([frames.concat().as_slice()]).last(), Some(&Err(expected)));
    };
    let message = || "so".to_owned();
    let slow = ModelError::RateLimited { message: message(), after: None };
    check(&[exception("throttlingException")], slow);
    let down = ModelError::Unavailable { message: message(), after: None };
    check(&[exception("internalServerException")], down);
    let broke = ModelError::BrokeOff { message: message() };
    check(&[everything().remove(0), exception("modelStreamErrorException")], broke);
    let mut damaged = everything().remove(0);
    damaged[30] ^= 1;
    let steps = decode([damaged.as_slice()]);
    assert!(matches!(steps[..], [Err(ModelError::Malformed { .. })]), "{steps:?}");
}

#[test]
fn a_whole_answer_is_what_its_stream_would_have_told() {
    let body = json!({
        "output": { "message": { "role": "assistant", "content": [
            { "reasoningContent": { "reasoningText": { "text": "hm", "signature": "SIG" } } },
            { "reasoningContent": { "redactedContent": "RU5D" } },
            { "text": "grüße" },
            { "toolUse": { "toolUseId": "t1", "name": "f", "input": { "a": 1 } } },
            { "toolUse": { "toolUseId": "t2", "name": "f", "input": {} } },
        ] } },
        "stopReason": "tool_use",
        "usage": {
            "inputTokens": 10, "outputTokens": 5, "totalTokens": 25, "cacheReadInputTokens": 7,
            "cacheWriteInputTokens": 3,
        },
        "metrics": { "latencyMs": 1 },
    });
    let mut streamed = Assembly::default();
    expected().into_iter().for_each(|event| streamed.push(event));
    assert_eq!(response(body.to_string().as_bytes(), "m").unwrap(), streamed.into_response());
    for body in ["", "[]", "{}", "{\"output\":{\"message\":{\"content\":[7]}}}"] {
        let error = response(body.as_bytes(), "m").unwrap_err();
        assert!(matches!(error, ModelError::Malformed { .. }), "{body}: {error:?}");
    }
}

#[test]
fn recorded_answers_are_read_however_they_are_cut() {
    for exchange in exchanges("bedrock") {
        let name = &exchange.name;
        if let Some(text) = &exchange.response.base64 {
            let bytes = BASE64_STANDARD.decode(text).unwrap();
            let whole = decode([bytes.as_slice()]);
            assert_eq!(whole.last(), Some(&Ok(Told::Done)), "{name}");
            for size in [1, 2, 3, 11, 100] {
                assert_eq!(decode(bytes.chunks(size)), whole, "{name} in pieces of {size}");
            }
            let mut assembly = Assembly::default();
            whole.into_iter().for_each(|step| assembly.push(step.unwrap()));
            let answer = assembly.into_response();
            assert!(!answer.text().is_empty(), "{name}");
            assert!(answer.usage.unwrap().input_tokens > 200, "{name}");
            for call in &answer.choices[0].message.tool_calls {
                assert!(serde_json::from_str::<Value>(&call.arguments).unwrap().is_object());
            }
        } else if exchange.response.status == 200 {
            let recorded: Value = serde_json::from_str(exchange.text()).unwrap();
            let answer = response(exchange.text().as_bytes(), "m").unwrap();
            let content = &recorded["output"]["message"]["content"][0];
            let message = &answer.choices[0].message;
            match content["text"].as_str() {
                Some(text) => assert_eq!(message.text(), text, "{name}"),
                None => {
                    let input: Value =
                        serde_json::from_str(&message.tool_calls[0].arguments).unwrap();
                    assert_eq!(input, content["toolUse"]["input"], "{name}");
                }
            }
            let tokens = recorded["usage"]["totalTokens"].as_u64().unwrap();
            assert_eq!(answer.usage.unwrap().total_tokens(), tokens, "{name}");
        } else {
            let status = http::StatusCode::from_u16(exchange.response.status).unwrap();
            let body = exchange.text().as_bytes();
            let error = crate::bedrock::failed(status, &http::HeaderMap::new(), body, "m");
            assert!(matches!(error, ModelError::UnknownModel { .. }), "{name}: {error:?}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_it_always_ends(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), size in 1_usize..50,
    ) {
        prop_assert!(matches!(decode(bytes.chunks(size)).last(), Some(Ok(Told::Done) | Err(_))));
        let _ = response(&bytes, "m");
    }

    #[test]
    fn no_order_of_events_makes_it_panic_and_it_always_ends(
        order in proptest::collection::vec(0_usize..64, 0..40), junk in "[ -~]{0,30}",
    ) {
        let mut frames = everything();
        frames.push(event("contentBlockDelta", &json!(junk)));
        frames.push(written(&[(":event-type", &junk)], junk.as_bytes()));
        let bytes: Vec<u8> = order.iter().flat_map(|at| frames[at % frames.len()].clone()).collect();
        let steps = decode([bytes.as_slice()]);
        let ends = steps.iter().filter(|step| matches!(step, Ok(Told::Done) | Err(_))).count();
        prop_assert_eq!(ends, 1);
        prop_assert_eq!(&steps, &decode(bytes.chunks(13)));
    }
}
