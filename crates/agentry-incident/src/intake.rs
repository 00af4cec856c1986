//! The door for alerts: decides where each belongs and acknowledges when that is durable.
//!
//! One task owns the [`Correlator`]. While a decision is being stored, the next requests queue up and are decided together,
//! so that a storm costs few commits. When the store does not confirm, the correlator is rebuilt from the log: what was not
//! acknowledged may have been stored or not, and the log knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::audit;
use agentry_core::run::Message;
use agentry_core::store::{self, Log, NewRecord};
use agentry_core::thread::NewRun;
use agentry_core::threads::{Intake as Taken, ThreadStore};
use agentry_core::{Clock, Code, Failure, Fault, Retry, RunId, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::alert::{Alert, Batch, Rejected, Severity, State};
use crate::correlate::{self, Correlator, Decision, IncidentNumber};
use crate::handling::{Opening, Programs, Reached};

#[cfg(test)]
mod tests;

/// The topic that holds every alert that was acknowledged, once a firing.
pub const TOPIC: &str = "alerts";
/// The channel that says whether every alert of the incident has resolved.
pub const OVER: &str = "over";
/// So many alerts of an incident are handed to its run; the log has the others too, and a storm costs no more than that.
const TOLD_MAX: usize = 200;
/// The topic that names every incident in the order in which they were opened, whatever the clock said.
const OPENED: &str = "incidents";
/// The channel of a run that takes alerts.
pub const CHANNEL: &str = "alerts";

/// Requests that may wait; the next one is told to come back.
const QUEUE_MAX: usize = 1_024;
/// Alerts that are decided in one commit.
const TOGETHER_MAX: usize = 4_096;
/// Incidents whose run is remembered for late messages.
const RUNS_MAX: usize = 10_000;
const PAGE: usize = 1_000;
/// After a restart alerts are known again that are this old: one that fires since yesterday opens nothing new.
const REPLAY: Duration = Duration::from_secs(24 * 3_600);
const REPLAY_MAX: usize = 20_000;
const SPREAD_DEADLINE: Duration = Duration::from_secs(3_600);
const STORE_DEADLINE: Duration = Duration::from_secs(10);

/// An alert at its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    pub version: u32,
    pub at: Timestamp,
    pub alert: Alert,
    pub decision: Decision,
    /// The run that handles the incident, where there is one.
    pub run: Option<RunId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Opened {
    number: IncidentNumber,
    run: RunId,
    at: Timestamp,
}

/// What the sender is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Accepted {
    pub accepted: usize,
    pub duplicates: usize,
    /// Incidents that the alerts belong to.
    pub incidents: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejected>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("too many alerts are waiting to be stored: send this again in a second")]
    Full,
    #[error("this instance is shutting down: send this again")]
    Closed,
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Full => Code("intake_full"),
            Self::Closed => Code("shutting_down"),
            Self::Store(error) => error.code(),
        }
    }

    fn fault(&self) -> Fault {
        Fault::Ours
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Full | Self::Closed => Retry::After(Duration::from_secs(1)),
            Self::Store(error) => error.retry(),
        }
    }
}

/// How incidents are handled.
#[derive(Clone)]
pub struct Handling {
    pub programs: Programs,
    /// A run that is not done by then is given up.
    pub deadline: Duration,
}

struct Request {
    batch: Batch,
    reply: oneshot::Sender<Result<Accepted, Error>>,
}

/// Hands alerts to the [`Intake`].
#[derive(Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
}

impl Handle {
    /// Answers when every alert of the batch is durable.
    pub async fn accept(&self, batch: Batch) -> Result<Accepted, Error> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Request { batch, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Full,
            mpsc::error::TrySendError::Closed(_) => Error::Closed,
        })?;
        answer.await.unwrap_or(Err(Error::Closed))
    }
}

