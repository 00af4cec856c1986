use serde_json::json;

use super::*;

#[test]
fn a_write_meets_what_is_there() {
    let folded = |current: Option<Value>, delta: Delta| {
        let mut values: agentry_core::run::Values =
            current.into_iter().map(|value| ("it".to_owned(), value)).collect();
        delta.apply(&mut values, "it".to_owned());
        values.remove("it").unwrap()
    };
    let check = |reducer: Reducer, current: Value, write: Value, expected: Option<Value>| {
        let current = Some(current).filter(|value| !value.is_null());
        let reduced = reducer.reduce(&Folds::new(), current.as_ref(), Put::Set(write.clone()));
        let merged = reduced.ok().map(|delta| folded(current.clone(), delta));
        assert_eq!(merged, expected, "{reducer:?} {current:?} {write}");
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
    let append = || Put::Append(vec![json!(1)]);
    let appended = Ok(Delta::Append(vec![json!(1)]));
    assert_eq!(Reducer::Append.reduce(&Folds::new(), None, append()), appended);
    for reducer in [Reducer::Last, Reducer::Sum, Reducer::Max, Reducer::Merge] {
        assert!(reducer.reduce(&Folds::new(), None, append()).is_err(), "{reducer:?}");
    }
}
