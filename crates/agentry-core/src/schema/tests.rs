use serde_json::json;

use super::*;

#[test]
fn a_value_is_held_to_its_schema() {
    let schema = json!({
        "type": "object",
        "properties": {
            "decision": { "enum": ["approve", "reject"] },
            "score": { "type": "integer", "minimum": 0, "maximum": 10 },
            "tags": { "type": "array", "items": { "type": "string", "minLength": 2 }, "maxItems": 2 },
            "at": { "type": ["string", "null"], "pattern": "^\\d+$" },
        },
        "required": ["decision"],
        "additionalProperties": false,
    });
    let schema = Schema::parse(schema).unwrap();
    let check = |value: Value, expected: &[&str]| {
        assert_eq!(schema.complaints(&value), expected, "{value}");
    };
    check(json!({ "decision": "approve", "score": 3, "tags": ["ab"], "at": null }), &[]);
    check(json!({ "decision": "perhaps" }), &["`decision` must be one of \"approve\", \"reject\""]);
    check(json!({}), &["it needs `decision`"]);
    check(json!("approve"), &["it must be an object"]);
    check(json!({ "decision": "reject", "more": 1 }), &["it has `more`, which is not asked for"]);
    check(
        json!({ "decision": "reject", "score": 11, "tags": ["a", "bc", "de"], "at": "x" }),
        &[
            "`score` must be at most 10",
            "`tags` must have at most 2 items",
            "`tags[0]` must have at least 2 letters",
            "`at` must match ^\\d+$",
        ],
    );
}

#[test]
fn what_is_not_understood_is_said() {
    let check = |schema: Value, expected: &[&str]| {
        assert_eq!(Schema::parse(schema.clone()).unwrap_err(), expected, "{schema}");
    };
    check(json!({ "type": "strnig" }), &["the schema has a `type` that means nothing"]);
    check(json!({ "$ref": "#/x" }), &["the schema uses `$ref`, which is not supported"]);
    check(
        json!({ "properties": { "a": { "items": { "pattern": "(" } } } }),
        &["the schema of `a[]` has a `pattern` that means nothing"],
    );
    check(
        json!({ "required": ["a"], "additionalProperties": false }),
        &["the schema requires `a`, which it refuses as well"],
    );
}
