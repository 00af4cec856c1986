use agentry_core::chat::{Assembly, CallKind};
use proptest::prelude::*;
use serde_json::json;

use super::*;

mod recorded;

/// Decodes `pieces` in their order, to the end.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Step> {
    let mut decoder = Decoder::new();
    let mut steps = Vec::new();
    for piece in pieces {
        steps.extend(decoder.push(piece));
    }
    steps.extend(decoder.end(None));
    assert!(decoder.is_over());
    steps
}

/// A stream of chunks with these deltas, and what else is in `tail`.
fn stream(deltas: &[Value], tail: &str) -> String {
    let chunks = deltas.iter().map(|delta| chunk(&json!([{ "index": 0, "delta": delta }])));
    chunks.collect::<String>() + tail
}

fn chunk(choices: &Value) -> String {
    let chunk = json!({
        "id": "c", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": choices, "usage": null,
    });
    format!("data: {chunk}\n\n")
}

fn ended(reason: &str) -> String {
    chunk(&json!([{ "index": 0, "delta": {}, "finish_reason": reason }]))
}

const DONE: &str = "data: [DONE]\n\n";

#[track_caller]
fn check(input: &str, expected: &[Step]) {
    assert_eq!(decode([input.as_bytes()]), expected, "{input}");
}

/// What comes after the head, for streams that have one.
#[track_caller]
fn check_tail(input: &str, expected: &[Step]) {
    let mut all = vec![Ok(Event::Started(head()))];
    all.extend_from_slice(expected);
    check(input, &all);
}

fn head() -> Head {
    Head { id: "c".to_owned(), model: "m".to_owned(), created: 7, extra: Map::new() }
}

#[test]
fn an_answer_has_no_fields_of_other_messages() {
    let delta = json!({ "name": [1], "tool_call_id": 7, "role": {}, "content": "x" });
    let input = stream(&[delta], &(ended("stop") + DONE));
    let finished = Event::Finished { choice: 0, reason: FinishReason::Stop };
    check_tail(&input, &[says("x"), Ok(finished), Ok(Event::Done)]);
}

fn says(text: &str) -> Step {
    Ok(Event::Text { choice: 0, text: text.to_owned() })
}

fn thinks(text: &str) -> Step {
    Ok(Event::Reasoning { choice: 0, text: text.to_owned() })
}

fn calls(index: u32, id: &str, name: &str) -> Step {
    let (id, name) = (id.to_owned(), name.to_owned());
    Ok(Event::ToolCall { choice: 0, index, id, kind: CallKind::Function, name })
}

fn writes(index: u32, fragment: &str) -> Step {
    Ok(Event::ToolArguments { choice: 0, index, fragment: fragment.to_owned() })
}

fn finished(reason: &str) -> Step {
    Ok(Event::Finished { choice: 0, reason: reason.into() })
}

fn broke_off(message: &str) -> Step {
    Err(ModelError::BrokeOff { message: message.to_owned() })
}

#[test]
fn text_arrives_as_it_is_written() {
    let deltas = [
        json!({ "role": "assistant", "content": "", "refusal": null }),
        json!({ "content": "Hel" }),
        json!({ "content": "lo", "tool_calls": null }),
    ];
    let input = stream(&deltas, &(ended("stop") + DONE));
    check_tail(&input, &[says("Hel"), says("lo"), finished("stop"), Ok(Event::Done)]);
}

#[test]
fn thoughts_refusals_and_unknown_fields_are_kept_apart() {
    let deltas = [
        json!({ "reasoning_content": "hm" }),
        json!({ "reasoning": "aha" }),
        json!({ "content": [
            { "type": "thinking", "thinking": [{ "type": "text", "text": "so" }] },
            { "type": "text", "text": "yes" },
        ] }),
        json!({ "refusal": "no" }),
        json!({ "annotations": [1], "audio": null }),
    ];
    let fields = json!({ "annotations": [1] }).as_object().unwrap().clone();
    check_tail(
        &stream(&deltas, DONE),
        &[
            thinks("hm"),
            thinks("aha"),
            thinks("so"),
            says("yes"),
            Ok(Event::Refusal { choice: 0, text: "no".to_owned() }),
            Ok(Event::Extra { choice: 0, fields }),
            Ok(Event::Done),
        ],
    );
}

