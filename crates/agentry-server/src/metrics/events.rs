//! What guards find and what happens to budgets: seldom, and by closed sets.

use agentry_gateway::money::Event;
use agentry_guards::{Blocked, Report};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

pub(super) struct Events {
    findings: Family<FindingLabels, Counter>,
    budgets: Family<BudgetLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FindingLabels {
    kind: &'static str,
    action: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BudgetLabels {
    event: &'static str,
}

impl Events {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let (findings, budgets) = (Family::default(), Family::default());
        registry.register(
            "agentry_guard_findings",
            "What guards found, by kind and by what was done about it",
            findings.clone(),
        );
        registry.register(
            "agentry_budget_events",
            "Warnings, refusals and surprises of budgets",
            budgets.clone(),
        );
        Self { findings, budgets }
    }

    pub(super) fn screened(&self, report: &Report) {
        for found in &report.found {
            let (kind, action) = (found.kind.name(), found.action.as_str());
            self.findings.get_or_create(&FindingLabels { kind, action }).inc();
        }
    }

    pub(super) fn blocked(&self, blocked: &Blocked) {
        let count = |kind| {
            self.findings.get_or_create(&FindingLabels { kind, action: "block" }).inc();
        };
        match blocked {
            Blocked::Content { kinds, place: _ } => {
                kinds.iter().for_each(|(kind, _)| count(kind.name()));
            }
            Blocked::Size { .. } | Blocked::Messages { .. } => count("size"),
            Blocked::Endless { .. } => count("endless"),
        }
    }

    pub(super) fn of_budget(&self, event: &Event<'_>) {
        let event = match event {
            Event::Warned { .. } => "warned",
            Event::Exceeded { .. } => "exceeded",
            Event::Overshot { .. } => "overshot",
            Event::Lapsed => "lapsed",
            Event::Behind { .. } => "behind",
            Event::Lost { .. } => "lost",
        };
        self.budgets.get_or_create(&BudgetLabels { event }).inc();
    }
}
