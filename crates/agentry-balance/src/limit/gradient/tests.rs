use super::*;

const SETTINGS: LimitSettings = LimitSettings { initial: 20, min: 4, max: 100 };

/// 20 calls a second, each with its first token after so long; the whole limit is in use.
fn seconds(gradient: &mut Gradient, from: u64, seconds: u64, first_token: Option<f64>) {
    for tick in 0..seconds * 20 {
        let now = Moment::from_micros(from * 1_000_000 + tick * 50_000);
        let in_use = gradient.limit();
        gradient.observe(now, first_token.map(Duration::from_secs_f64), in_use);
    }
}

#[track_caller]
fn check(first_tokens: &[(u64, Option<f64>)], expected: std::ops::RangeInclusive<u32>) {
    let mut gradient = Gradient::new(SETTINGS);
    let mut now = 0;
    for &(span, first_token) in first_tokens {
        seconds(&mut gradient, now, span, first_token);
        now += span;
    }
    assert!(expected.contains(&gradient.limit()), "{gradient:?}");
}

#[test]
fn it_rises_by_one_a_second_while_first_tokens_come_as_usual() {
    check(&[(31, Some(0.5))], 48..=51);
    check(&[(31, None)], 48..=51);
    check(&[(200, Some(0.5))], 100..=100);
}

#[test]
fn it_falls_while_first_tokens_take_much_longer_than_usual() {
    check(&[(60, Some(0.5)), (20, Some(5.0))], 4..=15);
    check(&[(60, Some(0.5)), (200, Some(50.0))], 4..=4);
    // Half as long again is within what is usual.
    check(&[(31, Some(0.5)), (31, Some(0.7))], 78..=82);
}

#[test]
fn it_does_not_rise_while_less_than_half_is_used() {
    let mut gradient = Gradient::new(SETTINGS);
    for tick in 0..2_000 {
        let now = Moment::from_micros(tick * 50_000);
        gradient.observe(now, Some(Duration::from_millis(500)), 9);
    }
    assert_eq!(gradient.limit(), 20);
}

#[test]
fn it_falls_by_three_tenths_when_told_at_most_once_a_second() {
    let mut gradient = Gradient::new(LimitSettings { initial: 100, ..SETTINGS });
    for _ in 0..50 {
        gradient.throttled(Moment::from_micros(5_000_000));
    }
    assert_eq!(gradient.limit(), 70);
    gradient.throttled(Moment::from_micros(6_000_000));
    assert_eq!(gradient.limit(), 49);
    for second in 7..60 {
        gradient.throttled(Moment::from_micros(second * 1_000_000));
    }
    assert_eq!(gradient.limit(), 4);
}

#[test]
fn bounds_that_cross_are_put_right() {
    assert_eq!(Gradient::new(LimitSettings { initial: 0, min: 0, max: 0 }).limit(), 1);
    assert_eq!(Gradient::new(LimitSettings { initial: 500, min: 10, max: 5 }).limit(), 10);
}
