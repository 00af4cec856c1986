//! The face that makes vectors, as OpenAI's clients ask for them.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::post;

use crate::question::Endpoint;
use crate::{App, calls};

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/v1/embeddings", post(embed))
}

pub(crate) const PATHS: &[&str] = &["/v1/embeddings"];

async fn embed(shared: calls::Shared, request: Request) -> Response {
    calls::call(Endpoint::Embeddings, shared, request).await
}
