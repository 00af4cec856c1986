//! What agents remember beyond any thread: `/store/items` and `/store/namespaces`.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::items::{
    Batch, Filter, Hit, Id, Index, Item, Items, Namespace, Namespaces, Put, Search, Words, Write,
};
use axum::extract::Query as Asked;
use axum::response::Response;
use axum::routing::{post, put};
use axum::{Json, Router, middleware};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::assistants::span;
use crate::threads::states::is_yes;
use crate::threads::wish::invalid;
use crate::threads::{Face, dialect};
use crate::{App, Body, Refusal};

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/store/items", put(write).get(read).delete(delete))
        .route("/store/items/search", post(search))
        .route("/store/namespaces", post(namespaces))
        .layer(middleware::map_response(dialect::translate))
}

pub(crate) const PATHS: &[&str] = &["/store/items", "/store/items/search", "/store/namespaces"];

fn items(face: &Face) -> &dyn Items {
    face.threading.items.as_ref()
}

#[derive(Deserialize)]
struct PutWish {
    namespace: Vec<String>,
    key: String,
    value: Map<String, Value>,
    /// False for what is not to be found by words, or the fields that are.
    #[serde(default)]
    index: Option<Value>,
    /// In minutes.
    #[serde(default)]
    ttl: Option<f64>,
}

async fn write(face: Face, Body(wish): Body<PutWish>) -> Result<Response, Refusal> {
    let PutWish { namespace, key, value, index, ttl } = wish;
    let ttl = ttl.map(|minutes| Duration::try_from_secs_f64(minutes * 60.0));
    let ttl = ttl.transpose().map_err(|_| invalid("ttl", "it is a number of minutes"))?;
    let id = Id { namespace: Namespace::new(&namespace)?, key };
    let put = Put { id, value, index: indexed(index)?, ttl };
    let batch = Batch::new(vec![Write::Put(put)])?;
    items(&face).write(face.who.tenant(), batch, face.clock().now()).await?;
    Ok(dialect::done())
}

fn indexed(wish: Option<Value>) -> Result<Index, Refusal> {
    let wrong = || invalid("index", "it is false, or a list of fields");
    match wish {
        None | Some(Value::Null | Value::Bool(true)) => Ok(Index::All),
        Some(Value::Bool(false)) => Ok(Index::Nothing),
        Some(Value::Array(fields)) => {
            let name = |field: Value| match field {
                Value::String(name) => Ok(name),
                _ => Err(wrong()),
            };
            // `$` is the whole of it.
            match fields.as_slice() {
                [Value::String(whole)] if whole == "$" => Ok(Index::All),
                _ => Ok(Index::Fields(fields.into_iter().map(name).collect::<Result<_, _>>()?)),
            }
        }
        Some(_) => Err(wrong()),
    }
}

/// One item. The namespace's labels have dots between them, or the parameter comes once for each.
async fn read(
    face: Face,
    Asked(asked): Asked<Vec<(String, String)>>,
) -> Result<Json<Value>, Refusal> {
    let all = |name: &'static str| {
        asked.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    };
    let key = all("key").next().ok_or_else(|| invalid("key", "name the item's key"))?;
    let labels = all("namespace").flat_map(|labels| labels.split('.'));
    let labels = labels.filter(|label| !label.is_empty());
    let id = Id { namespace: Namespace::new(labels)?, key: key.to_owned() };
    let now = face.clock().now();
    let found = items(&face).item(face.who.tenant(), &id, now).await?;
    // The clients read null where there is nothing.
    let Some(mut item) = found else { return Ok(Json(Value::Null)) };
    if item.ttl.is_some() && all("refresh_ttl").next().is_none_or(is_yes) {
        items(&face).refresh(face.who.tenant(), &[id], now).await?;
        item.expires = item.ttl.map(|ttl| now.plus(ttl));
    }
    Ok(Json(shown(&item)))
}

