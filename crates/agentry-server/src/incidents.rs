//! Alerts in, incidents out.

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::parameters::Parameters;
use crate::{App, Body, Refusal};

/// Who takes alerts and knows incidents.
#[async_trait]
pub trait IncidentDesk: Send + Sync {
    /// Answers when every alert of an Alertmanager webhook is durable.
    async fn alertmanager(&self, body: Value) -> Result<Value, Refusal>;
    /// The same for alerts of the plain form.
    async fn alerts(&self, body: Value) -> Result<Value, Refusal>;
    /// Newest first.
    async fn list(&self, max: usize) -> Result<Vec<Value>, Refusal>;
    async fn show(&self, id: &str) -> Result<Option<Value>, Refusal>;
}

const LIST_DEFAULT: usize = 50;
const LIST_MAX: usize = 500;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/alerts/alertmanager", post(alertmanager))
        .route("/v1/alerts", post(alerts))
        .route("/v1/incidents", get(list))
        .route("/v1/incidents/{id}", get(show))
}

pub(crate) const PATHS: &[&str] = &["/v1/alerts/alertmanager", "/v1/alerts", "/v1/incidents"];

fn desk(app: &App) -> Result<&dyn IncidentDesk, Refusal> {
    app.incidents.as_deref().ok_or_else(|| {
        Refusal::not_found("incidents_off", "this instance does not handle incidents")
    })
}

async fn alertmanager(
    State(app): State<Arc<App>>,
    Body(body): Body<Value>,
) -> Result<Json<Value>, Refusal> {
    desk(&app)?.alertmanager(body).await.map(Json)
}

async fn alerts(
    State(app): State<Arc<App>>,
    Body(body): Body<Value>,
) -> Result<Json<Value>, Refusal> {
    desk(&app)?.alerts(body).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: Option<usize>,
}

async fn list(
    State(app): State<Arc<App>>,
    Parameters(page): Parameters<Page>,
) -> Result<Json<Value>, Refusal> {
    let max = page.limit.unwrap_or(LIST_DEFAULT).min(LIST_MAX);
    let incidents = desk(&app)?.list(max).await?;
    Ok(Json(json!({ "object": "list", "data": incidents })))
}

async fn show(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    match desk(&app)?.show(&id).await? {
        Some(incident) => Ok(Json(incident)),
        None => Err(Refusal::not_found(
            "incident_not_found",
            "there is no incident of that number: `GET /v1/incidents` lists them",
        )
        .param("id")),
    }
}
