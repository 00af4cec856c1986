//! Finding threads: by metadata, status and ids in the store, by values by looking at each.

use std::pin::pin;

use agentry_core::ThreadId;
use agentry_core::thread::{Status, Thread};
use agentry_core::threads::{Order, ThreadQuery};
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, StreamExt as _, stream};
use http::HeaderName;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::engine::StateView;
use super::manage::{IDS_MAX, head};
use super::room::Room;
use super::wish::{invalid, unknown};
use super::{Face, dialect, show, thread_id};
use crate::Refusal;

const PAGE_DEFAULT: usize = 10;
const PAGE_MAX: usize = 1_000;
/// States that are read at the same time.
const READING_MAX: usize = 8;
/// Threads that are looked through for values.
const LOOKED_THROUGH_MAX: usize = 10_000;
const NEXT_PAGE: HeaderName = HeaderName::from_static("x-pagination-next");

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct SearchWish {
    metadata: Option<Map<String, Value>>,
    values: Option<Map<String, Value>>,
    ids: Option<Vec<String>>,
    status: Option<String>,
    limit: Option<usize>,
    offset: Option<usize>,
    sort_by: Option<String>,
    sort_order: Option<String>,
    select: Option<Vec<String>>,
    /// Names and paths such as `values.messages[-1].content`.
    extract: Option<Map<String, Value>>,
}

impl SearchWish {
    /// One query for each status that is meant.
    fn queries(&self, tenant: &str) -> Result<Vec<ThreadQuery>, Refusal> {
        let statuses = match self.status.as_deref() {
            None => vec![None],
            Some("idle") => vec![Some(Status::Idle)],
            Some("busy") => vec![Some(Status::Ready), Some(Status::Waiting)],
            Some("interrupted") => vec![Some(Status::Interrupted)],
            Some("error") => vec![Some(Status::Failed)],
            Some(other) => {
                return Err(unknown("status", other, "idle, busy, interrupted, error"));
            }
        };
        let ids = self.ids.iter().flatten().map(|id| thread_id(id));
        let ids: Vec<ThreadId> = ids.collect::<Result<_, _>>()?;
        if ids.len() > IDS_MAX {
            return Err(invalid("ids", &format!("ask for at most {IDS_MAX} at once")));
        }
        let query = ThreadQuery {
            tenant: Some(tenant.to_owned()),
            metadata: self.metadata.clone().unwrap_or_default(),
            ids,
            max: self.limit()?,
            offset: self.offset.unwrap_or(0),
            order: self.order()?,
            ..ThreadQuery::default()
        };
        let of = |status| ThreadQuery { status, ..query.clone() };
        Ok(statuses.into_iter().map(of).collect())
    }

    fn limit(&self) -> Result<usize, Refusal> {
        let limit = self.limit.unwrap_or(PAGE_DEFAULT);
        match (1..=PAGE_MAX).contains(&limit) {
            true => Ok(limit),
            false => Err(invalid("limit", &format!("it is between 1 and {PAGE_MAX}"))),
        }
    }

    fn order(&self) -> Result<Order, Refusal> {
        let oldest = match self.sort_order.as_deref() {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(other) => return Err(unknown("sort_order", other, "asc, desc")),
        };
        Ok(match (self.sort_by.as_deref(), oldest) {
            (None | Some("created_at" | "thread_id" | "status"), false) => Order::CreatedNewest,
            (None | Some("created_at" | "thread_id" | "status"), true) => Order::CreatedOldest,
            (Some("updated_at" | "state_updated_at"), false) => Order::UpdatedNewest,
            (Some("updated_at" | "state_updated_at"), true) => Order::UpdatedOldest,
            (Some(other), _) => {
                let known = "created_at, updated_at, state_updated_at, thread_id, status";
                return Err(unknown("sort_by", other, known));
            }
        })
    }

    /// Whether states have to be read for the answer.
    fn needs_states(&self) -> bool {
        self.values.is_some() || self.shows_states()
    }

    /// Whether they are in the answer.
    fn shows_states(&self) -> bool {
        const OF_STATES: [&str; 4] = ["values", "interrupts", "state_updated_at", "error"];
        let selected = |wanted: &Vec<String>| {
            wanted.is_empty() || wanted.iter().any(|name| OF_STATES.contains(&name.as_str()))
        };
        self.extract.is_some() || self.select.as_ref().is_none_or(selected)
    }
}

pub(crate) async fn search(
    face: Face,
    dialect::Maybe(wish): dialect::Maybe<SearchWish>,
) -> Result<Response, Refusal> {
    let (limit, offset) = (wish.limit()?, wish.offset.unwrap_or(0));
    let found = match &wish.values {
        None => found(&face, &wish).await?,
        Some(values) => with_values(&face, &wish, values).await?,
    };
    let full = found.len() == limit;
    let select = wish.select.as_deref();
    let one = |(thread, state): (Thread, Option<StateView>)| {
        let whole = show::thread(&thread, state.as_ref());
        let extracted = wish.extract.as_ref().map(|paths| extract(&whole, paths));
        let mut shown = dialect::select(whole, select);
        if let (Some(extracted), Some(members)) = (extracted, shown.as_object_mut()) {
            members.insert("extracted".to_owned(), extracted);
        }
        shown
    };
    let shown: Vec<Value> = found.into_iter().map(one).collect();
    let mut response = Json(shown).into_response();
    if full {
        response.headers_mut().insert(NEXT_PAGE, (offset + limit).into());
    }
    Ok(response)
}

