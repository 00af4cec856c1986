//! What `/metrics` shows. Labels come from closed sets, never from callers.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::model::CallContext;
use agentry_gateway::money::{Event, Watcher};
use agentry_gateway::{Call, Gateway, Observer, Settled};
use agentry_guards::{Blocked, Report};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

mod calls;
mod classic;
mod events;
mod incidents;
mod process;
mod requests;
mod runs;
mod state;

pub use runs::ThreadsNow;

/// All metrics of one server.
pub struct Metrics {
    registry: Registry,
    connections: Counter,
    connections_refused: Counter,
    connections_open: Gauge,
    requests: requests::Requests,
    calls: calls::Calls,
    events: events::Events,
    incidents: incidents::Incidents,
    runs: runs::Runs,
    state: state::State,
}

/// From a cache hit to a long answer.
pub(crate) const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let connections = Counter::default();
        let connections_refused = Counter::default();
        let connections_open = Gauge::default();
        registry.register("agentry_http_connections", "Connections accepted", connections.clone());
        registry.register(
            "agentry_http_connections_refused",
            "Connections over the limit",
            connections_refused.clone(),
        );
        registry.register(
            "agentry_http_connections_open",
            "Connections that are open now",
            connections_open.clone(),
        );
        let requests = requests::Requests::register(&mut registry);
        let calls = calls::Calls::register(&mut registry);
        let events = events::Events::register(&mut registry);
        let incidents = incidents::Incidents::register(&mut registry);
        let runs = runs::Runs::register(&mut registry);
        let state = state::State::default();
        registry.register_collector(Box::new(state.clone()));
        registry.register_collector(Box::new(process::Process));
        Self {
            registry,
            connections,
            connections_refused,
            connections_open,
            requests,
            calls,
            events,
            incidents,
            runs,
            state,
        }
    }

    /// From now on the state of this gateway is shown.
    pub(crate) fn show(&self, gateway: &Arc<Gateway>) {
        self.state.of(gateway);
    }

    /// Alerts were acknowledged; `decision` is one of the few things that can become of them.
    pub fn alerts_taken(&self, decision: &'static str, count: u64) {
        self.incidents.alerts.get_or_create(&incidents::Labels { decision }).inc_by(count);
    }

    /// How many incidents are being handled, and how many questions wait for a person.
    pub fn incidents_now(&self, active: usize, waiting: usize) {
        self.incidents.active.set(i64::try_from(active).unwrap_or(i64::MAX));
        self.incidents.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// Prometheus' older text format.
    pub(crate) fn classic_text(&self) -> Result<String, std::fmt::Error> {
        self.text().map(|text| classic::classic(&text))
    }

    /// OpenMetrics text.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::with_capacity(16 * 1024);
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    pub(crate) fn connection_opened(&self) {
        self.connections.inc();
        self.connections_open.inc();
    }

    pub(crate) fn connection_closed(&self) {
        self.connections_open.dec();
    }

    pub(crate) fn connection_refused(&self) {
        self.connections_refused.inc();
    }

    pub(crate) fn request_answered(
        &self,
        route: &str,
        method: &'static str,
        status: u16,
        elapsed: Duration,
    ) {
        self.requests.answered((route, method), status, elapsed);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The gateway tells us of every model call.
impl Observer for Metrics {
    fn started(&self, _call: &Call<'_>) {
        self.calls.started();
    }

    fn settled(&self, settled: &Settled<'_>) {
        self.calls.settled(settled);
    }

    fn screened(&self, _cx: &CallContext, report: &Report) {
        self.events.screened(report);
    }

    fn blocked(&self, _cx: &CallContext, blocked: &Blocked) {
        self.events.blocked(blocked);
    }
}

/// The books tell us of budgets.
impl Watcher for Metrics {
    fn happened(&self, event: &Event<'_>) {
        self.events.of_budget(event);
    }
}

#[cfg(test)]
mod tests;
