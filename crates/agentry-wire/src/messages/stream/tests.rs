use agentry_core::chat::{CallKind, ChatResponse};
use agentry_core::model::ModelError;
use proptest::prelude::*;

use super::*;
use crate::messages::Decoder;
use crate::testing::exchanges;
use crate::{Decode, Step};

fn asked() -> Asked {
    let fallback = Head { id: "msg_ours".to_owned(), model: "alias".to_owned(), ..Head::default() };
    Asked { fallback, ..Asked::default() }
}

fn written(events: impl IntoIterator<Item = Event>) -> String {
    let mut stream = Stream::new(&asked());
    let mut out = Vec::new();
    for event in events {
        stream.encode(event, &mut out);
    }
    String::from_utf8(out).unwrap()
}

fn read(text: &str) -> Vec<Step> {
    let mut decoder = Decoder::new("m");
    let mut steps = decoder.push(text.as_bytes());
    steps.extend(decoder.end(None));
    steps
}

fn told(step: Step) -> Option<Event> {
    step.ok()
}

/// The events' names and what they say, without the framing.
fn outline(text: &str) -> Vec<Value> {
    let mut lines = Vec::new();
    for event in text.split_terminator("\n\n") {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["type"], name.strip_prefix("event: ").unwrap());
        lines.push(data);
    }
    lines
}

