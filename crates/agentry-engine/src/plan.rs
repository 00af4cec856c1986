//! A program made ready to run: names are numbers, and what follows a node is found without looking at the rest.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use agentry_core::run::Values;
use serde_json::Value;

use crate::Node;
use crate::graph::{
    Condition, END, Edge, Graph, Memory, NodeSettings, Pace, Reducer, START, Siblings,
};
use crate::node::{Goto, NodeError};
use crate::program::{Inner, Router};
use crate::reducer::Folds;
use crate::unkept::Unkept;

/// A node's number. They are numbered in the order of their names.
pub(crate) type NodeIx = u32;
/// Stands for the node that takes the input.
pub(crate) const START_IX: NodeIx = u32::MAX;

pub(crate) struct Plan {
    pub name: String,
    pub nodes: Vec<Step>,
    pub start: Ways,
    pub joins: Vec<Join>,
    pub channels: HashMap<String, Channel>,
    pub initial: Vec<(String, Value)>,
    pub folds: Folds,
    pub pace: Pace,
    pub siblings: Siblings,
    pub steps_max: u32,
    /// The channel of what runs are given to go by.
    pub config: Option<String>,
    /// Nodes before and after which every run stops.
    pub before: Vec<String>,
    pub after: Vec<String>,
    by_name: HashMap<Arc<str>, NodeIx>,
}

pub(crate) struct Step {
    pub name: Arc<str>,
    pub settings: NodeSettings,
    pub work: Work,
    pub ways: Ways,
    /// The joins that lead here.
    pub joined: Vec<u32>,
    pub handler: Option<NodeIx>,
}

pub(crate) enum Work {
    Node(Arc<dyn Node>),
    Graph(Inner),
    /// Only where a graph was built without it, which [`GraphBuilder::build`](crate::GraphBuilder::build) refuses.
    Missing,
}

/// Where a node leads.
#[derive(Default)]
pub(crate) struct Ways {
    pub plain: Vec<NodeIx>,
    pub joins: Vec<u32>,
    pub branches: Vec<Branch>,
}

pub(crate) enum Branch {
    /// The first condition that holds; `None` is the end.
    First {
        when: Vec<(Condition, Option<NodeIx>)>,
        otherwise: Vec<Option<NodeIx>>,
    },
    Router {
        name: String,
        router: Router,
        to: Vec<String>,
    },
}

pub(crate) struct Join {
    pub name: String,
    pub from: Vec<NodeIx>,
    pub to: NodeIx,
}

pub(crate) struct Channel {
    pub number: usize,
    pub reducer: Reducer,
}

/// What a plan is made of beside the graph.
pub(crate) struct Parts<'a> {
    pub nodes: &'a BTreeMap<String, Arc<dyn Node>>,
    pub routers: &'a BTreeMap<String, Router>,
    pub subgraphs: &'a BTreeMap<String, Inner>,
    pub folds: Folds,
}

impl Plan {
    pub(crate) fn new(graph: &Graph, parts: Parts<'_>) -> Self {
        let names: Vec<Arc<str>> =
            graph.nodes.keys().map(|name| Arc::from(name.as_str())).collect();
        let by_name: HashMap<_, _> = names.iter().cloned().zip(0..).collect();
        let mut joins: Vec<Join> = Vec::new();
        for edge in &graph.edges {
            if let Edge::Join { from, to } = edge
                && let Some(to_ix) = by_name.get(to.as_str())
            {
                let name = format!("join:{}:{to}", from.join("+"));
                let from =
                    from.iter().filter_map(|one| by_name.get(one.as_str()).copied()).collect();
                if joins.iter().all(|join| join.name != name) {
                    joins.push(Join { name, from, to: *to_ix });
                }
            }
        }
        let ways = |node: &str| {
            Ways::of(graph, (node, by_name.get(node).copied()), &joins, &(&by_name, parts.routers))
        };
        let steps =
            graph.nodes.iter().zip(&names).zip(0..).map(|(((name, settings), shared), ix)| {
                let off = settings.subgraph.as_ref().filter(|inner| inner.memory == Memory::Off);
                let work = match (parts.nodes.get(name), parts.subgraphs.get(name)) {
                    (_, Some(inner)) if off.is_some() => Work::Node(Arc::new(Unkept {
                        program: inner.program.clone(),
                        returns: off.map(|inner| inner.returns).unwrap_or_default(),
                        channels: graph.channels.keys().cloned().collect(),
                    })),
                    (_, Some(inner)) => Work::Graph(inner.clone()),
                    (Some(node), None) => Work::Node(Arc::clone(node)),
                    (None, None) => Work::Missing,
                };
                let joined = joins.iter().zip(0..).filter(|(join, _)| join.to == ix);
                let handler = settings.on_error.as_ref();
                Step {
                    name: Arc::clone(shared),
                    settings: settings.clone(),
                    work,
                    ways: ways(name),
                    joined: joined.map(|(_, number)| number).collect(),
                    handler: handler.and_then(|name| by_name.get(name.as_str()).copied()),
                }
            });
        let nodes = steps.collect();
        let channels = graph.channels.iter().enumerate().map(|(number, (name, reducer))| {
            (name.clone(), Channel { number, reducer: reducer.clone() })
        });
        Self {
            name: graph.name.clone(),
            nodes,
            start: ways(START),
            channels: channels.collect(),
            initial: graph
                .initial
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            folds: parts.folds,
            pace: graph.pace,
            siblings: graph.siblings,
            steps_max: graph.steps_max,
            config: graph.config.clone(),
            before: graph.stop_before.clone(),
            after: graph.stop_after.clone(),
            joins,
            by_name,
        }
    }

