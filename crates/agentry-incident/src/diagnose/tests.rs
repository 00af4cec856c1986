use super::*;

mod arbitrary;
mod system;

use system::{DEMO, Fault, PRODUCTION, Pace, SERVICES, System};

fn observe_and_diagnose(fault: Fault, culprit: &'static str, seed: u64, pace: Pace) -> Diagnosis {
    let (observed, alerted) = System::observe(fault, culprit, seed, pace);
    let now = observed.window.unwrap().end;
    diagnose(&observed, alerted, now, &Settings::default())
}

fn check(fault: Fault, expected: Hypothesis, pace: Pace) {
    let mut wrong = Vec::new();
    for culprit in SERVICES {
        for seed in 1..=if pace.scrape > 1 { 1 } else { 3 } {
            let diagnosis = observe_and_diagnose(fault, culprit, seed, pace);
            every_claim_rests_on_evidence(&diagnosis);
            let first = diagnosis
                .suspects
                .first()
                .map(|suspect| (suspect.service.as_str(), suspect.hypothesis));
            if first != Some((culprit, expected)) {
                let summary: Vec<_> = diagnosis
                    .suspects
                    .iter()
                    .map(|suspect| {
                        format!(
                            "{} {:?} {}: {:?}",
                            suspect.service, suspect.hypothesis, suspect.score, suspect.claims
                        )
                    })
                    .collect();
                wrong.push(format!(
                    "{fault:?} in {culprit}, seed {seed}, onset {}:\n  {}",
                    diagnosis.onset,
                    summary.join("\n  ")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn every_claim_rests_on_evidence(diagnosis: &Diagnosis) {
    for suspect in &diagnosis.suspects {
        assert!(!suspect.claims.is_empty(), "{suspect:?}");
        for claim in &suspect.claims {
            assert!(!claim.evidence.is_empty(), "{claim:?}");
            for id in &claim.evidence {
                assert_eq!(
                    diagnosis.evidence.iter().filter(|row| row.id == *id).count(),
                    1,
                    "{id}"
                );
            }
        }
    }
}

#[test]
fn a_burning_cpu_is_found() {
    check(Fault::Cpu, Hypothesis::Cpu, DEMO);
}

#[test]
fn a_slow_hop_is_found_although_only_callers_notice() {
    check(Fault::Latency, Hypothesis::SlowHop, DEMO);
}

#[test]
fn a_bad_deploy_is_found_and_tied_to_its_change() {
    check(Fault::BadDeploy, Hypothesis::FailingSinceChange, DEMO);
}

#[test]
fn a_leak_is_found() {
    check(Fault::Leak, Hypothesis::Memory, DEMO);
}

#[test]
fn a_service_that_never_answers_is_found() {
    check(Fault::Hang, Hypothesis::Stuck, DEMO);
}

#[test]
fn a_service_that_never_answers_is_found_when_its_callers_leave_no_trace() {
    check(Fault::HangAndDrop, Hypothesis::Stuck, DEMO);
}

#[test]
fn ordinary_scrapes_and_long_baselines_work_as_well() {
    check(Fault::Cpu, Hypothesis::Cpu, PRODUCTION);
    check(Fault::BadDeploy, Hypothesis::FailingSinceChange, PRODUCTION);
    check(Fault::Hang, Hypothesis::Stuck, PRODUCTION);
}

#[test]
fn when_nothing_is_wrong_nobody_is_named() {
    for seed in 1..=5 {
        let diagnosis = observe_and_diagnose(Fault::None, "pay", seed, DEMO);
        assert!(matches!(diagnosis.verdict, Verdict::Unknown { .. }), "{:#?}", diagnosis.suspects);
        assert!(diagnosis.suspects.is_empty());
    }
}

#[test]
fn nothing_observed_is_a_gap_and_not_a_guess() {
    let observed = Observed {
        missing: vec!["metrics: prometheus cannot be reached".to_owned()],
        ..Observed::default()
    };
    let now = system::start();
    let diagnosis = diagnose(&observed, now, now, &Settings::default());
    assert!(matches!(diagnosis.verdict, Verdict::Unknown { .. }));
    assert_eq!(
        diagnosis.gaps,
        [
            "metrics: prometheus cannot be reached",
            "no metrics for this time",
            "no logs for this time",
            "no traces for this time",
        ]
    );
}

#[test]
fn a_change_on_a_healthy_service_is_cleared_with_the_reason() {
    let diagnosis = observe_and_diagnose(Fault::BadDeploy, "catalog", 1, DEMO);
    let cleared: Vec<&str> =
        diagnosis.cleared.iter().map(|cleared| cleared.what.as_str()).collect();
    assert!(cleared.contains(&"deploy r41 of basket: routine release"), "{:?}", diagnosis.cleared);
    let change = diagnosis.suspects[0].change.as_ref().unwrap();
    assert_eq!(
        (change.revision.as_deref(), change.previous.as_deref()),
        (Some("r42"), Some("r41"))
    );
}

#[test]
fn the_load_generator_is_never_suspected() {
    for fault in [Fault::Hang, Fault::Latency, Fault::BadDeploy] {
        let diagnosis = observe_and_diagnose(fault, "web", 2, DEMO);
        assert!(diagnosis.suspects.iter().all(|suspect| suspect.service != "shopper"));
    }
}

#[test]
fn a_stored_diagnosis_stays_readable() {
    let diagnosis = observe_and_diagnose(Fault::Cpu, "stock", 1, DEMO);
    let text = serde_json::to_string(&diagnosis).unwrap();
    assert_eq!(serde_json::from_str::<Diagnosis>(&text).unwrap(), diagnosis);
    assert!(text.starts_with(r#"{"version":"1""#), "{text}");
    let v1 = include_str!("tests/diagnosis_v1.json");
    let stored: Diagnosis = serde_json::from_str(v1).unwrap();
    assert_eq!(serde_json::to_string_pretty(&stored).unwrap(), v1.trim_end());
}

#[test]
fn a_model_may_reorder_and_explain_and_nothing_else() {
    let diagnosis = observe_and_diagnose(Fault::Hang, "stock", 1, DEMO);
    assert!(diagnosis.suspects.len() >= 2, "{:?}", diagnosis.suspects);
    let (first, second) = (&diagnosis.suspects[0], &diagnosis.suspects[1]);
    let of = |service: &str| {
        diagnosis.evidence.iter().find(|row| row.service == service).unwrap().id.clone()
    };
    let answer = |order: &[&str], explanation: &str, citations: &[String]| ModelAnswer {
        order: order.iter().map(|name| (*name).to_owned()).collect(),
        explanation: explanation.to_owned(),
        citations: citations.to_vec(),
    };
    let check = |answer: ModelAnswer, expected: Rejected| {
        assert_eq!(rerank(&diagnosis, answer), Err(expected));
    };
    let good = [of(&second.service)];
    check(answer(&["mars"], "x", &good), Rejected::NotASuspect("mars".to_owned()));
    check(answer(&[], "x", &good), Rejected::EmptyOrder);
    check(
        answer(&[&second.service, &second.service], "x", &good),
        Rejected::Repeated(second.service.clone()),
    );
    check(answer(&[&second.service], " ", &good), Rejected::BadExplanation);
    check(answer(&[&second.service], "x", &[]), Rejected::NoCitation);
    check(
        answer(&[&second.service], "x", &["z9".to_owned()]),
        Rejected::NoSuchEvidence("z9".to_owned()),
    );
    check(
        answer(&[&second.service], "x", &[of(&first.service)]),
        Rejected::Ungrounded(second.service.clone()),
    );

    let reranked = rerank(&diagnosis, answer(&[&second.service], "it began there", &good)).unwrap();
    assert_eq!((&reranked.suspects[0], &reranked.suspects[1]), (second, first));
    assert_eq!(reranked.evidence, diagnosis.evidence);
    assert_eq!(
        reranked.note,
        Some(ModelNote::Accepted {
            explanation: "it began there".to_owned(),
            citations: good.to_vec()
        })
    );
}

#[test]
fn the_answer_of_a_model_is_found_among_its_words() {
    let check = |text: &str, expected: Option<&str>| {
        assert_eq!(
            parse_answer(text).ok().map(|answer| answer.order.join(",")).as_deref(),
            expected,
            "{text}"
        );
    };
    let json = r#"{"order":["a","b"],"explanation":"x","citations":["m1"]}"#;
    check(json, Some("a,b"));
    check(&format!("Sure!\n```json\n{json}\n```\nAnything else?"), Some("a,b"));
    check("I think it is stock.", None);
    check(r#"{"order":["a"]}"#, None);
    check(r#"{"order":["a"],"explanation":"x","citations":["#, None);
}

#[test]
fn look_ups_are_bounded_and_say_what_they_left_out() {
    let (observed, alerted) = System::observe(Fault::BadDeploy, "pay", 1, DEMO);
    let diagnosis =
        diagnose(&observed, alerted, observed.window.unwrap().end, &Settings::default());
    let check = |answer: serde_json::Value, at_most: usize| {
        assert!(
            answer["items"].as_array().unwrap().len() <= at_most
                && !answer["items"].as_array().unwrap().is_empty()
        );
        assert!(answer.to_string().len() < 40_000);
    };
    check(lookup::series(&observed, "pay", "http"), 10);
    check(lookup::logs(&observed, "pay", "tax", 1_000), 50);
    check(lookup::spans(&observed, "pay"), 50);
    check(lookup::changes(&observed), 50);
    let rows = lookup::list_evidence(&diagnosis);
    assert_eq!(rows["evidence"].as_array().unwrap().len(), diagnosis.evidence.len());
    assert_eq!(lookup::logs(&observed, "pay", "no such text", 5)["items"], serde_json::json!([]));
}