#[test]
fn an_answer_of_another_vendor_reads_like_one_of_theirs() {
    let text = |text: &str| Event::Text { choice: 0, text: text.to_owned() };
    let mut detail = Map::new();
    let theirs = json!({ "type": "reasoning.encrypted", "data": "x", "format": "f" });
    detail.insert("reasoning_details".to_owned(), json!([theirs]));
    let call = |index: u32, id: &str| Event::ToolCall {
        choice: 0,
        index,
        id: id.to_owned(),
        kind: CallKind::Function,
        name: "f".to_owned(),
    };
    let arguments = |index: u32, fragment: &str| Event::ToolArguments {
        choice: 0,
        index,
        fragment: fragment.to_owned(),
    };
    let lines = outline(&written([
        Event::Started(Head { model: "gpt".to_owned(), ..Head::default() }),
        Event::Reasoning { choice: 0, text: "hm".to_owned() },
        Event::Extra { choice: 0, fields: detail },
        text("a\""),
        text("b"),
        Event::Text { choice: 1, text: "nobody asked".to_owned() },
        call(0, "c1"),
        arguments(0, "{}"),
        call(1, "c2"),
        arguments(1, "{\"a\":1}"),
        Event::Finished { choice: 0, reason: FinishReason::ToolCalls },
        Event::Usage(Usage { cached_input_tokens: 3, reasoning_tokens: 2, ..Usage::new(10, 5) }),
        Event::Done,
    ]));
    let start = |index: u32, block: Value| json!({ "type": "content_block_start", "index": index, "content_block": block });
    let delta = |index: u32, delta: Value| json!({ "type": "content_block_delta", "index": index, "delta": delta });
    let stop = |index: u32| json!({ "type": "content_block_stop", "index": index });
    let nothing = json!({
        "input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0,
    });
    let expected = vec![
        json!({ "type": "message_start", "message": {
            "id": "msg_ours", "type": "message", "role": "assistant", "model": "gpt", "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": nothing,
        } }),
        start(0, json!({ "type": "thinking", "thinking": "", "signature": "" })),
        delta(0, json!({ "type": "thinking_delta", "thinking": "hm" })),
        delta(0, json!({ "type": "signature_delta", "signature": FOREIGN })),
        stop(0),
        start(1, json!({ "type": "redacted_thinking", "data": format!("{FOREIGN}{theirs}") })),
        stop(1),
        start(2, json!({ "type": "text", "text": "" })),
        delta(2, json!({ "type": "text_delta", "text": "a\"" })),
        delta(2, json!({ "type": "text_delta", "text": "b" })),
        stop(2),
        start(3, json!({ "type": "tool_use", "id": "c1", "name": "f", "input": {} })),
        delta(3, json!({ "type": "input_json_delta", "partial_json": "{}" })),
        stop(3),
        start(4, json!({ "type": "tool_use", "id": "c2", "name": "f", "input": {} })),
        delta(4, json!({ "type": "input_json_delta", "partial_json": "{\"a\":1}" })),
        stop(4),
        json!({
            "type": "message_delta", "delta": { "stop_reason": "tool_use", "stop_sequence": null },
            "usage": {
                "input_tokens": 7, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 3,
                "output_tokens": 5, "output_tokens_details": { "thinking_tokens": 2 },
            },
        }),
        json!({ "type": "message_stop" }),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn an_answer_that_breaks_off_says_so_and_does_not_end() {
    let mut stream = Stream::new(&asked());
    let mut out = Vec::new();
    stream.encode(Event::Text { choice: 0, text: "hi".to_owned() }, &mut out);
    let message = "the upstream broke off";
    let refused = Refused { status: 529, code: "model_broke_off", message, param: None };
    stream.fail(&refused, &mut out);
    let text = String::from_utf8(out).unwrap();
    let last = outline(&text).pop().unwrap();
    let error =
        json!({ "type": "overloaded_error", "message": message, "code": "model_broke_off" });
    assert_eq!(last, json!({ "type": "error", "error": error }));
    let broke = ModelError::BrokeOff { message: message.to_owned() };
    assert_eq!(read(&text).last(), Some(&Err(broke)));
}

#[test]
fn reasons_to_stop_have_their_words() {
    let check = |events: Vec<Event>, reason: &str, sequence: Value| {
        let lines = outline(&written(events.into_iter().chain([Event::Done])));
        let delta = &lines[lines.len() - 2]["delta"];
        assert_eq!((&delta["stop_reason"], &delta["stop_sequence"]), (&json!(reason), &sequence));
    };
    let finished = |reason| Event::Finished { choice: 0, reason };
    check(vec![], "end_turn", Value::Null);
    check(vec![finished(FinishReason::Stop)], "end_turn", Value::Null);
    check(vec![finished(FinishReason::Length)], "max_tokens", Value::Null);
    check(vec![finished(FinishReason::ContentFilter)], "refusal", Value::Null);
    check(vec![finished(FinishReason::from("pause_turn"))], "pause_turn", Value::Null);
    check(vec![finished(FinishReason::from("eos"))], "end_turn", Value::Null);
    let mut fields = Map::new();
    fields.insert("stop_sequence".to_owned(), "END".into());
    let stopped = Event::Extra { choice: 0, fields };
    check(vec![stopped, finished(FinishReason::Stop)], "stop_sequence", json!("END"));
    let refusal = Event::Refusal { choice: 0, text: "no".to_owned() };
    check(vec![refusal, finished(FinishReason::Stop)], "refusal", Value::Null);
}

#[test]
fn what_is_written_reads_as_it_was_told() {
    let golden = include_str!("../../../tests/wire/streams/messages_everything.sse");
    let mut texts = vec![golden.to_owned()];
    let recorded = exchanges("anthropic");
    texts.extend(recorded.iter().map(|exchange| exchange.text().to_owned()));
    for text in texts.iter().filter(|text| text.starts_with("event:")) {
        let steps = read(text);
        let events = steps.iter().cloned().filter_map(told);
        assert_eq!(read(&written(events)), steps);
        // Also when it is told from the whole answer, as a cache does.
        let mut assembly = agentry_core::chat::Assembly::default();
        steps.into_iter().filter_map(told).for_each(|event| assembly.push(event));
        let whole = assembly.into_response();
        assert_eq!(reread(&whole), whole);
        let bytes = crate::messages::whole(&whole, &asked());
        assert_eq!(crate::messages::response(&bytes, "m").unwrap(), whole);
    }
}

#[test]
fn thoughts_of_other_vendors_are_read_back_as_they_were_told() {
    let body = json!({
        "model": "gpt",
        "choices": [{ "index": 0, "finish_reason": "stop", "message": {
            "role": "assistant", "content": "hi", "reasoning_content": "hm",
            "reasoning_details": [{ "type": "reasoning.encrypted", "data": "x", "format": "f" }],
        } }],
        "usage": { "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 },
    });
    let whole: ChatResponse = serde_json::from_value(body).unwrap();
    let bytes = crate::messages::whole(&whole, &asked());
    for read in [reread(&whole), crate::messages::response(&bytes, "m").unwrap()] {
        assert_eq!(read.choices, whole.choices);
    }
}

fn reread(whole: &ChatResponse) -> ChatResponse {
    let mut assembly = agentry_core::chat::Assembly::default();
    let text = written(whole.clone().into_events());
    read(&text).into_iter().filter_map(told).for_each(|event| assembly.push(event));
    assembly.into_response()
}

fn event() -> impl Strategy<Value = Event> {
    let text = "[a-zé\"\\\\\n]{0,6}";
    prop_oneof![
        text.prop_map(|text| Event::Text { choice: 0, text }),
        text.prop_map(|text| Event::Reasoning { choice: 0, text }),
        text.prop_map(|text| Event::Refusal { choice: 0, text }),
        (0_u32..3, text).prop_map(|(index, id)| Event::ToolCall {
            choice: 0, index, name: id.clone(), id, kind: CallKind::Function,
        }),
        (0_u32..3, text).prop_map(|(index, fragment)| Event::ToolArguments { choice: 0, index, fragment }),
        text.prop_map(|text| {
            let detail = json!([{ "type": "reasoning.text", "text": text, "signature": text, "format": "anthropic-claude-v1" }]);
            Event::Extra { choice: 0, fields: [("reasoning_details".to_owned(), detail)].into_iter().collect() }
        }),
    ]
}

proptest! {
    /// Blocks begin once, in order, end once, and nothing is said outside of them.
    #[test]
    fn any_events_make_a_well_formed_stream(events in proptest::collection::vec(event(), 0..20)) {
        let lines = outline(&written(events.into_iter().chain([Event::Done])));
        prop_assert_eq!(&lines[0]["type"], "message_start");
        prop_assert_eq!(&lines[lines.len() - 1]["type"], "message_stop");
        let (mut begun, mut open) = (0_u64, None);
        for line in &lines[1..lines.len() - 2] {
            let index = line["index"].as_u64().unwrap();
            match line["type"].as_str().unwrap() {
                "content_block_start" => {
                    prop_assert_eq!((open, index), (None, begun));
                    (begun, open) = (begun + 1, Some(index));
                }
                "content_block_stop" => prop_assert_eq!(open.take(), Some(index)),
                // Late arguments go to their own call.
                "content_block_delta" => prop_assert!(index < begun),
                other => prop_assert!(false, "{other}"),
            }
        }
        prop_assert_eq!(open, None);
    }
}
