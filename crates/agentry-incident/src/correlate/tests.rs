use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + seconds * 1_000)
}

fn alert(name: &str, service: &str, severity: Severity, started: i64) -> Alert {
    let labels = BTreeMap::from([
        ("alertname".to_owned(), name.to_owned()),
        ("service".to_owned(), service.to_owned()),
    ]);
    Alert {
        fingerprint: Fingerprint::of(&labels),
        name: name.into(),
        service: service.into(),
        environment: String::new(),
        severity,
        state: State::Firing,
        started: at(started),
        ended: None,
        summary: String::new(),
        labels,
    }
}

fn resolved(mut alert: Alert) -> Alert {
    alert.state = State::Resolved;
    alert
}

/// Plays alerts (arrival second, alert) and writes each decision as a short word.
fn check(story: &[(i64, Alert)], expected: &[&str]) {
    let mut correlator = Correlator::default();
    let words: Vec<String> = story
        .iter()
        .map(|(second, alert)| {
            let alert = correlator.dated(alert.clone(), at(*second));
            let decision = correlator.decide(&alert, at(*second));
            correlator.apply(&alert, &decision, at(*second));
            let number =
                decision.incident().map_or_else(String::new, |number| format!(" {number}"));
            match decision {
                Decision::Duplicate { .. } => format!("duplicate{number}"),
                Decision::Chronic => "chronic".into(),
                Decision::Loose => "loose".into(),
                Decision::Opened { adopted, .. } => format!("opened{number}+{}", adopted.len()),
                Decision::Joined { .. } => format!("joined{number}"),
                Decision::Adopted { .. } => format!("adopted{number}"),
                Decision::Resolved { .. } => format!("resolved{number}"),
            }
        })
        .collect();
    assert_eq!(words, expected);
}

use Severity::{Critical, Info, Warning};

#[test]
fn a_critical_alert_opens_and_the_next_ones_join() {
    check(
        &[
            (0, alert("A", "cart", Critical, 0)),
            (30, alert("B", "front", Warning, 30)),
            (140, alert("C", "pay", Warning, 140)),
        ],
        &["opened INC-1+0", "joined INC-1", "joined INC-1"],
    );
}

#[test]
fn the_same_firing_is_a_duplicate_and_a_new_one_after_its_end_is_not() {
    let first = alert("A", "cart", Critical, 0);
    check(
        &[
            (0, first.clone()),
            (10, first.clone()),
            (3_000, first.clone()),
            (3_010, resolved(first.clone())),
            (3_011, resolved(first.clone())),
            (3_012, first),
            (4_000, alert("A", "cart", Critical, 4_000)),
        ],
        &[
            "opened INC-1+0",
            "duplicate INC-1",
            "duplicate INC-1",
            "resolved INC-1",
            "duplicate INC-1",
            "duplicate INC-1",
            "opened INC-2+0",
        ],
    );
}

#[test]
fn warnings_open_only_when_two_services_are_hit_and_none_is_lost() {
    check(
        &[
            (0, alert("A", "cart", Warning, 0)),
            (5, alert("B", "cart", Warning, 5)),
            (9, alert("N", "pay", Info, 9)),
            (10, alert("A", "pay", Warning, 10)),
        ],
        &["loose", "loose", "loose", "opened INC-1+2"],
    );
}

#[test]
fn a_resolved_loose_alert_is_not_adopted() {
    let first = alert("A", "cart", Warning, 0);
    check(
        &[(0, first.clone()), (5, resolved(first)), (10, alert("A", "pay", Warning, 10))],
        &["loose", "resolved", "loose"],
    );
}

#[test]
fn a_session_ends_by_gap_and_by_cap_and_late_alerts_of_its_services_attach() {
    let mut story = vec![(0, alert("A", "cart", Critical, 0))];
    let mut expected = vec!["opened INC-1+0"];
    for second in (60..=420).step_by(60) {
        story.push((second, alert(&format!("B{second}"), "cart", Warning, second)));
        expected.push("joined INC-1");
    }
    story.push((450, alert("C", "elsewhere", Critical, 450)));
    expected.push("opened INC-2+0");
    story.push((700, alert("D", "cart", Critical, 700)));
    expected.push("joined INC-1");
    story.push((1_400, alert("E", "cart", Critical, 1_400)));
    expected.push("opened INC-3+0");
    check(&story, &expected);
}

