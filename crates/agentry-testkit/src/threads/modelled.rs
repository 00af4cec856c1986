//! Sequences that nobody has thought of.

use std::collections::BTreeMap;
use std::fmt::Debug;

use agentry_core::run::{Closing, Effect, Fence, Seq};
use agentry_core::thread::{
    Absent, Cancel, Commit, Entry, EventId, Loaded, Multitask, NewRun, NewThread, Next, Priority,
    Rest, RunChange, RunStatus, Thread,
};
use agentry_core::threads::{
    At, CheckpointQuery, Claim, Error, From, Keep, Order, RunQuery, Signal, Taken, ThreadQuery,
};
use agentry_core::{CheckpointId, RunId, ThreadId};
use serde_json::{Map, json};

use super::{
    Store, answer, append, at, checkpoint, claim, event, message, new_run, new_thread, pinned,
    question, run_id, set, snapshot, states, thread_id, write,
};
use crate::kind::Kind;

const STEPS: u64 = 120;
const THREADS: u64 = 4;
const WORKERS: [&str; 2] = ["v", "w"];

/// Performs `rounds` random sequences on a store of each kind: both must answer alike and come to the same. A sequence
/// that fails names its seed.
pub async fn agrees_with(
    model: &impl Kind<Store: Store>,
    tested: &impl Kind<Store: Store>,
    rounds: u64,
) {
    for seed in 1..=rounds {
        let (model, tested) = (model.fresh().await, tested.fresh().await);
        let mut world =
            World { random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)), ..World::default() };
        for step in 0..STEPS {
            let command = world.next(&model).await;
            let (expected, fences) = perform(&model, &command).await;
            let (found, _) = perform(&tested, &command).await;
            assert_eq!(found, expected, "seed {seed}, step {step}: {command:?}");
            world.fences.extend(fences);
        }
        let expected = everything(&model).await;
        for (found, expected) in everything(&tested).await.into_iter().zip(expected) {
            assert_eq!(found, expected, "seed {seed}");
        }
    }
}

struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(1)
    }
}

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

