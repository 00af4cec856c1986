//! Graphs by seed: chains, fans, loops and maps of nodes that fail, sleep, ask, wait and act.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::run::Values;
use agentry_engine::effect;
use agentry_engine::graph::Test;
use agentry_engine::{
    Ask, Class, Condition, END, Goto, Graph, GraphBuilder, Node, NodeContext, NodeError,
    NodeOutput, NodeSettings, Program, Reducer, START,
};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::history::History;
use crate::outside::Outside;

/// Who sees what nodes do.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) outside: Arc<Outside>,
    pub(crate) history: Arc<History>,
    /// Whether questions expire.
    pub(crate) hurries: bool,
}

#[derive(Debug, Clone)]
enum Op {
    Sleep(Duration),
    /// Comes to nothing as often as this.
    Fail(u32),
    Act {
        class: Class,
        refuses: bool,
    },
    /// Asks a person, who may take as long as the first of these or for ever, and then others.
    Ask(Vec<Duration>),
    Wait(Duration),
}

struct Player {
    graph: String,
    ops: Vec<Op>,
    counter: Option<String>,
    stage: Stage,
}

impl Player {
    fn place(&self, cx: &NodeContext) -> String {
        let arg = cx.arg().map(|arg| format!("#{}", arg["number"])).unwrap_or_default();
        format!("{}/{}@{}{arg}", self.graph, cx.node(), cx.superstep())
    }

    async fn act(
        &self,
        cx: &NodeContext,
        (place, index): (&str, usize),
        (class, refuses): (Class, bool),
    ) -> Result<Value, NodeError> {
        let name = format!("{place}.{index}");
        let world = async |key: String| {
            tokio::task::yield_now().await;
            self.stage.outside.act((&name, key), (class, refuses), &self.stage.history)
        };
        match cx.effect(&index.to_string(), class, world).await {
            Ok(value) => Ok(value),
            Err(effect::Error::Ambiguous { .. }) => Ok(json!("ambiguous")),
            Err(other) => Err(other.into()),
        }
    }
}

#[async_trait]
impl Node for Player {
    async fn run(&self, cx: &NodeContext, _: &Values) -> Result<NodeOutput, NodeError> {
        let place = self.place(cx);
        let mut output = NodeOutput::done().append("log", place.as_str());
        for (index, op) in self.ops.iter().enumerate() {
            match op {
                Op::Sleep(span) => tokio::time::sleep(*span).await,
                Op::Fail(times) if cx.attempt() <= *times => {
                    return Err(NodeError::transient("not yet"));
                }
                Op::Fail(_) => {}
                Op::Act { class, refuses } => {
                    let outcome = self.act(cx, (&place, index), (*class, *refuses)).await?;
                    output = output.update("acts", json!({ format!("{place}.{index}"): outcome }));
                }
                Op::Ask(patience) => {
                    let question = format!("{place}.{index}?");
                    let mut ask = Ask::question("", question.as_str());
                    if let Some((first, others)) =
                        patience.split_first().filter(|_| self.stage.hurries)
                    {
                        ask = ask.deadline(cx.now().plus(*first), "nobody answered");
                        ask = others.iter().fold(ask, |ask, span| ask.escalate("next", *span));
                    }
                    let answer = cx.interrupt_with(ask)?;
                    output = output.update("answers", json!({ question: answer }));
                }
                Op::Wait(span) => {
                    cx.interrupt_with(Ask::until("", cx.now().plus(*span)))?;
                }
            }
        }
        if let Some(counter) = &self.counter {
            output = output.update(counter, 1);
        }
        Ok(output)
    }
}

struct Builder {
    name: String,
    dice: Dice,
    stage: Stage,
    graph: GraphBuilder,
    nodes: usize,
    /// Whether it may hold graphs in nodes: every fourth seed does.
    outer: bool,
}

impl Builder {
    fn new(seed: u64, name: &str, stage: &Stage) -> Self {
        let graph = Graph::builder(name)
            .channel("log", Reducer::Append)
            .channel("acts", Reducer::Merge)
            .channel("answers", Reducer::Merge);
        let (dice, stage) = (Dice::new(seed, name), stage.clone());
        Self { name: name.to_owned(), dice, stage, graph, nodes: 0, outer: seed % 4 == 2 }
    }

    fn build(mut self, stages_max: u64) -> Program {
        let mut last = START.to_owned();
        for _ in 0..self.dice.between(1, stages_max) {
            last = self.stage(&last);
        }
        self.graph.edge(&last, END).build().unwrap()
    }

    fn name(&mut self, kind: &str) -> String {
        self.nodes += 1;
        format!("{kind}{}", self.nodes)
    }

    fn ops(&mut self) -> Vec<Op> {
        let dice = &mut self.dice;
        let op = |dice: &mut Dice| match dice.below(10) {
            0 | 1 => Op::Sleep(dice.span(1, 4_000)),
            2 => Op::Fail(dice.between(1, 2) as u32),
            3 | 4 => Op::Act { class: Class::Idempotent, refuses: dice.chance(200) },
            5..=7 => Op::Act { class: Class::Once, refuses: dice.chance(200) },
            8 => {
                let asked = if dice.chance(300) { dice.between(1, 3) } else { 0 };
                Op::Ask((0..asked).map(|_| dice.span(500, 20_000)).collect())
            }
            _ => Op::Wait(dice.span(10, 9_000)),
        };
        (0..dice.below(4)).map(|_| op(dice)).collect()
    }

