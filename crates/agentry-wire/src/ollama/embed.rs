//! Vectors from Ollama.

use agentry_core::chat::Usage;
use agentry_core::embed::{EmbeddingInput, EmbeddingRequest, EmbeddingResponse, Vector};
use agentry_core::model::ModelError;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The body of `/api/embed`.
pub fn embed_body(request: &EmbeddingRequest) -> Result<Bytes, ModelError> {
    let EmbeddingRequest { model, input, dimensions, encoding_format: _, user: _, extra } = request;
    let texts: Option<Vec<Value>> = input
        .iter()
        .map(|input| match input {
            EmbeddingInput::Text(text) => Some(text.as_str().into()),
            EmbeddingInput::Tokens(_) => None,
        })
        .collect();
    let Some(texts) = texts else {
        return Err(ModelError::Invalid {
            message: "this upstream takes texts, not tokens".to_owned(),
            param: Some("input".to_owned()),
            upstream_code: None,
        });
    };
    let mut body = Map::new();
    body.insert("model".to_owned(), model.as_str().into());
    body.insert("input".to_owned(), texts.into());
    body.extend(dimensions.map(|length| ("dimensions".to_owned(), length.into())));
    for name in ["truncate", "options", "keep_alive"] {
        body.extend(extra.get(name).map(|own| (name.to_owned(), own.clone())));
    }
    serde_json::to_vec(&body)
        .map(Bytes::from)
        .map_err(|error| ModelError::Internal { reason: error.to_string() })
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    model: String,
    embeddings: Vec<Vec<f32>>,
    #[serde(default)]
    prompt_eval_count: Option<u64>,
}

pub fn embed_response(body: &[u8], model: &str) -> Result<EmbeddingResponse, ModelError> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| ModelError::Malformed { reason: error.to_string() })?;
    Ok(EmbeddingResponse {
        model: if answer.model.is_empty() { model.to_owned() } else { answer.model },
        vectors: answer.embeddings.into_iter().map(Vector::Floats).collect(),
        usage: answer.prompt_eval_count.map(|tokens| Usage::new(tokens, 0)),
        extra: Map::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_go_out_and_vectors_come_back() {
        let request = EmbeddingRequest {
            model: "e".to_owned(),
            input: vec![EmbeddingInput::Text("a".to_owned())],
            dimensions: Some(2),
            extra: [("truncate".to_owned(), false.into())].into_iter().collect(),
            ..EmbeddingRequest::default()
        };
        let sent: Value = serde_json::from_slice(&embed_body(&request).unwrap()).unwrap();
        let expected = json!({ "model": "e", "input": ["a"], "dimensions": 2, "truncate": false });
        assert_eq!(sent, expected);
        let tokens = EmbeddingRequest { input: vec![EmbeddingInput::Tokens(vec![1])], ..request };
        assert!(embed_body(&tokens).unwrap_err().to_string().contains("texts"));
        let body = br#"{"model":"e:latest","embeddings":[[0.5,1]],"prompt_eval_count":3}"#;
        let found = embed_response(body, "e").unwrap();
        assert_eq!(found.vectors, [Vector::Floats(vec![0.5, 1.0])]);
        assert_eq!((found.model.as_str(), found.usage), ("e:latest", Some(Usage::new(3, 0))));
        assert!(embed_response(b"{}", "e").is_err());
    }
}
