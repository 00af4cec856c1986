//! When nothing goes on any more, and why.

use std::time::Duration;

use agentry_core::run::Closing;
use agentry_core::thread::{Rest, RunChange, RunStatus};
use agentry_core::{Code, Failure, Fault, Retry};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Machine;
use super::op::Op;
use super::scope::{Halt, Phase, ROOT_IX, ScopeIx, Slot};

/// A thread whose next moment is this near stays in memory.
const NEAR: Duration = Duration::from_secs(1);

/// Why a thread rests.
#[derive(Debug, Clone, PartialEq)]
pub enum Rests {
    /// It does not: tasks run or will in a moment.
    Running,
    /// Nothing is left to do.
    Idle,
    /// For a message or a moment.
    Waiting,
    /// For a person, or at a breakpoint.
    Interrupted,
    Failed(Failed),
    Cancelled {
        reason: String,
    },
    /// Its run was not done by its deadline.
    TimedOut,
}

/// Why a run has failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failed {
    pub code: &'static str,
    /// The subgraph that it happened in; empty for the thread's own graph.
    pub ns: String,
    pub node: String,
    pub message: String,
}

impl Failed {
    fn new(code: &'static str, node: &str, message: String) -> Self {
        Self { code, ns: String::new(), node: node.to_owned(), message }
    }

    pub(super) fn node(node: &str, message: &str) -> Self {
        Self::new("node_failed", node, format!("`{node}` failed: {message}"))
    }

    pub(super) fn conflict(node: &str, channel: &str) -> Self {
        let message = format!(
            "`{node}` and another node of the same superstep wrote to `{channel}`, which takes one value; \
             give it a reducer, or let the nodes write to different channels"
        );
        Self::new("graph_conflict", node, message)
    }

    pub(super) fn unfit(node: &str, channel: &str, problem: &str) -> Self {
        Self::new("graph_conflict", node, format!("`{node}` wrote to `{channel}`: {problem}"))
    }

    pub(super) fn routing(node: &str, message: String) -> Self {
        Self::new("graph_route", node, format!("after `{node}`: {message}"))
    }

    /// What was decided cannot be stored.
    pub(super) fn unstorable(message: &str) -> Self {
        Self::new("storage_refused", "", message.to_owned())
    }

    pub(super) fn steps(steps_max: u32) -> Self {
        let message = format!(
            "not done after {steps_max} supersteps; let an edge lead to END, or raise the limit"
        );
        Self::new("graph_steps", "", message)
    }
}

/// A failure as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredFailed {
    code: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    ns: String,
    node: String,
    message: String,
}

impl Failed {
    pub(super) fn to_stored(&self) -> StoredFailed {
        let Self { code, ns, node, message } = self.clone();
        StoredFailed { code: code.to_owned(), ns, node, message }
    }

    pub(super) fn from_stored(stored: StoredFailed) -> Self {
        let StoredFailed { code, ns, node, message } = stored;
        let codes = ["graph_conflict", "graph_route", "graph_steps", "storage_refused"];
        let code = codes.into_iter().find(|it| *it == code).unwrap_or("node_failed");
        Self { code, ns, node, message }
    }
}

impl Failure for Failed {
    fn code(&self) -> Code {
        match self.code {
            "graph_conflict" => Code("graph_conflict"),
            "graph_route" => Code("graph_route"),
            "graph_steps" => Code("graph_steps"),
            "storage_refused" => Code("storage_refused"),
            _ => Code("node_failed"),
        }
    }

