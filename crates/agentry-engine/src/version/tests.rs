use serde_json::json;

use super::{Moving, schema_of};

#[test]
fn a_version_says_which_schema_its_state_has() {
    let check =
        |version: &str, expected: usize| assert_eq!(schema_of(version), expected, "{version}");
    check("0123456789abcdef", 1);
    check("0123456789abcdef@3", 3);
    check("", 1);
}

#[test]
fn a_node_that_is_renamed_twice_has_its_last_name() {
    let mut thread = Moving::new([("a".to_owned(), json!(1))].into_iter().collect());
    thread.rename_node("write", "compose");
    thread.rename_node("compose", "draft");
    thread.rename("a", "b");
    thread.rename("nothing", "c");
    thread.provide("b", 2);
    let expected = [("write", "draft"), ("compose", "draft")];
    assert_eq!(thread.nodes, expected.map(|(from, to)| (from.to_owned(), to.to_owned())).into());
    assert_eq!(json!(thread.values), json!({ "b": 1 }));
}
