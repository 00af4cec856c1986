//! The form of the recordings.

use std::collections::BTreeMap;

use agentry_engine::machine::view::{Moment, View};
use agentry_engine::stream::{Mode, Part};
use serde_json::{Map, Value, json};

pub(crate) fn error(code: &str) -> &'static str {
    match code {
        "graph_conflict" => "InvalidUpdateError",
        "graph_steps" => "GraphRecursionError",
        "graph_route" => "KeyError",
        _ => "ConnectionError",
    }
}

pub(crate) fn state(view: &View, calls: &BTreeMap<String, u64>) -> Map<String, Value> {
    let mut next = view.next.clone();
    next.sort();
    let mut interrupts: Vec<_> =
        view.interrupts().into_iter().map(|asked| asked.value.clone()).collect();
    interrupts.sort_by_key(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let told = json!({
        "state": sorted(&json!(view.values)), "next": next, "interrupts": interrupts, "calls": calls,
    });
    told.as_object().cloned().unwrap_or_default()
}

pub(crate) fn moment(moment: &Moment) -> Value {
    let mut next = moment.view.next.clone();
    next.sort();
    let (step, source) = (moment.checkpoint.step, moment.checkpoint.source);
    json!({ "step": step, "source": source, "values": sorted(&json!(moment.view.values)), "next": next })
}

pub(crate) fn stream(parts: &[Part]) -> Value {
    let of = |mode: Mode| -> Vec<Value> {
        let mine = parts.iter().filter(|part| part.mode == mode);
        mine.map(|part| json!([names(&part.ns), shown(mode, &part.data)])).collect()
    };
    let (mut updates, mut tasks) = (of(Mode::Updates), of(Mode::Tasks));
    // Tasks that run side by side end in any order.
    updates.sort_by_key(dump);
    tasks.sort_by_key(dump);
    json!({
        "updates": updates, "values": of(Mode::Values), "tasks": tasks, "custom": of(Mode::Custom),
    })
}

fn names(ns: &[String]) -> Vec<&str> {
    ns.iter().map(|part| part.split(':').next().unwrap_or_default()).collect()
}

fn shown(mode: Mode, data: &Value) -> Value {
    if mode != Mode::Tasks {
        return sorted(data);
    }
    match data.get("triggers") {
        Some(triggers) => json!({ "name": data["name"], "phase": "start", "triggers": triggers }),
        None => json!({ "name": data["name"], "phase": "result" }),
    }
}

/// Members in order, questions without their ids, and overwriting as the other engine prints it.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) if members.get("type").is_some_and(|it| it == "__overwrite__") => {
            let value = python(&members["value"]);
            format!("Overwrite(value={value}, type='__overwrite__')").into()
        }
        Value::Object(members) => {
            let mut keys: Vec<_> = members.keys().collect();
            keys.sort();
            let asked = |key: &str| key == "__interrupt__";
            let all = keys.into_iter().map(|key| {
                let value = &members[key];
                (key.clone(), if asked(key) { questions(value) } else { sorted(value) })
            });
            Value::Object(all.collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn questions(asked: &Value) -> Value {
    let asked = asked.as_array().into_iter().flatten();
    asked.map(|asked| json!({ "value": asked["value"] })).collect()
}

/// As Python prints it.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("'{text}'"),
        Value::Array(items) => format!("[{}]", joined(items.iter().map(python))),
        Value::Object(members) => {
            let all = members.iter().map(|(key, value)| format!("'{key}': {}", python(value)));
            format!("{{{}}}", joined(all))
        }
    }
}

/// As Python writes JSON with its members sorted.
fn dump(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", joined(items.iter().map(dump))),
        Value::Object(members) => {
            let mut keys: Vec<_> = members.keys().collect();
            keys.sort();
            let member = |key: &String| format!("{}: {}", json!(key), dump(&members[key]));
            format!("{{{}}}", joined(keys.into_iter().map(member)))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}