    fn fault(&self) -> Fault {
        Fault::Caller
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

impl Rests {
    pub(super) fn stored(&self) -> Option<Rest> {
        match self {
            Self::Running => None,
            Self::Idle | Self::Cancelled { .. } | Self::TimedOut => Some(Rest::Idle),
            Self::Waiting => Some(Rest::Waiting),
            Self::Interrupted => Some(Rest::Interrupted),
            Self::Failed(_) => Some(Rest::Failed),
        }
    }

    pub(super) fn run(&self) -> (RunStatus, Option<String>) {
        match self {
            Self::Running | Self::Waiting => (RunStatus::Running, None),
            Self::Idle => (RunStatus::Success, None),
            Self::Interrupted => (RunStatus::Interrupted, None),
            Self::Failed(failed) => (RunStatus::Error, Some(failed.message.clone())),
            Self::Cancelled { reason } => (RunStatus::Cancelled, Some(reason.clone())),
            Self::TimedOut => {
                (RunStatus::Timeout, Some("it was not done by its deadline".to_owned()))
            }
        }
    }
}

impl Machine {
    /// The run fails when nothing goes on any more. The first reason counts.
    pub(super) fn fail(&mut self, failed: Failed) {
        if let Some(run) = &mut self.run
            && run.failed.is_none()
        {
            run.failed = Some(failed.clone());
            self.note(|| Op::Fails(failed.to_stored()));
        }
    }

    /// What failed was made good. Also when loading.
    pub(super) fn mend(&mut self) {
        if let Some(run) = &mut self.run {
            run.failed = None;
        }
    }

    /// Finds out whether anything goes on after this decision.
    pub(super) fn come_to_rest(&mut self) {
        let Some(run) = &self.run else { return };
        let before = std::mem::replace(&mut self.rests, Rests::Running);
        let rests = if self.running > 0 {
            Rests::Running
        } else if let Some(ending) = &run.ending {
            ending.rests.clone()
        } else if self.scopes.root().active > 0 {
            let near = self.wake_at().is_some_and(|moment| moment > self.now.plus(NEAR));
            if near { Rests::Waiting } else { Rests::Running }
        } else if let Some(failed) = &run.failed {
            Rests::Failed(failed.clone())
        } else {
            self.settled_as()
        };
        self.rests = rests;
        if self.rests != before {
            self.tell_rest();
        }
    }

    pub(super) fn settled_as(&self) -> Rests {
        let halted = self.scopes.all().any(|(_, scope)| scope.halt == Some(Halt::Breakpoint));
        let mut asks = self.asking.iter().filter_map(|(ix, slot)| {
            let question = self.scopes.task(*ix, *slot)?.question()?;
            Some(question.ask.question.is_some())
        });
        let first = asks.next();
        if halted || first == Some(true) || asks.any(|question| question) {
            Rests::Interrupted
        } else if first.is_some() {
            Rests::Waiting
        } else {
            Rests::Idle
        }
    }

    fn tell_rest(&mut self) {
        let Some(run) = &self.run else { return };
        let id = run.op.id;
        let over = match self.rests {
            Rests::Running | Rests::Waiting | Rests::Interrupted => false,
            Rests::Idle | Rests::Failed(_) | Rests::Cancelled { .. } | Rests::TimedOut => true,
        };
        let (status, reason) = self.rests.run();
        if self.rests == Rests::Interrupted && self.has_pending_writes() {
            self.tell_scope("state.pending", ROOT_IX, json!({}));
        }
        if self.rests != Rests::Running {
            let kind = if over { "run.ended" } else { "run.rests" };
            let code = match &self.rests {
                Rests::Failed(failed) => Some(failed.code),
                _ => None,
            };
            let detail = json!({ "status": status, "reason": reason, "code": code });
            self.tell_scope(kind, ROOT_IX, detail);
        }
        self.trace.runs.push(RunChange { run: id, status, base: None, reason });
        if over {
            self.note(|| Op::Over);
            self.run = None;
        }
    }

    fn has_pending_writes(&self) -> bool {
        let root = self.scopes.root();
        root.tasks
            .iter()
            .any(|task| matches!(&task.phase, Phase::Done(done) if !done.puts.is_empty()))
    }

    /// A question is over without an answer that counts.
    pub(super) fn close(&mut self, (ix, slot): (ScopeIx, Slot), closing: Closing) {
        let Some(task) = self.scopes.task_mut(ix, slot) else { return };
        if task.question().is_none() {
            return;
        }
        if let Some(open) = task.more().open.take() {
            // One that this very decision asks is not stored yet, and a commit closes before it opens.
            self.trace.opened.retain(|interrupt| interrupt.id != open.interrupt);
            self.trace.postponed.retain(|(id, _)| *id != open.interrupt);
            self.trace.closed.push((open.interrupt, closing));
        }
    }
}
