//! A request to another service.

use agentry_engine::{Class, NodeError, effect};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Came, Visit, Work, fatal};
use crate::definition::{Header, Http};
use crate::ports::{HeaderValue, Request, Response};
use crate::view::View;

pub(crate) struct HttpWork {
    pub(crate) http: Http,
}

/// The request that a definition means; `in_url` tells what names stand for in the address, `given` in all the rest.
pub(crate) fn request(
    http: &Http,
    in_url: &impl Fn(&str) -> Option<Value>,
    given: &impl Fn(&str) -> Option<Value>,
) -> Result<Request, String> {
    let Http { method, url, headers: written, body, expect: _, idempotent: _, bytes_max } = http;
    let url = text(url.value.value(in_url)?);
    if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(format!("`{url}` is no address: it begins with http:// or https://"));
    }
    let mut headers = Vec::new();
    for (name, header) in written {
        let header = match header {
            Header::Secret(secret) => HeaderValue::Secret(secret.clone()),
            Header::Text(text_of) => {
                let value = text(text_of.value.value(given)?);
                if value.contains(['\r', '\n', '\0']) {
                    return Err(format!("the header `{}` has more than one line", name.value));
                }
                HeaderValue::Text(value)
            }
        };
        headers.push((name.value.to_ascii_lowercase(), header));
    }
    let body = body.as_ref().map(|body| body.value.value(given)).transpose()?;
    let request = Request {
        method: method.clone(),
        url,
        headers,
        body: None,
        bytes_max: *bytes_max,
        idempotency_key: None,
    };
    Ok(match body {
        Some(body) => with_body(request, body),
        None => request,
    })
}

/// A text is sent as it is, everything else as JSON.
pub(crate) fn with_body(mut request: Request, body: Value) -> Request {
    let headers = &mut request.headers;
    if !body.is_string() && !headers.iter().any(|(name, _)| name == "content-type") {
        let kind = HeaderValue::Text("application/json".to_owned());
        headers.push(("content-type".to_owned(), kind));
    }
    request.body = Some(text(body));
    request
}

/// The body as JSON if it is, and whether the status is one of those that are no failure.
pub(crate) fn read(http: &Http, response: &Response) -> (Value, bool) {
    let Response { status, body } = response;
    let body = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(_) => Value::String(String::from_utf8_lossy(body).into_owned()),
    };
    let expected = match http.expect.as_slice() {
        [] => (200..300).contains(status),
        expect => expect.contains(status),
    };
    (body, expected)
}

/// What a service said that did not do what was asked.
pub(crate) fn refusal(status: u16, body: Value) -> String {
    let said: String = text(body).chars().take(200).collect();
    format!("the service answered {status}: {said}")
}

impl HttpWork {
    fn request(&self, view: &View<'_>) -> Result<Request, String> {
        let given = |name: &str| view.get(name);
        request(&self.http, &given, &given)
    }

    fn read(&self, response: &Response) -> Result<Value, effect::Undone> {
        let status = response.status;
        let (body, expected) = read(&self.http, response);
        if expected {
            return Ok(json!({ "status": status, "body": body }));
        }
        let reason = refusal(status, body);
        Err(match status {
            429 | 503 => effect::Undone::NotDone(reason),
            408 | 425 | 500.. => effect::Undone::Unknown(reason),
            _ => effect::Undone::Refused(reason),
        })
    }
}

pub(crate) fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[async_trait]
impl Work for HttpWork {
    fn call(&self, view: &View<'_>) -> Result<Option<Value>, String> {
        serde_json::to_value(self.request(view)?).map(Some).map_err(|error| error.to_string())
    }

    async fn run(&self, visit: &Visit<'_>, view: &View<'_>) -> Result<Came, NodeError> {
        let request = self.request(view).map_err(fatal)?;
        let http = visit.ports.http.as_ref();
        let http = http.ok_or_else(|| fatal("nothing here may call other services"))?;
        let class = if self.http.idempotent { Class::Idempotent } else { Class::Once };
        let within = visit.remaining();
        let value = visit.effect("http", class, |key| async move {
            let request = Request { idempotency_key: Some(key), ..request };
            let response = http.send(&request, within).await.map_err(effect::Undone::from)?;
            self.read(&response)
        });
        Ok(Came::To(value.await?))
    }
}
