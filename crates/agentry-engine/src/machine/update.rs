//! The state is changed from outside, as if a node had done it.

use std::sync::Arc;

use agentry_core::Timestamp;
use agentry_core::run::Closing;
use agentry_core::thread::Source;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::barrier::{Undos, write};
use super::op::Op;
use super::rest::Rests;
use super::route::Routing;
use super::scope::{Done, Last, Phase, ROOT_IX, Task};
use super::turn::Turn;
use super::{Decision, Machine, Refused};
use crate::graph::{END, START};
use crate::plan::{INPUT, NodeIx, START_IX};
use crate::reducer::Put;

/// One change of the state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Update {
    #[serde(default)]
    pub values: Option<Map<String, Value>>,
    /// As which node; the one that ran last, when none is named. `END` ends what was still to be done, `START` makes it an
    /// input, and `__copy__` copies the checkpoint.
    #[serde(default)]
    pub as_node: Option<String>,
}

enum As {
    Nodes(Vec<(NodeIx, Map<String, Value>)>),
    Input(Map<String, Value>),
    End,
    Copy,
}

impl Machine {
    /// Changes the state between two runs. Several updates are one superstep.
    pub fn update(&mut self, updates: Vec<Update>, now: Timestamp) -> Result<Decision, Refused> {
        if let Some(run) = &self.run
            && self.rests == Rests::Running
        {
            return Err(Refused::Busy(run.op.id));
        }
        let as_whom = self.read_updates(updates)?;
        self.now = now;
        let asking: Vec<_> = self.asking.iter().copied().collect();
        match as_whom {
            As::Copy => {
                self.mark(ROOT_IX, Source::Fork);
                self.tell_scope("checkpoint", ROOT_IX, json!({}));
                return Ok(self.conclude_update());
            }
            As::Nodes(updates) => {
                self.keep_finished();
                self.update_as(updates)?;
            }
            As::Input(values) => {
                self.keep_finished();
                self.update_as_input(values);
            }
            As::End => {
                self.keep_finished();
                let root = self.scopes.root();
                let plan = Arc::clone(&root.plan);
                let mut routing = Routing::new(&plan);
                for task in &root.tasks {
                    routing.consume(root, task);
                }
                let turn = Turn { dropped: true, ..routing.into_consumed() };
                self.turn(ROOT_IX, turn);
                self.mark(ROOT_IX, Source::Update);
            }
        }
        for at in asking {
            self.close(at, Closing::Withdrawn);
        }
        self.tell_scope("checkpoint", ROOT_IX, json!({}));
        Ok(self.conclude_update())
    }

    fn conclude_update(&mut self) -> Decision {
        if self.run.is_some() {
            self.note(|| Op::Over);
            self.run = None;
        }
        self.scopes.root_mut().halt = None;
        self.rests = Rests::Idle;
        self.conclude()
    }

    fn read_updates(&self, updates: Vec<Update>) -> Result<As, Refused> {
        let root = self.scopes.root();
        let alone = updates.len() == 1;
        let mut nodes = Vec::new();
        for Update { values, as_node } in updates {
            let name = as_node.as_deref();
            match name {
                Some("__copy__") if alone => return Ok(As::Copy),
                Some(END | "__end__") if alone && values.is_none() => return Ok(As::End),
                Some(START | INPUT) if alone => {
                    let values = values.unwrap_or_default();
                    self.check_values(&values, true)?;
                    return Ok(As::Input(values));
                }
                Some(_) | None => {}
            }
            let node = match name {
                Some(name) => {
                    root.plan.find(name).ok_or_else(|| Refused::UnknownNode(name.to_owned()))?
                }
                None if alone => match root.last {
                    Last::Node(node) => node,
                    Last::Start => START_IX,
                    Last::Nobody | Last::Several => return Err(Refused::WhichNode),
                },
                None => return Err(Refused::WhichNode),
            };
            let values = values.unwrap_or_default();
            self.check_values(&values, false)?;
            nodes.push((node, values));
        }
        if nodes.is_empty() { Err(Refused::Empty) } else { Ok(As::Nodes(nodes)) }
    }

    fn update_as(&mut self, updates: Vec<(NodeIx, Map<String, Value>)>) -> Result<(), Refused> {
        let recorded = self.is_recorded();
        let root = self.scopes.root_mut();
        let plan = Arc::clone(&root.plan);
        let mut routing = Routing::new(&plan);
        let (mut undos, mut touched) = (Undos::default(), super::barrier::Touches::new(false));
        let mut written = Vec::new();
        let mut failed = None;
        for (node, values) in updates {
            let puts = values.into_iter().map(|(name, value)| (name, Put::from_json(value)));
            let done = Done { puts: puts.collect(), goto: Vec::new() };
            let wrote = write(root, (node, &done), &mut touched, &mut undos, recorded);
            let task = Task { phase: Phase::Done(done), ..Task::new(node) };
            let routed = wrote.map_err(|failed| failed.message).and_then(|wrote| {
                written.push(wrote);
                routing
                    .leave(&task)
                    .and_then(|()| routing.branch(root, &task))
                    .map_err(|it| it.message)
            });
            if let Err(message) = routed {
                failed = Some(message);
                break;
            }
        }
        if let Some(message) = failed {
            undos.roll_back(Arc::make_mut(&mut root.values));
            return Err(Refused::Unfit(message));
        }
        let turn = Turn { dropped: true, ..routing.into_turn(root) };
        for written in written {
            self.note_plain(written);
        }
        self.turn(ROOT_IX, turn);
        self.mark(ROOT_IX, Source::Update);
        Ok(())
    }

    fn update_as_input(&mut self, values: Map<String, Value>) {
        let turn = Turn::input();
        self.turn(ROOT_IX, turn);
        self.mark(ROOT_IX, Source::Input);
        let puts = values.into_iter().map(|(name, value)| (name, Put::from_json(value))).collect();
        let done = Done { puts, goto: Vec::new() };
        self.set_phase((ROOT_IX, 0), Phase::Done(done));
        self.note_done(ROOT_IX, 0);
    }
}
