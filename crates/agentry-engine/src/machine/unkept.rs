//! A graph of which nothing is kept: it runs from beginning to end inside of one task.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentry_core::run::{Fence, Seq, Values};
use agentry_core::{RunId, ThreadId, Timestamp};
use serde_json::Map;

use super::scope::Inside;
use super::{Decision, Home, Machine, Record, Refused, Request, Submission};
use crate::graph::{Memory, Returns};
use crate::program::Program;
use crate::reducer::Put;

impl Machine {
    /// `name` sets its tasks apart from those of other visits; they are known by the same ids when all is done again.
    pub(crate) fn unkept(program: Program, thread: ThreadId, name: &str) -> Self {
        let home = Home { thread, fence: Fence(0), head: Seq(0) };
        Self { unkept: Some(Arc::from(name)), ..Self::new(program, home, Record::Nothing) }
    }

    /// Begins on what the graph around it has in the channels that both have.
    pub(crate) fn visit(
        &mut self,
        run: RunId,
        (given, returns): (&Values, Returns),
        now: Timestamp,
    ) -> Result<Decision, Refused> {
        let root = self.scopes.root_mut();
        let plan = Arc::clone(&root.plan);
        for (name, channel) in &plan.channels {
            let Some(value) = given.get(name) else { continue };
            let put = Put::Reduce(value.clone());
            let delta = channel.reducer.reduce(&plan.folds, root.values.get(name), put);
            let unfit = |problem| Refused::Unfit(format!("channel `{name}`: {problem}"));
            root.change(name, delta.map_err(unfit)?);
        }
        root.inside = Some(Inside { memory: Memory::Off, returns, written: BTreeMap::new() });
        self.begin(Submission::new(run, Request::Input(Map::new())), now)
    }

    /// What it writes to the channels that both have.
    pub(crate) fn comes_to(&self) -> Vec<(String, Put)> {
        self.scopes.root().given_back()
    }
}
