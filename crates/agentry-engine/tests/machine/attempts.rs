//! Graphs in nodes that are tried again, and that are given up after their time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentry_core::run::{Answer, Fence, Seq};
use agentry_core::thread::{Entry, Line};
use agentry_core::{Clock, RunId, ThreadId, Timestamp};
use agentry_engine::context::Surround;
use agentry_engine::effect::{Forgetful, Journal};
use agentry_engine::graph::{Memory, Returns};
use agentry_engine::machine::{
    Action, Decision, Happened, Home, Machine, Mail, Record, Rests, Start, Submission,
};
use agentry_engine::node::from_fn;
use agentry_engine::{
    Ask, END, Graph, GraphBuilder, Node, NodeError, NodeOutput, NodeSettings, Program, Reducer,
    Request, START,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const HOME: &str = "thread";

#[derive(Clone)]
struct Hand(Arc<Mutex<Timestamp>>);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A thread whose every decision is compared with what is loaded, and that crashes after each where that is wanted.
struct World {
    program: Program,
    machine: Machine,
    log: Vec<Entry>,
    tasks: VecDeque<Start>,
    clock: Hand,
    crashes: bool,
}

fn home(head: u64) -> Home {
    let thread = ThreadId::derived(Timestamp::from_seconds(1_700_000_000), HOME);
    Home { thread, fence: Fence(1), head: Seq(head) }
}

impl World {
    fn new(program: Program, crashes: bool) -> Self {
        let clock = Hand(Arc::new(Mutex::new(Timestamp::from_seconds(1_700_000_000))));
        let machine = Machine::new(program.clone(), home(0), Record::Commits);
        Self { program, machine, log: Vec::new(), tasks: VecDeque::new(), clock, crashes }
    }

    fn load(&self) -> Machine {
        let line = Line { snapshot: None, entries: self.log.clone() };
        Machine::load(self.program.clone(), home(0), Record::Commits, &line).unwrap()
    }

    fn keep(&mut self, decision: Decision) {
        let wrote = decision.commit.is_some();
        self.log.extend(decision.commit.map(|commit| commit.entry));
        let loaded = self.load();
        assert_eq!(loaded.image(), self.machine.image(), "after {} entries", self.log.len());
        assert_eq!(loaded.wake_at(), self.machine.wake_at(), "after {} entries", self.log.len());
        for action in decision.actions {
            match action {
                Action::Start(start) => self.tasks.push_back(*start),
                Action::Abort(key) => self.tasks.retain(|start| start.key() != key),
                Action::Cancel(_) => {}
            }
        }
        if wrote && self.crashes && *self.machine.rests() == Rests::Running {
            self.machine = self.load();
            self.tasks.clear();
            let now = self.clock.now();
            let decision = self.machine.step(Happened::Claimed, now);
            assert!(decision.commit.is_none(), "taking it up decides nothing");
            self.tasks.extend(decision.actions.into_iter().filter_map(|action| match action {
                Action::Start(start) => Some(*start),
                Action::Cancel(_) | Action::Abort(_) => None,
            }));
        }
    }

    fn begin(&mut self, request: Request) {
        let now = self.clock.now();
        let run = RunId::derived(now, &format!("{}", self.log.len()));
        let decision = self.machine.begin(Submission::new(run, request), now).unwrap();
        self.keep(decision);
    }

    fn step(&mut self, happened: Happened) {
        let decision = self.machine.step(happened, self.clock.now());
        self.keep(decision);
    }

    /// To the next moment at which something is due.
    fn wait(&mut self) {
        let moment = self.machine.wake_at().unwrap();
        let mut now = self.clock.0.lock().unwrap();
        *now = moment.max(*now);
        drop(now);
        self.step(Happened::Tick);
    }

    /// Until it rests, also over pauses; questions stand.
    async fn go(&mut self) -> Rests {
        loop {
            match self.machine.rests() {
                Rests::Running | Rests::Waiting => {}
                other => return other.clone(),
            }
            let Some(start) = self.tasks.pop_front() else {
                self.wait();
                continue;
            };
            let journal = Journal::new(HOME.to_owned(), BTreeMap::new(), Arc::new(Forgetful));
            let around = Surround::new(Arc::new(self.clock.clone()), Arc::new(journal));
            let ended = start.run(around, CancellationToken::new()).await;
            self.step(Happened::Ended(vec![ended]));
        }
    }

    fn answer(&mut self, value: Value) {
        let view = self.machine.view("").unwrap();
        let asked: Vec<_> = view.interrupts().into_iter().map(|asked| asked.id.clone()).collect();
        let [id] = asked.as_slice() else { panic!("{asked:?}") };
        let answer = Answer { value, actor: "ada".to_owned(), at: self.clock.now() };
        let answers = vec![(id.clone(), answer)];
        self.step(Happened::Mail(Mail { answers, ..Mail::default() }));
    }

    fn log(&self) -> Value {
        self.machine.values().get("log").cloned().unwrap_or_default()
    }
}

fn channels(name: &str) -> GraphBuilder {
    Graph::builder(name).channel_from("log", Reducer::Append, json!([]))
}

fn says(word: &'static str, count: &Arc<AtomicUsize>) -> impl Node + use<> {
    let count = Arc::clone(count);
    from_fn(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { Ok(NodeOutput::done().append("log", word)) })
    })
}

/// Fails for good as often as `left` says.
fn fails(word: &'static str, left: &Arc<AtomicUsize>) -> impl Node + use<> {
    let left = Arc::clone(left);
    from_fn(move |_, _| {
        let before = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1));
        Box::pin(async move {
            match before {
                Ok(_) => Err(NodeError::fatal("not yet")),
                Err(_) => Ok(NodeOutput::done().append("log", word)),
            }
        })
    })
}

