use super::*;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    #[expect(dead_code, reason = "only read from JSON")]
    count: u32,
}

/// Parses `bytes` as an [`Order`]; the error must contain `expected`.
fn check(bytes: &[u8], code: &str, expected: &str) {
    let refusal = parse::<Order>(bytes).unwrap_err();
    let body: serde_json::Value = serde_json::from_slice(&refusal.told().openai()).unwrap();
    assert_eq!(body["error"]["code"], code, "{body}");
    let text = body["error"].to_string();
    assert!(text.contains(expected), "{text} should contain {expected}");
}

#[test]
fn a_bad_body_is_told_where_it_is_bad() {
    check(b"", "body_empty", "send a JSON object");
    check(b"{", "json_invalid", "line 1 column 1");
    check(b"{\n  \"count\": 1,,\n}", "json_invalid", "line 2 column 14");
    check(b"{\"count\": \"\n\xff\"}", "body_not_utf8", "line 2 column 1");
    check(b"\xff\xfe{\0}\0", "body_not_utf8", "line 1 column 1");
    check(b"{}", "body_invalid", "\"param\":\"count\"");
    check(b"{\"count\": 1, \"colour\": 2}", "body_invalid", "\"param\":\"colour\"");
    check(b"{\"count\": 1, \"count\": 2}", "body_invalid", "\"param\":\"count\"");
    check(b"{\"count\": -1}", "body_invalid", "invalid value: integer `-1`");
    check(b"\"one\"", "body_invalid", "invalid type: string");
    check(b"[1]", "body_invalid", "send a JSON object");
    check(b"{\"count\": 1} x", "json_invalid", "trailing characters at line 1 column 14");
    let deep = parse::<serde_json::Value>(&[b'['; 100_000]).unwrap_err();
    assert!(String::from_utf8(deep.told().openai()).unwrap().contains("recursion limit"));
}
