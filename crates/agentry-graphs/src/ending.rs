//! What a node writes when it has come to something, or to nothing.

use agentry_core::run::Delta;
use agentry_engine::{Put, Reducer};
use serde_json::{Value, json};

use crate::definition::OnError;
use crate::view::{ERRORS, Shape};

/// Longer reasons are cut: they stand in the state from then on.
const REASON_LETTERS_MAX: usize = 500;

/// Writes to the channels of the graph.
pub(crate) type Puts = Vec<(String, Put)>;

#[derive(Debug, Clone)]
pub(crate) struct Ending {
    /// Of the node.
    pub(crate) name: String,
    pub(crate) to: To,
    /// What it comes to, when that is a text, was said by a model.
    pub(crate) speaks: bool,
    pub(crate) on_error: OnError,
}

/// Where results go.
#[derive(Debug, Clone)]
pub(crate) enum To {
    State {
        into: Option<String>,
        /// It comes to a list whose items are appended one by one.
        spreads: bool,
    },
    /// To the map around it, in the place of this item.
    Results,
}

/// A map's channels. No key of a state has a dot in its name.
pub(crate) const ITEMS: &str = "map.items";
pub(crate) const STARTED: &str = "map.started";
pub(crate) const RESULTS: &str = "map.results";

impl Ending {
    /// `index` is that of the item, inside of a map.
    pub(crate) fn came(&self, shape: &Shape, index: usize, value: Value) -> Puts {
        match &self.to {
            To::State { .. } => {
                let mut puts = self.write(shape, value);
                puts.extend(self.error(Value::Null));
                puts
            }
            To::Results => {
                let result = json!({ "index": index, "value": value });
                vec![started(), (RESULTS.to_owned(), Put::Append(vec![result]))]
            }
        }
    }

    /// The same for what a model has said: as a message it has the `id` under which it was told piece by piece.
    pub(crate) fn said(&self, shape: &Shape, index: usize, value: Value, id: String) -> Puts {
        let of = |into: &String| shape.keys.get(into).map(|channel| &channel.reducer);
        let is_message = match &self.to {
            To::State { into: Some(into), .. } => of(into) == Some(&Reducer::Messages),
            To::State { into: None, .. } | To::Results => false,
        };
        match value {
            Value::String(text) if is_message => {
                let message = json!([{ "type": "ai", "id": id, "content": text }]);
                self.came(shape, index, message)
            }
            value => self.came(shape, index, value),
        }
    }

    /// To several keys at once.
    pub(crate) fn wrote(&self, shape: &Shape, values: Vec<(String, Value)>) -> Puts {
        let puts = values.into_iter().map(|(key, value)| {
            let put = self.put(shape, &key, value);
            (key, put)
        });
        puts.collect()
    }

    /// Nothing when that is a failure of the run.
    pub(crate) fn failed(&self, shape: &Shape, index: usize, reason: &str) -> Option<Puts> {
        let instead = match &self.on_error {
            OnError::Fail => return None,
            OnError::Skip | OnError::Goto(_) => None,
            OnError::Use(value) => Some(value.value.clone()),
        };
        Some(match (&self.to, instead) {
            (To::State { .. }, instead) => {
                let reason: String = reason.chars().take(REASON_LETTERS_MAX).collect();
                let mut puts = instead.map(|value| self.write(shape, value)).unwrap_or_default();
                puts.extend(self.error(json!({ "message": reason })));
                puts
            }
            (To::Results, Some(value)) => self.came(shape, index, value),
            (To::Results, None) => vec![started()],
        })
    }

    fn error(&self, reason: Value) -> Option<(String, Put)> {
        let is_fatal = matches!(self.on_error, OnError::Fail);
        let errors = json!({ self.name.as_str(): reason });
        (!is_fatal).then(|| (ERRORS.to_owned(), Put::Reduce(errors)))
    }

    fn write(&self, shape: &Shape, value: Value) -> Puts {
        let To::State { into: Some(into), spreads } = &self.to else { return Vec::new() };
        let put = match value {
            Value::Array(items) if *spreads => Put::Append(items),
            value => self.put(shape, into, value),
        };
        vec![(into.clone(), put)]
    }

    /// What a value means for the key's reducer: a list that grows takes it as one item, a conversation as messages.
    fn put(&self, shape: &Shape, key: &str, value: Value) -> Put {
        match (shape.keys.get(key).map(|channel| &channel.reducer), value) {
            (Some(Reducer::Append), value) => Put::Append(vec![value]),
            (Some(Reducer::Messages), Value::String(text)) => {
                let kind = if self.speaks { "ai" } else { "human" };
                Put::Append(vec![json!({ "type": kind, "content": text })])
            }
            (Some(Reducer::Messages), value) => Put::Reduce(value),
            (_, value) => Delta::Set(value).into(),
        }
    }
}

/// One more item of the map is done.
fn started() -> (String, Put) {
    (STARTED.to_owned(), Put::Reduce(1.into()))
}
