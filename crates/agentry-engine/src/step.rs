//! The one place where it is decided how a run goes on.
//!
//! A decision is a pure function of the graph, the run's state, the time and what happened. Whoever calls it stores
//! the commit first and performs the actions then.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::run::{Closing, Delta, Event, Interrupt, Message, Next, RunCommit};
use agentry_core::{Timestamp, audit};
use serde_json::{Value, json};

use crate::graph::{NodeSettings, START};
use crate::node::{Again, NodeError, NodeOutput, Then};
use crate::program::Program;
use crate::route::route;
use crate::state::{Ending, How, Phase, Running, State, Task};

/// How long tasks may go on when their run is to end.
pub const GRACE: Duration = Duration::from_secs(5);
/// A run whose next moment is this near stays in memory.
const NEAR: Duration = Duration::from_secs(1);

/// What a worker has seen of a run since the last decision.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// A worker has taken the run.
    Claimed,
    /// Tasks have ended, each with its node's name.
    Ended(Vec<(String, Result<NodeOutput, NodeError>)>),
    /// What the store holds for the run now.
    Mail { inbox: Vec<Message>, interrupts: Vec<Interrupt>, cancel: Option<String> },
    /// Time has passed.
    Tick,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Run the node on the state as it is now.
    Start(String),
    /// Tell the task that the run is to end.
    Cancel(String),
    /// Drop the task; nothing that it returns counts any more.
    Abort(String),
}

/// A decision: what to store first, then what to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub state: State,
    /// `None` when nothing has changed that would have to outlive the process.
    pub commit: Option<RunCommit>,
    pub actions: Vec<Action>,
}

/// The run and the program do not belong together. Nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error("the run stands at `{0}`, which its graph does not have")]
    ForeignNode(String),
    #[error("the cursor cannot be written: {0}")]
    Cursor(#[from] serde_json::Error),
}

/// Decides how the run goes on.
pub fn step(
    program: &Program,
    state: State,
    now: Timestamp,
    happened: Happened,
) -> Result<Step, StepError> {
    let known = |node: &&String| !program.graph().nodes.contains_key(*node);
    if let Some(foreign) = state.cursor.tasks.keys().find(known) {
        return Err(StepError::ForeignNode(foreign.clone()));
    }
    let mut decision = Decision::new(program, state, now);
    match happened {
        Happened::Claimed | Happened::Tick => {}
        Happened::Ended(tasks) => {
            for (node, result) in tasks {
                decision.ended(&node, result);
            }
        }
        Happened::Mail { inbox, interrupts, cancel } => {
            decision.state.inbox = inbox;
            decision.state.interrupts = interrupts;
            decision.state.cancel = cancel;
        }
    }
    decision.settle()
}

struct Decision<'a> {
    program: &'a Program,
    state: State,
    now: Timestamp,
    actions: Vec<Action>,
    deltas: Vec<(String, Delta)>,
    opened: Vec<Interrupt>,
    closed: Vec<(String, Closing)>,
    consumed: Vec<String>,
    audit: Vec<audit::Entry>,
    changed: bool,
    end: Option<Next>,
}

impl<'a> Decision<'a> {
    fn new(program: &'a Program, state: State, now: Timestamp) -> Self {
        Self {
            program,
            state,
            now,
            actions: Vec::new(),
            deltas: Vec::new(),
            opened: Vec::new(),
            closed: Vec::new(),
            consumed: Vec::new(),
            audit: Vec::new(),
            changed: false,
            end: None,
        }
    }

    fn settle(mut self) -> Result<Step, StepError> {
        self.take_answers();
        self.fold_messages();
        self.expire();
        self.time_out();
        self.begin_ending();
        self.wake_from_backoff();
        self.advance();
        self.finish_ending();
        if self.end.is_none() {
            self.start();
        }
        self.into_step()
    }

    fn into_step(mut self) -> Result<Step, StepError> {
        let next = self.end.take().unwrap_or_else(|| self.wait());
        if !self.changed && next == Next::Running {
            return Ok(Step { state: self.state, commit: None, actions: self.actions });
        }
        match &next {
            Next::Running => {}
            Next::Parked { wake_at } => self.event("run.parked", json!({ "wake_at": wake_at })),
            Next::Succeeded => self.event("run.succeeded", json!({})),
            Next::Failed { reason } => self.event("run.failed", json!({ "reason": reason })),
            Next::Cancelled { reason } => self.event("run.cancelled", json!({ "reason": reason })),
        }
        let mut state = self.state;
        state.seq = state.seq.next();
        let commit = RunCommit {
            run: state.row.id,
            fence: state.fence,
            seq: state.seq,
            at: self.now,
            deltas: self.deltas,
            cursor: state.cursor.to_value()?,
            next,
            opened: self.opened,
            closed: self.closed,
            consumed: self.consumed,
            events: std::mem::take(&mut state.pending),
            audit: self.audit,
        };
        Ok(Step { state, commit: Some(commit), actions: self.actions })
    }

    /// What a run that is not over does now.
    fn wait(&self) -> Next {
        let wake_at = self.state.wake_at();
        let near = wake_at.is_some_and(|moment| moment <= self.now.plus(NEAR));
        if near || !self.state.running.is_empty() {
            return Next::Running;
        }
        Next::Parked { wake_at }
    }

    /// Events are stored with the next commit; on their own they do not cause one.
    fn event(&mut self, kind: &str, detail: Value) {
        self.state.pending.push(Event { at: self.now, kind: kind.to_owned(), detail });
    }

    fn settings(&self, node: &str) -> NodeSettings {
        self.program.graph().nodes.get(node).cloned().unwrap_or_default()
    }

