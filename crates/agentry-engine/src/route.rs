//! Where a run goes when nodes have finished.

use std::collections::{BTreeMap, BTreeSet};

use agentry_core::run::Values;

use crate::graph::{END, Edge};
use crate::node::Goto;
use crate::program::Program;

/// The nodes of the next superstep. `arrived` remembers who has reached a join.
pub(crate) fn route<'a>(
    program: &Program,
    arrived: &mut BTreeMap<String, BTreeSet<String>>,
    finished: impl IntoIterator<Item = &'a str>,
    values: &Values,
) -> Result<BTreeSet<String>, String> {
    let mut next = BTreeSet::new();
    for node in finished {
        leave(program, node, values, &mut next)?;
        for edge in &program.graph().edges {
            let Edge::Join { from, to } = edge else { continue };
            if !from.iter().any(|source| source == node) {
                continue;
            }
            let key = format!("{to}<{}", from.join(","));
            let here = arrived.entry(key.clone()).or_default();
            here.insert(node.to_owned());
            if from.iter().all(|source| here.contains(source)) {
                arrived.remove(&key);
                next.insert(to.clone());
            }
        }
    }
    next.remove(END);
    Ok(next)
}

/// Follows every edge of `node` but its joins.
fn leave(
    program: &Program,
    node: &str,
    values: &Values,
    next: &mut BTreeSet<String>,
) -> Result<(), String> {
    let mut decided = false;
    let mut otherwise = Vec::new();
    for edge in &program.graph().edges {
        match edge {
            Edge::Plain { from, to } if from == node => {
                next.insert(to.clone());
            }
            Edge::When { from, condition, to } if from == node => {
                if !decided && condition.holds(values) {
                    decided = true;
                    next.insert(to.clone());
                }
            }
            Edge::Otherwise { from, to } if from == node => otherwise.push(to.clone()),
            Edge::Choose { from, router, to } if from == node => {
                let chosen = match program.router(router).map(|choose| choose(values)) {
                    Some(Ok(chosen)) => chosen.into_iter().filter_map(Goto::into_node).collect(),
                    Some(Err(problem)) => return Err(problem.message),
                    None => Vec::new(),
                };
                let chosen = Some(chosen).filter(|it: &Vec<_>| !it.is_empty()).ok_or_else(|| {
                    format!("the router `{router}` chose nothing; let it name END to end the path")
                })?;
                if let Some(stray) = chosen.iter().find(|target| !to.contains(target)) {
                    return Err(format!(
                        "the router `{router}` chose `{stray}`, which its edge does not list"
                    ));
                }
                next.extend(chosen);
            }
            Edge::Plain { .. }
            | Edge::When { .. }
            | Edge::Otherwise { .. }
            | Edge::Choose { .. }
            | Edge::Join { .. } => {}
        }
    }
    if !decided {
        next.extend(otherwise);
    }
    Ok(())
}