#[test]
fn tool_calls_are_told_apart_even_when_servers_number_them_badly() {
    let call = |call: Value| json!({ "tool_calls": [call] });
    let two =
        [calls(0, "a", "f"), writes(0, "{"), writes(0, "}"), calls(1, "b", "g"), writes(1, "{}")];
    let two: Vec<_> = two.into_iter().chain([finished("tool_calls"), Ok(Event::Done)]).collect();
    let tail = ended("tool_calls") + DONE;

    // As it should be.
    let proper = [
        call(
            json!({ "index": 0, "id": "a", "type": "function", "function": { "name": "f", "arguments": "" } }),
        ),
        call(json!({ "index": 0, "function": { "arguments": "{" } })),
        call(json!({ "index": 0, "function": { "arguments": "}" } })),
        call(
            json!({ "index": 1, "id": "b", "type": "function", "function": { "name": "g", "arguments": "" } }),
        ),
        call(json!({ "index": 1, "function": { "arguments": "{}" } })),
    ];
    check_tail(&stream(&proper, &tail), &two);
    // All with the same number, or with none.
    for index in [json!(0), Value::Null] {
        let same = [
            call(
                json!({ "index": index, "id": "a", "function": { "name": "f", "arguments": "{" } }),
            ),
            call(json!({ "index": index, "function": { "arguments": "}" } })),
            call(
                json!({ "index": index, "id": "b", "function": { "name": "g", "arguments": "{}" } }),
            ),
        ];
        check_tail(&stream(&same, &tail), &two);
    }
    // The id again in every fragment.
    let repeated = [
        call(json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "{" } })),
        call(json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "}" } })),
        call(json!({ "index": 1, "id": "b", "function": { "name": "g", "arguments": {} } })),
    ];
    check_tail(&stream(&repeated, &tail), &two);
    // No id at all: one is made up, for the answer must name it.
    let nameless = [call(json!({ "index": 0, "function": { "name": "f", "arguments": "{}" } }))];
    let expected = [calls(0, "call_0_0", "f"), writes(0, "{}"), Ok(Event::Done)];
    check_tail(&stream(&nameless, DONE), &expected);
}

#[test]
fn usage_is_told_once_and_last() {
    let usage =
        r#"data: {"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
    let early =
        r#"data: {"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":0}}"#;
    let input = stream(
        &[json!({ "content": "a" })],
        &format!("{early}\n\n{}{usage}\n\n{DONE}", ended("stop")),
    );
    let reported = json!({ "prompt_tokens": 3, "completion_tokens": 1 });
    let usage = Usage { reported: reported.as_object().unwrap().clone(), ..Usage::new(3, 1) };
    check_tail(&input, &[says("a"), finished("stop"), Ok(Event::Usage(usage)), Ok(Event::Done)]);
}

#[test]
fn an_answer_is_complete_with_its_marker_or_when_every_choice_has_ended() {
    let hello = [json!({ "content": "a" })];
    check_tail(&stream(&hello, DONE), &[says("a"), Ok(Event::Done)]);
    check_tail(&stream(&hello, &ended("stop")), &[says("a"), finished("stop"), Ok(Event::Done)]);
    check_tail(&stream(&hello, ""), &[says("a"), Err(ModelError::Truncated)]);
    check_tail(
        &stream(&hello, "data: {\"id\":\"c\",\"cho"),
        &[says("a"), Err(ModelError::Truncated)],
    );
    let second = chunk(&json!([{ "index": 1, "delta": { "content": "b" } }]));
    let tail = second + &ended("stop");
    let b = Ok(Event::Text { choice: 1, text: "b".to_owned() });
    let expected = [says("a"), b, finished("stop"), Err(ModelError::Truncated)];
    check_tail(&stream(&hello, &tail), &expected);
    check("", &[Err(ModelError::Truncated)]);
    check(": ping\n\n", &[Err(ModelError::Truncated)]);
    check_tail(
        &stream(&hello, &format!("{DONE}data: nonsense\n\n")),
        &[says("a"), Ok(Event::Done)],
    );
}

#[test]
fn an_error_in_the_middle_is_the_last_thing_that_is_told() {
    let hello = [json!({ "content": "a" })];
    let named = "event: error\ndata: {\"error\":{\"message\":\"overloaded\"}}\n\n";
    let plain = "data: {\"error\":{\"message\":\"overloaded\",\"code\":502}}\n\n";
    let bare = "event: error\ndata: overloaded\n\n";
    for tail in [named, plain, bare] {
        let tail = format!("{tail}{DONE}");
        check_tail(&stream(&hello, &tail), &[says("a"), broke_off("overloaded")]);
    }
    check(plain, &[broke_off("overloaded")]);
    let unreadable = decode([stream(&hello, "data: {oops}\n\n").as_bytes()]);
    assert!(matches!(unreadable.last(), Some(Err(ModelError::Malformed { .. }))), "{unreadable:?}");
}

