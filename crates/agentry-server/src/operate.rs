//! For whoever operates it: `/health`, `/ready`, `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::join_all;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, json};
use tokio::time::timeout;

use crate::app::Dependency;
use crate::{App, Refusal};

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
}

pub(crate) const PATHS: &[&str] = &["/health", "/ready", "/metrics"];

/// The process answers. Nothing else is checked: who restarts on this must not restart because of others.
async fn health() -> Response {
    answer(StatusCode::OK, &json!({ "status": "alive" }))
}

/// Whether to send work here.
async fn ready(State(app): State<Arc<App>>) -> Response {
    let checks = checks(&app.dependencies).await;
    let stopping = app.stopping.is_cancelled();
    let good = !stopping && checks.iter().all(|(_, result)| result.is_ok());
    let mut shown = Map::new();
    for (name, result) in checks {
        let check = match result {
            Ok(detail) => json!({ "status": "ok", "detail": detail }),
            Err(detail) => json!({ "status": "failing", "detail": detail }),
        };
        shown.insert(name, check);
    }
    let status = match (stopping, good) {
        (true, _) => "stopping",
        (false, true) => "ready",
        (false, false) => "not ready",
    };
    let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(code, &json!({ "status": status, "checks": shown }))
}

/// What each of them says, in their order.
pub(crate) async fn checks(
    dependencies: &[Arc<dyn Dependency>],
) -> Vec<(String, Result<String, String>)> {
    join_all(dependencies.iter().map(|dependency| check(dependency.as_ref()))).await
}

async fn check(dependency: &dyn Dependency) -> (String, Result<String, String>) {
    let result = timeout(Duration::from_secs(2), dependency.check()).await;
    let result = result.unwrap_or_else(|_| Err("no answer within 2 s".to_owned()));
    (dependency.name().to_owned(), result)
}

/// In the format that the caller accepts: every scraper reads the older one.
async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Refusal> {
    let accepts = headers.get(ACCEPT).and_then(|accepts| accepts.to_str().ok()).unwrap_or_default();
    let (kind, text) = match accepts.contains("application/openmetrics-text") {
        true => ("application/openmetrics-text; version=1.0.0; charset=utf-8", app.metrics.text()),
        false => ("text/plain; version=0.0.4; charset=utf-8", app.metrics.classic_text()),
    };
    let text = text.map_err(|_| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the metrics cannot be written")
    })?;
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, headers, body.to_string()).into_response()
}
