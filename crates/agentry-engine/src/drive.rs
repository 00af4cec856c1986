//! One claimed run in memory: wait, decide, commit, perform.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::Clock;
use agentry_core::run::{Committed, Fence, Next};
use agentry_core::store::{Claimed, RunStore};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info_span, warn};

use crate::context::{Place, Surround};
use crate::effect::{InStore, Journal};
use crate::lifeline::Lifeline;
use crate::node::{NodeContext, NodeError, NodeOutput};
use crate::program::Program;
use crate::state::State;
use crate::step::{Action, Happened, step};

/// The longest a drive waits without looking at the clock.
const WAIT_MAX: Duration = Duration::from_secs(60);

type Result<T, E = NodeError> = std::result::Result<T, E>;

/// What a drive shares with its worker.
pub(crate) struct Surroundings {
    pub store: Arc<dyn RunStore>,
    pub clock: Arc<dyn Clock>,
    pub lifeline: Lifeline,
    /// No new tasks; leave when the running ones have ended.
    pub draining: CancellationToken,
    /// Something has come for this run.
    pub mail: Arc<Notify>,
    /// The clock may have moved.
    pub ticks: watch::Receiver<u64>,
}

struct Drive {
    around: Surroundings,
    program: Program,
    fence: Fence,
    journal: Arc<Journal>,
    tasks: JoinSet<Result<NodeOutput>>,
    nodes: HashMap<Id, String>,
    handles: HashMap<String, (AbortHandle, CancellationToken)>,
}

/// Takes the run as far as it goes: until it is parked or over, or lost to this worker.
pub(crate) async fn drive(program: Program, mut claimed: Claimed, around: Surroundings) {
    let run = claimed.loaded.row.id;
    let entries = std::mem::take(&mut claimed.loaded.journal);
    let fence = claimed.fence;
    let keeper = InStore::new(Arc::clone(&around.store), (run, fence), around.lifeline.clone());
    let journal = Journal::new(run.to_string(), entries, Arc::new(keeper));
    let lifeline = around.lifeline.clone();
    let drive = Drive {
        around,
        program,
        fence,
        journal: Arc::new(journal),
        tasks: JoinSet::new(),
        nodes: HashMap::new(),
        handles: HashMap::new(),
    };
    match State::new(claimed) {
        Ok(state) => {
            let span = info_span!("run", run_id = %run);
            lifeline.hold(drive.go(state).instrument(span)).await;
        }
        Err(problem) => error!(run_id = %run, %problem, "a run's cursor is not readable here"),
    }
}

impl Drive {
    async fn go(mut self, mut state: State) {
        let mut happened = Happened::Claimed;
        while let Some(decided) = self.decide(state, happened).await {
            state = decided;
            let Some(seen) = self.wait(&state).await else { return };
            happened = seen;
        }
    }

    /// Decides, commits and performs. `None`: this worker is through with the run.
    async fn decide(&mut self, mut state: State, mut happened: Happened) -> Option<State> {
        loop {
            let now = self.around.clock.now();
            let kept = state.kept();
            let run = state.run();
            let step = match step(&self.program, state, now, happened.clone()) {
                Ok(step) => step,
                Err(problem) => {
                    error!(run_id = %run, %problem, "a run cannot go on here");
                    return None;
                }
            };
            let Some(commit) = step.commit else {
                self.perform(step.actions, &step.state);
                return Some(step.state);
            };
            let store = &self.around.store;
            let call = || store.commit(commit.clone());
            let (committed, _) = self.around.lifeline.insist(call).await?;
            match committed {
                Committed::Applied { cancel, inbox } => {
                    if cancel || inbox {
                        self.around.mail.notify_one();
                    }
                }
                Committed::Duplicate => {}
                Committed::Fenced => {
                    warn!(run_id = %run, "another worker has taken the run");
                    return None;
                }
                Committed::Stale => {
                    let (loaded, _) = self.around.lifeline.insist(|| store.load(run)).await?;
                    let claimed = Claimed { fence: self.fence, loaded: loaded? };
                    let fresh = State::resume(claimed, kept).ok()?;
                    if fresh.seq().next() != commit.seq {
                        error!(run_id = %run, "the run has moved under its worker");
                        return None;
                    }
                    state = fresh;
                    // What was read before is older than that.
                    if let Happened::Mail { .. } = happened {
                        happened = Happened::Tick;
                    }
                    continue;
                }
            }
            self.perform(step.actions, &step.state);
            return (commit.next == Next::Running).then_some(step.state);
        }
    }

