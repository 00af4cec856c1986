//! A graph with its functions, and the programs that a worker has.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentry_core::run::Values;
use serde_json::Value;

use crate::door::Door;
use crate::graph::{
    Condition, Edge, Graph, Memory, NodeSettings, Pace, Problem, Reducer, Returns, Siblings,
    Subgraph,
};
use crate::node::{Goto, NodeError};
use crate::plan::{Parts, Plan};
use crate::reducer::Folds;
use crate::version::Evolution;
use crate::{Error, Node};

/// Where to go, given the state.
pub(crate) type Router = Arc<dyn Fn(&Values) -> Result<Vec<Goto>, NodeError> + Send + Sync>;

/// A checked graph and a function for each name in it. Cheap to clone.
#[derive(Clone)]
pub struct Program {
    graph: Arc<Graph>,
    version: String,
    plan: Arc<Plan>,
    evolution: Arc<Evolution>,
}

impl Program {
    pub(crate) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    pub(crate) fn evolution(&self) -> &Evolution {
        &self.evolution
    }

    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// A graph in a node.
#[derive(Clone)]
pub(crate) struct Inner {
    pub program: Program,
    pub door: Option<Arc<dyn Door>>,
}

/// Writes a [`Program`] down. Problems are collected and reported by [`build`](Self::build), all at once.
pub struct GraphBuilder {
    graph: Graph,
    nodes: BTreeMap<String, Arc<dyn Node>>,
    routers: BTreeMap<String, Router>,
    subgraphs: BTreeMap<String, Inner>,
    folds: Folds,
    problems: Vec<Problem>,
    pub(crate) evolution: Evolution,
}

impl Graph {
    #[must_use]
    pub fn builder(name: &str) -> GraphBuilder {
        GraphBuilder::from_graph(Self {
            name: name.to_owned(),
            revision: 1,
            channels: BTreeMap::new(),
            nodes: BTreeMap::new(),
            edges: Vec::new(),
            steps_max: 1_000,
            initial: BTreeMap::new(),
            pace: Pace::default(),
            siblings: Siblings::default(),
            stop_before: Vec::new(),
            config: None,
            stop_after: Vec::new(),
            open_ended: false,
        })
    }
}

impl GraphBuilder {
    /// Goes on from a graph that was read from somewhere: its functions are still missing.
    #[must_use]
    pub fn from_graph(graph: Graph) -> Self {
        Self {
            graph,
            nodes: BTreeMap::new(),
            routers: BTreeMap::new(),
            subgraphs: BTreeMap::new(),
            folds: Folds::new(),
            problems: Vec::new(),
            evolution: Evolution::default(),
        }
    }

    #[must_use]
    pub fn revision(mut self, revision: u32) -> Self {
        self.graph.revision = revision;
        self
    }

    #[must_use]
    pub fn steps_max(mut self, steps_max: u32) -> Self {
        self.graph.steps_max = steps_max;
        self
    }

    /// Declares a channel; input that no node writes needs none.
    #[must_use]
    pub fn channel(mut self, name: &str, reducer: Reducer) -> Self {
        self.graph.channels.insert(name.to_owned(), reducer);
        self
    }

    /// Declares a channel that holds `initial` before anything is written to it.
    #[must_use]
    pub fn channel_from(mut self, name: &str, reducer: Reducer, initial: impl Into<Value>) -> Self {
        self.graph.initial.insert(name.to_owned(), initial.into());
        self.channel(name, reducer)
    }

    /// Gives a custom reducer its function. It must be pure: what it made is stored, but conflicts are looked for again.
    #[must_use]
    pub fn reducer(
        mut self,
        name: &str,
        fold: impl Fn(Option<&Value>, Value) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        self.folds.insert(name.to_owned(), Arc::new(fold));
        self
    }

    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.graph.pace = pace;
        self
    }

    #[must_use]
    pub fn siblings(mut self, siblings: Siblings) -> Self {
        self.graph.siblings = siblings;
        self
    }

    /// What a run is given to go by ([`NodeContext::config`](crate::NodeContext::config)) stands in this channel too, where
    /// routers and doors read it. A run with input brings all of it, one that goes on what is to be different.
    #[must_use]
    pub fn config_into(mut self, channel: &str) -> Self {
        self.graph.config = Some(channel.to_owned());
        self.channel(channel, Reducer::Last)
    }

