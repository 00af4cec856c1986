//! The part of JSON Schema that answers of models and people, and arguments of tools, are held to.
//!
//! What a schema says and this does not understand is a problem of the definition, never silently ignored.

use std::cell::Cell;
use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

const DEPTH_MAX: usize = 32;
/// Rules that refer to one another could be tried for ever.
const CHECKS_MAX: u32 = 1_000_000;
/// More complaints about one value help nobody.
const COMPLAINTS_MAX: usize = 10;
/// Words that only explain.
const NOTES: [&str; 12] = [
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "format",
    "deprecated",
    "readOnly",
    "writeOnly",
    "discriminator",
];
/// Where a schema keeps what it refers to.
const SHELVES: [&str; 2] = ["$defs", "definitions"];

/// A schema that was understood.
#[derive(Debug, Clone)]
pub struct Schema {
    source: Value,
    root: Rule,
    /// By the reference to it.
    shelved: BTreeMap<String, Rule>,
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
    one_fits: Vec<Self>,
    all_of: Vec<Self>,
    not: Option<Box<Self>>,
    /// What it is besides is kept there.
    refers: Option<String>,
    pattern: Option<Regex>,
    least: Option<f64>,
    most: Option<f64>,
    above: Option<f64>,
    below: Option<f64>,
    /// Of letters or of items.
    length: (Option<u64>, Option<u64>),
    items_count: (Option<u64>, Option<u64>),
    members_count: (Option<u64>, Option<u64>),
    multiple: Option<f64>,
    unique: bool,
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
        let mut shelved = BTreeMap::new();
        for shelf in SHELVES {
            for (name, kept) in source.get(shelf).and_then(Value::as_object).into_iter().flatten() {
                let path = format!("{shelf}.{name}");
                shelved.insert(format!("#/{shelf}/{name}"), rule(kept, &path, 1, &mut problems));
            }
        }
        let mut referred = Vec::new();
        std::iter::once(&root).chain(shelved.values()).for_each(|it| it.references(&mut referred));
        for reference in referred.iter().filter(|it| **it != "#" && !shelved.contains_key(**it)) {
            problems.push(format!("the schema refers to `{reference}`, which it does not have"));
        }
        if problems.is_empty() { Ok(Self { source, root, shelved }) } else { Err(problems) }
    }

    #[must_use]
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// What is wrong with `value`; nothing when it fits.
    #[must_use]
    pub fn complaints(&self, value: &Value) -> Vec<String> {
        let mut complaints = Vec::new();
        let checking = Checking { schema: self, left: Cell::new(CHECKS_MAX) };
        checking.check((&self.root, value), ("", 0), &mut complaints);
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
            "minProperties" => value.as_u64().map(|bound| rule.members_count.0 = Some(bound)),
            "maxProperties" => value.as_u64().map(|bound| rule.members_count.1 = Some(bound)),
            "multipleOf" => {
                value.as_f64().filter(|of| *of > 0.0).map(|of| rule.multiple = Some(of))
            }
            "uniqueItems" => value.as_bool().map(|unique| rule.unique = unique),
            "$ref" => value.as_str().map(|to| rule.refers = Some(to.to_owned())),
            shelf if SHELVES.contains(&shelf) && path.is_empty() => value.as_object().map(|_| ()),
            "minItems" => value.as_u64().map(|bound| rule.items_count.0 = Some(bound)),
            "maxItems" => value.as_u64().map(|bound| rule.items_count.1 = Some(bound)),
            "properties"
            | "additionalProperties"
            | "items"
            | "anyOf"
            | "oneOf"
            | "allOf"
            | "not" => inner(&mut rule, (word, value), (path, depth), problems),
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
        "not" => {
            let inner = rule(value, &format!("{path}(not)"), depth + 1, problems);
            rule_of.not = Some(Box::new(inner));
        }
        _ => {
            let rules = match word {
                "anyOf" => &mut rule_of.any_of,
                "oneOf" => &mut rule_of.one_fits,
                _ => &mut rule_of.all_of,
            };
            for (number, value) in value.as_array()?.iter().enumerate() {
                let path = format!("{path}({number})");
                rules.push(rule(value, &path, depth + 1, problems));
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

/// One value that is held to a schema.
struct Checking<'a> {
    schema: &'a Schema,
    /// How many more rules may be tried.
    left: Cell<u32>,
}

impl Checking<'_> {
    fn check(
        &self,
        (rule, value): (&Rule, &Value),
        (path, depth): (&str, usize),
        complaints: &mut Vec<String>,
    ) {
        if complaints.len() > COMPLAINTS_MAX {
            return;
        }
        let here = match path.trim_start_matches('.') {
            "" => "it".to_owned(),
            path => format!("`{path}`"),
        };
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        // The schema refers to itself, or the value is nested without end.
        if depth > DEPTH_MAX * 4 || left == 0 {
            return complaints.push(format!("{here} is nested too deeply"));
        }
        if !rule.types.is_empty() && !rule.types.iter().any(|kind| kind.fits(value)) {
            let kinds: Vec<_> = rule.types.iter().map(|kind| kind.name()).collect();
            return complaints.push(format!("{here} must be {}", kinds.join(" or ")));
        }
        if let Some(values) = rule.one_of.as_ref().filter(|values| !values.contains(value)) {
            let values: Vec<_> = values.iter().map(Value::to_string).collect();
            complaints.push(format!("{here} must be one of {}", values.join(", ")));
        }
        self.check_combined((rule, value), (path, depth, &here), complaints);
        match value {
            Value::Number(number) => rule.check_number(number.as_f64(), &here, complaints),
            Value::String(text) => rule.check_text(text, &here, complaints),
            Value::Array(items) => {
                rule.check_items(items, &here, complaints);
                for (at, item) in items.iter().enumerate() {
                    if let Some(rule) = &rule.items {
                        let path = format!("{path}[{at}]");
                        self.check((rule, item), (&path, depth + 1), complaints);
                    }
                }
            }
            Value::Object(fields) => {
                self.check_fields((rule, fields), (path, depth, &here), complaints);
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn check_combined(
        &self,
        (rule, value): (&Rule, &Value),
        (path, depth, here): (&str, usize, &str),
        complaints: &mut Vec<String>,
    ) {
        let fits = |rule: &Rule| {
            let mut complaints = Vec::new();
            self.check((rule, value), (path, depth + 1), &mut complaints);
            complaints.is_empty()
        };
        if !rule.any_of.is_empty() && !rule.any_of.iter().any(fits) {
            complaints.push(format!("{here} fits none of the alternatives"));
        }
        match rule.one_fits.iter().filter(|rule| fits(rule)).count() {
            1 => {}
            0 if rule.one_fits.is_empty() => {}
            0 => complaints.push(format!("{here} fits none of the alternatives")),
            _ => complaints.push(format!("{here} fits more than one of the alternatives")),
        }
        if rule.not.as_deref().is_some_and(fits) {
            complaints.push(format!("{here} is what it must not be"));
        }
        let referred = rule.refers.as_deref().and_then(|to| match to {
            "#" => Some(&self.schema.root),
            to => self.schema.shelved.get(to),
        });
        for rule in rule.all_of.iter().chain(referred) {
            self.check((rule, value), (path, depth + 1), complaints);
        }
    }

    fn check_fields(
        &self,
        (rule, fields): (&Rule, &Map<String, Value>),
        (path, depth, here): (&str, usize, &str),
        complaints: &mut Vec<String>,
    ) {
        let count = u64::try_from(fields.len()).unwrap_or(u64::MAX);
        within(count, rule.members_count, "members", here, complaints);
        for name in rule.required.iter().filter(|name| !fields.contains_key(*name)) {
            complaints.push(format!("{here} needs `{name}`"));
        }
        for (name, value) in fields {
            let path = format!("{path}.{name}");
            match (rule.fields.get(name), &rule.others) {
                (Some(rule), _) => self.check((rule, value), (&path, depth + 1), complaints),
                (None, Others::Held(rule)) => {
                    self.check((rule, value), (&path, depth + 1), complaints);
                }
                (None, Others::Refused) => {
                    complaints.push(format!("{here} has `{name}`, which is not asked for"));
                }
                (None, Others::Free) => {}
            }
        }
    }
}

impl Rule {
    fn references<'a>(&'a self, found: &mut Vec<&'a str>) {
        found.extend(self.refers.as_deref());
        let several = self.any_of.iter().chain(&self.one_fits).chain(&self.all_of);
        let others = match &self.others {
            Others::Held(rule) => Some(&**rule),
            Others::Free | Others::Refused => None,
        };
        let single = [self.items.as_deref(), self.not.as_deref(), others];
        let all = several.chain(self.fields.values()).chain(single.into_iter().flatten());
        all.for_each(|rule| rule.references(found));
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
        bound(self.multiple, |number, of| (number / of).fract() != 0.0, "a multiple of");
    }

    fn check_text(&self, text: &str, here: &str, complaints: &mut Vec<String>) {
        let letters = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
        within(letters, self.length, "letters", here, complaints);
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            complaints.push(format!("{here} must match {pattern}"));
        }
    }

    fn check_items(&self, items: &[Value], here: &str, complaints: &mut Vec<String>) {
        let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
        within(count, self.items_count, "items", here, complaints);
        let again = |(at, item): (usize, &Value)| items.iter().take(at).any(|it| it == item);
        if self.unique && items.iter().enumerate().any(again) {
            complaints.push(format!("{here} has the same item twice"));
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
