//! The part of JSON Schema that Gemini reads.

use serde_json::{Map, Value};

const KNOWN: [&str; 23] = [
    "$anchor",
    "$defs",
    "$id",
    "$ref",
    "additionalProperties",
    "anyOf",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maximum",
    "minItems",
    "minimum",
    "nullable",
    "oneOf",
    "prefixItems",
    "properties",
    "propertyOrdering",
    "required",
    "title",
    "type",
    "default",
];

/// `schema` without what Gemini would refuse.
pub(super) fn clean(schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let mut kept = Map::new();
    for (name, value) in fields {
        match name.as_str() {
            // Here the names are the author's.
            "properties" | "$defs" => {
                kept.insert(name.clone(), each(value));
            }
            "definitions" => {
                kept.insert("$defs".to_owned(), each(value));
            }
            "$ref" => {
                let target = value.as_str().unwrap_or_default();
                let target = target.replace("#/definitions/", "#/$defs/");
                kept.insert(name.clone(), target.into());
            }
            "items" | "additionalProperties" => {
                kept.insert(name.clone(), clean(value));
            }
            "anyOf" | "oneOf" | "prefixItems" => {
                let all = value.as_array().into_iter().flatten().map(clean).collect();
                kept.insert(name.clone(), Value::Array(all));
            }
            // One of them is what it must be; Gemini has no other word for "all of these".
            "allOf" => {
                if let Some([only]) = value.as_array().map(Vec::as_slice)
                    && let Value::Object(inner) = clean(only)
                {
                    kept.extend(inner);
                }
            }
            "const" => {
                kept.insert("enum".to_owned(), Value::Array(vec![value.clone()]));
            }
            _ if KNOWN.contains(&name.as_str()) => {
                kept.insert(name.clone(), value.clone());
            }
            _ => {}
        }
    }
    Value::Object(kept)
}

fn each(named: &Value) -> Value {
    let fields = named.as_object().into_iter().flatten();
    fields.map(|(name, schema)| (name.clone(), clean(schema))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_gemini_does_not_read_is_left_out_and_names_are_not_keywords() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
            "properties": {
                "pattern": { "type": "string", "pattern": "^a", "minLength": 1 },
                "kind": { "const": "x" },
                "list": { "type": "array", "items": { "$ref": "#/definitions/Item" }, "uniqueItems": true },
                "either": { "anyOf": [{ "type": "string", "pattern": "b" }, { "type": "null" }] },
                "one": { "allOf": [{ "$ref": "#/$defs/Item" }] },
            },
            "definitions": { "Item": { "type": "number", "multipleOf": 2 } },
            "required": ["kind"], "additionalProperties": false,
        });
        let expected = json!({
            "type": "object",
            "properties": {
                "pattern": { "type": "string" },
                "kind": { "enum": ["x"] },
                "list": { "type": "array", "items": { "$ref": "#/$defs/Item" } },
                "either": { "anyOf": [{ "type": "string" }, { "type": "null" }] },
                "one": { "$ref": "#/$defs/Item" },
            },
            "$defs": { "Item": { "type": "number" } },
            "required": ["kind"], "additionalProperties": false,
        });
        assert_eq!(clean(&schema), expected);
    }
}