    fn perform(&mut self, actions: Vec<Action>, state: &State) {
        for action in actions {
            match action {
                Action::Start(node) => self.start(&node, state),
                Action::Cancel(node) => {
                    if let Some((_, token)) = self.handles.get(&node) {
                        token.cancel();
                    }
                }
                Action::Abort(node) => {
                    if let Some((task, token)) = self.handles.remove(&node) {
                        token.cancel();
                        task.abort();
                        self.nodes.remove(&task.id());
                    }
                }
            }
        }
    }

    fn start(&mut self, name: &str, state: &State) {
        let Some(node) = self.program.node(name) else { return };
        if self.around.draining.is_cancelled() {
            return;
        }
        let cancelled = CancellationToken::new();
        let (clock, journal) = (Arc::clone(&self.around.clock), Arc::clone(&self.journal));
        let task = state.cursor.tasks.get(name);
        let superstep = state.cursor.superstep;
        let place = Place {
            thread: state.run().own_thread(),
            run: state.run(),
            ns: Arc::from(""),
            node: Arc::from(name),
            step: i64::from(superstep),
            task: None,
            effects: Some(format!("{superstep}/{name}")),
        };
        let mut cx = NodeContext::new(place, Surround { clock, journal, live: None, cache: None }, cancelled.clone());
        cx.attempt = task.map_or(0, |task| task.failures) + 1;
        cx.deadline = state.running.get(name).and_then(|running| running.deadline);
        cx.replies = task.map(|task| task.replies.clone()).unwrap_or_default();
        let values = state.shared_values();
        let span = info_span!("node", node = name);
        let body = async move { node.run(&cx, &values).await };
        let task = self.tasks.spawn(body.instrument(span));
        self.nodes.insert(task.id(), name.to_owned());
        self.handles.insert(name.to_owned(), (task, cancelled));
    }

    /// `None` when the worker shuts down and no task is left.
    async fn wait(&mut self, state: &State) -> Option<Happened> {
        loop {
            let draining = self.around.draining.is_cancelled();
            if draining && self.handles.is_empty() {
                return None;
            }
            let pause = state
                .wake_at()
                .map_or(WAIT_MAX, |moment| moment.since(self.around.clock.now()).min(WAIT_MAX));
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    let ended = self.collect(ended);
                    if !ended.is_empty() {
                        return Some(Happened::Ended(ended));
                    }
                }
                () = self.around.mail.notified() => return self.read_mail(state).await,
                changed = self.around.ticks.changed() => {
                    changed.ok()?;
                    return Some(Happened::Tick);
                }
                () = tokio::time::sleep(pause) => return Some(Happened::Tick),
                () = self.around.draining.cancelled(), if !draining => {}
            }
        }
    }

    /// All tasks that have ended by now, so that one commit takes them.
    fn collect(&mut self, first: Joined) -> Vec<(String, Result<NodeOutput>)> {
        let mut ended = Vec::new();
        let mut next = Some(first);
        while let Some(joined) = next {
            let (id, result) = match joined {
                Ok((id, result)) => (id, result),
                Err(problem) => (problem.id(), Err(NodeError::transient(describe(problem)))),
            };
            // A task that was aborted is no longer in the list.
            if let Some(node) = self.nodes.remove(&id) {
                self.handles.remove(&node);
                ended.push((node, result));
            }
            next = self.tasks.try_join_next_with_id();
        }
        ended
    }

    async fn read_mail(&self, state: &State) -> Option<Happened> {
        let store = &self.around.store;
        let (loaded, _) = self.around.lifeline.insist(|| store.load(state.run())).await?;
        let loaded = loaded?;
        let (inbox, interrupts, cancel) = (loaded.inbox, loaded.interrupts, loaded.cancel);
        Some(Happened::Mail { inbox, interrupts, cancel })
    }
}

type Joined = std::result::Result<(Id, Result<NodeOutput>), JoinError>;

fn describe(problem: JoinError) -> String {
    let Ok(panic) = problem.try_into_panic() else { return "its task was dropped".to_owned() };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("it panicked: {}", text.as_deref().unwrap_or("without a message"))
}
