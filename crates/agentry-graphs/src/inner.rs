//! A graph that runs inside of a node.
//!
//! It goes in supersteps like any other, but all of it is one visit of the outer node: what it does outside is kept in the
//! run's journal, so that after a crash or an answer it comes back to where it was without doing anything twice.

use std::collections::{BTreeMap, BTreeSet};

use agentry_core::run::Values;
use agentry_engine::{END, NodeError, Reducer};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde_json::{Number, Value};

use crate::compile::Body;
use crate::step::{Outcome, Write};
use crate::view::View;
use crate::work::{Came, Visit, fatal};

/// Nodes of one superstep that run at the same time.
const TOGETHER_MAX: usize = 64;

pub(crate) async fn run(body: &Body, visit: &Visit<'_>, input: Value) -> Result<Came, NodeError> {
    let mut values = body.shape.initial();
    for (key, value) in body.begin(input).map_err(fatal)? {
        let reducer = body.shape.keys.get(&key).map_or(&Reducer::Last, |channel| &channel.reducer);
        let write = match (reducer, value) {
            (Reducer::Append, Value::Array(items)) => Write::Items(items),
            (_, value) => Write::Value(value),
        };
        fold(reducer, values.entry(key).or_default(), write).map_err(fatal)?;
    }
    let mut arrived: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    let mut next: BTreeSet<String> = body.starts.iter().cloned().collect();
    let mut superstep = 0;
    while !next.is_empty() {
        superstep += 1;
        if superstep > body.steps_max {
            let (name, most) = (&body.name, body.steps_max);
            return Err(fatal(format!("the graph `{name}` is not done after {most} supersteps")));
        }
        let finished = match visit_all(body, visit, &values, (&next, superstep)).await? {
            Ok(finished) => finished,
            Err(ask) => return Ok(Came::Asks(ask)),
        };
        for (node, writes) in finished {
            for (key, write) in writes {
                let reducer = body.shape.keys.get(&key).map(|channel| &channel.reducer);
                let wrong = |problem: &str| fatal(format!("`{node}` wrote to `{key}`: {problem}"));
                let reducer = reducer.ok_or_else(|| wrong("there is no such key"))?;
                fold(reducer, values.entry(key.clone()).or_default(), write).map_err(wrong)?;
            }
        }
        let nodes = std::mem::take(&mut next);
        for node in &nodes {
            let view = View::new(&body.shape, &values);
            next.extend(body.routes.after(node, &view).map_err(fatal)?);
            next.extend(body.routes.arrive(node, &mut arrived));
        }
        next.remove(END);
    }
    if let Some(waiting) = arrived.keys().next().and_then(|join| body.routes.joined(*join)) {
        return Err(fatal(format!("`{waiting}` waits for a node that never ran")));
    }
    body.output(&values).map(Came::To).map_err(fatal)
}

type Finished = Vec<(String, Vec<(String, Write)>)>;

/// All nodes of a superstep. When one asks, the others still finish: what they did is kept.
async fn visit_all(
    body: &Body,
    visit: &Visit<'_>,
    values: &Values,
    (nodes, superstep): (&BTreeSet<String>, u32),
) -> Result<Result<Finished, Box<agentry_engine::Ask>>, NodeError> {
    let mut visits = Vec::new();
    for (name, step) in nodes.iter().filter_map(|name| Some((name, body.steps.get(name)?))) {
        let inner = visit.inner(&format!("{name}.{superstep}"));
        let view = View::new(&body.shape, values);
        visits.push(async move { (name.clone(), step.visit(&inner, &view).await) }.boxed());
    }
    let outcomes: Vec<_> = stream::iter(visits).buffered(TOGETHER_MAX).collect().await;
    let (mut finished, mut asks) = (Vec::new(), None);
    for (name, outcome) in outcomes {
        match outcome? {
            Outcome::Writes(writes) => finished.push((name, writes)),
            Outcome::Asks(ask) => asks = asks.or(Some(ask)),
        }
    }
    Ok(asks.map_or(Ok(finished), Err))
}

/// As the engine does it.
fn fold(reducer: &Reducer, current: &mut Value, write: Write) -> Result<(), &'static str> {
    match (reducer, write) {
        (Reducer::Append, Write::Items(items)) => match current {
            Value::Array(list) => list.extend(items),
            other => *other = Value::Array(items),
        },
        (_, Write::Items(_)) => return Err("it is not a list that grows"),
        (Reducer::Last, Write::Value(value)) => *current = value,
        (Reducer::Sum, Write::Value(value)) => {
            *current = number(current, value, i64::checked_add, |a, b| a + b)?;
        }
        (Reducer::Max, Write::Value(value)) => {
            *current = number(current, value, |a, b| Some(a.max(b)), f64::max)?;
        }
        (Reducer::Merge, Write::Value(Value::Object(members))) => match current {
            Value::Object(known) => known.extend(members),
            other => *other = Value::Object(members),
        },
        (Reducer::Merge, Write::Value(_)) => return Err("it is merged, so it takes an object"),
        (_, Write::Value(_)) => return Err("its reducer is not for graphs as data"),
    }
    Ok(())
}

fn number(
    current: &Value,
    value: Value,
    whole: fn(i64, i64) -> Option<i64>,
    other: fn(f64, f64) -> f64,
) -> Result<Value, &'static str> {
    let Value::Number(new) = &value else { return Err("it takes numbers only") };
    let Value::Number(known) = current else { return Ok(value) };
    if let (Some(a), Some(b)) = (known.as_i64(), new.as_i64())
        && let Some(result) = whole(a, b)
    {
        return Ok(result.into());
    }
    let both = known.as_f64().zip(new.as_f64());
    let result = both.and_then(|(a, b)| Number::from_f64(other(a, b)));
    result.map(Value::Number).ok_or("the number is too large")
}