    /// Every run stops before these nodes until it is told to go on.
    #[must_use]
    pub fn stop_before<'a>(mut self, nodes: impl IntoIterator<Item = &'a str>) -> Self {
        self.graph.stop_before.extend(nodes.into_iter().map(str::to_owned));
        self
    }

    #[must_use]
    pub fn stop_after<'a>(mut self, nodes: impl IntoIterator<Item = &'a str>) -> Self {
        self.graph.stop_after.extend(nodes.into_iter().map(str::to_owned));
        self
    }

    /// Nodes need no way from START nor to END.
    #[must_use]
    pub fn open_ended(mut self) -> Self {
        self.graph.open_ended = true;
        self
    }

    /// Runs `program` in a node, with a state of its own; channels of the same name are handed in and given back.
    #[must_use]
    pub fn subgraph(self, name: &str, program: Program) -> Self {
        self.subgraph_with(name, NodeSettings::default(), (program, Memory::Visit, Returns::Added))
    }

    #[must_use]
    pub fn subgraph_with(
        mut self,
        name: &str,
        mut settings: NodeSettings,
        (program, memory, returns): (Program, Memory, Returns),
    ) -> Self {
        let version = program.version().to_owned();
        settings.subgraph = Some(Subgraph { version, memory, returns });
        if self.graph.nodes.insert(name.to_owned(), settings).is_some() {
            self.problems.push(Problem::DuplicateNode(name.to_owned()));
        }
        self.subgraphs.insert(name.to_owned(), Inner { program, door: None });
        self
    }

    /// Runs `program` in a node, with a state of its own of which only `door` knows both sides.
    #[must_use]
    pub fn subgraph_through(
        self,
        name: &str,
        settings: NodeSettings,
        (program, door): (Program, impl Door + 'static),
    ) -> Self {
        let how = (program, Memory::Visit, Returns::Mapped);
        let mut builder = self.subgraph_with(name, settings, how);
        if let Some(inner) = builder.subgraphs.get_mut(name) {
            inner.door = Some(Arc::new(door));
        }
        builder
    }

    #[must_use]
    pub fn node(self, name: &str, node: impl Node + 'static) -> Self {
        self.node_with(name, NodeSettings::default(), node)
    }

    #[must_use]
    pub fn node_with(
        mut self,
        name: &str,
        settings: NodeSettings,
        node: impl Node + 'static,
    ) -> Self {
        if self.graph.nodes.insert(name.to_owned(), settings).is_some() {
            self.problems.push(Problem::DuplicateNode(name.to_owned()));
        }
        self.function(name, node)
    }

    /// Gives a node that the graph has already its function.
    #[must_use]
    pub fn function(mut self, name: &str, node: impl Node + 'static) -> Self {
        self.nodes.insert(name.to_owned(), Arc::new(node));
        self
    }

    #[must_use]
    pub fn edge(self, from: &str, to: &str) -> Self {
        self.push(Edge::Plain { from: from.to_owned(), to: to.to_owned() })
    }

    /// Follows several edges at once: all of `to` run in parallel.
    #[must_use]
    pub fn fan_out<'a>(self, from: &str, to: impl IntoIterator<Item = &'a str>) -> Self {
        to.into_iter().fold(self, |builder, to| builder.edge(from, to))
    }

    /// Goes to `to` once all of `from` have finished, in whichever supersteps.
    #[must_use]
    pub fn join<'a>(self, from: impl IntoIterator<Item = &'a str>, to: &str) -> Self {
        let from = from.into_iter().map(str::to_owned).collect();
        self.push(Edge::Join { from, to: to.to_owned() })
    }

    /// Of a node's conditions the first that holds is followed.
    #[must_use]
    pub fn when(self, from: &str, condition: Condition, to: &str) -> Self {
        self.push(Edge::When { from: from.to_owned(), condition, to: to.to_owned() })
    }

    #[must_use]
    pub fn otherwise(self, from: &str, to: &str) -> Self {
        self.push(Edge::Otherwise { from: from.to_owned(), to: to.to_owned() })
    }

    /// Lets a pure function choose among `to`. It must answer alike for like state.
    #[must_use]
    pub fn choose<'a>(
        self,
        from: &str,
        name: &str,
        to: impl IntoIterator<Item = &'a str>,
        router: impl Fn(&Values) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        let routes =
            move |values: &Values| Ok(router(values).into_iter().map(Goto::Node).collect());
        self.branch(from, name, to, routes)
    }

    /// As [`choose`](Self::choose), for a function that may also send nodes arguments, and may fail.
    #[must_use]
    pub fn branch<'a>(
        mut self,
        from: &str,
        name: &str,
        to: impl IntoIterator<Item = &'a str>,
        router: impl Fn(&Values) -> Result<Vec<Goto>, NodeError> + Send + Sync + 'static,
    ) -> Self {
        let to = to.into_iter().map(str::to_owned).collect();
        self.routers.insert(name.to_owned(), Arc::new(router));
        self.push(Edge::Choose { from: from.to_owned(), router: name.to_owned(), to })
    }

    #[must_use]
    pub fn router(
        mut self,
        name: &str,
        router: impl Fn(&Values) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        let routes =
            move |values: &Values| Ok(router(values).into_iter().map(Goto::Node).collect());
        self.routers.insert(name.to_owned(), Arc::new(routes));
        self
    }

    fn push(mut self, edge: Edge) -> Self {
        self.graph.edges.push(edge);
        self
    }

    pub fn build(mut self) -> Result<Program, Error> {
        self.problems.extend(self.graph.problems());
        let given =
            |name: &&String| self.nodes.contains_key(*name) || self.subgraphs.contains_key(*name);
        for name in self.graph.nodes.keys().filter(|name| !given(name)) {
            self.problems.push(Problem::NoFunction(name.clone()));
        }
        for (channel, reducer) in &self.graph.channels {
            if let Reducer::Custom(name) = reducer
                && !self.folds.contains_key(name)
            {
                self.problems.push(Problem::NoReducer(channel.clone(), name.clone()));
            }
        }
        for edge in &self.graph.edges {
            if let Edge::Choose { router, .. } = edge
                && !self.routers.contains_key(router)
            {
                self.problems.push(Problem::NoRouter(router.clone()));
            }
        }
        if !self.problems.is_empty() {
            return Err(Error::Graph { name: self.graph.name, problems: self.problems });
        }
        let graph = Arc::new(self.graph);
        let parts = Parts {
            nodes: &self.nodes,
            routers: &self.routers,
            subgraphs: &self.subgraphs,
            folds: self.folds,
        };
        let evolution = Arc::new(self.evolution);
        let version = evolution.version(graph.version());
        Ok(Program { version, plan: Arc::new(Plan::new(&graph, parts)), graph, evolution })
    }
}
