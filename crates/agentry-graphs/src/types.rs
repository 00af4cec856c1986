//! What is known of a value before there is one.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// The type of a value, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Type {
    #[default]
    Any,
    Null,
    Bool,
    /// A whole number.
    Integer,
    /// Any number; in expressions it counts as one with a fraction.
    Number,
    Text,
    List(Box<Self>),
    Object(Fields),
}

/// What an object has inside.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields {
    pub known: BTreeMap<String, Type>,
    /// There may be more than what is known.
    pub open: bool,
}

impl Type {
    /// The words that definitions use.
    pub const NAMES: [&'static str; 7] =
        ["any", "string", "integer", "number", "boolean", "list", "object"];

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "any" => Self::Any,
            "string" => Self::Text,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Bool,
            "list" => Self::list(Self::Any),
            "object" => Self::object(),
            _ => return None,
        })
    }

    #[must_use]
    pub fn list(of: Self) -> Self {
        Self::List(Box::new(of))
    }

    /// An object of which nothing is known.
    #[must_use]
    pub fn object() -> Self {
        Self::Object(Fields { known: BTreeMap::new(), open: true })
    }

    #[must_use]
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(number) if number.is_f64() => Self::Number,
            Value::Number(_) => Self::Integer,
            Value::String(_) => Self::Text,
            Value::Array(items) => {
                let all = items.iter().map(Self::of).reduce(Self::join);
                Self::list(all.unwrap_or_default())
            }
            Value::Object(fields) => {
                let known = fields.iter().map(|(name, value)| (name.clone(), Self::of(value)));
                Self::Object(Fields { known: known.collect(), open: false })
            }
        }
    }

    /// What a JSON Schema says of its values, as far as it is simple.
    #[must_use]
    pub fn of_schema(schema: &Value) -> Self {
        match schema.get("type") {
            Some(Value::String(name)) => match name.as_str() {
                "null" => Self::Null,
                "boolean" => Self::Bool,
                "integer" => Self::Integer,
                "number" => Self::Number,
                "string" => Self::Text,
                "array" => Self::list(schema.get("items").map(Self::of_schema).unwrap_or_default()),
                "object" => {
                    let fields = schema.get("properties").and_then(Value::as_object);
                    let known = fields.into_iter().flatten();
                    let known = known.map(|(name, of)| (name.clone(), Self::of_schema(of)));
                    let open = schema.get("additionalProperties") != Some(&Value::Bool(false));
                    Self::Object(Fields { known: known.collect(), open })
                }
                _ => Self::Any,
            },
            Some(_) => Self::Any,
            None => {
                let one = schema.get("const").into_iter();
                let values =
                    one.chain(schema.get("enum").and_then(Value::as_array).into_iter().flatten());
                values.map(Self::of).reduce(Self::join).unwrap_or_default()
            }
        }
    }

    /// What is both of one type and of the other.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (one, other) if one == other => one,
            (Self::Integer, Self::Number) | (Self::Number, Self::Integer) => Self::Number,
            (Self::List(one), Self::List(other)) => Self::list(one.join(*other)),
            (Self::Object(_), Self::Object(_)) => Self::object(),
            _ => Self::Any,
        }
    }

    /// Whether a value of this type can never be taken for one of `wanted`.
    #[must_use]
    pub fn is_never(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Any, _) | (_, Self::Any) => false,
            (Self::Integer, Self::Number) => false,
            (Self::List(one), Self::List(other)) => one.is_never(other),
            (Self::Object(one), Self::Object(other)) => {
                other.known.iter().any(|(name, wanted)| match one.known.get(name) {
                    Some(known) => known.is_never(wanted),
                    None => !one.open,
                })
            }
            (one, other) => one != other,
        }
    }

    /// Whether `value` is of this type.
    #[must_use]
    pub fn fits(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Any, _)
            | (Self::Null, Value::Null)
            | (Self::Bool, Value::Bool(_))
            | (Self::Number, Value::Number(_))
            | (Self::Text, Value::String(_)) => true,
            (Self::Integer, Value::Number(number)) => !number.is_f64(),
            (Self::List(of), Value::Array(items)) => items.iter().all(|item| of.fits(item)),
            (Self::Object(fields), Value::Object(values)) => {
                fields.known.iter().all(|(name, of)| values.get(name).is_none_or(|it| of.fits(it)))
            }
            _ => false,
        }
    }
}

/// As a sentence names it.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("anything"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("a boolean"),
            Self::Integer => f.write_str("an integer"),
            Self::Number => f.write_str("a number"),
            Self::Text => f.write_str("a string"),
            Self::List(of) if **of == Self::Any => f.write_str("a list"),
            Self::List(of) => write!(f, "a list of which each item is {of}"),
            Self::Object(_) => f.write_str("an object"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_tells_the_type() {
        let check = |schema: Value, expected: Type| {
            assert_eq!(Type::of_schema(&schema), expected, "{schema}");
        };
        check(json!({ "type": "integer" }), Type::Integer);
        check(json!({ "enum": ["a", "b"] }), Type::Text);
        check(json!({ "const": 1 }), Type::Integer);
        check(json!({ "type": "array", "items": { "type": "number" } }), Type::list(Type::Number));
        check(json!({ "type": ["string", "null"] }), Type::Any);
        let known = BTreeMap::from([("a".to_owned(), Type::Bool)]);
        check(
            json!({ "type": "object", "properties": { "a": { "type": "boolean" } }, "additionalProperties": false }),
            Type::Object(Fields { known, open: false }),
        );
    }
}
