//! A run between two decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agentry_core::run::{Delta, Event, Fence, Interrupt, Loaded, Message, RunRow, Seq, Values};
use agentry_core::store::Claimed;
use agentry_core::{RunId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::node::{Ask, Reply};

/// All that [`step`](crate::step::step) decides on.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub(crate) row: RunRow,
    pub(crate) fence: Fence,
    pub(crate) seq: Seq,
    pub(crate) values: Arc<Values>,
    pub(crate) cursor: Cursor,
    pub(crate) inbox: Vec<Message>,
    pub(crate) interrupts: Vec<Interrupt>,
    pub(crate) cancel: Option<String>,
    /// Tasks that run right now; nothing of them is stored.
    pub(crate) running: BTreeMap<String, Running>,
    /// How many messages this worker has folded in.
    pub(crate) folded: u64,
    /// Events that wait for the next commit.
    pub(crate) pending: Vec<Event>,
}

/// What a worker knows of a run and the store does not.
pub(crate) struct Kept {
    running: BTreeMap<String, Running>,
    folded: u64,
    pending: Vec<Event>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    pub deadline: Option<Timestamp>,
    pub folded: u64,
    /// The replies that the task was shown.
    pub replies: usize,
    pub cancelled: bool,
}

/// Where the engine stands in the graph. Stored with each commit and readable for ever.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    pub superstep: u32,
    /// The tasks of this superstep, by node.
    pub tasks: BTreeMap<String, Task>,
    /// By the target of a join: who has arrived.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arrived: BTreeMap<String, BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Task {
    pub phase: Phase,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Open>,
    /// How many interrupts it has opened: part of their ids.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub asked: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replies: BTreeMap<String, Reply>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "is")]
pub(crate) enum Phase {
    /// To be run, or running.
    #[default]
    Ready,
    Backoff {
        until: Timestamp,
    },
    Asking,
    /// Its writes wait for its siblings.
    Done {
        writes: Vec<(String, Delta)>,
    },
}

/// A question that stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Open {
    pub interrupt: String,
    pub ask: Ask,
}

/// The run is to end when its running tasks have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ending {
    pub how: How,
    pub reason: String,
    /// Tasks that still run then are dropped.
    pub until: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum How {
    Failed,
    Cancelled,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "version")]
enum Stored {
    #[serde(rename = "1")]
    V1(Cursor),
}

impl Cursor {
    pub(crate) fn to_value(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(Stored::V1(self.clone()))
    }

    pub(crate) fn from_value(value: Value) -> Result<Self, serde_json::Error> {
        let Stored::V1(cursor) = serde_json::from_value(value)?;
        Ok(cursor)
    }
}

impl State {
    /// A run as it was claimed; nothing of it runs yet.
    pub fn new(claimed: Claimed) -> Result<Self, serde_json::Error> {
        let Claimed { fence, loaded } = claimed;
        let Loaded { row, values, cursor, journal: _, inbox, interrupts, cancel } = loaded;
        Ok(Self {
            seq: row.seq,
            row,
            fence,
            values: Arc::new(values),
            cursor: cursor.map(Cursor::from_value).transpose()?.unwrap_or_default(),
            inbox,
            interrupts,
            cancel,
            running: BTreeMap::new(),
            folded: 0,
            pending: Vec::new(),
        })
    }

    /// The same run, loaded again by the worker that has it.
    pub(crate) fn resume(claimed: Claimed, kept: Kept) -> Result<Self, serde_json::Error> {
        let Kept { running, folded, pending } = kept;
        Ok(Self { running, folded, pending, ..Self::new(claimed)? })
    }

    pub(crate) fn kept(&self) -> Kept {
        let (running, pending) = (self.running.clone(), self.pending.clone());
        Kept { running, folded: self.folded, pending }
    }

    pub(crate) fn shared_values(&self) -> Arc<Values> {
        Arc::clone(&self.values)
    }

    #[must_use]
    pub fn run(&self) -> RunId {
        self.row.id
    }

    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    #[must_use]
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// When the next decision is due though nothing else happens.
    #[must_use]
    pub fn wake_at(&self) -> Option<Timestamp> {
        let waiting = self.cursor.tasks.values().filter_map(|task| match &task.phase {
            Phase::Backoff { until } => Some(*until),
            Phase::Asking => task.open.as_ref().and_then(|open| open.ask.deadline),
            Phase::Ready | Phase::Done { .. } => None,
        });
        let running = self.running.values().filter_map(|running| running.deadline);
        let ending = self.cursor.ending.as_ref().map(|ending| ending.until);
        // While the run ends, its deadline has nothing more to say.
        let whole = if ending.is_some() { ending } else { self.row.deadline };
        waiting.chain(running).chain(whole).min()
    }
}

#[cfg(test)]
mod tests;
