use proptest::prelude::*;

use super::*;

const OPEN_FOR: Duration = Duration::from_secs(30);

fn at(seconds: f64) -> Moment {
    Moment::default().plus(Duration::from_secs_f64(seconds))
}

/// The moments at which one probe after the other is let through when each fails at once.
#[track_caller]
fn check_pace(cause: Cause, expected: &[u64]) {
    let mut breaker = Breaker::default();
    breaker.open(at(0.0), cause, OPEN_FOR);
    let mut probed = Vec::new();
    for second in 0..=100 {
        let now = at(f64::from(second));
        if let Admission::Probe(ticket) = breaker.admit(now) {
            probed.push(u64::try_from(second).unwrap());
            breaker.probed(now, ticket, false);
        }
    }
    assert_eq!(probed, expected);
}

#[test]
fn probes_of_a_failing_target_come_at_doubling_intervals() {
    check_pace(Cause::Failing, &[1, 3, 7, 15, 31, 51, 71, 91]);
    check_pace(Cause::Outlier, &(5..=100).step_by(5).collect::<Vec<_>>());
    check_pace(Cause::Credentials, &[20, 40, 60, 80, 100]);
}

#[test]
fn a_probe_that_was_cancelled_makes_way_for_another() {
    let mut breaker = Breaker::default();
    breaker.open(at(0.0), Cause::Failing, OPEN_FOR);
    let Admission::Probe(first) = breaker.admit(at(1.0)) else { panic!("{breaker:?}") };
    assert_eq!(breaker.admit(at(1.0)), Admission::Refused);
    breaker.released(first);
    let Admission::Probe(second) = breaker.admit(at(1.0)) else { panic!("{breaker:?}") };
    // The first has no say any more.
    breaker.probed(at(1.0), first, true);
    breaker.released(first);
    assert_eq!(breaker.admit(at(1.0)), Admission::Refused);
    breaker.probed(at(1.0), second, true);
    assert!(breaker.is_probing());
}

#[test]
fn whoever_is_seen_again_may_be_probed_at_once() {
    let mut breaker = Breaker::default();
    breaker.open(at(0.0), Cause::Failing, OPEN_FOR);
    assert_eq!(breaker.admit(at(0.1)), Admission::Refused);
    breaker.hurry(at(0.1));
    let Admission::Probe(probe) = breaker.admit(at(0.1)) else { panic!("it is due") };
    breaker.hurry(at(0.2));
    assert_eq!(breaker.admit(at(0.2)), Admission::Refused, "one at a time");
    breaker.probed(at(0.3), probe, true);
    assert_eq!(breaker.cause(), Some(Cause::Failing));
}

#[test]
fn an_ejection_ends_by_itself() {
    let mut breaker = Breaker::default();
    breaker.open(at(0.0), Cause::Outlier, OPEN_FOR);
    breaker.until(at(3.0));
    assert_eq!(breaker.due(), Some(at(3.0)));
    assert_eq!(breaker.admit(at(2.9)), Admission::Refused);
    assert_eq!(breaker.admit(at(3.0)), Admission::Free);
    assert_eq!(breaker.cause(), None);
}

/// What may happen to a breaker, after some milliseconds.
#[derive(Debug, Clone, Copy)]
enum Step {
    Open,
    Admit,
    /// Of the tickets handed out, counted back from the latest.
    Probed {
        back: usize,
        ok: bool,
    },
    Released {
        back: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![
        1 => Just(Step::Open),
        4 => Just(Step::Admit),
        4 => (0..3_usize, any::<bool>()).prop_map(|(back, ok)| Step::Probed { back, ok }),
        1 => (0..2_usize).prop_map(|back| Step::Released { back }),
    ];
    prop::collection::vec((0..4_000_u64, step), 0..200)
}

/// Closed until opened; then one probe at a time, and two that went well one after the other close it.
#[derive(Debug, Default)]
struct Model {
    is_shut: bool,
    under_way: Option<usize>,
    went_well: u32,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn it_does_as_the_simple_model(steps in steps()) {
        let mut breaker = Breaker::default();
        let mut model = Model::default();
        let mut tickets: Vec<(Ticket, u64)> = Vec::new();
        let mut now = 0;
        for (passed, step) in steps {
            now += passed;
            let moment = Moment::from_micros(now * 1_000);
            match step {
                Step::Open => {
                    breaker.open(moment, Cause::Failing, OPEN_FOR);
                    model = Model { is_shut: true, ..Model::default() };
                }
                Step::Admit => match breaker.admit(moment) {
                    Admission::Free => prop_assert!(!model.is_shut),
                    Admission::Refused => prop_assert!(model.is_shut),
                    Admission::Probe(ticket) => {
                        prop_assert!(model.is_shut);
                        if let Some(pending) = model.under_way {
                            let age = now - tickets[pending].1;
                            prop_assert!(age >= 5_000, "a second probe after {age} ms");
                        }
                        model.under_way = Some(tickets.len());
                        tickets.push((ticket, now));
                    }
                },
                Step::Probed { back, ok } => {
                    let Some(index) = tickets.len().checked_sub(back + 1) else { continue };
                    breaker.probed(moment, tickets[index].0, ok);
                    if model.is_shut && model.under_way == Some(index) {
                        model.under_way = None;
                        model.went_well = if ok { model.went_well + 1 } else { 0 };
                        model.is_shut = model.went_well < 2;
                    }
                }
                Step::Released { back } => {
                    let Some(index) = tickets.len().checked_sub(back + 1) else { continue };
                    breaker.released(tickets[index].0);
                    if model.under_way == Some(index) {
                        model.under_way = None;
                    }
                }
            }
            prop_assert_eq!(breaker.cause().is_some(), model.is_shut);
        }
    }

    /// Somebody calls twice a second; while it is broken a probe fails after `fails_after`, which is up to a timeout of 15 s.
    #[test]
    fn whoever_is_well_again_is_back_within_thirty_seconds(
        broken_for in 0..400_000_u64,
        fails_after in 1..15_000_u64,
        first_token in 1..3_000_u64,
    ) {
        let mut breaker = Breaker::default();
        breaker.open(Moment::default(), Cause::Failing, OPEN_FOR);
        let mut under_way: Vec<(u64, Ticket, bool)> = Vec::new();
        let mut closed = None;
        for now in (0..broken_for + 31_000).step_by(50) {
            let moment = Moment::from_micros(now * 1_000);
            for (_, ticket, ok) in under_way.extract_if(.., |(ends, _, _)| *ends <= now) {
                breaker.probed(moment, ticket, ok);
            }
            if breaker.cause().is_none() {
                closed = Some(now);
                break;
            }
            if now % 500 == 0 && let Admission::Probe(ticket) = breaker.admit(moment) {
                let ok = now >= broken_for;
                under_way.push((now + if ok { first_token } else { fails_after }, ticket, ok));
            }
        }
        let closed = closed.map(|closed| closed.saturating_sub(broken_for));
        prop_assert!(closed.is_some_and(|after| after <= 30_000), "{closed:?}");
    }
}