    pub(crate) fn node(&self, ix: NodeIx) -> Option<&Step> {
        self.nodes.get(usize::try_from(ix).ok()?)
    }

    pub(crate) fn find(&self, name: &str) -> Option<NodeIx> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn join(&self, number: u32) -> Option<&Join> {
        self.joins.get(usize::try_from(number).ok()?)
    }

    pub(crate) fn find_join(&self, name: &str) -> Option<u32> {
        self.joins.iter().zip(0..).find(|(join, _)| join.name == name).map(|(_, number)| number)
    }

    pub(crate) fn ways(&self, ix: NodeIx) -> Option<&Ways> {
        if ix == START_IX { Some(&self.start) } else { self.node(ix).map(|node| &node.ways) }
    }

    pub(crate) fn shared_name(&self, ix: NodeIx) -> Arc<str> {
        self.node(ix).map_or_else(|| Arc::from(INPUT), |node| Arc::clone(&node.name))
    }

    /// As people know it.
    pub(crate) fn name_of(&self, ix: NodeIx) -> &str {
        if ix == START_IX { INPUT } else { self.node(ix).map_or("", |node| &node.name) }
    }

    pub(crate) fn is_deferred(&self, ix: NodeIx) -> bool {
        self.node(ix).is_some_and(|node| node.settings.deferred)
    }

    /// What makes a node run, as people know it.
    pub(crate) fn triggers(&self, ix: NodeIx) -> Vec<String> {
        let Some(node) = self.node(ix) else { return Vec::new() };
        let joins = node.joined.iter().filter_map(|number| self.join(*number));
        let mut names = vec![format!("branch:to:{}", node.name)];
        names.extend(joins.map(|join| join.name.clone()));
        names.sort();
        names
    }
}

/// The node that takes the input, as people know it.
pub(crate) const INPUT: &str = "__start__";

impl Ways {
    fn of(
        graph: &Graph,
        (node, ix): (&str, Option<NodeIx>),
        joins: &[Join],
        (names, routers): &(&HashMap<Arc<str>, NodeIx>, &BTreeMap<String, Router>),
    ) -> Self {
        let mut ways = Self::default();
        let target = |name: &str| names.get(name).copied();
        let mut when = Vec::new();
        let mut otherwise = Vec::new();
        for edge in &graph.edges {
            match edge {
                Edge::Plain { from, to } if from == node => ways.plain.extend(target(to)),
                Edge::When { from, condition, to } if from == node => {
                    when.push((condition.clone(), target(to)));
                }
                Edge::Otherwise { from, to } if from == node => otherwise.push(target(to)),
                Edge::Choose { from, router, to } if from == node => {
                    ways.branches.extend(routers.get(router).map(|function| Branch::Router {
                        name: router.clone(),
                        router: Arc::clone(function),
                        to: to.clone(),
                    }));
                }
                Edge::Plain { .. }
                | Edge::When { .. }
                | Edge::Otherwise { .. }
                | Edge::Choose { .. }
                | Edge::Join { .. } => {}
            }
        }
        if !when.is_empty() || !otherwise.is_empty() {
            ways.branches.push(Branch::First { when, otherwise });
        }
        let mine = |join: &Join| ix.is_some_and(|ix| join.from.contains(&ix));
        ways.joins = joins
            .iter()
            .zip(0..)
            .filter(|(join, _)| mine(join))
            .map(|(_, number)| number)
            .collect();
        ways
    }
}

impl Branch {
    /// Where the state leads.
    pub(crate) fn choose(&self, plan: &Plan, values: &Values) -> Result<Vec<Way>, NodeError> {
        match self {
            Self::First { when, otherwise } => {
                let found = when.iter().find(|(condition, _)| condition.holds(values));
                Ok(match found {
                    Some((_, to)) => to.iter().copied().map(Way::Node).collect(),
                    None => otherwise.iter().flatten().copied().map(Way::Node).collect(),
                })
            }
            Self::Router { name, router, to } => {
                let mut ways = Vec::new();
                for goto in router(values)? {
                    let target = match &goto {
                        Goto::Node(target) | Goto::Send { node: target, .. } => target,
                    };
                    if !to.is_empty() && !to.contains(target) {
                        return Err(NodeError::fatal(format!(
                            "the router `{name}` chose `{target}`, which its edge does not list"
                        )));
                    }
                    ways.extend(Way::of(plan, goto)?);
                }
                Ok(ways)
            }
        }
    }
}

/// One way on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Way {
    Node(NodeIx),
    Send(NodeIx, Arc<Value>),
}

impl Way {
    /// `None` for the end.
    pub(crate) fn of(plan: &Plan, goto: Goto) -> Result<Option<Self>, NodeError> {
        let (name, arg) = match goto {
            Goto::Node(name) if name == END || name == "__end__" => return Ok(None),
            Goto::Node(name) => (name, None),
            Goto::Send { node, arg } => (node, Some(Arc::new(arg))),
        };
        let Some(ix) = plan.find(&name) else {
            return Err(NodeError::fatal(format!(
                "there is no node `{name}` in the graph `{}` to go to",
                plan.name
            )));
        };
        Ok(Some(arg.map_or(Self::Node(ix), |arg| Self::Send(ix, arg))))
    }
}
