//! One claimed thread in memory: wait, decide, commit, perform.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::run::{Committed, Fence};
use agentry_core::thread::{Commit, Loaded, Next, Pinned, Run, RunStatus};
use agentry_core::threads::{At, Claimed, From, ThreadStore, Threads};
use agentry_core::{CheckpointId, Clock, ThreadId};
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info_span, warn};

use super::hub::{Heard, Hub, News};
use super::keep::Keeping;
use super::keeper::InThread;
use super::order::Order;
use crate::cache::NodeCache;
use crate::context::{Live, Surround, Told};
use crate::effect::Journal;
use crate::lifeline::Lifeline;
use crate::machine::{
    Action, Decision, Ended, Happened, Home, Key, LoadError, Machine, Record, Rests, Submission,
};
use crate::observe::{Came, End, Task, Watched};
use crate::program::Program;
use crate::version;

mod again;
mod audited;
pub(super) mod depth;
mod desk;
mod forget;
mod give_up;

use again::Unsure;
use desk::Desk;
use forget::Forgetting;
use give_up::Hopeless;

/// The longest a drive waits without looking at the clock.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What a drive shares with its worker.
pub(super) struct Surroundings {
    pub store: Arc<dyn ThreadStore>,
    pub archive: Arc<dyn Threads>,
    pub clock: Arc<dyn Clock>,
    pub hub: Arc<Hub>,
    pub cache: Option<Arc<dyn NodeCache>>,
    pub watched: Arc<Watched>,
    pub lifeline: Lifeline,
    /// No new tasks; leave when the running ones have ended.
    pub draining: CancellationToken,
    /// Something has come for this thread.
    pub mail: Arc<Notify>,
    /// The clock may have moved.
    pub ticks: watch::Receiver<u64>,
}

struct Drive {
    around: Surroundings,
    program: Program,
    thread: ThreadId,
    tenant: String,
    fence: Fence,
    journal: Arc<Journal>,
    forgetting: Forgetting,
    keeping: Keeping,
    /// That of the run that has the thread.
    config: Arc<Map<String, Value>>,
    desk: Desk,
    tasks: JoinSet<Ended>,
    handles: HashMap<Key, Handle>,
    unsure: Unsure,
    /// Whether what was ready when the thread was loaded has been started. What has come meanwhile comes first: an answer
    /// beats an expiry.
    started: bool,
}

/// A task that runs.
struct Handle {
    abort: AbortHandle,
    cancelled: CancellationToken,
    /// For whoever watches.
    task: Option<Task>,
}

/// Whether this worker goes on with the thread.
enum Then {
    GoOn,
    LetGo,
}

/// Takes the thread as far as it goes: until it rests, or is lost to this worker.
pub(super) async fn drive(program: Program, claimed: Claimed, around: Surroundings) {
    let thread = claimed.loaded.thread.id;
    let lifeline = around.lifeline.clone();
    let span = info_span!("thread", thread_id = %thread);
    let Claimed { fence, loaded } = claimed;
    let keeper = InThread::new(Arc::clone(&around.store), (thread, fence), lifeline.clone());
    let keeper = keeper.watched(Arc::clone(&around.watched));
    let journal = Journal::new(thread.to_string(), loaded.journal.clone(), Arc::new(keeper));
    let hopeless = Hopeless::of((thread, fence), &program, &around);
    let drive = Drive {
        around,
        program,
        thread,
        tenant: loaded.thread.tenant.clone(),
        fence,
        journal: Arc::new(journal),
        forgetting: Forgetting::default(),
        keeping: Keeping::default(),
        config: Arc::default(),
        desk: Desk::default(),
        tasks: JoinSet::new(),
        handles: HashMap::new(),
        unsure: Unsure::default(),
        started: false,
    };
    lifeline.hold(drive.go(loaded).instrument(span.clone())).await;
    if let Some(why) = lifeline.hopeless() {
        Box::pin(hopeless.tell(why).instrument(span)).await;
    }
}

