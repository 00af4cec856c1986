use agentry_core::Timestamp;
use agentry_core::chat::Message;
use agentry_core::model::collect;
use agentry_http::Settings as HttpSettings;
use serde_json::json;

use super::*;
use crate::testing::{Heard, LONG, Then, Vendor, cx, http};

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        "2026-01-31T08:00:00.5Z".parse().unwrap()
    }
}

const WHOLE: &str = r#"{"output":{"message":{"role":"assistant","content":[{"text":"hello"}]}},"stopReason":"end_turn","usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5}}"#;
/// The same, as the service streams it.
const FRAMES: &[u8] = include_bytes!("../../tests/wire/converse_stream.bin");

fn keys() -> Access {
    Access::Keys {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: "secret-key\n".into(),
        session_token: Some("secret-token".into()),
    }
}

fn model(base_url: String, access: Access) -> Bedrock {
    let settings = Settings { base_url: Some(base_url), ..Settings::new("us-east-1", access) };
    Bedrock::new(Client::new(&HttpSettings::default()), Arc::new(Stopped), settings).unwrap()
}

fn request() -> ChatRequest {
    ChatRequest {
        model: "amazon.nova-micro-v1:0".to_owned(),
        messages: vec![Message::user("hi")],
        ..ChatRequest::default()
    }
}

async fn check(answer: Vec<u8>, whole: Result<&str, &str>, streamed: Result<&str, &str>) {
    let same = |found: Result<ChatResponse, ModelError>, expected: Result<&str, &str>| {
        let found = found.map(|response| response.text()).map_err(|error| error.to_string());
        match (found, expected) {
            (Ok(text), Ok(expected)) => assert_eq!(text, expected),
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    };
    let vendor = Vendor::start(answer, Then::Close).await;
    let model = model(format!("http://{}", vendor.address), keys());
    same(model.complete(&cx(LONG), request()).await, whole);
    let events = match model.stream(&cx(LONG), request()).await {
        Ok(stream) => collect(stream).await,
        Err(error) => Err(error),
    };
    same(events, streamed);
}

fn frames(bytes: &[u8]) -> Vec<u8> {
    let head = http("200 OK", "application/vnd.amazon.eventstream", "");
    [head.as_bytes(), bytes].concat()
}

#[tokio::test]
async fn an_answer_arrives_or_its_failure_has_a_name() {
    let json = |status: &str, body: &str| http(status, "application/json", body).into_bytes();
    check(json("200 OK", WHOLE), Ok("hello"), Ok("hello")).await;
    let unreadable = Err("unreadable");
    check(frames(FRAMES), unreadable, Ok("hello")).await;
    check(frames(&FRAMES[..FRAMES.len() / 2]), unreadable, Err("cut off")).await;
    let mut damaged = FRAMES.to_vec();
    damaged[20] ^= 1;
    check(frames(&damaged), unreadable, Err("checksum")).await;
    let slow = Err("rate limit is reached: slow");
    check(json("429 Too Many", r#"{"message":"slow"}"#), slow, slow).await;
    let unknown = Err("there is no model");
    let invalid = r#"{"message":"The provided model identifier is invalid."}"#;
    check(json("400 Bad Request", invalid), unknown, unknown).await;
    let failed = Err("cannot answer now: model broke");
    check(json("424 Failed Dependency", r#"{"message":"model broke"}"#), failed, failed).await;
}

#[tokio::test]
async fn requests_are_signed_or_carry_a_key() {
    let signed = |head: &str, host: &str| {
        let names = "content-type;host;x-amz-date;x-amz-security-token";
        assert!(head.contains(&format!("host: {host}\r\n")), "{head}");
        assert!(head.contains("x-amz-date: 20260131t080000z\r\n"), "{head}");
        assert!(head.contains("x-amz-security-token: secret-token\r\n"), "{head}");
        let credential =
            "aws4-hmac-sha256 credential=akidexample/20260131/us-east-1/bedrock/aws4_request";
        assert!(head.contains(&format!("{credential}, signedheaders={names}, signature=")));
    };
    let answer = http("200 OK", "application/json", WHOLE);
    let mut vendor = Vendor::start(answer, Then::Close).await;
    let model_of = |access| model(format!("http://{}", vendor.address), access);
    let (with_keys, with_key) = (model_of(keys()), model_of(Access::Bearer("bedrock-key".into())));
    with_keys.complete(&cx(LONG), request()).await.unwrap();
    let Heard::Request { head, body } = vendor.heard().await else { panic!() };
    assert!(head.starts_with("post /model/amazon.nova-micro-v1%3a0/converse http/1.1\r\n"));
    signed(&head, &vendor.address.to_string());
    let said = json!([{ "role": "user", "content": [{ "text": "hi" }] }]);
    assert_eq!(body, json!({ "messages": said, "inferenceConfig": {} }));
    drop(with_keys.stream(&cx(LONG), request()).await.unwrap());
    let Heard::Request { head, .. } = vendor.heard().await else { panic!() };
    assert!(head.starts_with("post /model/amazon.nova-micro-v1%3a0/converse-stream http/1.1\r\n"));
    with_key.complete(&cx(LONG), request()).await.unwrap();
    let Heard::Request { head, .. } = vendor.heard().await else { panic!() };
    assert!(head.contains("authorization: bearer bedrock-key\r\n"), "{head}");
    assert!(!head.contains("x-amz-"), "{head}");
}

#[test]
fn the_signed_host_is_the_one_that_is_written() {
    for (url, expected) in [
        (
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/m",
            "bedrock-runtime.us-east-1.amazonaws.com",
        ),
        ("https://proxy:443/", "proxy"),
        ("https://proxy:80/", "proxy:80"),
        ("http://127.0.0.1:80/", "127.0.0.1"),
        ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
    ] {
        assert_eq!(host(&url.parse().unwrap()), expected, "{url}");
    }
}

#[test]
fn secrets_are_never_shown_and_what_is_wrong_is_said() {
    let shown = format!("{:?}", model("http://x".to_owned(), keys()));
    assert!(!shown.contains("secret-"), "{shown}");
    let client = Client::new(&HttpSettings::default());
    for region in ["", "us east", "us-east-1.evil.example/"] {
        let settings = Settings::new(region, keys());
        let error = Bedrock::new(client.clone(), Arc::new(Stopped), settings).unwrap_err();
        assert!(error.to_string().contains("us-east-1"), "{error}");
    }
    let broken = Settings::new("us-east-1", Access::Bearer("a\nb".into()));
    let error = Bedrock::new(client, Arc::new(Stopped), broken).unwrap_err();
    assert_eq!(error, Misconfigured::ApiKey);
}
