//! Which values are wanted.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::Invalid;
use crate::listing::{compare, equal};

const DEPTH_MAX: usize = 16;
const TESTS_MAX: usize = 100;

/// Tests on fields, all of which a value must pass: `{"kind": "note", "size": {"$gte": 3}, "by": {"name": "ann"}}`. A field
/// that is not there counts as `null`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter(Vec<(String, Test)>);

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Is(Value),
    /// The field is an object with such fields.
    Within(Filter),
    All(Vec<(Operator, Value)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

const OPERATORS: [(&str, Operator); 6] = [
    ("$eq", Operator::Equal),
    ("$ne", Operator::NotEqual),
    ("$gt", Operator::Greater),
    ("$gte", Operator::GreaterOrEqual),
    ("$lt", Operator::Less),
    ("$lte", Operator::LessOrEqual),
];

impl Filter {
    pub fn parse(filter: &Map<String, Value>) -> Result<Self, Invalid> {
        let mut left = TESTS_MAX;
        fields(filter, DEPTH_MAX, &mut left)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn matches(&self, value: &Map<String, Value>) -> bool {
        self.0.iter().all(|(name, test)| test.passes(value.get(name).unwrap_or(&Value::Null)))
    }
}

impl Test {
    fn passes(&self, value: &Value) -> bool {
        match self {
            Self::Is(wanted) => equal(value, wanted),
            Self::Within(filter) => value.as_object().is_some_and(|value| filter.matches(value)),
            Self::All(tests) => tests.iter().all(|(operator, than)| operator.holds(value, than)),
        }
    }
}

impl Operator {
    fn holds(self, value: &Value, than: &Value) -> bool {
        let ordering = || compare(value, than);
        match self {
            Self::Equal => equal(value, than),
            Self::NotEqual => !equal(value, than),
            Self::Greater => ordering() == Some(Ordering::Greater),
            Self::GreaterOrEqual => ordering().is_some_and(Ordering::is_ge),
            Self::Less => ordering() == Some(Ordering::Less),
            Self::LessOrEqual => ordering().is_some_and(Ordering::is_le),
        }
    }
}

fn fields(filter: &Map<String, Value>, depth: usize, left: &mut usize) -> Result<Filter, Invalid> {
    let field = |(name, wanted): (&String, &Value)| {
        if name.starts_with('$') {
            return Err(Invalid(format!(
                "`{name}` stands where the filter names a field; write {{\"field\": {{\"{name}\": ...}}}}"
            )));
        }
        *left = left.checked_sub(1).ok_or_else(too_much)?;
        Ok((name.clone(), test(name, wanted, (depth, &mut *left))?))
    };
    Ok(Filter(filter.iter().map(field).collect::<Result<_, _>>()?))
}

fn test(name: &str, wanted: &Value, (depth, left): (usize, &mut usize)) -> Result<Test, Invalid> {
    let Value::Object(object) = wanted else { return Ok(Test::Is(wanted.clone())) };
    if !object.keys().any(|key| key.starts_with('$')) {
        let depth = depth.checked_sub(1).ok_or_else(too_much)?;
        return Ok(Test::Within(fields(object, depth, left)?));
    }
    let mut tests = Vec::with_capacity(object.len());
    for (key, than) in object {
        let Some((_, operator)) = OPERATORS.iter().find(|(known, _)| known == key) else {
            let known = OPERATORS.map(|(known, _)| known).join(", ");
            return Err(Invalid(format!(
                "`{key}` of the filter on `{name}` is no operator; there are {known}"
            )));
        };
        let ordered = matches!(operator, Operator::Equal | Operator::NotEqual)
            || than.is_number()
            || than.is_string();
        if !ordered {
            return Err(Invalid(format!(
                "`{key}` of the filter on `{name}` compares with a number or a text only"
            )));
        }
        tests.push((*operator, than.clone()));
    }
    Ok(Test::All(tests))
}

fn too_much() -> Invalid {
    Invalid(format!(
        "the filter has more than {TESTS_MAX} tests, or is nested deeper than {DEPTH_MAX}"
    ))
}