impl Drive {
    async fn go(mut self, loaded: Loaded) {
        let mut machine = match self.load(loaded) {
            Ok(machine) => Box::new(machine),
            Err(problem) => return self.around.lifeline.give_up(problem.to_string()),
        };
        loop {
            let decision = match self.look(&mut machine) {
                Some(Todo::Decided(decision)) => decision,
                Some(Todo::Begin(run)) => {
                    let Some(decision) = Box::pin(self.begin(&mut machine, &run)).await else {
                        return;
                    };
                    decision
                }
                None if *machine.rests() != Rests::Running => {
                    machine.give_back(self.unasked(), self.around.clock.now()).into()
                }
                None => {
                    let Some(happened) = self.wait(&machine).await else { return };
                    match happened {
                        Seen::Mail(loaded) => {
                            self.desk.take(*loaded);
                            Decision::default()
                        }
                        Seen::Tasks(ended) => {
                            self.unsure.note(&machine, &ended);
                            machine.step(Happened::Ended(ended), self.around.clock.now())
                        }
                        Seen::Time => machine.step(Happened::Tick, self.around.clock.now()),
                    }
                }
            };
            match self.settle(&mut machine, decision).await {
                Some(Then::GoOn) => {}
                Some(Then::LetGo) | None => return,
            }
        }
    }

    /// Answers that nobody waits for. Who leaves has not looked at all of them: the next worker does.
    fn unasked(&mut self) -> Vec<String> {
        if self.around.draining.is_cancelled() { Vec::new() } else { self.desk.unasked() }
    }

    /// The thread as it is stored; nothing of it runs yet.
    fn load(&mut self, loaded: Loaded) -> Result<Machine, LoadError> {
        let home = Home { thread: self.thread, fence: self.fence, head: loaded.thread.seq };
        self.keeping = Keeping::of(&loaded.line);
        let mut machine = Machine::load(self.program.clone(), home, Record::Commits, &loaded.line)?;
        self.desk = Desk::default();
        self.desk.take(loaded);
        self.desk.loaded(&machine);
        let of = machine.run().and_then(|id| self.desk.run(id));
        let order = of.and_then(|run| Order::from_value(&run.input).ok());
        self.config = order.map(|order| Arc::new(order.config)).unwrap_or_default();
        machine.due_by(of.and_then(|run| run.deadline));
        self.forgetting = Forgetting::loaded(&machine, &self.journal, of.and_then(|run| run.base));
        Ok(machine)
    }

    /// What is to be decided because of what has come.
    fn look(&mut self, machine: &mut Machine) -> Option<Todo> {
        let now = self.around.clock.now();
        if let Some(dismissed) = self.desk.dismissed(machine) {
            let rolled_back = dismissed.1 == RunStatus::RolledBack;
            let asks = machine.run().filter(|_| rolled_back);
            let opened = asks.map(|run| machine.interrupts(run, now)).unwrap_or_default();
            let commit = Commit { opened, ..machine.dismiss(dismissed, now) };
            return Some(Todo::Decided(commit.into()));
        }
        if !self.started {
            // What has been answered has not expired: the run that brings the answer comes before time passes.
            if let Some(run) = self.desk.answering(machine, now, &self.pinned()) {
                let goes_on = !self.around.draining.is_cancelled();
                return goes_on.then(|| Todo::Begin(run.clone()));
            }
            self.started = true;
            let mail = self.desk.mail(machine, now, &self.pinned()).unwrap_or_default();
            return Some(Todo::Decided(machine.taken_with(mail, now)));
        }
        if let Some(ended) = self.unsure.once_more() {
            return Some(Todo::Decided(machine.step(Happened::Ended(ended), now)));
        }
        if let Some(mail) = self.desk.mail(machine, now, &self.pinned()) {
            return Some(Todo::Decided(machine.step(Happened::Mail(mail), now)));
        }
        if self.around.draining.is_cancelled() {
            return None;
        }
        self.desk.next(machine, now, &self.pinned()).cloned().map(Todo::Begin)
    }

