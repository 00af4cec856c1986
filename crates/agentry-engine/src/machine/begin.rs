//! A run begins: with input, with a command, or by going on.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentry_core::run::{Answer, Closing, Delta, Seq};
use agentry_core::thread::{RunChange, RunStatus, Source, Write};
use agentry_core::{Code, Failure, Fault, Retry, RunId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::barrier::Undos;
use super::op::{Op, RunOp};
use super::rest::Rests;
use super::route::Routing;
use super::scope::{Done, Phase, ROOT_IX, ScopeIx, Task};
use super::turn::Turn;
use super::{Current, Decision, Machine};
use crate::node::Goto;
use crate::plan::{START_IX, Way};
use crate::reducer::Put;

/// What a run is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Take this in and begin anew; what was still to be done is dropped.
    Input(Map<String, Value>),
    Command(Command),
    /// Go on with what is to be done.
    GoOn,
}

/// Changes a thread and lets it go on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Command {
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub update: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub goto: Vec<Goto>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

/// Answers to what is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resume {
    /// To the one question that there is.
    One(Value),
    /// By interrupt. Those that nobody asked are passed over.
    Each(BTreeMap<String, Value>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    pub run: RunId,
    pub request: Request,
    /// How many supersteps it may take; the graph's own limit, when there is none.
    #[serde(default)]
    pub steps_max: Option<u32>,
    /// Nodes before which it stops; `*` for each.
    #[serde(default)]
    pub before: Vec<String>,
    /// Nodes after which it stops.
    #[serde(default)]
    pub after: Vec<String>,
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// The checkpoint that the thread stands at was asked for: what comes is a branch of its own.
    #[serde(default)]
    pub replay: bool,
    /// What it is given to go by, for graphs that have it in their state. It is stored beside, with the order.
    #[serde(skip)]
    pub config: Option<Map<String, Value>>,
    /// Who answers, where it brings answers; the run itself when nobody is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

impl Submission {
    #[must_use]
    pub fn new(run: RunId, request: Request) -> Self {
        Self {
            run,
            request,
            steps_max: None,
            before: Vec::new(),
            after: Vec::new(),
            deadline: None,
            replay: false,
            config: None,
            actor: None,
        }
    }
}

/// The run cannot begin. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("another run has the thread: {0}")]
    Busy(RunId),
    #[error("the thread has no state to go on from; give it input")]
    Nothing,
    #[error("the command is empty; give it an update, a node to go to, or an answer")]
    Empty,
    #[error("several questions are open; answer them by their ids: {}", .0.join(", "))]
    Ambiguous(Vec<String>),
    #[error("there is no node `{0}` in the graph")]
    UnknownNode(String),
    #[error("the graph has no channel `{0}`")]
    UnknownChannel(String),
    #[error("{0}")]
    Unfit(String),
    #[error("several nodes ran last; say as which node the update is made")]
    WhichNode,
    #[error("the answer to `{interrupt}` does not fit: {}", .complaints.join("; "))]
    UnfitAnswer { interrupt: String, complaints: Vec<String> },
}

impl Failure for Refused {
    fn code(&self) -> Code {
        match self {
            Self::Busy(_) => Code("thread_busy"),
            Self::Nothing => Code("thread_empty"),
            Self::Empty => Code("command_empty"),
            Self::Ambiguous(_) => Code("resume_ambiguous"),
            Self::UnknownNode(_) => Code("node_unknown"),
            Self::UnknownChannel(_) | Self::Unfit(_) => Code("update_unfit"),
            Self::WhichNode => Code("update_ambiguous"),
            Self::UnfitAnswer { .. } => Code("answer_unfit"),
        }
    }

    fn fault(&self) -> Fault {
        Fault::Caller
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Busy(_) => Retry::Now,
            Self::Nothing
            | Self::Empty
            | Self::Ambiguous(_)
            | Self::UnknownNode(_)
            | Self::UnknownChannel(_)
            | Self::Unfit(_)
            | Self::WhichNode
            | Self::UnfitAnswer { .. } => Retry::Never,
        }
    }
}

