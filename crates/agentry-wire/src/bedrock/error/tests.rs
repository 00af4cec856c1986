use super::*;

#[test]
fn a_refusal_means_what_its_name_and_status_say() {
    let check = |status: u16, name: &str, message: &str, expected: &str| {
        let mut headers = HeaderMap::new();
        if !name.is_empty() {
            let value = format!("{name}:http://internal.amazon.com/coral/");
            headers.insert("x-amzn-errortype", value.parse().unwrap());
        }
        let body = format!("{{\"message\":\"{message}\"}}");
        let status = StatusCode::from_u16(status).unwrap();
        let error = failed(status, &headers, body.as_bytes(), "m");
        assert!(format!("{error:?}").starts_with(expected), "{name}: {error:?}");
        assert!(error.to_string().contains(message), "{error}");
    };
    check(400, "ValidationException", "bad topP", "Invalid");
    check(400, "", "The provided model identifier is invalid.", "UnknownModel");
    check(403, "AccessDeniedException", "no", "Unauthorized");
    check(404, "ResourceNotFoundException", "no", "UnknownModel");
    check(408, "ModelTimeoutException", "late", "Unavailable");
    check(424, "ModelErrorException", "broken", "Unavailable");
    check(424, "", "broken", "Unavailable");
    check(429, "ThrottlingException", "slow", "RateLimited");
    check(400, "ThrottlingException", "slow", "RateLimited");
    check(429, "ModelNotReadyException", "cold", "Unavailable");
    check(503, "ServiceUnavailableException", "later", "Unavailable");
    let long = failed(
        StatusCode::BAD_REQUEST,
        &HeaderMap::new(),
        b"{\"message\":\"Input is too long for requested model.\"}",
        "m",
    );
    assert!(
        matches!(&long, ModelError::Invalid { upstream_code: Some(code), .. } if code == "context_length_exceeded"),
        "{long:?}"
    );
}