fn shown(item: &Item) -> Value {
    let Item { id, value, index: _, created, updated, ttl: _, expires } = item;
    let mut shown = json!({
        "namespace": id.namespace.labels().collect::<Vec<_>>(),
        "key": id.key,
        "value": value,
        "created_at": created,
        "updated_at": updated,
    });
    if let (Some(expires), Some(members)) = (expires, shown.as_object_mut()) {
        members.insert("expires_at".to_owned(), json!(expires));
    }
    shown
}

#[derive(Deserialize)]
struct DeleteWish {
    #[serde(default)]
    namespace: Option<Vec<String>>,
    key: String,
}

async fn delete(face: Face, Body(wish): Body<DeleteWish>) -> Result<Response, Refusal> {
    let DeleteWish { namespace, key } = wish;
    let namespace = Namespace::new(namespace.unwrap_or_default())?;
    let batch = Batch::new(vec![Write::Delete(Id { namespace, key })])?;
    items(&face).write(face.who.tenant(), batch, face.clock().now()).await?;
    Ok(dialect::done())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SearchWish {
    namespace_prefix: Option<Vec<String>>,
    filter: Option<Map<String, Value>>,
    query: Option<String>,
    limit: Option<usize>,
    offset: Option<usize>,
    refresh_ttl: Option<bool>,
}

async fn search(
    face: Face,
    dialect::Maybe(wish): dialect::Maybe<SearchWish>,
) -> Result<Json<Value>, Refusal> {
    let SearchWish { namespace_prefix, filter, query, limit, offset, refresh_ttl } = wish;
    let search = Search {
        prefix: Namespace::new(namespace_prefix.unwrap_or_default())?,
        filter: Filter::parse(&filter.unwrap_or_default())?,
        query: query.as_deref().filter(|query| !query.is_empty()).and_then(Words::new),
        span: span(offset, limit)?,
    };
    let now = face.clock().now();
    let found = items(&face).search(face.who.tenant(), &search, now).await?;
    if refresh_ttl.unwrap_or(true) {
        let mortal = found.iter().filter(|hit| hit.item.ttl.is_some());
        let ids: Vec<Id> = mortal.map(|hit| hit.item.id.clone()).collect();
        if !ids.is_empty() {
            items(&face).refresh(face.who.tenant(), &ids, now).await?;
        }
    }
    let shown: Vec<Value> = found.iter().map(hit).collect();
    Ok(Json(json!({ "items": shown })))
}

fn hit(Hit { item, score }: &Hit) -> Value {
    let mut shown = shown(item);
    if let Some(members) = shown.as_object_mut() {
        members.insert("score".to_owned(), json!(score));
    }
    shown
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamespacesWish {
    prefix: Option<Vec<String>>,
    suffix: Option<Vec<String>>,
    max_depth: Option<usize>,
    limit: Option<usize>,
    offset: Option<usize>,
}

const NAMESPACES_DEFAULT: usize = 100;

async fn namespaces(
    face: Face,
    dialect::Maybe(wish): dialect::Maybe<NamespacesWish>,
) -> Result<Json<Value>, Refusal> {
    let NamespacesWish { prefix, suffix, max_depth, limit, offset } = wish;
    let depth_max = max_depth.map(|depth| {
        NonZeroUsize::new(depth).ok_or_else(|| invalid("max_depth", "it is 1 or more"))
    });
    let wanted = Namespaces {
        prefix: Namespace::new(prefix.unwrap_or_default())?,
        suffix: Namespace::new(suffix.unwrap_or_default())?,
        depth_max: depth_max.transpose()?,
        span: span(offset, Some(limit.unwrap_or(NAMESPACES_DEFAULT)))?,
    };
    let now = face.clock().now();
    let found = items(&face).namespaces(face.who.tenant(), &wanted, now).await?;
    let shown: Vec<Vec<&str>> = found.iter().map(|found| found.labels().collect()).collect();
    Ok(Json(json!({ "namespaces": shown })))
}
