//! The same assistants in the Agent Protocol's words.

use agentry_core::assistants::{Assistant, Search};
use axum::Json;
use axum::extract::Path;
use axum::response::Response;
use serde_json::{Value, json};

use super::{SearchWish, assistants, ensure, find, graph_named, paged};
use crate::Refusal;
use crate::threads::engine::GraphInfo;
use crate::threads::{Face, dialect};

pub(super) async fn search(
    face: Face,
    dialect::Maybe(wish): dialect::Maybe<SearchWish>,
) -> Result<Response, Refusal> {
    ensure(&face).await?;
    let search: Search = wish.read()?;
    let found = assistants(&face).search(face.who.tenant(), &search).await?;
    let graphs = face.threading.engine.graphs();
    let graph = |name: &str| graphs.iter().find(|graph| graph.name == name);
    let shown = found
        .iter()
        .map(|assistant| agent(assistant, graph(&assistant.definition.graph).map(AsRef::as_ref)));
    Ok(paged(shown.collect(), search.span))
}

pub(super) async fn show(face: Face, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let assistant = find(&face, &id).await?;
    let graph = graph_named(&face, &assistant.definition.graph)?;
    Ok(Json(agent(&assistant, Some(&graph))))
}

fn agent(assistant: &Assistant, graph: Option<&GraphInfo>) -> Value {
    let speaks = graph.and_then(|graph| graph.input.as_ref());
    let speaks = speaks.is_some_and(|input| input.pointer("/properties/messages").is_some());
    json!({
        "agent_id": assistant.id,
        "name": assistant.definition.name,
        "description": assistant.definition.description.as_deref().unwrap_or_default(),
        "metadata": assistant.definition.metadata,
        "capabilities": { "ap.io.messages": speaks },
    })
}

pub(super) async fn schemas(face: Face, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let assistant = find(&face, &id).await?;
    let graph = graph_named(&face, &assistant.definition.graph)?;
    let schema = |schema: &Option<Value>| schema.clone().unwrap_or_else(|| json!({}));
    Ok(Json(json!({
        "agent_id": assistant.id,
        "input_schema": schema(&graph.input),
        "output_schema": schema(&graph.output),
        "state_schema": schema(&graph.state),
        "config_schema": schema(&graph.context),
    })))
}
