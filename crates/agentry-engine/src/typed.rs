//! Graphs over a struct: `#[derive(State)]` makes its fields channels, nodes are async functions of it, and edges are drawn
//! between handles, so that neither a misspelt node nor a value of the wrong type compiles.
//!
//! This is a dress: what it builds is a [`Program`](crate::Program) like any other.

mod build;
mod function;

use std::fmt::Display;

pub use agentry_core::run::Values;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use build::{Builder, NodeId, Way, graph};
pub use function::{Function, Outcome};

use crate::reducer::{Put, Reducer};

/// What a derive makes of a struct.
pub trait State: Send + Sync + Sized + 'static {
    /// What a node changes of it.
    type Update: Into<Writes> + Default + Send;

    fn channels() -> Vec<(&'static str, Reducer)>;
    /// A channel that nobody has written to is its type's default.
    fn read(values: &Values) -> Result<Self, Problem>;
    fn write(self) -> Result<Values, Problem>;
}

/// A channel's value is not of its field's type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the channel `{channel}` does not fit its field: {reason}")]
pub struct Problem {
    pub channel: &'static str,
    pub reason: String,
}

impl Problem {
    fn new(channel: &'static str, reason: impl Display) -> Self {
        Self { channel, reason: reason.to_string() }
    }
}

/// What a derive reads a field with.
pub fn field<T: DeserializeOwned + Default>(
    values: &Values,
    channel: &'static str,
) -> Result<T, Problem> {
    match values.get(channel) {
        None | Some(Value::Null) => Ok(T::default()),
        Some(value) => T::deserialize(value).map_err(|problem| Problem::new(channel, problem)),
    }
}

/// What a derive writes a field with.
pub fn value(channel: &'static str, field: &impl Serialize) -> Result<Value, Problem> {
    serde_json::to_value(field).map_err(|problem| Problem::new(channel, problem))
}

/// What an update comes to. The first problem is kept for whoever takes it.
#[derive(Debug, Default)]
pub struct Writes {
    puts: Vec<(&'static str, Put)>,
    problem: Option<Problem>,
}

impl Writes {
    #[must_use]
    pub fn set(self, channel: &'static str, field: &impl Serialize) -> Self {
        self.push(channel, value(channel, field).map(Put::Reduce))
    }

    #[must_use]
    pub fn append<T: Serialize>(
        self,
        channel: &'static str,
        items: impl IntoIterator<Item = T>,
    ) -> Self {
        let items: Result<Vec<_>, _> =
            items.into_iter().map(|item| value(channel, &item)).collect();
        self.push(channel, items.map(|items| Put::Reduce(Value::Array(items))))
    }

    #[must_use]
    pub fn merge(self, channel: &'static str, members: &impl Serialize) -> Self {
        self.set(channel, members)
    }

    fn push(mut self, channel: &'static str, put: Result<Put, Problem>) -> Self {
        match put {
            Ok(put) => self.puts.push((channel, put)),
            Err(problem) => self.problem = self.problem.or(Some(problem)),
        }
        self
    }
}

#[cfg(test)]
mod tests;
