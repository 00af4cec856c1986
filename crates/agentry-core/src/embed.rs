//! The port to everything that turns texts into vectors, and its words.

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::chat::Usage;
use crate::model::{CallContext, ModelError};

/// What a caller asks of an embedding model. A field that is `None` or empty is not sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EmbeddingRequest {
    /// An alias at the gateway, the upstream's own name behind it.
    pub model: String,
    /// One vector is made of each.
    pub input: Vec<EmbeddingInput>,
    /// How long the vectors shall be, where the model can shorten them.
    pub dimensions: Option<u32>,
    /// How vectors are written: `float`, `base64`, or a word of the vendor's.
    pub encoding_format: Option<String>,
    /// Whose request it is, in the caller's words.
    pub user: Option<String>,
    /// Everything else, forwarded as it came.
    pub extra: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbeddingInput {
    Text(String),
    /// Text that the caller has cut into the model's own tokens.
    Tokens(Vec<u32>),
}

impl EmbeddingInput {
    /// How many tokens it is: exact for tokens, for text about one in four bytes. At least one.
    #[must_use]
    pub fn tokens_estimate(&self) -> u64 {
        let tokens = match self {
            Self::Text(text) => text.len().div_ceil(4),
            Self::Tokens(tokens) => tokens.len(),
        };
        u64::try_from(tokens).unwrap_or(u64::MAX).max(1)
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct EmbeddingResponse {
    /// The model that really answered, as the upstream names it.
    pub model: String,
    /// One for each input, in the order of the inputs.
    pub vectors: Vec<Vector>,
    pub usage: Option<Usage>,
    /// Whatever else the upstream says of the answer as a whole.
    pub extra: Map<String, Value>,
}

/// A vector as it was written: no digit is lost on the way through.
#[derive(Debug, Clone, PartialEq)]
pub enum Vector {
    Floats(Vec<f32>),
    /// Little-endian 32-bit floats in base64.
    Base64(String),
    /// A form of the vendor's own: integers, packed bits, several forms at once.
    Other(Value),
}

/// How much one request to an upstream may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMax {
    pub inputs: usize,
    /// Of all inputs together.
    pub tokens: u64,
}

impl BatchMax {
    /// For an upstream that takes one input at a time.
    pub const SINGLE: Self = Self { inputs: 1, tokens: u64::MAX };
}

#[async_trait]
pub trait Embedder: Send + Sync {
    fn batch_max(&self) -> BatchMax;

    /// Either every input has its vector, or the call failed as a whole. Dropping the future cancels the call.
    async fn embed(
        &self,
        cx: &CallContext,
        request: EmbeddingRequest,
    ) -> Result<EmbeddingResponse, ModelError>;
}

impl EmbeddingResponse {
    /// An answer with more or fewer vectors than there were inputs cannot be told apart, and is refused.
    pub fn for_inputs(self, inputs: usize) -> Result<Self, ModelError> {
        let vectors = self.vectors.len();
        if vectors == inputs {
            return Ok(self);
        }
        let reason = format!("{inputs} inputs were sent, {vectors} vectors came back");
        Err(ModelError::Malformed { reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_counted_or_estimated_upwards() {
        for (input, tokens) in [
            (EmbeddingInput::Text(String::new()), 1),
            (EmbeddingInput::Text("word".to_owned()), 1),
            (EmbeddingInput::Text("words".to_owned()), 2),
            (EmbeddingInput::Tokens(vec![1, 2, 3]), 3),
            (EmbeddingInput::Tokens(Vec::new()), 1),
        ] {
            assert_eq!(input.tokens_estimate(), tokens, "{input:?}");
        }
    }

    #[test]
    fn an_answer_with_a_vector_missing_is_refused() {
        let answer = EmbeddingResponse {
            vectors: vec![Vector::Floats(vec![0.5])],
            ..EmbeddingResponse::default()
        };
        assert_eq!(answer.clone().for_inputs(1), Ok(answer.clone()));
        let error = answer.for_inputs(2).unwrap_err();
        assert!(error.to_string().contains("2 inputs were sent, 1 vectors"), "{error}");
    }
}
