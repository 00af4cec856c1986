//! Alerts and incidents.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub(super) struct Incidents {
    pub(super) alerts: Family<Labels, Counter>,
    pub(super) active: Gauge,
    pub(super) waiting: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Labels {
    pub(super) decision: &'static str,
}

impl Incidents {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let (alerts, active, waiting) = (Family::default(), Gauge::default(), Gauge::default());
        registry.register(
            "agentry_alerts",
            "Alerts acknowledged, by what became of them",
            alerts.clone(),
        );
        registry.register("active_incidents", "Incidents that are being handled", active.clone());
        registry.register(
            "agentry_approvals_waiting",
            "Questions that wait for a person",
            waiting.clone(),
        );
        Self { alerts, active, waiting }
    }
}
