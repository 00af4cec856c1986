//! Waits for the storm to show itself, then examines the system.

use std::sync::Arc;

use agentry_core::run::Values;
use agentry_core::telemetry::{self, Page, Query, Window};
use agentry_engine::{Ask, Node, NodeContext, NodeError, NodeOutput};
use async_trait::async_trait;
use serde_json::json;

use super::{Noted, Opening, Shared, Step, read};
use crate::alert::{Alert, State};
use crate::diagnose::{self, Diagnosis, Verdict};
use crate::evidence::{AlertFact, Observed};

const SERIES_MAX: usize = 20_000;
const LINES_MAX: usize = 500_000;
const SPANS_MAX: usize = 200_000;
const CHANGES_MAX: usize = 1_000;
/// An alert may have been firing for days before we hear of it: the search for the onset goes no further back.
const ONSET_AGE_MAX: std::time::Duration = std::time::Duration::from_secs(1_800);

pub(super) struct Settle(pub(super) Arc<Shared>);

#[async_trait]
impl Node for Settle {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let opening: Opening = read(state, "incident")?;
        let moment = opening.opened.plus(self.0.settings.settle);
        // Once the moment has passed, a clock that was set back does not bring it again.
        match cx.answer("settle").is_none() && cx.now() < moment {
            true => Ok(NodeOutput::ask(Ask::until("settle", moment))),
            false => Ok(NodeOutput::done()),
        }
    }
}

pub(super) struct Diagnose(pub(super) Arc<Shared>);

#[async_trait]
impl Node for Diagnose {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let opening: Opening = read(state, "incident")?;
        let alerts: Vec<Alert> = read(state, "alerts")?;
        let now = cx.now();
        let onset = onset(&alerts, &opening);
        let observed = observe(&self.0, &alerts, onset, now).await;
        let counts = json!({
            "series": observed.metrics.items.len(),
            "lines": observed.logs.items.len(),
            "spans": observed.spans.items.len(),
            "changes": observed.changes.items.len(),
            "missing": observed.missing,
        });
        let examining = tokio::task::spawn_blocking(move || {
            diagnose::diagnose(&observed, onset, now, &diagnose::Settings::default())
        });
        let diagnosis = match examining.await {
            Ok(diagnosis) => diagnosis,
            Err(error) if cx.attempt() < super::GATHERING_ATTEMPTS => {
                return Err(NodeError::transient(format!(
                    "the examination did not finish: {error}"
                )));
            }
            // People are told all the same, and sooner than the defect is mended.
            Err(error) => {
                Diagnosis::unknown(format!("the examination did not finish: {error}"), onset, now)
            }
        };
        let what = headline(&diagnosis);
        let detail = json!({ "examined": counts, "verdict": diagnosis.verdict, "suspects": diagnosis.suspects });
        let step = Step { actor: "agent", action: "diagnosis.made", what, detail };
        let examined = json!({ "examined": counts });
        Ok(NodeOutput::done()
            .set("diagnosis", json!(diagnosis))
            .event("diagnosis", examined)
            .noted(cx, opening.number, step))
    }
}

/// When the first alert says it began, within reason.
fn onset(alerts: &[Alert], opening: &Opening) -> agentry_core::Timestamp {
    let firing = alerts.iter().filter(|alert| alert.state == State::Firing);
    let earliest = firing.map(|alert| alert.started).min().unwrap_or(opening.opened);
    earliest.max(opening.opened.minus(ONSET_AGE_MAX)).min(opening.opened)
}

/// Reads every source at once; one that fails or stalls is named, and the others count.
pub(super) async fn observe(
    shared: &Shared,
    alerts: &[Alert],
    onset: agentry_core::Timestamp,
    now: agentry_core::Timestamp,
) -> Observed {
    let window = Window { start: onset.minus(shared.settings.lookback), end: now };
    let query = |items_max| Query { window, services: Vec::new(), items_max };
    let telemetry = &shared.ports.telemetry;
    let (series, lines, spans, changes) =
        (query(SERIES_MAX), query(LINES_MAX), query(SPANS_MAX), query(CHANGES_MAX));
    let deadline = shared.settings.source_deadline;
    let (metrics, logs, spans, changes) = tokio::join!(
        tokio::time::timeout(deadline, telemetry.metrics(&series)),
        tokio::time::timeout(deadline, telemetry.logs(&lines)),
        tokio::time::timeout(deadline, telemetry.spans(&spans)),
        tokio::time::timeout(deadline, telemetry.changes(&changes)),
    );
    let mut missing = Vec::new();
    Observed {
        // What was normal begins with the data: a young system has less of it than was asked for.
        window: None,
        metrics: page("metrics", metrics, &mut missing),
        logs: page("logs", logs, &mut missing),
        spans: page("traces", spans, &mut missing),
        changes: page("changes", changes, &mut missing),
        alerts: alerts.iter().filter(|alert| alert.state == State::Firing).map(fact).collect(),
        missing,
    }
}

fn page<T>(
    source: &str,
    answer: Result<Result<Page<T>, telemetry::Error>, tokio::time::error::Elapsed>,
    missing: &mut Vec<String>,
) -> Page<T> {
    let reason = match answer {
        Ok(Ok(page)) => return page,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "took too long".to_owned(),
    };
    missing.push(format!("{source}: {reason}"));
    Page::default()
}

fn fact(alert: &Alert) -> AlertFact {
    AlertFact {
        service: alert.service.clone(),
        name: alert.name.clone(),
        severity: alert.severity.name().to_owned(),
        started: alert.started,
    }
}

fn headline(diagnosis: &Diagnosis) -> String {
    match &diagnosis.verdict {
        Verdict::Named { service, hypothesis } => {
            format!("examined: {service} {}", hypothesis.words())
        }
        Verdict::Unknown { reason } => format!("examined: {reason}"),
    }
}
