//! Reading a thread whose version of the graph is not here: everything that its log says is there by name.
//!
//! What graphs inside of nodes did cannot be repeated without them; what they have come to is in the log all the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use agentry_core::thread::{Entry, Line, Snapshot};
use serde::Deserialize as _;
use serde_json::Value;

use super::image::join_parts;
use crate::graph::{Graph, START};
use crate::machine::LoadError;
use crate::machine::op::{At, Body, Op, Planned, TaskOp};
use crate::machine::scope::{Done, Phase};
use crate::node::{Goto, NodeError, from_fn};
use crate::plan::INPUT;
use crate::program::Program;

/// A program that can be stood on, but not run, and the line without what it cannot repeat.
pub(super) fn of(line: &Line, graph: &str) -> Result<(Program, Line), LoadError> {
    let mut names = Names::default();
    let snapshot = line.snapshot.as_ref().map(|snapshot| outer(snapshot, &mut names));
    let mut entries = Vec::new();
    for entry in &line.entries {
        entries.push(outer_moves(entry, &mut names)?);
    }
    let seq = entries.first().map_or(0, |entry| entry.seq.0);
    let program = names.program(graph);
    let unreadable =
        |problem: crate::Error| LoadError::Unreadable { seq, problem: problem.to_string() };
    Ok((program.map_err(unreadable)?, Line { snapshot, entries }))
}

/// Whether a graph inside of a node was under way where the line ends, or keeps a state of its own.
pub(super) fn has_inner(line: &Line) -> bool {
    let snapshot = line.snapshot.as_ref().is_some_and(|it| super::image::has_inner(&it.body));
    let mut open: BTreeSet<(Arc<str>, usize)> = BTreeSet::new();
    let mut keeps = false;
    let bodies = line.entries.iter().filter_map(|entry| Body::deserialize(&entry.body).ok());
    for op in bodies.flat_map(|Body::V1 { ops, .. }| ops) {
        match op {
            Op::Open(op) => {
                let last = op.inner.rsplit('|').next().unwrap_or_default();
                keeps |= !last.contains(':');
                open.insert((op.at.ns, op.at.slot));
            }
            // What it has come to may not be written yet; the next superstep begins when it is.
            Op::Turn(turn) if turn.ns.is_empty() && !turn.add => open.clear(),
            _ => {}
        }
    }
    snapshot || keeps || !open.is_empty()
}

#[derive(Default)]
struct Names {
    nodes: BTreeSet<String>,
    joins: BTreeSet<String>,
}

fn outer(snapshot: &Snapshot, names: &mut Names) -> Snapshot {
    let mut snapshot = snapshot.clone();
    if let Some(scopes) = snapshot.body.get_mut("scopes").and_then(Value::as_array_mut) {
        scopes.retain(|scope| scope.get("ns").and_then(Value::as_str) == Some(""));
        scopes.iter().for_each(|root| names.of_root(root));
    }
    if let Some(Value::Array(kept)) = snapshot.body.get_mut("kept") {
        kept.clear();
    }
    snapshot
}

