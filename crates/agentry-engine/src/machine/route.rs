//! Where a superstep leads.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::scope::{Done, Phase, Scope, Task};
use super::turn::Turn;
use crate::node::NodeError;
use crate::plan::{NodeIx, Plan, Way};

/// Collects where tasks lead.
pub(super) struct Routing<'a> {
    plan: &'a Plan,
    nodes: Vec<NodeIx>,
    sends: Vec<(NodeIx, Arc<Value>)>,
    turn: Turn,
}

impl<'a> Routing<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self { plan, nodes: Vec::new(), sends: Vec::new(), turn: Turn::default() }
    }

    /// What brought this task about has had its effect.
    pub(super) fn consume(&mut self, scope: &Scope, task: &Task) {
        if task.sent.is_some() {
            return;
        }
        let Some(node) = self.plan.node(task.node) else { return };
        if node.settings.deferred && scope.deferred.contains(&task.node) {
            self.turn.undeferred.push(task.node);
        }
        for number in &node.joined {
            if self.is_complete(scope, *number) {
                self.turn.reset.push(*number);
            }
        }
    }

    fn is_complete(&self, scope: &Scope, number: u32) -> bool {
        let Some(join) = self.plan.join(number) else { return false };
        scope.arrived.get(&number).is_some_and(|here| join.from.iter().all(|it| here.contains(it)))
    }

    /// Follows what a task said and its edges, without its branches.
    pub(super) fn leave(&mut self, task: &Task) -> Result<(), NodeError> {
        let Phase::Done(Done { goto, .. }) = &task.phase else { return Ok(()) };
        for goto in goto {
            if let Some(way) = Way::of(self.plan, goto.clone())? {
                self.go(way);
            }
        }
        let Some(ways) = self.plan.ways(task.node) else { return Ok(()) };
        self.nodes.extend(&ways.plain);
        self.turn.arrived.extend(ways.joins.iter().map(|join| (*join, task.node)));
        Ok(())
    }

    /// Follows the branches of a task; `scope` has the state that they look at.
    pub(super) fn branch(&mut self, scope: &Scope, task: &Task) -> Result<(), NodeError> {
        let plan = self.plan;
        if !matches!(task.phase, Phase::Done(_)) {
            return Ok(());
        }
        for branch in plan.ways(task.node).iter().flat_map(|ways| &ways.branches) {
            for way in branch.choose(plan, &scope.values)? {
                self.go(way);
            }
        }
        Ok(())
    }

    pub(super) fn go(&mut self, way: Way) {
        match way {
            Way::Node(node) => self.nodes.push(node),
            Way::Send(node, arg) => self.sends.push((node, arg)),
        }
    }

    /// Nothing follows but what is over.
    pub(super) fn into_consumed(self) -> Turn {
        self.turn
    }

    /// The next superstep.
    pub(super) fn into_turn(mut self, scope: &Scope) -> Turn {
        self.arrive(scope);
        let plan = self.plan;
        let (deferred, mut nodes): (Vec<_>, Vec<_>) =
            self.nodes.into_iter().partition(|node| plan.is_deferred(*node));
        self.turn.deferred.extend(deferred);
        if nodes.is_empty() && self.sends.is_empty() {
            let gone = &self.turn.undeferred;
            nodes = scope.next_deferred();
            nodes.retain(|node| !gone.contains(node));
            nodes.extend(&self.turn.deferred);
        }
        self.turn.plan(nodes, self.sends);
        self.turn
    }

    /// Goes on from joins that are complete now.
    fn arrive(&mut self, scope: &Scope) {
        let joins: BTreeSet<u32> = self.turn.arrived.iter().map(|(join, _)| *join).collect();
        for number in joins {
            let Some(join) = self.plan.join(number) else { continue };
            let reset = self.turn.reset.contains(&number);
            if !reset && self.is_complete(scope, number) {
                continue;
            }
            let before = scope.arrived.get(&number).filter(|_| !reset);
            let now = |node: &NodeIx| self.turn.arrived.contains(&(number, *node));
            let here = |node: &NodeIx| before.is_some_and(|it| it.contains(node)) || now(node);
            if join.from.iter().all(here) {
                self.nodes.push(join.to);
            }
        }
    }
}
