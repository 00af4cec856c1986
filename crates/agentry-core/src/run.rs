//! A durable run, as it is stored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::audit;
use crate::{RunId, Timestamp};

/// A run's state: named channels.
pub type Values = BTreeMap<String, Value>;

/// The number of a run's commit; the first is 1.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A worker may claim it now.
    Ready,
    /// It waits for an answer, a message or a moment; nothing is held in memory.
    Parked,
    Succeeded,
    Failed,
    Cancelled,
}

impl Status {
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Ready | Self::Parked => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewRun {
    pub id: RunId,
    /// A second submission with the same key answers with the first one's id.
    pub key: String,
    pub graph: String,
    /// Content hash of the graph; only workers that have this version may claim the run.
    pub version: String,
    pub input: Values,
    pub created: Timestamp,
    /// The whole run is cancelled when it is not done by then.
    pub deadline: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRow {
    pub id: RunId,
    pub key: String,
    pub graph: String,
    pub version: String,
    pub status: Status,
    pub seq: Seq,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub deadline: Option<Timestamp>,
    pub wake_at: Option<Timestamp>,
    /// Why it failed or was cancelled.
    pub reason: Option<String>,
}

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

/// A question that parks a run, or, without a question, a moment to wait for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interrupt {
    pub run: RunId,
    /// Unique within the run.
    pub id: String,
    /// What a person is shown; `None` for a plain wait, which nobody can answer.
    pub question: Option<Value>,
    pub opened: Timestamp,
    pub deadline: Option<Timestamp>,
    /// The answer that counts when the deadline passes first.
    pub on_timeout: Value,
    pub answer: Option<Answer>,
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

/// What a run does after a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum Next {
    /// Its worker goes on with it.
    Running,
    /// Until an answer or a message comes, or `wake_at` passes.
    Parked {
        wake_at: Option<Timestamp>,
    },
    Succeeded,
    Failed {
        reason: String,
    },
    Cancelled {
        reason: String,
    },
}

/// One decision of one run: all of it is stored, or none. `closed` comes before `opened`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunCommit {
    pub run: RunId,
    pub fence: Fence,
    /// The number this commit takes: one more than the run's last.
    pub seq: Seq,
    pub at: Timestamp,
    pub deltas: Vec<(String, Delta)>,
    /// Where the engine stands in the graph; tagged and versioned by the engine.
    pub cursor: Value,
    pub next: Next,
    pub opened: Vec<Interrupt>,
    pub closed: Vec<(String, Closing)>,
    /// Ids of the messages that this decision has folded in.
    pub consumed: Vec<String>,
    pub events: Vec<Event>,
    pub audit: Vec<audit::Entry>,
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

/// Everything a worker needs to go on with a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub row: RunRow,
    pub values: Values,
    /// `None` before the first commit.
    pub cursor: Option<Value>,
    pub journal: BTreeMap<String, Effect>,
    /// Not yet consumed, in the order of arrival.
    pub inbox: Vec<Message>,
    /// Open ones, answered or not.
    pub interrupts: Vec<Interrupt>,
    pub cancel: Option<String>,
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
