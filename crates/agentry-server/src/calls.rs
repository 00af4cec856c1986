//! The faces through which models are called, one for each dialect. They differ in nothing but the dialect.

use std::sync::Arc;

use agentry_core::chat::Head;
use agentry_core::keys::Priority;
use agentry_core::model::{Caching, CallContext};
use agentry_core::relay::Dialect;
use agentry_gateway::Wire;
use agentry_identity::Caller;
use agentry_wire::{Asked, head};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};
use http::HeaderMap;

use crate::edge::RequestId;
use crate::{App, Refusal, answering, body};

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/responses", post(responses))
        .route("/v1/messages", post(messages))
}

pub(crate) const PATHS: &[&str] = &["/v1/chat/completions", "/v1/responses", "/v1/messages"];

type Shared = (State<Arc<App>>, Extension<RequestId>, Extension<Arc<Caller>>);

async fn chat_completions(shared: Shared, request: Request) -> Response {
    answer(Dialect::ChatCompletions, shared, request).await
}

async fn responses(shared: Shared, request: Request) -> Response {
    answer(Dialect::Responses, shared, request).await
}

async fn messages(shared: Shared, request: Request) -> Response {
    answer(Dialect::Messages, shared, request).await
}

async fn answer(dialect: Dialect, shared: Shared, request: Request) -> Response {
    let (State(app), Extension(id), Extension(caller)) = shared;
    let refuse = |refusal: Refusal| refusal.into_response_in(dialect, id.as_str());
    let cx = match context(&caller, &id, (dialect.as_str(), request.headers())) {
        Ok(cx) => cx,
        Err(refusal) => return refuse(refusal),
    };
    let body = match body::read(request).await {
        Ok(body) => body,
        Err(refusal) => return refuse(refusal),
    };
    let head = match head::Head::read(dialect, &body) {
        Ok(head) => head,
        Err(refused) => return refuse(body::no_request(&body, refused)),
    };
    if let Err(denied) = caller.may_use(&head.model) {
        return refuse(Refusal::of(&denied).param("model"));
    }
    let asked = Asked { fallback: fallback(&app, &id, (dialect, &head.model)), body: body.clone() };
    match app.gateway.call(&cx, Wire::new(dialect, head, body)).await {
        Ok(outcome) => {
            let mut response = answering::response(outcome, dialect, &asked);
            answering::tell_limits(response.headers_mut(), app.gateway.standings(&cx.caller));
            response
        }
        Err(error) => answering::refuse(&app, &cx, &error, dialect),
    }
}

/// Stands in for what an upstream leaves out.
fn fallback(app: &App, id: &RequestId, (dialect, model): (Dialect, &str)) -> Head {
    let prefix = match dialect {
        Dialect::ChatCompletions => "chatcmpl-",
        Dialect::Responses => "resp_",
        Dialect::Messages => "msg_",
    };
    Head {
        id: format!("{prefix}{}", id.as_str()),
        model: model.to_owned(),
        created: app.clock.now().as_millis() / 1000,
        ..Head::default()
    }
}

/// What the headers of a call say about it.
pub(crate) fn context(
    caller: &Caller,
    id: &RequestId,
    (endpoint, headers): (&'static str, &HeaderMap),
) -> Result<CallContext, Refusal> {
    let mut cx = CallContext::of(caller.of_calls(), Arc::clone(&id.0), endpoint);
    cx.session = text(headers, "x-agentry-session")?.map(Into::into);
    cx.run = text(headers, "x-agentry-run")?.map(Into::into);
    if let Some(priority) = text(headers, "x-agentry-priority")? {
        cx.priority = priority_of(priority)?.min(caller.limits.priority.max(Priority::Normal));
    }
    match text(headers, "x-agentry-cache")? {
        None => {}
        Some("off") => cx.caching = Caching::Off,
        Some(other) => {
            return Err(invalid(
                "x-agentry-cache",
                &format!("`{other}` is not `off`: leave it out, or say off"),
            ));
        }
    }
    Ok(cx)
}

fn priority_of(word: &str) -> Result<Priority, Refusal> {
    [Priority::High, Priority::Normal, Priority::Low]
        .into_iter()
        .find(|priority| priority.as_str() == word)
        .ok_or_else(|| invalid("x-agentry-priority", "it is `high`, `normal` or `low`"))
}

/// So long may the name of a session or a run be.
const NAME_BYTES_MAX: usize = 200;

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Refusal> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().ok().map(str::trim).filter(|text| !text.is_empty());
    match text {
        Some(text) if text.len() <= NAME_BYTES_MAX => Ok(Some(text)),
        _ => Err(invalid(name, "it must be 1 to 200 printable characters of ASCII")),
    }
}

fn invalid(header: &'static str, reason: &str) -> Refusal {
    Refusal::bad_request("header_invalid", format!("the header {header} is wrong: {reason}"))
        .param(header)
}
