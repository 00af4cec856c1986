//! The face that OpenAI's clients speak to: chat completions and models.

use std::sync::Arc;

use agentry_core::chat::{Head, Invalid};
use agentry_core::model::CallContext;
use agentry_core::relay::Dialect;
use agentry_gateway::{Error, Wire};
use agentry_wire::head;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde_json::{Value, json};

use crate::answering::{self, Asked};
use crate::edge::RequestId;
use crate::{App, Refusal, body};

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
}

pub(crate) const PATHS: &[&str] = &["/v1/chat/completions", "/v1/models"];

async fn chat_completions(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, Response> {
    let body = body::read(request).await.map_err(IntoResponse::into_response)?;
    let dialect = Dialect::ChatCompletions;
    let head = head::Head::read(dialect, &body)
        .map_err(|refused| unreadable(&body, refused).into_response())?;
    let asked = Asked {
        fallback: Head {
            id: format!("chatcmpl-{}", id.as_str()),
            model: head.model.clone(),
            created: app.clock.now().as_millis() / 1000,
            ..Head::default()
        },
        include_usage: head.wants_usage,
    };
    let cx = CallContext::new(Arc::clone(&id.0), dialect.as_str());
    let outcome = app.gateway.call(&cx, Wire::new(dialect, head, body)).await;
    outcome.map(|outcome| answering::response(outcome, asked)).map_err(answering::refuse)
}

fn unreadable(body: &[u8], refused: head::Refused) -> Refusal {
    match refused {
        head::Refused::NotUtf8(_) => body::not_utf8(body),
        head::Refused::NotJson(error) => body::not_json(body, &error),
        head::Refused::Invalid(invalid) => parameter(invalid),
    }
}

fn parameter(invalid: Invalid) -> Refusal {
    let message = match invalid.param.as_str() {
        "" => invalid.reason.clone(),
        _ => invalid.to_string(),
    };
    Refusal::bad_request("parameter_invalid", message).param(invalid.param)
}

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
    answering::refuse(Error::UnknownModel { model: id, known })
}

fn shown(id: &str, created: i64) -> Value {
    json!({ "id": id, "object": "model", "created": created, "owned_by": "agentry" })
}
