//! A graph that runs in a node as if it were one function: nothing of it is in the log.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use agentry_core::run::Values;
use async_trait::async_trait;
use serde_json::Value;

use crate::context::NodeContext;
use crate::graph::Returns;
use crate::local::Local;
use crate::machine::{Machine, Rests};
use crate::node::{Node, NodeError, NodeOutput};
use crate::program::Program;

pub(crate) struct Unkept {
    pub program: Program,
    pub returns: Returns,
    /// Those of the graph around it.
    pub channels: BTreeSet<String>,
}

type Told = Arc<Mutex<Vec<(String, Value)>>>;

#[async_trait]
impl Node for Unkept {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let told = Told::default();
        let hears = Arc::clone(&told);
        let around = cx.inside(move |kind, detail| {
            let mut told = hears.lock().unwrap_or_else(PoisonError::into_inner);
            told.push((kind.to_owned(), detail.clone()));
        });
        let mut machine = Machine::unkept(self.program.clone(), cx.thread(), &cx.effects_under());
        let begun = machine.visit(cx.run(), (state, self.returns), cx.now());
        let decision = begun.map_err(NodeError::fatal)?;
        let mut local = Local::inside(machine, self.program.clone(), around);
        local.follow(decision).await;
        let machine = local.machine();
        match machine.rests() {
            Rests::Idle => {}
            Rests::Failed(failed) => return Err(NodeError::transient(&failed.message)),
            Rests::Interrupted | Rests::Waiting => {
                let problem =
                    "a graph that keeps nothing cannot wait for anybody; give it a memory";
                return Err(NodeError::fatal(problem));
            }
            Rests::Running | Rests::Cancelled { .. } | Rests::TimedOut => {
                return Err(NodeError::transient("the graph in it has not come to its end"));
            }
        }
        let puts = machine.comes_to().into_iter().filter(|(name, _)| self.channels.contains(name));
        let output = puts.fold(NodeOutput::done(), |output, (name, put)| output.put(&name, put));
        let told = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(told.into_iter().fold(output, |output, (kind, detail)| output.event(&kind, detail)))
    }
}
