use std::time::Duration;

use super::*;

#[test]
fn a_refusal_has_the_fields_that_clients_read() {
    let check = |status: u16, kind: &str| {
        let refused = Refused { status, code: "our_code", message: "no", param: Some("model") };
        let body: Value = serde_json::from_slice(&error(&refused, "req_1")).unwrap();
        let expected = json!({
            "type": "error", "request_id": "req_1",
            "error": { "type": kind, "message": "no", "code": "our_code", "param": "model" },
        });
        assert_eq!(body, expected);
    };
    for (status, kind) in [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (409, "invalid_request_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ] {
        check(status, kind);
    }
}

#[test]
fn errors_inside_an_answer_mean_what_their_type_says() {
    let check = |kind: &str, expected: &str| {
        let error = from_error(&json!({ "type": kind, "message": "so" }), "m");
        assert!(format!("{error:?}").starts_with(expected), "{kind}: {error:?}");
    };
    for (kind, expected) in [
        ("invalid_request_error", "Invalid"),
        ("request_too_large", "Invalid"),
        ("authentication_error", "Unauthorized"),
        ("billing_error", "QuotaExhausted"),
        ("not_found_error", "UnknownModel"),
        ("rate_limit_error", "RateLimited"),
        ("overloaded_error", "Unavailable"),
        ("timeout_error", "Unavailable"),
        ("api_error", "Unavailable"),
        ("something_new", "Unavailable"),
    ] {
        check(kind, expected);
    }
}

#[test]
fn what_is_only_said_in_words_gets_its_code() {
    let check = |message: &str, expected: Result<Option<&str>, ModelError>| {
        let invalid = ModelError::Invalid {
            message: message.to_owned(),
            param: None,
            upstream_code: Some("invalid_request_error".to_owned()),
        };
        match (refusal(invalid), expected) {
            (ModelError::Invalid { upstream_code, .. }, Ok(code)) => {
                assert_eq!(upstream_code.as_deref(), code, "{message}");
            }
            (found, Err(expected)) => assert_eq!(found, expected),
            (found, Ok(_)) => panic!("{found:?}"),
        }
    };
    let long = Ok(Some("context_length_exceeded"));
    check("prompt is too long: 210000 tokens > 200000 maximum", long.clone());
    check("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000", long);
    let policy = Ok(Some("content_policy_violation"));
    check("Output blocked by content filtering policy", policy);
    check("temperature: range: 0..1", Ok(Some("invalid_request_error")));
    let credit = "Your credit balance is too low to access the API";
    check(credit, Err(ModelError::QuotaExhausted { message: credit.to_owned() }));
    let limited = ModelError::RateLimited {
        message: "prompt is too long".to_owned(),
        after: Some(Duration::from_secs(1)),
    };
    assert_eq!(refusal(limited.clone()), limited);
}

#[test]
fn a_refusal_by_the_vendor_names_its_request() {
    let mut headers = HeaderMap::new();
    headers.insert("request-id", http::HeaderValue::from_static("req_1"));
    headers.insert("retry-after", http::HeaderValue::from_static("2"));
    let body = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let overloaded = failed(StatusCode::from_u16(529).unwrap(), &headers, body, "m");
    let message = "Overloaded (req_1)".to_owned();
    let after = Some(Duration::from_secs(2));
    assert_eq!(overloaded, ModelError::Unavailable { message, after });
}
