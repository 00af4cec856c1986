//! Runs a thread in this process, with or without a log in memory: nothing outlives it.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::run::{Event, Fence, Seq};
use agentry_core::thread::{Commit, Entry, Line};
use agentry_core::{CheckpointId, Clock, RunId, ThreadId};
use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cache::NodeCache;
use crate::context::Surround;
use crate::effect::{Forgetful, Journal};
use crate::machine::view::line_to;
use crate::machine::{
    Action, Decision, Ended, Happened, Home, Key, LoadError, Machine, Mail, Record, Refused,
    Request, Rests, Start, Submission,
};
use crate::program::Program;

/// The longest a run waits without looking at the clock.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Tasks that are handed to another core at once, at least.
const CHUNK_MIN: usize = 16;

/// One thread and its log, in memory.
pub struct Local {
    machine: Machine,
    program: Program,
    around: Surround,
    cores: usize,
    log: Vec<Logged>,
    runs: u64,
    /// The checkpoint that the next run starts from, where it is not the newest.
    back: Option<CheckpointId>,
    started: Option<Crew>,
}

/// One decision, as a store would have it.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    pub entry: Entry,
    pub events: Vec<Event>,
}

/// Tasks that run elsewhere than in the loop that waits for them.
struct Crew {
    tasks: JoinSet<()>,
    sender: mpsc::Sender<Vec<Ended>>,
    receiver: mpsc::Receiver<Vec<Ended>>,
    handles: HashMap<Key, (AbortHandle, CancellationToken)>,
}

impl Local {
    /// Keeps nothing but the state.
    #[must_use]
    pub fn new(program: Program, clock: Arc<dyn Clock>) -> Self {
        Self::with(program, clock, Record::Nothing)
    }

    /// Keeps every decision, for the history and for those who watch.
    #[must_use]
    pub fn recording(program: Program, clock: Arc<dyn Clock>) -> Self {
        Self::with(program, clock, Record::Commits)
    }

    fn with(program: Program, clock: Arc<dyn Clock>, record: Record) -> Self {
        let thread = ThreadId::derived(clock.now(), "local");
        let home = Home { thread, fence: Fence(1), head: Seq(0) };
        let journal =
            Arc::new(Journal::new(thread.to_string(), BTreeMap::new(), Arc::new(Forgetful)));
        let around = Surround::new(clock, journal);
        Self::inside(Machine::new(program.clone(), home, record), program, around)
    }

    /// A graph that runs inside of a node.
    pub(crate) fn inside(machine: Machine, program: Program, around: Surround) -> Self {
        Self {
            machine,
            program,
            around,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            log: Vec::new(),
            runs: 0,
            back: None,
            started: None,
        }
    }

    /// Runs until nothing goes on any more, also when there is a long pause before it does.
    pub(crate) async fn follow(&mut self, mut decision: Decision) {
        loop {
            self.go(decision).await;
            if *self.machine.rests() != Rests::Waiting || self.machine.is_asking() {
                return;
            }
            let happened = self.wait().await;
            decision = self.machine.step(happened, self.around.clock.now());
        }
    }

    #[must_use]
    pub fn cached(mut self, cache: Arc<dyn NodeCache>) -> Self {
        self.around.cache = Some(cache);
        self
    }

    /// What nodes read with [`NodeContext::config`](crate::NodeContext::config).
    #[must_use]
    pub fn configured(mut self, config: Map<String, Value>) -> Self {
        self.around.config = Arc::new(config);
        self
    }

    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    #[must_use]
    pub fn log(&self) -> &[Logged] {
        &self.log
    }

    /// A machine for reading along, from where the thread stands now.
    pub fn reader(&self) -> Result<Machine, LoadError> {
        let entries: Vec<_> = self.log.iter().map(|logged| logged.entry.clone()).collect();
        let at = self.machine.at();
        let (program, home) = (self.program.clone(), self.machine.home());
        match self.back {
            Some(checkpoint) => {
                let line = line_to(&entries, at).into_iter().cloned().collect();
                let line = Line { snapshot: None, entries: line };
                Machine::load_at(program, home, &line, checkpoint)
            }
            None => {
                let line = line_to(&entries, at).into_iter().cloned().collect();
                let line = Line { snapshot: None, entries: line };
                Machine::load(program, home, Record::Nothing, &line)
            }
        }
    }

    /// The thread stands at that checkpoint again, as if nothing had followed it.
    pub fn go_back(&mut self, checkpoint: CheckpointId) -> Result<bool, LoadError> {
        let has = |logged: &&Logged| logged.entry.checkpoints.iter().any(|it| it.id == checkpoint);
        let Some(found) = self.log.iter().find(has).map(|logged| logged.entry.seq) else {
            return Ok(false);
        };
        let entries: Vec<_> = self.log.iter().map(|logged| logged.entry.clone()).collect();
        let entries = line_to(&entries, found).into_iter().cloned().collect();
        let line = Line { snapshot: None, entries };
        let (program, home) = (self.program.clone(), self.machine.home());
        self.machine = Machine::load_at(program, home, &line, checkpoint)?;
        self.back = Some(checkpoint);
        Ok(true)
    }

