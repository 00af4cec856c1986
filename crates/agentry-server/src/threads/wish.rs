//! What a caller wants run, as it is written: by the clients of LangGraph's servers, or in the Agent Protocol's words.

use std::time::Duration;

use agentry_core::CheckpointId;
use agentry_core::thread::{Absent, Multitask};
use agentry_core::threads::At;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::engine::{Breakpoints, Command, Goto, Place, Resume, Work};
use super::messages;
use super::modes::Modes;
use crate::Refusal;

/// A run that is asked for. What this version does not know is passed over: clients send more with every release.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wish {
    pub(crate) assistant_id: Option<String>,
    pub(crate) agent_id: Option<String>,
    /// For runs that are asked for together.
    pub(crate) thread_id: Option<String>,
    pub(crate) input: Option<Value>,
    pub(crate) messages: Option<Vec<Map<String, Value>>>,
    pub(crate) command: Option<CommandWish>,
    pub(crate) stream_mode: Option<Value>,
    pub(crate) stream_subgraphs: Option<bool>,
    pub(crate) config: Option<Map<String, Value>>,
    pub(crate) context: Option<Map<String, Value>>,
    pub(crate) metadata: Option<Map<String, Value>>,
    pub(crate) checkpoint: Option<CheckpointWish>,
    pub(crate) checkpoint_id: Option<String>,
    pub(crate) interrupt_before: Option<Value>,
    pub(crate) interrupt_after: Option<Value>,
    pub(crate) webhook: Option<String>,
    pub(crate) multitask_strategy: Option<String>,
    pub(crate) on_disconnect: Option<String>,
    pub(crate) on_completion: Option<String>,
    pub(crate) if_not_exists: Option<String>,
    pub(crate) after_seconds: Option<f64>,
    pub(crate) durability: Option<String>,
    pub(crate) feedback_keys: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CommandWish {
    pub(crate) update: Option<Value>,
    pub(crate) goto: Option<Value>,
    /// There also when the answer is null.
    #[serde(deserialize_with = "present")]
    pub(crate) resume: Option<Value>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CheckpointWish {
    pub(crate) checkpoint_id: Option<String>,
    pub(crate) checkpoint_ns: Option<String>,
}

/// In whose words something is asked and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    LangGraph,
    AgentProtocol,
}

/// What happens to a run when nobody reads its answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disconnected {
    Cancel,
    Continue,
}

/// What happens to the thread of a run that has one for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completed {
    Delete,
    Keep,
}

/// The graph that is meant when none is named.
pub(crate) const DEFAULT: &str = "agent";

/// Later than that is for crons.
const AFTER_MAX: Duration = Duration::from_secs(365 * 86_400);

impl Wish {
    pub(crate) fn words(&self) -> Words {
        match self.assistant_id {
            Some(_) => Words::LangGraph,
            None => Words::AgentProtocol,
        }
    }

    /// The assistant that is meant, by id or by the name of its graph.
    pub(crate) fn assistant(&self) -> &str {
        self.assistant_id.as_deref().or(self.agent_id.as_deref()).unwrap_or(DEFAULT)
    }

    pub(crate) fn work(&self) -> Result<Work, Refusal> {
        if let Some(command) = &self.command {
            let command = command.read()?;
            if command != Command::default() {
                return Ok(Work::Command(command));
            }
        }
        let mut input = self.input.clone().filter(|input| !input.is_null());
        if let Some(given) = &self.messages {
            let given: Vec<Value> = given.iter().cloned().map(messages::of_role).collect();
            let mut members = match input {
                Some(Value::Object(members)) => members,
                Some(_) => {
                    let message = "with `messages`, `input` must be an object or be left out";
                    return Err(invalid("input", message));
                }
                None => Map::new(),
            };
            members.insert("messages".to_owned(), given.into());
            input = Some(Value::Object(members));
        }
        Ok(input.map_or(Work::Continue, Work::Input))
    }

    pub(crate) fn modes(&self) -> Result<Modes, Refusal> {
        let modes = Modes::read(self.stream_mode.as_ref())?;
        Ok(Modes { subgraphs: self.stream_subgraphs.unwrap_or(false), ..modes })
    }

