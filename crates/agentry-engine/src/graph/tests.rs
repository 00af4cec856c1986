use serde_json::json;

use super::*;

#[test]
fn conditions_test_a_value_or_a_part_of_it() {
    let values: Values = serde_json::from_value(json!({
        "decision": { "kind": "approve", "votes": 3 }, "empty": null, "list": [10, 20]
    }))
    .unwrap();
    let check = |channel: &str, pointer: &str, test: Test, expected: bool| {
        let condition = Condition::new(channel, test).at(pointer);
        assert_eq!(condition.holds(&values), expected, "{condition:?}");
    };
    check("decision", "", Test::Exists, true);
    check("decision", "/nothing", Test::Exists, false);
    check("empty", "", Test::Missing, true);
    check("nothing", "", Test::Missing, true);
    check("decision", "/kind", Test::Equals(json!("approve")), true);
    check("decision", "/kind", Test::Differs(json!("approve")), false);
    check("nothing", "", Test::Differs(json!("approve")), true);
    check("list", "/1", Test::AtLeast(20), true);
    check("list", "/1", Test::Below(20), false);
    check("decision", "/kind", Test::Below(20), false);
}

#[test]
fn the_backoff_doubles_up_to_its_bound() {
    let settings = NodeSettings::default().attempts(99, Duration::from_secs(1));
    let pauses = [1, 2, 3, 6, 7, 64, 65, 99].map(|failures| settings.backoff(failures).as_secs());
    assert_eq!(pauses, [1, 2, 4, 32, 60, 60, 60, 60]);
}

#[test]
fn a_graph_is_data() {
    let text = r#"{
        "name": "g", "revision": 1, "steps_max": 9,
        "channels": { "seen": "append" },
        "nodes": { "a": {
            "deadline_ms": 100, "attempts_max": 2, "backoff_ms": 500, "backoff_max_ms": 60000
        } },
        "edges": [
            { "kind": "plain", "from": "START", "to": "a" },
            { "kind": "when", "from": "a", "to": "END",
              "condition": { "channel": "seen", "pointer": "/0", "test": { "equals": 1 } } },
            { "kind": "otherwise", "from": "a", "to": "a" }
        ]
    }"#;
    let graph: Graph = serde_json::from_str(text).unwrap();
    assert_eq!(graph.problems(), []);
    let again: Graph = serde_json::from_str(&serde_json::to_string(&graph).unwrap()).unwrap();
    assert_eq!((again.version(), again), (graph.version(), graph));
}
