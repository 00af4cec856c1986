//! The state as templates and expressions see it.

use std::collections::BTreeMap;

use agentry_core::run::Values;
use agentry_engine::Reducer;
use serde_json::{Map, Value};

use crate::definition::{Definition, Field, Kind, Spot};
use crate::expression::Expression;
use crate::template::Template;
use crate::types::{Fields, Type};

/// What a run was given.
pub(crate) const INPUT: &str = "input";
/// What a run was given to go by.
pub(crate) const CONFIG: &str = "config";
/// Why nodes came to nothing, by their names.
pub(crate) const ERRORS: &str = "errors";
/// Where a human's answer goes, unless the node says otherwise.
pub(crate) const ANSWER: &str = "answer";

/// The keys that a graph's state has.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) keys: BTreeMap<String, Channel>,
    input: Type,
    /// What of the input is there though nobody gave it.
    given: Map<String, Value>,
    /// Nothing where runs are given nothing to go by.
    config: Option<Settings>,
}

/// What runs are given to go by.
#[derive(Debug, Clone)]
struct Settings {
    of: Type,
    /// Without a word about it.
    usual: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Channel {
    pub(crate) reducer: Reducer,
    /// Of the whole value.
    pub(crate) of: Type,
    /// Before anything was written.
    pub(crate) initial: Option<Value>,
}

impl Shape {
    pub(crate) fn of(definition: &Definition) -> Self {
        let mut keys: BTreeMap<String, Channel> = BTreeMap::new();
        for (name, key) in &definition.state {
            let of = match key.reducer {
                Reducer::Append | Reducer::Messages => Type::list(key.of.clone()),
                _ => key.of.clone(),
            };
            let initial = key.default.clone();
            keys.insert(name.clone(), Channel { reducer: key.reducer.clone(), of, initial });
        }
        for node in definition.nodes.values() {
            if let (Kind::Human(human), None) = (&node.kind, &node.into) {
                let of = crate::work::human::answer_type(human);
                let answer = Channel { reducer: Reducer::Last, of, initial: None };
                keys.entry(ANSWER.to_owned())
                    .and_modify(|known| {
                        if !definition.state.contains_key(ANSWER) {
                            known.of = known.of.clone().join(answer.of.clone());
                        }
                    })
                    .or_insert(answer);
            }
        }
        let (reducer, of) = (Reducer::Merge, Type::object());
        keys.insert(ERRORS.to_owned(), Channel { reducer, of, initial: None });
        let given = definition.input.as_ref().map(defaults).unwrap_or_default();
        let input = definition.input.as_ref().map_or(Type::Any, type_of);
        let config = definition.config.as_ref();
        let config = config.map(|fields| Settings { of: type_of(fields), usual: defaults(fields) });
        Self { keys, input, given, config }
    }

    /// Every name that there is, with its type.
    pub(crate) fn scope(&self) -> BTreeMap<String, Type> {
        let keys = self.keys.iter().map(|(name, channel)| (name.clone(), channel.of.clone()));
        let config = self.config.iter().map(|config| (CONFIG.to_owned(), config.of.clone()));
        keys.chain([(INPUT.to_owned(), self.input.clone())]).chain(config).collect()
    }
}

fn type_of(fields: &BTreeMap<String, Field>) -> Type {
    let known = fields.iter().map(|(name, field)| (name.clone(), field.of.clone()));
    Type::Object(Fields { known: known.collect(), open: false })
}

fn defaults(fields: &BTreeMap<String, Field>) -> Map<String, Value> {
    let defaults =
        fields.iter().filter_map(|(name, field)| Some((name.clone(), field.default.clone()?)));
    defaults.collect()
}

/// A state, and perhaps the item that a map is at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) shape: &'a Shape,
    pub(crate) values: &'a Values,
    pub(crate) item: Option<(&'a str, usize, &'a Value)>,
}

impl<'a> View<'a> {
    pub(crate) fn new(shape: &'a Shape, values: &'a Values) -> Self {
        Self { shape, values, item: None }
    }

    /// What a name stands for; nothing when it has not been written yet.
    pub(crate) fn get(&self, name: &str) -> Option<Value> {
        match self.item {
            Some((item, _, value)) if item == name => return Some(value.clone()),
            Some((_, index, _)) if name == INDEX => return Some(index.into()),
            _ => {}
        }
        if name == INPUT {
            return Some(self.input());
        }
        if name == CONFIG {
            return self.config();
        }
        let channel = self.shape.keys.get(name)?;
        let value = self.values.get(name).or(channel.initial.as_ref()).cloned();
        value.or_else(|| match channel.reducer {
            Reducer::Append | Reducer::Messages => Some(Value::Array(Vec::new())),
            Reducer::Sum => Some(0.into()),
            Reducer::Merge => Some(Value::Object(Map::new())),
            _ => None,
        })
    }

    /// What the run was given to go by, where the graph asks for that.
    fn config(&self) -> Option<Value> {
        let mut config = self.shape.config.as_ref()?.usual.clone();
        let given = self.values.get(CONFIG).and_then(Value::as_object);
        config
            .extend(given.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
        Some(Value::Object(config))
    }

    /// What the run was given: under `input`, or else as the state's first values.
    fn input(&self) -> Value {
        let mut input = self.shape.given.clone();
        match self.values.get(INPUT) {
            Some(Value::Object(fields)) => {
                input.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            Some(other) => return other.clone(),
            None => {
                let own = [ERRORS, CONFIG];
                let values = self.values.iter().filter(|(name, _)| !own.contains(&name.as_str()));
                input.extend(values.map(|(name, value)| (name.clone(), value.clone())));
            }
        }
        Value::Object(input)
    }

    /// As expressions see it: null for what has not been written, with the declared type.
    pub(crate) fn typed(&self, name: &str) -> (Value, Type) {
        let value = self.get(name).unwrap_or_default();
        let of = match name {
            INPUT => self.shape.input.clone(),
            CONFIG => self.shape.config.as_ref().map(|it| it.of.clone()).unwrap_or_default(),
            _ => self.shape.keys.get(name).map(|channel| channel.of.clone()).unwrap_or_default(),
        };
        (value, of)
    }

    pub(crate) fn evaluate(&self, expression: &Spot<Expression>) -> Result<Value, String> {
        expression.value.evaluate(|name| self.typed(name))
    }

    pub(crate) fn render(&self, template: &Spot<Template>) -> Result<String, String> {
        template.value.render(|name| self.get(name))
    }
}

/// The number of the item that a map is at, from 0.
pub(crate) const INDEX: &str = "index";
