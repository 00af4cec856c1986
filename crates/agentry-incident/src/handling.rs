//! How one incident is handled: a durable run.
//!
//! ```text
//! settle → diagnose → deliberate → plan → ticket ∥ message → approve → act → verify → close
//!                                                               └─ expired → escalate ─┘
//! ```
//!
//! Reading may be repeated after a crash; a ticket and a message are idempotent effects; an approved order runs at most once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::outbound::{self, Actuator, Messages, Receipt, Tickets};
use agentry_core::run::Values;
use agentry_core::telemetry::Telemetry;
use agentry_core::threads::ThreadStore;
use agentry_core::{Timestamp, audit};
use agentry_engine::version::Policy;
use agentry_engine::{
    Condition, END, Graph, NodeContext, NodeError, NodeOutput, NodeSettings, Program, Reducer,
    START,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::alert::{Alert, Severity, State};
use crate::catalogue::Proposal;
use crate::correlate::IncidentNumber;
use crate::intake::OVER;
use crate::report::Entry;

mod act;
mod approve;
mod deliberate;
mod gather;
pub(crate) mod story;
mod tell;
mod update;

pub use deliberate::Deliberation;
pub use story::Standing;
pub use update::Reached;

/// The graph's name: runs of it are incidents.
pub const GRAPH: &str = "incident";
/// All graphs that incidents are handled with.
pub const GRAPHS: [&str; 2] = [GRAPH, update::GRAPH];

/// What the handling works through.
pub struct Ports {
    pub telemetry: Arc<dyn Telemetry>,
    pub tickets: Arc<dyn Tickets>,
    pub messages: Arc<dyn Messages>,
    pub actuator: Arc<dyn Actuator>,
    /// The model that may re-rank and explain, if one is configured.
    pub deliberation: Option<Deliberation>,
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// How long alerts are collected before the system is examined.
    pub settle: Duration,
    /// How much of the time before counts as normal.
    pub lookback: Duration,
    /// How long a telemetry source may take.
    pub source_deadline: Duration,
    /// A question that nobody answers in this time is rejected.
    pub approval_timeout: Duration,
    /// How long recovery is awaited after an action.
    pub verify: Duration,
    /// The ticket system's project key.
    pub project: String,
    /// Actions that are really carried out here; an order for any other is only written down.
    pub actions: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(10),
            lookback: Duration::from_secs(3_600),
            source_deadline: Duration::from_secs(10),
            approval_timeout: Duration::from_secs(15 * 60),
            verify: Duration::from_secs(120),
            project: "OPS".into(),
            actions: Vec::new(),
        }
    }
}

impl Settings {
    /// How long all questions of one incident may wait together. A run must not be given up while a person may still answer.
    #[must_use]
    pub fn deciding(&self) -> Duration {
        self.approval_timeout.saturating_mul(approve::ROUNDS_MAX)
    }
}

/// An examination that does not finish is given up after this many tries; the incident goes on without it.
const GATHERING_ATTEMPTS: u32 = 3;
/// A ticket or message that cannot be sent is given up after this many tries; the incident goes on without it.
const SENDING_ATTEMPTS: u32 = 8;
const OUTSIDE_DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Shared {
    pub(crate) ports: Ports,
    /// Where an update looks its incident up.
    pub(crate) store: Arc<dyn ThreadStore>,
    pub(crate) settings: Settings,
}

/// What runs for an incident.
#[derive(Clone)]
pub struct Programs {
    /// Handles it from the first alert to the report.
    pub incident: Program,
    /// Tells people when it reaches another service later.
    pub update: Program,
}

pub fn programs(
    ports: Ports,
    store: Arc<dyn ThreadStore>,
    settings: Settings,
) -> Result<Programs, agentry_engine::Error> {
    let shared = Arc::new(Shared { ports, store, settings });
    Ok(Programs { update: update::program(&shared)?, incident: program(shared)? })
}

fn sending() -> NodeSettings {
    NodeSettings::default()
        .deadline(Duration::from_secs(60))
        .attempts(SENDING_ATTEMPTS, Duration::from_secs(2))
}

fn program(shared: Arc<Shared>) -> Result<Program, agentry_engine::Error> {
    let gathering = NodeSettings::default()
        .deadline(Duration::from_secs(120))
        .attempts(GATHERING_ATTEMPTS, Duration::from_secs(1));
    let channels = [
        "incident",
        "diagnosis",
        "plan",
        "ticket",
        "message",
        "approval",
        "escalation",
        "outcome",
        "recovery",
    ];
    let builder =
        channels.iter().fold(Graph::builder(GRAPH).on_change(Policy::Migrate), |graph, name| {
            graph.channel(name, Reducer::Last)
        });
    builder
        .channel("alerts", Reducer::Append)
        .channel(OVER, Reducer::Last)
        .channel("timeline", Reducer::Append)
        .node("settle", gather::Settle(Arc::clone(&shared)))
        .node_with("diagnose", gathering.clone(), gather::Diagnose(Arc::clone(&shared)))
        .node_with("deliberate", gathering, deliberate::Deliberate(Arc::clone(&shared)))
        .node("plan", act::Plan(Arc::clone(&shared)))
        .node_with("ticket", sending(), tell::Ticket(Arc::clone(&shared)))
        .node_with("message", sending(), tell::Message(Arc::clone(&shared)))
        .node("approve", approve::Approve(Arc::clone(&shared)))
        .node_with("escalate", sending(), tell::Escalate(Arc::clone(&shared)))
        .node_with(
            "act",
            NodeSettings::default().deadline(Duration::from_secs(120)),
            act::Act(Arc::clone(&shared)),
        )
        .node("verify", act::Verify(shared))
        .node("close", Close)
        .edge(START, "settle")
        .edge("settle", "diagnose")
        .edge("diagnose", "deliberate")
        .edge("deliberate", "plan")
        .fan_out("plan", ["ticket", "message"])
        .join(["ticket", "message"], "approve")
        .when("approve", Condition::equals("approval", "approved").at("/verdict"), "act")
        .when("approve", Condition::equals("approval", "expired").at("/verdict"), "escalate")
        .otherwise("approve", "close")
        .edge("escalate", "close")
        .edge("act", "verify")
        .edge("verify", "close")
        .edge("close", END)
        .build()
}

