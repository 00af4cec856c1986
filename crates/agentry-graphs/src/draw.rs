//! Graphs as pictures, in Mermaid's language.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use agentry_engine::graph::{Edge, Test};
use agentry_engine::{Condition, END, Graph, START};

use crate::definition::{Definition, Kind, OnError, When};

/// Longer labels make a picture unreadable.
const LABEL_LETTERS_MAX: usize = 60;

/// A graph of the engine, whoever made it.
#[must_use]
pub fn mermaid(graph: &Graph) -> String {
    let mut drawing = Drawing::default();
    for name in graph.nodes.keys() {
        drawing.node(name, Shape::Box, None);
    }
    for edge in &graph.edges {
        match edge {
            Edge::Plain { from, to } => drawing.edge(from, to, Line::Solid, None),
            Edge::When { from, condition, to } => {
                drawing.edge(from, to, Line::Solid, Some(&shown(condition)));
            }
            Edge::Otherwise { from, to } => {
                drawing.edge(from, to, Line::Solid, Some("otherwise"));
            }
            Edge::Choose { from, router, to } => {
                let ways = ways(router);
                for to in to {
                    let label = ways.get(to.as_str()).map_or("", String::as_str);
                    drawing.edge(from, to, Line::Dotted, Some(label).filter(|it| !it.is_empty()));
                }
            }
            Edge::Join { from, to } => {
                for from in from {
                    drawing.edge(from, to, Line::Thick, Some("all"));
                }
            }
        }
    }
    drawing.text()
}

impl Definition {
    /// With the kinds of the nodes and the conditions of the edges.
    #[must_use]
    pub fn mermaid(&self) -> String {
        let mut drawing = Drawing::default();
        for (name, node) in &self.nodes {
            let shape = match node.kind {
                Kind::Human(_) => Shape::Hexagon,
                Kind::Map(_) | Kind::Graph(_) => Shape::Frame,
                Kind::Set(_) => Shape::Round,
                Kind::Prompt(_) | Kind::Agent(_) | Kind::Tool(_) | Kind::Http(_) => Shape::Box,
            };
            drawing.node(name, shape, Some(node.kind.name()));
        }
        if !self.has_start_edge() {
            for start in self.starts() {
                drawing.edge(START, &start, Line::Solid, None);
            }
        }
        let mut left = BTreeSet::new();
        for edge in &self.edges {
            let line = if edge.from.len() > 1 { Line::Thick } else { Line::Solid };
            let label = match &edge.when {
                When::Always if edge.from.len() > 1 => Some("all"),
                When::Always => None,
                When::Holds(condition) => Some(condition.text.as_str()),
                When::Otherwise => Some("otherwise"),
            };
            for from in &edge.from {
                left.insert(from.value.as_str());
                for to in &edge.to {
                    drawing.edge(&from.value, &to.value, line, label);
                }
            }
        }
        for (name, node) in &self.nodes {
            if let OnError::Goto(to) = &node.policy.on_error {
                drawing.edge(name, &to.value, Line::Dotted, Some("failed"));
            }
            if !left.contains(name.as_str()) {
                drawing.edge(name, END, Line::Solid, None);
            }
        }
        drawing.text()
    }
}

fn shown(condition: &Condition) -> String {
    let Condition { channel, pointer, test } = condition;
    let place = format!("{channel}{}", pointer.replace('/', "."));
    match test {
        Test::Exists => format!("has {place}"),
        Test::Missing => format!("no {place}"),
        Test::Equals(value) => format!("{place} == {value}"),
        Test::Differs(value) => format!("{place} != {value}"),
        Test::AtLeast(bound) => format!("{place} >= {bound}"),
        Test::Below(bound) => format!("{place} < {bound}"),
    }
}

/// What leads where, of a router whose name says so: `a == 1 → one; otherwise → other`.
fn ways(router: &str) -> BTreeMap<&str, String> {
    let mut ways: BTreeMap<&str, String> = BTreeMap::new();
    for part in router.split("; ") {
        let Some((label, targets)) = part.rsplit_once(" → ") else { continue };
        for target in targets.split(", ") {
            let known = ways.entry(target).or_default();
            if !known.is_empty() {
                known.push_str(" or ");
            }
            known.push_str(label);
        }
    }
    if ways.is_empty() {
        // Its name is all there is to say.
        return BTreeMap::new();
    }
    ways
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Box,
    Round,
    Hexagon,
    Frame,
}

#[derive(Debug, Clone, Copy)]
enum Line {
    Solid,
    Dotted,
    Thick,
}

/// Names may be words of the language, so nodes have numbers.
#[derive(Default)]
struct Drawing {
    numbers: BTreeMap<String, usize>,
    nodes: Vec<String>,
    edges: Vec<String>,
}

impl Drawing {
    fn number(&mut self, name: &str) -> usize {
        let next = self.numbers.len();
        *self.numbers.entry(name.to_owned()).or_insert(next)
    }

    fn node(&mut self, name: &str, shape: Shape, kind: Option<&str>) {
        let number = self.number(name);
        let kind = kind.map(|kind| format!("<br/><i>{kind}</i>")).unwrap_or_default();
        let label = format!("\"{}{kind}\"", escaped(name));
        self.nodes.push(match shape {
            Shape::Box => format!("n{number}[{label}]"),
            Shape::Round => format!("n{number}({label})"),
            Shape::Hexagon => format!("n{number}{{{{{label}}}}}"),
            Shape::Frame => format!("n{number}[[{label}]]"),
        });
    }

    fn end(&mut self, name: &str) -> String {
        if !self.numbers.contains_key(name) && [START, END].contains(&name) {
            let number = self.number(name);
            let word = if name == START { "start" } else { "end" };
            self.nodes.push(format!("n{number}([{word}])"));
        }
        format!("n{}", self.number(name))
    }

    fn edge(&mut self, from: &str, to: &str, line: Line, label: Option<&str>) {
        let (from, to) = (self.end(from), self.end(to));
        let arrow = match line {
            Line::Solid => "-->",
            Line::Dotted => "-.->",
            Line::Thick => "==>",
        };
        let label = label.map(|label| format!("|\"{}\"|", escaped(&shortened(label))));
        self.edges.push(format!("{from} {arrow}{} {to}", label.unwrap_or_default()));
    }

    fn text(self) -> String {
        let mut text = "flowchart TD\n".to_owned();
        for line in self.nodes.iter().chain(&self.edges) {
            let _ = writeln!(text, "    {line}");
        }
        text
    }
}

fn shortened(label: &str) -> String {
    let words = label.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(LABEL_LETTERS_MAX) {
        Some((end, _)) => format!("{}…", words.get(..end).unwrap_or_default()),
        None => words,
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '"' => escaped.push_str("#quot;"),
            '<' => escaped.push_str("#lt;"),
            '>' => escaped.push_str("#gt;"),
            '#' => escaped.push_str("#35;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
