//! The face that makes vectors, as OpenAI's clients ask for them.

use std::sync::Arc;

use agentry_core::relay::Dialect;
use agentry_gateway::Embedded;
use agentry_identity::Caller;
use agentry_wire::embeddings;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Router};
use serde_json::Value;

use crate::edge::RequestId;
use crate::{App, Refusal, answering, body, calls};

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/v1/embeddings", post(embed))
}

pub(crate) const PATHS: &[&str] = &["/v1/embeddings"];

async fn embed(
    State(app): State<Arc<App>>,
    Extension(id): Extension<RequestId>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request,
) -> Result<Response, Response> {
    let refused = |refusal: Refusal| refusal.into_response();
    let cx = calls::context(&caller, &id, ("embeddings", request.headers())).map_err(refused)?;
    let body = body::read(request).await.map_err(refused)?;
    let body: Value = body::parse(&body).map_err(refused)?;
    let request = embeddings::request(body).map_err(|invalid| refused(body::parameter(invalid)))?;
    caller
        .may_use(&request.model)
        .map_err(|denied| refused(Refusal::of(&denied).param("model")))?;
    let encoding = request.encoding_format.clone();
    let Embedded { response, target, attempts, cost } = app
        .gateway
        .embed(&cx, request)
        .await
        .map_err(|error| answering::refuse(&app, &cx, &error, Dialect::ChatCompletions))?;
    let mut answer =
        answering::json_bytes(embeddings::whole(&response, encoding.as_deref()).into());
    answering::attribute(answer.headers_mut(), &target, (attempts, cost));
    answering::tell_limits(answer.headers_mut(), app.gateway.standings(&cx.caller));
    Ok(answer)
}