fn around(settings: NodeSettings, inner: Program) -> GraphBuilder {
    channels("outer")
        .subgraph_with("sub", settings, (inner, Memory::Visit, Returns::Added))
        .edge(START, "sub")
}

fn tried(times: u32) -> NodeSettings {
    NodeSettings::default().attempts(times, Duration::from_millis(100))
}

#[tokio::test]
async fn another_attempt_at_a_graph_goes_on_with_what_has_failed_in_it() {
    let check =
        async |failures: usize, times: u32, crashes: bool, expected: Result<Value, &str>| {
            let (done, left) = (Arc::default(), Arc::new(AtomicUsize::new(failures)));
            let deep = channels("deep").node("risky", fails("risky", &left)).edge(START, "risky");
            let inner = channels("inner")
                .node("first", says("first", &done))
                .subgraph("deep", deep.edge("risky", END).build().unwrap())
                .node("last", says("last", &done))
                .fan_out(START, ["first", "deep"])
                .join(["first", "deep"], "last")
                .edge("last", END)
                .build()
                .unwrap();
            let outer = around(tried(times), inner).edge("sub", END).build().unwrap();
            let mut world = World::new(outer, crashes);
            world.begin(Request::Input(serde_json::Map::new()));
            let rests = world.go().await;
            match expected {
                Ok(log) => {
                    assert_eq!((rests, world.log()), (Rests::Idle, log));
                    assert_eq!(done.load(Ordering::SeqCst), 2, "what was done is not done again");
                }
                Err(reason) => {
                    let Rests::Failed(failed) = rests else { panic!("{rests:?}") };
                    assert_eq!(failed.message, reason);
                    assert_eq!(left.load(Ordering::SeqCst), 0, "each attempt was made");
                }
            }
        };
    for crashes in [false, true] {
        let all = || Ok(json!(["risky", "first", "last"]));
        check(0, 1, crashes, all()).await;
        check(1, 2, crashes, all()).await;
        check(2, 3, crashes, all()).await;
        check(3, 3, crashes, Err("`risky` failed: not yet")).await;
    }
}

/// Asks, in a graph that is given up a second later.
fn asking(settings: NodeSettings) -> GraphBuilder {
    let ask = from_fn(|cx, _| {
        let said = cx.answer("ok").map(|reply| reply.value.clone());
        Box::pin(async move {
            Ok(match said {
                Some(value) => NodeOutput::done().append("log", value),
                None => NodeOutput::ask(Ask::question("ok", "go on?")),
            })
        })
    });
    let inner = channels("inner").node("ask", ask).edge(START, "ask").edge("ask", END);
    around(settings.deadline(Duration::from_secs(1)), inner.build().unwrap())
}

#[tokio::test]
async fn a_graph_that_asks_for_too_long_is_given_up_and_asks_anew() {
    let mut world = World::new(asking(tried(2)).edge("sub", END).build().unwrap(), false);
    world.begin(Request::Input(serde_json::Map::new()));
    assert_eq!(world.go().await, Rests::Interrupted);
    world.wait();
    assert_eq!(world.go().await, Rests::Interrupted, "it asks once more");
    world.wait();
    let Rests::Failed(failed) = world.go().await else { panic!("{:?}", world.machine.rests()) };
    assert_eq!(failed.message, "`ask` failed: the graph in `sub` took longer than 1000 ms");
    assert_eq!(world.machine.wake_at(), None);
    // A further run has all the time again, and each of its attempts.
    world.begin(Request::GoOn);
    assert_eq!(world.go().await, Rests::Interrupted);
    world.wait();
    assert_eq!(world.go().await, Rests::Interrupted);
    world.answer(json!("yes"));
    assert_eq!((world.go().await, world.log()), (Rests::Idle, json!(["yes"])));
    assert_eq!(world.machine.wake_at(), None);
}

#[tokio::test]
async fn another_node_takes_the_place_of_a_graph_that_took_too_long() {
    let reason = from_fn(|cx, _| {
        let why = cx.failure().map(|failure| failure.message.clone());
        Box::pin(async move { Ok(NodeOutput::done().append("log", json!(why))) })
    });
    let settings = NodeSettings::default().on_error("mend");
    let outer = asking(settings).open_ended().node("mend", reason).edge("sub", END);
    let mut world = World::new(outer.build().unwrap(), false);
    world.begin(Request::Input(serde_json::Map::new()));
    assert_eq!(world.go().await, Rests::Interrupted);
    world.wait();
    let expected = json!(["`ask` failed: the graph in `sub` took longer than 1000 ms"]);
    assert_eq!((world.go().await, world.log()), (Rests::Idle, expected));
}

#[tokio::test]
async fn what_runs_in_a_graph_that_took_too_long_is_dropped() {
    let never = from_fn(|_, _| Box::pin(std::future::pending()));
    let inner = channels("inner").node("never", never).edge(START, "never").edge("never", END);
    let settings = NodeSettings::default().deadline(Duration::from_secs(1));
    let outer = around(settings, inner.build().unwrap()).edge("sub", END).build().unwrap();
    let mut world = World::new(outer, false);
    world.begin(Request::Input(serde_json::Map::new()));
    assert_eq!(world.tasks.len(), 1);
    world.wait();
    assert!(world.tasks.is_empty(), "it is aborted");
    assert!(matches!(world.machine.rests(), Rests::Failed(_)), "{:?}", world.machine.rests());
}
