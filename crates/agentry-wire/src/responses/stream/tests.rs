use agentry_core::chat::{Assembly, Head};
use bytes::Bytes;

use super::*;
use crate::reasoning::{ANTHROPIC, encrypted, signed, told};
use crate::responses::{request, whole};

fn asked() -> Asked {
    let fallback =
        Head { id: "1".to_owned(), model: "alias".to_owned(), created: 7, ..Head::default() };
    let body = br#"{"model":"alias","input":"hi","temperature":0.5,"metadata":{"a":"b"},
        "tools":[{"type":"function","name":"f"}],"reasoning":{"effort":"low"}}"#;
    Asked { fallback, body: Bytes::from_static(body), ..Asked::default() }
}

fn run(events: Vec<Event>) -> Vec<Value> {
    let mut encoder = Events::new(&asked());
    let mut out = Vec::new();
    for event in events {
        encoder.encode(event, &mut out);
    }
    read(&out)
}

/// The events, whose names and numbers are checked on the way.
fn read(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    let events = text.split_terminator("\n\n").zip(0_u64..).map(|(event, at)| {
        let (name, data) = event.split_once('\n').unwrap();
        let value: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), value["type"].as_str());
        assert_eq!(value["sequence_number"], json!(at));
        value
    });
    events.collect()
}

fn names(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap().trim_start_matches("response."))
        .collect()
}

fn started() -> Event {
    Event::Started(Head { id: "chatcmpl-9".to_owned(), model: "m-1".to_owned(), ..Head::default() })
}

fn text(text: &str) -> Event {
    Event::Text { choice: 0, text: text.to_owned() }
}

fn thought(text: &str) -> Event {
    Event::Reasoning { choice: 0, text: text.to_owned() }
}

fn calls(index: u32) -> [Event; 2] {
    [
        Event::ToolCall {
            choice: 0,
            index,
            id: format!("c{index}"),
            kind: CallKind::Function,
            name: "f".to_owned(),
        },
        Event::ToolArguments { choice: 0, index, fragment: "{}".to_owned() },
    ]
}

fn finished(reason: FinishReason) -> [Event; 3] {
    [Event::Finished { choice: 0, reason }, Event::Usage(Usage::new(3, 2)), Event::Done]
}

#[test]
fn a_text_is_told_step_by_step() {
    let mut events = vec![started(), text("he"), text("llo")];
    events.extend(finished(FinishReason::Stop));
    let found = run(events);
    assert_eq!(
        names(&found),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]
    );
    let delta = json!({ "type": "response.output_text.delta", "sequence_number": 5,
        "item_id": "msg_9_0", "output_index": 0, "content_index": 0, "delta": "llo", "logprobs": [] });
    assert_eq!(found[5], delta);
    let response = &found[9]["response"];
    let item = json!({ "id": "msg_9_0", "type": "message", "status": "completed",
        "role": "assistant", "content": [
            { "type": "output_text", "text": "hello", "annotations": [], "logprobs": [] }] });
    assert_eq!(response["output"], json!([item]));
    for (name, expected) in [
        ("id", json!("resp_9")),
        ("object", json!("response")),
        ("created_at", json!(7)),
        ("status", json!("completed")),
        ("model", json!("m-1")),
        ("temperature", json!(0.5)),
        ("top_p", json!(1.0)),
        ("metadata", json!({ "a": "b" })),
        ("reasoning", json!({ "effort": "low", "summary": null })),
        ("text", json!({ "format": { "type": "text" } })),
        (
            "tools",
            json!([{ "type": "function", "name": "f", "description": null, "parameters": null,
                     "strict": false }]),
        ),
        (
            "usage",
            json!({ "input_tokens": 3, "input_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
                    "output_tokens": 2, "output_tokens_details": { "reasoning_tokens": 0 },
                    "total_tokens": 5 }),
        ),
    ] {
        assert_eq!(response[name], expected, "{name}");
    }
    assert_eq!(found[0]["response"]["status"], "in_progress");
}

