use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const MEANS: Means = Means { time: MINUTE, has_fallback: false, random: u64::MAX };
const BROKEN: Blame = Blame::Target { retry_after: None };

fn set(targets: &[usize]) -> Targets {
    targets.iter().copied().collect()
}

fn throttled(seconds: u64) -> Blame {
    Blame::Throttled { retry_after: Some(Duration::from_secs(seconds)) }
}

/// Of three targets, all open, the first two are the same model; the first one that is not tried is asked.
struct Call {
    attempts: Attempts,
    open: Targets,
    shut: Targets,
    means: Means,
}

impl Call {
    fn new(retries: u32) -> Self {
        Self {
            attempts: Attempts::new(retries),
            open: set(&[0, 1, 2]),
            shut: Targets::NONE,
            means: MEANS,
        }
    }

    fn after(&mut self, blame: Blame) -> Next {
        let failed = self.open.without(self.attempts.tried()).next().unwrap_or(0);
        let same_model = if failed < 2 { set(&[0, 1]) } else { set(&[2]) };
        let Self { open, shut, .. } = *self;
        let outlook = Outlook { failed, all: set(&[0, 1, 2]), open, shut, same_model };
        self.attempts.after(blame, outlook, self.means)
    }
}

/// What follows each of the failures of one call, and who is out then.
#[track_caller]
fn check(mut call: Call, blames: &[Blame], expected: &[Next], tried: &[usize]) {
    let next: Vec<_> = blames.iter().map(|blame| call.after(*blame)).collect();
    assert_eq!(next, expected);
    assert_eq!(call.attempts.tried(), set(tried));
    let asked = next.iter().filter(|next| matches!(next, Next::Other | Next::Again { .. })).count();
    assert_eq!(call.attempts.made() as usize, asked + 1);
}

fn again(millis: u64) -> Next {
    Next::Again { wait: Duration::from_millis(millis) }
}

#[test]
fn the_next_one_is_asked_at_once_and_the_same_ones_after_a_wait() {
    let broken = [BROKEN; 5];
    check(Call::new(9), &broken[..2], &[Next::Other, Next::Other], &[0, 1]);
    check(Call::new(9), &broken[..3], &[Next::Other, Next::Other, again(250)], &[]);
    check(Call::new(2), &broken[..3], &[Next::Other, Next::Other, Next::GiveUp], &[0, 1, 2]);
    check(Call::new(0), &broken[..1], &[Next::GiveUp], &[0]);
}

#[test]
fn what_is_wrong_with_the_request_is_wrong_everywhere() {
    check(Call::new(9), &[Blame::Caller], &[Next::GiveUp], &[0]);
    let means = Means { has_fallback: true, ..MEANS };
    check(Call { means, ..Call::new(9) }, &[Blame::Caller], &[Next::GiveUp], &[0]);
}

#[test]
fn what_is_too_long_or_unwanted_goes_to_another_model_only() {
    for blame in [Blame::ContextLength, Blame::ContentPolicy] {
        check(Call::new(9), &[blame], &[Next::Other], &[0, 1]);
        check(Call::new(9), &[blame, blame], &[Next::Other, Next::GiveUp], &[0, 1, 2]);
        let means = Means { has_fallback: true, ..MEANS };
        let call = Call { means, ..Call::new(9) };
        check(call, &[blame, blame], &[Next::Other, Next::Fallback], &[0, 1, 2]);
        // The model stays out, though its other target was never asked.
        check(Call::new(9), &[blame, BROKEN], &[Next::Other, again(250)], &[0, 1]);
    }
}

#[test]
fn whoever_was_silent_or_refused_us_is_not_asked_again() {
    for blame in [Blame::Silent, Blame::Credentials, Blame::NoModel] {
        let expected = [Next::Other, Next::Other, Next::GiveUp];
        check(Call::new(9), &[blame; 3], &expected, &[0, 1, 2]);
        let expected = [Next::Other, Next::Other, again(250)];
        check(Call::new(9), &[blame, BROKEN, BROKEN], &expected, &[0]);
        let alone = Call { open: set(&[0]), ..Call::new(9) };
        check(alone, &[blame], &[again(250)], &[0]);
    }
}

