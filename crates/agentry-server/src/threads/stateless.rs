//! Runs that have a thread for themselves.

use agentry_core::RunId;
use agentry_core::thread::RunStatus;
use agentry_core::threads::RunQuery;
use axum::Json;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::runs::{self, Action, Watch};
use super::submit::{self, Begun};
use super::wish::{Wish, invalid, unknown};
use super::{Face, dialect, run_id, show, streams, thread_id};
use crate::parameters::Parameters;
use crate::{Body, Refusal, idempotent};

/// Runs that are begun, or cancelled, in one request.
const TOGETHER_MAX: usize = 100;

pub(crate) async fn create(
    face: Face,
    headers: HeaderMap,
    Body(wish): Body<Wish>,
) -> Result<Response, Refusal> {
    let key = idempotent::key(&headers)?;
    let Begun { run, modes: _ } = submit::alone(&face, (&wish, key)).await?;
    // Whoever asked reads no further: the thread goes when the run is over.
    drop(Watch::of(&face, &run).on_completion(wish.left_to_reader()?));
    Ok(runs::created(&run))
}

pub(crate) async fn stream(
    face: Face,
    headers: HeaderMap,
    Body(wish): Body<Wish>,
) -> Result<Response, Refusal> {
    let (disconnected, completed) = (wish.disconnected()?, wish.left_to_reader()?);
    let key = idempotent::key(&headers)?;
    let Begun { run, modes } = submit::alone(&face, (&wish, key)).await?;
    let watch = Watch::of(&face, &run).on_disconnect(disconnected).on_completion(completed);
    streams::follow(&face, (run, modes), (None, watch)).await
}

pub(crate) async fn wait(
    face: Face,
    headers: HeaderMap,
    Body(wish): Body<Wish>,
) -> Result<Response, Refusal> {
    let (disconnected, completed) = (wish.disconnected()?, wish.left_to_reader()?);
    let key = idempotent::key(&headers)?;
    let Begun { run, modes: _ } = submit::alone(&face, (&wish, key)).await?;
    let watch = Watch::of(&face, &run).on_disconnect(disconnected).on_completion(completed);
    Ok(runs::awaited(&face, run, (wish.words(), watch)))
}

/// Several at once, each on a thread of its own or on the one that it names. They are independent of each other: the
/// first that cannot be begun is told, and those before it go on.
pub(crate) async fn batch(
    face: Face,
    Body(wishes): Body<Vec<Wish>>,
) -> Result<Json<Value>, Refusal> {
    if wishes.len() > TOGETHER_MAX {
        return Err(invalid("body", &format!("begin at most {TOGETHER_MAX} runs at once")));
    }
    let mut begun = Vec::new();
    for wish in &wishes {
        let Begun { run, modes: _ } = match &wish.thread_id {
            Some(id) => submit::on_thread(&face, thread_id(id)?, (wish, None)).await?,
            None => {
                let alone = submit::alone(&face, (wish, None)).await?;
                drop(Watch::of(&face, &alone.run).on_completion(wish.left_to_reader()?));
                alone
            }
        };
        begun.push(show::run(&run));
    }
    Ok(Json(begun.into()))
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct CancelWish {
    thread_id: Option<String>,
    run_ids: Option<Vec<String>>,
    status: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct How {
    action: Option<String>,
}

/// Those that are named, or all of a status. What is over by now is left as it is.
pub(crate) async fn cancel(
    face: Face,
    Parameters(how): Parameters<How>,
    Body(wish): Body<CancelWish>,
) -> Result<Response, Refusal> {
    let action = Action::read(how.action.as_deref())?;
    let thread = wish.thread_id.as_deref().map(thread_id).transpose()?;
    let mut chosen = Vec::new();
    match (&wish.run_ids, wish.status.as_deref()) {
        (Some(ids), None) => {
            if ids.len() > TOGETHER_MAX {
                let message = format!("cancel at most {TOGETHER_MAX} runs at once");
                return Err(invalid("run_ids", &message));
            }
            let ids: Vec<RunId> = ids.iter().map(|id| run_id(id)).collect::<Result<_, _>>()?;
            for id in ids {
                chosen.push(face.any_run(&id.to_string()).await?);
            }
            chosen.retain(|run| thread.is_none_or(|thread| thread == run.thread));
        }
        (None, Some(status)) => {
            let statuses = match status {
                "pending" => vec![RunStatus::Pending],
                "running" => vec![RunStatus::Running],
                "all" => vec![RunStatus::Pending, RunStatus::Running],
                other => return Err(unknown("status", other, "pending, running, all")),
            };
            for status in statuses {
                let query = RunQuery {
                    tenant: Some(face.who.tenant().to_owned()),
                    thread,
                    status: Some(status),
                    max: 1_000,
                    ..RunQuery::default()
                };
                chosen.extend(face.threading.archive.runs(query).await?);
            }
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(invalid("run_ids", "name either `run_ids` or a `status`"));
        }
    }
    for run in chosen.iter().filter(|run| !run.status.is_over()) {
        match runs::cancelled(&face, run, action).await {
            Err(refusal) if refusal.told().code != "run_over" => return Err(refusal),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(dialect::done())
}