#[test]
fn thoughts_and_parallel_calls_are_items_of_their_own() {
    let mut events = vec![started(), thought("hm"), told(0, signed("hm", "sig", ANTHROPIC, 0))];
    events.push(text("let me see"));
    let [first, fragment] = calls(0);
    let [second, other] = calls(1);
    events.extend([first, second, other, fragment]);
    events.extend(finished(FinishReason::ToolCalls));
    let found = run(events);
    assert_eq!(
        names(&found)[2..],
        [
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.done",
            "reasoning_summary_part.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
    );
    let output = found.last().unwrap()["response"]["output"].clone();
    assert_eq!(
        output[2],
        json!({ "id": "fc_9_2", "type": "function_call", "status": "completed", "call_id": "c0",
                "name": "f", "arguments": "{}" })
    );
    // The caller sends all of it back, and what was signed arrives as it was.
    let mut input = output.as_array().unwrap().clone();
    input.push(json!({ "type": "function_call_output", "call_id": "c0", "output": "1" }));
    let back = request(json!({ "model": "m", "input": input })).unwrap();
    let [assistant, _] = back.messages.as_slice() else { panic!("{back:?}") };
    assert_eq!(assistant.text(), "let me see");
    assert_eq!(assistant.tool_calls.len(), 2);
    let details: Vec<&Value> = reasoning::details(assistant).collect();
    assert_eq!(details, [&signed("hm", "sig", ANTHROPIC, 0)]);
}

#[test]
fn what_is_null_or_odd_in_the_request_costs_no_other_field() {
    let body = br#"{"model":"m","input":"hi","reasoning":null,"metadata":null,"text":{"format":{
        "type":"json_schema","name":"n","schema":{}}},"top_p":null,"user":"u","truncation":null}"#;
    let asked = Asked { body: Bytes::from_static(body), ..asked() };
    let response: Value = serde_json::from_slice(&whole(&Default::default(), &asked)).unwrap();
    for (name, expected) in [
        ("reasoning", json!({ "effort": null, "summary": null })),
        ("metadata", json!({})),
        ("top_p", json!(1.0)),
        ("truncation", json!("disabled")),
        ("user", json!("u")),
        ("model", json!("alias")),
        (
            "text",
            json!({ "format": { "type": "json_schema", "name": "n", "schema": {},
                    "description": null, "strict": false } }),
        ),
    ] {
        assert_eq!(response[name], expected, "{name}");
    }
}

/// Everything that there is, byte for byte. After a change that is meant, the file is written by hand.
#[test]
fn the_bytes_are_those_that_clients_are_known_to_read() {
    let citation = json!({ "type": "url_citation", "url_citation": { "url": "u", "title": "t",
        "start_index": 0, "end_index": 2 } });
    let annotations = [("annotations".to_owned(), json!([citation]))].into_iter().collect();
    let custom = ("c2".to_owned(), CallKind::Custom, "g".to_owned());
    let mut events = vec![
        started(),
        thought("hm"),
        told(0, signed("hm", "sig", ANTHROPIC, 0)),
        text("so"),
        Event::Extra { choice: 0, fields: annotations },
        Event::Logprobs {
            choice: 0,
            value: json!({ "content": [{ "token": "so", "logprob": -0.5,
            "bytes": [115, 111], "top_logprobs": [] }] }),
        },
    ];
    events.extend(calls(0));
    let (id, kind, name) = custom;
    events.push(Event::ToolCall { choice: 0, index: 1, id, kind, name });
    events.push(Event::ToolArguments { choice: 0, index: 1, fragment: "ls".to_owned() });
    events.extend(finished(FinishReason::ToolCalls));
    let mut encoder = Events::new(&asked());
    let mut out = Vec::new();
    for event in events {
        encoder.encode(event, &mut out);
    }
    let golden = include_str!("../../../tests/wire/streams/responses_everything.sse");
    let (found, golden) = (String::from_utf8(out).unwrap(), golden.replace("\r\n", "\n"));
    for (found, golden) in found.lines().zip(golden.lines()) {
        assert_eq!(found, golden);
    }
    assert_eq!(found.len(), golden.len());
}

#[test]
fn an_encrypted_item_keeps_its_id_and_its_bytes() {
    let mut detail = encrypted("gAAA", reasoning::OPENAI, 0);
    detail["id"] = "rs_theirs".into();
    let mut events = vec![started(), told(0, detail), text("x")];
    events.extend(finished(FinishReason::Stop));
    let found = run(events);
    let item = &found.last().unwrap()["response"]["output"][0];
    let expected = json!({ "id": "rs_theirs", "type": "reasoning", "status": "completed",
        "summary": [], "encrypted_content": "gAAA" });
    assert_eq!(item, &expected);
}

