//! A snapshot's words, changed as a thread is moved.

use std::collections::BTreeMap;

use serde_json::Value;

/// Gives nodes of the thread's own graph other names.
pub(super) fn rename(body: &mut Value, names: &BTreeMap<String, String>) {
    let Some(root) = root(body) else { return };
    let rename = |name: &mut Value| {
        if let Some(to) = name.as_str().and_then(|name| names.get(name)) {
            *name = Value::String(to.clone());
        }
    };
    for task in root.get_mut("tasks").and_then(Value::as_array_mut).into_iter().flatten() {
        let planned = match task.get_mut("planned") {
            Some(Value::Object(sent)) => sent.get_mut("node"),
            planned => planned,
        };
        let Some(name) = planned else { continue };
        let before = name.clone();
        rename(name);
        if *name != before {
            keep_name(task, before);
        }
        let goto = task.pointer_mut("/phase/goto").and_then(Value::as_array_mut);
        for way in goto.into_iter().flatten() {
            match way {
                Value::Object(sent) => sent.get_mut("node").into_iter().for_each(rename),
                name => rename(name),
            }
        }
    }
    if let Some(Value::Object(arrived)) = root.get_mut("arrived") {
        let renamed = std::mem::take(arrived).into_iter().map(|(name, mut from)| {
            from.as_array_mut().into_iter().flatten().for_each(rename);
            let new = |name: &str| names.get(name).map_or(name, String::as_str).to_owned();
            let join = join_parts(&name).map(|(from, to)| {
                let from: Vec<_> = from.into_iter().map(new).collect();
                format!("join:{}:{}", from.join("+"), new(to))
            });
            let join = join.unwrap_or(name);
            (join, from)
        });
        *arrived = renamed.collect();
    }
    root.get_mut("deferred").and_then(Value::as_array_mut).into_iter().flatten().for_each(rename);
    root.get_mut("last").and_then(|last| last.get_mut("node")).into_iter().for_each(rename);
}

/// What a task has done outside is known by the name that its node had.
fn keep_name(task: &mut Value, name: Value) {
    let Some(task) = task.as_object_mut() else { return };
    let more = task.entry("more").or_insert(Value::Null);
    if more.is_null() {
        *more = Value::Object(serde_json::Map::new());
    }
    if let Some(more) = more.as_object_mut() {
        more.entry("known_as").or_insert(name);
    }
}

/// Forgets of a thread with nothing to do what only its past needs: who ran last, and who arrived where nobody waits.
pub(super) fn forget(body: &mut Value, is_known: impl Fn(&str) -> bool) {
    let Some(root) = root(body) else { return };
    let last = root.get("last").and_then(|last| last.get("node")).and_then(Value::as_str);
    if last.is_some_and(|name| !is_known(name))
        && let Some(last) = root.get_mut("last")
    {
        *last = Value::String("several".to_owned());
    }
    if root.get("tasks").and_then(Value::as_array).is_none_or(Vec::is_empty)
        && let Some(arrived) = root.get_mut("arrived").and_then(Value::as_object_mut)
    {
        arrived.clear();
    }
}

/// The nodes of the thread's own graph that have something to do.
pub(super) fn open(body: &Value) -> Vec<String> {
    let scopes = body.get("scopes").and_then(Value::as_array).into_iter().flatten();
    let mut root = scopes.filter(|scope| scope.get("ns").and_then(Value::as_str) == Some(""));
    let tasks = root.next().and_then(|root| root.get("tasks")).and_then(Value::as_array);
    let settled = |task: &&Value| {
        let phase = task.pointer("/phase/is").and_then(Value::as_str);
        !matches!(phase, Some("replaced"))
    };
    let planned =
        tasks.into_iter().flatten().filter(settled).filter_map(|task| task.get("planned"));
    let name = |planned: &Value| {
        planned.as_str().or_else(|| planned.get("node")?.as_str()).map(str::to_owned)
    };
    planned.filter_map(name).collect()
}

/// Graphs inside of nodes that are under way, or that remember.
pub(super) fn has_inner(body: &Value) -> bool {
    let count = |name: &str| body.get(name).and_then(Value::as_array).map_or(0, Vec::len);
    count("scopes") > 1 || count("kept") > 0
}

/// Whom a join waits for, and where it leads.
pub(super) fn join_parts(name: &str) -> Option<(Vec<&str>, &str)> {
    let (from, to) = name.strip_prefix("join:")?.rsplit_once(':')?;
    Some((from.split('+').collect(), to))
}

fn root(body: &mut Value) -> Option<&mut Value> {
    let mut scopes = body.get_mut("scopes")?.as_array_mut()?.iter_mut();
    scopes.find(|scope| scope.get("ns").and_then(Value::as_str) == Some(""))
}
