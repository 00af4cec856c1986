//! The faces through which models are called, one for each dialect. They differ in nothing but the dialect.

use std::sync::Arc;

use agentry_core::Trace;
use agentry_core::keys::Priority;
use agentry_core::model::{Caching, CallContext};
use agentry_core::relay::Dialect;
use agentry_identity::Caller;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Router};
use http::{HeaderMap, Method, StatusCode};

use crate::edge::{self, RequestId};
use crate::idempotent::{self, Asking};
use crate::question::{Endpoint, Question};
use crate::{App, Refusal, body, models};

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/responses", post(responses))
        .route("/v1/messages", post(messages))
}

pub(crate) const PATHS: &[&str] = &["/v1/chat/completions", "/v1/responses", "/v1/messages"];

pub(crate) type Shared = (State<Arc<App>>, Extension<RequestId>, Extension<Arc<Caller>>);

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
    call(Endpoint::Chat(dialect), shared, request).await
}

/// Whether a request is a call to a model, which nothing but the path decides: most of them are, and need no router.
pub(crate) fn short_cut<B>(request: &http::Request<B>) -> Option<Dialect> {
    if request.method() != Method::POST {
        return None;
    }
    match request.uri().path() {
        "/v1/chat/completions" => Some(Dialect::ChatCompletions),
        "/v1/responses" => Some(Dialect::Responses),
        "/v1/messages" => Some(Dialect::Messages),
        _ => None,
    }
}

/// The same as through the router.
pub(crate) async fn direct(app: &Arc<App>, dialect: Dialect, mut request: Request) -> Response {
    let route = match dialect {
        Dialect::ChatCompletions => "/v1/chat/completions",
        Dialect::Responses => "/v1/responses",
        Dialect::Messages => "/v1/messages",
    };
    request.extensions_mut().insert(app.reading());
    edge::through(app, request, route, |mut request| async move {
        let id = request.extensions_mut().remove::<RequestId>();
        let caller = request.extensions_mut().remove::<Arc<Caller>>();
        match id.zip(caller) {
            Some((id, caller)) => {
                let shared = (State(Arc::clone(app)), Extension(id), Extension(caller));
                call(Endpoint::Chat(dialect), shared, request).await
            }
            None => {
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "nobody was let in")
                    .into_response()
            }
        }
    })
    .await
}

/// One call, from its headers to its answer.
pub(crate) async fn call(endpoint: Endpoint, shared: Shared, request: Request) -> Response {
    let (State(app), Extension(id), Extension(caller)) = shared;
    let called = called(&app, (endpoint, &id, &caller), request).await;
    called.unwrap_or_else(|refusal| refusal.into_response_in(endpoint.dialect(), id.as_str()))
}

async fn called(
    app: &App,
    (endpoint, id, caller): (Endpoint, &RequestId, &Caller),
    request: Request,
) -> Result<Response, Refusal> {
    let mut cx = context(caller, id, (endpoint.label(), request.headers()))?;
    if let Some(spans) = &app.spans {
        cx.trace = Some(spans.below(parent(request.headers())));
    }
    let key = idempotent::key(request.headers())?.map(|key| format!("call:{key}"));
    let body = body::read(request).await?;
    let request = key.as_ref().map(|_| endpoint.digest(&body));
    let question = Question::read(endpoint, body)?;
    caller.may_use(question.model()).map_err(|denied| Refusal::of(&denied).param("model"))?;
    if caller.is_held_to_models() && app.gateway.timeout(question.model()).is_none() {
        // The gateway would name every model that there is.
        return Err(models::unknown(app, caller, question.model().to_owned()));
    }
    let Some((key, request)) = key.zip(request) else {
        return Ok(app.answers.answer(&cx, question, None).await);
    };
    let once = app.once.as_ref().ok_or_else(idempotent::off)?;
    let timeout = app.answers.timeout(question.model());
    let (tenant, user) = (caller.tenant.to_string(), caller.user.as_deref().map(Into::into));
    let asking = Asking { tenant, user, key, request, timeout };
    let answers = app.answers.clone();
    let call = |complete| async move { answers.answer(&cx, question, Some(complete)).await };
    // In a box of its own: few calls need it.
    Box::pin(once.answer(asking, call)).await
}

/// What the headers of a call say about it.
fn context(
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

/// The caller's own span. What is not written as it must be is as good as not there: that is what the standard says.
fn parent(headers: &HeaderMap) -> Option<Trace> {
    headers.get("traceparent")?.to_str().ok().and_then(Trace::parse)
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
