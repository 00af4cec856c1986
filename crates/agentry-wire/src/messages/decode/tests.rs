use agentry_core::chat::{CallKind, Event, FinishReason, Head, Usage};
use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

mod recorded;

pub(super) const EVERYTHING: &str =
    include_str!("../../../tests/wire/streams/messages_everything.sse");

pub(super) fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Step> {
    let mut decoder = Decoder::new("m");
    let mut steps = Vec::new();
    for piece in pieces {
        steps.extend(decoder.push(piece));
    }
    steps.extend(decoder.end(None));
    assert!(decoder.is_over());
    steps
}

fn check(text: &str, expected: &[Step]) {
    for size in [1, 2, 3, 7, 1_000_000] {
        assert_eq!(decode(text.as_bytes().chunks(size)), expected, "in pieces of {size}");
    }
}

fn extra(name: &str, value: Value) -> Step {
    let mut fields = Map::new();
    fields.insert(name.to_owned(), value);
    Ok(Event::Extra { choice: 0, fields })
}

fn text(text: &str) -> Step {
    Ok(Event::Text { choice: 0, text: text.to_owned() })
}

fn thought(text: &str) -> Step {
    Ok(Event::Reasoning { choice: 0, text: text.to_owned() })
}

fn call(index: u32, id: &str, name: &str) -> Step {
    let (id, name) = (id.to_owned(), name.to_owned());
    Ok(Event::ToolCall { choice: 0, index, id, kind: CallKind::Function, name })
}

fn arguments(index: u32, fragment: &str) -> Step {
    Ok(Event::ToolArguments { choice: 0, index, fragment: fragment.to_owned() })
}

fn finished(reason: FinishReason) -> Step {
    Ok(Event::Finished { choice: 0, reason })
}

fn started() -> Step {
    let (id, model) = ("msg_1".to_owned(), "claude-x".to_owned());
    Ok(Event::Started(Head { id, model, ..Head::default() }))
}

fn bill() -> Step {
    let reported = json!({ "cache_creation_input_tokens": 3, "cache_read_input_tokens": 7 });
    Ok(Event::Usage(Usage {
        cached_input_tokens: 7,
        reported: reported.as_object().unwrap().clone(),
        ..Usage::new(20, 42)
    }))
}

#[test]
fn everything_that_an_answer_may_hold_is_told() {
    let details = |detail: Value| extra("reasoning_details", json!([detail]));
    let expected = [
        started(),
        thought("Let me "),
        thought("sée"),
        details(json!({
            "type": "reasoning.text", "text": "Let me sée", "signature": "SIG",
            "format": "anthropic-claude-v1", "index": 0,
        })),
        details(json!({
            "type": "reasoning.encrypted", "data": "ENC", "format": "anthropic-claude-v1", "index": 1,
        })),
        extra(
            "content_blocks",
            json!([{ "type": "server_tool_use", "id": "srv_1", "name": "bash_code_execution", "input": { "command": "ls" } }]),
        ),
        text("Two "),
        text("calls 🙂"),
        call(0, "toolu_1", "f"),
        arguments(0, "{\"a\":"),
        arguments(0, "1}"),
        call(1, "toolu_2", "g"),
        arguments(1, "{}"),
        finished(FinishReason::ToolCalls),
        bill(),
        Ok(Event::Done),
    ];
    check(EVERYTHING, &expected);
}

const START: &str =
    "data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude-x\"}}\n\n";
const HI: &str = "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n";
const ENDED: &str = "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"stop_sequence\",\"stop_sequence\":\"END\"}}\n\n";

#[test]
fn an_answer_that_said_why_it_ended_lacks_nothing() {
    let end = [extra("stop_sequence", json!("END")), finished(FinishReason::Stop), Ok(Event::Done)];
    let expected: Vec<Step> = [started(), text("hi")].into_iter().chain(end).collect();
    check(&[START, HI, ENDED].concat(), &expected);
    check(&[START, HI, ENDED.trim_end()].concat(), &expected);
    let cut = [started(), text("hi"), Err(ModelError::Truncated)];
    check(&[START, HI].concat(), &cut);
    check(&[START, HI, &ENDED[..40]].concat(), &cut);
    check("", &[Err(ModelError::Truncated)]);
    check("event: ping\ndata: {\"type\":\"ping\"}\n\n", &[Err(ModelError::Truncated)]);
}

#[test]
fn an_error_means_what_it_says_until_something_was_said() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"},\"request_id\":\"req_1\"}\n\n";
    let message = || "Overloaded".to_owned();
    check(error, &[Err(ModelError::Unavailable { message: message(), after: None })]);
    let broke = Err(ModelError::BrokeOff { message: message() });
    check(&[START, HI, error, HI].concat(), &[started(), text("hi"), broke]);
}

