//! A scenario's graph as a program.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentry_core::run::Values;
use agentry_engine::graph::{Memory, Returns};
use agentry_engine::node::from_fn;
use agentry_engine::{
    END, Goto, Graph, GraphBuilder, Node, NodeContext, NodeError, NodeOutput, NodeSettings,
    Program, Reducer, START,
};
use serde_json::{Map, Value, json};

/// How often each node was called.
pub(crate) type Calls = Arc<Mutex<BTreeMap<String, u64>>>;

pub(crate) fn program(scenario: &Value, calls: &Calls) -> Result<Program, String> {
    let name = scenario["name"].as_str().unwrap_or("graph");
    let mut builder = Graph::builder(name).open_ended();
    if let Some(limit) = scenario["recursion_limit"].as_u64() {
        builder = builder.steps_max(u32::try_from(limit).unwrap_or(u32::MAX));
    } else {
        builder = builder.steps_max(50);
    }
    for (channel, spec) in members(&scenario["channels"]) {
        builder = match spec["reducer"].as_str() {
            Some("last") => builder.channel(channel, Reducer::Last),
            Some("append") => builder.channel_from(channel, Reducer::Append, json!([])),
            Some("sum") => builder.channel_from(channel, Reducer::Sum, 0),
            Some("max") => builder.channel_from(channel, Reducer::Max, 0),
            Some("merge") => builder.channel_from(channel, Reducer::Merge, json!({})),
            other => return Err(format!("there is no reducer {other:?}")),
        };
    }
    for (name, spec) in members(&scenario["nodes"]) {
        builder = node(builder, name, spec, calls)?;
    }
    for edge in list(&scenario["edges"]) {
        let to = target(edge[1].as_str().unwrap_or_default());
        builder = match &edge[0] {
            Value::Array(from) => builder.join(from.iter().filter_map(Value::as_str), to),
            from => builder.edge(target(from.as_str().unwrap_or_default()), to),
        };
    }
    for (number, spec) in list(&scenario["branches"]).iter().enumerate() {
        let from = target(spec["from"].as_str().unwrap_or_default());
        let (name, spec) = (format!("branch{number}"), spec.clone());
        builder = builder.branch(from, &name, [], move |state| branch(&spec, state));
    }
    let names = |key: &str| -> Vec<String> {
        list(&scenario[key]).iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let (before, after) = (names("interrupt_before"), names("interrupt_after"));
    builder = builder.stop_before(before.iter().map(String::as_str));
    builder = builder.stop_after(after.iter().map(String::as_str));
    builder.build().map_err(|problem| problem.to_string())
}

fn node(
    builder: GraphBuilder,
    name: &str,
    spec: &Value,
    calls: &Calls,
) -> Result<GraphBuilder, String> {
    let mut settings = NodeSettings::default();
    if spec["defer"] == true {
        settings = settings.deferred();
    }
    if let Some(attempts) = spec["retry"].as_u64() {
        let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
        settings = settings.attempts(attempts, Duration::from_millis(1));
    }
    if spec["cache"] == true {
        settings = settings.cached(None);
    }
    if let Some(subgraph) = spec.get("subgraph") {
        // Calls inside are counted by nobody, as in the recordings.
        let inner = program(subgraph, &Calls::default())?;
        let memory = if subgraph["checkpointer"] == true { Memory::Thread } else { Memory::Visit };
        return Ok(builder.subgraph_with(name, settings, (inner, memory, Returns::Whole)));
    }
    Ok(builder.node_with(name, settings, function(name, spec, calls)))
}

fn function(name: &str, spec: &Value, calls: &Calls) -> impl Node + use<> {
    let (name, calls) = (name.to_owned(), Arc::clone(calls));
    let ops: Arc<Vec<Value>> = Arc::new(list(&spec["do"]).to_vec());
    from_fn(move |cx, state| {
        let call = {
            let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
            let count = calls.entry(name.clone()).or_default();
            *count += 1;
            *count
        };
        let ops = Arc::clone(&ops);
        Box::pin(async move { perform(&ops, call, (cx, state)) })
    })
}

fn perform(
    ops: &[Value],
    call: u64,
    (cx, state): (&NodeContext, &Values),
) -> Result<NodeOutput, NodeError> {
    let mut update: Map<String, Value> = Map::new();
    let mut overwrites = Vec::new();
    let mut ways = Vec::new();
    let mut to_parent = false;
    for op in ops {
        let key =
            || op["key"].as_str().or_else(|| op["into"].as_str()).unwrap_or_default().to_owned();
        let to = || op["to"].as_str().unwrap_or_default().to_owned();
        match op["op"].as_str() {
            Some("write") => {
                if let Value::Object(values) = filled(&op["values"], state) {
                    update.extend(values);
                }
            }
            Some("overwrite") => {
                overwrites.push(key());
                update.insert(key(), filled(&op["value"], state));
            }
            Some("fail") if op["times"].as_u64().is_none_or(|times| call <= times) => {
                return Err(NodeError::transient(op["msg"].as_str().unwrap_or("boom")));
            }
            Some("fail") => {}
            Some("interrupt") => {
                let answer = cx.interrupt(filled(&op["value"], state))?;
                let wrapped = if op["wrap"] == true { json!([answer]) } else { answer };
                update.insert(key(), wrapped);
            }
            Some("goto" | "goto_parent") => {
                ways = vec![Goto::Node(target(&to()).to_owned())];
                to_parent = op["op"] == "goto_parent";
            }
            Some("send") => {
                let args = list(&op["args"]).iter();
                ways = args.map(|arg| Goto::Send { node: to(), arg: filled(arg, state) }).collect();
            }
            other => return Err(NodeError::fatal(format!("there is no operation {other:?}"))),
        }
    }
    let mut output = NodeOutput::done();
    for (key, value) in update {
        output = if overwrites.contains(&key) {
            output.overwrite(&key, value)
        } else {
            output.update(&key, value)
        };
    }
    let output = ways.into_iter().fold(output, NodeOutput::goto);
    Ok(if to_parent { output.for_parent() } else { output })
}

/// `$key` is the state's value, `$key+1` one more than that.
fn filled(value: &Value, state: &Values) -> Value {
    match value {
        Value::String(text) => match text.strip_prefix('$').map(|rest| rest.split_once('+')) {
            None => value.clone(),
            Some(None) => state.get(&text[1..]).cloned().unwrap_or_default(),
            Some(Some((key, add))) => {
                let now = state.get(key).and_then(Value::as_i64).unwrap_or_default();
                (now + add.parse::<i64>().unwrap_or_default()).into()
            }
        },
        Value::Array(items) => items.iter().map(|item| filled(item, state)).collect(),
        Value::Object(members) => {
            members.iter().map(|(key, value)| (key.clone(), filled(value, state))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn branch(spec: &Value, state: &Values) -> Result<Vec<Goto>, NodeError> {
    let missing = |key: &str| NodeError::fatal(format!("there is no `{key}`"));
    if let Some(to) = spec["send"].as_str() {
        let over = spec["over"].as_str().unwrap_or_default();
        let items = state.get(over).ok_or_else(|| missing(over))?;
        let name = spec["as"].as_str().unwrap_or_default();
        let sends = list(items).iter().map(|item| Goto::send(to, json!({ name: item })));
        return Ok(sends.collect());
    }
    let by = spec["by"].as_str().unwrap_or_default();
    let key = match state.get(by) {
        None | Some(Value::Null) => "None".to_owned(),
        Some(Value::Bool(true)) => "True".to_owned(),
        Some(Value::Bool(false)) => "False".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let to = spec["map"].get(&key).and_then(Value::as_str).ok_or_else(|| missing(&key))?;
    Ok(vec![Goto::node(target(to))])
}

fn target(name: &str) -> &str {
    match name {
        "__start__" => START,
        "__end__" => END,
        name => name,
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}
