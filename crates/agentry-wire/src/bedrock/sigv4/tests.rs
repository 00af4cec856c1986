use serde_json::Value;

use super::*;

/// Signatures that Amazon's own library made of the same requests.
#[test]
fn requests_are_signed_as_by_others() {
    let golden = include_str!("../../../tests/wire/requests/sigv4.json");
    for case in serde_json::from_str::<Vec<Value>>(golden).unwrap() {
        let text = |name: &str| case[name].as_str().unwrap();
        let date = text("date");
        let now = format!(
            "{}-{}-{}T{}:{}:{}.999Z",
            &date[..4],
            &date[4..6],
            &date[6..8],
            &date[9..11],
            &date[11..13],
            &date[13..15],
        );
        let signing = Signing {
            host: text("host"),
            path: text("path"),
            content_type: "application/json",
            body: text("body").as_bytes(),
            region: text("region"),
            service: "bedrock",
            now: now.parse().unwrap(),
        };
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE",
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            session_token: case["token"].as_str(),
        };
        let expected =
            Signed { authorization: text("authorization").to_owned(), date: date.to_owned() };
        assert_eq!(sign(&signing, credentials), expected);
    }
}

/// RFC 4231, cases 2 and 6.
#[test]
fn hmac_is_that_of_the_rfc() {
    let check = |key: &[u8], message: &str, expected: &str| {
        assert_eq!(hex(&hmac(key, message.as_bytes())), expected);
    };
    check(
        b"Jefe",
        "what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    );
    check(
        &[0xAA; 131],
        "Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    );
}

#[test]
fn names_of_models_are_encoded_in_the_path() {
    for (model, expected) in [
        ("amazon.nova-micro-v1:0", "/model/amazon.nova-micro-v1%3A0/converse"),
        ("a/b c~é", "/model/a%2Fb%20c~%C3%A9/converse"),
    ] {
        assert_eq!(crate::bedrock::path(model, false), expected);
    }
    assert_eq!(crate::bedrock::path("m", true), "/model/m/converse-stream");
}
