use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(body: &str) -> Result<Head, String> {
    Head::read(Dialect::ChatCompletions, body.as_bytes()).map_err(|error| error.to_string())
}

#[track_caller]
fn head(body: &str) -> Head {
    read(body).unwrap()
}

#[track_caller]
fn refused(body: &str, expected: &str) {
    let error = read(body).unwrap_err();
    assert!(error.contains(expected), "{body}: {error}");
}

#[test]
fn the_fields_that_decide_the_way_are_read() {
    let found = head(
        r#" {"messages":[{"role":"user","content":"hi \"model\":\"x\""}], "model" : "fast" ,"stream":true,"n":2,
            "max_tokens":7,"user":"u1","stream_options":{"include_usage":true}} "#,
    );
    assert_eq!((found.model.as_str(), found.stream, found.choices), ("fast", true, 2));
    assert_eq!((found.output_tokens_max, found.wants_usage), (Some(7), true));
    assert_eq!(found.user.as_deref(), Some("u1"));
    let body = br#"{"model":"m","max_tokens":9,"metadata":{"user_id":"u2"}}"#;
    let found = Head::read(Dialect::Messages, body).unwrap();
    assert_eq!((found.output_tokens_max, found.user.as_deref()), (Some(9), Some("u2")));
}

#[test]
fn what_is_wrong_is_named() {
    refused("{}", "model: this parameter is required");
    refused(r#"{"model":null}"#, "model: name a model");
    refused(r#"{"model":7}"#, "model: ");
    refused(r#"{"model":"m","stream":"yes"}"#, "stream: ");
    refused(r#"{"model":"m","n":0}"#, "n: at least one");
    refused(r#"{"model":"m","max_tokens":-1}"#, "max_tokens: ");
    refused(r#"{"model":"m",}"#, "line 1 column 14");
    refused(r#"{"model":"m"} x"#, "trailing characters");
    refused("[]", "must be a JSON object");
    refused("null", "must be a JSON object");
    refused("", "EOF");
    let error = Head::read(Dialect::ChatCompletions, b"{\"model\":\"\xff\"}").unwrap_err();
    assert_eq!(error.to_string(), "the body is not UTF-8");
}

#[test]
fn what_a_parser_may_understand_in_two_ways_is_refused() {
    refused(r#"{"model":"cheap","model":"dear"}"#, "model: this parameter is there twice");
    refused(r#"{"model":"m","messages":[1],"messages":[2]}"#, "messages: this parameter");
    refused(r#"{"model":"cheap","mod\u0065l":"dear"}"#, "model: write the name");
    refused(r#"{"model":"m","\u006dax_tokens":9}"#, "max_tokens: write the name");
    // Only names at the top decide something.
    assert_eq!(head(r#"{"model":"m","metadata":{"model":"x","model":"y"}}"#).model, "m");
    assert_eq!(head(r#"{"model":"m","\u0061":1,"\u0061":2}"#).model, "m");
}

#[test]
fn of_two_limits_the_greater_is_what_may_be_written() {
    for body in [
        r#"{"model":"m","max_completion_tokens":90,"max_tokens":5}"#,
        r#"{"model":"m","max_tokens":90,"max_completion_tokens":5}"#,
        r#"{"model":"m","max_tokens":90,"max_completion_tokens":null}"#,
    ] {
        assert_eq!(head(body).output_tokens_max, Some(90), "{body}");
    }
}

#[test]
fn the_digest_knows_all_that_changes_the_answer_and_nothing_else() {
    let digest = |body: &str| head(body).digest;
    let plain = digest(r#"{"model":"m","temperature":0,"messages":[1]}"#);
    for same in [
        r#"{"messages":[1],"temperature":0,"model":"m"}"#,
        r#"{ "model" : "m" , "temperature" : 0 , "messages" : [1] }"#,
        r#"{"model":"m","temperature":0,"messages":[1],"stream":true,"stream_options":{"include_usage":true}}"#,
        r#"{"model":"m","temperature":0,"messages":[1],"user":"u","metadata":{"a":"b"},"store":false}"#,
    ] {
        assert_eq!(digest(same), plain, "{same}");
    }
    for other in [
        r#"{"model":"m","temperature":0,"messages":[2]}"#,
        r#"{"model":"m","temperature":1,"messages":[1]}"#,
        r#"{"model":"m","messages":[1]}"#,
        r#"{"model":"m","temperature":0,"messages":[1],"max_tokens":5}"#,
        r#"{"model":"m","temperature":0,"messages":[1],"n":2}"#,
        r#"{"model":"m","temperature":[1],"messages":0}"#,
    ] {
        assert_ne!(digest(other), plain, "{other}");
    }
}

#[test]
fn conversations_that_go_on_share_their_prefix() {
    let start = format!(r#"[{{"role":"system","content":"{}"}}"#, "x".repeat(2_000));
    let one = head(&format!(r#"{{"model":"m","messages":{start}]}}"#));
    let two = head(&format!(r#"{{"model":"m","messages":{start},{{"role":"user"}}]}}"#));
    assert_eq!(one.prefix, two.prefix);
    assert_ne!(one.digest, two.digest);
}

#[track_caller]
fn check_rewrite(body: &str, expected: &str, withholds_usage: bool) {
    let rewritten = head(body).rewrite(Dialect::ChatCompletions, body.as_bytes(), "gpt \"4\"");
    assert_eq!(rewritten.withholds_usage, withholds_usage);
    assert_eq!(rewritten.apply(&Bytes::copy_from_slice(body.as_bytes())).into_bytes(), expected);
}

#[test]
fn a_large_body_is_not_copied_when_it_is_rewritten() {
    let text = "x".repeat(LARGE);
    let body = Bytes::from(format!(r#"{{"model":"fast","user":"{text}"}}"#));
    let head = Head::read(Dialect::ChatCompletions, &body).unwrap();
    let rewritten = head.rewrite(Dialect::ChatCompletions, &body, "m").apply(&body);
    let last = rewritten.iter().last().unwrap();
    assert_eq!(last.as_ptr_range().end, body.as_ptr_range().end, "the same memory");
    assert_eq!(rewritten.into_bytes(), format!(r#"{{"model":"m","user":"{text}"}}"#));
}

#[test]
fn a_body_is_rewritten_where_it_must_be_and_nowhere_else() {
    check_rewrite(
        r#"{ "a": [1, 2],"model":"fast", "b":null}"#,
        r#"{ "a": [1, 2],"model":"gpt \"4\"", "b":null}"#,
        false,
    );
    check_rewrite(
        r#"{"model":"fast","stream":true}"#,
        r#"{"stream_options":{"include_usage":true},"model":"gpt \"4\"","stream":true}"#,
        true,
    );
    check_rewrite(
        r#"{"stream":true,"stream_options":{"x":1},"model":"fast"}"#,
        r#"{"stream":true,"stream_options":{"x":1,"include_usage":true},"model":"gpt \"4\""}"#,
        true,
    );
    check_rewrite(
        r#"{"stream":true,"stream_options":null,"model":"fast"}"#,
        r#"{"stream":true,"stream_options":{"include_usage":true},"model":"gpt \"4\""}"#,
        true,
    );
    check_rewrite(
        r#"{"stream":true,"stream_options":{"include_usage":true},"model":"fast"}"#,
        r#"{"stream":true,"stream_options":{"include_usage":true},"model":"gpt \"4\""}"#,
        false,
    );
}

#[test]
fn a_body_without_changes_is_the_same_body() {
    let body = Bytes::from_static(br#"{"model":"fast"}"#);
    let same =
        head(r#"{"model":"fast"}"#).rewrite(Dialect::ChatCompletions, &body, "fast").apply(&body);
    let same = same.into_bytes();
    assert_eq!(same.as_ptr(), body.as_ptr());
    let value: Value = serde_json::from_slice(&same).unwrap();
    assert_eq!(value, json!({ "model": "fast" }));
}

#[test]
fn a_request_that_changes_what_the_upstream_keeps_is_known_as_such() {
    let check = |fields: &str, is_stateful: bool| {
        let body = format!(r#"{{"model":"m","input":"hi"{fields}}}"#);
        let head = Head::read(Dialect::Responses, body.as_bytes()).unwrap();
        assert_eq!(head.is_stateful, is_stateful, "{fields}");
    };
    check("", false);
    check(r#","conversation":null,"background":false"#, false);
    check(r#","conversation":"c""#, true);
    check(r#","conversation":{"id":"c"}"#, true);
    check(r#","background":true"#, true);
    check(r#","previous_response_id":"r""#, false);
    let digest = |store: &str| {
        let body = format!(r#"{{"model":"m","input":"hi"{store}}}"#);
        Head::read(Dialect::Responses, body.as_bytes()).unwrap().digest
    };
    assert_ne!(digest(r#","store":false"#), digest(""));
}

proptest! {
    /// However the bytes that are none stand in it, and whether the rest is JSON or not.
    #[test]
    fn nothing_but_utf_8_gets_through(
        body in prop::collection::vec(
            prop::sample::select(vec![
                &b"{\"model\":\"m\""[..], b",\"a", b"\":[", b"\"", b"]", b"}", b"\xc3", b"\xa9", b"\xf0\x9f\x98\x80", b"\\", b"1",
            ]),
            0..12,
        )
    ) {
        let bare = body.concat();
        let inside = [b"{\"model\":\"m\",\"x\":\"", bare.as_slice(), b"\"}"].concat();
        for body in [bare, inside] {
            let is_utf8 = std::str::from_utf8(&body).is_ok();
            let found = Head::read(Dialect::ChatCompletions, &body);
            prop_assert_eq!(matches!(found, Err(Refused::NotUtf8(_))), !is_utf8, "{:?}", body);
            prop_assert!(found.is_err() || serde_json::from_slice::<Value>(&body).is_ok());
        }
    }
}