    /// `None`: the thread is lost to this worker.
    async fn begin(&mut self, machine: &mut Machine, run: &Run) -> Option<Decision> {
        self.forgetting.begins(machine);
        let order = match Order::from_value(&run.input) {
            Ok(order) => order,
            Err(problem) => {
                return Some(self.refuse(
                    machine,
                    run,
                    format!("its input cannot be read: {problem}"),
                ));
            }
        };
        let mut left = None;
        if let Some(from) = order.from {
            match self.stand_at(from).await? {
                Some(there) => left = Some(std::mem::replace(machine, there)),
                None => {
                    let problem = format!("the thread has no checkpoint {from}");
                    return Some(self.refuse(machine, run, problem));
                }
            }
        }
        let config = Some(order.config.clone());
        let submission = Submission { deadline: run.deadline, config, ..order.submission };
        Some(match machine.begin(submission, self.around.clock.now()) {
            Ok(decision) => {
                self.desk.begun(run.id);
                self.config = Arc::new(order.config);
                decision
            }
            Err(refused) => {
                // The thread stays where it was.
                if let Some(left) = left {
                    *machine = left;
                }
                self.refuse(machine, run, refused.to_string())
            }
        })
    }

    fn refuse(&mut self, machine: &mut Machine, run: &Run, why: String) -> Decision {
        self.desk.over(run.id);
        machine.dismiss((run.id, RunStatus::Error, why), self.around.clock.now()).into()
    }

    /// The thread as it was at one of its checkpoints. `None` inside: there is no such one.
    async fn stand_at(&self, from: CheckpointId) -> Option<Option<Machine>> {
        let (archive, at) = (&self.around.archive, At::Checkpoint(from));
        let call = || archive.line(self.thread, at, From::Root);
        let (line, _) = self.around.lifeline.insist(call).await?;
        let call = || archive.thread(self.thread);
        let (thread, _) = self.around.lifeline.insist(call).await?;
        let Some((line, thread)) = line.zip(thread) else { return Some(None) };
        let home = Home { thread: self.thread, fence: self.fence, head: thread.seq };
        let now = self.around.clock.now();
        let call = || {
            let there = (&thread, &self.program);
            version::stand(archive.as_ref(), there, (home, &line), (from, now))
        };
        let (machine, _) = self.around.lifeline.insist(call).await?;
        Some(machine.ok())
    }

    fn pinned(&self) -> Pinned {
        Pinned {
            graph: self.program.graph().name.clone(),
            version: self.program.version().to_owned(),
        }
    }

    /// Stores the decision, then performs it. `None`: the thread is lost to this worker.
    async fn settle(&mut self, machine: &mut Machine, decision: Decision) -> Option<Then> {
        let Decision { commit, actions } = decision;
        let Some(mut commit) = commit else {
            self.perform(actions);
            return Some(Then::GoOn);
        };
        let rolled_back = self.take_back(&mut commit).await?;
        self.adjust(machine, &mut commit);
        if !rolled_back {
            let rests = commit.next != Next::Running;
            commit.forgotten = self.forgetting.due(machine, &self.journal, rests);
        }
        if let Some(why) = depth::of_commit(&commit) {
            self.around.lifeline.give_up(why);
            return None;
        }
        let call = || self.around.store.commit(commit.clone());
        let asked = Instant::now();
        let (committed, _) = self.around.lifeline.insist(call).await?;
        match committed {
            Committed::Applied { cancel, inbox } => {
                let news = inbox && self.desk.has_nothing();
                if news || (cancel && !self.desk.knows_cancel()) {
                    self.around.mail.notify_one();
                }
            }
            Committed::Duplicate => {}
            Committed::Fenced => {
                warn!("another worker has taken the thread");
                return None;
            }
            Committed::Stale => return self.again(machine, commit.entry.seq).await,
        }
        self.unsure.stored();
        self.journal.forget(&commit.forgotten);
        self.around.watched.committed(&commit, asked.elapsed());
        self.publish(&commit);
        self.desk.stored(&commit);
        if rolled_back {
            return self.again(machine, commit.entry.seq.next()).await;
        }
        self.perform(actions);
        match commit.next {
            Next::Running => Some(Then::GoOn),
            Next::Rest { .. } => {
                let draining = self.around.draining.is_cancelled();
                self.around.watched.ends(if draining { End::GivenBack } else { End::Rests });
                Some(Then::LetGo)
            }
        }
    }

    fn adjust(&mut self, machine: &Machine, commit: &mut Commit) {
        let goes_on = self.desk.goes_on(machine, commit, &self.pinned());
        if goes_on && !self.around.draining.is_cancelled() {
            commit.next = Next::Running;
        }
        audited::audit(commit, &self.tenant);
        self.desk.leave_out_unknown(commit);
        self.keeping.add(&commit.entry);
        if self.keeping.is_due() && !commit.entry.writes.is_empty() {
            let snapshot = machine.snapshot();
            self.keeping.made(&snapshot);
            commit.snapshot = Some(snapshot);
        }
    }

