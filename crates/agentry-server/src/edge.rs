//! What happens to every request, whichever face it is for: an id, the checks that the HTTP library leaves out, metrics.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_core::relay::Dialect;
use agentry_http1::Flaw;
use axum::body::to_bytes;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Method, StatusCode, Version};
use tracing::{debug, error};

use crate::threads::dialect;
use crate::{App, Refusal, body, headers, identity, operate};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Names one request in answers and logs: the caller's own id if it is sane, else ours.
#[derive(Debug, Clone)]
pub struct RequestId(pub(crate) Arc<str>);

impl RequestId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is behind the router.
pub(crate) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    through(&app, request, route, |request| next.run(request)).await
}

/// What every request goes through on its way to `next`.
pub(crate) async fn through<F: Future<Output = Response>>(
    app: &App,
    mut request: Request,
    route: &str,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let begun = Instant::now();
    let id = request_id(app, &request);
    let method = method_label(request.method());
    let path = tracing::enabled!(tracing::Level::DEBUG).then(|| request.uri().path().to_owned());
    request.extensions_mut().insert(id.clone());
    let origin = headers::welcome_origin(&request, &app.settings.origins);

    let checked = check(&request)
        .and_then(|()| check_name(&request, &app.settings.hosts))
        .and_then(|()| admit(app, route));
    let mut response = match checked {
        Err(refusal) => refuse(refusal, route, &id),
        Ok(()) => {
            match AssertUnwindSafe(enter(app, request, (route, &id), next)).catch_unwind().await {
                Ok(response) => in_shape(response).await,
                Err(_) => {
                    error!(request_id = id.as_str(), route, "a request handler panicked");
                    Refusal::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal",
                    "a defect in the server ended this request: the log has it under this x-request-id",
                )
                .into_response()
                }
            }
        }
    };
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    headers::protect(&mut response);
    if let Some(origin) = origin {
        headers::open_to(&mut response, origin);
    }
    let status = response.status().as_u16();
    app.metrics.request_answered(route, method, status, begun.elapsed());
    debug!(
        request_id = id.as_str(),
        method,
        path,
        status,
        elapsed_us = begun.elapsed().as_micros() as u64,
        "answered"
    );
    response
}

/// Behind the door: who is it, and may that one do this?
async fn enter<F: Future<Output = Response>>(
    app: &App,
    mut request: Request,
    (route, id): (&str, &RequestId),
    next: impl FnOnce(Request) -> F,
) -> Response {
    if let Some(answer) = headers::preflight(&request, &app.settings.origins) {
        return answer;
    }
    match identity::enter(app, &mut request, route).await {
        Ok(()) => next(request).await,
        Err(refusal) => {
            body::leave(request, &app.tracker);
            refuse(refusal, route, id)
        }
    }
}

/// In the shape that callers of this path can read.
fn refuse(refusal: Refusal, route: &str, id: &RequestId) -> Response {
    if route.starts_with("/v1/messages") {
        return refusal.into_response_in(Dialect::Messages, id.as_str());
    }
    if dialect::is_of(route) {
        return dialect::refuse(&refusal);
    }
    refusal.into_response()
}

/// The framework refuses paths and queries that it cannot read in plain text: callers get the one shape for all.
async fn in_shape(response: Response) -> Response {
    let kind = response.headers().get(CONTENT_TYPE);
    let plain = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !response.status().is_client_error() || !plain {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, 4096).await.unwrap_or_default();
    let message = String::from_utf8_lossy(&text);
    Refusal::new(parts.status, "request_invalid", message).into_response()
}

fn request_id(app: &App, request: &Request) -> RequestId {
    let given = request.headers().get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    let sane = given.filter(|id| {
        (1..=128).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    });
    RequestId(sane.map_or_else(|| app.request_ids.next(), Arc::from))
}

/// While the server stops, only those who watch it are answered.
fn admit(app: &App, route: &str) -> Result<(), Refusal> {
    if !app.stopping.is_cancelled() || operate::PATHS.contains(&route) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "stopping",
        "the server is stopping: send this to another one, or again in a moment",
    )
    .retry_after(Duration::from_secs(1))
    .ends_connection())
}

/// What is no request, or means different things to different programs.
pub(crate) async fn refuse_flawed(app: &App, flaw: Flaw) -> Response {
    let mut request = Request::default();
    request.extensions_mut().insert(flaw);
    through(app, request, "unmatched", |_| async { StatusCode::BAD_REQUEST.into_response() }).await
}

fn of_flaw(flaw: Flaw) -> Refusal {
    let why = flaw.to_string();
    match flaw {
        Flaw::BareLineFeed | Flaw::LengthAndCoding | Flaw::Length | Flaw::Coding => {
            Refusal::bad_request("framing_ambiguous", why)
        }
        Flaw::NotHttp(_) | Flaw::Target => Refusal::bad_request("head_invalid", why),
        Flaw::TargetTooLong => Refusal::new(StatusCode::URI_TOO_LONG, "head_too_large", why),
        Flaw::HeadTooLong(_) | Flaw::FieldsTooMany => {
            Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", why)
        }
    }
}

/// Refuses what different servers would understand differently.
fn check(request: &Request) -> Result<(), Refusal> {
    let bad = |code, message| Err(Refusal::bad_request(code, message).ends_connection());
    if let Some(flaw) = request.extensions().get::<Flaw>() {
        return Err(of_flaw(*flaw).ends_connection());
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return bad("host_duplicate", "the request has more than one host header: send one");
    }
    match (request.uri().authority(), host) {
        (_, None) if request.version() == Version::HTTP_10 => Ok(()),
        (Some(_), None) if request.version() == Version::HTTP_2 => Ok(()),
        (_, None) => {
            bad("host_missing", "the host header is missing: send `host: NAME`, as HTTP demands")
        }
        (Some(authority), Some(host))
            if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            bad("host_duplicate", "the host header and the target name different hosts: send one")
        }
        (None, Some(host)) if !is_authority(host) => {
            bad("host_invalid", "the host header is not a host name with an optional port")
        }
        (_, Some(_)) => Ok(()),
    }
}

fn is_authority(host: &HeaderValue) -> bool {
    authority(host).is_some_and(|authority| !authority.as_str().contains('@'))
}

fn authority(host: &HeaderValue) -> Option<Authority> {
    Authority::try_from(host.as_bytes()).ok()
}

/// A page in a browser must not reach us by a name that its author points at us.
fn check_name(request: &Request, hosts: &[String]) -> Result<(), Refusal> {
    let header = || request.headers().get(HOST).and_then(authority);
    let Some(authority) = request.uri().authority().cloned().or_else(header) else { return Ok(()) };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let ours = !name.contains('.')
        || name.parse::<IpAddr>().is_ok()
        || hosts.iter().any(|host| host.eq_ignore_ascii_case(name));
    if ours {
        return Ok(());
    }
    let message = format!(
        "nobody here is called `{name}`: use an address or localhost, or add the name to `hosts` in [server]"
    );
    Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, "host_not_ours", message).ends_connection())
}

/// A closed set: callers may invent methods, the metrics do not repeat them.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
