//! Chooses an order, carries it out once it is approved, and looks whether it helped.

use std::sync::Arc;

use agentry_core::outbound::{Order, Receipt};
use agentry_core::run::Values;
use agentry_engine::{Ask, Class, Node, NodeContext, NodeError, NodeOutput, effect};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{
    Approval, Noted, Opening, Outcome, Performed, Planned, Recovery, Settings, Shared, Step,
    is_over, read, within,
};
use crate::catalogue::{Inventory, ServiceEntry, propose};
use crate::diagnose::Diagnosis;

/// Names exactly this order, and whether it would really run.
pub(super) fn digest(order: &Order, settings: &Settings) -> String {
    let Order { action, service, parameters, preview } = order;
    let runs = settings.actions.contains(action);
    let canonical = json!([action, service, parameters, preview, runs]).to_string();
    Sha256::digest(canonical.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What may be acted on: the services that were observed, and the revisions that changes have named.
pub(super) fn inventory(diagnosis: &Diagnosis) -> Inventory {
    let mut inventory = Inventory::default();
    for service in &diagnosis.services {
        inventory.services.insert(service.clone(), ServiceEntry::default());
    }
    for suspect in &diagnosis.suspects {
        let entry = inventory.services.entry(suspect.service.clone()).or_default();
        let change = suspect.change.iter().flat_map(|change| [&change.revision, &change.previous]);
        entry.revisions.extend(change.flatten().cloned());
    }
    inventory
}

pub(super) struct Plan(pub(super) Arc<Shared>);

#[async_trait]
impl Node for Plan {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let opening: Opening = read(state, "incident")?;
        let diagnosis: Diagnosis = read(state, "diagnosis")?;
        let Some(proposal) = propose(&diagnosis, &inventory(&diagnosis)).into_iter().next() else {
            return Ok(NodeOutput::done());
        };
        let planned = Planned { digest: digest(&proposal.order, &self.0.settings), proposal };
        let what = format!("proposes: {}", planned.proposal.order.preview);
        let step = Step { actor: "agent", action: "plan.proposed", what, detail: json!(planned) };
        Ok(NodeOutput::done().set("plan", json!(planned)).noted(cx, opening.number, step))
    }
}

pub(super) struct Act(pub(super) Arc<Shared>);

#[async_trait]
impl Node for Act {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let opening: Opening = read(state, "incident")?;
        let plan: Planned = read(state, "plan")?;
        let approval: Approval = read(state, "approval")?;
        let outcome = if approval.digest.as_deref()
            != Some(digest(&plan.proposal.order, &self.0.settings).as_str())
        {
            self.skipped(cx, "the order is not the one that was approved")
        } else if is_over(state) {
            self.skipped(cx, "every alert had resolved by itself")
        } else {
            self.perform(cx, &opening, &plan.proposal.order).await
        };
        let what = format!("{}: {}", words(outcome.performed), plan.proposal.order.preview);
        let detail =
            json!({ "order": plan.proposal.order, "digest": plan.digest, "outcome": outcome });
        let step = Step { actor: "system", action: "order.performed", what, detail };
        Ok(NodeOutput::done().set("outcome", json!(outcome)).noted(cx, opening.number, step))
    }
}

impl Act {
    fn skipped(&self, cx: &NodeContext, why: &str) -> Outcome {
        Outcome {
            performed: Performed::Skipped,
            at: cx.now(),
            detail: why.to_owned(),
            receipt: None,
        }
    }

    async fn perform(&self, cx: &NodeContext, opening: &Opening, order: &Order) -> Outcome {
        let actuator = Arc::clone(&self.0.ports.actuator);
        let key = super::tell::key(cx, opening);
        let (order, action) = (order.clone(), order.action.clone());
        let done = cx
            .effect("perform", Class::Once, |_| async move {
                within("the actuator", actuator.perform(&key, &order))
                    .await
                    .map(|receipt| json!(receipt))
            })
            .await;
        let carried = match self.0.settings.actions.contains(&action) {
            true => Performed::Done,
            false => Performed::Recorded,
        };
        let (performed, detail, receipt) = match done {
            Ok(value) => match Receipt::deserialize(&value) {
                Ok(receipt) => (carried, receipt.id.clone(), Some(receipt)),
                Err(error) => (carried, format!("the receipt is not readable: {error}"), None),
            },
            Err(effect::Error::Ambiguous { reason, .. }) => (Performed::Unknown, reason, None),
            Err(effect::Error::Refused(reason) | effect::Error::NotDone(reason)) => {
                (Performed::Failed, reason, None)
            }
        };
        Outcome { performed, at: cx.now(), detail, receipt }
    }
}

fn words(performed: Performed) -> &'static str {
    match performed {
        Performed::Done => "carried out",
        Performed::Recorded => "written down, nothing was run",
        Performed::Skipped => "not carried out",
        Performed::Failed => "failed",
        Performed::Unknown => "may or may not have happened, look yourself",
    }
}

pub(super) struct Verify(pub(super) Arc<Shared>);

#[async_trait]
impl Node for Verify {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let opening: Opening = read(state, "incident")?;
        let outcome: Outcome = read(state, "outcome")?;
        if outcome.performed != Performed::Done {
            return Ok(NodeOutput::done());
        }
        let recovered = is_over(state);
        let deadline = outcome.at.plus(self.0.settings.verify);
        if !recovered && cx.answer("recovery").is_none() && cx.now() < deadline {
            return Ok(NodeOutput::ask(Ask::message("recovery").deadline(deadline, json!(null))));
        }
        let recovery = Recovery { recovered, at: cx.now() };
        let what = match recovered {
            true => "every alert has resolved",
            false => "alerts are still firing",
        };
        let detail = json!({ "recovered": recovered });
        let step = Step { actor: "system", action: "recovery.checked", what: what.into(), detail };
        Ok(NodeOutput::done().set("recovery", json!(recovery)).noted(cx, opening.number, step))
    }
}
