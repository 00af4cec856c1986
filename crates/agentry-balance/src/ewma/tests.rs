use super::*;

const UNKNOWN: Duration = Duration::from_millis(100);

fn at(seconds: f64) -> Moment {
    Moment::default().plus(Duration::from_secs_f64(seconds))
}

/// Samples as (time, seconds), then the reading at some time.
#[track_caller]
fn check(samples: &[(f64, f64)], then: f64, expected: f32) {
    let ewma = Ewma::default();
    for &(time, sample) in samples {
        ewma.peak(at(time), Duration::from_secs_f64(sample), UNKNOWN);
    }
    let read = ewma.read(at(then), UNKNOWN);
    assert!((read - expected).abs() < 0.002, "read {read}, expected {expected}");
}

#[test]
fn a_peak_is_taken_at_once_and_forgotten_slowly() {
    check(&[], 5.0, 0.1);
    check(&[(1.0, 0.5)], 1.0, 0.5);
    check(&[(1.0, 0.5), (1.0, 3.0)], 1.0, 3.0);
    // Ten seconds later a third of the distance is left.
    check(&[(1.0, 3.0), (11.0, 0.5)], 11.0, 0.5 + 2.5 / std::f32::consts::E);
    // Without a sample it drifts to what is expected of an unknown target.
    check(&[(1.0, 3.0)], 11.0, 0.1 + 2.9 / std::f32::consts::E);
    check(&[(1.0, 3.0)], 1_000.0, 0.1);
    // Reports out of order change no more than they say.
    check(&[(5.0, 3.0), (4.9, 1.0)], 5.0, 3.0);
}

#[test]
fn a_mean_follows_samples_that_come_together() {
    let ewma = Ewma::default();
    for sample in [1.0, 2.0].repeat(500) {
        ewma.mean(at(1.0), Duration::from_secs_f64(sample));
    }
    let mean = ewma.last().unwrap().as_secs_f64();
    assert!((1.4..1.6).contains(&mean), "{mean}");
}

#[test]
fn a_failure_raises_and_never_lowers() {
    let ewma = Ewma::default();
    ewma.peak(at(1.0), Duration::from_secs(2), UNKNOWN);
    ewma.at_least(at(1.0), Duration::from_millis(5), UNKNOWN);
    assert_eq!(ewma.last(), Some(Duration::from_secs(2)));
    ewma.at_least(at(1.0), Duration::from_secs(15), UNKNOWN);
    assert_eq!(ewma.last(), Some(Duration::from_secs(15)));
}
