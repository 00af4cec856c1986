//! Headers that every answer has, and what pages of other origins are told.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, VARY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, StatusCode};

/// Browsers guess nothing, keep nothing, frame nothing and tell nobody where they were.
pub(crate) fn protect(response: &mut Response) {
    let refused = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if refused {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
}

/// The origin of the page that asks, if it may.
pub(crate) fn welcome_origin(request: &Request, origins: &[String]) -> Option<HeaderValue> {
    if origins.is_empty() {
        return None;
    }
    let origin = request.headers().get(ORIGIN)?;
    origins.iter().any(|known| known.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

pub(crate) fn open_to(response: &mut Response, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(VARY, HeaderValue::from_static("origin"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
}

/// Answers a browser that asks whether its page may call us. The caller adds the origin itself.
pub(crate) fn preflight(request: &Request, origins: &[String]) -> Option<Response> {
    if *request.method() != Method::OPTIONS
        || !request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    {
        return None;
    }
    welcome_origin(request, origins)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE"),
    );
    // A `*` would leave out `authorization`.
    let allowed = "authorization, x-api-key, api-key, content-type, accept, idempotency-key, x-request-id, \
                   anthropic-version, anthropic-beta, openai-organization, openai-project, openai-beta, \
                   x-agentry-cache, x-agentry-session, x-agentry-priority, x-stainless-lang, x-stainless-os, \
                   x-stainless-arch, x-stainless-runtime, x-stainless-runtime-version, x-stainless-package-version, \
                   x-stainless-retry-count, x-stainless-timeout, x-stainless-async, x-stainless-helper-method";
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    Some(response)
}

/// Whether a page that is neither ours nor welcome wants to change something: a browser sends simple requests without
/// asking first.
pub(crate) fn is_foreign_write(request: &Request, origins: &[String]) -> bool {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    let Some(origin) = request.headers().get(ORIGIN) else { return false };
    let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
    let host = host.or_else(|| request.uri().authority().map(|name| name.as_str().as_bytes()));
    let page = origin.as_bytes();
    let page_host = page.strip_prefix(b"https://").or_else(|| page.strip_prefix(b"http://"));
    let ours = page_host.zip(host).is_some_and(|(page, host)| page.eq_ignore_ascii_case(host));
    !ours && welcome_origin(request, origins).is_none()
}
