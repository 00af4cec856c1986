//! What happens to a durable run, in the words in which it is stored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Timestamp;

/// A run's state: named channels.
pub type Values = BTreeMap<String, Value>;

/// The number of an entry of a thread; the first is 1.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Grows with every claim; a write with an older one is refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub u64);

/// One change of one channel. Appending stores only what was appended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delta {
    Set(Value),
    Append(Vec<Value>),
    /// Members of an object, each set.
    Merge(Map<String, Value>),
}

impl Delta {
    /// Folds the change into `values`. Appending to something that is not a list replaces it, merging into something that is
    /// not an object likewise.
    pub fn apply(self, values: &mut Values, channel: String) {
        match self {
            Self::Set(value) => {
                values.insert(channel, value);
            }
            Self::Append(items) => match values.get_mut(&channel) {
                Some(Value::Array(list)) => list.extend(items),
                _ => {
                    values.insert(channel, Value::Array(items));
                }
            },
            Self::Merge(members) => match values.get_mut(&channel) {
                Some(Value::Object(object)) => object.extend(members),
                _ => {
                    values.insert(channel, Value::Object(members));
                }
            },
        }
    }
}

/// Something sent to a run: it is folded into `channel` when the run next decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// A second message with the same id to the same run is dropped.
    pub id: String,
    pub channel: String,
    pub payload: Value,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub value: Value,
    pub actor: String,
    pub at: Timestamp,
}

/// Why an interrupt is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Closing {
    Answered,
    /// Only while nobody has answered: otherwise the commit is refused as [`Committed::Stale`].
    Expired,
    /// The task asks anew. Like `Expired`, only while nobody has answered.
    Replaced,
    /// The run ended, or the task that asked was cancelled.
    Withdrawn,
}

/// For whoever watches the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub at: Timestamp,
    /// `node.started`, `node.finished`, `run.parked`, or a node's own.
    pub kind: String,
    pub detail: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    Applied {
        /// Somebody asked for the run to be cancelled.
        cancel: bool,
        /// Messages or answers are waiting; a parked run was made ready again.
        inbox: bool,
    },
    /// This very commit was stored before; nothing was done.
    Duplicate,
    /// Another worker has claimed the run since.
    Fenced,
    /// The run is not at `seq - 1`, or an interrupt that was to expire has been answered. Load again.
    Stale,
}

/// A remembered effect of a node: never performed again once it is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum Effect {
    /// About to be performed; found at a restart, its outcome is unknown.
    Intended,
    Done {
        value: Value,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appended_deltas_fold_to_the_whole_list() {
        let mut values = Values::new();
        for delta in [Delta::Append(vec![1.into()]), Delta::Append(vec![2.into(), 3.into()])] {
            delta.apply(&mut values, "seen".into());
        }
        Delta::Set("x".into()).apply(&mut values, "name".into());
        assert_eq!(
            serde_json::json!(values),
            serde_json::json!({ "name": "x", "seen": [1, 2, 3] })
        );
    }
}
