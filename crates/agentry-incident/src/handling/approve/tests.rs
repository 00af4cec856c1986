use agentry_core::Timestamp;
use serde_json::Value;

use super::*;
use crate::diagnose::Suspect;
use crate::evidence::Hypothesis;

fn at() -> Timestamp {
    Timestamp::from_seconds(1_795_000_000)
}

fn diagnosis() -> Diagnosis {
    let mut diagnosis = Diagnosis::unknown(String::new(), at(), at());
    diagnosis.services = vec!["cart".into(), "payment".into()];
    diagnosis.suspects = vec![Suspect {
        service: "cart".into(),
        hypothesis: Hypothesis::Stuck,
        score: 2_000,
        confidence: 800,
        claims: Vec::new(),
        change: None,
    }];
    diagnosis
}

fn plan() -> Planned {
    let diagnosis = diagnosis();
    let inventory = crate::handling::act::inventory(&diagnosis);
    let remedy = Remedy::Restart { service: "cart".into() };
    let proposal = Proposal::asked_for(remedy, "a test", &diagnosis, &inventory).unwrap();
    Planned {
        digest: crate::handling::act::digest(&proposal.order, &Settings::default()),
        proposal,
    }
}

/// What an answer leads to, as a short line.
fn judged(value: Value, actor: Option<&str>) -> String {
    let plan = plan();
    let reply = Reply { value, actor: actor.map(str::to_owned), at: at() };
    match judge(&plan, &reply, &diagnosis(), &Settings::default()) {
        Next::Over(approval) => {
            let bound = approval.digest.is_some_and(|digest| digest == plan.digest);
            format!("{:?} bound={bound}", approval.verdict)
        }
        Next::Again(next, why) => format!("{} again: {why}", next.proposal.order.preview),
    }
}

fn check(value: Value, expected: &str) {
    let judged = judged(value, Some("person:ada"));
    assert!(judged.starts_with(expected), "{judged}");
}

#[test]
fn only_a_clear_yes_approves_and_it_is_bound_to_the_order() {
    check(json!({ "decision": "approve" }), "Approved bound=true");
    check(json!({ "decision": "approve", "digest": plan().digest }), "Approved bound=true");
    check(json!({ "decision": "reject", "comment": "no" }), "Rejected bound=false");
    let again = "restart cart (its only replica) again: ";
    check(
        json!({ "decision": "approve", "digest": "another" }),
        &format!("{again}the last answer was about another"),
    );
    for unclear in [
        json!("yes"),
        json!({}),
        json!({ "decision": "APPROVE" }),
        json!({ "decision": true }),
        json!(null),
    ] {
        check(unclear, &format!("{again}the last answer was not understood"));
    }
}

#[test]
fn silence_is_a_no_even_when_the_timeout_says_yes() {
    assert_eq!(judged(json!({ "decision": "approve" }), None), "Expired bound=false");
}

#[test]
fn a_changed_order_is_checked_and_shown_again_before_it_counts() {
    let modify = |remedy: Value| json!({ "decision": "modify", "remedy": remedy });
    let elsewhere = json!({ "action": "restart", "service": "payment" });
    check(modify(elsewhere), "restart payment (its only replica) again: changed by person:ada");
    for (remedy, why) in [
        (
            json!({ "action": "restart", "service": "moon" }),
            "the order asked for is not possible: the inventory knows no service",
        ),
        (
            json!({ "action": "rollback", "service": "cart", "revision": "a", "to": "b" }),
            "the order asked for is not possible: the inventory knows no revision",
        ),
        (
            json!({ "action": "scale", "service": "cart", "replicas": 9 }),
            "the order asked for is not possible: cart may run",
        ),
        (json!({ "action": "rm -rf /", "service": "cart" }), "the last answer was not understood"),
        (Value::Null, "`modify` needs the `remedy`"),
    ] {
        check(modify(remedy), &format!("restart cart (its only replica) again: {why}"));
    }
}

#[test]
fn an_order_that_would_only_be_written_down_has_another_digest_than_one_that_runs() {
    let order = plan().proposal.order;
    let running = Settings { actions: vec!["restart".into()], ..Settings::default() };
    let digest = |settings| crate::handling::act::digest(&order, settings);
    assert_ne!(digest(&running), digest(&Settings::default()));
}
