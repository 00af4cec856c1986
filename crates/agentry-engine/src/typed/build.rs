//! Drawing a graph between handles.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use agentry_core::run::Values;
use serde::Serialize;

use super::function::{Function, Typed};
use super::{State, value};
use crate::graph::{END, Graph, NodeSettings, START};
use crate::node::{Goto, NodeError};
use crate::program::{GraphBuilder, Program};
use crate::{Error, Reducer};

/// A node of a graph over `S`.
pub struct NodeId<S> {
    name: Arc<str>,
    state: PhantomData<fn(S)>,
}

impl<S> NodeId<S> {
    fn new(name: &str) -> Self {
        Self { name: name.into(), state: PhantomData }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<S> Clone for NodeId<S> {
    fn clone(&self) -> Self {
        Self { name: Arc::clone(&self.name), state: PhantomData }
    }
}

impl<S> fmt::Debug for NodeId<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// Where a branch leads.
pub struct Way<S> {
    goto: Result<Goto, NodeError>,
    state: PhantomData<fn(S)>,
}

impl<S> Way<S> {
    #[must_use]
    pub fn to(node: &NodeId<S>) -> Self {
        Self { goto: Ok(Goto::node(node.name())), state: PhantomData }
    }

    /// Runs `node` on its own piece of work; [`NodeContext::arg`](crate::NodeContext::arg) has it.
    #[must_use]
    pub fn send(node: &NodeId<S>, work: &impl Serialize) -> Self {
        let goto = value("send", work).map(|work| Goto::send(node.name(), work));
        Self { goto: goto.map_err(NodeError::fatal), state: PhantomData }
    }
}

/// Begins a graph whose state is `S`.
#[must_use]
pub fn graph<S: State>(name: &str) -> Builder<S> {
    let channel =
        |builder: GraphBuilder, (name, reducer): (&str, Reducer)| builder.channel(name, reducer);
    let builder = S::channels().into_iter().fold(Graph::builder(name), channel);
    Builder { builder, state: PhantomData }
}

/// Writes a graph down. Problems are reported by [`build`](Self::build), all at once.
pub struct Builder<S> {
    builder: GraphBuilder,
    state: PhantomData<fn(S)>,
}

impl<S: State> Builder<S> {
    #[must_use]
    pub fn start(&self) -> NodeId<S> {
        NodeId::new(START)
    }

    #[must_use]
    pub fn end(&self) -> NodeId<S> {
        NodeId::new(END)
    }

    pub fn node<F>(&mut self, name: &str, function: F) -> NodeId<S>
    where
        F: for<'a> Function<'a, S> + 'static,
    {
        self.node_with(name, NodeSettings::default(), function)
    }

    pub fn node_with<F>(&mut self, name: &str, settings: NodeSettings, function: F) -> NodeId<S>
    where
        F: for<'a> Function<'a, S> + 'static,
    {
        let node = Typed::<S, F>::new(function);
        self.change(|builder| builder.node_with(name, settings, node));
        NodeId::new(name)
    }

    /// A graph of its own in a node; fields of the same name are handed in and given back.
    pub fn subgraph(&mut self, name: &str, program: Program) -> NodeId<S> {
        self.change(|builder| builder.subgraph(name, program));
        NodeId::new(name)
    }

    pub fn edge(&mut self, from: &NodeId<S>, to: &NodeId<S>) {
        self.change(|builder| builder.edge(from.name(), to.name()));
    }

    /// Goes to `to` once all of `from` have finished.
    pub fn join<'a>(&mut self, from: impl IntoIterator<Item = &'a NodeId<S>>, to: &NodeId<S>) {
        let from: Vec<_> = from.into_iter().map(NodeId::name).collect();
        self.change(|builder| builder.join(from, to.name()));
    }

    /// Lets a pure function of the state choose among `to`; an empty answer ends the path.
    pub fn branch<'a>(
        &mut self,
        from: &NodeId<S>,
        to: impl IntoIterator<Item = &'a NodeId<S>>,
        choose: impl Fn(&S) -> Vec<Way<S>> + Send + Sync + 'static,
    ) {
        let to: Vec<_> = to.into_iter().map(NodeId::name).collect();
        let name = format!("{}: {}", from.name(), to.join(", "));
        let routes = move |values: &Values| {
            let state = S::read(values).map_err(NodeError::fatal)?;
            let ways: Result<Vec<_>, _> = choose(&state).into_iter().map(|way| way.goto).collect();
            ways.map(|ways| if ways.is_empty() { vec![Goto::node(END)] } else { ways })
        };
        let to = to.into_iter().chain([END]);
        self.change(|builder| builder.branch(from.name(), &name, to, routes));
    }

    /// What the typed builder has no word for.
    pub fn change(&mut self, change: impl FnOnce(GraphBuilder) -> GraphBuilder) {
        let builder = std::mem::replace(&mut self.builder, Graph::builder(""));
        self.builder = change(builder);
    }

    pub fn build(self) -> Result<Program, Error> {
        self.builder.build()
    }
}
