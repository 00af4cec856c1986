//! A thread on its graph: decides what happened to it and what to do next, without awaiting.
//!
//! Whoever has a machine hands it what happened, stores the commit that it answers with, and performs the actions then. A
//! machine that is loaded from what was stored goes on exactly where the one that stored it stood.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agentry_core::run::{Fence, Seq};
use agentry_core::thread::{Commit, Next};
use agentry_core::{CheckpointId, RunId, ThreadId, Timestamp};

use crate::graph::NodeSettings;
use crate::ids::Salt;
use crate::plan::Plan;
use crate::program::Program;

mod adopt;
mod answer;
mod attempts;
mod barrier;
mod begin;
mod child;
mod expire;
pub(crate) mod fold;
pub(crate) mod moved;
mod moves;
pub(crate) mod op;
pub(crate) mod outside;
mod rest;
mod route;
pub(crate) mod scope;
mod snapshot;
mod start;
mod task;
mod trace;
mod turn;
mod unkept;
mod update;
pub mod view;

pub(crate) use adopt::Held;
pub use answer::{Happened, Mail};
pub use begin::{Command, Refused, Request, Resume, Submission};
pub use rest::{Failed, Rests};
pub use start::{Action, Came, Ended, Key, Start};
pub use update::Update;

use op::RunOp;
use scope::{Scope, ScopeIx, Scopes, Slot};
use trace::Trace;

/// How long tasks may go on when their run is to end.
pub const GRACE: std::time::Duration = std::time::Duration::from_secs(5);

/// Whose state a machine has, and where its commits go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home {
    pub thread: ThreadId,
    pub fence: Fence,
    /// The thread's newest entry, which need not be the one that the machine stands at.
    pub head: Seq,
}

/// Whether decisions are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    Commits,
    Nothing,
}

pub struct Machine {
    program: Program,
    home: Home,
    salt: Salt,
    /// What checkpoints are named after that nobody keeps: they are the same again when all is done again.
    unkept: Option<Arc<str>>,
    record: Record,
    /// The entry whose state this is.
    at: Seq,
    /// The checkpoint in the middle of that entry, when the state is not that of its end.
    back_to: Option<CheckpointId>,
    now: Timestamp,
    scopes: Scopes,
    /// States of subgraphs that remember, while nobody visits them.
    kept: BTreeMap<Arc<str>, Scope>,
    run: Option<Current>,
    rests: Rests,
    trace: Trace,
    actions: Vec<Action>,
    /// Tasks to be started at the end of the decision.
    ready: Vec<(ScopeIx, Slot)>,
    /// Scopes whose tasks have all come to something in this decision.
    complete: Vec<ScopeIx>,
    /// Tasks that are done, and not yet written down.
    fresh: Vec<(ScopeIx, Slot)>,
    timers: BTreeSet<(Timestamp, ScopeIx, Slot)>,
    asking: BTreeSet<(ScopeIx, Slot)>,
    running: usize,
    turns: u64,
    folded: u64,
}

/// The run that has the thread.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Current {
    pub op: RunOp,
    pub deadline: Option<Timestamp>,
    pub ending: Option<Ending>,
    pub failed: Option<Failed>,
}

/// The run is to end when its running tasks have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ending {
    pub rests: Rests,
    /// Tasks that still run then are dropped.
    pub until: Timestamp,
}

/// What to store first, and what to do then.
#[derive(Debug, Default)]
pub struct Decision {
    /// `None` when nothing has changed that would have to outlive the process, or nothing is recorded.
    pub commit: Option<Commit>,
    pub actions: Vec<Action>,
}

/// What was stored and the program do not belong together, or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error("entry {seq} stands at `{name}`, which the graph does not have")]
    Foreign { seq: u64, name: String },
    #[error("entry {seq} cannot be read: {problem}")]
    Unreadable { seq: u64, problem: String },
    #[error("the thread is of another version of its graph: {}", .0.join("; "))]
    Unfit(Vec<String>),
}

impl Machine {
    /// A thread to which nothing has happened yet.
    #[must_use]
    pub fn new(program: Program, home: Home, record: Record) -> Self {
        let root = Scope::new(program.plan(), Arc::from(""));
        Self {
            salt: Salt::of(home.thread),
            unkept: None,
            program,
            home,
            record,
            at: Seq(0),
            back_to: None,
            now: Timestamp::from_micros(0),
            scopes: Scopes::new(root),
            kept: BTreeMap::new(),
            run: None,
            rests: Rests::Idle,
            trace: Trace::default(),
            actions: Vec::new(),
            ready: Vec::new(),
            complete: Vec::new(),
            fresh: Vec::new(),
            timers: BTreeSet::new(),
            asking: BTreeSet::new(),
            running: 0,
            turns: 0,
            folded: 0,
        }
    }

    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    #[must_use]
    pub fn home(&self) -> Home {
        self.home
    }

    /// The entry whose state this is.
    #[must_use]
    pub fn at(&self) -> Seq {
        self.at
    }

    /// Why nothing goes on, or that something does.
    #[must_use]
    pub fn rests(&self) -> &Rests {
        &self.rests
    }

    /// The run that has the thread, until it is over.
    #[must_use]
    pub fn run(&self) -> Option<RunId> {
        self.run.as_ref().map(|run| run.op.id)
    }

    /// When the next decision is due though nothing else happens.
    #[must_use]
    pub fn wake_at(&self) -> Option<Timestamp> {
        let timer = self.timers.first().map(|(moment, _, _)| *moment);
        let run = self.run.as_ref();
        let ending = run.and_then(|run| run.ending.as_ref()).map(|ending| ending.until);
        // While the run ends, its deadline has nothing more to say.
        let whole = ending.or_else(|| run.and_then(|run| run.deadline));
        timer.into_iter().chain(whole).min()
    }

    fn plan(&self, scope: ScopeIx) -> Option<Arc<Plan>> {
        self.scopes.get(scope).map(|scope| Arc::clone(&scope.plan))
    }

    fn settings(&self, scope: ScopeIx, slot: Slot) -> NodeSettings {
        let found = self.scopes.get(scope).and_then(|scope| {
            let task = scope.tasks.get(slot)?;
            scope.plan.node(task.node)
        });
        found.map(|node| node.settings.clone()).unwrap_or_default()
    }

    /// What the thread does after this decision.
    fn next(&self) -> Next {
        match self.rests.stored() {
            Some(status) => Next::Rest { status, wake_at: self.wake_at() },
            None => Next::Running,
        }
    }
}
