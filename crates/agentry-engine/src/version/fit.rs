//! Whether a thread can be one of another version of its graph.

use serde_json::Value;

use super::image;
use crate::graph::Reducer;
use crate::machine::Machine;
use crate::machine::scope::{Phase, ROOT_IX};
use crate::plan::{INPUT, START_IX};
use crate::program::Program;

/// Tasks that are open and that nobody would do.
pub(super) fn homeless(body: &Value, program: &Program) -> Vec<String> {
    let plan = program.plan();
    let mut gone: Vec<_> = image::open(body)
        .into_iter()
        .filter(|name| name != INPUT && plan.find(name).is_none())
        .collect();
    gone.sort();
    gone.dedup();
    let why = |name: String| {
        format!(
            "a task of the node `{name}` is open, which the graph has no more: keep the node, or rename it in a migration"
        )
    };
    gone.into_iter().map(why).collect()
}

/// What the thread has that its graph cannot go on with.
pub(super) fn unfit(machine: &Machine) -> Vec<String> {
    let Some(root) = machine.scope(ROOT_IX) else { return Vec::new() };
    let channels = &root.plan.channels;
    let mut why = Vec::new();
    for (key, value) in root.values.iter() {
        let Some(channel) = channels.get(key) else { continue };
        if !takes(&channel.reducer, value) {
            why.push(format!(
                "the key `{key}` holds {}, which the reducer `{}` cannot add to: convert it in a migration",
                kind(value),
                name(&channel.reducer)
            ));
        }
    }
    // Input may bring what nobody has declared.
    for task in root.tasks.iter().filter(|task| task.node != START_IX) {
        let Phase::Done(done) = &task.phase else { continue };
        let unknown = done.puts.iter().filter(|(key, _)| !channels.contains_key(key));
        why.extend(unknown.map(|(key, _)| {
            format!("a task that is done has written `{key}`, which the graph has no more: let the run end first")
        }));
    }
    why
}

fn takes(reducer: &Reducer, value: &Value) -> bool {
    match reducer {
        _ if value.is_null() => true,
        Reducer::Append | Reducer::Messages => value.is_array(),
        Reducer::Sum | Reducer::Max => value.is_number(),
        Reducer::Merge => value.is_object(),
        Reducer::Last | Reducer::Custom(_) => true,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn name(reducer: &Reducer) -> &str {
    match reducer {
        Reducer::Last => "last",
        Reducer::Append => "append",
        Reducer::Sum => "sum",
        Reducer::Max => "max",
        Reducer::Merge => "merge",
        Reducer::Messages => "messages",
        Reducer::Custom(name) => name,
    }
}
