//! Vectors from Gemini.

use agentry_core::chat::Usage;
use agentry_core::embed::{EmbeddingInput, EmbeddingRequest, EmbeddingResponse, Vector};
use agentry_core::model::ModelError;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::turns::refused;

/// The body of `batchEmbedContents`.
pub fn embed_body(request: &EmbeddingRequest) -> Result<Bytes, ModelError> {
    let EmbeddingRequest { model, input, dimensions, encoding_format: _, user: _, extra } = request;
    let name = if model.contains('/') { model.clone() } else { format!("models/{model}") };
    let mut requests = Vec::with_capacity(input.len());
    for input in input {
        let EmbeddingInput::Text(text) = input else {
            return Err(refused("input", "this upstream takes texts, not tokens"));
        };
        let mut one = Map::new();
        one.insert("model".to_owned(), name.as_str().into());
        one.insert("content".to_owned(), json!({ "parts": [{ "text": text }] }));
        one.extend(dimensions.map(|length| ("outputDimensionality".to_owned(), length.into())));
        for (ours, theirs) in [("task_type", "taskType"), ("title", "title")] {
            let own = extra.get(ours).or_else(|| extra.get(theirs));
            one.extend(own.map(|own| (theirs.to_owned(), own.clone())));
        }
        requests.push(Value::Object(one));
    }
    serde_json::to_vec(&json!({ "requests": requests }))
        .map(Bytes::from)
        .map_err(|error| ModelError::Internal { reason: error.to_string() })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    embeddings: Vec<Values>,
    #[serde(default)]
    usage_metadata: Option<Counted>,
}

#[derive(Deserialize)]
struct Values {
    values: Vec<f32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    #[serde(default)]
    prompt_token_count: u64,
}

pub fn embed_response(body: &[u8], model: &str) -> Result<EmbeddingResponse, ModelError> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| ModelError::Malformed { reason: error.to_string() })?;
    Ok(EmbeddingResponse {
        model: model.to_owned(),
        vectors: answer.embeddings.into_iter().map(|it| Vector::Floats(it.values)).collect(),
        usage: answer.usage_metadata.map(|counted| Usage::new(counted.prompt_token_count, 0)),
        extra: Map::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_a_request_of_its_own() {
        let request = EmbeddingRequest {
            model: "e".to_owned(),
            input: vec![EmbeddingInput::Text("a".to_owned())],
            dimensions: Some(3),
            encoding_format: Some("base64".to_owned()),
            extra: [("task_type".to_owned(), "RETRIEVAL_QUERY".into())].into_iter().collect(),
            ..EmbeddingRequest::default()
        };
        let sent: Value = serde_json::from_slice(&embed_body(&request).unwrap()).unwrap();
        let one = json!({ "model": "models/e", "content": { "parts": [{ "text": "a" }] },
            "outputDimensionality": 3, "taskType": "RETRIEVAL_QUERY" });
        assert_eq!(sent, json!({ "requests": [one] }));
        let tokens = EmbeddingRequest { input: vec![EmbeddingInput::Tokens(vec![1])], ..request };
        assert!(embed_body(&tokens).unwrap_err().to_string().contains("texts"));
    }

    #[test]
    fn vectors_come_in_their_order() {
        let body = br#"{"embeddings":[{"values":[0.5,1]},{"values":[2]}]}"#;
        let found = embed_response(body, "e").unwrap().vectors;
        assert_eq!(found, [Vector::Floats(vec![0.5, 1.0]), Vector::Floats(vec![2.0])]);
        assert!(embed_response(b"{}", "e").is_err());
    }
}
