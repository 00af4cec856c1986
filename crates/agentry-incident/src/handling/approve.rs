//! Asks a person, and understands the answer.

use std::sync::Arc;

use agentry_core::run::Values;
use agentry_engine::{Ask, Node, NodeContext, NodeError, NodeOutput, Reply};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Approval, Noted, Opening, Planned, Settings, Shared, Step, Verdict, find, read};
use crate::alert::Alert;
use crate::catalogue::{Proposal, Remedy};
use crate::diagnose::Diagnosis;

/// A person may ask back or change the order this often.
pub(super) const ROUNDS_MAX: u32 = 5;

pub(super) struct Approve(pub(super) Arc<Shared>);

/// What a person sends.
#[derive(Debug, Deserialize)]
struct Said {
    decision: Decision,
    #[serde(default)]
    comment: Option<String>,
    /// The digest of the order that was shown.
    #[serde(default)]
    digest: Option<String>,
    /// With `modify`: the order that is wanted instead.
    #[serde(default)]
    remedy: Option<Remedy>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Decision {
    Approve,
    Modify,
    Reject,
    RequestMoreInfo,
}

/// What one answer leads to.
#[derive(Debug, PartialEq)]
enum Next {
    Over(Approval),
    /// Ask again, about this order, saying this.
    Again(Box<Planned>, String),
}

#[async_trait]
impl Node for Approve {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let opening: Opening = read(state, "incident")?;
        let Some(mut plan) = find::<Planned>(state, "plan")? else {
            let approval = Approval {
                verdict: Verdict::NotNeeded,
                actor: None,
                at: cx.now(),
                comment: None,
                digest: None,
            };
            return Ok(NodeOutput::done().set("approval", json!(approval)));
        };
        let diagnosis: Diagnosis = read(state, "diagnosis")?;
        let mut remark = None;
        for round in 1..=ROUNDS_MAX {
            let id = format!("approve-{round}");
            let Some(reply) = cx.answer(&id) else {
                let deadline = cx.now().plus(self.0.settings.approval_timeout);
                let runs = self.0.settings.actions.contains(&plan.proposal.order.action);
                let question = question(state, (&opening, &plan), remark, runs)?;
                let no = json!({ "decision": "reject", "comment": "nobody answered in time" });
                return Ok(NodeOutput::ask(Ask::question(&id, question).deadline(deadline, no)));
            };
            match judge(&plan, reply, &diagnosis, &self.0.settings) {
                Next::Over(approval) => return Ok(conclude(cx, &opening, &plan, approval)),
                Next::Again(next, why) => (plan, remark) = (*next, Some(why)),
            }
        }
        let comment = Some(format!("no decision after {ROUNDS_MAX} rounds"));
        let approval = Approval {
            verdict: Verdict::Rejected,
            actor: None,
            at: cx.now(),
            comment,
            digest: None,
        };
        Ok(conclude(cx, &opening, &plan, approval))
    }
}

/// Pure: what an answer means for the order that was shown.
fn judge(plan: &Planned, reply: &Reply, diagnosis: &Diagnosis, settings: &Settings) -> Next {
    let over = |verdict, comment: Option<String>| {
        let digest = (verdict == Verdict::Approved).then(|| plan.digest.clone());
        Next::Over(Approval { verdict, actor: reply.actor.clone(), at: reply.at, comment, digest })
    };
    if reply.expired() {
        return over(Verdict::Expired, Some("nobody answered in time".into()));
    }
    let said = match Said::deserialize(&reply.value) {
        Ok(said) => said,
        Err(error) => {
            return Next::Again(
                Box::new(plan.clone()),
                format!("the last answer was not understood: {error}"),
            );
        }
    };
    if said.digest.as_ref().is_some_and(|digest| *digest != plan.digest) {
        return Next::Again(
            Box::new(plan.clone()),
            "the last answer was about another order".into(),
        );
    }
    match said.decision {
        Decision::Approve => over(Verdict::Approved, said.comment),
        Decision::Reject => over(Verdict::Rejected, said.comment),
        Decision::RequestMoreInfo => {
            let asked = said.comment.unwrap_or_else(|| "more information".into());
            Next::Again(
                Box::new(plan.clone()),
                format!("{} asks: {asked}", reply.actor.as_deref().unwrap_or("somebody")),
            )
        }
        Decision::Modify => match said
            .remedy
            .ok_or_else(|| "`modify` needs the `remedy` that is wanted".to_owned())
        {
            Err(why) => Next::Again(Box::new(plan.clone()), why),
            Ok(remedy) => {
                let who = reply.actor.as_deref().unwrap_or("somebody");
                match Proposal::asked_for(remedy, who, diagnosis, &super::act::inventory(diagnosis))
                {
                    Err(why) => Next::Again(
                        Box::new(plan.clone()),
                        format!("the order asked for is not possible: {why}"),
                    ),
                    Ok(proposal) => {
                        let digest = super::act::digest(&proposal.order, settings);
                        Next::Again(
                            Box::new(Planned { proposal, digest }),
                            format!("changed by {who}"),
                        )
                    }
                }
            }
        },
    }
}

fn conclude(cx: &NodeContext, opening: &Opening, plan: &Planned, approval: Approval) -> NodeOutput {
    let (action, what) = match approval.verdict {
        Verdict::Approved => {
            ("approval.granted", format!("approved: {}", plan.proposal.order.preview))
        }
        Verdict::Rejected => {
            ("approval.denied", format!("rejected: {}", plan.proposal.order.preview))
        }
        Verdict::Expired => (
            "approval.expired",
            format!("nobody answered, so rejected: {}", plan.proposal.order.preview),
        ),
        Verdict::NotNeeded => ("approval.not_needed", "nothing to approve".to_owned()),
    };
    let actor = approval.actor.clone().unwrap_or_else(|| "system".into());
    let detail =
        json!({ "digest": plan.digest, "order": plan.proposal.order, "comment": approval.comment });
    NodeOutput::done().set("approval", json!(approval)).set("plan", json!(plan)).noted(
        cx,
        opening.number,
        Step { actor: &actor, action, what, detail },
    )
}

/// Everything a person needs to say yes or no.
fn question(
    state: &Values,
    (opening, plan): (&Opening, &Planned),
    remark: Option<String>,
    runs: bool,
) -> Result<Value, NodeError> {
    let diagnosis: Diagnosis = read(state, "diagnosis")?;
    let alerts: Vec<Alert> = read(state, "alerts")?;
    let mut suspects = diagnosis.suspects.iter();
    let first = suspects.next();
    let runner_up = suspects.next();
    let short = |suspect: &crate::diagnose::Suspect| json!({ "service": suspect.service, "hypothesis": suspect.hypothesis, "confidence": suspect.confidence });
    let rows: Vec<Value> = diagnosis
        .evidence
        .iter()
        .filter(|row| plan.proposal.evidence.contains(&row.id))
        .map(|row| json!({ "id": row.id, "service": row.service, "summary": row.summary }))
        .collect();
    Ok(json!({
        "incident": opening.number.to_string(),
        "severity": super::severity(&alerts),
        "action": plan.proposal.order.preview,
        "order": plan.proposal.order,
        "digest": plan.digest,
        "runs": runs,
        "reason": plan.proposal.reason,
        "suspect": first.map(short),
        "runner_up": runner_up.map(short),
        "evidence": rows,
        "blast_radius": plan.proposal.blast_radius,
        "back_out": plan.proposal.back_out,
        "remark": remark,
        "decisions": ["approve", "modify", "reject", "request_more_info"],
    }))
}

#[cfg(test)]
mod tests;
