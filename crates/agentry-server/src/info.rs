//! Whether it answers, and what it is: `/ok` and `/info`, as clients of LangGraph's servers ask.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::App;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/ok", get(ok)).route("/info", get(info))
}

pub(crate) const PATHS: &[&str] = &["/ok", "/info"];

async fn ok() -> Json<Value> {
    Json(json!({ "ok": true }))
}

async fn info(State(app): State<Arc<App>>) -> Json<Value> {
    let serves = app.threading.is_some();
    Json(json!({
        "server": "agentry",
        "version": env!("CARGO_PKG_VERSION"),
        "flags": { "assistants": serves, "crons": serves, "threads": serves, "store": serves },
        "host": { "kind": "self-hosted" },
        "protocol": { "agent": "0.1.6" },
    }))
}
