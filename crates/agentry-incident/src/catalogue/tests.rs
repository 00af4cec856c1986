use agentry_core::Timestamp;

use super::*;
use crate::diagnose::{Claim, SuspectChange, Version};

fn inventory() -> Inventory {
    let text = r#"{"services": {
        "pay": {"replicas": 2, "replicas_max": 3, "revisions": ["r1", "r2"], "callers": ["order"]},
        "stock": {}
    }}"#;
    serde_json::from_str(text).unwrap()
}

#[test]
fn only_what_the_inventory_knows_can_be_ordered() {
    let check = |remedy: Remedy, expected: Result<&str, Invalid>| {
        let preview = remedy.order(&inventory()).map(|order| order.preview);
        assert_eq!(preview, expected.map(str::to_owned));
    };
    let pay = || "pay".to_owned();
    let rollback = |revision: &str, to: &str| Remedy::Rollback {
        service: pay(),
        revision: revision.into(),
        to: to.into(),
    };
    check(Remedy::Restart { service: pay() }, Ok("restart pay, its 2 replicas one at a time"));
    check(Remedy::Restart { service: "stock".into() }, Ok("restart stock (its only replica)"));
    check(
        Remedy::Restart { service: "pay; rm -rf /".into() },
        Err(Invalid::UnknownService("pay; rm -rf /".into())),
    );
    check(rollback("r2", "r1"), Ok("roll back pay from r2 to r1"));
    check(
        rollback("r2", "r0"),
        Err(Invalid::UnknownRevision { service: pay(), revision: "r0".into() }),
    );
    check(
        rollback("r2", "r2"),
        Err(Invalid::SameRevision { service: pay(), revision: "r2".into() }),
    );
    check(Remedy::Scale { service: pay(), replicas: 3 }, Ok("scale pay from 2 to 3 replicas"));
    check(
        Remedy::Scale { service: pay(), replicas: 9 },
        Err(Invalid::Replicas { service: pay(), asked: 9, max: 3 }),
    );
    check(
        Remedy::Scale { service: pay(), replicas: 0 },
        Err(Invalid::Replicas { service: pay(), asked: 0, max: 3 }),
    );
}

fn diagnosis(hypothesis: Hypothesis, change: Option<SuspectChange>) -> Diagnosis {
    let at = Timestamp::from_millis(0);
    Diagnosis {
        version: Version::V1,
        verdict: Verdict::Named { service: "pay".to_owned(), hypothesis },
        onset: at,
        at,
        suspects: vec![Suspect {
            service: "pay".to_owned(),
            hypothesis,
            score: 3_000,
            confidence: 800,
            claims: vec![Claim { text: "…".to_owned(), evidence: vec!["m1".to_owned()] }],
            change,
        }],
        evidence: Vec::new(),
        services: Vec::new(),
        cleared: Vec::new(),
        gaps: Vec::new(),
        note: None,
    }
}

#[test]
fn each_trouble_gets_the_remedy_that_helps() {
    let check = |hypothesis: Hypothesis, change: Option<(&str, &str)>, expected: &[&str]| {
        let change = change.map(|(revision, previous)| SuspectChange {
            evidence: "c1".to_owned(),
            revision: Some(revision.to_owned()),
            previous: Some(previous.to_owned()),
        });
        let diagnosis = diagnosis(hypothesis, change);
        let proposals = propose(&diagnosis, &inventory());
        let previews: Vec<&str> =
            proposals.iter().map(|proposal| proposal.order.preview.as_str()).collect();
        assert_eq!(previews, expected, "{hypothesis:?}");
        assert!(!checks(&diagnosis).is_empty());
    };
    let restart = "restart pay, its 2 replicas one at a time";
    check(Hypothesis::FailingSinceChange, Some(("r2", "r1")), &["roll back pay from r2 to r1"]);
    check(Hypothesis::FailingSinceChange, Some(("r9", "r1")), &[]);
    check(Hypothesis::Stuck, None, &[restart]);
    check(Hypothesis::Stuck, Some(("r2", "r1")), &["roll back pay from r2 to r1", restart]);
    check(Hypothesis::Memory, None, &[restart]);
    check(Hypothesis::Cpu, None, &[restart, "scale pay from 2 to 3 replicas"]);
    check(Hypothesis::SlowHop, Some(("r2", "r1")), &[]);
    check(Hypothesis::Failing, None, &[]);
}

#[test]
fn a_proposal_says_what_it_touches_and_how_to_undo_it() {
    let change = SuspectChange {
        evidence: "c1".into(),
        revision: Some("r2".into()),
        previous: Some("r1".into()),
    };
    let proposals = propose(&diagnosis(Hypothesis::FailingSinceChange, Some(change)), &inventory());
    let Proposal { tier, evidence, back_out, blast_radius, .. } = &proposals[0];
    assert_eq!(*tier, Tier::OneApprover);
    assert_eq!(evidence, &["c1", "m1"]);
    assert_eq!(back_out, "roll pay forward again from r1 to r2");
    assert_eq!(blast_radius, "all 2 of its replicas; called by order");
}

#[test]
fn nobody_named_means_nothing_proposed() {
    let mut diagnosis = diagnosis(Hypothesis::Stuck, None);
    diagnosis.verdict = Verdict::Unknown { reason: "…".to_owned() };
    assert_eq!(propose(&diagnosis, &inventory()), []);
}
