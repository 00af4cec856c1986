use super::*;

const START: i32 = 1_000_000;

/// After so many seconds.
fn at(seconds: i32) -> Timestamp {
    Timestamp::from_seconds(START + seconds)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn rule() -> Rule {
    Rule {
        threshold: 50.0,
        clear: 40.0,
        holds_for: seconds(60),
        repeat: Some(seconds(3_600)),
        escalation: vec![
            Escalation { after: seconds(600), channels: vec!["pager".into()] },
            Escalation { after: seconds(1_200), channels: vec!["boss".into(), "ops".into()] },
        ],
        ..Rule::new("errors", Signal::ErrorRate, "ops")
    }
}

/// What is told when these values are read of one target, one after the other: when, why, whom.
fn check(rule: Rule, values: &[(i32, Option<f64>)], expected: &[(i32, &str, &str)]) {
    let mut watchdog = Watchdog::new(vec![rule.clone()]);
    let mut told = Vec::new();
    for (second, value) in values {
        let reading =
            value.map(|value| Reading { signal: rule.signal, subject: "one/small".into(), value });
        let readings: Vec<Reading> = reading.into_iter().collect();
        for notice in watchdog.step(&readings, at(*second)) {
            told.push((*second, notice.why.as_str(), notice.channels.join(" ")));
        }
    }
    let told: Vec<_> =
        told.iter().map(|(second, why, channels)| (*second, *why, channels.as_str())).collect();
    assert_eq!(told, expected, "{values:?}");
}

#[test]
fn it_fires_after_it_has_held_for_long_enough() {
    check(rule(), &[(0, Some(60.0)), (59, Some(60.0))], &[]);
    check(rule(), &[(0, Some(60.0)), (60, Some(60.0))], &[(60, "fired", "ops")]);
    // A moment below the threshold begins the time anew, also above `clear`.
    check(rule(), &[(0, Some(60.0)), (30, Some(45.0)), (60, Some(60.0)), (119, Some(60.0))], &[]);
    check(rule(), &[(0, Some(60.0)), (30, None), (60, Some(60.0))], &[]);
    let at_once = Rule { holds_for: Duration::ZERO, ..rule() };
    check(at_once, &[(0, Some(50.0))], &[(0, "fired", "ops")]);
}

#[test]
fn it_is_over_only_below_where_it_clears() {
    let fired = (60, "fired", "ops");
    let begins = [(0, Some(60.0)), (60, Some(60.0))];
    let with = |more: &[(i32, Option<f64>)]| [&begins[..], more].concat();
    check(rule(), &with(&[(65, Some(45.0)), (70, Some(55.0)), (75, Some(40.0))]), &[fired]);
    check(rule(), &with(&[(65, Some(39.9))]), &[fired, (65, "resolved", "ops")]);
    check(rule(), &with(&[(65, None)]), &[fired, (65, "resolved", "ops")]);
    // And fires again only after its time.
    check(
        rule(),
        &with(&[(65, Some(0.0)), (70, Some(60.0)), (129, Some(60.0)), (130, Some(60.0))]),
        &[fired, (65, "resolved", "ops"), (130, "fired", "ops")],
    );
}

#[test]
fn what_nobody_acknowledges_is_told_to_the_next_and_repeated() {
    let values: Vec<_> = (0..=800).map(|step| (step * 10, Some(60.0))).collect();
    let expected = [
        (60, "fired", "ops"),
        (660, "escalated", "pager"),
        (1_260, "escalated", "boss ops"),
        (3_660, "repeated", "ops pager boss"),
        (7_260, "repeated", "ops pager boss"),
    ];
    check(rule(), &values, &expected);
    // Nobody looked for an hour: all steps at once, and those who were told before once more.
    check(
        rule(),
        &[(0, Some(60.0)), (60, Some(60.0)), (4_000, Some(60.0)), (4_001, Some(0.0))],
        &[
            (60, "fired", "ops"),
            (4_000, "escalated", "pager"),
            (4_000, "escalated", "boss ops"),
            (4_000, "repeated", "ops"),
            (4_001, "resolved", "ops pager boss"),
        ],
    );
}

#[test]
fn what_is_acknowledged_is_told_to_nobody_until_it_is_over() {
    let mut watchdog = Watchdog::new(vec![Rule { holds_for: Duration::ZERO, ..rule() }]);
    let reading =
        |value| [Reading { signal: Signal::ErrorRate, subject: "one/small".into(), value }];
    let fired = watchdog.step(&reading(60.0), at(0));
    assert_eq!(fired.len(), 1);
    assert_eq!(
        fired[0].alert.to_string(),
        "one/small fails too many calls: 60.0 %, the threshold is 50 %"
    );
    assert_eq!(watchdog.acknowledge("somebody else's", "ada"), None);
    let known = watchdog.acknowledge(&fired[0].alert.id, "ada").unwrap();
    assert_eq!(known.acknowledged_by.as_deref(), Some("ada"));
    assert_eq!(watchdog.step(&reading(60.0), at(50_000)), []);
    assert_eq!(watchdog.alerts().count(), 1);
    let over = watchdog.step(&reading(0.0), at(50_010));
    assert_eq!(over[0].why, Why::Resolved);
    assert_eq!(watchdog.alerts().count(), 0);
    // The next one is another one, which nobody has acknowledged.
    let again = watchdog.step(&reading(60.0), at(50_020));
    assert_ne!(again[0].alert.id, known.id);
    assert_eq!(again[0].alert.acknowledged_by, None);
}

#[test]
fn a_rule_is_about_what_it_names() {
    let check = |of: Option<&str>, expected: &[&str]| {
        let rule = Rule {
            of: of.map(ToOwned::to_owned),
            ..Rule::new("down", Signal::TargetUnhealthy, "ops")
        };
        let mut watchdog = Watchdog::new(vec![rule]);
        let reading =
            |signal, subject: &str| Reading { signal, subject: subject.into(), value: 1.0 };
        let readings = [
            reading(Signal::TargetUnhealthy, "one/large"),
            reading(Signal::TargetUnhealthy, "one/small"),
            reading(Signal::TargetUnhealthy, "two/small"),
            reading(Signal::CircuitOpen, "three/small"),
        ];
        let notices = watchdog.step(&readings, at(0));
        let told: Vec<&str> = notices.iter().map(|notice| &*notice.alert.subject).collect();
        assert_eq!(told, expected, "{of:?}");
    };
    check(None, &["one/large", "one/small", "two/small"]);
    check(Some("one/*"), &["one/large", "one/small"]);
    check(Some("two/small"), &["two/small"]);
    check(Some("two"), &[]);
}

#[test]
fn a_low_hit_rate_is_what_is_wrong_with_a_cache() {
    let rule = Rule::new("cache", Signal::CacheHitRate, "ops");
    assert_eq!((rule.threshold, rule.is_clear(10.5)), (10.0, false));
    check(
        rule,
        &[(0, Some(50.0)), (5, Some(10.0)), (10, Some(10.5)), (15, Some(12.0))],
        &[(5, "fired", "ops"), (15, "resolved", "ops")],
    );
}

#[test]
fn signals_are_read_as_they_are_written() {
    for signal in Signal::ALL {
        assert_eq!(signal.as_str().parse(), Ok(signal));
    }
    let unknown = "cpu".parse::<Signal>().unwrap_err().to_string();
    assert!(unknown.starts_with("there is no signal `cpu`; there are: target_unhealthy, "));
}

mod readings {
    use agentry_balance::{LimitSettings, Settings, Vitals};
    use std::time::Instant;

    use super::*;
    use crate::cache::{FlightStats, Stats};
    use crate::status::{Kept, Overview, Queue, Target};

    fn overview(hits: u64, misses: u64) -> Overview {
        let here = Stats { hits, misses, ..Stats::default() };
        let cache = Some(Kept { here, shared: None, flights: FlightStats::default() });
        Overview { cache, ..Overview::default() }
    }

    fn of(readings: &[Reading], signal: Signal) -> Option<f64> {
        readings.iter().find(|reading| reading.signal == signal).map(|reading| reading.value)
    }

    #[test]
    fn rates_are_those_of_the_last_minute() {
        let mut sampler = Sampler::default();
        let mut read = |hits, misses, second| {
            let readings =
                sampler.readings(&overview(hits, misses), Surroundings::default(), at(second));
            of(&readings, Signal::CacheHitRate)
        };
        assert_eq!(read(900, 100, 0), None, "there is nothing to compare with");
        assert_eq!(read(900, 110, 5), None, "ten lookups are too few");
        assert_eq!(read(900, 200, 60), Some(0.0));
        // The hundred misses before are forgotten.
        assert_eq!(read(950, 250, 120), Some(50.0));
    }

    #[test]
    fn a_queue_and_the_ledger_are_read_in_percent() {
        let limit = Some(LimitSettings { initial: 1, min: 1, max: 1 });
        let start = Instant::now();
        let vitals = Vitals::new(Settings { limit, ..Settings::default() }, start);
        let target = Target { name: "one/small".into(), is: vitals.snapshot(start), check: None };
        let overview = Overview {
            targets: vec![target],
            usage: Some(Queue { waiting: 25, waiting_max: 100 }),
            ..Overview::default()
        };
        let surroundings = Surroundings { shared_answers: Some(false) };
        let readings = Sampler::default().readings(&overview, surroundings, at(0));
        assert_eq!(of(&readings, Signal::QueueFull), Some(0.0));
        assert_eq!(of(&readings, Signal::LedgerBehind), Some(25.0));
        assert_eq!(of(&readings, Signal::SharedAway), Some(1.0));
        assert_eq!(of(&readings, Signal::TargetUnhealthy), Some(0.0));
        assert_eq!(of(&readings, Signal::ErrorRate), None, "nobody has called");
    }
}

#[test]
fn other_rules_take_over_what_is_firing() {
    let reading = |value| Reading { signal: Signal::ErrorRate, subject: "one/small".into(), value };
    let now = Rule { holds_for: Duration::ZERO, ..rule() };
    let check = |rules: Vec<Rule>, value: f64, expected: &[(&str, &str)]| {
        let mut watchdog = Watchdog::new(vec![now.clone()]);
        assert_eq!(watchdog.step(&[reading(60.0)], at(0)).len(), 1);
        watchdog.replace(rules);
        let notices = watchdog.step(&[reading(value)], at(5));
        let told: Vec<_> =
            notices.iter().map(|notice| (notice.why.as_str(), &*notice.alert.rule)).collect();
        assert_eq!(told, expected);
    };
    let other = || Rule { name: "other".into(), ..now.clone() };
    check(vec![other(), now.clone()], 60.0, &[("fired", "other")]);
    check(vec![other(), now.clone()], 0.0, &[("resolved", "errors")]);
    let higher = Rule { threshold: 90.0, clear: 80.0, ..now.clone() };
    check(vec![higher], 60.0, &[("resolved", "errors")]);
    check(vec![Rule { signal: Signal::ShedRate, ..now.clone() }], 60.0, &[]);
    check(Vec::new(), 60.0, &[]);
}
