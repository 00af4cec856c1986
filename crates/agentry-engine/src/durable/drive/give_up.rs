//! A thread that nobody can go on with here.

use agentry_core::thread::{Loaded, Next, Rest, RunStatus};
use tracing::error;

use super::Drive;
use crate::machine::{Home, LoadError, Machine, Record};
use crate::observe::End;

impl Drive {
    /// Runs cannot go on where their graph does not know what the thread stands at: they fail, and the thread stays as it is.
    /// What cannot be read at all is left to somebody who can.
    pub(super) async fn give_up(self, loaded: Loaded, problem: LoadError) {
        error!(%problem, "a thread cannot be read here");
        let LoadError::Foreign { .. } = problem else { return };
        let home = Home { thread: self.thread, fence: self.fence, head: loaded.thread.seq };
        let mut machine = Machine::new(self.program.clone(), home, Record::Commits);
        let last = loaded.line.entries.last().map(|entry| entry.seq);
        let snapshot = loaded.line.snapshot.as_ref().map(|snapshot| snapshot.seq);
        let stands = last.or(snapshot).unwrap_or_default();
        let unfinished: Vec<_> = loaded.runs.iter().filter(|run| !run.status.is_over()).collect();
        for (number, run) in unfinished.iter().enumerate() {
            let why = (run.id, RunStatus::Error, problem.to_string());
            let mut commit = machine.dismiss(why, self.around.clock.now());
            commit.entry.parent = stands;
            commit.next = match number + 1 < unfinished.len() {
                true => Next::Running,
                false => Next::Rest { status: Rest::Failed, wake_at: None },
            };
            let call = || self.around.store.commit(commit.clone());
            if self.around.lifeline.insist(call).await.is_none() {
                return;
            }
            self.publish(&commit);
        }
        self.around.watched.ends(End::Rests);
    }
}