#[test]
fn an_alert_that_fires_all_the_time_becomes_chronic_and_opens_nothing() {
    let mut story = Vec::new();
    for firing in 0..7 {
        let second = firing * 300;
        story.push((second, alert("Flap", "cart", Critical, second)));
        story.push((second + 10, resolved(alert("Flap", "cart", Critical, second))));
    }
    let words = |word: &str, number: &str| {
        [format!("{word}{number}"), format!("resolved{}", number.trim_end_matches("+0"))]
    };
    let mut expected = Vec::new();
    for (word, number) in [
        ("opened", " INC-1+0"),
        ("joined", " INC-1"),
        ("joined", " INC-1"),
        ("joined", " INC-1"),
        ("opened", " INC-2+0"),
        ("chronic", ""),
        ("chronic", ""),
    ] {
        expected.extend(words(word, number));
    }
    check(&story, &expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn two_environments_never_share_an_incident() {
    let mut other = alert("B", "cart", Critical, 1);
    other.environment = "staging".into();
    check(
        &[(0, alert("A", "cart", Critical, 0)), (1, other)],
        &["opened INC-1+0", "opened INC-2+0"],
    );
}

#[test]
fn a_fast_burning_budget_opens_even_as_a_warning() {
    let mut burning = alert("ErrorBudgetBurn", "cart", Warning, 0);
    burning.labels.insert("slo".into(), "availability".into());
    check(&[(0, burning)], &["opened INC-1+0"]);
}

#[test]
fn an_incident_number_reads_back() {
    for text in ["INC-7", "inc-7", "7"] {
        assert_eq!(text.parse(), Ok(IncidentNumber(7)));
    }
    assert!("INC-x".parse::<IncidentNumber>().is_err());
    assert!("é".parse::<IncidentNumber>().is_err());
}

#[test]
fn alerts_that_never_resolve_do_not_pile_up() {
    let settings = Settings { tracks_max: 100, ..Settings::default() };
    let mut correlator = Correlator::new(settings);
    let name = |second| alert(&format!("user {second}"), "cart", Warning, second);
    for second in 0..1_000 {
        let decision = correlator.decide(&name(second), at(second));
        correlator.apply(&name(second), &decision, at(second));
        assert!(correlator.tracks.len() <= 100, "{} at {second}", correlator.tracks.len());
    }
    let again = |second| correlator.decide(&name(second), at(1_000));
    assert_eq!(again(999), Decision::Duplicate { incident: None }, "the youngest is known");
    assert_eq!(again(0), Decision::Loose, "the oldest is forgotten");
}

#[test]
fn an_alert_that_fires_again_since_its_old_start_is_a_new_firing() {
    let first = alert("A", "cart", Critical, 0);
    check(
        &[
            (0, first.clone()),
            (1_000, resolved(first.clone())),
            (1_060, first.clone()),
            (1_121, first.clone()),
            (1_200, first.clone()),
            (1_300, resolved(first.clone())),
            (1_310, resolved(first)),
        ],
        &[
            "opened INC-1+0",
            "resolved INC-1",
            "duplicate INC-1",
            "opened INC-2+0",
            "duplicate INC-2",
            "resolved INC-2",
            "duplicate INC-2",
        ],
    );
}

#[test]
fn an_incident_is_over_when_its_last_alert_resolves_and_not_before() {
    let mut correlator = Correlator::default();
    let mut play = |second: i64, alert: Alert| {
        let decision = correlator.decide(&alert, at(second));
        correlator.apply(&alert, &decision, at(second));
        correlator.is_over(IncidentNumber(1))
    };
    let (a, b, c) = (
        alert("A", "cart", Warning, 0),
        alert("B", "pay", Warning, 1),
        alert("C", "pay", Warning, 2),
    );
    let story = [
        (0, a.clone(), true),
        (1, b.clone(), false),
        (2, c.clone(), false),
        (3, c.clone(), false),
        (4, resolved(a.clone()), false),
        (5, resolved(a.clone()), false),
        (6, resolved(c), false),
        (7, resolved(b), true),
        (8, alert("A", "cart", Warning, 8), false),
        (9, resolved(alert("A", "cart", Warning, 8)), true),
    ];
    for (second, alert, over) in story {
        assert_eq!(play(second, alert), over, "at {second} s");
    }
}
