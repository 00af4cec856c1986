//! Who is calling, and may that one do this: asked of every request before any face sees it.
//!
//! What a route needs stands in [`need`]; a route that is not there is for administrators. Faces find the caller as
//! `Extension<Arc<Caller>>`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentry_core::keys::UserData;
use agentry_core::store;
use agentry_core::threads::{Intake, ThreadStore};
use agentry_core::{Timestamp, audit};
use agentry_identity::{Actor, Authenticator, Caller, KeyRing, Kind, Scope, Scopes};
use axum::Router;
use axum::extract::Request;
use axum::routing::{delete, get, post};
use http::{Method, StatusCode};
use serde_json::json;

use crate::{App, Refusal, headers};

mod keys;
mod users;

/// What the door knows.
pub struct Identity {
    pub(crate) authenticator: Arc<Authenticator>,
    keys: Option<Arc<KeyRing>>,
    /// Where the audit log is written.
    store: Option<Arc<dyn ThreadStore>>,
    user_data: Vec<Arc<dyn UserData>>,
    accesses: Accesses,
}

/// From where a request came. The listener puts it beside every request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl Identity {
    /// Everybody on this machine may do everything.
    #[must_use]
    pub fn open() -> Self {
        Self {
            authenticator: Arc::new(Authenticator::open()),
            keys: None,
            store: None,
            user_data: Vec::new(),
            accesses: Accesses::default(),
        }
    }

    /// `store` takes the audit log of what administrators do.
    #[must_use]
    pub fn new(
        authenticator: Arc<Authenticator>,
        keys: Arc<KeyRing>,
        store: Arc<dyn ThreadStore>,
    ) -> Self {
        Self { authenticator, keys: Some(keys), store: Some(store), ..Self::open() }
    }

    /// One more place that holds something of people.
    #[must_use]
    pub fn user_data(mut self, data: Arc<dyn UserData>) -> Self {
        self.user_data.push(data);
        self
    }

    /// Writes down what an administrator did.
    pub(crate) async fn acted(&self, entry: audit::Entry) -> Result<(), store::Error> {
        let Some(store) = &self.store else { return Ok(()) };
        store.intake(Intake { audit: vec![entry], ..Intake::default() }).await.map(|_| ())
    }

    /// Writes down that `caller` has looked at what belongs to others: once for all looks of a few minutes.
    pub(crate) async fn accessed(
        &self,
        caller: &Caller,
        action: &'static str,
        now: Timestamp,
    ) -> Result<(), store::Error> {
        let Some(store) = &self.store else { return Ok(()) };
        if caller.kind == Kind::Anonymous || !self.accesses.is_news(&caller.key_id, action, now) {
            return Ok(());
        }
        let entry = audit::Entry {
            at: now,
            actor: caller.actor(),
            action: action.to_owned(),
            subject: caller.tenant.to_string(),
            detail: json!({ "tenant": *caller.tenant, "key": *caller.key_id }),
        };
        store.intake(Intake { audit: vec![entry], ..Intake::default() }).await
    }
}

