use agentry_core::chat::Message;
use agentry_core::embed::{EmbeddingInput, Vector};
use agentry_core::model::collect;
use agentry_http::Settings as HttpSettings;
use serde_json::json;

use super::*;
use crate::testing::{Heard, LONG, Then, Vendor, cx, http};

const ANSWER: &str = r#"{"model":"m","message":{"content":"hello"},"done":true}"#;

fn model(vendor: &Vendor) -> Ollama {
    let settings = Settings::new(format!("http://{}", vendor.address));
    Ollama::new(Client::new(&HttpSettings::default()), settings).unwrap()
}

/// The text of the answer, or how it failed; and what was asked.
async fn check(answer: String, streamed: bool, expected: Result<&str, &str>) {
    let mut vendor = Vendor::start(answer.clone(), Then::Close).await;
    let ollama = model(&vendor);
    let request = ChatRequest {
        model: "m".to_owned(),
        messages: vec![Message::user("hi")],
        ..ChatRequest::default()
    };
    let found = if streamed {
        match ollama.stream(&cx(LONG), request).await {
            Ok(stream) => collect(stream).await,
            Err(error) => Err(error),
        }
    } else {
        ollama.complete(&cx(LONG), request).await
    };
    match (found, expected) {
        (Ok(found), Ok(expected)) => assert_eq!(found.text(), expected),
        (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
        (found, expected) => panic!("{found:?} instead of {expected:?} for {answer}"),
    }
    let Heard::Request { head, body } = vendor.heard().await else { panic!() };
    assert!(head.starts_with("post /api/chat "), "{head}");
    let messages = json!([{ "role": "user", "content": "hi" }]);
    assert_eq!(body, json!({ "model": "m", "messages": messages, "stream": streamed }));
}

#[tokio::test]
async fn an_answer_arrives_or_its_failure_has_a_name() {
    let lines = |body: &str| http("200 OK", "application/x-ndjson", body);
    let json = |status: &str, body: &str| http(status, "application/json; charset=utf-8", body);
    check(json("200 OK", ANSWER), false, Ok("hello")).await;
    let first = r#"{"model":"m","message":{"content":"oh, "},"done":false}"#;
    check(lines(&format!("{first}\n{ANSWER}\n")), true, Ok("oh, hello")).await;
    check(lines(first), true, Err("cut off")).await;
    check(lines(&format!("{first}\n{{\"error\":\"oops\"}}\n")), true, Err("broke off: oops")).await;
    let none = r#"{"error":"model 'm' not found"}"#;
    check(json("404 Not Found", none), true, Err("there is no model `m`: model 'm' not found"))
        .await;
}

#[tokio::test]
async fn texts_become_vectors() {
    let answer = http("200 OK", "application/json", r#"{"model":"e","embeddings":[[0.5]]}"#);
    let mut vendor = Vendor::start(answer, Then::Close).await;
    let request = EmbeddingRequest {
        model: "e".to_owned(),
        input: vec![EmbeddingInput::Text("a".to_owned())],
        ..EmbeddingRequest::default()
    };
    let found = model(&vendor).embed(&cx(LONG), request).await.unwrap();
    assert_eq!(found.vectors, [Vector::Floats(vec![0.5])]);
    let Heard::Request { head, body } = vendor.heard().await else { panic!() };
    assert!(head.starts_with("post /api/embed "), "{head}");
    assert_eq!(body, json!({ "model": "e", "input": ["a"] }));
}