#[test]
fn garbage_is_malformed() {
    for garbage in ["data: {\n\n", "data: 7\n\n", "data: {\"type\":\"x\",\"index\":-1}\n\n"] {
        let steps = decode([garbage.as_bytes()]);
        assert!(matches!(steps[..], [Err(ModelError::Malformed { .. })]), "{garbage}: {steps:?}");
    }
    let long = format!("data: {}", "x".repeat(9 << 20));
    let steps = decode([long.as_bytes()]);
    assert!(matches!(steps[..], [Err(ModelError::Malformed { .. })]));
}

#[test]
fn a_whole_answer_is_what_its_stream_would_have_told() {
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
        "content": [
            { "type": "thinking", "thinking": "Let me sée", "signature": "SIG" },
            { "type": "redacted_thinking", "data": "ENC" },
            { "type": "server_tool_use", "id": "srv_1", "name": "bash_code_execution", "input": { "command": "ls" } },
            { "type": "text", "text": "Two calls 🙂" },
            { "type": "tool_use", "id": "toolu_1", "name": "f", "input": { "a": 1 } },
            { "type": "tool_use", "id": "toolu_2", "name": "g", "input": {} },
        ],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {
            "input_tokens": 10, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 7,
            "output_tokens": 42,
        },
    });
    let mut streamed = Assembly::default();
    for step in decode([EVERYTHING.as_bytes()]) {
        streamed.push(step.unwrap());
    }
    assert_eq!(response(body.to_string().as_bytes(), "m").unwrap(), streamed.into_response());
}

#[test]
fn an_answer_given_to_our_tool_is_a_text() {
    let begin = "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"agentry_answer\",\"input\":{}}}\n\n";
    let delta = |piece: &str| {
        let delta = json!({ "type": "input_json_delta", "partial_json": piece });
        let event = json!({ "type": "content_block_delta", "index": 0, "delta": delta });
        format!("data: {event}\n\n")
    };
    let end = "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"}}\n\ndata: {\"type\":\"message_stop\"}\n\n";
    let streamed = [START, begin, &delta("{\"a\":"), &delta("1}"), end].concat();
    let told =
        [started(), text("{\"a\":"), text("1}"), finished(FinishReason::Stop), Ok(Event::Done)];
    check(&streamed, &told);
    let body = json!({ "stop_reason": "tool_use", "content": [
        { "type": "tool_use", "id": "t", "name": "agentry_answer", "input": { "a": 1 } },
    ] });
    let whole = response(body.to_string().as_bytes(), "m").unwrap();
    assert_eq!(whole.text(), "{\"a\":1}");
    assert_eq!(whole.choices[0].finish_reason, Some(FinishReason::Stop));
}

#[test]
fn an_answer_that_is_none_says_so() {
    for body in ["", "[]", "{}", "{\"content\":7}", "{\"content\":[7]}"] {
        let error = response(body.as_bytes(), "m").unwrap_err();
        assert!(matches!(error, ModelError::Malformed { .. }), "{body}: {error:?}");
    }
    let body =
        "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"slow\"}}";
    let limited = ModelError::RateLimited { message: "slow".to_owned(), after: None };
    assert_eq!(response(body.as_bytes(), "m"), Err(limited));
}

#[test]
fn reasons_to_stop_have_their_words() {
    for (word, reason) in [
        ("end_turn", FinishReason::Stop),
        ("max_tokens", FinishReason::Length),
        ("model_context_window_exceeded", FinishReason::Length),
        ("refusal", FinishReason::ContentFilter),
        ("pause_turn", FinishReason::Other("pause_turn".to_owned())),
    ] {
        let body = json!({ "content": [], "stop_reason": word }).to_string();
        let read = response(body.as_bytes(), "m").unwrap();
        assert_eq!(read.choices[0].finish_reason, Some(reason));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_it_always_ends(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), size in 1_usize..50,
    ) {
        let steps = decode(bytes.chunks(size));
        prop_assert!(matches!(steps.last(), Some(Ok(Event::Done) | Err(_))));
        let _ = response(&bytes, "m");
    }

    #[test]
    fn no_order_of_events_makes_it_panic_and_it_always_ends(
        order in proptest::collection::vec(0_usize..64, 0..40), size in 1_usize..200,
    ) {
        let frames: Vec<&str> = EVERYTHING.split_inclusive("\n\n").collect();
        let text: String = order.iter().map(|at| frames[at % frames.len()]).collect();
        let steps = decode(text.as_bytes().chunks(size));
        prop_assert!(matches!(steps.last(), Some(Ok(Event::Done) | Err(_))));
        let ends = steps.iter().filter(|step| matches!(step, Ok(Event::Done) | Err(_))).count();
        prop_assert_eq!(ends, 1);
        prop_assert_eq!(&steps, &decode([text.as_bytes()]));
    }
}
