//! Graphs as others draw them, and the schemas of what goes in and out.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::Path;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{find, graph_named};
use crate::Refusal;
use crate::parameters::Parameters;
use crate::threads::Face;
use crate::threads::engine::GraphInfo;

/// Nobody draws deeper.
const DEPTH_MAX: usize = 16;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Depth {
    /// `true`, `false`, or how many levels of subgraphs are opened.
    xray: Option<String>,
}

impl Depth {
    fn read(&self) -> usize {
        match self.xray.as_deref().unwrap_or_default() {
            "true" | "True" => DEPTH_MAX,
            number => number.parse().unwrap_or(0).min(DEPTH_MAX),
        }
    }
}

pub(super) async fn graph(
    face: Face,
    Path(id): Path<String>,
    Parameters(depth): Parameters<Depth>,
) -> Result<Json<Value>, Refusal> {
    let assistant = find(&face, &id).await?;
    let graph = graph_named(&face, &assistant.definition.graph)?;
    let mut drawing = Drawing::default();
    drawing.add(&graph, "", depth.read());
    Ok(Json(json!({ "nodes": drawing.nodes, "edges": drawing.edges })))
}

#[derive(Default)]
struct Drawing {
    nodes: Vec<Value>,
    edges: Vec<Value>,
}

const START: &str = "__start__";
const END: &str = "__end__";

impl Drawing {
    /// The names of a subgraph's nodes have those of the nodes around them before them.
    fn add(&mut self, graph: &GraphInfo, within: &str, depth: usize) {
        let named = |name: &str| match within {
            "" => name.to_owned(),
            within => format!("{within}:{name}"),
        };
        if within.is_empty() {
            self.nodes.push(json!({ "id": START, "type": "schema", "data": START }));
        }
        for node in &graph.nodes {
            match (&node.graph, depth.checked_sub(1)) {
                (Some(inner), Some(depth)) => self.add(inner, &named(&node.name), depth),
                (inner, _) => {
                    let data = json!({ "id": [node.kind], "name": node.name });
                    let metadata = inner.as_ref().map(|inner| json!({ "graph_id": inner.name }));
                    self.nodes.push(json!({
                        "id": named(&node.name), "type": "runnable", "data": data, "metadata": metadata,
                    }));
                }
            }
        }
        if within.is_empty() {
            self.nodes.push(json!({ "id": END, "type": "schema", "data": END }));
        }
        for edge in &graph.edges {
            let ends = |name: &str, fallback: &str| match name {
                // The ends of a subgraph are those of the node that it is.
                START | END if !within.is_empty() => fallback.to_owned(),
                START | END => name.to_owned(),
                name => named(name),
            };
            let mut shown =
                json!({ "source": ends(&edge.from, within), "target": ends(&edge.to, within) });
            if let (true, Some(members)) = (edge.conditional, shown.as_object_mut()) {
                members.insert("conditional".to_owned(), true.into());
            }
            self.edges.push(shown);
        }
    }
}

pub(super) async fn schemas(face: Face, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let assistant = find(&face, &id).await?;
    Ok(Json(described(&*graph_named(&face, &assistant.definition.graph)?)))
}

fn described(graph: &GraphInfo) -> Value {
    json!({
        "graph_id": graph.name,
        "input_schema": graph.input,
        "output_schema": graph.output,
        "state_schema": graph.state,
        "config_schema": Value::Null,
        "context_schema": graph.context,
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Recursion {
    recurse: Option<String>,
}

pub(super) async fn subgraphs(
    face: Face,
    Path(id): Path<String>,
    Parameters(how): Parameters<Recursion>,
) -> Result<Json<Value>, Refusal> {
    inner(&face, &id, (None, how)).await
}

pub(super) async fn subgraphs_at(
    face: Face,
    Path((id, namespace)): Path<(String, String)>,
    Parameters(how): Parameters<Recursion>,
) -> Result<Json<Value>, Refusal> {
    inner(&face, &id, (Some(namespace), how)).await
}

async fn inner(
    face: &Face,
    id: &str,
    (namespace, how): (Option<String>, Recursion),
) -> Result<Json<Value>, Refusal> {
    let assistant = find(face, id).await?;
    let graph = graph_named(face, &assistant.definition.graph)?;
    let recursive =
        how.recurse.as_deref().is_some_and(|word| matches!(word, "true" | "True" | "1"));
    let mut found = BTreeMap::new();
    gather(&graph, "", (&mut found, if recursive { DEPTH_MAX } else { 0 }));
    let kept = found.into_iter().filter(|(name, _)| {
        namespace
            .as_ref()
            .is_none_or(|wanted| name == wanted || name.starts_with(&format!("{wanted}|")))
    });
    Ok(Json(Value::Object(kept.collect::<Map<_, _>>())))
}

fn gather(graph: &GraphInfo, within: &str, (found, depth): (&mut BTreeMap<String, Value>, usize)) {
    for node in &graph.nodes {
        let Some(inner) = &node.graph else { continue };
        let name = match within {
            "" => node.name.clone(),
            within => format!("{within}|{}", node.name),
        };
        found.insert(name.clone(), described(inner));
        if let Some(depth) = depth.checked_sub(1) {
            gather(inner, &name, (&mut *found, depth));
        }
    }
}