/// What the intake hands a new run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    pub number: IncidentNumber,
    pub opened: Timestamp,
}

/// The order that a person is asked to approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    pub proposal: Proposal,
    /// Names exactly this order: an approval counts for nothing else.
    pub digest: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Approved,
    Rejected,
    /// Nobody answered in time, which means no.
    Expired,
    /// There was nothing to approve.
    NotNeeded,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub verdict: Verdict,
    pub actor: Option<String>,
    pub at: Timestamp,
    pub comment: Option<String>,
    pub digest: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Performed {
    Done,
    /// Nothing here can carry it out: it was written down for a person.
    Recorded,
    /// It was no longer needed or no longer what was approved.
    Skipped,
    Failed,
    /// It may or may not have happened: a person must look.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub performed: Performed,
    pub at: Timestamp,
    pub detail: String,
    pub receipt: Option<Receipt>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    pub recovered: bool,
    pub at: Timestamp,
}

/// Reads a channel that must be there.
pub(crate) fn read<T: DeserializeOwned>(state: &Values, channel: &str) -> Result<T, NodeError> {
    find(state, channel)?
        .ok_or_else(|| NodeError::fatal(format!("the incident's state lacks `{channel}`")))
}

/// Reads a channel that may not be there yet.
pub(crate) fn find<T: DeserializeOwned>(
    state: &Values,
    channel: &str,
) -> Result<Option<T>, NodeError> {
    let Some(value) = state.get(channel).filter(|value| !value.is_null()) else { return Ok(None) };
    T::deserialize(value).map(Some).map_err(|error| {
        NodeError::fatal(format!("the incident's `{channel}` is not readable: {error}"))
    })
}

/// What each alert of the incident says now.
#[must_use]
pub fn latest(alerts: &[Alert]) -> Vec<&Alert> {
    let mut by_firing: BTreeMap<&str, &Alert> = BTreeMap::new();
    for alert in alerts {
        let known = by_firing.entry(alert.fingerprint.as_str()).or_insert(alert);
        let newer = alert.started > known.started;
        if newer || (alert.started == known.started && alert.state == State::Resolved) {
            *known = alert;
        }
    }
    by_firing.into_values().collect()
}

/// Whether every alert of the incident has resolved, the many that the run was not handed too.
pub(crate) fn is_over(state: &Values) -> bool {
    state.get(OVER).and_then(Value::as_bool) == Some(true)
}

/// The worst alert counts, and three or more services at once are critical whatever each alert says.
#[must_use]
pub fn severity(alerts: &[Alert]) -> Severity {
    let worst = alerts.iter().map(|alert| alert.severity).max().unwrap_or(Severity::Warning);
    let services: std::collections::BTreeSet<&str> =
        alerts.iter().map(|alert| alert.service.as_str()).collect();
    if services.len() >= 3 { worst.max(Severity::Critical) } else { worst }
}

/// What is outside has this long to answer; silence means that it may have happened or not.
async fn within<T>(
    target: &str,
    call: impl Future<Output = Result<T, outbound::Error>>,
) -> Result<T, outbound::Error> {
    tokio::time::timeout(OUTSIDE_DEADLINE, call).await.unwrap_or_else(|_| {
        let reason = format!("no answer in {} s", OUTSIDE_DEADLINE.as_secs());
        Err(outbound::Error::Ambiguous { target: target.to_owned(), reason })
    })
}

pub(crate) trait Noted: Sized {
    /// Writes the moment for people and the audit entry for the record, with the same words.
    fn noted(self, cx: &NodeContext, number: IncidentNumber, step: Step<'_>) -> Self;
}

/// One answerable step.
pub(crate) struct Step<'a> {
    pub(crate) actor: &'a str,
    /// A dotted constant: `approval.granted`.
    pub(crate) action: &'a str,
    pub(crate) what: String,
    pub(crate) detail: Value,
}

impl Noted for NodeOutput {
    fn noted(self, cx: &NodeContext, number: IncidentNumber, step: Step<'_>) -> Self {
        let Step { actor, action, what, detail } = step;
        let at = cx.now();
        let moment = Entry { at, actor: actor.to_owned(), what };
        self.append("timeline", json!(moment)).audit(audit::Entry {
            at,
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: number.to_string(),
            detail,
        })
    }
}

struct Close;

#[async_trait::async_trait]
impl agentry_engine::Node for Close {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let opening: Opening = read(state, "incident")?;
        let approval: Option<Approval> = find(state, "approval")?;
        let outcome: Option<Outcome> = find(state, "outcome")?;
        let detail = json!({
            "verdict": approval.map(|approval| approval.verdict),
            "performed": outcome.map(|outcome| outcome.performed),
        });
        let step = Step {
            actor: "system",
            action: "incident.closed",
            what: "handling finished".into(),
            detail,
        };
        Ok(NodeOutput::done().noted(cx, opening.number, step))
    }
}
