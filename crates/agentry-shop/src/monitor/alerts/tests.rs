use super::*;
use crate::monitor::rules::DOWN;

/// One character per second: `x` where the condition is true. Expected: `.` nothing, `!` begins, `f` fires, `e` ends.
fn check(condition: &str, expected: &str) {
    let mut alerts = Alerts::default();
    let mut fired_before = false;
    let got: String = condition
        .chars()
        .zip(0..)
        .map(|(state, second)| {
            let held = Holding {
                rule: DOWN,
                service: Service::Cart,
                instance: "a".to_owned(),
                value: 1.0,
            };
            let holding = if state == 'x' { vec![held] } else { Vec::new() };
            let began = alerts.observe(Timestamp::from_millis(second * 1_000), holding);
            let fires = !alerts.firing().is_empty();
            let seen = match (began, fires, fired_before) {
                (1, true, _) => '!',
                (0, true, true) => 'f',
                (0, false, true) => 'e',
                (0, false, false) => '.',
                other => panic!("{other:?} at second {second} of {condition}"),
            };
            fired_before = fires;
            seen
        })
        .collect();
    assert_eq!(got, expected, "{condition}");
}

#[test]
fn an_alert_fires_when_its_condition_held_for_three_seconds() {
    check("-xxx---", ".......");
    check("-xxxxx-", "....!fe");
    check("xxx-xxxx-xxx", ".......!e...");
    check("xxxx-xxxx", "...!e...!");
}

#[test]
fn an_ended_alert_is_forgotten_in_the_end() {
    let mut alerts = Alerts::default();
    for second in 0..4 {
        let held =
            Holding { rule: DOWN, service: Service::Cart, instance: "a".to_owned(), value: 1.0 };
        alerts.observe(Timestamp::from_millis(second * 1_000), vec![held]);
    }
    for second in 4..64 {
        alerts.observe(Timestamp::from_millis(second * 1_000), Vec::new());
        assert_eq!(alerts.all().count(), 1, "second {second}");
    }
    alerts.observe(Timestamp::from_millis(64_000), Vec::new());
    assert_eq!(alerts.all().count(), 0);
}
