use serde_json::json;

use super::*;

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("{value} is an object") };
    object
}

fn definition() -> Definition {
    Definition {
        graph: "review".to_owned(),
        name: "Reviewer".to_owned(),
        description: Some("reads".to_owned()),
        config: object(json!({"a": 1})),
        context: object(json!({"b": 2})),
        metadata: object(json!({"team": "red", "size": 1})),
    }
}

#[test]
fn a_change_leaves_what_it_does_not_name() {
    let change = Change {
        config: Some(object(json!({"c": 3}))),
        metadata: object(json!({"size": 2, "new": true})),
        ..Change::default()
    };
    let expected = Definition {
        config: object(json!({"c": 3})),
        metadata: object(json!({"team": "red", "size": 2, "new": true})),
        ..definition()
    };
    assert_eq!(change.apply(&definition()), expected);
    assert_eq!(Change::default().apply(&definition()), definition());
}

#[test]
fn a_query_is_met_in_all_its_parts() {
    let at = Timestamp::from_seconds(0);
    let assistant = Assistant {
        id: "a".to_owned(),
        version: 1,
        definition: definition(),
        created: at,
        updated: at,
    };
    let check = |graph: Option<&str>, name: Option<&str>, metadata, expected| {
        let query = Query {
            graph: graph.map(str::to_owned),
            name: name.map(str::to_owned),
            metadata: object(metadata),
        };
        assert_eq!(query.matches(&assistant), expected, "{query:?}");
    };
    check(None, None, json!({}), true);
    check(Some("review"), Some("VIEW"), json!({"team": "red"}), true);
    check(Some("revie"), None, json!({}), false);
    check(None, Some("writer"), json!({}), false);
    check(None, None, json!({"team": "blue"}), false);
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let check = |definition: Definition, says: &str| {
        let problem = definition.check().unwrap_err().to_string();
        assert!(problem.contains(says), "{problem}");
    };
    assert!(definition().check().is_ok());
    check(Definition { graph: String::new(), ..definition() }, "`graph_id` is empty");
    check(Definition { name: "x".repeat(256), ..definition() }, "`name` is longer");
    let large = object(json!({"x": "y".repeat(DEFINITION_BYTES_MAX)}));
    check(Definition { config: large, ..definition() }, "keep it within");
    let at = Timestamp::from_seconds(0);
    assert!(NewAssistant::new("\0".to_owned(), definition(), at).is_err());
}
