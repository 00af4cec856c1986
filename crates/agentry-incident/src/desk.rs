//! What is known of incidents, read from the log: runs, alerts and open questions. Nothing here decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentry_core::run::Values;
use agentry_core::store::{self, Log};
use agentry_core::thread::Run;
use agentry_core::threads::{RunQuery, ThreadStore, Threads};
use agentry_core::{RunId, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use tracing::warn;

use crate::alert::{Alert, Batch};
use crate::correlate::IncidentNumber;
use crate::handling::story::{self, Held};
use crate::handling::{GRAPH, Opening, Standing};
use crate::intake::{self, Accepted, Handle, OVER, Recorded, TOPIC, incident_key, incident_of};
use crate::report::{self, Report, Style};

/// Alerts of one incident that are read at the most; for a line of the list fewer will do.
const ALERTS_MAX: usize = 10_000;
const LISTED_MAX: usize = 200;
const REPORT_WIDTH: usize = 100;

/// Takes alerts and answers questions about incidents.
pub struct Desk {
    door: Handle,
    store: Arc<dyn ThreadStore>,
    archive: Arc<dyn Threads>,
    log: Arc<dyn Log>,
}

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub id: String,
    pub title: String,
    pub severity: String,
    pub status: report::Status,
    /// Whether the run that handles it is done.
    pub run_status: Standing,
    pub opened: Timestamp,
    pub services: Vec<String>,
    /// The first suspect, once there is one.
    pub suspect: Option<String>,
    pub alerts: usize,
    /// There are more alerts than were read for this answer.
    pub more_alerts: bool,
    pub ticket: Option<String>,
}

/// Everything about one incident.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Incident {
    #[serde(flatten)]
    pub summary: Summary,
    pub run: RunId,
    /// Why the handling failed, if it did.
    pub reason: Option<String>,
    pub onset: Option<Timestamp>,
    pub diagnosed: Option<Timestamp>,
    pub verdict: Value,
    pub suspects: Vec<Value>,
    pub note: Value,
    pub cleared: Value,
    pub gaps: Value,
    pub firing: Vec<Alert>,
    pub plan: Value,
    /// The question that waits for a person, for `/v1/approvals/ID`.
    pub approval_id: Option<String>,
    pub approval: Value,
    pub outcome: Value,
    pub recovery: Value,
    pub timeline: Value,
    pub ticket: Value,
    pub message: Value,
    /// The report as a tired engineer reads it.
    pub report_text: String,
}

impl Desk {
    #[must_use]
    pub fn new(
        door: Handle,
        (store, archive): (Arc<dyn ThreadStore>, Arc<dyn Threads>),
        log: Arc<dyn Log>,
    ) -> Self {
        Self { door, store, archive, log }
    }

    /// Answers when every alert of the batch is durable.
    pub async fn accept(&self, batch: Batch) -> Result<Accepted, intake::Error> {
        self.door.accept(batch).await
    }

