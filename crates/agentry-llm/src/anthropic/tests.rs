use agentry_core::chat::Message;
use agentry_core::model::collect;
use agentry_http::Settings as HttpSettings;
use serde_json::{Value, json};

use super::*;
use crate::testing::{Heard, LONG, Then, Vendor, cx, http, sse};

const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"c-1\",\"usage\":{\"input_tokens\":3}}}\n\n";
const HELLO: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hello\"}}\n\n";
const END: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
const WHOLE: &str = r#"{"id":"msg_1","type":"message","model":"c-1","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":2}}"#;
const BUSY: &str = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;

fn model(base_url: String) -> Anthropic {
    let settings = Settings {
        api_key: Some("sk-ant\n".into()),
        beta: Some("a-1,b-2".to_owned()),
        ..Settings::new(base_url)
    };
    Anthropic::new(Client::new(&HttpSettings::default()), settings).unwrap()
}

fn request() -> ChatRequest {
    ChatRequest {
        model: "m".to_owned(),
        messages: vec![Message::user("hi")],
        ..ChatRequest::default()
    }
}

fn raw(stream: bool) -> Raw {
    Raw {
        dialect: Dialect::Messages,
        body: r#"{ "model": "m", "unknown": [1] }"#.into(),
        stream,
        model: "m".to_owned(),
        withhold_usage: false,
        choices_max: 1,
    }
}

/// What the caller gets by each of the four ways: whole, streamed, and both as bytes.
async fn check(answer: String, whole: Result<&str, &str>, streamed: Result<&str, &str>) {
    let same = |found: Result<String, ModelError>, expected: Result<&str, &str>| match (
        found.map_err(|error| error.to_string()),
        expected,
    ) {
        (Ok(text), Ok(expected)) => assert_eq!(text, expected),
        (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
        (found, expected) => panic!("{found:?} instead of {expected:?} for {answer}"),
    };
    let vendor = Vendor::start(answer.clone(), Then::Close).await;
    let model = model(format!("http://{}", vendor.address));
    let text = |response: ChatResponse| response.text();
    same(model.complete(&cx(LONG), request()).await.map(text), whole);
    let stream = model.stream(&cx(LONG), request()).await;
    let events = match stream {
        Ok(stream) => collect(stream).await,
        Err(error) => Err(error),
    };
    same(events.map(text), streamed);
    let passed = match model.relay(&cx(LONG), raw(false)).await {
        Ok(RawAnswer::Whole(whole)) => messages::response(&whole.body, "m").map(text),
        Ok(RawAnswer::Streamed(_)) => panic!("nobody asked for a stream"),
        Err(error) => Err(error),
    };
    same(passed, whole);
    let passed = match model.relay(&cx(LONG), raw(true)).await {
        Ok(RawAnswer::Streamed(frames)) => told(frames).await,
        Ok(RawAnswer::Whole(_)) => panic!("a stream was asked for"),
        Err(error) => Err(error),
    };
    same(passed, streamed);
}

/// The text of what passed, if it was complete and billed.
async fn told(mut frames: agentry_core::relay::FrameStream) -> Result<String, ModelError> {
    let (mut bytes, mut billed, mut done) = (Vec::new(), 0, false);
    while let Some(frame) = frames.next().await {
        let Frame { bytes: passed, marks } = frame?;
        bytes.extend_from_slice(&passed);
        billed = marks.usage.map_or(billed, |usage| usage.output_tokens);
        done |= marks.done;
    }
    assert_eq!((billed, done), (2, true));
    use agentry_wire::Decode as _;
    let mut assembly = agentry_core::chat::Assembly::default();
    for step in Decoder::new("m").push(&bytes) {
        assembly.push(step?);
    }
    Ok(assembly.into_response().text())
}

#[tokio::test]
async fn an_answer_arrives_or_its_failure_has_a_name() {
    let json = |status: &str, body: &str| http(status, "application/json", body);
    check(json("200 OK", WHOLE), Ok("hello"), Ok("hello")).await;
    let unreadable = Err("unreadable");
    check(sse(&[START, HELLO, END].concat()), unreadable, Ok("hello")).await;
    let cut = Err("the answer was cut off before its end");
    check(sse(&[START, HELLO].concat()), unreadable, cut).await;
    let midway = format!("{START}{HELLO}event: error\ndata: {BUSY}\n\n");
    check(sse(&midway), unreadable, Err("the upstream broke off: Overloaded")).await;
    let busy = Err("the upstream cannot answer now: Overloaded");
    check(json("529 Overloaded", BUSY), busy, busy).await;
    check(json("200 OK", BUSY), busy, busy).await;
    let at_once = format!("event: error\ndata: {BUSY}\n\n");
    check(sse(&at_once), unreadable, busy).await;
    let long = r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}"#;
    check(json("400 Bad", long), Err("not acceptable"), Err("not acceptable")).await;
}