    /// Changes the state from outside of any run.
    pub fn update(&mut self, updates: Vec<crate::machine::Update>) -> Result<(), Refused> {
        let decision = self.machine.update(updates, self.around.clock.now())?;
        self.keep(decision.commit);
        Ok(())
    }

    /// Runs until the thread rests.
    pub async fn run(&mut self, request: Request) -> Result<&Rests, Refused> {
        self.runs += 1;
        let now = self.around.clock.now();
        let run = RunId::derived(now, &format!("{}/{}", self.machine.home().thread, self.runs));
        let replay = self.back.is_some();
        let config = Some((*self.around.config).clone());
        self.submit(Submission { replay, config, ..Submission::new(run, request) }).await
    }

    pub async fn submit(&mut self, submission: Submission) -> Result<&Rests, Refused> {
        let decision = self.machine.begin(submission, self.around.clock.now())?;
        self.go(decision).await;
        Ok(self.machine.rests())
    }

    /// Hands in answers, messages or the wish to end, and runs until the thread rests again.
    pub async fn tell(&mut self, mail: Mail) -> &Rests {
        let now = self.around.clock.now();
        let decision = self.machine.step(Happened::Mail(mail), now);
        self.go(decision).await;
        self.machine.rests()
    }

    async fn go(&mut self, mut decision: Decision) {
        loop {
            self.keep(decision.commit);
            if *self.machine.rests() != Rests::Running {
                break;
            }
            let happened = match self.perform(decision.actions) {
                Some((start, token)) => {
                    Happened::Ended(vec![start.run(self.around.clone(), token).await])
                }
                None => self.wait().await,
            };
            decision = self.machine.step(happened, self.around.clock.now());
        }
        self.started = None;
    }

    fn keep(&mut self, commit: Option<Commit>) {
        self.back = None;
        if let Some(Commit { entry, events, .. }) = commit {
            self.log.push(Logged { entry, events });
        }
    }

    /// Performs everything, but hands back a task that is alone.
    fn perform(&mut self, actions: Vec<Action>) -> Option<(Start, CancellationToken)> {
        let mut starts = Vec::new();
        for action in actions {
            match action {
                Action::Start(start) => starts.push(*start),
                Action::Cancel(key) => {
                    if let Some((_, token)) = self.handle(key) {
                        token.cancel();
                    }
                }
                Action::Abort(key) => {
                    if let Some((handle, _)) = self.handle(key) {
                        handle.abort();
                    }
                }
            }
        }
        let idle = self.started.as_ref().is_none_or(|crew| crew.handles.is_empty());
        if starts.len() == 1 && idle && self.machine.wake_at().is_none() {
            return starts.pop().map(|start| (start, CancellationToken::new()));
        }
        if !starts.is_empty() {
            self.spread(starts);
        }
        None
    }

    fn handle(&mut self, key: Key) -> Option<(AbortHandle, CancellationToken)> {
        self.started.as_mut()?.handles.remove(&key)
    }

    /// Spreads tasks over the cores.
    fn spread(&mut self, mut starts: Vec<Start>) {
        let size = starts.len().div_ceil(self.cores).max(CHUNK_MIN);
        let crew = self.started.get_or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(1_024);
            Crew { tasks: JoinSet::new(), sender, receiver, handles: HashMap::new() }
        });
        while !starts.is_empty() {
            let rest = starts.split_off(size.min(starts.len()));
            let chunk = std::mem::replace(&mut starts, rest);
            let mut running = Vec::with_capacity(chunk.len());
            for start in chunk {
                let token = CancellationToken::new();
                let (handle, registration) = AbortHandle::new_pair();
                crew.handles.insert(start.key(), (handle, token.clone()));
                running.push((start, token, registration));
            }
            let (around, sender) = (self.around.clone(), crew.sender.clone());
            crew.tasks.spawn(async move {
                let futures: FuturesUnordered<_> = running
                    .into_iter()
                    .map(|(start, token, registration)| {
                        Abortable::new(start.run(around.clone(), token), registration)
                    })
                    .collect();
                let mut batches = futures.ready_chunks(256);
                while let Some(batch) = batches.next().await {
                    let ended: Vec<Ended> = batch.into_iter().flatten().collect();
                    if sender.send(ended).await.is_err() {
                        return;
                    }
                }
            });
        }
    }

    async fn wait(&mut self) -> Happened {
        let now = self.around.clock.now();
        let pause = self.machine.wake_at().map_or(WAIT_MAX, |at| at.since(now).min(WAIT_MAX));
        let Some(crew) = &mut self.started else {
            tokio::time::sleep(pause).await;
            return Happened::Tick;
        };
        let Ok(Some(mut ended)) = tokio::time::timeout(pause, crew.receiver.recv()).await else {
            return Happened::Tick;
        };
        while let Ok(more) = crew.receiver.try_recv() {
            ended.extend(more);
        }
        for one in &ended {
            crew.handles.remove(&one.key);
        }
        Happened::Ended(ended)
    }
}
