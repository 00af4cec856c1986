//! How the writes of several tasks become one channel value.

use agentry_core::run::Delta;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reducer {
    /// The last write counts; within a superstep the node whose name sorts last.
    Last,
    /// A list that grows. Setting it replaces the whole list.
    Append,
    /// Numbers are added up.
    Sum,
    /// The largest number stays.
    Max,
    /// The members of an object are overwritten one by one.
    Merge,
}

impl Reducer {
    /// What a write does to a channel that holds `current`; or what is wrong with the write.
    pub(crate) fn reduce(self, current: Option<&Value>, write: Delta) -> Result<Delta, String> {
        match (self, write) {
            (Self::Append, write @ (Delta::Set(_) | Delta::Append(_))) => Ok(write),
            (Self::Last | Self::Sum | Self::Max | Self::Merge, Delta::Append(_)) => {
                Err("it is not a list that grows; set it instead of appending".to_owned())
            }
            (Self::Merge, Delta::Merge(members)) => {
                self.reduce(current, Delta::Set(Value::Object(members)))
            }
            (Self::Last | Self::Sum | Self::Max | Self::Append, Delta::Merge(_)) => {
                Err("it is not an object that grows; set it instead of merging".to_owned())
            }
            (Self::Last, write @ Delta::Set(_)) => Ok(write),
            (Self::Sum, Delta::Set(value)) => {
                combine(current, value, |a, b| a + b, i64::checked_add)
            }
            (Self::Max, Delta::Set(value)) => {
                combine(current, value, f64::max, |a, b| Some(a.max(b)))
            }
            (Self::Merge, Delta::Set(Value::Object(members))) => match current {
                Some(Value::Object(known)) => {
                    let mut merged = known.clone();
                    merged.extend(members);
                    Ok(Delta::Set(Value::Object(merged)))
                }
                Some(_) | None => Ok(Delta::Set(Value::Object(members))),
            },
            (Self::Merge, Delta::Set(_)) => Err("it is merged, so it takes an object".to_owned()),
        }
    }

    /// A message's payload as a write.
    pub(crate) fn message(self, payload: Value) -> Delta {
        match self {
            Self::Append => Delta::Append(vec![payload]),
            Self::Last | Self::Sum | Self::Max | Self::Merge => Delta::Set(payload),
        }
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
