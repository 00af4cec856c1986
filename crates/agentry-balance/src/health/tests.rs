use super::*;

fn at(seconds: u64) -> Moment {
    Moment::default().plus(Duration::from_secs(seconds))
}

/// Calls as `+` for good and `-` for bad, all at one moment. What is said of the last one, and why it is shut then.
#[track_caller]
fn check(calls: &str, verdict: Verdict, cause: Option<Cause>) {
    let mut health = Health::new(HealthSettings::default());
    let mut last = Verdict::Settled;
    for call in calls.chars() {
        last = Verdict::Settled;
        match call {
            '+' => health.good(at(1)),
            _ => last = health.bad(at(1)),
        }
    }
    assert_eq!((last, health.breaker().cause()), (verdict, cause), "{calls}");
}

#[test]
fn five_failures_in_a_row_or_half_of_twenty_are_too_many() {
    check("----", Verdict::Settled, None);
    check("-----", Verdict::Shut(Cause::Failing), Some(Cause::Failing));
    check("------", Verdict::Settled, Some(Cause::Failing));
    check("----+----", Verdict::Settled, None);
    check(&"+-".repeat(9), Verdict::Settled, None);
    check(&"+-".repeat(10), Verdict::Outlier, None);
    check(&"++-".repeat(30), Verdict::Settled, None);
}

#[test]
fn a_breaker_that_allows_more_leaves_five_in_a_row_to_the_pool() {
    let breaker = BreakerSettings { failures: 8, ..BreakerSettings::default() };
    let mut health = Health::new(HealthSettings { breaker, ..HealthSettings::default() });
    for _ in 0..4 {
        assert_eq!(health.bad(at(1)), Verdict::Settled);
    }
    assert_eq!(health.bad(at(1)), Verdict::Outlier);
    health.eject(at(1));
    assert_eq!(health.breaker().cause(), Some(Cause::Outlier));
    // An outlier that goes on failing, because others are worse, is broken in the end.
    for _ in 0..3 {
        health.bad(at(1));
    }
    assert_eq!(health.breaker().cause(), Some(Cause::Failing));
}

/// For how many seconds it is ejected each time, when it is ejected again `pause` seconds after it came back.
#[track_caller]
fn check_ejections(pause: u64, expected: &[u64]) {
    let mut health = Health::new(HealthSettings::default());
    let mut now = 1_000;
    let mut spans = Vec::new();
    for _ in expected {
        health.eject(at(now));
        let start = now;
        loop {
            now += 1;
            match health.admit(at(now)) {
                Admission::Free => break,
                // It answers well and badly by turns, so that it is not let back early.
                Admission::Probe(ticket) => health.probed(at(now), ticket, now % 2 == 0),
                Admission::Refused => {}
            }
        }
        spans.push(now - start);
        now += pause;
    }
    assert_eq!(spans, expected);
}

#[test]
fn each_ejection_is_longer_than_the_last_unless_it_was_well_in_between() {
    check_ejections(1, &[30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300]);
    check_ejections(30, &[30, 30, 30]);
}

#[test]
fn an_outlier_that_answers_five_probes_is_back_early_and_starts_afresh() {
    let mut health = Health::new(HealthSettings::default());
    for _ in 0..19 {
        health.good(at(1));
        health.bad(at(1));
    }
    health.eject(at(1));
    for _ in 0..5 {
        let Admission::Probe(ticket) = health.admit(at(6)) else { panic!("{health:?}") };
        health.probed(at(6), ticket, true);
    }
    assert_eq!(health.gate(), Gate::Free);
    assert_eq!(health.tally(at(6)).calls(), 0);
}

/// What it is told at second 0, and the gate.
#[track_caller]
fn check_cooling(retry_after: &[Option<u64>], expected: Gate) {
    let mut health = Health::new(HealthSettings::default());
    for seconds in retry_after {
        health.throttled(at(0), seconds.map(Duration::from_secs));
    }
    assert_eq!(health.gate(), expected);
}

#[test]
fn whoever_has_too_much_to_do_is_left_alone_for_as_long_as_it_says() {
    check_cooling(&[None], Gate::Soft(at(1)));
    check_cooling(&[Some(7)], Gate::Firm(at(7)));
    check_cooling(&[Some(7), None], Gate::Firm(at(7)));
    check_cooling(&[Some(7), Some(3)], Gate::Firm(at(7)));
    check_cooling(&[None, Some(3)], Gate::Firm(at(3)));
    check_cooling(&[Some(86_400)], Gate::Firm(at(60)));
}

#[test]
fn refused_credentials_shut_it_at_once() {
    let mut health = Health::new(HealthSettings::default());
    health.refused_credentials(at(0));
    assert_eq!(health.gate(), Gate::Shut(Cause::Credentials, at(20)));
    health.refused_credentials(at(10));
    assert_eq!(health.gate(), Gate::Shut(Cause::Credentials, at(20)));
}

#[track_caller]
fn check_condition(good: u32, bad: u32, first_token: Option<u64>, expected: Condition) {
    let breaker = BreakerSettings { failures: u32::MAX, ..BreakerSettings::default() };
    let mut health = Health::new(HealthSettings { breaker, ..HealthSettings::default() });
    (0..good).for_each(|_| health.good(at(1)));
    (0..bad).for_each(|_| _ = health.bad(at(1)));
    let first_token = first_token.map(Duration::from_secs);
    assert_eq!(health.condition(at(1), first_token), expected);
}

#[test]
fn success_and_speed_make_the_condition() {
    check_condition(0, 0, None, Condition::Healthy);
    check_condition(8, 1, None, Condition::Healthy);
    check_condition(100, 5, Some(1), Condition::Healthy);
    check_condition(100, 10, Some(1), Condition::Degraded);
    check_condition(100, 0, Some(11), Condition::Degraded);
    check_condition(50, 50, Some(1), Condition::Unhealthy);
}
