//! The world that effects change: it remembers everything that was done to it, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use agentry_engine::Class;
use agentry_engine::effect::Undone;
use serde_json::{Value, json};

use crate::history::History;

/// One act, under a name that says which run or thread wanted it, where and why.
#[derive(Debug, Clone)]
struct Act {
    keys: BTreeSet<String>,
    performed: usize,
    refused: bool,
}

#[derive(Default)]
pub(crate) struct Outside {
    acts: Mutex<BTreeMap<String, Act>>,
}

impl Outside {
    /// `refuses` says that the first attempt comes to nothing, and that this is known.
    pub(crate) fn act(
        &self,
        (name, key): (&str, String),
        (class, refuses): (Class, bool),
        history: &History,
    ) -> Result<Value, Undone> {
        let mut acts = self.acts.lock().unwrap_or_else(PoisonError::into_inner);
        let once = class == Class::Once;
        let act = acts.entry(name.to_owned()).or_insert_with(|| Act {
            keys: BTreeSet::new(),
            performed: 0,
            refused: false,
        });
        act.keys.insert(key);
        if refuses && !act.refused {
            act.refused = true;
            history.tell(|| format!("world: {name} was not done"));
            return Err(Undone::NotDone("the bank is closed".to_owned()));
        }
        act.performed += 1;
        history.tell(|| format!("world: {name} was done, time {}", act.performed));
        if once && act.performed > 1 {
            history.wrong(format!("`{name}` may happen once and was done {} times", act.performed));
        }
        if act.keys.len() > 1 {
            history.wrong(format!("`{name}` was asked for under several keys"));
        }
        Ok(json!("done"))
    }

    pub(crate) fn performed(&self, name: &str) -> usize {
        let acts = self.acts.lock().unwrap_or_else(PoisonError::into_inner);
        acts.get(name).map_or(0, |act| act.performed)
    }
}
