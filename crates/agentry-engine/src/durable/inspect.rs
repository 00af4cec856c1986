//! Looking at a thread's state, now and then, and changing it from outside.

use std::sync::Arc;

use agentry_core::run::{Committed, Fence};
use agentry_core::thread::{Line, Next, Rest, Status, Thread};
use agentry_core::threads::{At, CheckpointQuery, Claim, Claimed, Found, From, Taken};
use agentry_core::{CheckpointId, ThreadId};

use super::handle::Handle;
use crate::Error;
use crate::machine::view::View;
use crate::machine::{Home, Machine, Record, Update};
use crate::observe::{End, Execution, Watched};
use crate::version;

/// Where an update left a thread.
#[derive(Debug, Clone, PartialEq)]
pub struct Updated {
    pub checkpoint: Option<CheckpointId>,
    pub view: Option<View>,
}

impl Handle {
    /// The state of one namespace of a thread. `None` when there is no such thread, checkpoint or namespace.
    pub async fn state(&self, thread: ThreadId, ns: &str, at: At) -> Result<Option<View>, Error> {
        let archive = &self.shared.archive;
        let Some(found) = archive.thread(thread).await? else { return Ok(None) };
        let Some(line) = archive.line(thread, at, From::Snapshot).await? else { return Ok(None) };
        if found.program.is_none() {
            return Ok(None);
        }
        let program = self.program_of(&found, None).ok();
        let home = home(&found, Fence(0));
        let machine = match at {
            At::Checkpoint(id) => {
                let line = whole(self, thread, at, line).await?;
                version::load(program.as_ref(), home, &line, Some(id))
            }
            At::Head | At::Seq(_) => version::load(program.as_ref(), home, &line, None),
        };
        Ok(machine?.view(ns))
    }

    /// Checkpoints, newest first, each with the state as it was then. Of a query without a namespace each in its own.
    pub async fn history(
        &self,
        thread: ThreadId,
        query: CheckpointQuery,
    ) -> Result<Vec<(Found, View)>, Error> {
        let mut moments = Vec::new();
        for found in self.shared.archive.checkpoints(thread, query).await? {
            let at = At::Checkpoint(found.checkpoint.id);
            if let Some(view) = self.state(thread, &found.checkpoint.ns, at).await? {
                moments.push((found, view));
            }
        }
        Ok(moments)
    }

    /// Changes a thread's state as if nodes had written it. `from` is the checkpoint to change, when it is not where the
    /// thread stands; `graph` what the thread is for, when it has not run on one.
    pub async fn update(
        &self,
        (thread, graph): (ThreadId, Option<&str>),
        from: Option<CheckpointId>,
        updates: Vec<Update>,
    ) -> Result<Updated, Error> {
        self.settle_begun(thread).await?;
        let claimed = self.take(thread).await?;
        let _watched = self.watched(&claimed);
        let updated = self.update_taken(&claimed, graph, from, updates).await;
        if updated.is_err() {
            // Nothing was changed: whoever comes next need not wait for the lease.
            self.shared.store.release(&self.door(thread)).await?;
        }
        self.shared.hub.came_for(thread);
        updated
    }

    async fn update_taken(
        &self,
        claimed: &Claimed,
        graph: Option<&str>,
        from: Option<CheckpointId>,
        updates: Vec<Update>,
    ) -> Result<Updated, Error> {
        let found = &claimed.loaded.thread;
        let program = self.program_of(found, graph)?;
        let home = home(found, claimed.fence);
        let mut machine = match from {
            None => Machine::load(program, home, Record::Commits, &claimed.loaded.line)?,
            Some(id) => {
                let at = At::Checkpoint(id);
                let line = self.shared.archive.line(found.id, at, From::Snapshot).await?;
                let line = line.ok_or(Error::NoCheckpoint(id))?;
                let line = whole(self, found.id, at, line).await?;
                let (archive, now) = (self.shared.archive.as_ref(), self.shared.clock.now());
                let there = (found, &program);
                version::stand(archive, there, (home, &line), (id, now)).await??
            }
        };
        let decision = machine.update(updates, self.shared.clock.now())?;
        if let Some(commit) = decision.commit {
            match self.shared.store.commit(commit).await? {
                Committed::Applied { .. } | Committed::Duplicate => {}
                Committed::Fenced | Committed::Stale => return Err(Error::Busy(found.id)),
            }
        }
        let view = machine.view("");
        Ok(Updated { checkpoint: view.as_ref().and_then(|view| view.checkpoint), view })
    }

