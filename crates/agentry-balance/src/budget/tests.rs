use std::time::Duration;

use proptest::prelude::*;

use super::*;

proptest! {
    /// Calls and retries at any times: in no ten seconds are there more retries than 50 and a fifth of the calls.
    #[test]
    fn the_budget_is_never_exceeded(events in prop::collection::vec((0..400_u64, any::<bool>(), 1..30_u32), 1..300)) {
        let start = Instant::now();
        let budget = RetryBudget::new(start);
        let (mut now, mut calls, mut retries) = (0, Vec::new(), Vec::new());
        for (passed, is_call, count) in events {
            now += passed;
            let at = start + Duration::from_millis(now);
            for _ in 0..count {
                if is_call {
                    budget.deposit(at);
                    calls.push(now);
                } else if budget.withdraw(at) {
                    retries.push(now);
                    let recent = |times: &[u64]| times.iter().filter(|time| **time + 10_000 > now).count();
                    let allowed = 50 + recent(&calls) / 5;
                    prop_assert!(recent(&retries) <= allowed, "{} of {allowed}", recent(&retries));
                }
            }
        }
    }
}

/// How many retries are allowed at once after so many calls.
#[track_caller]
fn check(calls: usize, expected: usize) {
    let start = Instant::now();
    let budget = RetryBudget::new(start);
    (0..calls).for_each(|_| budget.deposit(start));
    assert_eq!((0..10_000).filter(|_| budget.withdraw(start)).count(), expected);
    // What was not used is lost, what was used comes back.
    let later = start + Duration::from_secs(11);
    assert_eq!((0..10_000).filter(|_| budget.withdraw(later)).count(), 50);
}

#[test]
fn one_retry_for_five_calls_and_five_a_second() {
    check(0, 50);
    check(100, 70);
    check(10_000, 2_050);
}
