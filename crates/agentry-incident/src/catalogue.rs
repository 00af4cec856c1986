//! The remedies that exist. An action on the system is one of these with parameters that the inventory knows; there is
//! no way to write a free command.

use std::collections::BTreeMap;

use agentry_core::outbound::Order;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::diagnose::{Diagnosis, Suspect, Verdict};
use crate::evidence::Hypothesis;

/// What runs, and in which versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    pub services: BTreeMap<String, ServiceEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceEntry {
    #[serde(default = "one")]
    pub replicas: u32,
    #[serde(default = "one")]
    pub replicas_max: u32,
    /// Revisions that can be run, the running one among them.
    #[serde(default)]
    pub revisions: Vec<String>,
    /// Services that call this one.
    #[serde(default)]
    pub callers: Vec<String>,
}

impl Default for ServiceEntry {
    fn default() -> Self {
        Self { replicas: 1, replicas_max: 1, revisions: Vec::new(), callers: Vec::new() }
    }
}

fn one() -> u32 {
    1
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Remedy {
    Restart { service: String },
    Rollback { service: String, revision: String, to: String },
    Scale { service: String, replicas: u32 },
}

/// Why a remedy cannot be ordered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("the inventory knows no service `{0}`; add it there if it exists")]
    UnknownService(String),
    #[error("the inventory knows no revision `{revision}` of {service}")]
    UnknownRevision { service: String, revision: String },
    #[error("{service} already runs {revision}")]
    SameRevision { service: String, revision: String },
    #[error("{service} may run 1 to {max} replicas and another number than now, not {asked}")]
    Replicas { service: String, asked: u32, max: u32 },
}

/// How many people must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    OneApprover,
    TwoApprovers,
}

impl Tier {
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::OneApprover => "needs the approval of one person",
            Self::TwoApprovers => "needs the approval of two people",
        }
    }
}

/// A remedy with all that the person who approves it must know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    pub remedy: Remedy,
    pub order: Order,
    pub reason: String,
    pub tier: Tier,
    /// Ids of rows of the diagnosis.
    pub evidence: Vec<String>,
    pub back_out: String,
    pub blast_radius: String,
}

impl Remedy {
    #[must_use]
    pub fn service(&self) -> &str {
        match self {
            Self::Restart { service }
            | Self::Rollback { service, .. }
            | Self::Scale { service, .. } => service,
        }
    }

    /// Checks the parameters and writes down exactly what will run.
    pub fn order(&self, inventory: &Inventory) -> Result<Order, Invalid> {
        let service = self.service();
        let entry = inventory
            .services
            .get(service)
            .ok_or_else(|| Invalid::UnknownService(service.to_owned()))?;
        let order = |action: &str, parameters, preview| Order {
            action: action.to_owned(),
            service: service.to_owned(),
            parameters,
            preview,
        };
        match self {
            Self::Restart { .. } => {
                let preview = match entry.replicas {
                    0 | 1 => format!("restart {service} (its only replica)"),
                    replicas => format!("restart {service}, its {replicas} replicas one at a time"),
                };
                Ok(order("restart", json!({}), preview))
            }
            Self::Rollback { revision, to, .. } => {
                if revision == to {
                    return Err(Invalid::SameRevision {
                        service: service.to_owned(),
                        revision: to.clone(),
                    });
                }
                for known in [revision, to] {
                    if !entry.revisions.contains(known) {
                        return Err(Invalid::UnknownRevision {
                            service: service.to_owned(),
                            revision: known.clone(),
                        });
                    }
                }
                let preview = format!("roll back {service} from {revision} to {to}");
                Ok(order("rollback", json!({"revision": revision, "to": to}), preview))
            }
            Self::Scale { replicas, .. } => {
                if *replicas == 0 || *replicas > entry.replicas_max || *replicas == entry.replicas {
                    let (asked, max) = (*replicas, entry.replicas_max);
                    return Err(Invalid::Replicas { service: service.to_owned(), asked, max });
                }
                let preview =
                    format!("scale {service} from {} to {replicas} replicas", entry.replicas);
                Ok(order("scale", json!({"from": entry.replicas, "replicas": replicas}), preview))
            }
        }
    }
}

impl Proposal {
    /// What a person wants instead, checked like any other.
    pub fn asked_for(
        remedy: Remedy,
        person: &str,
        diagnosis: &Diagnosis,
        inventory: &Inventory,
    ) -> Result<Self, Invalid> {
        let order = remedy.order(inventory)?;
        let unknown = || Invalid::UnknownService(remedy.service().to_owned());
        let about = diagnosis.suspects.iter().find(|suspect| suspect.service == remedy.service());
        let suspect = about.or_else(|| diagnosis.suspects.first()).ok_or_else(unknown)?.clone();
        Ok(proposal(remedy, order, format!("{person} asked for it"), (&suspect, inventory)))
    }
}

/// What could be done about the first suspect, best first. Nothing when nobody is named or nothing in the catalogue helps.
#[must_use]
pub fn propose(diagnosis: &Diagnosis, inventory: &Inventory) -> Vec<Proposal> {
    let (Verdict::Named { .. }, Some(suspect)) = (&diagnosis.verdict, diagnosis.suspects.first())
    else {
        return Vec::new();
    };
    remedies(suspect, inventory)
        .into_iter()
        .filter_map(|(remedy, reason)| {
            let order = remedy.order(inventory).ok()?;
            Some(proposal(remedy, order, reason, (suspect, inventory)))
        })
        .collect()
}

