//! The incident's state told as a report.

use std::collections::BTreeMap;

use agentry_core::run::{Message, Values};
use agentry_core::thread::{self, Interrupt, Loaded, Run, RunStatus};
use agentry_core::{RunId, Timestamp};
use agentry_engine::NodeError;
use serde::Serialize;

use super::{Opening, Outcome, Performed, Planned, find, latest, read, severity};
use crate::alert::{Alert, State};
use crate::catalogue::{checks, propose};
use crate::diagnose::{Diagnosis, Verdict};
use crate::report::{AlertCount, Entry, Report, Status};

/// How far the run that handles an incident has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    Ready,
    /// It waits for a person, an alert or a moment.
    Parked,
    Succeeded,
    Failed,
    Cancelled,
}

impl Standing {
    pub(crate) fn of(run: &Run, thread: thread::Status) -> Self {
        match run.status {
            RunStatus::Success => Self::Succeeded,
            RunStatus::Error => Self::Failed,
            RunStatus::Timeout | RunStatus::Cancelled | RunStatus::RolledBack => Self::Cancelled,
            RunStatus::Pending | RunStatus::Running | RunStatus::Interrupted => match thread {
                thread::Status::Ready => Self::Ready,
                thread::Status::Idle
                | thread::Status::Waiting
                | thread::Status::Interrupted
                | thread::Status::Failed => Self::Parked,
            },
        }
    }

    pub(crate) fn is_final(self) -> bool {
        match self {
            Self::Ready | Self::Parked => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
        }
    }
}

/// The run of an incident as it is stored.
pub(crate) struct Held {
    pub(crate) run: Run,
    pub(crate) standing: Standing,
    pub(crate) values: Values,
    pub(crate) inbox: Vec<Message>,
    pub(crate) interrupts: Vec<Interrupt>,
}

impl Held {
    /// `None` when it is not the thread of this run.
    pub(crate) fn of(id: RunId, loaded: Loaded) -> Option<Self> {
        let values = agentry_engine::durable::values(&loaded);
        let Loaded { thread, inbox, interrupts, runs, .. } = loaded;
        let run = runs.into_iter().find(|run| run.id == id)?;
        let standing = Standing::of(&run, thread.status);
        Some(Self { run, standing, values, inbox, interrupts })
    }
}

/// What the incident's own run knows, before anything is looked up elsewhere.
pub(super) fn so_far(values: &Values, now: Timestamp) -> Result<Report, NodeError> {
    let alerts: Vec<Alert> = read(values, "alerts")?;
    tell(values, &alerts, status(values, None)?, now)
}

/// With every alert that the log holds, those that came after the run ended too.
pub(crate) fn report(held: &Held, alerts: &[Alert]) -> Result<Report, NodeError> {
    let Held { values, .. } = held;
    tell(values, alerts, status(values, Some(held.standing))?, held.run.updated)
}

/// Alerts that fire still.
pub(crate) fn firing(alerts: &[Alert]) -> Vec<&Alert> {
    latest(alerts).into_iter().filter(|alert| alert.state == State::Firing).collect()
}

fn tell(
    values: &Values,
    alerts: &[Alert],
    status: Status,
    now: Timestamp,
) -> Result<Report, NodeError> {
    let opening: Opening = read(values, "incident")?;
    let diagnosis: Option<Diagnosis> = find(values, "diagnosis")?;
    let examined = diagnosis.is_some();
    let diagnosis = diagnosis
        .unwrap_or_else(|| Diagnosis::unknown("still being examined".into(), opening.opened, now));
    let timeline: Vec<Entry> = find(values, "timeline")?.unwrap_or_default();
    let mut services: Vec<String> = alerts.iter().map(|alert| alert.service.clone()).collect();
    services.sort();
    services.dedup();
    Ok(Report {
        incident: opening.number.to_string(),
        title: title(alerts, &services, &diagnosis),
        severity: severity(alerts).name().to_owned(),
        status,
        since: if examined { diagnosis.onset } else { opening.opened },
        detected: opening.opened,
        services,
        alerts: counts(alerts),
        proposals: propose(&diagnosis, &super::act::inventory(&diagnosis)),
        checks: if examined { checks(&diagnosis) } else { Vec::new() },
        diagnosis,
        timeline,
    })
}

fn title(alerts: &[Alert], services: &[String], diagnosis: &Diagnosis) -> String {
    match (&diagnosis.verdict, alerts.iter().max_by_key(|alert| alert.severity)) {
        (Verdict::Named { service, hypothesis }, _) => format!("{service} {}", hypothesis.words()),
        (Verdict::Unknown { .. }, Some(worst)) => match services.len() {
            0 | 1 => format!("{} on {}", worst.name, worst.service),
            many => format!("{} on {} and {} more", worst.name, worst.service, many - 1),
        },
        (Verdict::Unknown { .. }, None) => "incident without alerts".to_owned(),
    }
}

fn counts(alerts: &[Alert]) -> Vec<AlertCount> {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for alert in alerts.iter().filter(|alert| alert.state == State::Firing) {
        *counts.entry((&alert.name, &alert.service)).or_default() += 1;
    }
    let count = |((name, service), count): ((&str, &str), u64)| AlertCount {
        name: name.to_owned(),
        service: service.to_owned(),
        count,
    };
    counts.into_iter().map(count).collect()
}

fn status(values: &Values, standing: Option<Standing>) -> Result<Status, NodeError> {
    let outcome: Option<Outcome> = find(values, "outcome")?;
    let undecided = find::<Planned>(values, "plan")?.is_some() && !values.contains_key("approval");
    let acted = outcome.is_some_and(|outcome| outcome.performed == Performed::Done);
    let parked = standing == Some(Standing::Parked);
    Ok(match (super::is_over(values), acted, undecided && parked) {
        (true, _, _) => Status::Resolved,
        (false, true, _) => Status::Mitigated,
        (false, false, true) => Status::WaitingForApproval,
        (false, false, false) => Status::Open,
    })
}