#[test]
fn what_a_nameless_first_chunk_says_belongs_to_the_answer() {
    let first =
        r#"data: {"choices":[],"created":0,"id":"","model":"","prompt_filter_results":[1]}"#;
    let input = format!("{first}\n\n{}", stream(&[json!({ "content": "a" })], DONE));
    let mut head = head();
    head.extra.insert("prompt_filter_results".to_owned(), json!([1]));
    check(&input, &[Ok(Event::Started(head)), says("a"), Ok(Event::Done)]);
}

#[test]
fn an_event_without_end_is_refused() {
    let endless = vec![b'x'; EVENT_BYTES_MAX + 1];
    let steps = decode(endless.chunks(1 << 20));
    assert!(matches!(steps.as_slice(), [Err(ModelError::Malformed { .. })]), "{steps:?}");
}

#[test]
fn a_whole_answer_is_read_with_the_habits_of_its_server() {
    let body = |extra: Value| {
        let mut body =
            json!({ "choices": [{ "message": { "role": "assistant", "content": "hi" } }] });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body.to_string()
    };
    for extra in [
        json!({}),
        json!({ "id": null, "created": null }),
        json!({ "created": 1.5, "usage": null }),
    ] {
        assert_eq!(response(body(extra.clone()).as_bytes(), "m").unwrap().text(), "hi", "{extra}");
    }
    let error = |body: &str| response(body.as_bytes(), "m").unwrap_err();
    let limited = error(r#"{"error":{"message":"slow","code":429}}"#);
    assert_eq!(limited, ModelError::RateLimited { message: "slow".to_owned(), after: None });
    let unavailable = error(r#"{"error":{"message":"no"}}"#);
    assert_eq!(unavailable, ModelError::Unavailable { message: "no".to_owned(), after: None });
    for malformed in ["", "hello", "{}", r#"{"choices":[]}"#, "[1]"] {
        assert!(matches!(error(malformed), ModelError::Malformed { .. }), "{malformed}");
    }
}

/// Chunks good and bad, in any order.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let delta = prop_oneof![
        Just(json!({ "role": "assistant", "content": null })),
        ".{0,6}".prop_map(|text| json!({ "content": text })),
        Just(json!({ "content": 7, "tool_calls": {} })),
        (any::<Option<u8>>(), "[ab]?", "[fg]?", ".{0,4}").prop_map(|(index, id, name, arguments)| json!({
            "tool_calls": [{ "index": index, "id": id, "function": { "name": name, "arguments": arguments } }],
        })),
    ];
    let piece = prop_oneof![
        8 => delta.prop_map(|delta| stream(&[delta], "")),
        1 => Just(ended("stop")),
        1 => Just(DONE.to_owned()),
        1 => Just("data: {\"choices\":null,\"usage\":{\"prompt_tokens\":-1}}\r\n\r\n".to_owned()),
        1 => ".{0,20}".prop_map(|text| format!("data: {text}\n\n")),
    ];
    let pieces = proptest::collection::vec(piece, 0..12);
    (pieces, any::<proptest::sample::Index>(), any::<bool>()).prop_map(|(pieces, at, cut)| {
        let mut bytes = pieces.concat().into_bytes();
        if cut && !bytes.is_empty() {
            bytes.truncate(at.index(bytes.len()));
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events_and_exactly_one_end(bytes in streams(), size in 1_usize..40) {
        let whole = decode([bytes.as_slice()]);
        prop_assert_eq!(&decode(bytes.chunks(size)), &whole);
        let (last, before) = whole.split_last().unwrap();
        prop_assert!(matches!(last, Ok(Event::Done) | Err(_)));
        prop_assert!(before.iter().all(|step| matches!(step, Ok(event) if *event != Event::Done)));
        let mut assembly = Assembly::default();
        for event in whole.into_iter().flatten() {
            assembly.push(event);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let whole = decode([bytes.as_slice()]);
        prop_assert_eq!(decode(bytes.chunks(3)), whole);
        let _ = response(&bytes, "m");
    }
}