impl Machine {
    /// Lets a run have the thread, if it can.
    pub fn begin(&mut self, submission: Submission, now: Timestamp) -> Result<Decision, Refused> {
        self.check(&submission)?;
        self.now = now;
        let Submission { run, request, steps_max, before, after, deadline, replay, config, actor } =
            submission;
        let goes_on = !matches!(request, Request::Input(_));
        let steps_max = steps_max.unwrap_or(self.scopes.root().plan.steps_max);
        let op = RunOp { id: run, steps_max, goes_on, before, after };
        let base = Some(Seq(self.home.head.0));
        self.trace.runs.push(RunChange { run, status: RunStatus::Running, base, reason: None });
        self.note(|| Op::Run(op.clone()));
        let told = match deadline {
            Some(deadline) => json!({ "run": run, "deadline": deadline }),
            None => json!({ "run": run }),
        };
        self.tell_scope("run.started", ROOT_IX, told);
        match request {
            Request::Input(input) => {
                self.take_run(op, deadline);
                self.begin_with(input, config);
            }
            Request::GoOn => {
                self.take_run(op, deadline);
                self.give_time_anew();
                self.fork_if(replay);
                self.settings_change(config);
                self.go_on();
            }
            Request::Command(Command { update, goto, resume }) => {
                self.take_run(op, deadline);
                self.give_time_anew();
                self.settings_change(config);
                self.command(update, goto);
                self.resume(resume, actor.unwrap_or_else(|| run.to_string()));
                self.go_on();
            }
        }
        Ok(self.decide())
    }

    fn check(&self, submission: &Submission) -> Result<(), Refused> {
        if let Some(run) = &self.run
            && self.rests == Rests::Running
        {
            return Err(Refused::Busy(run.op.id));
        }
        let root = self.scopes.root();
        let plan = &root.plan;
        for name in submission.before.iter().chain(&submission.after) {
            if name != "*" && plan.find(name).is_none() {
                return Err(Refused::UnknownNode(name.clone()));
            }
        }
        let fresh = root.checkpoint.is_none();
        match &submission.request {
            Request::Input(input) => return self.check_values(input, true),
            Request::GoOn if fresh => return Err(Refused::Nothing),
            Request::GoOn => return Ok(()),
            Request::Command(_) if fresh => return Err(Refused::Nothing),
            Request::Command(command) if *command == Command::default() => {
                return Err(Refused::Empty);
            }
            Request::Command(_) => {}
        }
        let Request::Command(Command { update, goto, resume }) = &submission.request else {
            return Ok(());
        };
        self.check_values(update, false)?;
        for goto in goto {
            let (Goto::Node(name) | Goto::Send { node: name, .. }) = goto;
            Way::of(plan, Goto::node(name)).map_err(|_| Refused::UnknownNode(name.clone()))?;
        }
        let open = self.questions();
        match resume {
            None => Ok(()),
            Some(Resume::One(_)) if open.len() > 1 => Err(Refused::Ambiguous(open)),
            Some(Resume::One(value)) => open.iter().try_for_each(|id| self.check_answer(id, value)),
            Some(Resume::Each(each)) => {
                each.iter().try_for_each(|(id, value)| self.check_answer(id, value))
            }
        }
    }

    /// Input may bring channels that the graph does not declare.
    pub(super) fn check_values(
        &self,
        values: &Map<String, Value>,
        lax: bool,
    ) -> Result<(), Refused> {
        let plan = &self.scopes.root().plan;
        for (name, value) in values {
            let Some(channel) = plan.channels.get(name) else {
                if lax {
                    continue;
                }
                return Err(Refused::UnknownChannel(name.clone()));
            };
            let fits = channel.reducer.fits(&Put::from_json(value.clone()));
            fits.map_err(|problem| Refused::Unfit(format!("channel `{name}`: {problem}")))?;
        }
        Ok(())
    }

    /// Ids of what a person is asked.
    fn questions(&self) -> Vec<String> {
        let open = self.asking.iter().filter_map(|(ix, slot)| {
            let open = self.scopes.task(*ix, *slot)?.question()?;
            open.ask.question.as_ref().map(|_| open.interrupt.clone())
        });
        open.collect()
    }

    /// Also when loading.
    pub(super) fn take_run(&mut self, op: RunOp, deadline: Option<Timestamp>) {
        let steps_max = op.steps_max;
        let goes_on = op.goes_on;
        self.run = Some(Current { op, deadline, ending: None, failed: None });
        self.rests = Rests::Running;
        let all: Vec<ScopeIx> = self.scopes.all().map(|(ix, _)| ix).collect();
        for ix in all.iter().copied() {
            let Some(scope) = self.scopes.get_mut(ix) else { continue };
            scope.unhalt(steps_max);
            scope.passed = goes_on;
            for task in &mut scope.tasks {
                if matches!(task.phase, Phase::Failed { .. }) {
                    task.phase = Phase::Ready;
                    task.more().failures = 0;
                    scope.active += 1;
                }
                if let (Phase::Stuck, Some(more)) = (&task.phase, &mut task.more) {
                    more.failures = 0;
                }
            }
        }
        // From the innermost outwards: what goes on inside goes on around it.
        for ix in all.into_iter().rev() {
            let Some(scope) = self.scopes.get(ix) else { continue };
            let moves = scope.active > 0 || scope.open == 0;
            if let Some(above) = scope.above
                && moves
                && self.scopes.task(above.0, above.1).is_some_and(|it| it.phase == Phase::Stuck)
            {
                self.set_phase(above, Phase::Inside);
            }
        }
    }

