use agentry_core::chat::{ChatRequest, FinishReason, Message};
use agentry_core::embed::{Embedder as _, EmbeddingInput, EmbeddingRequest};
use agentry_core::model::{ChatModel as _, ModelError, collect};
use agentry_core::relay::{Dialect, Raw, RawAnswer};
use agentry_http::Settings as HttpSettings;
use futures_util::TryStreamExt as _;
use serde_json::json;

use super::*;
use crate::testing::{Heard, LONG, Then, Vendor, cx, http, sse};

const VERSION: &str = "2024-10-21";

fn model(vendor: &Vendor, suffix: &str, api_version: Option<&str>) -> OpenAi {
    let settings = Settings {
        api_key: Some("key".into()),
        api_version: api_version.map(str::to_owned),
        ..Settings::new(format!("http://{}{suffix}", vendor.address))
    };
    azure(Client::new(&HttpSettings::default()), settings).unwrap()
}

fn request() -> ChatRequest {
    ChatRequest {
        model: "gpt".to_owned(),
        messages: vec![Message::user("hi")],
        max_tokens: Some(5),
        ..ChatRequest::default()
    }
}

/// The first chunk tells about the prompt alone, and names nothing.
const STREAM: &str = concat!(
    r#"data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}"#,
    "\n\n",
    r#"data: {"id":"c","model":"gpt-1","choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}"#,
    "\n\n",
    r#"data: {"id":"c","model":"gpt-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    "\n\n",
    "data: [DONE]\n\n"
);

#[tokio::test]
async fn a_model_is_in_the_path_or_in_the_body() {
    for (suffix, api_version, path) in [
        ("", None, "/openai/v1/chat/completions"),
        ("/openai/v1/", None, "/openai/v1/chat/completions"),
        ("/", Some(VERSION), "/openai/deployments/gpt/chat/completions?api-version=2024-10-21"),
        (
            "/openai",
            Some(VERSION),
            "/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
        ),
    ] {
        let mut vendor = Vendor::start(sse(STREAM), Then::Close).await;
        let model = model(&vendor, suffix, api_version);
        let found = collect(model.stream(&cx(LONG), request()).await.unwrap()).await.unwrap();
        assert_eq!((found.text().as_str(), found.head.model.as_str()), ("hello", "gpt-1"));
        assert_eq!(found.choices[0].finish_reason, Some(FinishReason::Stop));
        let Heard::Request { head, body } = vendor.heard().await else { panic!() };
        assert!(head.starts_with(&format!("post {path} ")), "{head}");
        assert!(head.contains("\r\napi-key: key\r\n") && !head.contains("authorization"), "{head}");
        assert_eq!(body["max_completion_tokens"], 5);
    }
}

#[tokio::test]
async fn a_stream_passes_as_it_is_with_its_first_chunk() {
    let vendor = Vendor::start(sse(STREAM), Then::Close).await;
    let raw = Raw {
        dialect: Dialect::ChatCompletions,
        body: "{}".into(),
        stream: true,
        model: "gpt".to_owned(),
        withhold_usage: true,
        choices_max: 1,
    };
    let answer = model(&vendor, "", Some(VERSION)).relay(&cx(LONG), raw).await.unwrap();
    let RawAnswer::Streamed(frames) = answer else { panic!() };
    let frames: Vec<_> = frames.try_collect().await.unwrap();
    let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes.to_vec()).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), STREAM);
    assert!(frames.last().unwrap().marks.done);
}

#[tokio::test]
async fn a_filtered_prompt_is_a_matter_of_policy() {
    let body = r#"{"error":{"message":"filtered","type":null,"param":"prompt","code":"content_filter","status":400}}"#;
    let vendor =
        Vendor::start(http("400 Bad Request", "application/json", body), Then::Close).await;
    let error = model(&vendor, "", None).complete(&cx(LONG), request()).await.unwrap_err();
    let expected = ModelError::Invalid {
        message: "filtered".to_owned(),
        param: Some("prompt".to_owned()),
        upstream_code: Some("content_policy_violation".to_owned()),
    };
    assert_eq!(error, expected);
}

#[tokio::test]
async fn texts_become_vectors() {
    let body = json!({ "data": [{ "index": 0, "embedding": [0.5] }] }).to_string();
    let mut vendor = Vendor::start(http("200 OK", "application/json", &body), Then::Close).await;
    let request = EmbeddingRequest {
        model: "e".to_owned(),
        input: vec![EmbeddingInput::Text("a".to_owned())],
        ..EmbeddingRequest::default()
    };
    model(&vendor, "", Some(VERSION)).embed(&cx(LONG), request).await.unwrap();
    let Heard::Request { head, .. } = vendor.heard().await else { panic!() };
    let path = "/openai/deployments/e/embeddings?api-version=2024-10-21";
    assert!(head.starts_with(&format!("post {path} ")), "{head}");
}