    /// Newest first.
    pub async fn incidents(&self, max: usize) -> Result<Vec<Summary>, store::Error> {
        let query = RunQuery { graph: Some(GRAPH.into()), max, ..RunQuery::default() };
        let mut summaries = Vec::new();
        for run in self.archive.runs(query).await? {
            match self.view(run.id, LISTED_MAX).await {
                Ok(incident) => summaries.extend(incident.map(|incident| incident.summary)),
                // One that is damaged, or of another version, must not hide the others.
                Err(store::Error::Incompatible(reason)) => {
                    warn!(run_id = %run.id, reason, "what is stored of an incident is not readable");
                    summaries.extend(unreadable(&run));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(summaries)
    }

    pub async fn incident(&self, number: IncidentNumber) -> Result<Option<Incident>, store::Error> {
        let recorded = self.recorded(number, 1).await?;
        let Some(run) = recorded.first().and_then(|recorded| recorded.run) else { return Ok(None) };
        self.view(run, ALERTS_MAX).await
    }

    async fn recorded(
        &self,
        number: IncidentNumber,
        max: usize,
    ) -> Result<Vec<Recorded>, store::Error> {
        let records = self.log.records(TOPIC, Some(&incident_key(number)), 0, max).await?;
        let read = |record: store::Record| {
            serde_json::from_value(record.payload).map_err(|error| {
                store::Error::Incompatible(format!("alert at {}: {error}", record.offset))
            })
        };
        records.into_iter().map(read).collect()
    }

    async fn view(&self, run: RunId, alerts_max: usize) -> Result<Option<Incident>, store::Error> {
        let loaded = self.store.load(run.own_thread()).await?;
        let Some(mut held) = loaded.and_then(|loaded| Held::of(run, loaded)) else {
            return Ok(None);
        };
        let Some(number) = held.run.key.as_deref().and_then(incident_of) else { return Ok(None) };
        // What came after the run has ended waits in its inbox for ever; the newest word counts.
        for message in held.inbox.iter().filter(|message| message.channel == OVER) {
            held.values.insert(OVER.to_owned(), message.payload.clone());
        }
        let recorded = self.recorded(number, alerts_max).await?;
        let more_alerts = recorded.len() == alerts_max;
        let alerts: Vec<Alert> = recorded.into_iter().map(|recorded| recorded.alert).collect();
        let mut incident = view(&held, &alerts)?;
        incident.summary.more_alerts = more_alerts;
        Ok(Some(incident))
    }
}

fn view(held: &Held, alerts: &[Alert]) -> Result<Incident, store::Error> {
    let unreadable = |error: agentry_engine::NodeError| store::Error::Incompatible(error.message);
    let values = &held.values;
    let opening: Opening = crate::handling::read(values, "incident").map_err(unreadable)?;
    let report = story::report(held, alerts).map_err(unreadable)?;
    let firing: Vec<Alert> = story::firing(alerts).into_iter().cloned().collect();
    let diagnosis = values.get("diagnosis").filter(|diagnosis| !diagnosis.is_null());
    let part = |name: &str| {
        diagnosis.and_then(|diagnosis| diagnosis.get(name)).cloned().unwrap_or_default()
    };
    let channel = |name: &str| values.get(name).cloned().unwrap_or_default();
    let question =
        held.interrupts.iter().find(|open| open.question.is_some() && open.answer.is_none());
    Ok(Incident {
        run: held.run.id,
        reason: held.run.reason.clone(),
        onset: diagnosis.map(|_| report.since),
        diagnosed: part("at").as_str().and_then(|at| at.parse().ok()),
        verdict: part("verdict"),
        suspects: suspects(&report, diagnosis.is_some()),
        note: part("note"),
        cleared: part("cleared"),
        gaps: part("gaps"),
        firing,
        plan: channel("plan"),
        approval_id: question.map(|question| format!("{}.{}", held.run.id, question.id)),
        approval: channel("approval"),
        outcome: channel("outcome"),
        recovery: channel("recovery"),
        timeline: channel("timeline"),
        ticket: channel("ticket"),
        message: channel("message"),
        report_text: report::terminal(&report, Style::Plain, REPORT_WIDTH),
        summary: summary(&report, &opening, held, alerts.len()),
    })
}

fn summary(report: &Report, opening: &Opening, held: &Held, alerts: usize) -> Summary {
    Summary {
        id: opening.number.to_string(),
        title: report.title.clone(),
        severity: report.severity.clone(),
        status: report.status,
        run_status: held.standing,
        opened: opening.opened,
        services: report.services.clone(),
        suspect: report.diagnosis.suspects.first().map(|suspect| suspect.service.clone()),
        alerts,
        more_alerts: false,
        ticket: text(&held.values, "ticket", "/id"),
    }
}

/// What can be said of an incident whose state cannot be read.
fn unreadable(run: &Run) -> Option<Summary> {
    Some(Summary {
        id: incident_of(run.key.as_deref()?)?.to_string(),
        title: "what is stored of this incident is not readable".into(),
        severity: "unknown".into(),
        status: report::Status::Open,
        run_status: Standing::of(run, agentry_core::thread::Status::Ready),
        opened: run.created,
        services: Vec::new(),
        suspect: None,
        alerts: 0,
        more_alerts: false,
        ticket: None,
    })
}

fn text(values: &Values, channel: &str, pointer: &str) -> Option<String> {
    values.get(channel)?.pointer(pointer)?.as_str().map(str::to_owned)
}

/// Each suspect with its rows of evidence; thousandths become numbers for whoever reads JSON.
fn suspects(report: &Report, diagnosed: bool) -> Vec<Value> {
    if !diagnosed {
        return Vec::new();
    }
    let diagnosis = &report.diagnosis;
    let rows: BTreeMap<&str, Value> = diagnosis
        .evidence
        .iter()
        .map(|row| {
            let shown = json!({
                "id": row.id,
                "from": row.modality,
                "service": row.service,
                "summary": row.summary,
                "strength": f64::from(row.strength) / 1e3,
                "handle": row.handle,
            });
            (row.id.as_str(), shown)
        })
        .collect();
    diagnosis
        .suspects
        .iter()
        .map(|suspect| {
            let mut ids: Vec<&String> = suspect.claims.iter().flat_map(|claim| &claim.evidence).collect();
            ids.sort();
            ids.dedup();
            json!({
                "service": suspect.service,
                "hypothesis": suspect.hypothesis,
                "score": f64::from(suspect.score) / 1e3,
                "confidence": f64::from(suspect.confidence) / 1e3,
                "claims": suspect.claims,
                "evidence": ids.into_iter().filter_map(|id| rows.get(id.as_str())).collect::<Vec<_>>(),
                "change": suspect.change,
            })
        })
        .collect()
}
