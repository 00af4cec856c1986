use proptest::prelude::*;

use super::*;
use crate::dice::{Dice, below};

fn at(seconds: u64) -> Moment {
    Moment::default().plus(Duration::from_secs(seconds))
}

proptest! {
    #[test]
    fn a_bucket_says_what_was_put_in_within_three_percent(micros in 1_024_u64..1_073_741_824) {
        let read = middle(bucket(micros)).as_micros() as f64;
        let error = (read - micros as f64).abs() / micros as f64;
        prop_assert!(error < 0.032, "{micros} is read as {read}");
    }

    #[test]
    fn longer_never_goes_into_a_lower_bucket(one: u64, other: u64) {
        let (low, high) = (one.min(other), one.max(other));
        prop_assert!(bucket(low) <= bucket(high));
        prop_assert!(bucket(high) < BUCKETS);
    }
}

#[test]
fn quantiles_are_those_of_the_samples() {
    let latencies = Latencies::default();
    let dice = Dice::new(1);
    let mut samples: Vec<u64> =
        (0..10_000).map(|_| 1_000 + below(dice.roll(), 5_000_000)).collect();
    for &sample in &samples {
        latencies.record(at(1), Duration::from_micros(sample));
    }
    samples.sort_unstable();
    let Quantiles { calls, p50, p95, p99 } = latencies.quantiles(at(1));
    assert_eq!(calls, 10_000);
    for (read, rank) in [(p50, 5_000), (p95, 9_500), (p99, 9_900)] {
        let error = (read.as_micros() as f64 / samples[rank - 1] as f64 - 1.0).abs();
        assert!(error < 0.04, "{read:?} for {}", samples[rank - 1]);
    }
}

/// How many calls are counted at a time when one came at each of `times`.
#[track_caller]
fn check_window(times: &[u64], then: u64, expected: u64) {
    let latencies = Latencies::default();
    for &time in times {
        latencies.record(at(time), Duration::from_secs(1));
    }
    assert_eq!(latencies.quantiles(at(then)).calls, expected);
}

#[test]
fn what_is_older_than_ten_minutes_is_forgotten() {
    check_window(&[], 0, 0);
    check_window(&[0, 299, 300], 599, 3);
    check_window(&[0, 299, 300], 600, 1);
    check_window(&[0, 299, 300], 900, 0);
    check_window(&[0, 299, 300], 100_000, 0);
    check_window(&[0, 650], 650, 1);
    // A straggler does not bring the past back.
    check_window(&[700, 10], 700, 2);
}

#[test]
fn the_calls_in_the_system_are_rate_times_time() {
    let latencies = Latencies::default();
    for second in 0..900 {
        for _ in 0..5 {
            latencies.record(at(second), Duration::from_secs(2));
        }
    }
    let flow = latencies.flow(at(900));
    assert!((flow.per_second - 5.0).abs() < 0.05, "{flow:?}");
    assert_eq!(flow.mean, Duration::from_secs(2));
    assert!((flow.in_system() - 10.0).abs() < 0.1, "{}", flow.in_system());
    assert_eq!(Latencies::default().flow(at(5)), Flow::default());
}