fn remedies(suspect: &Suspect, inventory: &Inventory) -> Vec<(Remedy, String)> {
    let service = &suspect.service;
    let mut remedies = Vec::new();
    if let Some(change) = &suspect.change
        && let (Some(revision), Some(to)) = (&change.revision, &change.previous)
        && suspect.hypothesis != Hypothesis::SlowHop
    {
        let remedy = Remedy::Rollback {
            service: service.clone(),
            revision: revision.clone(),
            to: to.clone(),
        };
        remedies.push((remedy, format!("{service} was changed to {revision} shortly before")));
    }
    let restart = || Remedy::Restart { service: service.clone() };
    let reason = match suspect.hypothesis {
        Hypothesis::Stuck => Some("it no longer answers; a fresh process does".to_owned()),
        Hypothesis::Down => Some("it is gone".to_owned()),
        Hypothesis::Memory => Some("it gives the memory back until the leak is mended".to_owned()),
        Hypothesis::Handles => {
            Some("it gives the handles back until the leak is mended".to_owned())
        }
        Hypothesis::Cpu => Some("it ends work that does not end by itself".to_owned()),
        Hypothesis::FailingSinceChange
        | Hypothesis::SlowHop
        | Hypothesis::Failing
        | Hypothesis::Restarted
        | Hypothesis::Slow
        | Hypothesis::Unclear => None,
    };
    remedies.extend(reason.map(|reason| (restart(), reason)));
    let room = inventory.services.get(service).filter(|entry| entry.replicas < entry.replicas_max);
    if let (Hypothesis::Cpu | Hypothesis::Slow, Some(entry)) = (suspect.hypothesis, room) {
        let remedy =
            Remedy::Scale { service: service.clone(), replicas: entry.replicas.saturating_add(1) };
        remedies.push((remedy, "it shares the load".to_owned()));
    }
    remedies
}

fn proposal(
    remedy: Remedy,
    order: Order,
    reason: String,
    context: (&Suspect, &Inventory),
) -> Proposal {
    let (suspect, inventory) = context;
    let entry = inventory.services.get(&suspect.service).cloned().unwrap_or_default();
    let back_out = match &remedy {
        Remedy::Restart { service } => {
            format!("none needed: {service} comes back with the same revision")
        }
        Remedy::Rollback { service, revision, to } => {
            format!("roll {service} forward again from {to} to {revision}")
        }
        Remedy::Scale { service, .. } => {
            format!("scale {service} back to {} replicas", entry.replicas)
        }
    };
    let touched = match &remedy {
        Remedy::Scale { .. } => "no running replica".to_owned(),
        Remedy::Restart { .. } | Remedy::Rollback { .. } => match entry.replicas {
            0 | 1 => "its only replica".to_owned(),
            replicas => format!("all {replicas} of its replicas"),
        },
    };
    let callers = match entry.callers.as_slice() {
        [] => String::new(),
        callers => format!("; called by {}", callers.join(", ")),
    };
    let mut evidence: Vec<String> =
        suspect.claims.iter().flat_map(|claim| claim.evidence.iter().cloned()).collect();
    if let Remedy::Rollback { .. } = remedy {
        evidence.extend(suspect.change.iter().map(|change| change.evidence.clone()));
    }
    evidence.sort();
    evidence.dedup();
    Proposal {
        remedy,
        order,
        reason,
        tier: Tier::OneApprover,
        evidence,
        back_out,
        blast_radius: touched + &callers,
    }
}

/// What a person should look at, in particular where the catalogue has no remedy.
#[must_use]
pub fn checks(diagnosis: &Diagnosis) -> Vec<String> {
    let Some(suspect) = diagnosis.suspects.first() else {
        return vec![
            "look at the alerting services by hand: nothing that was observed stands out"
                .to_owned(),
            "see what could not be observed, and whether it can be added".to_owned(),
        ];
    };
    let service = &suspect.service;
    let check = match suspect.hypothesis {
        Hypothesis::SlowHop => format!(
            "check the network to {service}: proxies, DNS, security groups, retransmissions, the node it runs on; restarting it does not help"
        ),
        Hypothesis::Stuck => format!(
            "take a thread dump of {service} before it is restarted: locks, pools, a silent dependency"
        ),
        Hypothesis::Cpu => format!("take a CPU profile of {service} before it is restarted"),
        Hypothesis::Memory => format!("take a heap profile of {service} before it is restarted"),
        Hypothesis::Handles => format!("list the open handles of {service} before it is restarted"),
        Hypothesis::FailingSinceChange => format!(
            "see what the change of {service} did, and whether data must be mended after the rollback"
        ),
        Hypothesis::Failing => {
            format!(
                "look at the errors of {service}, and at what it depends on that is not observed"
            )
        }
        Hypothesis::Down | Hypothesis::Restarted => {
            format!(
                "find out why {service} ended: its exit code, the kernel's log, its memory limit"
            )
        }
        Hypothesis::Slow => format!(
            "find out what {service} waits for: locks, pools, disks, a dependency that is not observed"
        ),
        Hypothesis::Unclear => format!("look at what else happened to {service} at that time"),
    };
    vec![check]
}

#[cfg(test)]
mod tests;