    pub(super) fn limit(&self) -> u32 {
        self.run.as_ref().map_or(u32::MAX, |run| run.op.steps_max)
    }

    /// A branch from an old checkpoint has a head of its own.
    fn fork_if(&mut self, replay: bool) {
        let root = self.scopes.root();
        let own = matches!(root.source, Some(Source::Update | Source::Fork));
        let superseded = self.at < self.home.head;
        if replay && (!own || superseded) {
            self.mark(ROOT_IX, Source::Fork);
            self.tell_scope("checkpoint", ROOT_IX, json!({}));
        }
    }

    fn begin_with(&mut self, input: Map<String, Value>, config: Option<Map<String, Value>>) {
        self.keep_finished();
        self.withdraw_all();
        let root = self.scopes.root_mut();
        root.stop = root
            .step
            .saturating_add(i64::from(self.run.as_ref().map_or(0, |run| run.op.steps_max)))
            + 1;
        let plan = Arc::clone(&root.plan);
        let mut routing = Routing::new(&plan);
        for task in &root.tasks {
            routing.consume(root, task);
        }
        let Turn { reset, undeferred, .. } = routing.into_consumed();
        let turn = Turn { reset, undeferred, ..Turn::input() };
        self.turn(ROOT_IX, turn);
        self.mark(ROOT_IX, Source::Input);
        self.tell_scope("checkpoint", ROOT_IX, json!({}));
        let puts = input.into_iter().map(|(name, value)| (name, Put::from_json(value)));
        let config = plan.config.clone().zip(config);
        let config = config.map(|(channel, config)| (channel, Put::Set(config.into())));
        self.input(ROOT_IX, puts.chain(config).collect());
    }

    /// A run that goes on says of what it goes by only what is to be different.
    fn settings_change(&mut self, config: Option<Map<String, Value>>) {
        let root = self.scopes.root_mut();
        let Some((channel, config)) = root.plan.config.clone().zip(config) else { return };
        let known = root.values.get(&channel).and_then(Value::as_object);
        let mut settings = known.cloned().unwrap_or_default();
        settings.extend(config);
        if known.map_or(settings.is_empty(), |known| *known == settings) {
            return;
        }
        let delta = Delta::Set(settings.into());
        root.change(&channel, delta.clone());
        if self.is_recorded() {
            self.trace.ops.push(Op::Writes(1));
            self.trace.writes.push(Write { ns: String::new(), channel, delta });
        }
    }

    /// What tasks have done before the run stopped is not lost, though the others are dropped.
    pub(super) fn keep_finished(&mut self) {
        let halted = self.scopes.root().halt.is_some();
        let done = self.finished_puts(ROOT_IX);
        if halted || done.iter().all(|(_, done)| done.puts.is_empty()) {
            return;
        }
        let mut undos = Undos::default();
        let mut touched = super::barrier::Touches::new(false);
        let mut all = Vec::new();
        let root = self.scopes.root_mut();
        let recorded = self.record == super::Record::Commits;
        for (slot, done) in done {
            let node = root.tasks.get(slot).map_or(START_IX, |task| task.node);
            match super::barrier::write(root, (node, &done), &mut touched, &mut undos, recorded) {
                Ok(written) => all.push((slot, written)),
                Err(_) => return undos.roll_back(Arc::make_mut(&mut root.values)),
            }
        }
        if recorded {
            for (slot, written) in all {
                self.note_writes((ROOT_IX, slot), written.deltas, written.raw);
            }
        }
    }

    fn withdraw_all(&mut self) {
        let asking: Vec<_> = self.asking.iter().copied().collect();
        for at in asking {
            self.close(at, Closing::Withdrawn);
        }
    }

