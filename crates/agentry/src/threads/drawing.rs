//! Graphs of the engine, for whoever looks at them.

use std::sync::Arc;

use agentry_engine::graph::{END, Edge, Reducer, START};
use agentry_engine::{Graph, Program};
use agentry_graphs::{Graphs, Schemas};
use agentry_server::engine::{EdgeInfo, GraphInfo, NodeInfo};
use serde_json::{Map, Value, json};

/// As the clients name the ends.
const FIRST: &str = "__start__";
const LAST: &str = "__end__";

pub(super) fn info(program: &Program, definitions: &Graphs) -> Arc<GraphInfo> {
    let graph = program.graph();
    let definition = definitions.get(&graph.name);
    let node = |name: &String| {
        let node = definition.and_then(|definition| definition.nodes.get(name));
        let kind = node.map_or("node", |node| node.kind.name()).to_owned();
        NodeInfo { name: name.clone(), kind, graph: None }
    };
    let (input, state, context) = match definitions.schemas(&graph.name) {
        Some(Schemas { input, state, config }) => (input, state, config),
        None => (schema(graph), schema(graph), None),
    };
    Arc::new(GraphInfo {
        name: graph.name.clone(),
        version: program.version().to_owned(),
        description: definition.and_then(|definition| definition.description.clone()),
        nodes: graph.nodes.keys().map(node).collect(),
        edges: graph.edges.iter().flat_map(edges).collect(),
        input: Some(input),
        output: Some(state.clone()),
        state: Some(state),
        context,
    })
}

fn edges(edge: &Edge) -> Vec<EdgeInfo> {
    let one = |from: &String, to: &String, conditional| EdgeInfo {
        from: end(from),
        to: end(to),
        conditional,
    };
    match edge {
        Edge::Plain { from, to } => vec![one(from, to, false)],
        Edge::When { from, condition: _, to } | Edge::Otherwise { from, to } => {
            vec![one(from, to, true)]
        }
        Edge::Choose { from, router: _, to } => to.iter().map(|to| one(from, to, true)).collect(),
        Edge::Join { from, to } => from.iter().map(|from| one(from, to, false)).collect(),
    }
}

fn end(name: &str) -> String {
    match name {
        START => FIRST.to_owned(),
        END => LAST.to_owned(),
        name => name.to_owned(),
    }
}

/// JSON Schema of the state, as far as reducers tell.
fn schema(graph: &Graph) -> Value {
    let properties: Map<String, Value> =
        graph.channels.iter().map(|(name, reducer)| (name.clone(), of(reducer))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": graph.name,
        "type": "object",
        "properties": properties,
    })
}

fn of(reducer: &Reducer) -> Value {
    match reducer {
        Reducer::Last | Reducer::Custom(_) => json!({}),
        Reducer::Append => json!({ "type": "array" }),
        Reducer::Sum | Reducer::Max => json!({ "type": "number" }),
        Reducer::Merge => json!({ "type": "object" }),
        Reducer::Messages => json!({
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "content"],
                "properties": {
                    "type": { "enum": ["human", "ai", "system", "tool", "remove"] },
                    "content": { "type": ["string", "array"] },
                    "id": { "type": ["string", "null"] },
                    "tool_calls": { "type": "array" },
                    "tool_call_id": { "type": "string" },
                },
            },
        }),
    }
}