/// What the intake works with.
pub struct Ports {
    pub store: Arc<dyn ThreadStore>,
    pub log: Arc<dyn Log>,
    pub clock: Arc<dyn Clock>,
    /// Called after alerts were stored, so that workers look at once.
    pub nudge: Arc<dyn Fn() + Send + Sync>,
    /// Told how many alerts were acknowledged with which decision.
    pub taken: Arc<dyn Fn(&'static str, u64) + Send + Sync>,
}

/// The run of an incident, and how many alerts it was handed.
#[derive(Debug, Clone, Copy)]
struct Handled {
    run: RunId,
    told: usize,
}

/// The task that owns the grouping.
pub struct Intake {
    ports: Ports,
    settings: correlate::Settings,
    handling: Handling,
    requests: mpsc::Receiver<Request>,
    correlator: Correlator,
    runs: BTreeMap<IncidentNumber, Handled>,
    /// The store did not confirm what the correlator believes: read it back before anything is decided.
    stale: bool,
    /// Decisions since the last acknowledgement.
    tally: BTreeMap<&'static str, u64>,
}

impl Intake {
    /// Reads back what was decided before; the intake takes nothing until [`Intake::run`].
    pub async fn open(
        ports: Ports,
        settings: correlate::Settings,
        handling: Handling,
    ) -> Result<(Self, Handle), Error> {
        let (sender, requests) = mpsc::channel(QUEUE_MAX);
        let correlator = Correlator::new(settings.clone());
        let mut intake = Self {
            ports,
            settings,
            handling,
            requests,
            correlator,
            runs: BTreeMap::new(),
            stale: true,
            tally: BTreeMap::new(),
        };
        intake.rebuild().await?;
        Ok((intake, Handle { requests: sender }))
    }