    /// Where to go on from; nothing when it is the head.
    pub(crate) fn from(&self) -> Result<Option<Place>, Refusal> {
        let configured = self.config.as_ref().and_then(|config| config.get("configurable"));
        let configured = configured.and_then(|it| it.get("checkpoint_id")).and_then(Value::as_str);
        let place = self.checkpoint.clone().unwrap_or_default();
        let id = self.checkpoint_id.as_deref().or(place.checkpoint_id.as_deref()).or(configured);
        let Some(id) = id else { return Ok(None) };
        let ns = place.checkpoint_ns.unwrap_or_default();
        Ok(Some(Place { ns, at: At::Checkpoint(checkpoint_id(id)?) }))
    }

    pub(crate) fn steps_max(&self) -> Result<Option<u32>, Refusal> {
        let limit = self.config.as_ref().and_then(|config| config.get("recursion_limit"));
        match limit {
            None | Some(Value::Null) => Ok(None),
            Some(limit) => match limit.as_u64().and_then(|limit| u32::try_from(limit).ok()) {
                Some(limit) if limit > 0 => Ok(Some(limit)),
                Some(_) | None => {
                    Err(invalid("config.recursion_limit", "it is a whole number of 1 or more"))
                }
            },
        }
    }

    pub(crate) fn multitask(&self) -> Result<Multitask, Refusal> {
        Ok(match self.multitask_strategy.as_deref() {
            None if self.words() == Words::AgentProtocol => Multitask::Reject,
            None | Some("enqueue") => Multitask::Enqueue,
            Some("reject") => Multitask::Reject,
            Some("interrupt") => Multitask::Interrupt,
            Some("rollback") => Multitask::Rollback,
            Some(other) => {
                let known = "reject, enqueue, interrupt, rollback";
                return Err(unknown("multitask_strategy", other, known));
            }
        })
    }

    pub(crate) fn absent(&self) -> Result<Absent, Refusal> {
        match self.if_not_exists.as_deref() {
            None | Some("reject") => Ok(Absent::Refuse),
            Some("create") => Ok(Absent::Create),
            Some(other) => Err(unknown("if_not_exists", other, "create, reject")),
        }
    }

    pub(crate) fn disconnected(&self) -> Result<Disconnected, Refusal> {
        Ok(match self.on_disconnect.as_deref() {
            None if self.words() == Words::AgentProtocol => Disconnected::Cancel,
            None | Some("continue") => Disconnected::Continue,
            Some("cancel") => Disconnected::Cancel,
            Some(other) => return Err(unknown("on_disconnect", other, "cancel, continue")),
        })
    }

    pub(crate) fn completed(&self) -> Result<Completed, Refusal> {
        match self.on_completion.as_deref() {
            None | Some("delete") => Ok(Completed::Delete),
            Some("keep" | "complete") => Ok(Completed::Keep),
            Some(other) => Err(unknown("on_completion", other, "delete, keep")),
        }
    }

    /// What whoever reads the run's end does with its thread. Where somebody else is told of the end, that one removes it.
    pub(crate) fn left_to_reader(&self) -> Result<Completed, Refusal> {
        let completed = self.completed()?;
        Ok(if self.webhook.is_some() { Completed::Keep } else { completed })
    }

    pub(crate) fn after(&self) -> Result<Option<Duration>, Refusal> {
        let Some(seconds) = self.after_seconds.filter(|seconds| *seconds != 0.0) else {
            return Ok(None);
        };
        match Duration::try_from_secs_f64(seconds) {
            Ok(after) if after <= AFTER_MAX => Ok(Some(after)),
            Ok(_) | Err(_) => {
                let message = format!("it is between 0 and {} seconds", AFTER_MAX.as_secs());
                Err(invalid("after_seconds", &message))
            }
        }
    }

    /// Every commit is durable before it is acknowledged, which is the strictest of the three.
    pub(crate) fn check_durability(&self) -> Result<(), Refusal> {
        match self.durability.as_deref() {
            None | Some("sync" | "async" | "exit") => Ok(()),
            Some(other) => Err(unknown("durability", other, "sync, async, exit")),
        }
    }

    pub(crate) fn breakpoints(&self) -> Result<(Breakpoints, Breakpoints), Refusal> {
        let before = breakpoints("interrupt_before", self.interrupt_before.as_ref())?;
        Ok((before, breakpoints("interrupt_after", self.interrupt_after.as_ref())?))
    }