    fn command(&mut self, update: Map<String, Value>, goto: Vec<Goto>) {
        let changed = !update.is_empty();
        let puts = update.into_iter().map(|(name, value)| (name, Put::from_json(value))).collect();
        let done = Done { puts, goto: Vec::new() };
        let mut undos = Undos::default();
        let recorded = self.is_recorded();
        let root = self.scopes.root_mut();
        let wrote = super::barrier::write(
            root,
            (START_IX, &done),
            &mut super::barrier::Touches::new(false),
            &mut undos,
            recorded,
        );
        match wrote {
            Ok(written) => self.note_plain(written),
            Err(_) => undos.roll_back(Arc::make_mut(&mut root.values)),
        }
        if changed {
            let asking: Vec<_> = self.asking.iter().copied().collect();
            for at in asking {
                self.again(at);
            }
        }
        if goto.is_empty() {
            return;
        }
        let root = self.scopes.root();
        let plan = Arc::clone(&root.plan);
        let mut routing = Routing::new(&plan);
        for goto in goto {
            if let Ok(Some(way)) = Way::of(&plan, goto) {
                routing.go(way);
            }
        }
        let mut turn = routing.into_turn(root);
        turn.add = true;
        let there = |task: &Task| {
            task.sent.is_none()
                && root.tasks.iter().any(|it| it.node == task.node && it.sent.is_none())
        };
        turn.tasks.retain(|task| !there(task));
        self.turn(ROOT_IX, turn);
        self.scopes.root_mut().passed = true;
    }

    pub(super) fn note_plain(&mut self, written: super::barrier::Written) {
        if !self.is_recorded() || written.deltas.is_empty() {
            return;
        }
        self.trace.ops.push(Op::Writes(written.deltas.len()));
        for (channel, delta) in written.deltas {
            let ns = String::new();
            self.trace.writes.push(Write { ns, channel, delta });
        }
    }

    fn resume(&mut self, resume: Option<Resume>, actor: String) {
        let answers = match resume {
            None => Vec::new(),
            Some(Resume::One(value)) => {
                self.questions().into_iter().map(|id| (id, value.clone())).collect()
            }
            Some(Resume::Each(each)) => each.into_iter().collect::<Vec<_>>(),
        };
        for (interrupt, value) in answers {
            let answer = Answer { value, actor: actor.clone(), at: self.now };
            self.answer(&interrupt, answer);
        }
    }

    /// Lets everything go on that can, and tells what stands.
    fn go_on(&mut self) {
        self.ready.clear();
        self.go_on_in(ROOT_IX);
    }

    fn go_on_in(&mut self, ix: ScopeIx) {
        self.tell_scope("state", ix, json!({}));
        let Some(scope) = self.scopes.get(ix) else { return };
        if scope.tasks.is_empty() {
            return self.finished(ix);
        }
        if scope.open == 0 {
            return self.complete.push(ix);
        }
        for slot in 0..scope.tasks.len() {
            let Some(task) = self.scopes.task(ix, slot) else { continue };
            let child = task.child();
            match &task.phase {
                Phase::Ready => self.ready.push((ix, slot)),
                Phase::Inside | Phase::Stuck => {
                    let stuck = task.phase == Phase::Stuck;
                    self.tell_started((ix, slot));
                    if let Some(child) = child {
                        self.go_on_in(child);
                    }
                    if stuck {
                        self.tell("task.interrupted", (ix, slot), Value::Null);
                    }
                }
                Phase::Asking => {
                    self.tell_started((ix, slot));
                    self.tell("task.interrupted", (ix, slot), Value::Null);
                }
                Phase::Done(_) => {
                    self.tell_started((ix, slot));
                    self.tell("task.finished", (ix, slot), json!({ "cached": true }));
                }
                Phase::Backoff { .. } | Phase::Failed { .. } | Phase::Replaced => {}
            }
        }
    }

    /// Whether the run stops before the superstep that is about to begin.
    pub(super) fn breaks_before(&self, ix: ScopeIx) -> bool {
        let Some(scope) = self.scopes.get(ix) else { return false };
        let names = |task: &Task| (task.node != START_IX).then(|| scope.plan.name_of(task.node));
        let mut nodes = scope.tasks.iter().filter_map(names);
        let run = self.run.as_ref().filter(|_| scope.is_root());
        let before = run.map_or(&[][..], |run| &run.op.before);
        let own = &scope.plan.before;
        nodes.any(|name| own.iter().chain(before).any(|it| it == "*" || it == name))
    }

    pub(super) fn breaks_after(&self, ix: ScopeIx, ran: &[u32]) -> bool {
        let Some(scope) = self.scopes.get(ix) else { return false };
        let run = self.run.as_ref().filter(|_| scope.is_root());
        let after = run.map_or(&[][..], |run| &run.op.after);
        let own = &scope.plan.after;
        if own.is_empty() && after.is_empty() {
            return false;
        }
        let mut nodes = ran.iter().filter(|node| **node != START_IX);
        nodes.any(|node| {
            let name = scope.plan.name_of(*node);
            own.iter().chain(after).any(|it| it == "*" || it == name)
        })
    }
}
