//! Assistants: graphs with what they are to work with. Each graph has one under its own name, made when it is first needed.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentry_core::assistants::{
    Assistant, Assistants, Change, Created, Definition, NewAssistant, Query, Search, Sort, Updated,
};
use agentry_core::listing::{Order, Span};
use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use http::{HeaderName, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::parameters::Parameters;
use crate::threads::engine::GraphInfo;
use crate::threads::wish::{invalid, unknown};
use crate::threads::{Face, dialect};
use crate::{App, Body, Refusal};

mod drawing;
mod protocol;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/assistants", post(create))
        .route("/assistants/search", post(search))
        .route("/assistants/count", post(count))
        .route("/assistants/{id}", get(show).patch(change).delete(delete))
        .route("/assistants/{id}/graph", get(drawing::graph))
        .route("/assistants/{id}/schemas", get(drawing::schemas))
        .route("/assistants/{id}/subgraphs", get(drawing::subgraphs))
        .route("/assistants/{id}/subgraphs/{namespace}", get(drawing::subgraphs_at))
        .route("/assistants/{id}/versions", post(versions))
        .route("/assistants/{id}/latest", post(set_latest))
        .route("/agents/search", post(protocol::search))
        .route("/agents/{id}", get(protocol::show))
        .route("/agents/{id}/schemas", get(protocol::schemas))
        .layer(middleware::map_response(dialect::translate))
}

pub(crate) const PATHS: &[&str] = &["/assistants", "/assistants/search", "/agents/search"];

/// Which graphs have their assistant already, by tenant.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<HashSet<(String, String)>>);

/// So many tenants are remembered; beyond that it is looked up again.
const KNOWN_MAX: usize = 10_000;

const PAGE_DEFAULT: usize = 10;
const NEXT_PAGE: HeaderName = HeaderName::from_static("x-pagination-next");

/// An assistant that is to run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chosen {
    pub(crate) id: String,
    pub(crate) graph: String,
    pub(crate) config: Map<String, Value>,
    pub(crate) context: Map<String, Value>,
    pub(crate) metadata: Map<String, Value>,
}

/// By id, or by the name of a graph.
pub(crate) async fn choose(face: &Face, name: &str) -> Result<Chosen, Refusal> {
    let Assistant { id, definition, .. } = find(face, name).await?;
    let Definition { graph, config, context, metadata, .. } = definition;
    graph_named(face, &graph)?;
    Ok(Chosen { id, graph, config, context, metadata: without_origin(metadata) })
}

/// Who made the assistant says nothing about its runs.
fn without_origin(mut metadata: Map<String, Value>) -> Map<String, Value> {
    metadata.shift_remove(CREATED_BY);
    metadata
}

pub(crate) async fn find(face: &Face, name: &str) -> Result<Assistant, Refusal> {
    let graphs = ensure(face).await?;
    let id = match graphs.iter().any(|graph| graph.name == name) {
        true => id_of_graph(name),
        false => name.to_owned(),
    };
    let known = assistants(face).assistant(face.who.tenant(), &id).await?;
    known.ok_or_else(|| no_assistant(name, &graphs))
}

pub(crate) fn graph_named(face: &Face, name: &str) -> Result<Arc<GraphInfo>, Refusal> {
    let graphs = face.threading.engine.graphs();
    let known = graphs.iter().find(|graph| graph.name == name).cloned();
    known.ok_or_else(|| {
        let names: Vec<&str> = graphs.iter().map(|graph| graph.name.as_str()).collect();
        let shown: String = name.chars().take(80).collect();
        let message = format!("there is no graph `{shown}`: there are {}", names.join(", "));
        Refusal::not_found("graph_unknown", message)
    })
}

fn assistants(face: &Face) -> &dyn Assistants {
    face.threading.assistants.as_ref()
}

const CREATED_BY: &str = "created_by";
const SYSTEM: &str = "system";

/// Each graph has an assistant in the caller's tenant.
async fn ensure(face: &Face) -> Result<Vec<Arc<GraphInfo>>, Refusal> {
    let graphs = face.threading.engine.graphs();
    let known = &face.app.known_assistants.0;
    for (number, graph) in graphs.iter().enumerate() {
        let name = (face.who.tenant().to_owned(), graph.name.clone());
        if known.lock().unwrap_or_else(PoisonError::into_inner).contains(&name) {
            continue;
        }
        let definition = Definition {
            graph: graph.name.clone(),
            name: graph.name.clone(),
            description: graph.description.clone(),
            metadata: Map::from_iter([(CREATED_BY.to_owned(), SYSTEM.into())]),
            ..Definition::default()
        };
        // Newest first is then the order in which the graphs are given.
        let before = Duration::from_millis(u64::try_from(number).unwrap_or(0));
        let created = face.app.started.minus(before);
        let made = NewAssistant::new(id_of_graph(&graph.name), definition, created)?;
        // Whether it was there already is all the same.
        let (Created::New(_) | Created::Existing(_)) =
            assistants(face).create(face.who.tenant(), made).await?;
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(name);
    }
    Ok(graphs)
}

