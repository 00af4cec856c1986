//! What follows a superstep.

use std::sync::Arc;

use serde_json::Value;

use super::op::{Planned, TurnOp};
use super::scope::{Scope, Task};
use crate::plan::{NodeIx, Plan, START_IX};

#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub tasks: Vec<Task>,
    /// By join: who arrived.
    pub arrived: Vec<(u32, NodeIx)>,
    /// Joins whose node has run.
    pub reset: Vec<u32>,
    /// Deferred nodes that an edge has led to.
    pub deferred: Vec<NodeIx>,
    /// Deferred nodes that have run.
    pub undeferred: Vec<NodeIx>,
    /// The tasks that are there stay.
    pub add: bool,
    /// The tasks that are there go without having run.
    pub dropped: bool,
}

impl Turn {
    /// The superstep that takes the input.
    pub(crate) fn input() -> Self {
        Self { tasks: vec![Task::new(START_IX)], dropped: true, ..Self::default() }
    }

    /// Tasks for nodes, and for what was sent, in the order in which their writes will count.
    pub(crate) fn plan(&mut self, mut nodes: Vec<NodeIx>, sends: Vec<(NodeIx, Arc<Value>)>) {
        nodes.sort_unstable();
        nodes.dedup();
        self.tasks.extend(nodes.into_iter().map(Task::new));
        let sent = sends.into_iter().zip(0..);
        self.tasks.extend(sent.map(|((node, arg), index)| Task::sent(node, index, arg)));
    }

    pub(crate) fn to_op(&self, scope: &Scope) -> TurnOp {
        let plan = &scope.plan;
        let name = |ix: &NodeIx| plan.name_of(*ix).to_owned();
        let join =
            |number: &u32| plan.join(*number).map_or(String::new(), |join| join.name.clone());
        let planned = |task: &Task| match &task.sent {
            None => Planned::Node(name(&task.node)),
            Some((_, arg)) => Planned::Sent { node: name(&task.node), arg: Arc::clone(arg) },
        };
        TurnOp {
            ns: Arc::clone(&scope.ns),
            tasks: self.tasks.iter().map(planned).collect(),
            arrived: self.arrived.iter().map(|(to, from)| (join(to), name(from))).collect(),
            reset: self.reset.iter().map(join).collect(),
            deferred: self.deferred.iter().map(name).collect(),
            undeferred: self.undeferred.iter().map(name).collect(),
            add: self.add,
            dropped: self.dropped,
        }
    }

    /// The name that the plan does not have, when there is one.
    pub(crate) fn from_op(op: TurnOp, plan: &Plan) -> Result<Self, String> {
        let node = |name: String| match plan.find(&name) {
            Some(ix) => Ok(ix),
            None if name == crate::plan::INPUT => Ok(START_IX),
            None => Err(name),
        };
        let join = |name: String| plan.find_join(&name).ok_or(name);
        let mut sent = 0;
        let mut task = |planned: Planned| match planned {
            Planned::Node(name) => node(name).map(Task::new),
            Planned::Sent { node: name, arg } => {
                sent += 1;
                node(name).map(|ix| Task::sent(ix, sent - 1, arg))
            }
        };
        let TurnOp { ns: _, tasks, arrived, reset, deferred, undeferred, add, dropped } = op;
        let arrival = |(to, from): (String, String)| Ok((join(to)?, node(from)?));
        Ok(Self {
            tasks: tasks.into_iter().map(&mut task).collect::<Result<_, String>>()?,
            arrived: arrived.into_iter().map(arrival).collect::<Result<_, String>>()?,
            reset: reset.into_iter().map(join).collect::<Result<_, _>>()?,
            deferred: deferred.into_iter().map(node).collect::<Result<_, _>>()?,
            undeferred: undeferred.into_iter().map(node).collect::<Result<_, _>>()?,
            add,
            dropped,
        })
    }
}

impl Scope {
    pub(crate) fn take_turn(&mut self, turn: Turn) {
        let Turn { tasks, arrived, reset, deferred, undeferred, add, dropped } = turn;
        for join in reset {
            self.arrived.remove(&join);
        }
        for node in undeferred {
            self.deferred.remove(&node);
        }
        for (join, from) in arrived {
            self.arrived.entry(join).or_default().insert(from);
        }
        self.deferred.extend(deferred);
        if add {
            self.active += tasks.len();
            self.open += tasks.len();
            self.tasks.extend(tasks);
            self.settle_names();
        } else {
            if !dropped {
                self.remember_last();
            }
            self.set_tasks(tasks);
        }
        self.passed = false;
    }
}
