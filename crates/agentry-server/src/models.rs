//! Which models there are.

use std::sync::Arc;

use agentry_gateway::Error;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use crate::{App, Refusal, answering};

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/v1/models", get(models)).route("/v1/models/{*id}", get(model))
}

pub(crate) const PATHS: &[&str] = &["/v1/models"];

async fn models(State(app): State<Arc<App>>) -> Response {
    let created = app.started.as_millis() / 1000;
    let data: Vec<_> = app.gateway.models().map(|alias| shown(&alias.name, created)).collect();
    answering::json(&json!({ "object": "list", "data": data }))
}

async fn model(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    let known: Vec<&str> = app.gateway.models().map(|alias| alias.name.as_str()).collect();
    if known.contains(&id.as_str()) {
        return answering::json(&shown(&id, app.started.as_millis() / 1000));
    }
    let known = known.into_iter().map(ToOwned::to_owned).collect();
    Refusal::of(&Error::UnknownModel { model: id, known }).param("model").into_response()
}

fn shown(id: &str, created: i64) -> Value {
    json!({ "id": id, "object": "model", "created": created, "owned_by": "agentry" })
}
