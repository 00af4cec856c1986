//! What is loaded from the log is what was in memory, and a crash after any commit changes nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use agentry_core::run::{Fence, Seq};
use agentry_core::thread::{Entry, Line};
use agentry_core::{Clock, RunId, ThreadId, Timestamp};
use agentry_engine::context::Surround;
use agentry_engine::effect::{Forgetful, Journal};
use agentry_engine::machine::{
    Action, Decision, Happened, Home, Machine, Record, Rests, Start, Submission,
};
use agentry_engine::{Program, Request};
use tokio_util::sync::CancellationToken;

use crate::build::{Calls, program};
use crate::graphs::{Dice, further, scenario};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);
const GRAPHS: u64 = 1_000;
const ROUNDS: usize = 3;

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// A machine, its log, and the tasks that would run now.
struct World {
    program: Program,
    machine: Machine,
    log: Vec<Entry>,
    tasks: VecDeque<Start>,
    around: Surround,
    /// Whether each state is compared with what is loaded.
    compares: bool,
}

fn home(head: u64) -> Home {
    Home { thread: ThreadId::derived(NOW, "thread"), fence: Fence(1), head: Seq(head) }
}

impl World {
    fn new(program: Program, compares: bool) -> Self {
        let journal = Journal::new("thread".to_owned(), BTreeMap::new(), Arc::new(Forgetful));
        let (clock, journal) = (Arc::new(Still), Arc::new(journal));
        Self {
            machine: Machine::new(program.clone(), home(0), Record::Commits),
            program,
            log: Vec::new(),
            tasks: VecDeque::new(),
            around: Surround::new(clock, journal),
            compares,
        }
    }

    /// Stores and performs a decision.
    fn keep(&mut self, decision: Decision, seed: u64) {
        if let Some(commit) = decision.commit {
            self.log.push(commit.entry);
        }
        if self.compares {
            let loaded = self.load(self.log.len());
            assert_eq!(
                loaded.image(),
                self.machine.image(),
                "seed {seed} after {}",
                self.log.len()
            );
            let line = Line { snapshot: Some(self.machine.snapshot()), entries: Vec::new() };
            let restored =
                Machine::load(self.program.clone(), home(0), Record::Commits, &line).unwrap();
            assert_eq!(restored.image(), self.machine.image(), "snapshot of seed {seed}");
        }
        for action in decision.actions {
            if let Action::Start(start) = action {
                self.tasks.push_back(*start);
            }
        }
    }

    fn load(&self, entries: usize) -> Machine {
        let line = Line { snapshot: None, entries: self.log[..entries].to_vec() };
        Machine::load(self.program.clone(), home(0), Record::Commits, &line).unwrap()
    }

    /// The process ends and another one takes the thread.
    fn crash(&mut self, seed: u64) {
        self.machine = self.load(self.log.len());
        self.tasks.clear();
        let decision = self.machine.step(Happened::Claimed, NOW);
        self.keep(decision, seed);
    }

    fn begin(&mut self, request: Request, seed: u64) {
        let run = RunId::derived(NOW, &format!("{}", self.log.len()));
        if let Ok(decision) = self.machine.begin(Submission::new(run, request), NOW) {
            self.keep(decision, seed);
        }
    }

    /// Goes on until nothing is left to do, and crashes after the entries that `crashes` wants.
    async fn go(&mut self, seed: u64, crashes: impl Fn(usize) -> bool) {
        let mut crashed = 0;
        while *self.machine.rests() == Rests::Running {
            if self.log.len() > crashed && crashes(self.log.len()) {
                crashed = self.log.len();
                self.crash(seed);
            }
            let Some(start) = self.tasks.pop_front() else { panic!("seed {seed} stands still") };
            let ended = start.run(self.around.clone(), CancellationToken::new()).await;
            let decision = self.machine.step(Happened::Ended(vec![ended]), NOW);
            self.keep(decision, seed);
        }
    }

    /// Where it came to, without ids: those depend on the order in which tasks that run side by side end.
    fn outcome(&self) -> String {
        let text = format!("{} {:?}", self.machine.image(), self.machine.rests());
        let of_id = |c: char| c.is_ascii_hexdigit() || c == '-';
        let parts = text.split(|c: char| !of_id(c)).filter(|part| part.len() >= 32);
        let ids: Vec<String> = parts.map(str::to_owned).collect();
        ids.iter().fold(text, |text, id| text.replace(id, "ID"))
    }
}

async fn play(
    seed: u64,
    compares: bool,
    crashes: impl Fn(usize) -> bool + Copy,
) -> (String, usize) {
    let scenario = scenario(seed);
    let mut dice = Dice::new(seed ^ 0xabcd);
    let mut world = World::new(program(&scenario, &Calls::default()).unwrap(), compares);
    let input = scenario["runs"][0]["input"].as_object().unwrap().clone();
    world.begin(Request::Input(input), seed);
    for _ in 0..ROUNDS {
        world.go(seed, crashes).await;
        let view = world.machine.view("").unwrap();
        let asked = view.interrupts().into_iter().map(|asked| asked.id.clone()).collect();
        let request = further(asked, &mut dice);
        world.begin(request, seed);
    }
    world.go(seed, crashes).await;
    (world.outcome(), world.log.len())
}

#[tokio::test]
async fn a_crash_after_any_commit_changes_nothing() {
    for seed in 0..GRAPHS {
        let (expected, entries) = play(seed, true, |_| false).await;
        let (always, _) = play(seed, false, |_| true).await;
        assert_eq!(always, expected, "seed {seed}, crashing after every commit");
        let at = usize::try_from(seed).unwrap() % entries + 1;
        let (once, _) = play(seed, false, |entry| entry == at).await;
        assert_eq!(once, expected, "seed {seed}, crashing after commit {at}");
    }
}
