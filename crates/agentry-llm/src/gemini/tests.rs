use agentry_core::chat::Message;
use agentry_core::embed::{EmbeddingInput, Vector};
use agentry_core::model::collect;
use agentry_http::Settings as HttpSettings;
use serde_json::json;

use super::*;
use crate::testing::{Heard, LONG, Then, Vendor, cx, http, sse};

const ANSWER: &str = r#"{"candidates":[{"content":{"parts":[{"text":"hello"}]},"finishReason":"STOP"}],"modelVersion":"m-1"}"#;

fn model(vendor: &Vendor) -> Gemini {
    let settings = Settings {
        api_key: Some("key".into()),
        ..Settings::new(format!("http://{}/v1beta", vendor.address))
    };
    Gemini::new(Client::new(&HttpSettings::default()), settings).unwrap()
}

fn request() -> ChatRequest {
    ChatRequest {
        model: "m".to_owned(),
        messages: vec![Message::user("hi")],
        ..ChatRequest::default()
    }
}

/// The text of the answer, or how it failed; and where it was asked.
async fn check(answer: String, streamed: bool, expected: Result<&str, &str>) {
    let mut vendor = Vendor::start(answer.clone(), Then::Close).await;
    let gemini = model(&vendor);
    let found = if streamed {
        match gemini.stream(&cx(LONG), request()).await {
            Ok(stream) => collect(stream).await,
            Err(error) => Err(error),
        }
    } else {
        gemini.complete(&cx(LONG), request()).await
    };
    match (found, expected) {
        (Ok(found), Ok(expected)) => assert_eq!(found.text(), expected),
        (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
        (found, expected) => panic!("{found:?} instead of {expected:?} for {answer}"),
    }
    let Heard::Request { head, body } = vendor.heard().await else { panic!() };
    let method = if streamed { "streamgeneratecontent?alt=sse" } else { "generatecontent" };
    assert!(head.starts_with(&format!("post /v1beta/models/m:{method} ")), "{head}");
    assert!(head.contains("\r\nx-goog-api-key: key\r\n"), "{head}");
    assert_eq!(body, json!({ "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }] }));
}

#[tokio::test]
async fn an_answer_arrives_or_its_failure_has_a_name() {
    let json = |status: &str, body: &str| http(status, "application/json", body);
    check(json("200 OK", ANSWER), false, Ok("hello")).await;
    check(sse(&format!("data: {ANSWER}\r\n\r\n")), true, Ok("hello")).await;
    check(json("200 OK", ANSWER), true, Ok("hello")).await;
    let none = r#"{"error":{"code":404,"message":"no such model","status":"NOT_FOUND"}}"#;
    check(json("404 Not Found", none), false, Err("there is no model `m`: no such model")).await;
    // Refusals of streams call themselves streams.
    check(
        http("404 Not Found", "text/event-stream", none),
        true,
        Err("there is no model `m`: no such model"),
    )
    .await;
    let open = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"he\"}]}}]}\r\n\r\n";
    check(sse(open), true, Err("cut off")).await;
    check(json("200 OK", "{}"), false, Err("unreadable")).await;
}

#[tokio::test]
async fn texts_become_vectors() {
    let answer = http("200 OK", "application/json", r#"{"embeddings":[{"values":[0.5]}]}"#);
    let mut vendor = Vendor::start(answer, Then::Close).await;
    let request = EmbeddingRequest {
        model: "e".to_owned(),
        input: vec![EmbeddingInput::Text("a".to_owned())],
        ..EmbeddingRequest::default()
    };
    let found = model(&vendor).embed(&cx(LONG), request).await.unwrap();
    assert_eq!(found.vectors, [Vector::Floats(vec![0.5])]);
    let Heard::Request { head, .. } = vendor.heard().await else { panic!() };
    assert!(head.starts_with("post /v1beta/models/e:batchembedcontents "), "{head}");
}