    fn publish(&self, commit: &Commit) {
        self.around.hub.stored(commit);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start(start) => self.start(*start),
                Action::Cancel(key) => {
                    if let Some(handle) = self.handles.get(&key) {
                        handle.cancelled.cancel();
                    }
                }
                Action::Abort(key) => {
                    if let Some(handle) = self.handles.remove(&key) {
                        handle.cancelled.cancel();
                        handle.abort.abort();
                        self.ended(handle.task, Came::Aborted);
                    }
                }
            }
        }
    }

    fn start(&mut self, mut start: crate::machine::Start) {
        if self.around.draining.is_cancelled() {
            return;
        }
        let cancelled = CancellationToken::new();
        let (clock, journal) = (Arc::clone(&self.around.clock), Arc::clone(&self.journal));
        let surround = Surround {
            live: self.live(),
            cache: self.around.cache.clone(),
            config: Arc::clone(&self.config),
            ..Surround::new(clock, journal)
        };
        let key = start.key();
        let span = info_span!("node", node = start.node());
        let task = self.around.watched.begins(&mut start);
        let body = start.run(surround, cancelled.clone());
        let abort = self.tasks.spawn(body.instrument(span));
        self.handles.insert(key, Handle { abort, cancelled, task });
    }

    fn ended(&self, task: Option<Task>, came: Came<'_>) {
        if let Some(task) = task {
            self.around.watched.ended(&task, came);
        }
    }

    fn live(&self) -> Option<Live> {
        let (hub, thread) = (Arc::clone(&self.around.hub), self.thread);
        Some(Arc::new(move |told: Told<'_>| {
            hub.tell(thread, || {
                let Told { run, ns, node, attempt, number, kind, detail } = told;
                let (ns, node, kind) = (ns.to_owned(), node.to_owned(), kind.to_owned());
                let detail = detail.clone();
                News::Live(Arc::new(Heard::Live { run, ns, node, attempt, number, kind, detail }))
            });
        }))
    }

    /// `None` when the worker shuts down and no task is left.
    async fn wait(&mut self, machine: &Machine) -> Option<Seen> {
        loop {
            let draining = self.around.draining.is_cancelled();
            if draining && self.handles.is_empty() {
                self.around.watched.ends(End::GivenBack);
                return None;
            }
            let pause = machine
                .wake_at()
                .map_or(WAIT_MAX, |moment| moment.since(self.around.clock.now()).min(WAIT_MAX));
            // In this order, so that a simulation can be repeated; tasks without end keep nothing from being heard.
            tokio::select! {
                biased;
                () = self.around.mail.notified() => {
                    let call = || self.around.store.load(self.thread);
                    let (loaded, _) = self.around.lifeline.insist(call).await?;
                    return Some(Seen::Mail(Box::new(loaded?)));
                }
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    let ended = self.collect(ended);
                    if !ended.is_empty() {
                        return Some(Seen::Tasks(ended));
                    }
                }
                changed = self.around.ticks.changed() => {
                    changed.ok()?;
                    return Some(Seen::Time);
                }
                () = tokio::time::sleep(pause) => return Some(Seen::Time),
                () = self.around.draining.cancelled(), if !draining => {}
            }
        }
    }

    /// All tasks that have ended by now, so that one commit takes them.
    fn collect(&mut self, first: Result<Ended, tokio::task::JoinError>) -> Vec<Ended> {
        let mut ended = Vec::new();
        let mut next = Some(first);
        while let Some(joined) = next {
            // One that was aborted is not missed; a panic is an end like any other.
            if let Ok(mut one) = joined
                && let Some(handle) = self.handles.remove(&self.unsure.known_as(one.key))
            {
                one.key = self.unsure.known_as(one.key);
                self.ended(handle.task, one.came.told());
                ended.push(one);
            }
            next = self.tasks.try_join_next();
        }
        ended
    }
}

/// What has come is to be decided on.
enum Todo {
    Decided(Decision),
    Begin(Run),
}

enum Seen {
    Tasks(Vec<Ended>),
    Mail(Box<Loaded>),
    Time,
}
