use http::HeaderValue;

use super::*;

fn error(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> ModelError {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
    from_response(StatusCode::from_u16(status).unwrap(), &headers.collect(), body.as_bytes(), "m")
}

#[track_caller]
fn check(status: u16, body: &str, expected: ModelError) {
    assert_eq!(error(status, &[], body), expected, "{status} {body}");
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn a_refusal_is_named_and_keeps_what_the_upstream_said() {
    check(
        400,
        r#"{"error":{"message":"too hot","type":"invalid_request_error","param":"temperature","code":null}}"#,
        ModelError::Invalid {
            message: text("too hot"),
            param: Some(text("temperature")),
            upstream_code: Some(text("invalid_request_error")),
        },
    );
    let unknown = |message| ModelError::UnknownModel { model: text("m"), message: text(message) };
    check(404, r#"{"error":{"message":"gone","code":"model_not_found"}}"#, unknown("gone"));
    check(400, r#"{"error":{"message":"gone","code":"model_not_found"}}"#, unknown("gone"));
    check(
        401,
        r#"{"error":{"message":"who?"}}"#,
        ModelError::Unauthorized { message: text("who?") },
    );
    check(403, "forbidden\n", ModelError::Unauthorized { message: text("forbidden") });
    let quota = |message| ModelError::QuotaExhausted { message: text(message) };
    check(429, r#"{"error":{"message":"pay","code":"insufficient_quota"}}"#, quota("pay"));
    check(402, r#"{"message":"pay"}"#, quota("pay"));
    let limited = |message, after| ModelError::RateLimited { message: text(message), after };
    check(429, r#"{"error":"slow"}"#, limited("slow", None));
    let unavailable = |message| ModelError::Unavailable { message: text(message), after: None };
    check(503, "", unavailable("it answered 503 Service Unavailable"));
    check(529, r#"{"detail":"full"}"#, unavailable("full"));
    let list = r#"{"detail":[{"loc":["body"],"msg":"x"}]}"#;
    let invalid = ModelError::Invalid {
        message: text(r#"[{"loc":["body"],"msg":"x"}]"#),
        param: None,
        upstream_code: None,
    };
    check(422, list, invalid);
    let numbered = r#"{"error":{"message":"no","code":502}}"#;
    check(502, numbered, unavailable("no"));
    let passed_on =
        r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"slow"}}}"#;
    check(429, passed_on, limited("Provider returned error: slow", None));
    assert!(error(302, &[], "").to_string().contains("base_url"));
}

#[test]
fn an_upstream_may_say_when_to_come_back() {
    let after = |headers: &[(&'static str, &'static str)]| match error(429, headers, "x") {
        ModelError::RateLimited { after, .. } => after,
        other => panic!("{other}"),
    };
    let millis = |millis| Some(Duration::from_millis(millis));
    assert_eq!(after(&[("retry-after", "2")]), millis(2_000));
    assert_eq!(after(&[("retry-after", "0.25")]), millis(250));
    assert_eq!(after(&[("retry-after", "9"), ("retry-after-ms", "40")]), millis(40));
    assert_eq!(after(&[("retry-after", "1e300")]), None);
    assert_eq!(after(&[("retry-after", "-1")]), None);
    assert_eq!(after(&[("retry-after", "NaN")]), None);
    assert_eq!(after(&[("retry-after", "999999999")]), millis(86_400_000));
    // A date needs the other end of the wait by the same clock.
    let noon = ("date", "Fri, 20 Nov 2026 12:00:00 GMT");
    let date = |date| after(&[("retry-after", date), noon]);
    assert_eq!(after(&[("retry-after", "Fri, 20 Nov 2026 12:00:07 GMT")]), None);
    assert_eq!(date("Fri, 20 Nov 2026 12:00:07 GMT"), millis(7_000));
    assert_eq!(date("Fri, 20 Nov 2026 11:00:00 GMT"), millis(0));
    assert_eq!(date("Fri, 20 Nov 2099 12:00:00 GMT"), millis(86_400_000));
    assert_eq!(date("tomorrow"), None);
}

#[test]
fn a_long_report_is_shortened() {
    let report = Report::from_bytes("é".repeat(100_000).as_bytes());
    assert_eq!(report.message.chars().count(), MESSAGE_CHARS_MAX + 2);
}

#[test]
fn a_prompt_that_is_too_long_or_not_allowed_has_one_name_everywhere() {
    let code = |body: &str| match error(400, &[], body) {
        ModelError::Invalid { upstream_code, .. } => upstream_code,
        other => panic!("{other}"),
    };
    for (body, expected) in [
        (
            r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#,
            "context_length_exceeded",
        ),
        (
            r#"{"error":{"message":"x","type":"exceed_context_size_error","code":null}}"#,
            "context_length_exceeded",
        ),
        (
            r#"{"message":"This model's maximum context length is 4096 tokens","code":400}"#,
            "context_length_exceeded",
        ),
        (
            r#"{"error":{"message":"The input token count (9) exceeds the maximum number of tokens allowed (8)."}}"#,
            "context_length_exceeded",
        ),
        (r#"{"error":{"message":"x","code":"content_filter"}}"#, "content_policy_violation"),
        (r#"{"error":{"message":"x","code":"other"}}"#, "other"),
    ] {
        assert_eq!(code(body).as_deref(), Some(expected), "{body}");
    }
}
