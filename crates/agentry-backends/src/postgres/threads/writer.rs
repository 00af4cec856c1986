//! Writes what concerns threads, many commands in one statement.
//!
//! While statements are under way on all connections, the next batch forms by itself; nobody waits for one to fill. A batch
//! is commands of one kind. A thread whose command is under way has no other one under way, and commands of one thread are
//! decided in the order in which they were sent. What the doors do is under way once at a time: it holds tenants' and logs'
//! rows, for which another one would only wait.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use agentry_core::ThreadId;
use agentry_core::run::Committed;
use agentry_core::threads::Error;
use serde_json::Value;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::bell::Bell;
use super::command::{Decision, Deed, Note};
use super::lane::{Batch, Lane};
use crate::postgres::pool::Pool;

/// Commands that wait; whoever comes then waits before the queue.
const QUEUE_MAX: usize = 4096;
const ADMISSION: Duration = Duration::from_secs(5);
const BATCH_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 4 << 20;

pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

pub(super) enum Command {
    Commit(Box<Decision>, Reply<Committed>),
    Journal(Box<Note>, Reply<Committed>),
    Deed(Deed, Reply<Value>),
    Control(Control, Reply<Vec<Grip>>),
}

/// What concerns a worker rather than a thread.
#[derive(Debug)]
pub(super) enum Control {
    Claim {
        worker: String,
        now: i64,
        span: i64,
        max: i64,
        graphs: Vec<String>,
        versions: Vec<String>,
        since: i64,
    },
    Take {
        thread: ThreadId,
        worker: String,
        now: i64,
        span: i64,
    },
    Renew {
        worker: String,
        now: i64,
        span: i64,
    },
    Release {
        worker: String,
    },
    Succeed {
        name: String,
        worker: String,
    },
}

/// A thread that was asked for; `state` says whether it was given.
#[derive(Debug)]
pub(super) struct Grip {
    pub yours: bool,
    pub thread: i64,
    pub fence: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Commits,
    Journals,
    Deeds,
    Control,
}

impl Command {
    fn sort(&self) -> Sort {
        match self {
            Self::Commit(..) => Sort::Commits,
            Self::Journal(..) => Sort::Journals,
            Self::Deed(..) => Sort::Deeds,
            Self::Control(..) => Sort::Control,
        }
    }

    fn threads(&self) -> &[ThreadId] {
        match self {
            Self::Commit(decision, _) => std::slice::from_ref(&decision.thread),
            Self::Journal(note, _) => std::slice::from_ref(&note.thread),
            Self::Deed(deed, _) => &deed.threads,
            Self::Control(Control::Take { thread, .. }, _) => std::slice::from_ref(thread),
            Self::Control(_, _) => &[],
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Commit(decision, _) => decision.bytes(),
            Self::Journal(note, _) => note.bytes(),
            Self::Deed(deed, _) => deed.text.len(),
            Self::Control(..) => 0,
        }
    }

    /// It is decided after everything that was sent before it, and before everything after it.
    fn is_barrier(&self) -> bool {
        matches!(self, Self::Control(Control::Release { .. } | Control::Succeed { .. }, _))
    }

    pub(super) fn refuse(self, problem: Error) {
        // Whoever no longer listens will ask again.
        match self {
            Self::Commit(_, reply) | Self::Journal(_, reply) => drop(reply.send(Err(problem))),
            Self::Deed(_, reply) => drop(reply.send(Err(problem))),
            Self::Control(_, reply) => drop(reply.send(Err(problem))),
        }
    }
}

/// Cheap to clone. The service behind it ends when the last one is gone and everything is decided.
#[derive(Clone)]
pub(crate) struct Writer {
    commands: Sender<Command>,
}

impl Writer {
    /// Must be called within a runtime.
    pub(crate) fn start(pool: &Arc<Pool>, bell: &Bell) -> Self {
        let (commands, incoming) = mpsc::channel(QUEUE_MAX);
        let service = Service::new(Arc::clone(pool), bell.clone(), incoming);
        pool.tasks().spawn(service.run());
        Self { commands }
    }

    pub(super) async fn ask<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Error> {
        let permit = timeout(ADMISSION, self.commands.reserve()).await;
        let gone = || Error::Unavailable("the writer has ended".to_owned());
        let permit = permit.map_err(|_| Error::Overloaded)?.map_err(|_| gone())?;
        let (reply, answer) = oneshot::channel();
        permit.send(command(reply));
        answer.await.map_err(|_| Error::Ambiguous("the writer has ended".to_owned()))?
    }
}

struct Service {
    pool: Arc<Pool>,
    bell: Bell,
    incoming: Receiver<Command>,
    waiting: VecDeque<Command>,
    lanes: Vec<Lane>,
    under_way: JoinSet<Done>,
    /// Threads of which a command is under way.
    busy: HashSet<ThreadId>,
    deeds: bool,
    control: bool,
}

struct Done {
    lane: Lane,
    sort: Sort,
    threads: Vec<ThreadId>,
}

