//! A graph with its functions, and the programs that a worker has.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentry_core::run::{NewRun, Values};
use agentry_core::{RunId, Timestamp};

use crate::graph::{Condition, Edge, Graph, NodeSettings, Problem, Reducer};
use crate::{Error, Node};

pub(crate) type Router = Arc<dyn Fn(&Values) -> Vec<String> + Send + Sync>;

/// A checked graph and a function for each name in it. Cheap to clone.
#[derive(Clone)]
pub struct Program {
    graph: Arc<Graph>,
    version: String,
    nodes: Arc<BTreeMap<String, Arc<dyn Node>>>,
    routers: Arc<BTreeMap<String, Router>>,
}

impl Program {
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn node(&self, name: &str) -> Option<Arc<dyn Node>> {
        self.nodes.get(name).cloned()
    }

    pub(crate) fn router(&self, name: &str) -> Option<&Router> {
        self.routers.get(name)
    }

    /// A new run of this program. A second one with the same `key` is not stored.
    #[must_use]
    pub fn new_run(&self, key: &str, input: Values, now: Timestamp) -> NewRun {
        NewRun {
            id: RunId::derived(now, &format!("{}\n{key}", self.graph.name)),
            key: key.to_owned(),
            graph: self.graph.name.clone(),
            version: self.version.clone(),
            input,
            created: now,
            deadline: None,
        }
    }
}

/// Writes a [`Program`] down. Problems are collected and reported by [`build`](Self::build), all at once.
pub struct GraphBuilder {
    graph: Graph,
    nodes: BTreeMap<String, Arc<dyn Node>>,
    routers: BTreeMap<String, Router>,
    problems: Vec<Problem>,
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
        })
    }
}

impl GraphBuilder {
    /// Goes on from a graph that was read from somewhere: its functions are still missing.
    #[must_use]
    pub fn from_graph(graph: Graph) -> Self {
        Self { graph, nodes: BTreeMap::new(), routers: BTreeMap::new(), problems: Vec::new() }
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
        let to = to.into_iter().map(str::to_owned).collect();
        self.push(Edge::Choose { from: from.to_owned(), router: name.to_owned(), to })
            .router(name, router)
    }

    #[must_use]
    pub fn router(
        mut self,
        name: &str,
        router: impl Fn(&Values) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        self.routers.insert(name.to_owned(), Arc::new(router));
        self
    }

    fn push(mut self, edge: Edge) -> Self {
        self.graph.edges.push(edge);
        self
    }

    pub fn build(mut self) -> Result<Program, Error> {
        self.problems.extend(self.graph.problems());
        for name in self.graph.nodes.keys().filter(|name| !self.nodes.contains_key(*name)) {
            self.problems.push(Problem::NoFunction(name.clone()));
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
        Ok(Program {
            version: self.graph.version(),
            graph: Arc::new(self.graph),
            nodes: Arc::new(self.nodes),
            routers: Arc::new(self.routers),
        })
    }
}

/// The programs that a worker has, old versions included.
#[derive(Clone, Default)]
pub struct Registry {
    programs: BTreeMap<(String, String), Program>,
    current: BTreeMap<String, Program>,
}

impl Registry {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a program; of several versions of one graph the last one added takes new runs.
    #[must_use]
    pub fn with(mut self, program: Program) -> Self {
        let name = program.graph().name.clone();
        self.programs.insert((name.clone(), program.version().to_owned()), program.clone());
        self.current.insert(name, program);
        self
    }

    /// The version that takes new runs.
    pub fn current(&self, graph: &str) -> Result<&Program, Error> {
        self.current.get(graph).ok_or_else(|| Error::UnknownGraph(graph.to_owned()))
    }

    pub(crate) fn get(&self, graph: &str, version: &str) -> Option<&Program> {
        self.programs.get(&(graph.to_owned(), version.to_owned()))
    }

    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        self.programs.keys().cloned().collect()
    }
}
