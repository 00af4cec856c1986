//! Whether every node can be reached, and leads somewhere.

use std::collections::{BTreeMap, BTreeSet};

use agentry_engine::{END, START};
use agentry_notation::reader::nearest;
use agentry_notation::{At, Notes, Problem};

use crate::definition::{Definition, Edge, OnError, When};

pub(super) fn check(definition: &Definition, notes: &Notes<'_>) {
    let names = unknown(definition, notes);
    mixed(definition, notes);
    if definition.nodes.is_empty() && definition.unread.is_empty() {
        let problem = Problem::new(definition.name.place.clone(), "this graph has no nodes");
        return notes.report(problem.help("add one under [nodes.NAME]"));
    }
    if !names || !definition.unread.is_empty() || definition.incomplete {
        // What is missing would be reported once more.
        return;
    }
    let starts = definition.starts();
    if definition.start.is_none() && starts.len() != 1 && !definition.has_start_edge() {
        ambiguous(definition, &starts, notes);
        return;
    }
    let forward = walk(starts.iter().map(String::as_str), &next(definition));
    for (name, node) in &definition.nodes {
        if !forward.contains(name.as_str()) {
            let problem = Problem::new(node.place.clone(), format!("no way leads to `{name}`"));
            notes.report(problem.help("let an edge lead there, or name it in `start`"));
        }
    }
    let ends = definition.nodes.keys().filter(|name| may_end(definition, name));
    let mut before: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in &next(definition) {
        for to in to {
            before.entry(to).or_default().insert(from);
        }
    }
    let backward = walk(ends.map(String::as_str).chain([END]), &before);
    for (name, node) in &definition.nodes {
        if forward.contains(name.as_str()) && !backward.contains(name.as_str()) {
            let message = format!("`{name}` never comes to an end");
            let help = "give one edge of the circle a condition, or lead to END";
            notes.report(Problem::new(node.place.clone(), message).help(help));
        }
    }
}

impl Definition {
    pub(crate) fn has_start_edge(&self) -> bool {
        self.edges.iter().any(|edge| edge.from.iter().any(|from| from.value == START))
    }

    /// Where a run begins.
    pub(crate) fn starts(&self) -> Vec<String> {
        let from_start = |edge: &&Edge| edge.from.iter().any(|from| from.value == START);
        let edges = self.edges.iter().filter(from_start).flat_map(|edge| &edge.to);
        let named = self.start.iter().flatten().chain(edges);
        let mut starts: Vec<String> = named.map(|name| name.value.clone()).collect();
        if starts.is_empty() {
            let entered: BTreeSet<&str> = next(self).into_values().flatten().collect();
            let open = self.nodes.keys().filter(|name| !entered.contains(name.as_str()));
            starts = open.cloned().collect();
        }
        starts.sort();
        starts.dedup();
        starts
    }
}

/// Whether all names are known.
fn unknown(definition: &Definition, notes: &Notes<'_>) -> bool {
    let nodes = definition.nodes.keys().chain(&definition.unread);
    let known: Vec<&str> = nodes.map(String::as_str).collect();
    let mut good = true;
    let mut check = |at: &At<String>, free: &str, wrong: &str| {
        if at.value == free || known.contains(&at.value.as_str()) {
            return;
        }
        good = false;
        if at.value == wrong {
            let message = format!("no edge may be here: `{wrong}`");
            return notes.report(Problem::new(at.place.clone(), message));
        }
        let help = match nearest(&at.value, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", known.join(", ")),
        };
        let message = format!("there is no node `{}`", at.value);
        notes.report(Problem::new(at.place.clone(), message).help(help));
    };
    for edge in &definition.edges {
        edge.from.iter().for_each(|from| check(from, START, END));
        edge.to.iter().for_each(|to| check(to, END, START));
    }
    definition.start.iter().flatten().for_each(|start| check(start, "", START));
    good
}

/// What is followed must be plain to see.
fn mixed(definition: &Definition, notes: &Notes<'_>) {
    let from = |edge: &Edge| match edge.from.as_slice() {
        [one] => Some(one.value.clone()),
        _ => None,
    };
    for edge in &definition.edges {
        let Some(name) = from(edge) else { continue };
        let siblings =
            || definition.edges.iter().filter(|other| from(other).as_ref() == Some(&name));
        let has_condition = siblings().any(|other| matches!(other.when, When::Holds(_)));
        match edge.when {
            When::Always if has_condition => {
                let message = format!("other edges of `{name}` have conditions; and this one?");
                let help = "say `otherwise = true` if it is for when none of them holds";
                notes.report(Problem::new(edge.place.clone(), message).help(help));
            }
            When::Otherwise if !has_condition => {
                let message = format!("no other edge of `{name}` has a condition");
                let help = "remove `otherwise`, or give another edge a `when`";
                notes.report(Problem::new(edge.place.clone(), message).help(help));
            }
            When::Holds(_) if name == START => {
                let message = "what begins a run has no condition";
                let help = "begin with a `set` node whose edges have the conditions";
                notes.report(Problem::new(edge.place.clone(), message).help(help));
            }
            When::Always | When::Otherwise | When::Holds(_) => {}
        }
    }
}

fn ambiguous(definition: &Definition, starts: &[String], notes: &Notes<'_>) {
    if starts.is_empty() {
        let message = "every node has an edge that leads to it: where does a run begin?";
        let problem = Problem::new(definition.name.place.clone(), message);
        return notes.report(problem.help("say start = \"NODE\""));
    }
    for name in starts {
        let Some(node) = definition.nodes.get(name) else { continue };
        let others: Vec<_> = starts.iter().filter(|other| *other != name).cloned().collect();
        let message = format!("no edge leads to `{name}`, nor to `{}`", others.join("`, `"));
        let help = "say where a run begins, as in start = \"NODE\" or start = [\"ONE\", \"OTHER\"]";
        notes.report(Problem::new(node.place.clone(), message).help(help));
    }
}

/// The nodes that may follow each node.
fn next(definition: &Definition) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in &definition.edges {
        for from in &edge.from {
            let to = edge.to.iter().map(|to| to.value.as_str());
            next.entry(from.value.as_str()).or_default().extend(to);
        }
    }
    for (name, node) in &definition.nodes {
        if let OnError::Goto(to) = &node.policy.on_error {
            next.entry(name).or_default().insert(&to.value);
        }
    }
    next
}

/// Whether a path may end at a node: it has no edges, or only such with conditions.
fn may_end(definition: &Definition, name: &str) -> bool {
    let leaves = |edge: &&Edge| edge.from.iter().any(|from| from.value == name);
    let mut edges = definition.edges.iter().filter(leaves);
    edges.all(|edge| matches!(edge.when, When::Holds(_)))
}

fn walk<'a>(
    from: impl Iterator<Item = &'a str>,
    next: &BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> BTreeSet<&'a str> {
    let mut open: Vec<&str> = from.collect();
    let mut seen: BTreeSet<&str> = open.iter().copied().collect();
    while let Some(here) = open.pop() {
        let further = next.get(here).into_iter().flatten();
        open.extend(further.filter(|further| seen.insert(further)));
    }
    seen
}
