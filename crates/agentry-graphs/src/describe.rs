//! Graphs for those who call them: what they take and what they keep, as JSON Schema.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::Graphs;
use crate::definition::Field;
use crate::types::Type;
use crate::view::{INPUT, Shape};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// What a graph takes, and what its thread holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Schemas {
    pub input: Value,
    pub state: Value,
    /// What its runs go by, where it asks for anything.
    pub config: Option<Value>,
}

impl Graphs {
    #[must_use]
    pub fn schemas(&self, name: &str) -> Option<Schemas> {
        let definition = self.get(name)?;
        let mut input = definition.input.as_ref().map_or_else(Map::new, fields);
        let shape = Shape::of(definition);
        let mut properties: Map<String, Value> = shape
            .keys
            .iter()
            .map(|(name, channel)| {
                let mut schema = of(&channel.of);
                if let Some(initial) = &channel.initial {
                    schema.insert("default".to_owned(), initial.clone());
                }
                (name.clone(), schema.into())
            })
            .collect();
        properties.insert(INPUT.to_owned(), input.clone().into());
        let titled = |schema: &mut Map<String, Value>| {
            schema.insert("$schema".to_owned(), DIALECT.into());
            schema.insert("title".to_owned(), name.into());
        };
        titled(&mut input);
        let config = definition.config.as_ref().map(|config| {
            let mut config = fields(config);
            // Callers say more than one graph wants to know.
            config.remove("additionalProperties");
            titled(&mut config);
            config.into()
        });
        let state = json!({
            "$schema": DIALECT, "title": name, "type": "object", "properties": properties,
        });
        Some(Schemas { input: input.into(), state, config })
    }
}

fn fields(fields: &BTreeMap<String, Field>) -> Map<String, Value> {
    let required: Vec<&String> =
        fields.iter().filter(|(_, field)| field.required).map(|(name, _)| name).collect();
    let properties: Map<String, Value> = fields
        .iter()
        .map(|(name, field)| {
            let mut schema = of(&field.of);
            if let Some(default) = &field.default {
                schema.insert("default".to_owned(), default.clone());
            }
            (name.clone(), schema.into())
        })
        .collect();
    Map::from_iter([
        ("type".to_owned(), "object".into()),
        ("properties".to_owned(), properties.into()),
        ("required".to_owned(), json!(required)),
    ])
}

fn of(of_type: &Type) -> Map<String, Value> {
    let named = |name: &str| Map::from_iter([("type".to_owned(), Value::from(name))]);
    match of_type {
        Type::Any => Map::new(),
        Type::Null => named("null"),
        Type::Bool => named("boolean"),
        Type::Integer => named("integer"),
        Type::Number => named("number"),
        Type::Text => named("string"),
        Type::List(item) => {
            let mut schema = named("array");
            if **item != Type::Any {
                schema.insert("items".to_owned(), of(item).into());
            }
            schema
        }
        Type::Object(fields) => {
            let mut schema = named("object");
            if !fields.known.is_empty() {
                let known = fields.known.iter();
                let known: Map<String, Value> =
                    known.map(|(name, known)| (name.clone(), of(known).into())).collect();
                schema.insert("properties".to_owned(), known.into());
            }
            schema
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Catalogue, File};

    #[test]
    fn callers_see_what_a_graph_takes_and_keeps() {
        let text = "\
[input]
topic = \"string\"
length = { type = \"integer\", default = 3 }
[state]
notes = { reducer = \"append\", type = \"string\" }
[nodes.ask]
kind = \"human\"
question = \"Good?\"
options = [\"yes\", \"no\"]
";
        let file = File { name: "graphs/small.toml".to_owned(), text: text.to_owned() };
        let graphs = Graphs::read(&[file], &Catalogue::default()).unwrap();
        let Schemas { input, state, config: _ } = graphs.schemas("small").unwrap();
        let takes = json!({
            "type": "object",
            "properties": {
                "topic": { "type": "string" },
                "length": { "type": "integer", "default": 3 },
            },
            "required": ["topic"],
        });
        let mut expected = takes.clone();
        expected["$schema"] = DIALECT.into();
        expected["title"] = "small".into();
        assert_eq!(input, expected);
        assert_eq!(state["properties"]["input"], takes);
        assert_eq!(
            state["properties"]["notes"],
            json!({ "type": "array", "items": { "type": "string" } })
        );
        assert_eq!(state["properties"]["answer"]["properties"]["decision"]["type"], "string");
        assert_eq!(graphs.schemas("other"), None);
    }
}