#[tokio::test]
async fn we_send_what_was_asked_and_the_key() {
    for base in ["", "/v1", "/v1/"] {
        let json = http("200 OK", "application/json", WHOLE);
        let mut vendor = Vendor::start(json, Then::Close).await;
        let model = model(format!("http://{}{base}", vendor.address));
        model.complete(&cx(LONG), request()).await.unwrap();
        let Heard::Request { head, body } = vendor.heard().await else { panic!() };
        assert!(head.starts_with("post /v1/messages http/1.1\r\n"), "{head}");
        for header in [
            "x-api-key: sk-ant\r\n",
            "anthropic-version: 2023-06-01\r\n",
            "anthropic-beta: a-1,b-2\r\n",
            "content-type: application/json\r\n",
        ] {
            assert!(head.contains(header), "{head}");
        }
        let said = json!([{ "role": "user", "content": [{ "type": "text", "text": "hi" }] }]);
        let mut expected = json!({ "model": "m", "max_tokens": 4_096, "messages": said });
        assert_eq!(body, expected);

        drop(model.stream(&cx(LONG), request()).await.unwrap());
        let Heard::Request { body, .. } = vendor.heard().await else { panic!() };
        expected["stream"] = json!(true);
        assert_eq!(body, expected);

        assert!(matches!(model.relay(&cx(LONG), raw(false)).await, Ok(RawAnswer::Whole(_))));
        let Heard::Request { body, .. } = vendor.heard().await else { panic!() };
        assert_eq!(body, serde_json::from_slice::<Value>(&raw(false).body.into_bytes()).unwrap());
    }
}

#[tokio::test]
async fn only_messages_are_passed_on() {
    let model = model("http://127.0.0.1:1".to_owned());
    assert!(model.speaks(Dialect::Messages) && !model.speaks(Dialect::ChatCompletions));
    let raw = Raw { dialect: Dialect::Responses, ..raw(false) };
    assert!(matches!(model.relay(&cx(LONG), raw).await, Err(ModelError::Internal { .. })));
}

#[tokio::test]
async fn a_dropped_stream_hangs_up() {
    let mut vendor = Vendor::start(sse(&[START, HELLO].concat()), Then::Wait).await;
    let model = model(format!("http://{}", vendor.address));
    let mut stream = model.stream(&cx(LONG), request()).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    assert!(matches!(vendor.heard().await, Heard::Request { .. }));
    drop(stream);
    assert_eq!(vendor.heard().await, Heard::HungUp);
}

#[test]
fn the_key_is_never_shown_and_what_is_wrong_is_said() {
    assert!(!format!("{:?}", model("http://x".to_owned())).contains("sk-ant"));
    let client = Client::new(&HttpSettings::default());
    let wrong = Settings { beta: Some("a\nb".to_owned()), ..Settings::new("http://x") };
    let error = Anthropic::new(client.clone(), wrong).unwrap_err();
    assert_eq!(error, Misconfigured::Header { name: "beta" });
    assert!(Anthropic::new(client, Settings::new("api.anthropic.com")).is_err());
}
