use serde_json::json;

use super::*;

#[test]
fn equal_members_have_the_same_word_and_others_do_not() {
    let check = |left: Value, right: Value, same: bool| {
        let word = |value: &Value| token("k", value);
        assert_eq!(word(&left) == word(&right), same, "{left} {right}");
    };
    check(json!({ "a": 1, "b": [2] }), json!({ "b": [2], "a": 1 }), true);
    check(json!({ "a": 1 }), json!({ "a": 1.0 }), false);
    check(json!("1"), json!(1), false);
    check(json!([1, 2]), json!([2, 1]), false);
    check(json!([[1], 2]), json!([[1, 2]]), false);
    check(json!({ "a": { "b": null } }), json!({ "a": {} }), false);
    assert_ne!(token("a", &json!("b")), token("a\"b", &json!("")));
}
