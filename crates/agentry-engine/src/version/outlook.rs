//! What would become of threads, and moving them.

use agentry_core::ThreadId;
use agentry_core::run::Committed;
use agentry_core::thread::{Line, Loaded, Next, Pinned, Rest, Status, Thread};
use agentry_core::threads::{At, From, Order, ThreadQuery};
use serde::Serialize;

use super::carry::{Carried, Past, carry};
use super::{Policy, stand};
use crate::Error;
use crate::durable::Handle;
use crate::machine::{Home, Machine, Record};
use crate::program::Program;

/// What happens to one thread, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outlook {
    pub thread: ThreadId,
    pub status: Status,
    pub from: Pinned,
    /// The current version of its graph.
    pub to: String,
    #[serde(flatten)]
    pub verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// It is of the current version.
    Current,
    /// Nothing of its state changes.
    Fits,
    Migrates {
        steps: Vec<String>,
        changes: Vec<Change>,
    },
    Refused {
        why: Vec<String>,
    },
    /// It has something to do, and is moved by whoever does it.
    Busy,
}

/// What a key of the state goes through.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    Added(String),
    Removed(String),
    Changed(String),
}

impl Carried {
    fn verdict(&self) -> Verdict {
        let Self { steps, changes, .. } = self;
        match (steps.is_empty(), changes.is_empty()) {
            (true, true) => Verdict::Fits,
            _ => Verdict::Migrates { steps: steps.clone(), changes: changes.clone() },
        }
    }
}

impl Handle {
    /// What would happen if the thread were moved to the current version of its graph. `None` when there is no such thread,
    /// or it has not run yet.
    pub async fn outlook(&self, thread: ThreadId) -> Result<Option<Outlook>, Error> {
        let archive = self.archive();
        let Some(found) = archive.thread(thread).await? else { return Ok(None) };
        let Some(from) = found.program.clone() else { return Ok(None) };
        let program = self.registry().current(&from.graph)?;
        let line = archive.line(thread, At::Head, From::Snapshot).await?.unwrap_or_default();
        let verdict = match self.carry(&found, &line, &program) {
            None => Verdict::Current,
            Some(Ok(carried)) => carried.verdict(),
            Some(Err(why)) => Verdict::Refused { why },
        };
        let (status, to) = (found.status, program.version().to_owned());
        Ok(Some(Outlook { thread, status, from, to, verdict }))
    }

    /// The outlook of threads of a graph, oldest first; `offset` are passed over.
    pub async fn outlooks(
        &self,
        graph: &str,
        offset: usize,
        max: usize,
    ) -> Result<Vec<Outlook>, Error> {
        let graph = Some(graph.to_owned());
        let order = Order::CreatedOldest;
        let query = ThreadQuery { graph, offset, max, order, ..ThreadQuery::default() };
        let mut outlooks = Vec::new();
        for thread in self.archive().threads(query).await? {
            outlooks.extend(self.outlook(thread.id).await?);
        }
        Ok(outlooks)
    }

    /// Moves a thread to the current version of its graph, by one entry of its log. One that has something to do is left to
    /// whoever does it.
    pub async fn migrate(&self, thread: ThreadId) -> Result<Option<Outlook>, Error> {
        let Some(outlook) = self.outlook(thread).await? else { return Ok(None) };
        let verdict = match outlook.verdict {
            Verdict::Fits | Verdict::Migrates { .. } => self.move_resting(thread).await?,
            as_it_is @ (Verdict::Current | Verdict::Refused { .. } | Verdict::Busy) => as_it_is,
        };
        Ok(Some(Outlook { verdict, ..outlook }))
    }

    async fn move_resting(&self, thread: ThreadId) -> Result<Verdict, Error> {
        let claimed = match self.take(thread).await {
            Ok(claimed) => claimed,
            Err(Error::Busy(_)) => return Ok(Verdict::Busy),
            Err(other) => return Err(other),
        };
        let moved = self.move_taken(&claimed.loaded, claimed.fence).await;
        if !matches!(moved, Ok(Verdict::Fits | Verdict::Migrates { .. })) {
            self.store().release(&self.door(thread)).await?;
        }
        self.came_for(thread);
        moved
    }

