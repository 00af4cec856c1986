use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_gate_survives_being_packed() {
    for gate in [
        Gate::Free,
        Gate::Soft(Moment::from_micros(1)),
        Gate::Firm(Moment::from_micros(86_400_000_000)),
        Gate::Shut(Cause::Failing, Moment::default()),
        Gate::Shut(Cause::Outlier, Moment::from_micros(7)),
        Gate::Shut(Cause::Credentials, Moment::from_micros(u64::MAX >> KIND_BITS)),
        Gate::Shut(Cause::Check, Moment::from_micros(7)),
    ] {
        assert_eq!(unpack(pack(gate)), gate);
    }
}

#[test]
fn a_snapshot_says_what_was_measured() {
    let start = Instant::now();
    let vitals = Vitals::new(Settings::default(), start);
    let asked = Asked { mode: Mode::Streamed, at: start };
    for _ in 0..30 {
        vitals.first_token(start + SECOND, asked, None);
        vitals.succeeded(start + SECOND * 4, asked, None);
    }
    vitals.enter();
    let now = start + SECOND * 10;
    let snapshot = vitals.snapshot(now);
    assert_eq!(snapshot.condition, Condition::Healthy);
    assert_eq!(snapshot.circuit, Circuit::Closed);
    assert_eq!((snapshot.open_since, snapshot.cooling), (None, None));
    assert_eq!((snapshot.in_flight, snapshot.recent_calls), (1, 30));
    assert_eq!(snapshot.expected_first_token, Some(SECOND));
    assert_eq!((snapshot.first_token.calls, snapshot.total.calls), (30, 30));
    // 30 calls in ten seconds, each of four: twelve at once.
    assert!((snapshot.flow.in_system() - 12.0).abs() < 0.01, "{snapshot:?}");
    assert_eq!(snapshot.limit, None);
}

/// The standing at second 5, the condition and the circuit after failed calls and active checks at second 0.
#[track_caller]
fn check_checks(failures: u32, checks: &[Checked], expected: (Standing, Condition, Circuit)) {
    let start = Instant::now();
    let vitals = Vitals::new(Settings::default(), start);
    for _ in 0..failures {
        vitals.failed(start, None, None, Blame::Silent);
    }
    checks.iter().for_each(|found| vitals.mark_checked(start, *found));
    let snapshot = vitals.snapshot(start);
    let standing = vitals.standing(start + SECOND * 5);
    assert_eq!((standing, snapshot.condition, snapshot.circuit), expected);
}

#[test]
fn a_check_leaves_a_target_alone_until_it_is_seen_again() {
    let (healthy, unhealthy) = (Condition::Healthy, Condition::Unhealthy);
    let (up, down) = (Checked::Up, Checked::Down { believed_for: SECOND * 30 });
    let out = Circuit::Open(Cause::Check);
    check_checks(0, &[up], (Standing::Free, healthy, Circuit::Closed));
    let shut = Standing::Shut(Cause::Check, SECOND * 25);
    check_checks(0, &[down], (shut, unhealthy, out));
    check_checks(0, &[down, up], (Standing::Free, healthy, Circuit::Closed));
    // What nobody has looked at for so long may be tried.
    let brief = Checked::Down { believed_for: SECOND * 4 };
    check_checks(0, &[brief], (Standing::Due(Cause::Check), unhealthy, out));
    // A check does not close what calls have opened, but a call may try at once what is seen again.
    let failing = Circuit::Open(Cause::Failing);
    check_checks(5, &[up], (Standing::Due(Cause::Failing), unhealthy, failing));
    let probing = Circuit::HalfOpen(Cause::Failing);
    check_checks(5, &[down, up], (Standing::Due(Cause::Failing), unhealthy, probing));
    check_checks(5, &[down], (shut, unhealthy, out));
}

/// What is expected of a target with so much left of its rate limit, in relation to one that says nothing, after so long.
#[track_caller]
fn check_headroom(left: f32, later: u64, expected: f64) {
    let start = Instant::now();
    let vitals = Vitals::new(Settings::default(), start);
    vitals.headroom(start, left, Duration::from_secs(10));
    let now = start + Duration::from_secs(later);
    let ratio = vitals.expected(now, Mode::Streamed) / 0.1;
    assert!((ratio - expected).abs() < 0.01, "{ratio}, expected {expected}");
}

#[test]
fn little_headroom_makes_a_target_dear_until_it_is_filled_up() {
    check_headroom(1.0, 0, 1.0);
    check_headroom(0.5, 0, 2.0);
    check_headroom(0.001, 9, 20.0);
    check_headroom(0.001, 11, 1.0);
}

#[test]
fn without_headroom_a_target_is_left_alone() {
    let start = Instant::now();
    let vitals = Vitals::new(Settings::default(), start);
    vitals.headroom(start, 0.0, Duration::from_secs(10));
    assert_eq!(vitals.standing(start), Standing::Cooling(Duration::from_secs(10)));
    assert_eq!(vitals.standing(start + Duration::from_secs(10)), Standing::Free);
}
