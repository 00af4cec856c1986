//! A thread that nobody can go on with as it is: what was to be done on it fails for everybody to see, and it rests until something
//! changes.

use std::sync::Arc;

use agentry_core::run::{Committed, Fence};
use agentry_core::thread::{Commit, Interrupt, Loaded, Next, Rest, Run, RunStatus};
use agentry_core::threads::ThreadStore;
use agentry_core::{Clock, ThreadId, Timestamp};
use tracing::error;

use super::Surroundings;
use crate::durable::hub::Hub;
use crate::lifeline::Lifeline;
use crate::machine::{Home, Machine, Record};
use crate::observe::{End, Watched};
use crate::program::Program;

/// How often it is tried while others change the thread.
const ATTEMPTS_MAX: usize = 5;

/// What it takes to say that a thread cannot go on.
pub(super) struct Hopeless {
    thread: ThreadId,
    fence: Fence,
    program: Program,
    store: Arc<dyn ThreadStore>,
    clock: Arc<dyn Clock>,
    hub: Arc<Hub>,
    watched: Arc<Watched>,
    /// That of the run is cut when it comes to this.
    lifeline: Lifeline,
}

/// What came of one attempt.
enum Told {
    Done,
    /// Somebody has changed the thread meanwhile.
    Again,
}

impl Hopeless {
    pub(super) fn of(
        (thread, fence): (ThreadId, Fence),
        program: &Program,
        around: &Surroundings,
    ) -> Self {
        Self {
            thread,
            fence,
            program: program.clone(),
            store: Arc::clone(&around.store),
            clock: Arc::clone(&around.clock),
            hub: Arc::clone(&around.hub),
            watched: Arc::clone(&around.watched),
            lifeline: around.lifeline.for_run(),
        }
    }

    /// Runs fail with the reason; the thread's state stays as it is. It is claimed again when somebody wants something of it.
    pub(super) async fn tell(self, why: &str) {
        error!(why, "a thread cannot go on here");
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(why).await {
                Some(Told::Again) => {}
                Some(Told::Done) | None => return,
            }
        }
    }

    async fn attempt(&self, why: &str) -> Option<Told> {
        let (loaded, _) = self.lifeline.insist(|| self.store.load(self.thread)).await?;
        let loaded = loaded?;
        let home = Home { thread: self.thread, fence: self.fence, head: loaded.thread.seq };
        let line = &loaded.line;
        let commits = match Machine::load(self.program.clone(), home, Record::Commits, line) {
            Ok(machine) => self.break_off(machine, &loaded, why),
            Err(_) => self.leave(home, &loaded, why),
        };
        for commit in commits {
            let (committed, _) = self.lifeline.insist(|| self.store.commit(commit.clone())).await?;
            match committed {
                Committed::Applied { .. } | Committed::Duplicate => self.hub.stored(&commit),
                Committed::Fenced => return Some(Told::Done),
                Committed::Stale => return Some(Told::Again),
            }
        }
        self.watched.ends(End::Rests);
        Some(Told::Done)
    }

    /// What one run has come to cannot be stored. Others may fare better.
    fn break_off(&self, mut machine: Machine, loaded: &Loaded, why: &str) -> Vec<Commit> {
        let now = self.clock.now();
        let of_run = machine.break_off(why, now);
        let next = loaded.next_run(now).map(|run| (run.id, RunStatus::Error, why.to_owned()));
        let commit = match (of_run, next) {
            (Some(commit), _) => commit,
            (None, Some(next)) => machine.dismiss(next, now),
            (None, None) => machine.give_back(Vec::new(), now),
        };
        vec![Commit { next: Next::Rest { status: Rest::Failed, wake_at: None }, ..commit }]
    }

    /// Nobody can read where the thread stands. One commit for each run that cannot go on; the last one lets go of it.
    fn leave(&self, home: Home, loaded: &Loaded, why: &str) -> Vec<Commit> {
        let now = self.clock.now();
        let mut machine = Machine::new(self.program.clone(), home, Record::Commits);
        let runs = loaded.runs.iter().filter(|run| wants_to_go_on(run, now));
        let ends = runs.map(|run| (run.id, RunStatus::Error, why.to_owned()));
        let mut commits: Vec<_> = ends.map(|end| machine.dismiss(end, now)).collect();
        if commits.is_empty() {
            commits.push(machine.give_back(Vec::new(), now));
        }
        let last = loaded.line.entries.last().map(|entry| entry.seq);
        let snapshot = loaded.line.snapshot.as_ref().map(|snapshot| snapshot.seq);
        for commit in &mut commits {
            commit.entry.parent = last.or(snapshot).unwrap_or_default();
            commit.next = Next::Running;
        }
        if let Some(commit) = commits.last_mut() {
            // An answer would make the thread ready at once, and nobody can hear it: the question stands again.
            let answered = loaded.interrupts.iter().filter(|open| open.answer.is_some());
            let unanswered = |open: &Interrupt| Interrupt { answer: None, ..open.clone() };
            commit.opened = answered.map(unanswered).collect();
            commit.next = Next::Rest { status: Rest::Failed, wake_at: None };
        }
        commits
    }
}

/// One that only comes later may find the thread in order then.
fn wants_to_go_on(run: &Run, now: Timestamp) -> bool {
    match run.status {
        RunStatus::Running => true,
        RunStatus::Pending => {
            run.cancel.is_some() || run.not_before.is_none_or(|moment| moment <= now)
        }
        RunStatus::Interrupted => run.cancel.is_some(),
        RunStatus::Success
        | RunStatus::Error
        | RunStatus::Timeout
        | RunStatus::Cancelled
        | RunStatus::RolledBack => false,
    }
}