#[derive(Debug, Clone)]
enum Command {
    Submit(NewRun),
    Claim(Claim),
    Take(ThreadId, Claim),
    Renew(&'static str, u64),
    Release(&'static str),
    Succeed(&'static str, &'static str),
    Commit(Box<Commit>),
    Journal(ThreadId, Fence, String, Effect),
    Signal(ThreadId, Signal),
    Create(NewThread),
    Copy(ThreadId, NewThread),
    Delete(ThreadId),
    Prune(ThreadId, Keep),
    Sweep(u64),
    DeleteRun(RunId),
}

/// What a caller knows.
#[derive(Default)]
struct World {
    random: Random,
    now: u64,
    runs: u8,
    checkpoints: u8,
    messages: u32,
    /// The last fence of each thread, whoever has it now.
    fences: BTreeMap<ThreadId, Fence>,
}

impl World {
    async fn next(&mut self, model: &impl Store) -> Command {
        self.now += 1 + self.random.below(4);
        let thread = self.thread();
        match self.random.below(40) {
            0..=6 => Command::Submit(self.new_run(model).await),
            7..=10 => Command::Claim(claim(self.random.of(&WORKERS), self.now)),
            11 => Command::Take(thread, claim(self.random.of(&WORKERS), self.now)),
            12 => Command::Renew(self.random.of(&WORKERS), self.now),
            13 if self.random.one_in(3) => {
                let worker = self.random.of(&WORKERS);
                let others = WORKERS.into_iter().find(|it| *it != worker);
                match others.filter(|_| self.now.is_multiple_of(2)) {
                    Some(other) => Command::Succeed(worker, other),
                    None => Command::Release(worker),
                }
            }
            14..=17 => self.signal(thread),
            18..=19 => self.journal(thread),
            20 if self.random.one_in(2) => Command::Create(NewThread {
                keep_for: self.random.one_in(2).then(|| std::time::Duration::from_secs(30)),
                created: at(self.now),
                ..new_thread(thread.as_bytes()[0])
            }),
            21 if self.random.one_in(3) => {
                let to = NewThread { created: at(self.now), ..new_thread(9) };
                Command::Copy(thread, to)
            }
            22 if self.random.one_in(4) => Command::Delete(thread),
            23 => {
                Command::Prune(thread, self.random.of(&[Keep::Latest, Keep::Latest, Keep::Nothing]))
            }
            24 if self.random.one_in(3) => Command::Sweep(self.now),
            25 if self.random.one_in(2) => Command::DeleteRun(self.run()),
            _ => self.commit(model, thread).await,
        }
    }

    fn thread(&mut self) -> ThreadId {
        thread_id(1 + u8::try_from(self.random.below(THREADS)).unwrap())
    }

    fn run(&mut self) -> RunId {
        let last = u64::from(self.runs);
        let back = self.random.below(6).min(last);
        run_id(u8::try_from(last - back).unwrap())
    }

    async fn new_run(&mut self, model: &impl Store) -> NewRun {
        self.runs += 1;
        let thread = self.thread();
        let questions = model.questions(Some(thread), 9).await.unwrap();
        let answered = questions.first().filter(|_| self.random.one_in(2));
        let second = self.now;
        let answers = answered.map(|it| (it.id.clone(), answer("run", second)));
        let seconds = self.random.below(20);
        NewRun {
            id: if self.random.one_in(20) { self.run() } else { run_id(self.runs) },
            thread,
            tenant: if self.random.one_in(15) { "other" } else { "main" }.to_owned(),
            key: self.random.one_in(4).then(|| format!("k{}", self.random.below(5))),
            program: pinned("g", if self.random.one_in(5) { "2" } else { "1" }),
            answers: answers.into_iter().collect(),
            multitask: self.random.of(&[
                Multitask::Enqueue,
                Multitask::Enqueue,
                Multitask::Reject,
                Multitask::Interrupt,
                Multitask::Rollback,
            ]),
            priority: self.random.of(&[Priority::Low, Priority::Normal, Priority::High]),
            absent: self.random.of(&[Absent::Create, Absent::CreateForRun, Absent::Refuse]),
            created: at(self.now),
            not_before: self.random.one_in(4).then(|| at(second + seconds)),
            ..new_run(self.runs)
        }
    }

    fn signal(&mut self, thread: ThreadId) -> Command {
        let signal = match self.random.below(4) {
            0 => {
                self.messages += 1;
                let number = if self.random.one_in(5) { 1 } else { self.messages };
                let message = agentry_core::run::Message { at: at(self.now), ..message(number) };
                Signal::Message(message)
            }
            1 => {
                let cancel = Cancel {
                    reason: "enough".to_owned(),
                    at: at(self.now),
                    rollback: self.random.one_in(2),
                };
                Signal::Cancel { run: self.run(), cancel, audit: Vec::new() }
            }
            _ => Signal::Answer {
                interrupt: format!("q{}", self.random.below(3)),
                answer: answer("signal", self.now),
                audit: Vec::new(),
            },
        };
        Command::Signal(thread, signal)
    }

    fn journal(&mut self, thread: ThreadId) -> Command {
        let effect = if self.random.one_in(2) {
            Effect::Intended
        } else {
            Effect::Done { value: json!(self.now) }
        };
        let key = format!("e{}", self.random.below(3));
        Command::Journal(thread, self.fence(thread), key, effect)
    }

    fn fence(&mut self, thread: ThreadId) -> Fence {
        let fence = self.fences.get(&thread).copied().unwrap_or(Fence(1));
        if self.random.one_in(10) { Fence(fence.0.saturating_sub(1)) } else { fence }
    }

    /// Something that an engine might decide, and sometimes something that it must not.
    async fn commit(&mut self, model: &impl Store, thread: ThreadId) -> Command {
        let Some(loaded) = model.load(thread).await.unwrap() else {
            return Command::Claim(claim(self.random.of(&WORKERS), self.now));
        };
        let seq = if self.random.one_in(15) { loaded.thread.seq } else { loaded.thread.seq.next() };
        let head = loaded.line.entries.last().map(|entry| entry.seq);
        let head = head.or_else(|| loaded.line.snapshot.as_ref().map(|snapshot| snapshot.seq));
        let back = if self.random.one_in(6) { self.random.below(4) } else { 0 };
        let parent = Seq(head.unwrap_or_default().0.saturating_sub(back));
        let (runs, over) = self.run_changes(&loaded, thread);
        let run = runs.first().map(|change| change.run);
        let run = run.or_else(|| loaded.runs.first().map(|run| run.id));
        let entry = self.entry(seq, parent, run);
        let opened = self.random.one_in(5).then(|| {
            let id = format!("q{}", self.random.below(3));
            let deadline = self.random.one_in(2).then(|| self.now + self.random.below(30));
            let run = run.unwrap_or_else(|| run_id(1));
            agentry_core::thread::Interrupt { thread, run, ..question(1, &id, deadline) }
        });
        let mut closed = Vec::new();
        let mut postponed = Vec::new();
        for open in &loaded.interrupts {
            let how = if open.answer.is_some() { Closing::Answered } else { Closing::Withdrawn };
            match self.random.below(6) {
                0 | 1 => closed.push((open.id.clone(), how)),
                2 => closed.push((open.id.clone(), Closing::Expired)),
                3 => postponed.push((open.id.clone(), Some(at(self.now + 9)))),
                _ => {}
            }
        }
        let consumed = loaded.inbox.iter().filter(|_| self.random.one_in(2));
        let consumed = consumed.map(|message| message.id.clone()).collect();
        let forgotten = loaded.journal.keys().filter(|_| self.random.one_in(6)).cloned().collect();
        let snapshot = self.snapshot(&loaded, &entry, head);
        let moves = self.now.is_multiple_of(10);
        let program =
            moves.then(|| pinned("g", if self.now.is_multiple_of(20) { "1" } else { "2" }));
        Command::Commit(Box::new(Commit {
            thread,
            fence: self.fence(thread),
            next: self.rest(over),
            runs,
            opened: opened.into_iter().collect(),
            closed,
            postponed,
            consumed,
            forgotten,
            events: (0..self.random.below(3)).map(|_| event("x")).collect(),
            snapshot,
            entry,
            audit: Vec::new(),
            program,
        }))
    }

    fn entry(&mut self, seq: Seq, parent: Seq, run: Option<RunId>) -> Entry {
        let checkpoints = if self.random.one_in(2) {
            self.checkpoints = self.checkpoints.wrapping_add(1);
            let ns = self.random.of(&["", "", "sub:1", "sub:2"]);
            let mut random = [self.checkpoints; 10];
            random[0] = u8::try_from(seq.0 % 251).unwrap();
            let id = CheckpointId::new(at(self.now), random);
            vec![agentry_core::thread::Checkpoint { id, ..checkpoint(ns, 1) }]
        } else {
            Vec::new()
        };
        let writes = match self.random.below(4) {
            0 => vec![],
            1 => vec![set("last", seq.0)],
            2 => vec![append("seen", &[seq.0])],
            _ => vec![
                write("sub:1", "n", agentry_core::run::Delta::Set(json!(seq.0))),
                append("seen", &[seq.0, seq.0]),
            ],
        };
        let body = json!({ "at": seq.0 });
        Entry { seq, parent, run, at: at(self.now), checkpoints, writes, body }
    }

    /// Only where the entry builds on the head is it known here what it comes to.
    fn snapshot(
        &mut self,
        loaded: &Loaded,
        entry: &Entry,
        head: Option<Seq>,
    ) -> Option<agentry_core::thread::Snapshot> {
        if !self.random.one_in(4) || entry.parent != head.unwrap_or_default() {
            return None;
        }
        let mut line = loaded.line.clone();
        line.entries.push(entry.clone());
        Some(snapshot(entry.seq.0, json!(states(&line))))
    }

    fn run_changes(&mut self, loaded: &Loaded, thread: ThreadId) -> (Vec<RunChange>, RunStatus) {
        let running = loaded.runs.iter().find(|run| run.status == RunStatus::Running);
        if let Some(run) = running {
            let status = self.random.of(&[
                RunStatus::Running,
                RunStatus::Running,
                RunStatus::Success,
                RunStatus::Error,
                RunStatus::Cancelled,
                RunStatus::Interrupted,
            ]);
            let reason = (status == RunStatus::Error).then(|| "because".to_owned());
            let change = RunChange { run: run.id, status, base: None, reason };
            return (vec![change], status);
        }
        let next = loaded.next_run(at(self.now)).filter(|run| run.thread == thread);
        let Some(next) = next else { return (Vec::new(), RunStatus::Success) };
        let base = Some(loaded.thread.seq);
        let change = RunChange { run: next.id, status: RunStatus::Running, base, reason: None };
        (vec![change], RunStatus::Running)
    }

    fn rest(&mut self, now: RunStatus) -> Next {
        let wake_at = self.random.one_in(3).then(|| at(self.now + self.random.below(40)));
        let rest = |status| Next::Rest { status, wake_at };
        match now {
            RunStatus::Running if self.random.one_in(3) => rest(Rest::Waiting),
            RunStatus::Running | RunStatus::Pending => Next::Running,
            RunStatus::Interrupted => rest(Rest::Interrupted),
            RunStatus::Error | RunStatus::Timeout => rest(Rest::Failed),
            RunStatus::Success | RunStatus::Cancelled | RunStatus::RolledBack => {
                if self.random.one_in(3) { Next::Running } else { rest(Rest::Idle) }
            }
        }
    }
}

type Fences = Vec<(ThreadId, Fence)>;

/// What it answered, in words that every store has in common, and the fences that it gave.
async fn perform(store: &impl Store, command: &Command) -> (String, Fences) {
    let mut fences = Vec::new();
    let answer = match command.clone() {
        Command::Submit(run) => say(store.submit(run).await),
        Command::Claim(claim) => {
            let claimed = store.claim(claim).await.unwrap();
            fences.extend(claimed.iter().map(|it| (it.loaded.thread.id, it.fence)));
            let mut claimed: Vec<_> =
                claimed.into_iter().map(|it| (it.fence, common(it.loaded))).collect();
            claimed.sort_by_key(|(_, (thread, ..))| thread.id);
            format!("{claimed:?}")
        }
        Command::Take(thread, claim) => match store.take(thread, claim).await.unwrap() {
            Taken::Yours(claimed) => {
                fences.push((thread, claimed.fence));
                format!("{:?} {:?}", claimed.fence, common(claimed.loaded))
            }
            other @ (Taken::Busy | Taken::NoThread) => format!("{other:?}"),
        },
        Command::Renew(worker, now) => say(store.renew(worker, at(now), at(now + 10)).await),
        Command::Release(worker) => say(store.release(worker).await),
        Command::Succeed(name, worker) => say(store.succeed(name, worker).await),
        Command::Commit(commit) => say(store.commit(*commit).await),
        Command::Journal(thread, fence, key, effect) => {
            say(store.journal(thread, fence, &key, effect).await)
        }
        Command::Signal(thread, signal) => say(store.signal(thread, signal).await),
        Command::Create(thread) => say(store.create(thread).await),
        Command::Copy(from, to) => say(store.copy(from, to).await),
        Command::Delete(thread) => say(store.delete(thread).await),
        Command::Prune(thread, keep) => say(store.prune(thread, keep).await),
        Command::Sweep(now) => say(store.sweep(at(now), 9).await),
        Command::DeleteRun(run) => say(store.delete_run(run).await),
    };
    (answer, fences)
}

fn say<T: Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Refused(_)) => "refused".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Where a line begins is the store's affair.
fn common(loaded: Loaded) -> (Thread, String) {
    let Loaded { thread, line, journal, inbox, interrupts, runs } = loaded;
    let head = line.entries.last().map(|entry| entry.seq);
    let head = head.or_else(|| line.snapshot.as_ref().map(|snapshot| snapshot.seq));
    let state = states(&line);
    (thread, format!("{head:?} {state:?} {journal:?} {inbox:?} {interrupts:?} {runs:?}"))
}

async fn everything(store: &impl Store) -> Vec<String> {
    let mut all = Vec::new();
    for order in [Order::CreatedNewest, Order::UpdatedOldest] {
        let query = ThreadQuery { max: 99, order, ..ThreadQuery::default() };
        all.push(format!("{:?}", store.threads(query).await.unwrap()));
    }
    let query = RunQuery { max: 999, ..RunQuery::default() };
    all.push(format!("{:?}", store.runs(query).await.unwrap()));
    all.push(format!("{:?}", store.questions(None, 99).await.unwrap()));
    all.push(format!("{:?}", store.next_wake().await.unwrap()));
    for worker in WORKERS {
        let mut mail = store.mail(worker).await.unwrap();
        mail.sort();
        all.push(format!("{worker}: {mail:?}"));
    }
    for number in (1..=u8::try_from(THREADS).unwrap()).chain([9]) {
        let thread = thread_id(number);
        let Some(loaded) = store.load(thread).await.unwrap() else { continue };
        let last = loaded.thread.seq.0;
        all.push(format!("{:?}", common(loaded)));
        let events = store.events(thread, None, EventId::default(), 999).await.unwrap();
        all.push(format!("{events:?}"));
        let query = CheckpointQuery { max: 999, metadata: Map::new(), ..Default::default() };
        all.push(format!("{:?}", store.checkpoints(thread, query).await.unwrap()));
        for seq in 0..=last {
            let at = At::Seq(Seq(seq));
            let root = store.line(thread, at, From::Root).await.unwrap();
            let short = store.line(thread, at, From::Snapshot).await.unwrap();
            assert_eq!(short.as_ref().map(states), root.as_ref().map(states), "{thread} at {seq}");
            let progress = store.progress(thread, at).await.unwrap();
            all.push(format!("{thread} at {seq}: {root:?} {progress:?}"));
        }
    }
    all
}