    /// As it is kept with the run.
    pub(crate) fn kept(&self, modes: &Modes) -> Value {
        let Self { input, command, config, context, checkpoint_id, webhook, .. } = self;
        let command = command.as_ref().map(|CommandWish { update, goto, resume }| {
            json!({ "update": update, "goto": goto, "resume": resume })
        });
        let all = json!({
            "input": input,
            "command": command,
            "config": config,
            "context": context,
            "checkpoint_id": checkpoint_id,
            "stream_mode": modes.names(),
            "stream_subgraphs": modes.subgraphs,
            "interrupt_before": self.interrupt_before,
            "interrupt_after": self.interrupt_after,
            "webhook": webhook,
            "feedback_keys": self.feedback_keys,
        });
        match all {
            Value::Object(all) => all.into_iter().filter(|(_, value)| !value.is_null()).collect(),
            other => other,
        }
    }
}

impl CommandWish {
    fn read(&self) -> Result<Command, Refusal> {
        let update = match &self.update {
            None | Some(Value::Null) => Vec::new(),
            Some(update) => pairs(update)?,
        };
        let goto = match &self.goto {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(many)) => many.iter().map(goto).collect::<Result<_, _>>()?,
            Some(one) => vec![goto(one)?],
        };
        let resume = self.resume.clone().map(|answer| match answer {
            Value::Object(named) if !named.is_empty() => Resume::Named(named),
            answer => Resume::One(answer),
        });
        Ok(Command { update, goto, resume })
    }
}

/// An object, or pairs of a channel and what is written to it.
fn pairs(update: &Value) -> Result<Vec<(String, Value)>, Refusal> {
    let pair = |pair: &Value| match pair.as_array().map(Vec::as_slice) {
        Some([Value::String(channel), value]) => Some((channel.clone(), value.clone())),
        _ => None,
    };
    let read = match update {
        Value::Object(members) => {
            Some(members.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
        }
        Value::Array(items) => items.iter().map(pair).collect(),
        _ => None,
    };
    read.ok_or_else(|| {
        invalid("command.update", "it is an object, or a list of pairs of a channel and a value")
    })
}

fn goto(target: &Value) -> Result<Goto, Refusal> {
    let node = target.get("node").and_then(Value::as_str);
    match (target, node) {
        (Value::String(node), _) => Ok(Goto::Node(node.clone())),
        (_, Some(node)) => Ok(Goto::Send {
            node: node.to_owned(),
            input: target.get("input").cloned().unwrap_or_default(),
        }),
        (_, None) => {
            Err(invalid("command.goto", "it is a node's name, {\"node\", \"input\"}, or a list"))
        }
    }
}

fn breakpoints(param: &str, wish: Option<&Value>) -> Result<Breakpoints, Refusal> {
    let name = |name: &Value| name.as_str().map(str::to_owned);
    match wish {
        None | Some(Value::Null) => Ok(Breakpoints::Nowhere),
        Some(Value::String(all)) if all == "*" => Ok(Breakpoints::Everywhere),
        Some(Value::Array(nodes)) if nodes.iter().any(|node| node == "*") => {
            Ok(Breakpoints::Everywhere)
        }
        Some(Value::Array(nodes)) => match nodes.iter().map(name).collect() {
            Some(nodes) => Ok(Breakpoints::Nodes(nodes)),
            None => Err(invalid(param, "it is `*` or a list of names of nodes")),
        },
        Some(_) => Err(invalid(param, "it is `*` or a list of names of nodes")),
    }
}

pub(crate) fn checkpoint_id(id: &str) -> Result<CheckpointId, Refusal> {
    id.parse().map_err(|_| invalid("checkpoint_id", "a checkpoint's id is a UUID"))
}

pub(crate) fn invalid(param: &str, reason: &str) -> Refusal {
    Refusal::bad_request("parameter_invalid", format!("{param}: {reason}")).param(param)
}

pub(crate) fn unknown(param: &str, given: &str, known: &str) -> Refusal {
    let given: String = given.chars().take(40).collect();
    invalid(param, &format!("`{given}` is not one of: {known}"))
}

#[cfg(test)]
mod tests;
