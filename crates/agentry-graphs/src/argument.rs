//! Values with references: `${name}` takes over what the state holds, and `{{ name }}` writes it into a text.

use serde_json::{Map, Value};

use crate::template::{Bad, Template};
use crate::types::{Fields, Type};

/// Deeper than anybody writes by hand.
const DEPTH_MAX: usize = 16;

/// A value that is complete once the state is known.
#[derive(Debug, Clone)]
pub enum Argument {
    Fixed(Value),
    /// The whole value is one reference, and keeps its type.
    Reference(Reference),
    Text(Template),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// `name`, then fields and items: `fetch.rows[0].title`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub name: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Item(usize),
}

impl Argument {
    /// A text as it was written: `$${` is a plain `${`.
    pub fn text(text: &str) -> Result<Self, Bad> {
        let whole = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        if let Some(path) = whole.filter(|path| !path.contains(['{', '}'])) {
            return Reference::parse(path).map(Self::Reference);
        }
        if !text.contains("${") {
            return match ["{{", "{%", "{#"].iter().any(|sign| text.contains(sign)) {
                true => Template::parse(text).map(Self::Text),
                false => Ok(Self::Fixed(text.into())),
            };
        }
        let mut template = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                template.push_str(before);
                template.push_str("{{ '${' }}");
                rest = after;
                continue;
            }
            let Some((path, after)) = after.split_once('}') else {
                let message = "`${` has no end; write `$${` for the two letters themselves";
                return Err(Bad { message: message.to_owned(), range: None });
            };
            Reference::parse(path)?;
            template.push_str(before);
            template.push_str("{{ ");
            template.push_str(path);
            template.push_str(" }}");
            rest = after;
        }
        template.push_str(rest);
        Template::parse(&template).map(Self::Text)
    }

    /// Every name that it needs.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Fixed(_) => Vec::new(),
            Self::Reference(reference) => vec![&reference.name],
            Self::Text(template) => template.names().iter().map(String::as_str).collect(),
            Self::List(items) => items.iter().flat_map(Self::names).collect(),
            Self::Object(fields) => fields.iter().flat_map(|(_, value)| value.names()).collect(),
        }
    }

    /// The value; `given` tells what a name stands for, if anything.
    pub fn value(&self, given: &impl Fn(&str) -> Option<Value>) -> Result<Value, String> {
        Ok(match self {
            Self::Fixed(value) => value.clone(),
            Self::Reference(reference) => reference.value(given)?,
            Self::Text(template) => template.render(given)?.into(),
            Self::List(items) => {
                let items = items.iter().map(|item| item.value(given));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Self::Object(fields) => {
                let fields =
                    fields.iter().map(|(name, value)| Ok((name.clone(), value.value(given)?)));
                Value::Object(fields.collect::<Result<Map<_, _>, String>>()?)
            }
        })
    }

    /// What it will come to, and the references that cannot work.
    pub fn infer(&self, scope: &impl Fn(&str) -> Option<Type>, bad: &mut Vec<String>) -> Type {
        match self {
            Self::Fixed(value) => Type::of(value),
            Self::Reference(reference) => reference.infer(scope).unwrap_or_else(|problem| {
                bad.push(problem);
                Type::Any
            }),
            Self::Text(_) => Type::Text,
            Self::List(items) => {
                let items: Vec<Type> = items.iter().map(|item| item.infer(scope, bad)).collect();
                Type::list(items.into_iter().reduce(Type::join).unwrap_or_default())
            }
            Self::Object(fields) => {
                let known =
                    fields.iter().map(|(name, value)| (name.clone(), value.infer(scope, bad)));
                Type::Object(Fields { known: known.collect(), open: false })
            }
        }
    }
}

impl Reference {
    fn parse(path: &str) -> Result<Self, Bad> {
        let bad = || Bad {
            message: format!(
                "`${{{path}}}` names no value: write `${{name}}` or `${{name.field[0]}}`"
            ),
            range: None,
        };
        let mut parts = path.split('.');
        let (name, items) = part(parts.next().unwrap_or_default()).ok_or_else(bad)?;
        let mut steps: Vec<Step> = items.into_iter().map(Step::Item).collect();
        for text in parts {
            let (field, items) = part(text).ok_or_else(bad)?;
            steps.push(Step::Field(field));
            steps.extend(items.into_iter().map(Step::Item));
        }
        if steps.len() > DEPTH_MAX {
            return Err(bad());
        }
        Ok(Self { name, steps })
    }

    fn value(&self, given: &impl Fn(&str) -> Option<Value>) -> Result<Value, String> {
        let missing = || format!("`{}` has no value here", self.shown());
        let value = given(&self.name).ok_or_else(missing)?;
        let mut at = &value;
        for step in &self.steps {
            at = match step {
                Step::Field(name) => at.get(name),
                Step::Item(number) => at.get(number),
            }
            .ok_or_else(missing)?;
        }
        Ok(at.clone())
    }

    fn infer(&self, scope: &impl Fn(&str) -> Option<Type>) -> Result<Type, String> {
        let Some(mut at) = scope(&self.name) else { return Ok(Type::Any) };
        for step in &self.steps {
            let never = |of: &Type| format!("`{}` leads into {of}", self.shown());
            at = match (step, at) {
                (_, Type::Any) => return Ok(Type::Any),
                (Step::Field(name), Type::Object(Fields { known, open })) => {
                    match known.get(name) {
                        Some(of) => of.clone(),
                        None if open => Type::Any,
                        None => return Err(format!("`{}`: there is no `{name}`", self.shown())),
                    }
                }
                (Step::Item(_), Type::List(of)) => *of,
                (_, of) => return Err(never(&of)),
            };
        }
        Ok(at)
    }

    fn shown(&self) -> String {
        let mut shown = self.name.clone();
        for step in &self.steps {
            match step {
                Step::Field(name) => shown.push_str(&format!(".{name}")),
                Step::Item(number) => shown.push_str(&format!("[{number}]")),
            }
        }
        shown
    }
}

/// `name[0][1]`.
fn part(text: &str) -> Option<(String, Vec<usize>)> {
    let (name, mut rest) = text.split_at(text.find('[').unwrap_or(text.len()));
    let named = |name: &str| {
        let mut letters = name.chars();
        letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    if !named(name) {
        return None;
    }
    let mut items = Vec::new();
    while !rest.is_empty() {
        let (number, after) = rest.strip_prefix('[')?.split_once(']')?;
        items.push(number.parse().ok()?);
        rest = after;
    }
    Some((name.to_owned(), items))
}

#[cfg(test)]
mod tests;
