//! The part of JSON Schema that answers of models and people, and arguments of tools, are held to.
//!
//! What a schema says and this does not understand is a problem of the definition, never silently ignored.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

const DEPTH_MAX: usize = 32;
/// More complaints about one value help nobody.
const COMPLAINTS_MAX: usize = 10;
/// Words that only explain.
const NOTES: [&str; 7] =
    ["$schema", "$id", "title", "description", "default", "examples", "format"];

/// A schema that was understood.
#[derive(Debug, Clone)]
pub struct Schema {
    source: Value,
    root: Rule,
}

#[derive(Debug, Clone, Default)]
struct Rule {
    types: Vec<Kind>,
    one_of: Option<Vec<Value>>,
    fields: BTreeMap<String, Self>,
    required: Vec<String>,
    /// Fields that are not named: refused, or held to this.
    others: Others,
    items: Option<Box<Self>>,
    any_of: Vec<Self>,
    pattern: Option<Regex>,
    least: Option<f64>,
    most: Option<f64>,
    above: Option<f64>,
    below: Option<f64>,
    /// Of letters or of items.
    length: (Option<u64>, Option<u64>),
    items_count: (Option<u64>, Option<u64>),
}

#[derive(Debug, Clone, Default)]
enum Others {
    #[default]
    Free,
    Refused,
    Held(Box<Rule>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Bool,
    Integer,
    Number,
    Text,
    List,
    Object,
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::Null,
            "boolean" => Self::Bool,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "string" => Self::Text,
            "array" => Self::List,
            "object" => Self::Object,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::List => "an array",
            Self::Object => "an object",
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Null => value.is_null(),
            Self::Bool => value.is_boolean(),
            Self::Integer => {
                value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
            }
            Self::Number => value.is_number(),
            Self::Text => value.is_string(),
            Self::List => value.is_array(),
            Self::Object => value.is_object(),
        }
    }
}

impl Schema {
    /// Everything that is wrong with it, each with the path to it.
    pub fn parse(source: Value) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let root = rule(&source, "", 0, &mut problems);
        if problems.is_empty() { Ok(Self { source, root }) } else { Err(problems) }
    }

    #[must_use]
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// What is wrong with `value`; nothing when it fits.
    #[must_use]
    pub fn complaints(&self, value: &Value) -> Vec<String> {
        let mut complaints = Vec::new();
        self.root.check(value, "", &mut complaints);
        complaints.truncate(COMPLAINTS_MAX);
        complaints
    }
}

fn rule(source: &Value, path: &str, depth: usize, problems: &mut Vec<String>) -> Rule {
    let mut rule = Rule::default();
    let Value::Object(words) = source else {
        if *source != Value::Bool(true) {
            problems.push(format!("{}must be an object", at(path)));
        }
        return rule;
    };
    if depth > DEPTH_MAX {
        problems.push(format!("{}is nested too deeply", at(path)));
        return rule;
    }
    for (word, value) in words {
        let understood = match word.as_str() {
            "type" => types(value).map(|types| rule.types = types),
            "enum" => value.as_array().cloned().map(|values| rule.one_of = Some(values)),
            "const" => {
                rule.one_of = Some(vec![value.clone()]);
                Some(())
            }
            "required" => names(value).map(|names| rule.required = names),
            "pattern" => value
                .as_str()
                .and_then(|pattern| Regex::new(pattern).ok())
                .map(|pattern| rule.pattern = Some(pattern)),
            "minimum" => value.as_f64().map(|bound| rule.least = Some(bound)),
            "maximum" => value.as_f64().map(|bound| rule.most = Some(bound)),
            "exclusiveMinimum" => value.as_f64().map(|bound| rule.above = Some(bound)),
            "exclusiveMaximum" => value.as_f64().map(|bound| rule.below = Some(bound)),
            "minLength" => value.as_u64().map(|bound| rule.length.0 = Some(bound)),
            "maxLength" => value.as_u64().map(|bound| rule.length.1 = Some(bound)),
            "minItems" => value.as_u64().map(|bound| rule.items_count.0 = Some(bound)),
            "maxItems" => value.as_u64().map(|bound| rule.items_count.1 = Some(bound)),
            "properties" | "additionalProperties" | "items" | "anyOf" | "oneOf" => {
                inner(&mut rule, (word, value), (path, depth), problems)
            }
            known if NOTES.contains(&known) => Some(()),
            unknown => {
                problems.push(format!("{}uses `{unknown}`, which is not supported", at(path)));
                Some(())
            }
        };
        if understood.is_none() {
            problems.push(format!("{}has a `{word}` that means nothing", at(path)));
        }
    }
    for name in rule.required.iter().filter(|name| !rule.fields.contains_key(*name)) {
        if matches!(rule.others, Others::Refused) {
            problems.push(format!("{}requires `{name}`, which it refuses as well", at(path)));
        }
    }
    rule
}

