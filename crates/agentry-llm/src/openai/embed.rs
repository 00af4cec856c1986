//! The embeddings of servers that are compatible with OpenAI's.

use agentry_core::embed::{BatchMax, Embedder, EmbeddingRequest, EmbeddingResponse};
use agentry_core::model::{CallContext, ModelError};
use agentry_wire::embeddings;
use async_trait::async_trait;

use super::{Endpoint, OpenAi};
use crate::drive;

#[async_trait]
impl Embedder for OpenAi {
    fn batch_max(&self) -> BatchMax {
        self.batch_max
    }

    async fn embed(
        &self,
        cx: &CallContext,
        request: EmbeddingRequest,
    ) -> Result<EmbeddingResponse, ModelError> {
        let body = embeddings::body(&request)?;
        let response = self.post(cx, Endpoint::Embeddings, body, &request.model).await?;
        let body = drive::whole(response).await?;
        embeddings::response(&body, &request.model)?.for_inputs(request.input.len())
    }
}
