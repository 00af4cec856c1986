//! What listings share: which part of what was found is wanted, in what order, and when JSON is what was asked for.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use crate::{Code, Failure, Fault, Retry};

pub const LIMIT_MAX: usize = 1_000;
pub const OFFSET_MAX: usize = 10_000;

/// So many, after so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    offset: usize,
    limit: usize,
}

/// More is asked for than is given at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("`limit` is {0}; ask for at most {LIMIT_MAX} at once")]
    Limit(usize),
    #[error("`offset` is {0}, which is beyond {OFFSET_MAX}; narrow the search down instead")]
    Offset(usize),
}

impl Failure for Invalid {
    fn code(&self) -> Code {
        Code("listing_invalid")
    }

    fn fault(&self) -> Fault {
        Fault::Caller
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

impl Span {
    pub fn new(offset: usize, limit: usize) -> Result<Self, Invalid> {
        if limit > LIMIT_MAX {
            return Err(Invalid::Limit(limit));
        }
        if offset > OFFSET_MAX {
            return Err(Invalid::Offset(offset));
        }
        Ok(Self { offset, limit })
    }

    #[must_use]
    pub fn offset(self) -> usize {
        self.offset
    }

    #[must_use]
    pub fn limit(self) -> usize {
        self.limit
    }

    fn end(self) -> usize {
        self.offset + self.limit
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Ascending,
    Descending,
}

impl Order {
    #[must_use]
    pub fn of(self, ordering: Ordering) -> Ordering {
        match self {
            Self::Ascending => ordering,
            Self::Descending => ordering.reverse(),
        }
    }
}

/// Takes what is found in any order, and keeps no more than the [`Span`] needs.
pub struct Window<T, F> {
    span: Span,
    compare: F,
    first: Vec<T>,
}

impl<T, F: Fn(&T, &T) -> Ordering> Window<T, F> {
    pub fn new(span: Span, compare: F) -> Self {
        Self { span, compare, first: Vec::new() }
    }

    pub fn offer(&mut self, found: T) {
        self.first.push(found);
        // Now and then, so that it costs little for each.
        if self.first.len() > 2 * self.span.end() + 16 {
            self.cut();
        }
    }

    #[must_use]
    pub fn finish(mut self) -> Vec<T> {
        self.cut();
        self.first.drain(..self.span.offset.min(self.first.len()));
        self.first
    }

    fn cut(&mut self) {
        self.first.sort_by(&self.compare);
        self.first.truncate(self.span.end());
    }
}

/// Whether everything that `part` says is said by `whole`: each of its fields has what is asked for there, and a list has
/// each of the elements.
#[must_use]
pub fn contains(whole: &Map<String, Value>, part: &Map<String, Value>) -> bool {
    part.iter().all(|(name, part)| whole.get(name).is_some_and(|whole| holds(whole, part)))
}

fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => contains(whole, part),
        (Value::Array(whole), Value::Array(part)) => {
            part.iter().all(|part| whole.iter().any(|whole| holds(whole, part)))
        }
        _ => equal(whole, part),
    }
}

/// As JSON has it, but 1 is 1.0.
#[must_use]
pub fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(_), Value::Number(_)) => compare(left, right) == Some(Ordering::Equal),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let same = |(name, left)| right.get(name).is_some_and(|right| equal(left, right));
            left.len() == right.len() && left.iter().all(same)
        }
        _ => left == right,
    }
}

/// Two numbers, or two texts by their code points. Nothing else has an order.
#[must_use]
pub fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(a), Value::Number(b)) => match (whole(left), whole(right)) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        _ => None,
    }
}

fn whole(number: &Value) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

#[cfg(test)]
mod tests;
