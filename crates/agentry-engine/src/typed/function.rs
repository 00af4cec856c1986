//! Async functions as nodes.

use std::future::Future;
use std::marker::PhantomData;

use agentry_core::run::Values;
use async_trait::async_trait;

use super::{State, Writes};
use crate::node::{Node, NodeContext, NodeError, NodeOutput};

/// An `async fn(&NodeContext, S) -> Result<impl Outcome, NodeError>`.
pub trait Function<'a, S>: Send + Sync {
    type Done: Outcome;
    type Future: Future<Output = Result<Self::Done, NodeError>> + Send + 'a;

    fn call(&self, cx: &'a NodeContext, state: S) -> Self::Future;
}

impl<'a, S, F, Done, Fut> Function<'a, S> for F
where
    F: Fn(&'a NodeContext, S) -> Fut + Send + Sync,
    Fut: Future<Output = Result<Done, NodeError>> + Send + 'a,
    Done: Outcome,
{
    type Done = Done;
    type Future = Fut;

    fn call(&self, cx: &'a NodeContext, state: S) -> Fut {
        self(cx, state)
    }
}

/// What a typed node may return: its state's update, or a [`NodeOutput`] to say more than that.
pub trait Outcome: Send {
    fn output(self) -> Result<NodeOutput, NodeError>;
}

impl<U: Into<Writes> + Send> Outcome for U {
    fn output(self) -> Result<NodeOutput, NodeError> {
        let Writes { puts, problem } = self.into();
        if let Some(problem) = problem {
            return Err(NodeError::fatal(problem));
        }
        let write = |output: NodeOutput, (channel, put): (&str, _)| output.put(channel, put);
        Ok(puts.into_iter().fold(NodeOutput::done(), write))
    }
}

impl Outcome for NodeOutput {
    fn output(self) -> Result<NodeOutput, NodeError> {
        Ok(self)
    }
}

pub(super) struct Typed<S, F> {
    function: F,
    state: PhantomData<fn(S)>,
}

impl<S, F> Typed<S, F> {
    pub(super) fn new(function: F) -> Self {
        Self { function, state: PhantomData }
    }
}

#[async_trait]
impl<S, F> Node for Typed<S, F>
where
    S: State,
    F: for<'a> Function<'a, S>,
{
    async fn run(&self, cx: &NodeContext, values: &Values) -> Result<NodeOutput, NodeError> {
        let state = S::read(values).map_err(NodeError::fatal)?;
        self.function.call(cx, state).await?.output()
    }
}
