//! How the writes of several tasks become one channel value.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentry_core::run::Delta;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

mod messages;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reducer {
    /// One write counts. Two nodes that write in the same superstep are in conflict.
    Last,
    /// A list that grows.
    Append,
    /// Numbers are added up.
    Sum,
    /// The largest number stays.
    Max,
    /// The members of an object are overwritten one by one.
    Merge,
    /// A conversation: messages with a known id replace, others are appended, and `remove` messages remove.
    Messages,
    /// A function that the program registers under this name.
    Custom(String),
}

/// What the old value and a write come to.
pub type Fold = Arc<dyn Fn(Option<&Value>, Value) -> Result<Value, String> + Send + Sync>;

/// Reducers by the names under which channels ask for them.
pub type Folds = BTreeMap<String, Fold>;

/// One write of a node to a channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Put {
    /// Goes through the channel's reducer; a list is appended to a list.
    Reduce(Value),
    /// As `Reduce`, but it replaces the whole list where the channel is one that grows.
    Set(Value),
    /// Items for a list that grows.
    Append(Vec<Value>),
    /// The new value, whatever the reducer. Other writes of the same superstep to this channel do not count.
    Overwrite(Value),
}

impl From<Delta> for Put {
    fn from(delta: Delta) -> Self {
        match delta {
            Delta::Set(value) => Self::Set(value),
            Delta::Append(items) => Self::Append(items),
            Delta::Merge(members) => Self::Reduce(Value::Object(members)),
        }
    }
}

impl Put {
    /// A value that crossed a JSON border may say that it overwrites.
    #[must_use]
    pub fn from_json(value: Value) -> Self {
        match value {
            Value::Object(mut members) if members.len() == 1 => {
                match members.remove("__overwrite__") {
                    Some(value) => Self::Overwrite(value),
                    None => Self::Reduce(Value::Object(members)),
                }
            }
            Value::Object(mut members)
                if members.get("type").is_some_and(|kind| kind == "__overwrite__")
                    && members.contains_key("value") =>
            {
                Self::Overwrite(members.remove("value").unwrap_or_default())
            }
            value => Self::Reduce(value),
        }
    }

    /// What people see of it.
    #[must_use]
    pub fn shown(&self) -> Value {
        match self {
            Self::Reduce(value) | Self::Set(value) => value.clone(),
            Self::Append(items) => Value::Array(items.clone()),
            Self::Overwrite(value) => {
                serde_json::json!({ "type": "__overwrite__", "value": value })
            }
        }
    }
}

impl Reducer {
    /// Whether two writes in one superstep contradict each other.
    pub(crate) fn is_exclusive(&self) -> bool {
        *self == Self::Last
    }

    /// Whether a write replaces what other tasks of its superstep have written.
    pub(crate) fn overwrites(&self, put: &Put) -> bool {
        match put {
            Put::Overwrite(_) => !self.is_exclusive(),
            Put::Set(_) => *self == Self::Append,
            Put::Reduce(_) | Put::Append(_) => false,
        }
    }

    /// Whether a write is of a kind that the channel takes at all.
    pub(crate) fn fits(&self, put: &Put) -> Result<(), String> {
        let value = match (self, put) {
            (_, Put::Overwrite(_)) | (Self::Append, Put::Set(_) | Put::Append(_)) => return Ok(()),
            (Self::Append, Put::Reduce(Value::Array(_))) => return Ok(()),
            (_, Put::Append(_)) => {
                return self.reduce(&Folds::new(), None, put.clone()).map(|_| ());
            }
            (_, Put::Reduce(value) | Put::Set(value)) => value,
        };
        match (self, value) {
            (Self::Sum | Self::Max, Value::Number(_)) | (Self::Merge, Value::Object(_)) => Ok(()),
            (Self::Last | Self::Messages | Self::Custom(_), _) => Ok(()),
            (Self::Sum | Self::Max | Self::Merge | Self::Append, _) => {
                self.reduce(&Folds::new(), None, put.clone()).map(|_| ())
            }
        }
    }

    /// What a write does to a channel that holds `current`; or what is wrong with the write.
    pub(crate) fn reduce(
        &self,
        folds: &Folds,
        current: Option<&Value>,
        put: Put,
    ) -> Result<Delta, String> {
        let value = match (self, put) {
            (_, Put::Overwrite(value)) | (Self::Last | Self::Append, Put::Set(value)) => {
                return Ok(Delta::Set(value));
            }
            (Self::Append, Put::Append(items) | Put::Reduce(Value::Array(items))) => {
                return Ok(Delta::Append(items));
            }
            (Self::Append, Put::Reduce(_)) => {
                return Err("it is a list that grows, so it takes lists".to_owned());
            }
            (Self::Messages | Self::Custom(_), Put::Append(items)) => Value::Array(items),
            (Self::Last | Self::Sum | Self::Max | Self::Merge, Put::Append(_)) => {
                return Err("it is not a list that grows; set it instead of appending".to_owned());
            }
            (_, Put::Reduce(value) | Put::Set(value)) => value,
        };
        match self {
            Self::Last | Self::Append => Ok(Delta::Set(value)),
            Self::Sum => combine(current, value, |a, b| a + b, i64::checked_add),
            Self::Max => combine(current, value, f64::max, |a, b| Some(a.max(b))),
            Self::Merge => match value {
                Value::Object(members) => Ok(merge(current, members)),
                _ => Err("it is merged, so it takes an object".to_owned()),
            },
            Self::Messages => messages::add(current, value),
            Self::Custom(name) => match folds.get(name) {
                Some(fold) => fold(current, value).map(Delta::Set),
                None => Err(format!("no reducer is registered under `{name}`")),
            },
        }
    }

    /// A message's payload as a write.
    pub(crate) fn message(&self, payload: Value) -> Put {
        match self {
            Self::Append => Put::Append(vec![payload]),
            Self::Last | Self::Sum | Self::Max | Self::Merge | Self::Messages | Self::Custom(_) => {
                Put::Reduce(payload)
            }
        }
    }
}

fn merge(current: Option<&Value>, members: Map<String, Value>) -> Delta {
    match current {
        Some(Value::Object(_)) => Delta::Merge(members),
        Some(_) | None => Delta::Set(Value::Object(members)),
    }
}

fn combine(
    current: Option<&Value>,
    value: Value,
    floats: fn(f64, f64) -> f64,
    integers: fn(i64, i64) -> Option<i64>,
) -> Result<Delta, String> {
    let Value::Number(new) = &value else {
        return Err("it takes numbers only".to_owned());
    };
    let Some(Value::Number(known)) = current else {
        return Ok(Delta::Set(value));
    };
    if let (Some(a), Some(b)) = (known.as_i64(), new.as_i64())
        && let Some(result) = integers(a, b)
    {
        return Ok(Delta::Set(result.into()));
    }
    known
        .as_f64()
        .zip(new.as_f64())
        .and_then(|(a, b)| Number::from_f64(floats(a, b)))
        .map(|number| Delta::Set(Value::Number(number)))
        .ok_or_else(|| "the number is too large".to_owned())
}

#[cfg(test)]
mod tests;
