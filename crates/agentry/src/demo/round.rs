//! One round: a quiet while, a fault, an incident, the truth.

use std::time::Duration;

use agentry_core::{Clock as _, Timestamp};
use agentry_shop::{Fault, victim};
use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::Consent;
use super::live::Live;
use super::outcome::Outcome;
use super::system::System;
use crate::audit::Source;
use crate::clock::SystemClock;
use crate::operate::Of;

/// How long an incident is awaited after the fault; it also bounds how long `none` is watched. The first one counts.
const QUIET: Duration = Duration::from_secs(35);
/// From the fault to a closed incident.
const HANDLED_WITHIN: Duration = Duration::from_secs(60);
/// A person may think for a while.
const PERSON: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(super) struct Round<'a> {
    pub(super) system: &'a System,
    pub(super) live: &'a Live,
    pub(super) fault: Fault,
    pub(super) seed: u64,
    pub(super) consent: Consent,
    pub(super) baseline: Duration,
}

impl Round<'_> {
    pub(super) async fn play(&self) -> anyhow::Result<Outcome> {
        let began = Instant::now();
        let victim = victim(self.fault, self.seed);
        self.live.phase("the shop is running; learning what is normal");
        self.watching(self.system.shop.baseline(self.baseline, victim))
            .await
            .context("run the shop")?;
        let injected = SystemClock.now();
        self.system.shop.inject(self.fault, victim).await.context("break the shop")?;
        self.live.phase("something may be wrong by now; waiting for alerts");
        let incident = self.watching(Box::pin(self.incident())).await?;
        let audit = Source::Instance(&self.system.agent, Of::Runs)
            .verify(None)
            .await
            .context("read the audit log")?;
        let incidents = self.system.agent.incidents().await?.len();
        Ok(Outcome {
            fault: self.fault,
            seed: self.seed,
            truth: (self.fault != Fault::None).then_some(victim),
            injected,
            incident,
            incidents,
            monitor: self.system.shop.monitor().status(),
            audit,
            elapsed: began.elapsed(),
            address: self.system.address.clone(),
        })
    }

    /// Runs `work` and shows the shop meanwhile.
    async fn watching<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = sleep(LOOK_EVERY) => {
                    self.live.show(&self.system.shop.services(), &self.system.shop.monitor().status());
                }
            }
        }
    }

    /// The incident when it is closed; `None` when none came.
    async fn incident(&self) -> anyhow::Result<Option<Value>> {
        let quiet_until = Instant::now() + QUIET;
        let handled_by = Instant::now() + HANDLED_WITHIN + self.patience();
        let mut asked = None;
        let mut told = 0;
        loop {
            sleep(LOOK_EVERY).await;
            let first = self.system.agent.incidents().await?.into_iter().next_back();
            let Some(id) =
                first.and_then(|first| first.get("id").and_then(Value::as_str).map(str::to_owned))
            else {
                if Instant::now() > quiet_until {
                    return Ok(None);
                }
                continue;
            };
            let incident = self.system.agent.incident(&id).await?;
            told = self.tell_progress(&incident, told);
            let run = incident.get("run_status").and_then(Value::as_str);
            let over = matches!(run, Some("succeeded" | "failed" | "cancelled"));
            if over || Instant::now() > handled_by {
                return Ok(Some(incident));
            }
            if let Some(approval) = incident.get("approval_id").and_then(Value::as_str)
                && asked.as_deref() != Some(approval)
            {
                asked = Some(approval.to_owned());
                self.approve(approval).await?;
            }
        }
    }

    fn patience(&self) -> Duration {
        match self.consent {
            Consent::Ask => PERSON,
            Consent::Given | Consent::Absent => Duration::ZERO,
        }
    }

    /// Says what is new in the incident's timeline; returns how much of it has been said.
    fn tell_progress(&self, incident: &Value, told: usize) -> usize {
        let timeline = incident
            .get("timeline")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        if told == 0 && timeline.is_empty() {
            let id = incident.get("id").and_then(Value::as_str).unwrap_or_default();
            self.live.phase(&format!("{id} is open; collecting alerts, then examining the system"));
        }
        for moment in timeline.iter().skip(told) {
            self.live.note(moment.get("what").and_then(Value::as_str).unwrap_or_default());
        }
        timeline.len()
    }

    async fn approve(&self, id: &str) -> anyhow::Result<()> {
        let approval = self.system.agent.approval(id).await?;
        let text = |pointer: &str| {
            approval.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let (action, digest) = (text("/question/action"), text("/question/digest"));
        let said = match self.consent {
            Consent::Given => Some("approve"),
            Consent::Absent => {
                self.live.note(&format!(
                    "nobody is here to approve it, so it will be rejected: {action}"
                ));
                None
            }
            Consent::Ask => self.ask(&action, &text("/question/reason")).await,
        };
        let Some(decision) = said else { return Ok(()) };
        let body = json!({ "decision": decision, "digest": digest, "actor": "demo", "comment": "in the demo" });
        // Somebody else may have been faster, over HTTP: then their answer counts.
        if let Err(error) = self.system.agent.decide(id, &body).await {
            self.live.note(&format!("{error:#}"));
        }
        Ok(())
    }

    async fn ask(&self, action: &str, reason: &str) -> Option<&'static str> {
        let question = format!("{reason}\nApprove: {action}? [y/N] ");
        match timeout(PERSON, self.live.ask(&question)).await {
            Ok(answer) if matches!(answer.trim(), "y" | "Y" | "yes") => Some("approve"),
            Ok(_) => Some("reject"),
            Err(_) => None,
        }
    }
}

/// Seconds from `from` to `to`, to the millisecond.
pub(super) fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    let micros = to.as_micros() - from.as_micros();
    (micros as f64 / 1e3).round() / 1e3
}
