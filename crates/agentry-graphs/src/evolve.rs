//! How threads of earlier versions of a graph come to the current one: `on_change` and `[[migrations]]`.

use std::collections::BTreeMap;

use agentry_engine::GraphBuilder;
use agentry_engine::version::{Moving, Policy};
use agentry_notation::reader::nearest;
use agentry_notation::tree::Value as Written;
use agentry_notation::{At, Problem, Reader, Unreadable, value};
use serde_json::Value;

use crate::definition::{Source, Spot, json};
use crate::expression::Expression;
use crate::types::Type;

/// What a file says of threads of other versions.
#[derive(Debug, Clone, Default)]
pub struct Evolution {
    /// Without one, threads are moved if they fit: a file has one version alone.
    pub on_change: Option<Policy>,
    pub migrations: Vec<Migration>,
}

/// From one version of the state to the next one. What it says happens in this order.
#[derive(Debug, Clone)]
pub struct Migration {
    pub name: String,
    /// Keys of the state, by what they are called before.
    pub rename: BTreeMap<String, String>,
    /// Nodes, by what they are called before.
    pub nodes: BTreeMap<String, String>,
    /// Where the state has nothing.
    pub default: BTreeMap<String, Value>,
    /// From the state as it is by then.
    pub set: Vec<(String, Spot<Expression>)>,
    pub drop: Vec<String>,
}

const POLICIES: [(&str, Policy); 3] =
    [("migrate", Policy::Migrate), ("pin", Policy::Pin), ("refuse", Policy::Refuse)];

pub(crate) fn read(root: &mut Reader<'_>, source: &Source<'_>) -> Evolution {
    let on_change = root.read("on_change", policy).map(|at| at.value);
    let tables = root.each("migrations").into_iter().enumerate();
    let migrations = tables.map(|(number, table)| migration(table, number + 2, source)).collect();
    Evolution { on_change, migrations }
}

fn policy(written: &Written) -> Result<Policy, Unreadable> {
    let word = value::text(written)?;
    if let Some((_, policy)) = POLICIES.iter().find(|(name, _)| *name == word) {
        return Ok(*policy);
    }
    let names = POLICIES.map(|(name, _)| name);
    let help = match nearest(&word, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", names.join(", ")),
    };
    Err(Unreadable::new(format!("is \"{word}\", which is none of the ways")).help(help))
}

fn migration(mut table: Reader<'_>, to: usize, source: &Source<'_>) -> Migration {
    let notes = table.notes();
    let name = table.read("name", value::text);
    let name = name.map_or_else(|| format!("to version {to} of the state"), |at| at.value);
    let drop = table.list("drop", value::text);
    let drop = drop.into_iter().flat_map(|at| at.value).map(|at| at.value).collect();
    let texts =
        |inner: Option<Reader<'_>>| inner.map(|inner| inner.all(value::text)).unwrap_or_default();
    let pairs = |all: Vec<(String, At<String>)>| -> BTreeMap<_, _> {
        all.into_iter().map(|(from, to)| (from, to.value)).collect()
    };
    let rename = pairs(texts(table.table("rename")));
    let nodes = pairs(texts(table.table("nodes")));
    let default = table.table("default").map(|inner| inner.all(json)).unwrap_or_default();
    let default = default.into_iter().map(|(key, value)| (key, value.value)).collect();
    let set = texts(table.table("set"))
        .into_iter()
        .filter_map(|(key, text)| Some((key, source.parse(notes, &text, Expression::parse)?)));
    let set = set.collect();
    let migration = Migration { name, rename, nodes, default, set, drop };
    let empty = migration.rename.is_empty()
        && migration.nodes.is_empty()
        && migration.default.is_empty()
        && migration.set.is_empty()
        && migration.drop.is_empty();
    if empty {
        let message = "this migration changes nothing";
        let help = "give it `rename`, `nodes`, `default`, `set` or `drop`";
        notes.report(Problem::new(table.place().clone(), message).help(help));
    }
    table.finish();
    migration
}

impl Evolution {
    /// What threads of other versions are to this graph.
    pub(crate) fn evolve(&self, builder: GraphBuilder) -> GraphBuilder {
        let builder = builder.on_change(self.on_change.unwrap_or(Policy::Migrate));
        self.migrations.iter().fold(builder, |builder, migration| {
            let this = migration.clone();
            builder.migration(&migration.name, move |thread| this.run(thread))
        })
    }
}

impl Migration {
    fn run(&self, thread: &mut Moving) -> Result<(), String> {
        let Self { name: _, rename, nodes, default, set, drop } = self;
        // Two keys may change places.
        let taken: Vec<_> = rename
            .iter()
            .filter_map(|(key, to)| Some((to.clone(), thread.values.remove(key)?)))
            .collect();
        thread.values.extend(taken);
        for (node, to) in nodes {
            thread.rename_node(node, to);
        }
        for (key, value) in default {
            thread.provide(key, value.clone());
        }
        for (key, expression) in set {
            let given =
                |name: &str| (thread.values.get(name).cloned().unwrap_or_default(), Type::Any);
            let value = expression.value.evaluate(given)?;
            thread.values.insert(key.clone(), value);
        }
        for key in drop {
            thread.drop(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
