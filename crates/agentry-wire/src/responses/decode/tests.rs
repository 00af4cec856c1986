use agentry_core::chat::Usage;
use proptest::prelude::*;

use super::*;
use crate::responses::{Events, whole};
use crate::testing::exchanges;
use crate::{Asked, Encode as _};

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Step> {
    let mut decoder = Decoder::new();
    let mut steps: Vec<Step> = Vec::new();
    for piece in pieces {
        steps.extend(decoder.push(piece));
    }
    steps.extend(decoder.end(None));
    assert!(decoder.is_over());
    assert!(decoder.push(b"data: {}\n\n").is_empty() && decoder.end(None).is_empty());
    steps
}

fn assembled(steps: Vec<Step>) -> ChatResponse {
    let mut assembly = Assembly::default();
    steps.into_iter().for_each(|step| assembly.push(step.unwrap()));
    assembly.into_response()
}

fn details(answer: &mut ChatResponse) -> Vec<&mut Value> {
    let all = answer.choices[0].message.extra.get_mut(reasoning::DETAILS);
    all.and_then(Value::as_array_mut).into_iter().flatten().collect()
}

#[test]
fn recorded_streams_are_the_same_however_they_are_cut() {
    for exchange in exchanges("openai_responses") {
        let text = exchange.text();
        if exchange.response.status != 200 || text.starts_with('{') {
            continue;
        }
        let bytes = text.as_bytes();
        let told = decode([bytes]);
        assert_eq!(told.last(), Some(&Ok(Event::Done)), "{}", exchange.name);
        for size in [1, 7, 64] {
            assert_eq!(decode(bytes.chunks(size)), told, "{} in {size}", exchange.name);
        }
        for at in (0..bytes.len()).step_by(bytes.len() / 31 + 1) {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(decode([head, tail]), told, "{} cut at {at}", exchange.name);
            assert_eq!(decode([head]).last(), Some(&Err(ModelError::Truncated)), "ends at {at}");
        }
        // The last event holds the response whole, which says the same.
        let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
        let last: Value = serde_json::from_str(last).unwrap();
        let mut read = response(last["response"].to_string().as_bytes(), "m").unwrap();
        let mut streamed = assembled(told);
        streamed.head.extra.clone_from(&read.head.extra);
        let logprobs = streamed.choices[0].logprobs.is_some();
        assert_eq!(read.choices[0].logprobs.is_some(), logprobs, "{}", exchange.name);
        streamed.choices[0].logprobs.clone_from(&read.choices[0].logprobs);
        // It is encrypted anew every time.
        for (one, other) in details(&mut streamed).into_iter().zip(details(&mut read)) {
            assert!(one["data"].is_string() && other["data"].is_string(), "{}", exchange.name);
            one["data"] = other["data"].clone();
        }
        assert_eq!(streamed, read, "{}", exchange.name);
        assert!(read.usage.unwrap().output_tokens > 0, "{}", exchange.name);
    }
}

#[test]
fn what_callers_are_told_is_read_as_it_was_meant() {
    let kind = CallKind::Function;
    let choice = 0;
    let text = |text: &str| text.to_owned();
    let mut detail = reasoning::encrypted("gA", reasoning::OPENAI, 0);
    detail["id"] = "rs_x".into();
    let events = [
        Event::Started(Head {
            id: text("resp_1"),
            model: text("m"),
            created: 3,
            ..Head::default()
        }),
        Event::Reasoning { choice, text: text("hm") },
        reasoning::told(0, detail),
        Event::Reasoning { choice, text: text("hm, hm") },
        reasoning::told(0, reasoning::signed("hm, hm", "sig", reasoning::ANTHROPIC, 1)),
        Event::Text { choice, text: text("so ") },
        Event::Text { choice, text: text("be it") },
        Event::ToolCall { choice, index: 0, id: text("c"), kind, name: text("f") },
        Event::ToolArguments { choice, index: 0, fragment: text("{}") },
        Event::ToolCall {
            choice,
            index: 1,
            id: text("d"),
            kind: CallKind::Custom,
            name: text("g"),
        },
        Event::ToolArguments { choice, index: 1, fragment: text("ls") },
        Event::Finished { choice, reason: FinishReason::ToolCalls },
        Event::Usage(Usage { cached_input_tokens: 1, ..Usage::new(3, 2) }),
        Event::Done,
    ];
    let asked = Asked::default();
    let mut encoder = Events::new(&asked);
    let mut bytes = Vec::new();
    let mut assembly = Assembly::default();
    for event in events {
        encoder.encode(event.clone(), &mut bytes);
        assembly.push(event);
    }
    let mut expected = assembly.into_response();
    expected.head.extra.insert(text("service_tier"), "default".into());
    assert_eq!(assembled(decode([bytes.as_slice()])), expected);
    let again = response(&whole(&expected, &asked), "m").unwrap();
    assert_eq!(again.choices[0].message.extra, expected.choices[0].message.extra);
    assert_eq!(again, expected);
}

#[test]
fn a_failure_is_told_with_what_it_cost() {
    let failed = r#"data: {"type":"response.failed","response":{"error":{"message":"oops"},"usage":{"input_tokens":1,"output_tokens":2}}}"#;
    let broke = |message: &str| Err(ModelError::BrokeOff { message: message.to_owned() });
    let found = decode([format!("{failed}\n\n").as_bytes()]);
    assert_eq!(found, [Ok(Event::Usage(Usage::new(1, 2))), broke("oops")]);
    let error = r#"data: {"type":"error","code":"x","message":"full","param":null}"#;
    assert_eq!(decode([format!("{error}\n\n").as_bytes()]), [broke("full")]);
    for (body, expected) in [
        (r#"{"status":"failed","error":{"message":"oops"},"output":[]}"#, "oops"),
        ("{}", "no output"),
        ("<html>", "unreadable"),
    ] {
        let error = response(body.as_bytes(), "m").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn items_that_come_whole_and_summaries_that_follow_one_another_lose_nothing() {
    let events = [
        json!({ "type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "one" }),
        json!({ "type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 1, "delta": "two" }),
        json!({ "type": "response.output_item.done", "output_index": 1, "item": {
            "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" } }),
        json!({ "type": "response.output_item.done", "output_index": 2, "item": {
            "type": "message", "content": [{ "type": "output_text", "text": "hi",
                "annotations": [{ "type": "url_citation", "url": "u" }] }] } }),
        json!({ "type": "response.completed", "response": { "output": [] } }),
    ];
    let bytes: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    let answer = assembled(decode([bytes.as_bytes()]));
    let message = &answer.choices[0].message;
    assert_eq!(message.extra["reasoning_content"], "one\n\ntwo");
    assert_eq!(message.text(), "hi");
    assert_eq!(message.tool_calls[0].arguments, "{}");
    let nested = json!([{ "type": "url_citation", "url_citation": { "url": "u" } }]);
    assert_eq!(message.extra["annotations"], nested);
    assert_eq!(answer.choices[0].finish_reason, Some(FinishReason::ToolCalls));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in "(output_item.done|completed|output_text.delta|failed)", text in "[\\[\\]{}\",:a-z0-9]{0,60}") {
        decode([bytes.as_slice()]);
        decode([format!("data: {{\"type\":\"response.{kind}\",\"item\":{text},\"response\":{text}}}\n\n").as_bytes()]);
        let _ = response(&bytes, "m");
    }
}