    fn write(&mut self, channel: String, delta: Delta) {
        delta.clone().apply(Arc::make_mut(&mut self.state.values), channel.clone());
        self.deltas.push((channel, delta));
        self.changed = true;
    }

    fn fold_messages(&mut self) {
        let inbox = std::mem::take(&mut self.state.inbox);
        if inbox.is_empty() {
            return;
        }
        for Message { id, channel, payload, at: _ } in inbox {
            self.consumed.push(id);
            self.state.folded += 1;
            let Some(reducer) = self.program.graph().channels.get(&channel) else {
                let problem = format!("the graph has no channel `{channel}`");
                self.event("message.refused", json!({ "problem": problem }));
                continue;
            };
            let current = self.state.values.get(&channel);
            match reducer.reduce(self.program.folds(), current, reducer.message(payload)) {
                Ok(delta) => self.write(channel, delta),
                Err(problem) => {
                    let problem = format!("channel `{channel}`: {problem}");
                    self.event("message.refused", json!({ "problem": problem }));
                }
            }
        }
        self.changed = true;
        for task in self.state.cursor.tasks.values_mut() {
            task.rerun_on_message();
        }
    }

    fn begin_ending(&mut self) {
        if self.state.cursor.ending.is_some() {
            return;
        }
        if let Some(reason) = self.state.cancel.clone() {
            self.end_with(How::Cancelled, reason);
        } else if let Some(deadline) = self.state.row.deadline.filter(|end| *end <= self.now) {
            self.end_with(How::Cancelled, format!("not done by its deadline, {deadline}"));
        }
    }

    fn end_with(&mut self, how: How, reason: String) {
        if self.state.cursor.ending.is_some() {
            return;
        }
        self.changed = true;
        self.state.cursor.ending = Some(Ending { how, reason, until: self.now.plus(GRACE) });
        for (node, running) in &mut self.state.running {
            running.cancelled = true;
            self.actions.push(Action::Cancel(node.clone()));
        }
    }

    fn finish_ending(&mut self) {
        let Some(Ending { how, reason, until }) = self.state.cursor.ending.clone() else {
            return;
        };
        if until <= self.now {
            let left = std::mem::take(&mut self.state.running);
            self.actions.extend(left.into_keys().map(Action::Abort));
        }
        if !self.state.running.is_empty() {
            return;
        }
        let nodes: Vec<_> = self.state.cursor.tasks.keys().cloned().collect();
        for node in nodes {
            self.close(&node, Closing::Withdrawn);
        }
        self.end = Some(match how {
            How::Failed => Next::Failed { reason },
            How::Cancelled => Next::Cancelled { reason },
        });
    }

    /// Goes to the next superstep when this one is complete.
    fn advance(&mut self) {
        let done = |task: &Task| matches!(task.phase, Phase::Done { .. });
        let complete = self.state.cursor.tasks.values().all(done);
        if self.state.cursor.ending.is_some() || !complete {
            return;
        }
        let finished = std::mem::take(&mut self.state.cursor.tasks);
        let names: Vec<String> = if self.state.cursor.superstep == 0 {
            vec![START.to_owned()]
        } else {
            finished.keys().cloned().collect()
        };
        for (node, task) in finished {
            if let Phase::Done { writes } = task.phase {
                self.merge(&node, writes);
            }
        }
        let cursor = &mut self.state.cursor;
        let names = names.iter().map(String::as_str);
        let next = match route(self.program, &mut cursor.arrived, names, &self.state.values) {
            Ok(next) => next,
            Err(problem) => return self.end_with(How::Failed, problem),
        };
        if next.is_empty() {
            let stuck = cursor.arrived.keys().next().and_then(|join| join.split('<').next());
            if let Some(join) = stuck {
                let reason = format!("`{join}` waits for a node that never ran");
                return self.end_with(How::Failed, reason);
            }
            self.end = Some(Next::Succeeded);
            return;
        }
        cursor.superstep += 1;
        let steps_max = self.program.graph().steps_max;
        if cursor.superstep > steps_max {
            return self.end_with(How::Failed, format!("not done after {steps_max} supersteps"));
        }
        cursor.tasks = next.into_iter().map(|node| (node, Task::default())).collect();
    }

    fn merge(&mut self, node: &str, writes: Vec<(String, Delta)>) {
        for (channel, delta) in writes {
            let reducer = self.program.graph().channels.get(&channel);
            let current = self.state.values.get(&channel);
            match reducer.map(|reducer| reducer.reduce(self.program.folds(), current, delta.into())) {
                Some(Ok(delta)) => self.write(channel, delta),
                Some(Err(problem)) => {
                    self.end_with(How::Failed, format!("`{node}` wrote to `{channel}`: {problem}"));
                }
                None => {
                    self.end_with(How::Failed, format!("`{node}` wrote to no channel `{channel}`"));
                }
            }
        }
    }

    fn start(&mut self) {
        if self.state.cursor.ending.is_some() {
            return;
        }
        let superstep = self.state.cursor.superstep;
        let mut starting = Vec::new();
        for (node, task) in &self.state.cursor.tasks {
            if task.phase == Phase::Ready && !self.state.running.contains_key(node) {
                let deadline = self.settings(node).deadline_ms;
                let running = Running {
                    deadline: deadline.map(|ms| self.now.plus(Duration::from_millis(ms))),
                    folded: self.state.folded,
                    replies: task.replies.len(),
                    cancelled: false,
                };
                starting.push((node.clone(), running));
            }
        }
        for (node, running) in starting {
            self.event("node.started", json!({ "node": node, "superstep": superstep }));
            self.actions.push(Action::Start(node.clone()));
            self.state.running.insert(node, running);
        }
    }
}

mod task;
