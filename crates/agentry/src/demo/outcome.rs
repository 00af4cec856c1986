//! How a round ended: for a person, or as one JSON object.

use std::path::Path;
use std::time::Duration;

use agentry_core::Timestamp;
use agentry_shop::{Fault, Service, monitor};
use serde_json::{Value, json};

use super::round::seconds;
use crate::audit::Audited;
use crate::terminal::Terminal;

pub(super) struct Outcome {
    pub(super) fault: Fault,
    pub(super) seed: u64,
    pub(super) truth: Option<Service>,
    pub(super) injected: Timestamp,
    pub(super) incident: Option<Value>,
    pub(super) incidents: usize,
    pub(super) monitor: monitor::Status,
    pub(super) audit: Audited,
    pub(super) elapsed: Duration,
    pub(super) address: String,
}

impl Outcome {
    pub(super) fn tell(&self, terminal: Terminal, kept: Option<&Path>) {
        if terminal.json {
            terminal.object(&self.json());
            return;
        }
        if let Some(report) = self.field("/report_text").and_then(Value::as_str) {
            terminal.data(report);
        }
        terminal.data(self.truth());
        let audit = match &self.audit.broken {
            None => format!("audit log: {} records, chain verified", self.audit.records),
            Some(broken) => format!("audit log: BROKEN, {broken}"),
        };
        terminal.data(audit);
        if let Some(folder) = kept {
            terminal.data(format_args!("kept in {}", folder.display()));
        }
    }

    fn truth(&self) -> String {
        let rank = self.correct_rank();
        match (self.truth, &self.incident, rank) {
            (None, None, _) => {
                "the truth: nothing was broken, and no incident was opened. Correct.".into()
            }
            (None, Some(_), _) => {
                "the truth: nothing was broken. This incident was a false alarm.".into()
            }
            (Some(service), None, _) => {
                format!("the truth: {} in {service}. No incident was opened.", self.fault)
            }
            (Some(service), Some(_), Some(1)) => {
                format!("the truth: {} in {service}. Found.", self.fault)
            }
            (Some(service), Some(_), Some(rank)) => {
                format!("the truth: {} in {service}, which is suspect number {rank}.", self.fault)
            }
            (Some(service), Some(_), None) => {
                format!("the truth: {} in {service}, which is not among the suspects.", self.fault)
            }
        }
    }

    fn field(&self, pointer: &str) -> Option<&Value> {
        self.incident.as_ref().and_then(|incident| incident.pointer(pointer))
    }

    fn suspects(&self) -> &[Value] {
        self.field("/suspects").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// Counted from 1.
    fn correct_rank(&self) -> Option<usize> {
        let truth = self.truth?.name();
        let named = |suspect: &Value| suspect.get("service").and_then(Value::as_str) == Some(truth);
        self.suspects().iter().position(named).map(|at| at + 1)
    }

    fn moment(&self, pointer: &str) -> Option<Timestamp> {
        self.field(pointer)?.as_str()?.parse().ok()
    }

    fn json(&self) -> Value {
        let opened = self.moment("/opened");
        let diagnosed = self.moment("/diagnosed");
        json!({
            "fault": self.fault.name(),
            "seed": self.seed,
            "service": self.truth.map(Service::name),
            "suspects": self.suspects(),
            "correct_rank": self.correct_rank(),
            "firings": self.monitor.firings,
            "notifications": self.monitor.notifications,
            "incidents": self.incidents,
            "incident": self.field("/id"),
            "severity": self.field("/severity"),
            "verdict": self.field("/verdict"),
            "onset": self.field("/onset"),
            "injected": self.injected,
            "detect_seconds": opened.map(|opened| seconds(self.injected, opened)),
            "diagnose_seconds": opened.zip(diagnosed).map(|(opened, diagnosed)| seconds(opened, diagnosed)),
            "ticket": self.field("/ticket"),
            "message": self.field("/message"),
            "plan": self.field("/plan"),
            "approval": self.field("/approval"),
            "outcome": self.field("/outcome"),
            "recovery": self.field("/recovery"),
            "timeline": self.field("/timeline"),
            "audit_verified": self.audit.broken.is_none(),
            "audit": self.audit.json(),
            "address": self.address,
            "elapsed_seconds": (self.elapsed.as_secs_f64() * 1e3).round() / 1e3,
        })
    }
}
