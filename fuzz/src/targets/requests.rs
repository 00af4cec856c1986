//! What callers ask, and what upstreams are sent for it.

use agentry_core::chat::ChatRequest;
use agentry_core::model::ModelError;
use agentry_core::relay::Dialect;
use agentry_wire::chat::Quirks;
use agentry_wire::{
    bedrock, embeddings as embeddings_wire, gemini, ingress, messages as anthropic,
};
use agentry_wire::{chat as openai, ollama, responses as openai_responses};
use bytes::Bytes;
use serde_json::Value;

use crate::Shape;

pub(crate) fn chat(data: &[u8]) -> u64 {
    check(Dialect::ChatCompletions, data)
}

pub(crate) fn responses(data: &[u8]) -> u64 {
    let _ = openai_responses::own_thoughts(Bytes::copy_from_slice(data).into());
    check(Dialect::Responses, data)
}

pub(crate) fn messages(data: &[u8]) -> u64 {
    let _ = anthropic::own_thoughts(Bytes::copy_from_slice(data).into());
    check(Dialect::Messages, data)
}

fn check(dialect: Dialect, data: &[u8]) -> u64 {
    let mut request = match ingress::request(dialect, data) {
        Ok(request) => request,
        Err(invalid) => {
            return Shape::new().words(&invalid.reason).with(field(&invalid.param)).done();
        }
    };
    let mut shape = Shape::new().with((request.messages.len().min(5), request.tools.len().min(3)));
    for model in
        ["m", "claude-opus-4-5", "gemini-3-pro", "us.anthropic.claude-haiku-4-5-20251001-v1:0"]
    {
        model.clone_into(&mut request.model);
        for (upstream, sent) in sent(&request) {
            shape = match sent {
                Ok(body) => {
                    let json = serde_json::from_slice::<Value>(&body);
                    assert!(json.is_ok_and(|body| body.is_object()), "{upstream} is sent no JSON");
                    shape.with(upstream)
                }
                Err(ModelError::Invalid { param, message, .. }) => {
                    assert!(param.is_some(), "{upstream}: nobody knows what is refused: {message}");
                    shape.with(param.map(|param| field(&param)))
                }
                Err(error) => panic!("{upstream}: {error}"),
            };
        }
    }
    shape.done()
}

fn sent(request: &ChatRequest) -> [(&'static str, Result<Bytes, ModelError>); 6] {
    [
        ("chat completions", openai::body(request, &Quirks::default())),
        ("Responses", openai_responses::body(request)),
        ("Messages", anthropic::body(request, 4_096)),
        ("Gemini", gemini::body(request)),
        ("Ollama", ollama::body(request)),
        ("Bedrock", bedrock::body(request)),
    ]
}

/// The name of a parameter without the numbers in it.
fn field(param: &str) -> String {
    param.chars().filter(|letter| !letter.is_ascii_digit()).take(60).collect()
}

pub(crate) fn embeddings(data: &[u8]) -> u64 {
    let answer = embeddings_wire::response(data, "m");
    if let Ok(answer) = &answer {
        for format in [None, Some("float"), Some("base64")] {
            let whole = embeddings_wire::whole(answer, format);
            assert!(serde_json::from_slice::<Value>(&whole).is_ok(), "an answer is no JSON");
        }
    }
    let others =
        (gemini::embed_response(data, "m").is_ok(), ollama::embed_response(data, "m").is_ok());
    let shape = Shape::new().with((answer.is_ok(), others));
    let Ok(value) = serde_json::from_slice(data) else { return shape.done() };
    let request = match embeddings_wire::request(value) {
        Ok(request) => request,
        Err(invalid) => return shape.words(&invalid.reason).with(field(&invalid.param)).done(),
    };
    let bodies = [
        embeddings_wire::body(&request),
        gemini::embed_body(&request),
        ollama::embed_body(&request),
    ];
    bodies
        .into_iter()
        .fold(shape, |shape, body| match body {
            Ok(body) => {
                assert!(serde_json::from_slice::<Value>(&body).is_ok(), "a request is no JSON");
                shape.with(true)
            }
            Err(error) => shape.words(&error.to_string()),
        })
        .done()
}
