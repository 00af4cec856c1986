//! What each service of the shop does with a request.

pub(crate) mod cart;
pub(crate) mod catalogue;
pub(crate) mod checkout;
pub(crate) mod frontend;
pub(crate) mod inventory;
pub(crate) mod payment;
pub(crate) mod stock;

use std::sync::Arc;
use std::time::Duration;

use agentry_core::telemetry::Level;
use http::{Method, StatusCode, Uri};
use serde_json::{Value, json};

use crate::Service;
use crate::deployment::Settings;
use crate::random;

use super::client::Refusal;
use super::shared::{Entry, Shared, Table};
use super::spans::Trace;

/// What a request carries through the process.
pub(crate) struct Cx {
    pub(crate) shared: Arc<Shared>,
    pub(crate) trace: Trace,
}

impl Cx {
    pub(crate) fn info(&self, logger: &str, message: &str, fields: &[(&'static str, Value)]) {
        self.log(Level::Info, logger, message, fields);
    }

    pub(crate) fn warn(&self, logger: &str, message: &str, fields: &[(&'static str, Value)]) {
        self.log(Level::Warn, logger, message, fields);
    }

    fn log(&self, level: Level, logger: &str, message: &str, fields: &[(&'static str, Value)]) {
        self.shared.log(Entry { level, logger, message, trace: Some(self.trace), fields });
    }

    /// About `ms` of CPU time and a look into the service's table, under its lock.
    pub(crate) fn compute<T>(&self, ms: f64, with: impl FnOnce(&mut Table) -> T) -> T {
        let ms = self.shared.random(|random| random.skewed(ms, 0.3));
        self.shared.table(|table| {
            self.shared.work.run(ms, self.trace.span_id);
            with(table)
        })
    }

    /// Waits as for a disk or a partner: around `ms`, now and then much longer.
    pub(crate) async fn storage(&self, ms: f64) {
        let wait = self.shared.random(|random| {
            let slow = if random.chance(0.005) { 8.0 } else { 1.0 };
            random.skewed(ms * slow, 0.35)
        });
        tokio::time::sleep(Duration::from_secs_f64(wait / 1e3)).await;
    }
}

/// A request, read.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    query: String,
}

impl Asked {
    pub(crate) fn new(method: &Method, uri: &Uri) -> Self {
        Self {
            method: method.clone(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
        }
    }

    /// A value of the query string; nothing in the shop needs escaping.
    pub(crate) fn value(&self, key: &str) -> &str {
        self.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(name, value)| (name == key).then_some(value))
            .unwrap_or_default()
    }

    /// The part of the path that a route calls by a name in braces.
    pub(crate) fn segment(&self, index: usize) -> &str {
        self.path.split('/').filter(|part| !part.is_empty()).nth(index).unwrap_or_default()
    }
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn ok(body: &Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    pub(crate) fn json(status: StatusCode, body: &Value) -> Self {
        Self { status, content_type: "application/json", body: body.to_string() }
    }

    pub(crate) fn html(body: String) -> Self {
        Self { status: StatusCode::OK, content_type: "text/html; charset=utf-8", body }
    }

    pub(crate) fn unavailable() -> Self {
        Self::json(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "error": "too many requests in flight" }),
        )
    }

    pub(crate) fn crashed() -> Self {
        Self::json(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": "internal error" }))
    }
}

/// Why a request was not served.
pub(crate) enum Failed {
    /// Somebody whom we asked; the call has logged it.
    Dependency(Refusal),
    /// We ourselves: this is logged under the name of the part that failed.
    Broken { logger: &'static str, message: String },
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Dependency(refusal)
    }
}

pub(crate) fn broken(logger: &'static str, message: String) -> Failed {
    Failed::Broken { logger, message }
}

/// The frontend keeps an access log; the others log what they did.
pub(crate) fn logs_access(service: Service) -> bool {
    service == Service::Frontend
}

pub(crate) fn route(service: Service, asked: &Asked) -> Option<&'static str> {
    let post = asked.method == Method::POST;
    match (service, asked.segment(0), asked.segment(1).is_empty()) {
        (Service::Frontend, "", _) => Some("/"),
        (Service::Frontend, "product", false) => Some("/product/{sku}"),
        (Service::Frontend, "cart", _) => Some("/cart"),
        (Service::Frontend, "checkout", _) if post => Some("/checkout"),
        (Service::Catalogue, "products", true) => Some("/products"),
        (Service::Catalogue, "products", false) => Some("/products/{sku}"),
        (Service::Catalogue, "prices", _) => Some("/prices"),
        (Service::Cart, "carts", false) if post => Some("/carts/{session}/items"),
        (Service::Cart, "carts", false) => Some("/carts/{session}"),
        (Service::Checkout, "orders", true) if post => Some("/orders"),
        (Service::Payment, "payments", true) if post => Some("/payments"),
        (Service::Inventory, "stock", false) => Some("/stock/{sku}"),
        (Service::Inventory, "reservations", true) if post => Some("/reservations"),
        _ => None,
    }
}

pub(crate) async fn handle(cx: &Cx, route: Option<&'static str>, asked: &Asked) -> Reply {
    let Some(route) = route else {
        return Reply::json(StatusCode::NOT_FOUND, &json!({ "error": "no such route" }));
    };
    let deployment = cx.shared.deployment();
    let result = match &deployment.settings {
        Settings::Shopper => {
            return Reply::json(StatusCode::NOT_FOUND, &json!({ "error": "nobody serves here" }));
        }
        Settings::Frontend(settings) => frontend::handle(cx, settings, route, asked).await,
        Settings::Catalogue(settings) => catalogue::handle(cx, settings, route, asked).await,
        Settings::Cart(settings) => cart::handle(cx, settings, route, asked).await,
        Settings::Checkout(settings) => checkout::handle(cx, settings, asked).await,
        Settings::Payment(settings) => payment::handle(cx, settings, asked).await,
        Settings::Inventory(settings) => inventory::handle(cx, settings, route, asked).await,
    };
    match result {
        Ok(reply) => reply,
        Err(Failed::Dependency(refusal)) => {
            let status = match &refusal {
                Refusal::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
                Refusal::Status(status) if status.is_client_error() => *status,
                Refusal::Unreachable { .. } | Refusal::Status(_) => StatusCode::BAD_GATEWAY,
            };
            Reply::json(status, &json!({ "error": "a service that this needs is not available" }))
        }
        Err(Failed::Broken { logger, message }) => {
            cx.log(Level::Error, logger, &message, &[]);
            Reply::crashed()
        }
    }
}

/// One of `parts` equal shares of everything, always the same for one name.
pub(crate) fn share(name: &str, parts: u64) -> u64 {
    random::hash(name).checked_rem(parts).unwrap_or(0)
}