    /// Serves until shutdown, then answers what is still queued.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let first = tokio::select! {
                request = self.requests.recv() => request,
                () = shutdown.cancelled() => {
                    self.requests.close();
                    self.requests.recv().await
                }
            };
            let Some(first) = first else { return };
            self.serve(first).await;
        }
    }

    async fn serve(&mut self, first: Request) {
        let mut count = first.batch.alerts.len();
        let mut requests = vec![first];
        while count < TOGETHER_MAX
            && let Ok(request) = self.requests.try_recv()
        {
            count += request.batch.alerts.len();
            requests.push(request);
        }
        if self.stale
            && let Err(error) = self.recover().await
        {
            for Request { reply, .. } in requests {
                let _ = reply.send(Err(error.clone()));
            }
            return;
        }
        let now = self.ports.clock.now();
        let mut intake = Taken::default();
        let mut waiting = Vec::with_capacity(requests.len());
        for Request { batch, reply } in requests {
            let mut accepted = Accepted { rejected: batch.rejected, ..Accepted::default() };
            for alert in batch.alerts {
                self.take(alert, now, &mut intake, &mut accepted);
            }
            waiting.push((reply, accepted));
        }
        let stored = self.store(intake).await;
        let tally = std::mem::take(&mut self.tally);
        if let Err(error) = &stored {
            warn!(%error, "alerts were not acknowledged");
            self.stale = true;
        } else {
            tally.into_iter().for_each(|(word, count)| (self.ports.taken)(word, count));
        }
        (self.ports.nudge)();
        for (reply, accepted) in waiting {
            // A sender that has gone away does not need its answer.
            let _ = reply.send(stored.clone().map(|()| accepted));
        }
    }

    async fn store(&self, intake: Taken) -> Result<(), Error> {
        if intake == Taken::default() {
            return Ok(());
        }
        self.write(intake).await
    }

    async fn write(&self, intake: Taken) -> Result<(), Error> {
        match tokio::time::timeout(STORE_DEADLINE, self.ports.store.intake(intake)).await {
            Ok(stored) => Ok(stored?),
            Err(_) => Err(Error::Store(store::Error::Ambiguous("no answer in ten seconds".into()))),
        }
    }

    fn take(&mut self, alert: Alert, now: Timestamp, intake: &mut Taken, accepted: &mut Accepted) {
        let alert = self.correlator.dated(alert, now);
        let decision = self.correlator.decide(&alert, now);
        if let Decision::Joined { incident } = &decision
            && alert.severity >= Severity::Critical
            && !self.correlator.concerns(*incident, &alert.service)
        {
            self.spread(*incident, &alert, now, intake);
        }
        let was_over = decision.incident().map(|number| self.correlator.is_over(number));
        self.correlator.apply(&alert, &decision, now);
        accepted.accepted += 1;
        *self.tally.entry(decision.word()).or_default() += 1;
        if let Some(number) = decision.incident() {
            let name = number.to_string();
            if !accepted.incidents.contains(&name) {
                accepted.incidents.push(name);
            }
        }
        match &decision {
            Decision::Duplicate { .. } => {
                accepted.duplicates += 1;
                return;
            }
            Decision::Opened { incident, adopted } => {
                self.open_run(*incident, (adopted, &alert), now, intake);
            }
            Decision::Joined { incident } => self.hand(*incident, &alert, now, intake),
            Decision::Chronic
            | Decision::Loose
            | Decision::Adopted { .. }
            | Decision::Resolved { .. } => {}
        }
        let opens = matches!(decision, Decision::Opened { .. });
        if let (Some(number), Some(was_over)) = (decision.incident(), was_over)
            && was_over != self.correlator.is_over(number)
            && !opens
        {
            self.send(number, message(&alert, OVER, json!(!was_over), now), intake);
        }
        let run = decision
            .incident()
            .and_then(|number| self.runs.get(&number))
            .map(|handled| handled.run);
        push_record(intake, Recorded { version: 1, at: now, alert, decision, run });
    }

    /// Submits the run of a new incident, with the alerts that were loose until now and the one that opens it.
    fn open_run(
        &mut self,
        incident: IncidentNumber,
        (adopted, alert): (&[Alert], &Alert),
        now: Timestamp,
        intake: &mut Taken,
    ) {
        let key = incident_key(incident);
        let alerts: Vec<&Alert> = adopted.iter().chain([alert]).collect();
        let input = Map::from_iter([
            ("incident".to_owned(), json!({ "number": incident, "opened": now })),
            (CHANNEL.to_owned(), json!(alerts)),
        ]);
        let run = self.handling.programs.incident.single_run(&key, input, now);
        let id = run.id;
        self.remember(incident, id, alerts.len());
        for loose in adopted {
            let decision = Decision::Adopted { incident };
            push_record(
                intake,
                Recorded { version: 1, at: now, alert: loose.clone(), decision, run: Some(id) },
            );
        }
        let opened = Opened { number: incident, run: id, at: now };
        let (topic, key) = (OPENED.to_owned(), incident_key(incident));
        intake.records.push(NewRecord { topic, key, payload: json!(opened) });
        intake.submit.push(NewRun { deadline: Some(now.plus(self.handling.deadline)), ..run });
        intake.audit.push(audit::Entry {
            at: now,
            actor: "system".into(),
            action: "incident.opened".into(),
            subject: incident.to_string(),
            detail: json!({ "run": id, "alert": alert.name, "service": alert.service, "severity": alert.severity }),
        });
    }

    fn remember(&mut self, incident: IncidentNumber, run: RunId, told: usize) {
        self.runs.entry(incident).or_insert(Handled { run, told: 0 }).told += told;
        while self.runs.len() > RUNS_MAX {
            self.runs.pop_first();
        }
    }

    /// The incident has reached another service: whoever was told of it already must hear of that.
    fn spread(&self, incident: IncidentNumber, alert: &Alert, now: Timestamp, intake: &mut Taken) {
        let Some(handled) = self.runs.get(&incident) else { return };
        let opening = Opening { number: incident, opened: now };
        let reached = Reached { opening, run: handled.run, alert: alert.clone(), at: now };
        let key = format!("{}/also/{}", incident_key(incident), alert.service);
        let input = Map::from_iter([("reached".to_owned(), json!(reached))]);
        let run = self.handling.programs.update.single_run(&key, input, now);
        intake.submit.push(NewRun { deadline: Some(now.plus(SPREAD_DEADLINE)), ..run });
    }

    /// Gives the run another alert, unless it has plenty.
    fn hand(
        &mut self,
        incident: IncidentNumber,
        alert: &Alert,
        now: Timestamp,
        intake: &mut Taken,
    ) {
        let Some(handled) = self.runs.get_mut(&incident).filter(|handled| handled.told < TOLD_MAX)
        else {
            return;
        };
        handled.told += 1;
        self.send(incident, message(alert, CHANNEL, json!(alert), now), intake);
    }

    fn send(&self, incident: IncidentNumber, message: Message, intake: &mut Taken) {
        if let Some(handled) = self.runs.get(&incident) {
            intake.messages.push((handled.run.own_thread(), message));
        }
    }

    /// What was given up on may still be on its way to the disk. Writes are decided in the order in which they were sent:
    /// once an empty one is acknowledged, the log knows what became of those before it.
    async fn recover(&mut self) -> Result<(), Error> {
        self.write(Taken::default()).await?;
        self.rebuild().await
    }

    /// Replays what was decided within the time that still matters.
    async fn rebuild(&mut self) -> Result<(), Error> {
        let horizon = self.ports.clock.now().minus(REPLAY);
        self.correlator = Correlator::new(self.settings.clone());
        self.runs.clear();
        for record in self.ports.log.tail(OPENED, None, PAGE).await? {
            let opened: Opened = read(record)?;
            self.correlator.number_after(opened.number);
            self.remember(opened.number, opened.run, 0);
        }
        for recorded in self.recent(horizon).await?.into_iter().rev() {
            if let (Some(number), Some(run)) = (recorded.decision.incident(), recorded.run) {
                let told = usize::from(recorded.alert.state == State::Firing);
                self.remember(number, run, told);
            }
            self.correlator.apply(&recorded.alert, &recorded.decision, recorded.at);
        }
        self.stale = false;
        Ok(())
    }

    /// Newest first.
    async fn recent(&self, horizon: Timestamp) -> Result<Vec<Recorded>, Error> {
        let mut found = Vec::new();
        let mut before = None;
        loop {
            let page = self.ports.log.tail(TOPIC, before, PAGE).await?;
            let full = page.len() == PAGE;
            for record in page {
                before = Some(record.offset);
                let recorded: Recorded = read(record)?;
                if recorded.at < horizon || found.len() >= REPLAY_MAX {
                    return Ok(found);
                }
                found.push(recorded);
            }
            if !full {
                return Ok(found);
            }
        }
    }
}