    fn player(&mut self, name: &str, counter: Option<String>) {
        let ops = self.ops();
        let (graph, stage) = (self.name.clone(), self.stage.clone());
        let player = Player { graph, ops, counter, stage };
        let settings = NodeSettings::default().attempts(20, Duration::from_millis(40));
        self.take(|graph| graph.node_with(name, settings, player));
    }

    fn take(&mut self, change: impl FnOnce(GraphBuilder) -> GraphBuilder) {
        let graph = std::mem::replace(&mut self.graph, Graph::builder("none"));
        self.graph = change(graph);
    }

    /// Adds a graph in a node.
    fn nest(&mut self, from: &str) -> String {
        let name = self.name("inner");
        let inner = format!("{}/{name}", self.name);
        let mut builder = Self::new(self.dice.below(u64::MAX), &inner, &self.stage);
        builder.outer = false;
        let program = builder.build(2);
        self.take(|graph| graph.edge(from, &name).subgraph(&name, program));
        name
    }

    /// Adds nodes after `from`; answers the node that comes last.
    fn stage(&mut self, from: &str) -> String {
        if self.outer && self.dice.chance(300) {
            return self.nest(from);
        }
        match self.dice.below(5) {
            0 | 1 => {
                let name = self.name("chain");
                self.player(&name, None);
                self.take(|graph| graph.edge(from, &name));
                name
            }
            2 => {
                let side: Vec<String> =
                    (0..self.dice.between(2, 4)).map(|_| self.name("side")).collect();
                let join = self.name("join");
                for name in &side {
                    self.player(name, None);
                    self.take(|graph| graph.edge(from, name));
                }
                self.player(&join, None);
                self.take(|graph| graph.join(side.iter().map(String::as_str), &join));
                join
            }
            3 => {
                let (name, after) = (self.name("loop"), self.name("after"));
                let counter = format!("{name}_count");
                let rounds = self.dice.between(1, 3) as i64;
                let again = Condition::new(&counter, Test::Below(rounds));
                self.player(&name, Some(counter.clone()));
                self.player(&after, None);
                self.take(|graph| {
                    let graph = graph.channel_from(&counter, Reducer::Sum, 0).edge(from, &name);
                    graph.when(&name, again, &name).otherwise(&name, &after)
                });
                after
            }
            _ => {
                let (map, each, reduce) =
                    (self.name("map"), self.name("each"), self.name("reduce"));
                let (sends, to) = (self.dice.between(1, 4), each.clone());
                for name in [&map, &each, &reduce] {
                    self.player(name, None);
                }
                let routes = move |_: &Values| {
                    let send = |number| Goto::send(&to, json!({ "number": number }));
                    Ok((0..sends).map(send).collect())
                };
                self.take(|graph| {
                    let router = format!("{map}_router");
                    let graph = graph.edge(from, &map).branch(&map, &router, [&*each], routes);
                    graph.edge(&each, &reduce)
                });
                reduce
            }
        }
    }
}

/// A graph whose state at the end depends on nothing but the answers that it was given.
pub(crate) fn alone(seed: u64, name: &str, stage: &Stage) -> Program {
    Builder::new(seed, name, stage).build(4)
}

/// A graph for many runs on one thread: each says once that it is there and once that it is done, and acts between.
pub(crate) fn shared(stage: &Stage) -> Program {
    let stage = stage.clone();
    let work = agentry_engine::node::from_fn(move |cx, _| {
        let stage = stage.clone();
        Box::pin(async move {
            let name = act_of(&cx.run().to_string());
            let world = async |key: String| {
                let once = (Class::Once, false);
                stage.outside.act((&name, key), once, &stage.history)
            };
            let outcome = match cx.effect("pay", Class::Once, world).await {
                Ok(value) => value,
                Err(effect::Error::Ambiguous { .. }) => json!("ambiguous"),
                Err(other) => return Err(other.into()),
            };
            tokio::time::sleep(Duration::from_millis(u64::from(cx.run().as_bytes()[15]) * 8)).await;
            Ok(NodeOutput::done().update("acts", json!({ cx.run().to_string(): outcome })))
        })
    });
    let done = agentry_engine::node::from_fn(|cx, _| {
        Box::pin(async move { Ok(NodeOutput::done().append("done", cx.run().to_string())) })
    });
    Graph::builder("shared")
        .channel("seen", Reducer::Append)
        .channel("done", Reducer::Append)
        .channel("acts", Reducer::Merge)
        .node("work", work)
        .node("done", done)
        .edge(START, "work")
        .edge("work", "done")
        .edge("done", END)
        .build()
        .unwrap()
}

/// What a run on a shared thread does in the world.
pub(crate) fn act_of(run: &str) -> String {
    format!("pay for {run}")
}