fn inner(
    rule_of: &mut Rule,
    (word, value): (&str, &Value),
    (path, depth): (&str, usize),
    problems: &mut Vec<String>,
) -> Option<()> {
    match word {
        "properties" => {
            for (name, value) in value.as_object()? {
                let inner = rule(value, &format!("{path}.{name}"), depth + 1, problems);
                rule_of.fields.insert(name.clone(), inner);
            }
        }
        "additionalProperties" => {
            rule_of.others = match value {
                Value::Bool(true) => Others::Free,
                Value::Bool(false) => Others::Refused,
                other => {
                    let path = format!("{path}.*");
                    Others::Held(Box::new(rule(other, &path, depth + 1, problems)))
                }
            };
        }
        "items" => {
            let inner = rule(value, &format!("{path}[]"), depth + 1, problems);
            rule_of.items = Some(Box::new(inner));
        }
        _ => {
            for (number, value) in value.as_array()?.iter().enumerate() {
                let path = format!("{path}({number})");
                rule_of.any_of.push(rule(value, &path, depth + 1, problems));
            }
        }
    }
    Some(())
}

fn at(path: &str) -> String {
    match path.trim_start_matches('.') {
        "" => "the schema ".to_owned(),
        path => format!("the schema of `{path}` "),
    }
}

fn types(value: &Value) -> Option<Vec<Kind>> {
    match value {
        Value::String(name) => Some(vec![Kind::named(name)?]),
        Value::Array(names) => names.iter().map(|name| Kind::named(name.as_str()?)).collect(),
        _ => None,
    }
}

fn names(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

impl Rule {
    fn check(&self, value: &Value, path: &str, complaints: &mut Vec<String>) {
        if complaints.len() > COMPLAINTS_MAX {
            return;
        }
        let here = match path.trim_start_matches('.') {
            "" => "it".to_owned(),
            path => format!("`{path}`"),
        };
        if !self.types.is_empty() && !self.types.iter().any(|kind| kind.fits(value)) {
            let kinds: Vec<_> = self.types.iter().map(|kind| kind.name()).collect();
            return complaints.push(format!("{here} must be {}", kinds.join(" or ")));
        }
        if let Some(values) = self.one_of.as_ref().filter(|values| !values.contains(value)) {
            let values: Vec<_> = values.iter().map(Value::to_string).collect();
            complaints.push(format!("{here} must be one of {}", values.join(", ")));
        }
        if !self.any_of.is_empty() && !self.any_of.iter().any(|rule| rule.accepts(value)) {
            complaints.push(format!("{here} fits none of the alternatives"));
        }
        match value {
            Value::Number(number) => self.check_number(number.as_f64(), &here, complaints),
            Value::String(text) => self.check_text(text, &here, complaints),
            Value::Array(items) => {
                let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
                within(count, self.items_count, "items", &here, complaints);
                for (at, item) in items.iter().enumerate() {
                    if let Some(rule) = &self.items {
                        rule.check(item, &format!("{path}[{at}]"), complaints);
                    }
                }
            }
            Value::Object(fields) => self.check_fields(fields, (path, &here), complaints),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn accepts(&self, value: &Value) -> bool {
        let mut complaints = Vec::new();
        self.check(value, "", &mut complaints);
        complaints.is_empty()
    }

    fn check_number(&self, number: Option<f64>, here: &str, complaints: &mut Vec<String>) {
        let Some(number) = number else { return };
        let mut bound = |bound: Option<f64>, wrong: fn(f64, f64) -> bool, text: &str| {
            if let Some(bound) = bound.filter(|bound| wrong(number, *bound)) {
                complaints.push(format!("{here} must be {text} {bound}"));
            }
        };
        bound(self.least, |number, bound| number < bound, "at least");
        bound(self.most, |number, bound| number > bound, "at most");
        bound(self.above, |number, bound| number <= bound, "more than");
        bound(self.below, |number, bound| number >= bound, "less than");
    }

    fn check_text(&self, text: &str, here: &str, complaints: &mut Vec<String>) {
        let letters = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
        within(letters, self.length, "letters", here, complaints);
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            complaints.push(format!("{here} must match {pattern}"));
        }
    }

    fn check_fields(
        &self,
        fields: &Map<String, Value>,
        (path, here): (&str, &str),
        complaints: &mut Vec<String>,
    ) {
        for name in self.required.iter().filter(|name| !fields.contains_key(*name)) {
            complaints.push(format!("{here} needs `{name}`"));
        }
        for (name, value) in fields {
            let path = format!("{path}.{name}");
            match (self.fields.get(name), &self.others) {
                (Some(rule), _) => rule.check(value, &path, complaints),
                (None, Others::Held(rule)) => rule.check(value, &path, complaints),
                (None, Others::Refused) => {
                    complaints.push(format!("{here} has `{name}`, which is not asked for"));
                }
                (None, Others::Free) => {}
            }
        }
    }
}

fn within(
    count: u64,
    (least, most): (Option<u64>, Option<u64>),
    of: &str,
    here: &str,
    complaints: &mut Vec<String>,
) {
    if let Some(least) = least.filter(|least| count < *least) {
        complaints.push(format!("{here} must have at least {least} {of}"));
    }
    if let Some(most) = most.filter(|most| count > *most) {
        complaints.push(format!("{here} must have at most {most} {of}"));
    }
}

#[cfg(test)]
mod tests;