    async fn move_taken(
        &self,
        loaded: &Loaded,
        fence: agentry_core::run::Fence,
    ) -> Result<Verdict, Error> {
        let Loaded { thread, line, .. } = loaded;
        let Some(pinned) = &thread.program else { return Ok(Verdict::Current) };
        let program = self.registry().current(&pinned.graph)?;
        let home = Home { thread: thread.id, fence, head: thread.seq };
        let carried = match self.carry_at(thread, line, &program, home) {
            None => return Ok(Verdict::Current),
            Some(Ok(carried)) => carried,
            Some(Err(why)) => return Ok(Verdict::Refused { why }),
        };
        let verdict = carried.verdict();
        let mut commit = moving(carried.machine, &program, self.clock().now());
        let status = match thread.status {
            Status::Idle | Status::Ready => Rest::Idle,
            Status::Waiting => Rest::Waiting,
            Status::Interrupted => Rest::Interrupted,
            Status::Failed => Rest::Failed,
        };
        commit.next = Next::Rest { status, wake_at: thread.wake_at };
        match self.store().commit(commit).await? {
            Committed::Applied { .. } | Committed::Duplicate => Ok(verdict),
            Committed::Fenced | Committed::Stale => Ok(Verdict::Busy),
        }
    }

    /// Brings a thread that goes on to the version that it goes on with.
    pub(crate) async fn settle_version(&self, thread: &Thread) -> Result<Option<Pinned>, Error> {
        let Some(pinned) = &thread.program else { return Ok(None) };
        let current = self.registry().current(&pinned.graph);
        let known = self.registry().get(&pinned.graph, &pinned.version).is_some();
        let Ok(current) = current else { return Ok(None) };
        if current.version() == pinned.version {
            return Ok(Some(pinned.clone()));
        }
        match current.on_change() {
            Policy::Pin if known => Ok(Some(pinned.clone())),
            Policy::Pin => Err(Error::UnknownVersion {
                graph: pinned.graph.clone(),
                version: pinned.version.clone(),
            }),
            Policy::Refuse => Err(Error::Unmovable {
                thread: thread.id,
                why: vec![format!(
                    "it is of version {} of the graph `{}`, which goes on with version {} alone",
                    pinned.version,
                    pinned.graph,
                    current.version()
                )],
            }),
            Policy::Migrate => {
                if self.came_from(thread, current.version()).await? {
                    let why = vec![elsewhere(pinned)];
                    return if known {
                        Ok(Some(pinned.clone()))
                    } else {
                        Err(Error::Unmovable { thread: thread.id, why })
                    };
                }
                match self.migrate(thread.id).await?.map(|outlook| outlook.verdict) {
                    Some(Verdict::Refused { .. }) if known => Ok(Some(pinned.clone())),
                    Some(Verdict::Refused { why }) => {
                        Err(Error::Unmovable { thread: thread.id, why })
                    }
                    // Whoever has it moves all of its runs.
                    Some(Verdict::Busy) => Ok(Some(pinned.clone())),
                    Some(Verdict::Current | Verdict::Fits | Verdict::Migrates { .. }) | None => {
                        Ok(Some(current.pinned()))
                    }
                }
            }
        }
    }

    /// Whether an instance with another version has moved the thread away from this one: two would move it for ever.
    async fn came_from(&self, thread: &Thread, version: &str) -> Result<bool, Error> {
        let moves = stand::moves(self.archive().as_ref(), thread.id).await?;
        Ok(moves.first().is_some_and(|last| last.from == version))
    }

    fn carry(
        &self,
        thread: &Thread,
        line: &Line,
        program: &Program,
    ) -> Option<Result<Carried, Vec<String>>> {
        let home = Home { thread: thread.id, fence: Default::default(), head: thread.seq };
        self.carry_at(thread, line, program, home)
    }

    /// `None` when it is of this version already.
    fn carry_at(
        &self,
        thread: &Thread,
        line: &Line,
        program: &Program,
        home: Home,
    ) -> Option<Result<Carried, Vec<String>>> {
        let pinned = thread.program.as_ref().filter(|it| it.version != program.version())?;
        let now = self.clock().now();
        if *line == Line::default() {
            let machine = Machine::new(program.clone(), home, Record::Commits);
            return Some(Ok(Carried { machine, steps: Vec::new(), changes: Vec::new() }));
        }
        let old = self.registry().get(&pinned.graph, &pinned.version);
        let version = &pinned.version;
        Some(carry(&Past { line, at: None, version, program: old.as_ref(), home }, program, now))
    }
}

/// Why a thread stays where it is though it would fit.
pub(super) fn elsewhere(pinned: &Pinned) -> String {
    format!(
        "another instance, with version {} of the graph `{}`, has moved it away from this one: give all instances the same version, or move it with `agentry runs migrate`",
        pinned.version, pinned.graph
    )
}

/// The entry that moves the thread, whole, so that nobody needs what was before.
pub(super) fn moving(
    mut machine: Machine,
    program: &Program,
    now: agentry_core::Timestamp,
) -> agentry_core::thread::Commit {
    let mut commit = machine.give_back(Vec::new(), now);
    commit.program = Some(program.pinned());
    if machine.scope(crate::machine::scope::ROOT_IX).is_some_and(|root| root.checkpoint.is_some()) {
        commit.snapshot = Some(machine.snapshot());
    }
    commit
}