#[test]
fn an_answer_that_was_cut_short_says_why() {
    for (reason, why) in [
        (FinishReason::Length, "max_output_tokens"),
        (FinishReason::ContentFilter, "content_filter"),
    ] {
        let mut events = vec![started(), text("he")];
        events.extend(finished(reason));
        let found = run(events);
        let last = found.last().unwrap();
        assert_eq!(last["type"], "response.incomplete");
        assert_eq!(last["response"]["incomplete_details"], json!({ "reason": why }));
        assert_eq!(last["response"]["output"][0]["status"], "incomplete");
    }
}

#[test]
fn a_refusal_is_a_part_of_the_message() {
    let mut events = vec![started(), Event::Refusal { choice: 0, text: "no".to_owned() }];
    events.extend(finished(FinishReason::Stop));
    let found = run(events);
    assert_eq!(
        names(&found)[3..7],
        ["content_part.added", "refusal.delta", "refusal.done", "content_part.done"]
    );
    let content = &found.last().unwrap()["response"]["output"][0]["content"];
    assert_eq!(*content, json!([{ "type": "refusal", "refusal": "no" }]));
}

#[test]
fn a_broken_answer_is_told_in_both_places_and_nothing_ends_it() {
    let mut encoder = Events::new(&asked());
    let mut out = Vec::new();
    encoder.encode(started(), &mut out);
    encoder.encode(text("he"), &mut out);
    let refused = Refused { status: 502, code: "model_broke_off", message: "full", param: None };
    encoder.fail(&refused, &mut out);
    let found = read(&out);
    let [.., error, failed] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(error["type"], "error");
    assert_eq!(error["code"], "model_broke_off");
    assert_eq!(error["error"]["message"], "full");
    assert_eq!(failed["type"], "response.failed");
    assert_eq!(
        failed["response"]["error"],
        json!({ "code": "model_broke_off", "message": "full" })
    );
}

#[test]
fn a_whole_answer_is_what_the_stream_ends_with() {
    let mut events = vec![started(), thought("hm"), text("see")];
    events.extend(calls(0));
    events.extend(finished(FinishReason::ToolCalls));
    let mut assembly = Assembly::default();
    events.iter().cloned().for_each(|event| assembly.push(event));
    let found = run(events);
    let body: Value = serde_json::from_slice(&whole(&assembly.into_response(), &asked())).unwrap();
    assert_eq!(body, found.last().unwrap()["response"]);
}

fn any_event() -> impl proptest::strategy::Strategy<Value = Event> {
    use proptest::prelude::*;
    let detail = json!({ "type": "reasoning.encrypted", "data": "d", "format": "x" });
    prop_oneof![
        Just(started()),
        (0_u32..2, ".{0,4}").prop_map(|(choice, text)| Event::Text { choice, text }),
        ".{0,4}".prop_map(|text| thought(&text)),
        ".{0,4}".prop_map(|text| Event::Refusal { choice: 0, text }),
        Just(told(0, detail)),
        (0_u32..3, any::<bool>()).prop_map(|(at, first)| {
            let [call, arguments] = calls(at);
            if first { call } else { arguments }
        }),
        Just(Event::Logprobs { choice: 0, value: json!({ "content": [{}] }) }),
    ]
}

proptest::proptest! {
    #[test]
    fn every_item_that_begins_ends_once(events in proptest::collection::vec(any_event(), 0..20)) {
        let mut events = events;
        events.extend(finished(FinishReason::Stop));
        let found = run(events);
        let count = |name: &str| found.iter().filter(|event| event["type"] == name).count();
        let items = found.last().unwrap()["response"]["output"].as_array().unwrap();
        proptest::prop_assert_eq!(count("response.output_item.added"), items.len());
        proptest::prop_assert_eq!(count("response.output_item.done"), items.len());
        proptest::prop_assert_eq!(count("response.content_part.added"), count("response.content_part.done"));
        proptest::prop_assert!(items.iter().all(|item| !item.is_null()));
    }
}