#[test]
fn a_wish_to_be_left_alone_is_honoured_up_to_a_minute() {
    let alone = || Call { open: Targets::NONE, ..Call::new(9) };
    check(alone(), &[throttled(7)], &[again(7_250)], &[]);
    check(alone(), &[throttled(59)], &[again(59_250)], &[]);
    check(alone(), &[throttled(60)], &[Next::GiveUp], &[0]);
    let hour = Means { time: MINUTE * 60, ..MEANS };
    check(Call { means: hour, ..alone() }, &[throttled(60)], &[again(60_250)], &[]);
    check(Call { means: hour, ..alone() }, &[throttled(61)], &[Next::GiveUp], &[0]);
    // Others need not wait for it.
    check(Call::new(9), &[throttled(7)], &[Next::Other], &[0]);
    let other = Means { has_fallback: true, ..MEANS };
    check(Call { means: other, ..alone() }, &[throttled(7)], &[again(7_250)], &[]);
    check(Call { means: other, ..alone() }, &[throttled(30)], &[Next::Fallback], &[0]);
}

#[test]
fn whoever_is_shut_is_not_waited_for() {
    let shut = |shut| Call { open: Targets::NONE, shut: set(shut), ..Call::new(9) };
    check(shut(&[0, 1]), &[BROKEN], &[again(250)], &[]);
    check(shut(&[0, 1, 2]), &[BROKEN], &[Next::GiveUp], &[0]);
    check(shut(&[1, 2]), &[Blame::Silent], &[Next::GiveUp], &[0]);
}

#[test]
fn without_time_nothing_is_tried() {
    let none = Means { time: Duration::ZERO, has_fallback: true, ..MEANS };
    check(Call { means: none, ..Call::new(9) }, &[BROKEN], &[Next::GiveUp], &[0]);
    let little = Means { time: Duration::from_millis(200), ..MEANS };
    let alone = Call { open: Targets::NONE, means: little, ..Call::new(9) };
    check(alone, &[BROKEN], &[Next::GiveUp], &[0]);
}

/// What follows when nobody can be picked.
#[track_caller]
fn check_nobody(why: Why, after: u64, has_fallback: bool, expected: Next) {
    let nobody = Nobody { after: Duration::from_secs(after), why };
    let means = Means { has_fallback, ..MEANS };
    assert_eq!(Attempts::new(2).nobody(nobody, means), expected);
}

#[test]
fn a_shut_target_is_not_waited_for_and_a_busy_one_is() {
    let shut = Why::Shut(crate::Cause::Failing);
    check_nobody(shut, 1, false, Next::GiveUp);
    check_nobody(shut, 1, true, Next::Fallback);
    check_nobody(Why::Tried, 0, false, Next::GiveUp);
    check_nobody(Why::Throttled, 2, false, again(2_250));
    check_nobody(Why::Throttled, 2, true, again(2_250));
    check_nobody(Why::Throttled, 40, true, Next::Fallback);
    check_nobody(Why::Throttled, 70, false, Next::GiveUp);
}

#[test]
fn without_budget_there_is_no_retry_but_there_is_another_alias() {
    let now = Instant::now();
    let budget = RetryBudget::new(now);
    while budget.withdraw(now) {}
    let other = Means { has_fallback: true, ..MEANS };
    for (next, alone, with_fallback) in [
        (Next::Other, Next::GiveUp, Next::Fallback),
        (again(5), Next::GiveUp, Next::Fallback),
        (Next::Fallback, Next::Fallback, Next::Fallback),
        (Next::GiveUp, Next::GiveUp, Next::GiveUp),
    ] {
        assert_eq!(next.within(&budget, now, MEANS), alone);
        assert_eq!(next.within(&budget, now, other), with_fallback);
        assert_eq!(next.within(&RetryBudget::new(now), now, MEANS), next);
    }
}

proptest! {
    #[test]
    fn a_backoff_is_anything_up_to_a_doubling_bound(attempts: u32, random: u64) {
        let bound = 250 * 2_u64.pow(attempts.min(5));
        prop_assert!(backoff(attempts, random) <= Duration::from_millis(bound));
        prop_assert_eq!(backoff(attempts, u64::MAX), Duration::from_millis(bound));
        prop_assert_eq!(backoff(attempts, 0), Duration::ZERO);
    }

    #[test]
    fn no_call_makes_more_attempts_than_it_may(
        retries in 0..5_u32,
        blames in prop::collection::vec(0..7_usize, 0..20),
        open in 0..8_usize,
        random: u64,
    ) {
        let all = [BROKEN, Blame::Silent, throttled(1), Blame::Credentials, Blame::NoModel, Blame::ContextLength, Blame::ContentPolicy];
        let open = (0..3).filter(|target| open >> target & 1 == 1).collect();
        let means = Means { random, ..MEANS };
        let mut call = Call { open, means, ..Call::new(retries) };
        for blame in blames {
            let before = call.attempts.struck;
            if call.after(all[blame]) == Next::GiveUp {
                break;
            }
            prop_assert!(before.without(call.attempts.struck).is_empty());
        }
        prop_assert!(call.attempts.made() <= retries + 1);
    }
}