/// Who has looked at what lately.
#[derive(Debug, Default)]
struct Accesses(Mutex<HashMap<(Arc<str>, &'static str), Timestamp>>);

const SAME_ACCESS: Duration = Duration::from_secs(600);
const ACCESSES_MAX: usize = 1_000;

impl Accesses {
    fn is_news(&self, key: &Arc<str>, action: &'static str, now: Timestamp) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = |at: Timestamp| at > now || now.since(at) >= SAME_ACCESS;
        let name = (Arc::clone(key), action);
        if seen.get(&name).is_some_and(|at| !old(*at)) {
            return false;
        }
        if seen.len() >= ACCESSES_MAX {
            seen.retain(|_, at| !old(*at));
            if seen.len() >= ACCESSES_MAX {
                // To write more than needed is better than less.
                seen.clear();
            }
        }
        seen.insert(name, now);
        true
    }
}

/// What a route asks of whoever calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    /// To be somebody.
    Caller,
    /// One of these.
    Any(Scopes),
    /// One of these, in the tenant of whoever runs the instance: what is shown is of all tenants together.
    OfInstance(Scopes),
    /// One of these, in the tenant whose incidents this instance handles.
    OfIncidents(Scopes),
}

/// The tenant of whoever runs the instance, whose incidents are handled.
const INCIDENTS_OF: &str = "main";

fn need(method: &Method, route: &str) -> Need {
    const CHAT: Scopes = Scope::LlmChat.alone();
    const EMBED: Scopes = Scope::LlmEmbed.alone();
    const RUN: Scopes = Scope::AgentsRun.alone();
    const ADMIN: Scopes = Scope::Admin.alone().and(Scope::Operator.alone());
    const SEE: Scopes = Scope::MetricsRead.alone().and(ADMIN);
    const READ: Scopes = Scope::IncidentsRead.alone();
    const DECIDE: Scopes = Scope::ApprovalsDecide.alone();
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let mut steps = route.trim_start_matches('/').split('/');
    let first = steps.next().unwrap_or_default();
    let second = steps.next().unwrap_or_default();
    match (first, second) {
        ("health" | "ready" | "ok", "") => Need::Nothing,
        ("metrics", _) => Need::OfInstance(SEE),
        ("v1", "status" | "usage") => Need::Any(SEE),
        ("v1", "models") | ("unmatched" | ".well-known" | "openapi.json" | "info", _) => {
            Need::Caller
        }
        ("v1", "chat" | "completions" | "responses" | "messages") => Need::Any(CHAT),
        ("v1", "embeddings") => Need::Any(EMBED),
        // Each request of a batch is checked for its own.
        ("v1", "batches" | "files") => Need::Any(CHAT.and(EMBED)),
        ("v1", "alerts") => Need::OfIncidents(Scope::IncidentsWrite.alone()),
        ("v1", "incidents") => Need::OfIncidents(READ),
        ("v1", "approvals") if reads => Need::OfIncidents(READ.and(DECIDE)),
        ("v1", "approvals") => Need::OfIncidents(DECIDE),
        ("v1", "agents")
        | ("assistants" | "agents" | "threads" | "runs" | "store" | "mcp" | "a2a", _) => {
            Need::Any(RUN)
        }
        // What all tenants share.
        ("v1", "config" | "threads") => Need::Any(Scope::Operator.alone()),
        _ => Need::Any(ADMIN),
    }
}

/// Puts the caller beside the request, or turns it away.
pub(crate) async fn enter(app: &App, request: &mut Request, route: &str) -> Result<(), Refusal> {
    if headers::is_foreign_write(request, &app.settings.origins) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "origin_forbidden",
            "a web page of another origin may not do this: add its origin to `origins` in [server]",
        ));
    }
    let need = match need(request.method(), route) {
        Need::OfInstance(_) if route == "/metrics" && app.settings.metrics_open => Need::Nothing,
        need => need,
    };
    if need == Need::Nothing {
        return Ok(());
    }
    // Only tests hand requests in without a listener.
    let peer =
        request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.0);
    let authenticator = &app.identity.authenticator;
    let caller = authenticator.authenticate(request.headers(), peer, app.clock.now()).await?;
    match need {
        Need::Nothing | Need::Caller => {}
        Need::Any(scopes) => caller.needs_any(scopes)?,
        Need::OfInstance(scopes) => {
            caller.needs_any(scopes)?;
            if !caller.sees(INCIDENTS_OF) {
                return Err(Refusal::new(
                    StatusCode::FORBIDDEN,
                    "scope_missing",
                    "this is of all tenants together: it needs a key of the tenant `main`, or the scope `operator`",
                ));
            }
        }
        Need::OfIncidents(scopes) => {
            caller.needs_any(scopes)?;
            if !caller.sees(INCIDENTS_OF) {
                let message = "this instance handles no incidents of your tenant";
                return Err(Refusal::not_found("incidents_off", message));
            }
        }
    }
    request.extensions_mut().insert(caller);
    Ok(())
}

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/keys", get(keys::list).post(keys::create))
        .route("/v1/keys/{id}", delete(keys::revoke))
        .route("/v1/keys/{id}/rotate", post(keys::rotate))
        .route("/v1/users/{id}/data", delete(users::forget))
}

pub(crate) const PATHS: &[&str] = &["/v1/keys"];

pub(crate) fn actor(caller: &Caller) -> Actor {
    Actor {
        name: caller.actor(),
        tenant: caller.tenant.to_string(),
        everywhere: caller.scopes.has(Scope::Operator),
    }
}

pub(crate) fn ring(app: &App) -> Result<&KeyRing, Refusal> {
    app.identity
        .keys
        .as_deref()
        .ok_or_else(|| Refusal::not_found("keys_off", "this instance keeps no keys"))
}

#[cfg(test)]
mod tests;