fn read<T: DeserializeOwned>(record: store::Record) -> Result<T, store::Error> {
    let store::Record { offset, topic, key: _, payload } = record;
    serde_json::from_value(payload)
        .map_err(|error| store::Error::Incompatible(format!("{topic} at {offset}: {error}")))
}

/// The same firing says the same to the same channel once.
fn message(alert: &Alert, channel: &str, payload: Value, now: Timestamp) -> Message {
    let state = match alert.state {
        State::Firing => "firing",
        State::Resolved => "resolved",
    };
    let id = format!("{}/{state}/{channel}", alert.firing_key());
    Message { id, channel: channel.to_owned(), payload, at: now }
}

fn push_record(intake: &mut Taken, recorded: Recorded) {
    let key = recorded.decision.incident().map_or_else(|| "none".to_owned(), incident_key);
    intake.records.push(NewRecord { topic: TOPIC.into(), key, payload: json!(recorded) });
}

/// The key of an incident's run and of its alerts in the log.
#[must_use]
pub fn incident_key(incident: IncidentNumber) -> String {
    format!("incident/{}", incident.0)
}

/// The incident whose run or record has this key.
#[must_use]
pub fn incident_of(key: &str) -> Option<IncidentNumber> {
    key.strip_prefix("incident/")?.parse().ok().map(IncidentNumber)
}