fn outer_moves(entry: &Entry, names: &mut Names) -> Result<Entry, LoadError> {
    let seq = entry.seq.0;
    let unreadable =
        |error: serde_json::Error| LoadError::Unreadable { seq, problem: error.to_string() };
    let Body::V1 { back_to, ops } = Body::deserialize(&entry.body).map_err(unreadable)?;
    let (mut writes, mut checkpoints) = (entry.writes.iter(), entry.checkpoints.iter());
    let mut outer = Entry { writes: Vec::new(), checkpoints: Vec::new(), ..entry.clone() };
    let mut kept = Vec::new();
    for op in ops {
        let inner = |at: &At| !at.ns.is_empty();
        let mut take = |count: usize, keep: bool| {
            let taken = writes.by_ref().take(count).filter(|_| keep).cloned();
            outer.writes.extend(taken);
        };
        kept.extend(match op {
            Op::Writes(count) => {
                take(count, true);
                Some(Op::Writes(count))
            }
            Op::Wrote(wrote) => {
                take(wrote.n, !inner(&wrote.at));
                (!inner(&wrote.at)).then_some(Op::Wrote(wrote))
            }
            Op::Mark => {
                let checkpoint = checkpoints.next().filter(|it| it.ns.is_empty());
                outer.checkpoints.extend(checkpoint.cloned());
                checkpoint.map(|_| Op::Mark)
            }
            Op::Moved(moved) => {
                outer.checkpoints.extend(checkpoints.next().cloned());
                moved.image.pointer("/scopes/0").into_iter().for_each(|root| names.of_root(root));
                Some(Op::Moved(moved))
            }
            Op::Turn(turn) if turn.ns.is_empty() => {
                names.nodes.extend(turn.tasks.iter().map(|planned| match planned {
                    Planned::Node(node) | Planned::Sent { node, .. } => node.clone(),
                }));
                names.nodes.extend(turn.arrived.iter().map(|(_, from)| from.clone()));
                names.nodes.extend(turn.deferred.iter().chain(&turn.undeferred).cloned());
                names.joins.extend(turn.arrived.iter().map(|(join, _)| join.clone()));
                names.joins.extend(turn.reset.iter().cloned());
                Some(Op::Turn(turn))
            }
            Op::Task(task) if !inner(&task.at) => {
                if let Phase::Done(done) = &task.phase {
                    names.nodes.extend(done.goto.iter().map(|goto| match goto {
                        Goto::Node(node) | Goto::Send { node, .. } => node.clone(),
                    }));
                }
                Some(Op::Task(task))
            }
            Op::Open(open) if !inner(&open.at) => {
                Some(Op::Task(TaskOp { at: open.at, phase: Phase::Inside, more: None }))
            }
            Op::Close(at) if !inner(&at) => Some(Op::Task(TaskOp::done(at, Done::default()))),
            Op::Pass(at) if !inner(&at) => Some(Op::Pass(at)),
            Op::Halt(halt) if halt.ns.is_empty() => Some(Op::Halt(halt)),
            op @ (Op::Run(_) | Op::Fails(_) | Op::Mended | Op::Over) => Some(op),
            Op::Turn(_)
            | Op::Task(_)
            | Op::Open(_)
            | Op::Close(_)
            | Op::Pass(_)
            | Op::Seed(_)
            | Op::Halt(_) => None,
        });
    }
    outer.body = serde_json::to_value(Body::V1 { back_to, ops: kept }).map_err(unreadable)?;
    Ok(outer)
}

impl Names {
    fn of_root(&mut self, root: &Value) {
        let texts = |value: Option<&Value>| -> Vec<String> {
            let items = value.and_then(Value::as_array).into_iter().flatten();
            items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
        };
        for task in root.get("tasks").and_then(Value::as_array).into_iter().flatten() {
            let planned = task.get("planned");
            let name = planned.and_then(|it| it.as_str().or_else(|| it.get("node")?.as_str()));
            self.nodes.extend(name.map(str::to_owned));
            let goto = task.pointer("/phase/goto").and_then(Value::as_array);
            let goto = goto.into_iter().flatten();
            let goto = goto.filter_map(|it| it.as_str().or_else(|| it.get("node")?.as_str()));
            self.nodes.extend(goto.map(str::to_owned));
        }
        self.nodes.extend(texts(root.get("deferred")));
        let last = root.pointer("/last/node").and_then(Value::as_str);
        self.nodes.extend(last.map(str::to_owned));
        for (join, from) in root.get("arrived").and_then(Value::as_object).into_iter().flatten() {
            self.joins.insert(join.clone());
            self.nodes.extend(texts(Some(from)));
        }
    }

    fn program(mut self, graph: &str) -> Result<Program, crate::Error> {
        for name in &self.joins {
            let (from, to) = join_parts(name).unwrap_or_default();
            self.nodes.extend(from.into_iter().chain([to]).map(str::to_owned));
        }
        let reserved = |name: &String| [INPUT, START, crate::END, ""].contains(&name.as_str());
        self.nodes.retain(|name| !reserved(name));
        let missing =
            || from_fn(|_, _| Box::pin(async { Err(NodeError::fatal("it is not here")) }));
        let mut builder = Graph::builder(graph).open_ended();
        if self.nodes.is_empty() {
            builder = builder.edge(START, crate::END);
        }
        for name in &self.nodes {
            builder = builder.node(name, missing()).edge(START, name);
        }
        for name in &self.joins {
            let Some((from, to)) = join_parts(name) else { continue };
            builder = builder.join(from, to);
        }
        builder.build()
    }
}
