//! What one decision did, in words that outlive the process: nodes and joins by their names.
//!
//! An entry's body is the list of its moves. Loading a thread makes the same moves again, so what was in memory and what is
//! read back cannot differ.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentry_core::thread::States;
use agentry_core::{CheckpointId, RunId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rest::StoredFailed;
use super::scope::{Done, Halt, More, Phase};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a decision has few, and they live for a moment")]
pub(crate) enum Op {
    /// A run begins, or goes on from where the thread stood.
    Run(RunOp),
    /// The run will have failed when nothing goes on any more.
    Fails(StoredFailed),
    /// What failed was made good by another node.
    Mended,
    /// The run of this thread is over.
    Over,
    /// The next `n` of the entry's writes take place.
    Writes(usize),
    /// They are what this task has written; `raw` is what it said where that is not what became of it.
    Wrote(Wrote),
    Turn(TurnOp),
    /// A task has come to something.
    Task(TaskOp),
    Open(OpenOp),
    /// A graph in a task takes the state above as its input.
    Seed(At),
    /// The `n`-th task goes, others stay.
    Pass(At),
    /// The graph inside a task is over.
    Close(At),
    Halt(HaltOp),
    /// The next of the entry's checkpoints is the state here.
    Mark,
    /// The thread is one of another version of its graph from here on, and so is the next of the entry's checkpoints. It is
    /// the first move of its entry.
    Moved(Box<MovedOp>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MovedOp {
    pub from: String,
    pub to: String,
    /// All that it comes to there, as a snapshot has it.
    pub image: Value,
    pub states: States,
}

/// The place of a task, or with no slot of a scope.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct At {
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub ns: Arc<str>,
    #[serde(default, skip_serializing_if = "is_first")]
    pub slot: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_first(slot: &usize) -> bool {
    *slot == 0
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunOp {
    pub id: RunId,
    pub steps_max: u32,
    /// It goes on with what is there, instead of taking input.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub goes_on: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wrote {
    #[serde(flatten)]
    pub at: At,
    pub n: usize,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, Value>,
}

/// The next superstep; or, of a graph without supersteps, the next nodes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TurnOp {
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub ns: Arc<str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<Planned>,
    /// By join: who arrived.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arrived: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reset: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deferred: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undeferred: Vec<String>,
    /// The tasks that are there stay, and these are added.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub add: bool,
    /// The tasks that are there go without having run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dropped: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Planned {
    Node(String),
    Sent { node: String, arg: Arc<Value> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaskOp {
    #[serde(flatten)]
    pub at: At,
    pub phase: Phase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<More>,
}

impl TaskOp {
    pub(crate) fn done(at: At, done: Done) -> Self {
        Self { at, phase: Phase::Done(done), more: None }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OpenOp {
    #[serde(flatten)]
    pub at: At,
    pub inner: Arc<str>,
    /// When it is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HaltOp {
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub ns: Arc<str>,
    pub halt: Halt,
}

/// An entry's body. Each version stays readable for ever.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "version")]
pub(crate) enum Body {
    #[serde(rename = "1")]
    V1 {
        /// The state that this builds on is that of a checkpoint in the middle of the entry before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        back_to: Option<CheckpointId>,
        ops: Vec<Op>,
    },
}