type Found = Vec<(Thread, Option<StateView>)>;

async fn found(face: &Face, wish: &SearchWish) -> Result<Found, Refusal> {
    let queries = wish.queries(face.who.tenant())?;
    let threads = match queries.as_slice() {
        [query] => face.threading.archive.threads(query.clone()).await?,
        many => merged(face, many).await?,
    };
    match wish.needs_states() {
        true => {
            let (mut room, mut found) = (Room::default(), Found::new());
            let mut read = pin!(states(face, threads));
            while let Some(one) = read.next().await {
                let (thread, state) = one?;
                state.iter().try_for_each(|state| room.take(&state.values))?;
                found.push((thread, state));
            }
            Ok(found)
        }
        false => Ok(threads.into_iter().map(|thread| (thread, None)).collect()),
    }
}

/// A page over several queries that differ in the status alone.
async fn merged(face: &Face, queries: &[ThreadQuery]) -> Result<Vec<Thread>, Refusal> {
    let mut all = Vec::new();
    let (mut page, mut order) = ((0, 0), Order::default());
    for query in queries {
        (page, order) = ((query.offset, query.max), query.order);
        let from_start = ThreadQuery { offset: 0, max: query.offset + query.max, ..query.clone() };
        all.extend(face.threading.archive.threads(from_start).await?);
    }
    all.sort_by(|left, right| match order {
        Order::CreatedNewest => right.created.cmp(&left.created),
        Order::CreatedOldest => left.created.cmp(&right.created),
        Order::UpdatedNewest => right.updated.cmp(&left.updated),
        Order::UpdatedOldest => left.updated.cmp(&right.updated),
    });
    Ok(all.into_iter().skip(page.0).take(page.1).collect())
}

/// Each thread with its state, some read ahead.
fn states(
    face: &Face,
    threads: Vec<Thread>,
) -> impl Stream<Item = Result<(Thread, Option<StateView>), Refusal>> {
    let reading = threads.into_iter().map(move |thread| async move {
        let state = head(face, thread.id).await?;
        Ok::<_, Refusal>((thread, state))
    });
    stream::iter(reading).buffered(READING_MAX)
}

/// Threads whose state has certain values: each is looked at, up to a bound.
async fn with_values(
    face: &Face,
    wish: &SearchWish,
    values: &Map<String, Value>,
) -> Result<Found, Refusal> {
    let (limit, mut skip) = (wish.limit()?, wish.offset.unwrap_or(0));
    let (mut kept, mut room) = (Vec::new(), Room::default());
    for query in wish.queries(face.who.tenant())? {
        for page in 0..LOOKED_THROUGH_MAX / PAGE_MAX {
            let query = ThreadQuery { offset: page * PAGE_MAX, max: PAGE_MAX, ..query.clone() };
            let threads = face.threading.archive.threads(query).await?;
            let last = threads.len() < PAGE_MAX;
            let mut read = pin!(states(face, threads));
            while let Some(one) = read.next().await {
                let (thread, state) = one?;
                let has = |state: &StateView| {
                    values.iter().all(|(name, value)| state.values.get(name) == Some(value))
                };
                if !state.as_ref().is_some_and(has) {
                    continue;
                }
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                let state = state.filter(|_| wish.shows_states());
                state.iter().try_for_each(|state| room.take(&state.values))?;
                kept.push((thread, state));
                if kept.len() == limit {
                    return Ok(kept);
                }
            }
            if last {
                break;
            }
        }
    }
    Ok(kept)
}

pub(crate) async fn count(
    face: Face,
    dialect::Maybe(wish): dialect::Maybe<SearchWish>,
) -> Result<Json<u64>, Refusal> {
    if let Some(values) = &wish.values {
        let select = Some(vec!["thread_id".to_owned()]);
        let wide = SearchWish { limit: Some(PAGE_MAX), offset: None, select, ..wish_of(&wish) };
        let found = with_values(&face, &wide, values).await?.len();
        return Ok(Json(found as u64));
    }
    let mut count = 0;
    for query in wish.queries(face.who.tenant())? {
        count += face.threading.archive.count(query).await?;
    }
    Ok(Json(count))
}

/// What is meant, without how it is shown.
fn wish_of(wish: &SearchWish) -> SearchWish {
    SearchWish {
        metadata: wish.metadata.clone(),
        ids: wish.ids.clone(),
        status: wish.status.clone(),
        ..SearchWish::default()
    }
}

/// Values at paths such as `values.messages[-1].content`.
fn extract(whole: &Value, paths: &Map<String, Value>) -> Value {
    let at = |path: &Value| path.as_str().and_then(|path| walk(whole, path)).cloned();
    paths.iter().map(|(name, path)| (name.clone(), at(path).unwrap_or_default())).collect()
}

fn walk<'a>(whole: &'a Value, path: &str) -> Option<&'a Value> {
    let mut place = whole;
    for step in path.split('.') {
        let (name, indices) = step
            .split_once('[')
            .map_or((step, None), |(name, rest)| (name, Some(rest.trim_end_matches(']'))));
        place = place.get(name)?;
        for index in indices.into_iter().flat_map(|indices| indices.split("][")) {
            let items = place.as_array()?;
            let index: i64 = index.parse().ok()?;
            let from_end = i64::try_from(items.len()).ok()? + index;
            let index = if index < 0 { from_end } else { index };
            place = items.get(usize::try_from(index).ok()?)?;
        }
    }
    Some(place)
}

#[cfg(test)]
mod tests;
