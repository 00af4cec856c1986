use agentry_core::relay::Frame;

use super::*;
use crate::tap::Tap;
use crate::testing::exchanges;

fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Marks, Option<ModelError>) {
    let mut tap = Tap::new(Reader);
    let mut frames = Vec::new();
    let mut error = None;
    for piece in pieces {
        if error.is_none() && !tap.is_over() {
            error = tap.push(Bytes::copy_from_slice(piece), &mut frames).err();
        }
    }
    if error.is_none() && !tap.is_over() {
        error = tap.end(None).err();
    }
    let mut passed = Vec::new();
    let mut last = Marks::default();
    for Frame { bytes, marks } in frames {
        passed.extend_from_slice(&bytes);
        if marks != Marks::default() {
            last = marks;
        }
    }
    (passed, last, error)
}

#[test]
fn the_last_event_tells_the_bill_and_why_it_ended() {
    let usage = |input, output| Usage::new(input, output);
    let check = |event: &str, expected: (Option<Usage>, Option<FinishReason>, Option<&str>)| {
        let first = "event: response.created\ndata: {\"type\":\"response.created\"}\n\n";
        let kind =
            serde_json::from_str::<Value>(event).unwrap()["type"].as_str().unwrap().to_owned();
        // With the name of the event in its own line, and without.
        for name in [format!("event: {kind}\n"), String::new()] {
            let input = format!("{first}{name}data: {event}\n\n");
            let (passed, marks, error) = run([input.as_bytes()]);
            let (bill, finish, broke) = &expected;
            assert_eq!(marks.usage.as_deref(), bill.as_ref(), "{event}");
            assert_eq!(&marks.finish, finish, "{event}");
            assert_eq!(marks.done, finish.is_some(), "{event}");
            let told = error.map(|error| error.to_string());
            assert_eq!(told.as_deref(), *broke, "{event}");
            let reported = matches!(kind.as_str(), "error" | "response.failed");
            let whole = if reported { first } else { input.as_str() };
            assert_eq!(passed, whole.as_bytes(), "{event}");
        }
    };
    check(
        r#"{"type":"response.completed","response":{"output":[],"usage":{"input_tokens":3,"output_tokens":2}}}"#,
        (Some(usage(3, 2)), Some(FinishReason::Stop), None),
    );
    check(
        r#"{"type":"response.completed","response":{"output":[{"type":"function_call"}],"usage":null}}"#,
        (None, Some(FinishReason::ToolCalls), None),
    );
    check(
        r#"{"type":"response.incomplete","response":{"incomplete_details":{"reason":"max_output_tokens"},"usage":{"input_tokens":1,"output_tokens":9}}}"#,
        (Some(usage(1, 9)), Some(FinishReason::Length), None),
    );
    check(
        r#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"oops"},"usage":{"input_tokens":1,"output_tokens":0}}}"#,
        (Some(usage(1, 0)), None, Some("the upstream broke off: oops")),
    );
    check(
        r#"{"type":"error","code":"x","message":"full","param":null}"#,
        (None, None, Some("the upstream broke off: full")),
    );
    check(
        r#"{"type":"response.output_text.delta","delta":"{\"type\":\"error\"}"}"#,
        (None, None, Some("the answer was cut off before its end")),
    );
}

#[test]
fn a_whole_response_tells_its_bill_or_its_failure() {
    let ok = Bytes::from_static(
        br#"{"status":"completed","error":null,"output":[{"type":"message"}],"usage":{"input_tokens":4,"input_tokens_details":{"cached_tokens":1},"output_tokens":2,"output_tokens_details":{"reasoning_tokens":1}}}"#,
    );
    let usage = Usage { cached_input_tokens: 1, reasoning_tokens: 1, ..Usage::new(4, 2) };
    let marks = RawWhole { body: ok.clone(), usage: Some(usage), finish: Some(FinishReason::Stop) };
    assert_eq!(whole_marks(ok, "m"), Ok(marks));
    let failed = br#"{"status":"failed","error":{"code":"server_error","message":"oops"}}"#;
    let error = whole_marks(Bytes::from_static(failed), "m").unwrap_err();
    assert!(error.to_string().contains("oops"), "{error}");
    assert!(whole_marks(Bytes::from_static(b"{}"), "m").is_err());
    assert!(whole_marks(Bytes::from_static(b"<html>"), "m").is_err());
}

#[test]
fn thoughts_of_other_vendors_are_not_sent_on() {
    let body = |input: &str| Pieces::from(format!(r#"{{"model":"m","input":{input}}}"#));
    let own =
        body(r#"[{"type":"reasoning","encrypted_content":"gA"},{"role":"user","content":"hi"}]"#);
    assert_eq!(own_thoughts(own.clone()), own);
    let both = body(
        r#"[{"type":"reasoning","encrypted_content":"gA"},{"type":"reasoning","encrypted_content":"agentry:[]"},{"role":"user","content":"hi"}]"#,
    );
    assert_eq!(own_thoughts(both), own);
    let text = body(r#""agentry: what is it?""#);
    assert_eq!(own_thoughts(text.clone()), text);
}

#[test]
fn recorded_responses_pass_as_they_are() {
    for exchange in exchanges("openai_responses") {
        let text = exchange.text();
        if exchange.response.status != 200 {
            continue;
        }
        if text.starts_with('{') {
            let marks = whole_marks(Bytes::copy_from_slice(text.as_bytes()), "m").unwrap();
            assert!(marks.usage.unwrap().output_tokens > 0, "{}", exchange.name);
            continue;
        }
        let whole = run([text.as_bytes()]);
        let (passed, marks, error) = &whole;
        assert_eq!(
            String::from_utf8_lossy(passed).trim_end(),
            text.trim_end(),
            "{}",
            exchange.name
        );
        assert_eq!(*error, None, "{}", exchange.name);
        assert!(marks.done && marks.usage.as_ref().unwrap().output_tokens > 0, "{}", exchange.name);
        for size in [1, 7, 64] {
            assert_eq!(run(text.as_bytes().chunks(size)), whole, "{} in {size}", exchange.name);
        }
        let (_, marks, error) = run([&text.as_bytes()[..text.len() / 2]]);
        assert_eq!((marks.done, error), (false, Some(ModelError::Truncated)), "{}", exchange.name);
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(0_u8.., 0..300), name in "(response.completed|error|)") {
        let mut input = format!("event: {name}\ndata: ").into_bytes();
        input.extend_from_slice(&bytes);
        input.extend_from_slice(b"\n\n");
        let (_, marks, error) = run([input.as_slice()]);
        proptest::prop_assert!(marks.done || error.is_some());
    }
}
