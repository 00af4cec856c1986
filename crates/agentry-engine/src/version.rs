//! Versions of graphs: what becomes of the threads of one when there is another.
//!
//! A thread is pinned to the version that it runs on. Its graph's [`Policy`] says what happens when that is no longer the
//! current one; [`Migration`]s bring its state forward, from one version of the state's schema to the next. A thread that is
//! moved gets one more entry in its log, which holds all that it comes to in the new version. What was before stays readable
//! without the old one, and is a place to go back to.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentry_core::run::Values;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{GraphBuilder, Program};

mod carry;
mod fit;
mod image;
mod mover;
mod outlook;
mod shape;
mod stand;

pub(crate) use mover::{Orphans, bring_over, orphans};
pub use outlook::{Change, Outlook, Verdict};
pub(crate) use stand::{load, stand};

/// What becomes of a thread whose version of its graph is not the current one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// It is not gone on with.
    Refuse,
    /// It goes on with its own version, where there is one; elsewhere it is not gone on with.
    #[default]
    Pin,
    /// It is moved to the current version when it goes on, if it fits.
    Migrate,
}

/// Brings the state of a thread from one version of its schema to the next.
#[derive(Clone)]
pub struct Migration {
    name: String,
    run: Step,
}

type Step = Arc<dyn Fn(&mut Moving) -> Result<(), String> + Send + Sync>;

/// What a migration may change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moving {
    /// The state of the thread's own graph.
    pub values: Values,
    nodes: BTreeMap<String, String>,
}

impl Migration {
    /// `run` must be pure: a dry run calls it too.
    #[must_use]
    pub fn new(
        name: &str,
        run: impl Fn(&mut Moving) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.to_owned(), run: Arc::new(run) }
    }
}

impl Moving {
    #[must_use]
    pub fn new(values: Values) -> Self {
        Self { values, nodes: BTreeMap::new() }
    }

    /// What is under `key` is under `to` from now on.
    pub fn rename(&mut self, key: &str, to: &str) {
        if let Some(value) = self.values.remove(key) {
            self.values.insert(to.to_owned(), value);
        }
    }

    /// Used where the state has nothing under `key`.
    pub fn provide(&mut self, key: &str, value: impl Into<Value>) {
        self.values.entry(key.to_owned()).or_insert_with(|| value.into());
    }

    pub fn drop(&mut self, key: &str) {
        self.values.remove(key);
    }

    /// Tasks of `node` are tasks of `to` from now on.
    pub fn rename_node(&mut self, node: &str, to: &str) {
        for now in self.nodes.values_mut().filter(|now| *now == node) {
            to.clone_into(now);
        }
        self.nodes.insert(node.to_owned(), to.to_owned());
    }
}

/// What a program knows of its threads of other versions.
#[derive(Clone, Default)]
pub(crate) struct Evolution {
    pub policy: Policy,
    /// The first one brings a state of schema 1 to schema 2.
    pub migrations: Vec<Migration>,
}

impl Evolution {
    /// A graph's version, and behind it that of its state's schema, unless that is the first one.
    pub(crate) fn version(&self, graph: String) -> String {
        match self.migrations.len() {
            0 => graph,
            steps => format!("{graph}{SCHEMA}{}", steps + 1),
        }
    }
}

const SCHEMA: char = '@';

/// The version of the state's schema that a version of a graph has.
#[must_use]
pub fn schema_of(version: &str) -> usize {
    version.split_once(SCHEMA).and_then(|(_, schema)| schema.parse().ok()).unwrap_or(1)
}

impl GraphBuilder {
    /// What becomes of threads of other versions of this graph.
    #[must_use]
    pub fn on_change(mut self, policy: Policy) -> Self {
        self.evolution.policy = policy;
        self
    }

    /// Adds one to the versions of the state's schema. Migrations are never taken away nor changed: threads may have any of
    /// the versions before.
    #[must_use]
    pub fn migration(
        mut self,
        name: &str,
        run: impl Fn(&mut Moving) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.evolution.migrations.push(Migration::new(name, run));
        self
    }
}

impl Program {
    #[must_use]
    pub fn on_change(&self) -> Policy {
        self.evolution().policy
    }
}

#[cfg(test)]
mod tests;