    /// A name for whoever takes this thread beside the worker.
    pub(crate) fn door(&self, thread: ThreadId) -> String {
        format!("{}/{thread}", self.shared.name)
    }

    /// A claim like any other for whoever watches.
    fn watched(&self, claimed: &Claimed) -> Watched {
        let (observer, clock) = (self.shared.observer.clone(), Arc::clone(&self.shared.clock));
        let program = claimed.loaded.thread.program.as_ref();
        let graph = program.map_or("", |program| program.graph.as_str());
        let execution = Execution::of(claimed.fence, &claimed.loaded, graph, clock.now());
        let watched = Watched::new(observer, Execution { ready: None, ..execution }, clock);
        watched.ends(End::Changed);
        watched
    }

    pub(crate) async fn take(&self, thread: ThreadId) -> Result<Claimed, Error> {
        let now = self.shared.clock.now();
        let claim = Claim {
            worker: self.door(thread),
            now,
            lease_until: now.plus(self.shared.lease),
            threads_max: 1,
            programs: Vec::new(),
        };
        match self.shared.store.take(thread, claim).await? {
            Taken::Yours(claimed) => Ok(*claimed),
            Taken::Busy => Err(Error::Busy(thread)),
            Taken::NoThread => Err(Error::NoThread(thread)),
        }
    }

    /// Sees to it that a snapshot of the head is stored. False when the thread has something to do, or nothing to keep.
    pub(super) async fn snapshot_head(&self, thread: ThreadId) -> Result<bool, Error> {
        let claimed = match self.take(thread).await {
            Ok(claimed) => claimed,
            Err(Error::Busy(_) | Error::NoThread(_)) => return Ok(false),
            Err(other) => return Err(other),
        };
        let _watched = self.watched(&claimed);
        let stored = self.snapshot_taken(&claimed).await;
        if !matches!(stored, Ok(true)) {
            self.shared.store.release(&self.door(thread)).await?;
        }
        stored
    }

    async fn snapshot_taken(&self, claimed: &Claimed) -> Result<bool, Error> {
        let found = &claimed.loaded.thread;
        if found.program.is_none() || claimed.loaded.line == Line::default() {
            return Ok(false);
        }
        let program = self.program_of(found, None)?;
        let home = home(found, claimed.fence);
        let mut machine = Machine::load(program, home, Record::Commits, &claimed.loaded.line)?;
        // Nobody has used it.
        let mut commit = machine.give_back(Vec::new(), found.updated);
        commit.snapshot = Some(machine.snapshot());
        commit.next = Next::Rest { status: rest(found.status), wake_at: found.wake_at };
        match self.shared.store.commit(commit).await? {
            Committed::Applied { .. } | Committed::Duplicate => Ok(true),
            Committed::Fenced | Committed::Stale => Ok(false),
        }
    }
}

fn home(thread: &Thread, fence: Fence) -> Home {
    Home { thread: thread.id, fence, head: thread.seq }
}

fn rest(status: Status) -> Rest {
    match status {
        Status::Idle | Status::Ready => Rest::Idle,
        Status::Waiting => Rest::Waiting,
        Status::Interrupted => Rest::Interrupted,
        Status::Failed => Rest::Failed,
    }
}

/// The line with its last entry, also where a snapshot has taken that one's place.
async fn whole(handle: &Handle, thread: ThreadId, at: At, line: Line) -> Result<Line, Error> {
    if !line.entries.is_empty() {
        return Ok(line);
    }
    let root = handle.shared.archive.line(thread, at, From::Root).await?;
    Ok(root.unwrap_or(line))
}
