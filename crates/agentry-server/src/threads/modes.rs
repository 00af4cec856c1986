//! Which of the things that happen a listener wants.

use serde_json::Value;

use super::engine::Wanted;
use crate::Refusal;

/// One way to look at a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Values,
    Updates,
    /// Messages as they are so far.
    Messages,
    /// Pieces of messages.
    MessagesTuple,
    Custom,
    Tasks,
    Checkpoints,
    Debug,
    /// In the words of LangChain's callbacks.
    Events,
}

impl Mode {
    const ALL: [(Self, &str); 9] = [
        (Self::Values, "values"),
        (Self::Updates, "updates"),
        (Self::Messages, "messages"),
        (Self::MessagesTuple, "messages-tuple"),
        (Self::Custom, "custom"),
        (Self::Tasks, "tasks"),
        (Self::Checkpoints, "checkpoints"),
        (Self::Debug, "debug"),
        (Self::Events, "events"),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(mode, _)| *mode)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Modes {
    pub(crate) modes: Vec<Mode>,
    /// What happens in subgraphs too.
    pub(crate) subgraphs: bool,
}

impl Modes {
    pub(crate) fn usual() -> Self {
        Self { modes: vec![Mode::Values], subgraphs: false }
    }

    /// Nothing but beginnings and ends.
    pub(crate) fn none() -> Self {
        Self { modes: Vec::new(), subgraphs: false }
    }

    /// One name or a list of them; `values` when there is nothing.
    pub(crate) fn read(wish: Option<&Value>) -> Result<Self, Refusal> {
        let names: Vec<&Value> = match wish {
            None | Some(Value::Null) => return Ok(Self::usual()),
            Some(Value::Array(names)) => names.iter().collect(),
            Some(name) => vec![name],
        };
        let modes = names.into_iter().map(|name| Self::mode(name.as_str().unwrap_or_default()));
        let modes: Vec<Mode> =
            modes.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        Ok(Self { modes, subgraphs: false })
    }

    /// As in `?stream_mode=values&stream_mode=updates`, `values,updates` or `["values"]`.
    pub(crate) fn named(wish: &str) -> Result<Self, Refusal> {
        match wish.trim_start().starts_with('[') {
            true => Self::read(serde_json::from_str(wish).ok().as_ref()),
            false => {
                let names = wish.split(',').map(str::trim).filter(|name| !name.is_empty());
                let names: Vec<Value> = names.map(Value::from).collect();
                Self::read((!names.is_empty()).then(|| Value::from(names)).as_ref())
            }
        }
    }

    fn mode(name: &str) -> Result<Option<Mode>, Refusal> {
        match (Mode::named(name), name) {
            (Some(mode), _) => Ok(Some(mode)),
            // There is nothing of the kind to tell.
            (None, "tools" | "lifecycle") => Ok(None),
            (None, _) => {
                let known: Vec<&str> = Mode::ALL.iter().map(|(_, name)| *name).collect();
                let shown: String = name.chars().take(40).collect();
                let message = format!("stream_mode `{shown}` is not one of: {}", known.join(", "));
                Err(Refusal::bad_request("stream_mode_unknown", message).param("stream_mode"))
            }
        }
    }

    pub(crate) fn has(&self, mode: Mode) -> bool {
        self.modes.contains(&mode)
    }

    pub(crate) fn wanted(&self) -> Wanted {
        let any = |modes: &[Mode]| modes.iter().any(|mode| self.has(*mode));
        Wanted {
            values: self.has(Mode::Values),
            updates: self.has(Mode::Updates),
            messages: any(&[Mode::Messages, Mode::MessagesTuple, Mode::Events]),
            custom: self.has(Mode::Custom),
            tasks: any(&[Mode::Tasks, Mode::Events]),
            checkpoints: self.has(Mode::Checkpoints),
            debug: self.has(Mode::Debug),
            subgraphs: self.subgraphs,
        }
    }

    /// As they are kept with a run, for those who listen to its thread.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        let known = Mode::ALL.iter().filter(|(mode, _)| self.has(*mode));
        known.map(|(_, name)| *name).collect()
    }
}
