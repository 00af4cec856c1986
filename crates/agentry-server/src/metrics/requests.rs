//! HTTP requests. Routes and methods are closed sets, so what counts them is kept at hand.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::SECONDS;

pub(super) struct Requests {
    answered: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    routes: RwLock<HashMap<Box<str>, Arc<Route>>>,
}

/// One route, with a counter for each method and status that it had.
struct Route {
    seconds: Histogram,
    answered: RwLock<Vec<(&'static str, u16, Counter)>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

impl Requests {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let answered = Family::default();
        let seconds: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(SECONDS));
        registry.register("agentry_http_requests", "Requests answered", answered.clone());
        registry.register(
            "agentry_http_request_seconds",
            "From the end of a request's head to the head of its answer",
            seconds.clone(),
        );
        Self { answered, seconds, routes: RwLock::default() }
    }

    pub(super) fn answered(
        &self,
        (name, method): (&str, &'static str),
        status: u16,
        elapsed: Duration,
    ) {
        let known = self.routes.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let route = known.unwrap_or_else(|| self.route(name));
        route.seconds.observe(elapsed.as_secs_f64());
        let is_counted = {
            let counters = route.answered.read().unwrap_or_else(PoisonError::into_inner);
            let found = counters.iter().find(|(of, with, _)| (*of, *with) == (method, status));
            found.map(|(_, _, counter)| counter.inc()).is_some()
        };
        if !is_counted {
            self.counter(&route, name, (method, status)).inc();
        }
    }

    #[cold]
    fn route(&self, name: &str) -> Arc<Route> {
        let seconds = self.seconds.get_or_create(&RouteLabels { route: name.to_owned() }).clone();
        let new = || Arc::new(Route { seconds, answered: RwLock::default() });
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(routes.entry(name.into()).or_insert_with(new))
    }

    #[cold]
    fn counter(&self, route: &Route, name: &str, (method, status): (&'static str, u16)) -> Counter {
        let labels = RequestLabels { route: name.to_owned(), method, status };
        let counter = self.answered.get_or_create(&labels).clone();
        let mut counters = route.answered.write().unwrap_or_else(PoisonError::into_inner);
        if !counters.iter().any(|(of, with, _)| (*of, *with) == (method, status)) {
            counters.push((method, status, counter.clone()));
        }
        counter
    }
}