/// Always the same one, in every instance.
pub(crate) fn id_of_graph(name: &str) -> String {
    let digest = Sha256::new().chain_update("assistant of graph ").chain_update(name).finalize();
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(digest.iter()) {
        *to = *from;
    }
    uuid(bytes)
}

fn uuid(bytes: [u8; 16]) -> String {
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

fn no_assistant(name: &str, graphs: &[Arc<GraphInfo>]) -> Refusal {
    let names: Vec<&str> = graphs.iter().map(|graph| graph.name.as_str()).collect();
    let shown: String = name.chars().take(80).collect();
    let message = format!(
        "there is no assistant `{shown}`: name one by its id, or one of the graphs {}",
        names.join(", ")
    );
    Refusal::not_found("assistant_not_found", message)
}

#[derive(Deserialize)]
struct Wish {
    graph_id: String,
    #[serde(default)]
    assistant_id: Option<String>,
    #[serde(default)]
    if_exists: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    config: Option<Map<String, Value>>,
    #[serde(default)]
    context: Option<Map<String, Value>>,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
}

async fn create(face: Face, Body(wish): Body<Wish>) -> Result<Json<Value>, Refusal> {
    let Wish { graph_id, assistant_id, if_exists, name, description, config, context, metadata } =
        wish;
    graph_named(&face, &graph_id)?;
    let returns_known = match if_exists.as_deref() {
        None | Some("raise") => false,
        Some("do_nothing") => true,
        Some(other) => return Err(unknown("if_exists", other, "raise, do_nothing")),
    };
    let id = assistant_id.unwrap_or_else(|| uuid(face.app.random()));
    let definition = Definition {
        name: name.unwrap_or_else(|| "Untitled".to_owned()),
        graph: graph_id,
        description,
        config: config.unwrap_or_default(),
        context: context.unwrap_or_default(),
        metadata: metadata.unwrap_or_default(),
    };
    let new = NewAssistant::new(id, definition, face.clock().now())?;
    match assistants(&face).create(face.who.tenant(), new).await? {
        Created::New(assistant) => Ok(Json(shown(&assistant))),
        Created::Existing(assistant) if returns_known => Ok(Json(shown(&assistant))),
        Created::Existing(_) => {
            let message = "there is an assistant with this id already: leave `assistant_id` out, or say if_exists: do_nothing";
            Err(Refusal::new(StatusCode::CONFLICT, "assistant_exists", message))
        }
    }
}

pub(crate) fn shown(assistant: &Assistant) -> Value {
    let Assistant { id, version, definition, created, updated } = assistant;
    let Definition { graph, name, description, config, context, metadata } = definition;
    json!({
        "assistant_id": id,
        "graph_id": graph,
        "name": name,
        "description": description,
        "config": config,
        "context": context,
        "metadata": metadata,
        "version": version,
        "created_at": created,
        "updated_at": updated,
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct SearchWish {
    graph_id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) metadata: Option<Map<String, Value>>,
    pub(crate) limit: Option<usize>,
    pub(crate) offset: Option<usize>,
    sort_by: Option<String>,
    sort_order: Option<String>,
    select: Option<Vec<String>>,
}

impl SearchWish {
    fn query(&self) -> Query {
        Query {
            graph: self.graph_id.clone(),
            name: self.name.clone(),
            metadata: self.metadata.clone().unwrap_or_default(),
        }
    }

    pub(crate) fn read(&self) -> Result<Search, Refusal> {
        let sort = match self.sort_by.as_deref() {
            None | Some("created_at") => Sort::Created,
            Some("assistant_id") => Sort::Id,
            Some("graph_id") => Sort::Graph,
            Some("name") => Sort::Name,
            Some("updated_at") => Sort::Updated,
            Some(other) => {
                let known = "assistant_id, graph_id, name, created_at, updated_at";
                return Err(unknown("sort_by", other, known));
            }
        };
        Ok(Search {
            query: self.query(),
            sort,
            order: order(self.sort_order.as_deref())?,
            span: span(self.offset, self.limit)?,
        })
    }
}

/// What is newest, or greatest, comes first unless it is wanted otherwise.
pub(crate) fn order(name: Option<&str>) -> Result<Order, Refusal> {
    match name {
        None | Some("desc") => Ok(Order::Descending),
        Some("asc") => Ok(Order::Ascending),
        Some(other) => Err(unknown("sort_order", other, "asc, desc")),
    }
}

pub(crate) fn span(offset: Option<usize>, limit: Option<usize>) -> Result<Span, Refusal> {
    Ok(Span::new(offset.unwrap_or(0), limit.unwrap_or(PAGE_DEFAULT))?)
}

async fn search(
    face: Face,
    dialect::Maybe(wish): dialect::Maybe<SearchWish>,
) -> Result<Response, Refusal> {
    ensure(&face).await?;
    let search = wish.read()?;
    let found = assistants(&face).search(face.who.tenant(), &search).await?;
    let select = wish.select.as_deref();
    let page: Vec<Value> =
        found.iter().map(|assistant| dialect::select(shown(assistant), select)).collect();
    Ok(paged(page, search.span))
}

/// With where the next page begins, if there may be one.
pub(crate) fn paged(page: Vec<Value>, span: Span) -> Response {
    let full = page.len() == span.limit();
    let mut response = Json(page).into_response();
    if full {
        response.headers_mut().insert(NEXT_PAGE, (span.offset() + span.limit()).into());
    }
    response
}

async fn count(
    face: Face,
    dialect::Maybe(wish): dialect::Maybe<SearchWish>,
) -> Result<Json<u64>, Refusal> {
    ensure(&face).await?;
    Ok(Json(assistants(&face).count(face.who.tenant(), &wish.query()).await?))
}

async fn show(face: Face, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    Ok(Json(shown(&find(&face, &id).await?)))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ChangeWish {
    graph_id: Option<String>,
    name: Option<String>,
    description: Option<String>,
    config: Option<Map<String, Value>>,
    context: Option<Map<String, Value>>,
    metadata: Option<Map<String, Value>>,
}

async fn change(
    face: Face,
    Path(id): Path<String>,
    Body(wish): Body<ChangeWish>,
) -> Result<Json<Value>, Refusal> {
    let ChangeWish { graph_id, name, description, config, context, metadata } = wish;
    if let Some(graph) = &graph_id {
        graph_named(&face, graph)?;
    }
    let change = Change {
        graph: graph_id,
        name,
        description,
        config,
        context,
        metadata: metadata.unwrap_or_default(),
    };
    let known = find(&face, &id).await?;
    let now = face.clock().now();
    let place = (face.who.tenant(), known.id.as_str());
    match assistants(&face).update(place, &change, now).await? {
        Updated::Done(assistant) => Ok(Json(shown(&assistant))),
        Updated::NotFound => Err(no_assistant(&id, &face.threading.engine.graphs())),
        Updated::Invalid(invalid) => Err(invalid.into()),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DeleteWish {
    delete_threads: Option<String>,
}

async fn delete(
    face: Face,
    Path(id): Path<String>,
    Parameters(wish): Parameters<DeleteWish>,
) -> Result<Response, Refusal> {
    let known = find(&face, &id).await?;
    if known.id == id_of_graph(&known.definition.graph) {
        let message =
            "this is the assistant of a graph, which has one as long as there is the graph";
        return Err(Refusal::new(StatusCode::CONFLICT, "assistant_of_graph", message));
    }
    if wish.delete_threads.as_deref().is_some_and(|word| matches!(word, "true" | "True" | "1")) {
        let reason = "threads belong to their graph, not to an assistant: find them with POST /threads/search and delete those that are to go";
        return Err(invalid("delete_threads", reason));
    }
    match assistants(&face).delete(face.who.tenant(), &known.id).await? {
        true => Ok(dialect::done()),
        false => Err(no_assistant(&id, &face.threading.engine.graphs())),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct VersionsWish {
    metadata: Option<Map<String, Value>>,
    limit: Option<usize>,
    offset: Option<usize>,
}

async fn versions(
    face: Face,
    Path(id): Path<String>,
    dialect::Maybe(wish): dialect::Maybe<VersionsWish>,
) -> Result<Json<Value>, Refusal> {
    let known = find(&face, &id).await?;
    let place = (face.who.tenant(), known.id.as_str());
    let span = span(wish.offset, wish.limit)?;
    let metadata = wish.metadata.unwrap_or_default();
    let versions = assistants(&face).versions(place, &metadata, span).await?;
    Ok(Json(versions.iter().map(shown).collect()))
}

#[derive(Deserialize)]
struct LatestWish {
    version: u32,
}

async fn set_latest(
    face: Face,
    Path(id): Path<String>,
    Body(LatestWish { version }): Body<LatestWish>,
) -> Result<Json<Value>, Refusal> {
    let known = find(&face, &id).await?;
    let place = (face.who.tenant(), known.id.as_str());
    let set = assistants(&face).set_latest(place, version, face.clock().now()).await?;
    let no_version = || {
        let message =
            format!("the assistant has no version {version}: POST its versions lists them");
        Refusal::not_found("assistant_not_found", message).param("version")
    };
    set.map(|assistant| Json(shown(&assistant))).ok_or_else(no_version)
}
