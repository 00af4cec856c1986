//! Which models there are, for whoever asks: those that a key may not use do not exist for it.

use std::sync::Arc;

use agentry_gateway::Error;
use agentry_identity::Caller;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use serde_json::{Value, json};

use crate::{App, Refusal, answering};

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/v1/models", get(models)).route("/v1/models/{*id}", get(model))
}

pub(crate) const PATHS: &[&str] = &["/v1/models"];

async fn models(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
) -> Response {
    let created = app.started.as_millis() / 1000;
    let data: Vec<_> = known(&app, &caller).map(|name| shown(&name, created)).collect();
    answering::json(&json!({ "object": "list", "data": data }))
}

async fn model(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
) -> Response {
    if known(&app, &caller).any(|name| name == id) {
        return answering::json(&shown(&id, app.started.as_millis() / 1000));
    }
    unknown(&app, &caller, id).into_response()
}

/// What the caller may name as `model`.
fn known(app: &App, caller: &Caller) -> impl Iterator<Item = String> {
    let names = app.gateway.models().into_iter().map(|alias| alias.name.clone());
    names.filter(|name| caller.may_use(name).is_ok())
}

/// There is no such model, as far as the caller may know.
pub(crate) fn unknown(app: &App, caller: &Caller, model: String) -> Refusal {
    let known = known(app, caller).collect();
    Refusal::of(&Error::UnknownModel { model, known }).param("model")
}

fn shown(id: &str, created: i64) -> Value {
    json!({ "id": id, "object": "model", "created": created, "owned_by": "agentry" })
}