impl Service {
    fn new(pool: Arc<Pool>, bell: Bell, incoming: Receiver<Command>) -> Self {
        // One more: claims do not wait behind commits.
        let lane = |_| Lane::new(Arc::clone(&pool), bell.clone());
        let lanes = (0..=pool.settings.writers).map(lane).collect();
        Self {
            pool,
            bell,
            incoming,
            waiting: VecDeque::new(),
            lanes,
            under_way: JoinSet::new(),
            busy: HashSet::new(),
            deeds: false,
            control: false,
        }
    }

    async fn run(mut self) {
        let mut open = true;
        while open || !self.waiting.is_empty() || !self.under_way.is_empty() {
            tokio::select! {
                biased;
                Some(done) = self.under_way.join_next(), if !self.under_way.is_empty() => {
                    match done {
                        Ok(done) => self.finish(done),
                        Err(problem) => self.replace(&problem),
                    }
                }
                command = self.incoming.recv(), if open && self.waiting.len() < QUEUE_MAX => {
                    match command {
                        Some(command) => self.waiting.push_back(command),
                        None => open = false,
                    }
                }
            }
            while self.waiting.len() < QUEUE_MAX
                && let Ok(command) = self.incoming.try_recv()
            {
                self.waiting.push_back(command);
            }
            while self.launch() {}
        }
    }

    fn finish(&mut self, done: Done) {
        let Done { lane, sort, threads } = done;
        for thread in threads {
            self.busy.remove(&thread);
        }
        match sort {
            Sort::Deeds => self.deeds = false,
            Sort::Control => self.control = false,
            Sort::Commits | Sort::Journals => {}
        }
        self.lanes.push(lane);
    }

    /// A batch that has panicked has told nobody anything; what was marked for it is not marked any more.
    fn replace(&mut self, problem: &tokio::task::JoinError) {
        tracing::error!(%problem, "a batch of commands has failed");
        self.lanes.push(Lane::new(Arc::clone(&self.pool), self.bell.clone()));
        if self.under_way.is_empty() {
            self.busy.clear();
            (self.deeds, self.control) = (false, false);
        }
    }

    /// Sends one batch on its way, if there is a connection and something that may be sent.
    fn launch(&mut self) -> bool {
        if self.waiting.is_empty() || self.lanes.is_empty() {
            return false;
        }
        // The last connection is kept for claims.
        let control_only = self.lanes.len() == 1 && !self.control;
        let Some((sort, batch, threads)) = self.form(control_only) else { return false };
        let Some(mut lane) = self.lanes.pop() else { return false };
        self.busy.extend(threads.iter().copied());
        match sort {
            Sort::Deeds => self.deeds = true,
            Sort::Control => self.control = true,
            Sort::Commits | Sort::Journals => {}
        }
        self.under_way.spawn(async move {
            lane.run(Batch::new(batch)).await;
            Done { lane, sort, threads }
        });
        true
    }

    /// The oldest command that may go now, and all of its kind that may go with it.
    fn form(&mut self, control_only: bool) -> Option<(Sort, Vec<Command>, Vec<ThreadId>)> {
        let mut chosen: Option<Sort> = None;
        let (mut batch, mut threads) = (Vec::new(), Vec::new());
        let (mut mine, mut blocked) = (HashSet::new(), HashSet::new());
        let (mut bytes, mut behind) = (0, false);
        let mut left = VecDeque::with_capacity(self.waiting.len());
        while let Some(command) = self.waiting.pop_front() {
            let first = left.is_empty() && batch.is_empty() && self.under_way.is_empty();
            if command.is_barrier() && !first {
                left.push_back(command);
                left.append(&mut self.waiting);
                break;
            }
            let sort = command.sort();
            let free = match sort {
                Sort::Commits | Sort::Journals => !control_only,
                Sort::Deeds => !control_only && !self.deeds,
                Sort::Control => !self.control && !behind && batch.is_empty(),
            };
            behind |= sort == Sort::Control;
            let repeats = match sort {
                Sort::Deeds => false,
                Sort::Commits | Sort::Journals | Sort::Control => true,
            };
            let clear = command.threads().iter().all(|thread| {
                let taken = repeats && mine.contains(thread);
                !taken && !blocked.contains(thread) && !self.busy.contains(thread)
            });
            let room = batch.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX;
            if free && clear && room && chosen.is_none_or(|chosen| chosen == sort) {
                chosen = Some(sort);
                bytes += command.bytes();
                for thread in command.threads() {
                    if mine.insert(*thread) {
                        threads.push(*thread);
                    }
                }
                let barrier = command.is_barrier();
                batch.push(command);
                if barrier || sort == Sort::Control {
                    left.append(&mut self.waiting);
                    break;
                }
            } else {
                blocked.extend(command.threads().iter().copied());
                left.push_back(command);
            }
        }
        self.waiting = left;
        chosen.map(|sort| (sort, batch, threads))
    }
}
