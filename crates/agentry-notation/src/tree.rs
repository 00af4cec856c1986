//! The configuration as it was written: values, and where each came from.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::{Place, Problem};

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub place: Place,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    List(Vec<Node>),
    Table(Table),
    /// A date, or a number that is too large: nothing here wants one.
    Other,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    pub entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where the key stands.
    pub key: Place,
    pub node: Node,
}

/// As [`parse`], of JSON.
#[must_use]
pub fn parse_json(text: &str) -> (Table, Vec<Problem>) {
    match crate::json::parse(text) {
        Ok(table) => (table, Vec::new()),
        Err(problem) => (Table::default(), vec![problem]),
    }
}

/// Everything that can be read of `text`, and all that is wrong with its syntax.
#[must_use]
pub fn parse(text: &str) -> (Table, Vec<Problem>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let problems = errors.iter().map(|error| {
        let span = error.span().unwrap_or(0..0);
        Problem::new(Place::File(span), error.message())
    });
    (convert(table.get_ref()), problems.collect())
}

fn convert(table: &DeTable<'_>) -> Table {
    let entries = table.iter().map(|(key, value)| {
        let entry = Entry { key: Place::File(key.span()), node: node(value) };
        (key.get_ref().to_string(), entry)
    });
    Table { entries: entries.collect() }
}

fn node(value: &Spanned<DeValue<'_>>) -> Node {
    let converted = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Other, Value::Integer),
        DeValue::Float(number) => number.as_str().parse().map_or(Value::Other, Value::Float),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(_) => Value::Other,
        DeValue::Array(items) => Value::List(items.iter().map(node).collect()),
        DeValue::Table(table) => Value::Table(convert(table)),
    };
    Node { place: Place::File(value.span()), value: converted }
}

const PREFIX: &str = "AGENTRY__";

/// Lays `AGENTRY__TABLE__KEY=value` over `table`. Names are compared without regard to case, and `-` is written `_`.
pub fn overlay(
    table: &mut Table,
    environment: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) {
    for (name, text) in environment {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let steps: Vec<&str> = path.split("__").collect();
        let place = Place::Environment(name.clone());
        if steps.iter().any(|step| step.is_empty()) {
            problems.push(
                Problem::new(place, "this does not name a value")
                    .help("write AGENTRY__TABLE__KEY, as in AGENTRY__SERVER__LISTEN"),
            );
        } else if let Err(step) = put(table, &steps, &place, text) {
            problems.push(Problem::new(place, format!("`{step}` is a value, not a table")));
        }
    }
}

fn put(table: &mut Table, steps: &[&str], place: &Place, text: &str) -> Result<(), String> {
    let Some((first, rest)) = steps.split_first() else { return Ok(()) };
    let existing = table.entries.keys().find(|key| same(key, first)).cloned();
    let key = existing.unwrap_or_else(|| first.to_ascii_lowercase());
    if rest.is_empty() {
        let node = Node { place: place.clone(), value: value(text, place) };
        table.entries.insert(key, Entry { key: place.clone(), node });
        return Ok(());
    }
    let entry = table.entries.entry(key.clone()).or_insert_with(|| Entry {
        key: place.clone(),
        node: Node { place: place.clone(), value: Value::Table(Table::default()) },
    });
    match &mut entry.node.value {
        Value::Table(table) => put(table, rest, place, text),
        Value::Text(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Bool(_)
        | Value::List(_)
        | Value::Other => Err(key),
    }
}

fn same(key: &str, step: &str) -> bool {
    key.replace(['-', '.'], "_").eq_ignore_ascii_case(step)
}

/// A TOML value if it is one, else the text itself: nobody wants to quote twice.
fn value(text: &str, place: &Place) -> Value {
    match DeValue::parse(text) {
        Ok(parsed) => replace(node(&parsed), place).value,
        Err(_) => Value::Text(text.to_owned()),
    }
}

/// Spans of a variable's text mean nothing to the reader of the file.
fn replace(node: Node, place: &Place) -> Node {
    let value = match node.value {
        Value::List(items) => {
            Value::List(items.into_iter().map(|item| replace(item, place)).collect())
        }
        Value::Table(table) => {
            let entries = table.entries.into_iter().map(|(key, entry)| {
                (key, Entry { key: place.clone(), node: replace(entry.node, place) })
            });
            Value::Table(Table { entries: entries.collect() })
        }
        value @ (Value::Text(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Bool(_)
        | Value::Other) => value,
    };
    Node { place: place.clone(), value }
}

impl Value {
    /// The same as data; nothing for what data cannot say.
    #[must_use]
    pub fn json(&self) -> Option<serde_json::Value> {
        Some(match self {
            Self::Text(text) => text.as_str().into(),
            Self::Integer(number) => (*number).into(),
            Self::Float(number) => serde_json::Number::from_f64(*number)?.into(),
            Self::Bool(flag) => (*flag).into(),
            Self::List(items) => {
                items.iter().map(|node| node.value.json()).collect::<Option<_>>()?
            }
            Self::Table(table) => {
                let entries = table.entries.iter();
                let entries = entries.map(|(key, it)| Some((key.clone(), it.node.value.json()?)));
                serde_json::Value::Object(entries.collect::<Option<_>>()?)
            }
            Self::Other => return None,
        })
    }

    /// As a person calls it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "a number",
            Self::Float(_) => "a number with a fraction",
            Self::Bool(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other => "a date or a huge number",
        }
    }
}

/// Where an entry of a file begins: the order in which a person wrote things.
#[must_use]
pub fn position(place: &Place) -> usize {
    match place {
        Place::File(Range { start, .. }) => *start,
        Place::Environment(_) | Place::Nowhere => usize::MAX,
    }
}
