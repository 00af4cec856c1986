use serde_json::json;

use super::*;

#[test]
fn a_window_keeps_what_its_span_shows() {
    let check = |count: u64, (offset, limit), expected: &[u64]| {
        let mut window = Window::new(Span::new(offset, limit).unwrap(), u64::cmp);
        // A permutation: 7 shares no divisor with these counts.
        for number in 0..count {
            window.offer(number * 7 % count);
        }
        assert_eq!(window.finish(), expected);
    };
    check(100, (0, 3), &[0, 1, 2]);
    check(1_000, (10, 2), &[10, 11]);
    check(10, (8, 5), &[8, 9]);
    check(10, (12, 5), &[]);
    check(10, (0, 0), &[]);
}

#[test]
fn more_than_is_given_at_once_is_refused() {
    assert!(Span::new(OFFSET_MAX, LIMIT_MAX).is_ok());
    assert_eq!(Span::new(0, LIMIT_MAX + 1), Err(Invalid::Limit(LIMIT_MAX + 1)));
    assert_eq!(Span::new(OFFSET_MAX + 1, 1), Err(Invalid::Offset(OFFSET_MAX + 1)));
}

#[test]
fn a_part_is_contained_in_what_says_as_much() {
    let check = |part: Value, expected| {
        let whole = json!({"a": 1, "b": {"c": "x", "d": [1, {"e": 2, "f": 3}]}, "n": null});
        let (Value::Object(whole), Value::Object(part)) = (whole, &part) else { panic!() };
        assert_eq!(contains(&whole, part), expected, "{part:?}");
    };
    check(json!({}), true);
    check(json!({"a": 1.0}), true);
    check(json!({"a": "1"}), false);
    check(json!({"b": {"c": "x"}}), true);
    check(json!({"b": {"d": [{"e": 2}]}}), true);
    check(json!({"b": {"d": [2]}}), false);
    check(json!({"n": null}), true);
    check(json!({"m": null}), false);
}

#[test]
fn numbers_are_compared_exactly() {
    let big = u64::MAX;
    assert_eq!(compare(&json!(big), &json!(big - 1)), Some(Ordering::Greater));
    assert_eq!(compare(&json!(-1), &json!(big)), Some(Ordering::Less));
    assert_eq!(compare(&json!(1.5), &json!(1)), Some(Ordering::Greater));
    assert_eq!(compare(&json!("b"), &json!("a")), Some(Ordering::Greater));
    assert_eq!(compare(&json!("1"), &json!(1)), None);
}
