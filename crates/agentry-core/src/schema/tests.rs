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
    check(json!({ "$ref": "#/x" }), &["the schema refers to `#/x`, which it does not have"]);
    check(json!({ "if": {} }), &["the schema uses `if`, which is not supported"]);
    check(
        json!({ "properties": { "a": { "items": { "pattern": "(" } } } }),
        &["the schema of `a[]` has a `pattern` that means nothing"],
    );
    check(
        json!({ "required": ["a"], "additionalProperties": false }),
        &["the schema requires `a`, which it refuses as well"],
    );
}

#[test]
fn schemas_are_put_together() {
    let tree = json!({ "items": { "$ref": "#/$defs/tree" } });
    let schema = json!({
        "$defs": {
            "money": { "type": "number", "multipleOf": 0.5 },
            "tree": { "type": "object", "properties": { "under": tree } },
        },
        "properties": {
            "price": { "$ref": "#/$defs/money" },
            "tree": { "$ref": "#/$defs/tree" },
            "either": { "oneOf": [{ "minimum": 1 }, { "maximum": 3 }] },
            "both": { "allOf": [{ "type": "string" }, { "not": { "const": "no" } }] },
            "set": { "uniqueItems": true },
            "some": { "minProperties": 1 },
        },
    });
    let schema = Schema::parse(schema).unwrap();
    let check = |value: Value, expected: &[&str]| {
        assert_eq!(schema.complaints(&value), expected, "{value}");
    };
    check(
        json!({ "price": 1.5, "either": 4, "both": "yes", "set": [1, 2], "some": { "a": 1 } }),
        &[],
    );
    check(json!({ "price": "free" }), &["`price` must be a number"]);
    check(json!({ "price": 0.7 }), &["`price` must be a multiple of 0.5"]);
    let bad = json!({ "tree": { "under": [{ "under": [7] }] } });
    check(bad, &["`tree.under[0].under[0]` must be an object"]);
    check(json!({ "either": 2 }), &["`either` fits more than one of the alternatives"]);
    check(json!({ "both": "no" }), &["`both` is what it must not be"]);
    check(json!({ "both": 1 }), &["`both` must be a string"]);
    check(json!({ "set": [1, 1] }), &["`set` has the same item twice"]);
    check(json!({ "some": {} }), &["`some` must have at least 1 members"]);
}

#[test]
fn a_schema_that_only_refers_to_itself_ends() {
    let check = |schema: Value, expected: &[&str]| {
        assert_eq!(Schema::parse(schema).unwrap().complaints(&json!(1)), expected);
    };
    let alone = json!({ "$defs": { "a": { "$ref": "#/$defs/a" } }, "$ref": "#/$defs/a" });
    check(alone, &["it is nested too deeply"]);
    let twice = json!({ "anyOf": [{ "$ref": "#" }, { "$ref": "#" }] });
    check(twice, &["it fits none of the alternatives"]);
}
