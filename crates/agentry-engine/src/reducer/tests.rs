use serde_json::json;

use super::*;

#[test]
fn a_write_meets_what_is_there() {
    let set = |value: Value| Delta::Set(value);
    let check = |reducer: Reducer, current: Value, write: Value, expected: Option<Value>| {
        let current = Some(current).filter(|value| !value.is_null());
        let reduced = reducer.reduce(current.as_ref(), Delta::Set(write.clone()));
        assert_eq!(reduced.ok(), expected.map(set), "{reducer:?} {current:?} {write}");
    };
    check(Reducer::Last, json!(1), json!("x"), Some(json!("x")));
    check(Reducer::Append, json!([1]), json!([2]), Some(json!([2])));
    check(Reducer::Sum, Value::Null, json!(2), Some(json!(2)));
    check(Reducer::Sum, json!(1), json!(2), Some(json!(3)));
    check(Reducer::Sum, json!(i64::MAX), json!(1), Some(json!(9_223_372_036_854_775_808.0)));
    check(Reducer::Sum, json!(1), json!(0.5), Some(json!(1.5)));
    check(Reducer::Sum, json!(f64::MAX), json!(f64::MAX), None);
    check(Reducer::Sum, json!(1), json!("2"), None);
    check(Reducer::Max, json!(7), json!(2), Some(json!(7)));
    check(Reducer::Max, json!("seven"), json!(2), Some(json!(2)));
    check(Reducer::Merge, json!({"a": 1, "b": 1}), json!({"b": 2}), Some(json!({"a": 1, "b": 2})));
    check(Reducer::Merge, Value::Null, json!({"b": 2}), Some(json!({"b": 2})));
    check(Reducer::Merge, json!({}), json!([]), None);
}

#[test]
fn only_lists_are_appended_to() {
    let append = || Delta::Append(vec![json!(1)]);
    assert_eq!(Reducer::Append.reduce(None, append()), Ok(append()));
    for reducer in [Reducer::Last, Reducer::Sum, Reducer::Max, Reducer::Merge] {
        assert!(reducer.reduce(None, append()).is_err(), "{reducer:?}");
    }
}
