use agentry_core::chat::FinishReason;
use agentry_core::relay::Frame;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::tap::Tap;
use crate::testing::exchanges;

/// What passes, how it ended, and the last account.
fn pass<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Outcome, Option<Usage>) {
    let mut tap = Tap::new(Reader::new("m"));
    let mut frames: Vec<Frame> = Vec::new();
    let mut failed = None;
    for piece in pieces {
        if tap.is_over() {
            break;
        }
        failed = tap.push(Bytes::copy_from_slice(piece), &mut frames).err();
    }
    if !tap.is_over() {
        match tap.end(None) {
            Ok(frame) => frames.push(frame),
            Err(error) => failed = Some(error),
        }
    }
    let mut outcome = Outcome { failed, ..Outcome::default() };
    let (mut bytes, mut usage) = (Vec::new(), None);
    for Frame { bytes: passed, marks } in frames {
        bytes.extend_from_slice(&passed);
        usage = marks.usage.map(|usage| *usage).or(usage);
        outcome.finish = worse(outcome.finish.take(), marks.finish);
        outcome.done |= marks.done;
    }
    (bytes, outcome, usage)
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Outcome {
    finish: Option<FinishReason>,
    done: bool,
    failed: Option<ModelError>,
}

const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3,\"cache_read_input_tokens\":4,\"output_tokens\":1}}}\n\n";
const TEXT: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hé\"}}   \n\n";
const DELTA: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"max_tokens\"},\"usage\":{\"output_tokens\":9}}\n\n";
const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

fn check(text: &str, outcome: &Outcome, output_tokens: u64) {
    for size in [1, 2, 7, usize::MAX] {
        let (bytes, found, usage) = pass(text.as_bytes().chunks(size.min(text.len().max(1))));
        assert_eq!(found, *outcome, "{text} in pieces of {size}");
        if outcome.failed.is_none() {
            // A last word that is missing is said for the upstream.
            let whole = if text.contains(STOP) { text.to_owned() } else { text.to_owned() + STOP };
            assert_eq!(String::from_utf8_lossy(&bytes), whole);
        }
        assert_eq!(usage.map_or(0, |usage| usage.output_tokens), output_tokens);
    }
}

#[test]
fn the_marks_are_read_in_passing() {
    let done = Outcome { finish: Some(FinishReason::Length), done: true, failed: None };
    check(&[START, TEXT, DELTA, STOP].concat(), &done, 9);
    check(&[START, TEXT, DELTA].concat(), &done, 9);
    // Whoever ends twice ended as badly as it ever did, however many pieces that came in.
    let stopped = DELTA.replace("max_tokens", "end_turn");
    check(&[START, TEXT, DELTA, &stopped, STOP].concat(), &done, 9);
    let cut = Outcome { failed: Some(ModelError::Truncated), ..Outcome::default() };
    check(&[START, TEXT].concat(), &cut, 1);
    check("", &cut, 0);
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n";
    let busy = || "busy".to_owned();
    let broke =
        Outcome { failed: Some(ModelError::BrokeOff { message: busy() }), ..Outcome::default() };
    check(&[START, TEXT, error].concat(), &broke, 1);
    let refused = Outcome {
        failed: Some(ModelError::Unavailable { message: busy(), after: None }),
        ..Outcome::default()
    };
    check(error, &refused, 0);
}

#[test]
fn a_whole_answer_is_read_in_passing() {
    let body = json!({
        "type": "message", "content": [], "stop_reason": "tool_use",
        "usage": { "input_tokens": 3, "cache_creation_input_tokens": 2, "output_tokens": 5 },
    });
    let body = Bytes::from(body.to_string());
    let read = whole_marks(body.clone(), "m").unwrap();
    assert_eq!((read.body, read.finish), (body, Some(FinishReason::ToolCalls)));
    let usage = read.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (5, 5));
    for body in [
        "",
        "[]",
        "{}",
        "{\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"x\"}}",
    ] {
        assert!(whole_marks(Bytes::from(body), "m").is_err(), "{body}");
    }
}

#[test]
fn thoughts_of_others_are_not_sent_on() {
    let check = |blocks: Value, sent: Value| {
        let body =
            |blocks: Value| json!({ "messages": [{ "role": "assistant", "content": blocks }] });
        let bytes = own_thoughts(body(blocks).to_string().into()).into_bytes();
        assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), body(sent));
    };
    let ours = json!({ "type": "thinking", "thinking": "t", "signature": "sig" });
    let text = json!({ "type": "text", "text": FOREIGN });
    check(
        json!([
            { "type": "thinking", "thinking": "t", "signature": FOREIGN },
            { "type": "redacted_thinking", "data": format!("{FOREIGN}{{}}") }, ours, text,
        ]),
        json!([ours, text]),
    );
    check(json!("hi"), json!("hi"));
    let unreadable = Pieces::from(format!("{{{FOREIGN}"));
    assert_eq!(own_thoughts(unreadable.clone()), unreadable);
}

#[test]
fn recorded_streams_pass_as_they_are() {
    for exchange in exchanges("anthropic") {
        let text = exchange.text();
        if !text.starts_with("event:") {
            continue;
        }
        for size in [1, 3, 100, text.len()] {
            let (bytes, outcome, usage) = pass(text.as_bytes().chunks(size));
            // Nothing follows the end that anybody waits for.
            assert!(text.as_bytes().starts_with(&bytes), "{}", exchange.name);
            assert!(outcome.done && outcome.failed.is_none(), "{}: {outcome:?}", exchange.name);
            assert!(usage.unwrap().output_tokens > 100, "{}", exchange.name);
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(pieces in proptest::collection::vec(junk(), 0..12)) {
        let bytes = pieces.concat();
        let (_, outcome, _) = pass(bytes.chunks(5));
        prop_assert!(outcome.done != outcome.failed.is_some());
    }
}

fn junk() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        prop_oneof![Just(START), Just(TEXT), Just(DELTA), Just(STOP)].prop_map(Into::into),
    ]
}
