//! Gives a worker its work, and looks at what became of it.

use std::sync::Arc;

use agentry_core::run::{Answer, Message};
use agentry_core::thread::{
    Cancel, EventId, Interrupt, Multitask, NewRun, Pinned, Run, RunStatus, Thread,
};
use agentry_core::threads::{Intake, RunQuery, Signal, Signalled, Submitted, ThreadStore, Threads};
use agentry_core::{Clock, RunId, ThreadId, audit};
use serde_json::{Map, Value};

use super::drive::depth;
use super::order::{Order, Wish};
use super::wait::{Follower, end_of};
use super::worker::Shared;
use crate::machine::{Command, Refused, Request, Resume};
use crate::program::Program;
use crate::{Error, Registry};

/// Events of a run among which its last answer is looked for.
const LOOKED_THROUGH_MAX: usize = 10_000;

/// So many runs wait for their turn on one thread; those who submit at the same moment may be a few more.
pub const WAITING_MAX: usize = 1000;

/// Cheap to clone; it outlives the worker.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Something may be due: new work, an answer, a moment.
    pub fn nudge(&self) {
        self.shared.hub.ticks.send_modify(|count| *count = count.wrapping_add(1));
    }

    #[must_use]
    pub fn store(&self) -> &Arc<dyn ThreadStore> {
        &self.shared.store
    }

    #[must_use]
    pub fn archive(&self) -> &Arc<dyn Threads> {
        &self.shared.archive
    }

    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// A run of the graph's current version that is the only one of its thread, not yet submitted: for an [`Intake`]. A
    /// second one with the same key is not stored.
    pub fn new_run(
        &self,
        graph: &str,
        key: &str,
        input: Map<String, Value>,
    ) -> Result<NewRun, Error> {
        let program = self.shared.registry.current(graph)?;
        Ok(program.single_run(key, input, self.shared.clock.now()))
    }

    /// Durable when it answers `Created`. Of a thread that has run before, the [policy](crate::version::Policy) of its graph says
    /// which version it goes on with; answers go to whoever is first.
    pub async fn submit(&self, wish: Wish) -> Result<Submitted, Error> {
        let thread = self.shared.archive.thread(wish.thread).await?;
        let program = self.program_for(&wish, thread.as_ref()).await?;
        let answers = match self.answers(&wish).await? {
            Ok(answers) => answers,
            Err(refused) => return Ok(refused),
        };
        // What answers a question goes before those who wait, however many they are.
        let waits = wish.multitask != Multitask::Reject && answers.is_empty();
        if thread.is_none() || !waits || self.has_room(wish.thread).await? {
            return self.submit_run(wish.into_run(program, answers)).await;
        }
        let full = Error::QueueFull(wish.thread);
        if wish.key.is_none() {
            return Err(full);
        }
        // What was submitted before under this key has its answer; a run that does not want to wait is no other one's next.
        let wish = Wish { multitask: Multitask::Reject, ..wish };
        match self.submit_run(wish.into_run(program, answers)).await? {
            Submitted::Busy { .. } => Err(full),
            submitted => Ok(submitted),
        }
    }

    /// Whether another run may wait for its turn on the thread.
    async fn has_room(&self, thread: ThreadId) -> Result<bool, Error> {
        let last = RunQuery {
            thread: Some(thread),
            status: Some(RunStatus::Pending),
            offset: WAITING_MAX - 1,
            max: 1,
            ..RunQuery::default()
        };
        Ok(self.shared.archive.runs(last).await?.is_empty())
    }

    pub async fn submit_run(&self, run: NewRun) -> Result<Submitted, Error> {
        let thread = run.thread;
        check_depth(&run)?;
        self.hold_run(&run).await?;
        let submitted = self.shared.store.submit(run).await?;
        self.shared.hub.came_for(thread);
        Ok(submitted)
    }

    async fn program_for(&self, wish: &Wish, thread: Option<&Thread>) -> Result<Pinned, Error> {
        let begun = thread.filter(|thread| thread.seq.0 > 0);
        let of = |it: &&Thread| it.program.as_ref().is_some_and(|it| it.graph == wish.graph);
        let own = match begun.filter(of) {
            Some(thread) => self.settle_version(thread).await?,
            None => None,
        };
        match own {
            Some(pinned) => Ok(pinned),
            None => Ok(self.shared.registry.current(&wish.graph)?.pinned()),
        }
    }

    /// What comes for a thread whose version is not here would wait in silence.
    pub(super) async fn settle_begun(&self, thread: ThreadId) -> Result<(), Error> {
        match self.shared.archive.thread(thread).await? {
            Some(found) if found.seq.0 > 0 => self.settle_version(&found).await.map(drop),
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn came_for(&self, thread: ThreadId) {
        self.shared.hub.came_for(thread);
    }

    /// What the run answers, by interrupt.
    async fn answers(&self, wish: &Wish) -> Result<Result<Vec<(String, Value)>, Submitted>, Error> {
        let Request::Command(Command { resume: Some(resume), .. }) = &wish.request else {
            return Ok(Ok(Vec::new()));
        };
        match resume {
            Resume::Each(each) => {
                let each = each.iter().map(|(id, value)| (id.clone(), value.clone()));
                Ok(Ok(each.collect()))
            }
            Resume::One(value) => {
                let open = self.open_questions(wish.thread).await?;
                match &*open {
                    [one] => Ok(match &one.answer {
                        None => Ok(vec![(one.id.clone(), value.clone())]),
                        Some(first) => Err(Submitted::AlreadyAnswered {
                            interrupt: one.id.clone(),
                            answer: first.clone(),
                        }),
                    }),
                    [] => Ok(match self.answered_last(wish.thread).await? {
                        // Somebody was faster: the store knows what counts.
                        Some(interrupt) => Ok(vec![(interrupt, value.clone())]),
                        None => Err(Submitted::NoInterrupt { interrupt: String::new() }),
                    }),
                    _ => {
                        let ids = open.into_iter().map(|open| open.id).collect();
                        Err(Refused::Ambiguous(ids).into())
                    }
                }
            }
        }
    }

    /// What was answered last on the thread, if the thread has done nothing else since: the only answer that its last run
    /// brings, or the last one that came to it.
    async fn answered_last(&self, thread: ThreadId) -> Result<Option<String>, Error> {
        let query = RunQuery { thread: Some(thread), max: 1, ..RunQuery::default() };
        let Some(last) = self.shared.archive.runs(query).await?.pop() else { return Ok(None) };
        if let Ok(order) = Order::from_value(&last.input) {
            let mut answers = order.answers();
            if let (Some(one), None) = (answers.next(), answers.next()) {
                return Ok(Some(one.to_owned()));
            }
        }
        let base = last.base.unwrap_or_default();
        let after = EventId { seq: base, index: u32::MAX };
        let told = self.shared.archive.events(thread, Some(last.id), after, LOOKED_THROUGH_MAX);
        let told = told.await?;
        let answered = told.iter().rev().find(|told| told.event.kind == "task.answered");
        let interrupt = answered.and_then(|told| told.event.detail.get("interrupt")?.as_str());
        Ok(interrupt.map(str::to_owned))
    }

    async fn open_questions(&self, thread: ThreadId) -> Result<Vec<Interrupt>, Error> {
        let loaded = self.shared.store.load(thread).await?;
        let open = loaded.map(|loaded| loaded.interrupts).unwrap_or_default();
        Ok(open.into_iter().filter(|it| it.question.is_some()).collect())
    }

    pub async fn intake(&self, intake: Intake) -> Result<(), Error> {
        for run in &intake.submit {
            check_depth(run)?;
            self.hold_run(run).await?;
        }
        let to = intake.submit.iter().map(|run| run.thread);
        let to: Vec<_> = to.chain(intake.messages.iter().map(|(thread, _)| *thread)).collect();
        self.shared.store.intake(intake).await?;
        for thread in to {
            self.shared.hub.came_for(thread);
        }
        Ok(())
    }

    pub async fn send(&self, thread: ThreadId, message: Message) -> Result<Signalled, Error> {
        self.signal(thread, Signal::Message(message)).await
    }

    /// The first answer counts, whoever brings it.
    pub async fn answer(
        &self,
        thread: ThreadId,
        interrupt: &str,
        answer: Answer,
        audit: Vec<audit::Entry>,
    ) -> Result<Signalled, Error> {
        let interrupt = interrupt.to_owned();
        self.signal(thread, Signal::Answer { interrupt, answer, audit }).await
    }

    pub async fn cancel(
        &self,
        (thread, run): (ThreadId, RunId),
        cancel: Cancel,
        audit: Vec<audit::Entry>,
    ) -> Result<Signalled, Error> {
        self.signal(thread, Signal::Cancel { run, cancel, audit }).await
    }

    /// An answer that does not meet what the question asks for is refused, and the question stays open.
    pub async fn signal(&self, thread: ThreadId, signal: Signal) -> Result<Signalled, Error> {
        if matches!(signal, Signal::Answer { .. }) {
            self.settle_begun(thread).await?;
        }
        self.hold_signal(thread, &signal).await?;
        let signalled = self.shared.store.signal(thread, signal).await?;
        self.shared.hub.came_for(thread);
        Ok(signalled)
    }

    /// Waits until nothing more comes of the run, unless somebody answers. `None` when there is no such run, or its thread
    /// was deleted.
    pub async fn wait(&self, run: RunId) -> Result<Option<Run>, Error> {
        end_of(&self.shared, run).await
    }

    /// What happened after `after`, and then what happens, of the whole thread or of one of its runs.
    #[must_use]
    pub fn follow(&self, thread: ThreadId, run: Option<RunId>, after: EventId) -> Follower {
        Follower::new(Arc::clone(&self.shared), thread, run, after)
    }

    /// The program that a thread runs on, else the current version of `graph`.
    pub(super) fn program_of(
        &self,
        thread: &Thread,
        graph: Option<&str>,
    ) -> Result<Program, Error> {
        if let Some(pinned) = &thread.program {
            let found = self.shared.registry.get(&pinned.graph, &pinned.version);
            return found.ok_or_else(|| Error::UnknownVersion {
                graph: pinned.graph.clone(),
                version: pinned.version.clone(),
            });
        }
        let graph = graph.ok_or(Error::NoGraph)?;
        self.shared.registry.current(graph)
    }
}

/// What nobody could read again is not taken in.
fn check_depth(run: &NewRun) -> Result<(), Error> {
    match depth::of_run(run) {
        Some(why) => Err(Refused::Unfit(why).into()),
        None => Ok(()),
    }
}
