//! Runs on threads: begin, look at, wait for, cancel.

use std::sync::Arc;

use agentry_alarm::within;
use agentry_core::thread::{Cancel, Run, RunStatus};
use agentry_core::threads::{RunQuery, Signalled};
use agentry_core::{Clock, ThreadId};
use axum::Json;
use axum::body::Body as AxumBody;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::states::is_yes;
use super::streams::{self, KEEP_ALIVE_EVERY, locate};
use super::submit::{self, Begun};
use super::wish::{CommandWish, Completed, Disconnected, Wish, Words, invalid, unknown};
use super::{Face, Threading, dialect, no_run, outcome, show, thread_id};
use crate::parameters::Parameters;
use crate::{Body, Refusal, idempotent};

pub(crate) async fn create(
    face: Face,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(wish): Body<Wish>,
) -> Result<Response, Refusal> {
    let key = idempotent::key(&headers)?;
    let Begun { run, modes: _ } = submit::on_thread(&face, thread_id(&id)?, (&wish, key)).await?;
    Ok(created(&run))
}

/// The run, and where it is.
pub(super) fn created(run: &Run) -> Response {
    let mut response = Json(show::run(run)).into_response();
    locate(&mut response, run, "stream");
    response
}

pub(crate) async fn stream(
    face: Face,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(wish): Body<Wish>,
) -> Result<Response, Refusal> {
    let disconnected = wish.disconnected()?;
    let key = idempotent::key(&headers)?;
    let Begun { run, modes } = submit::on_thread(&face, thread_id(&id)?, (&wish, key)).await?;
    let watch = Watch::of(&face, &run).on_disconnect(disconnected);
    streams::follow(&face, (run, modes), (None, watch)).await
}

pub(crate) async fn wait(
    face: Face,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(wish): Body<Wish>,
) -> Result<Response, Refusal> {
    let disconnected = wish.disconnected()?;
    let key = idempotent::key(&headers)?;
    let Begun { run, modes: _ } = submit::on_thread(&face, thread_id(&id)?, (&wish, key)).await?;
    let watch = Watch::of(&face, &run).on_disconnect(disconnected);
    Ok(awaited(&face, run, (wish.words(), watch)))
}

/// The end of a run, whenever it comes; until then now and then a blank, which JSON permits, shows that we are there.
pub(super) fn awaited(face: &Face, run: Run, (words, watch): (Words, Watch)) -> Response {
    let threading = face.threading.clone();
    let stopping = face.app.stopping.clone();
    let place = run.clone();
    let ended = Box::pin(async move {
        let outcome = outcome::of(threading.engine.as_ref(), &run);
        let outcome = stopping.run_until_cancelled(outcome).await?;
        Some(match outcome {
            Ok(outcome) => outcome.shown(words, &run),
            Err(refusal) => {
                let told = refusal.told();
                json!({ "__error__": { "error": told.code, "message": told.message } })
            }
        })
    });
    let body = stream::unfold(Some((ended, watch)), |state| async {
        let (mut ended, mut watch) = state?;
        match within(Instant::now() + KEEP_ALIVE_EVERY, &mut ended).await {
            Err(_) => Some((Ok(Bytes::from_static(b"\n")), Some((ended, watch)))),
            Ok(Some(shown)) => {
                watch.is_over();
                Some((Ok(Bytes::from(shown.to_string())), None))
            }
            // Broken off, so that the caller comes back to another server.
            Ok(None) => Some((Err(std::io::Error::other("the server stops")), None)),
        }
    });
    let mut response = Response::new(AxumBody::from_stream(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    locate(&mut response, &place, "join");
    response
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Page {
    limit: Option<usize>,
    offset: Option<usize>,
    status: Option<String>,
}

const PAGE_DEFAULT: usize = 10;
const PAGE_MAX: usize = 1_000;

type Asked = axum::extract::Query<Vec<(String, String)>>;

pub(crate) async fn list(
    face: Face,
    Path(id): Path<String>,
    axum::extract::Query(asked): Asked,
) -> Result<Json<Value>, Refusal> {
    let thread = face.thread(&id).await?;
    page(&face, Some(thread.id), &asked).await
}

/// Of all threads of the caller's tenant.
pub(crate) async fn list_all(
    face: Face,
    axum::extract::Query(asked): Asked,
) -> Result<Json<Value>, Refusal> {
    page(&face, None, &asked).await
}

async fn page(
    face: &Face,
    thread: Option<ThreadId>,
    asked: &[(String, String)],
) -> Result<Json<Value>, Refusal> {
    let page = Page::read(asked)?;
    let select: Vec<String> = asked
        .iter()
        .filter(|(name, _)| name == "select")
        .flat_map(|(_, names)| names.split(','))
        .map(|name| name.trim_matches([' ', '"', '[', ']']).to_owned())
        .collect();
    let max = page.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&max) {
        return Err(invalid("limit", &format!("it is between 1 and {PAGE_MAX}")));
    }
    let query = |status| RunQuery {
        thread,
        tenant: Some(face.who.tenant().to_owned()),
        status,
        offset: page.offset.unwrap_or(0),
        max,
        ..RunQuery::default()
    };
    let mut found = Vec::new();
    for status in statuses(page.status.as_deref())? {
        found.extend(face.threading.archive.runs(query(status)).await?);
    }
    found.sort_by_key(|run| std::cmp::Reverse(run.id));
    let shown = found.iter().take(max).map(|run| dialect::select(show::run(run), Some(&select)));
    Ok(Json(shown.collect()))
}

impl Page {
    fn read(asked: &[(String, String)]) -> Result<Self, Refusal> {
        let mut page = Self::default();
        for (name, value) in asked {
            let number = || value.parse().map_err(|_| invalid(name, "it is a number"));
            match name.as_str() {
                "limit" => page.limit = Some(number()?),
                "offset" => page.offset = Some(number()?),
                "status" => page.status = Some(value.clone()),
                _ => {}
            }
        }
        Ok(page)
    }
}

/// What a status in this dialect is in ours.
fn statuses(name: Option<&str>) -> Result<Vec<Option<RunStatus>>, Refusal> {
    Ok(match name {
        None => vec![None],
        Some("pending") => vec![Some(RunStatus::Pending)],
        Some("running") => vec![Some(RunStatus::Running)],
        Some("success") => vec![Some(RunStatus::Success)],
        Some("error") => vec![Some(RunStatus::Error)],
        Some("timeout") => vec![Some(RunStatus::Timeout)],
        Some("interrupted") => vec![
            Some(RunStatus::Interrupted),
            Some(RunStatus::Cancelled),
            Some(RunStatus::RolledBack),
        ],
        Some(other) => {
            let known = "pending, running, success, error, timeout, interrupted";
            return Err(unknown("status", other, known));
        }
    })
}

pub(crate) async fn show(
    face: Face,
    Path((id, run)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    Ok(Json(show::run(&face.run(&id, &run).await?)))
}

/// By its id alone.
pub(crate) async fn show_alone(
    face: Face,
    Path(run): Path<String>,
) -> Result<Json<Value>, Refusal> {
    Ok(Json(show::run(&face.any_run(&run).await?)))
}

pub(crate) async fn delete(
    face: Face,
    Path((id, run)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let run = face.run(&id, &run).await?;
    if face.threading.archive.delete_run(run.id).await? {
        return Ok(dialect::done());
    }
    match run.status.is_over() {
        true => Err(no_run()),
        false => {
            let message = "the run is not over: cancel it first";
            Err(Refusal::new(StatusCode::CONFLICT, "run_not_over", message))
        }
    }
}

pub(crate) async fn join(
    face: Face,
    Path((id, run)): Path<(String, String)>,
    Parameters(leaving): Parameters<Leaving>,
) -> Result<Response, Refusal> {
    let run = face.run(&id, &run).await?;
    let watch = Watch::of(&face, &run).on_disconnect(leaving.read());
    Ok(awaited(&face, run, (Words::LangGraph, watch)))
}

/// The same in the Agent Protocol's words.
pub(crate) async fn join_whole(
    face: Face,
    Path((id, run)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let run = face.run(&id, &run).await?;
    let watch = Watch::of(&face, &run);
    Ok(awaited(&face, run, (Words::AgentProtocol, watch)))
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Leaving {
    cancel_on_disconnect: Option<String>,
}

impl Leaving {
    fn read(&self) -> Disconnected {
        match self.cancel_on_disconnect.as_deref().is_some_and(is_yes) {
            true => Disconnected::Cancel,
            false => Disconnected::Continue,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct ResumeWish {
    input: Option<Value>,
    after_seconds: Option<f64>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Answers what the run has asked: a run of its own goes on with it.
pub(crate) async fn resume(
    face: Face,
    Path((id, run)): Path<(String, String)>,
    headers: HeaderMap,
    dialect::Maybe(wish): dialect::Maybe<ResumeWish>,
) -> Result<Response, Refusal> {
    let run = face.run(&id, &run).await?;
    let ResumeWish { input, after_seconds, others } = wish;
    if input.is_none() && !others.is_empty() {
        // An answer counts for good, so none is made up from a body that means something else.
        return Err(invalid(
            "input",
            "the answer goes here; without a body, or as null, it is null",
        ));
    }
    let assistant = show::request(&run).get("assistant_id").and_then(Value::as_str);
    let wish = Wish {
        agent_id: Some(assistant.unwrap_or(&run.program.graph).to_owned()),
        command: Some(CommandWish {
            resume: Some(input.unwrap_or_default()),
            ..CommandWish::default()
        }),
        after_seconds,
        ..Wish::default()
    };
    let key = idempotent::key(&headers)?;
    let Begun { run, modes: _ } = submit::on_thread(&face, run.thread, (&wish, key)).await?;
    Ok(created(&run))
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct CancelWish {
    wait: Option<String>,
    action: Option<String>,
}

/// What becomes of what a cancelled run has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Keep,
    /// Taken back, and the run is deleted.
    Rollback,
}

impl Action {
    pub(super) fn read(name: Option<&str>) -> Result<Self, Refusal> {
        match name {
            None | Some("interrupt") => Ok(Self::Keep),
            Some("rollback") => Ok(Self::Rollback),
            Some(other) => Err(unknown("action", other, "interrupt, rollback")),
        }
    }
}

pub(crate) async fn cancel(
    face: Face,
    Path((id, run)): Path<(String, String)>,
    Parameters(wish): Parameters<CancelWish>,
) -> Result<Response, Refusal> {
    let run = face.run(&id, &run).await?;
    let action = Action::read(wish.action.as_deref())?;
    let waits = wish.wait.as_deref().is_some_and(is_yes);
    cancelled(&face, &run, action).await?;
    if waits {
        let ended = outcome::for_good(&face.threading, &run).await?;
        if ended.is_some_and(|run| left_nothing(&run, action)) {
            face.threading.archive.delete_run(run.id).await?;
        }
        return Ok(dialect::done());
    }
    if action == Action::Rollback {
        let (threading, stopping) = (face.threading.clone(), face.app.stopping.clone());
        let deleting = async move {
            let ended = stopping.run_until_cancelled(outcome::for_good(&threading, &run)).await;
            if let Some(Ok(Some(ended))) = ended
                && left_nothing(&ended, action)
                && let Err(problem) = threading.archive.delete_run(run.id).await
            {
                warn!(run_id = %run.id, %problem, "a run that was taken back is still listed");
            }
        };
        face.app.tracker.spawn(deleting);
    }
    Ok(StatusCode::ACCEPTED.into_response())
}

/// Whether a run that was to be taken back was, or never did anything. With any other its work would be deleted.
fn left_nothing(run: &Run, action: Action) -> bool {
    let none = run.base.is_none() || run.status == RunStatus::RolledBack;
    action == Action::Rollback && none
}

pub(super) async fn cancelled(face: &Face, run: &Run, action: Action) -> Result<(), Refusal> {
    let cancel = Cancel {
        reason: format!("cancelled by {}", face.who.actor.clone()),
        rollback: action == Action::Rollback,
        at: face.clock().now(),
    };
    match face.threading.engine.cancel(run.thread, run.id, cancel).await? {
        Signalled::Accepted | Signalled::Duplicate => Ok(()),
        Signalled::NotFound => Err(no_run()),
        Signalled::Finished(status) => {
            let message = format!("the run is over: {}", show::run_status(status));
            let beside = Map::from_iter([("status".to_owned(), show::run_status(status).into())]);
            Err(Refusal::new(StatusCode::CONFLICT, "run_over", message).with(beside))
        }
        Signalled::AlreadyAnswered(_) | Signalled::Expired => {
            Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "not an answer"))
        }
    }
}

/// Somebody reads what comes of a run. When that ends, what was wished for then happens, owned by the server.
pub(crate) struct Watch {
    threading: Threading,
    tracker: TaskTracker,
    stopping: CancellationToken,
    clock: Arc<dyn Clock>,
    run: Run,
    disconnected: Disconnected,
    completed: Completed,
    over: bool,
}

impl Watch {
    pub(crate) fn of(face: &Face, run: &Run) -> Self {
        Self {
            threading: face.threading.clone(),
            tracker: face.app.tracker.clone(),
            stopping: face.app.stopping.clone(),
            clock: Arc::clone(&face.app.clock),
            run: run.clone(),
            disconnected: Disconnected::Continue,
            completed: Completed::Keep,
            over: false,
        }
    }

    pub(crate) fn on_disconnect(mut self, disconnected: Disconnected) -> Self {
        self.disconnected = disconnected;
        self
    }

    /// What becomes of the thread when the run is over.
    pub(crate) fn on_completion(mut self, completed: Completed) -> Self {
        self.completed = completed;
        self
    }

    pub(crate) fn is_over(&mut self) {
        self.over = true;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let cancels = !self.over && self.disconnected == Disconnected::Cancel;
        let deletes = self.completed == Completed::Delete;
        // When the server stops, it was not the reader who went away.
        if self.stopping.is_cancelled() || !(cancels || deletes) {
            return;
        }
        let (threading, run, over) = (self.threading.clone(), self.run.clone(), self.over);
        let (stopping, at) = (self.stopping.clone(), self.clock.now());
        let cleaning = async move {
            if cancels {
                let reason = "nobody reads its answer any more".to_owned();
                let cancel = Cancel { reason, rollback: false, at };
                if let Err(refusal) = threading.engine.cancel(run.thread, run.id, cancel).await {
                    warn!(run_id = %run.id, problem = refusal.told().message, "a run goes on for nobody");
                }
            }
            if deletes {
                if !over {
                    let _ = outcome::of(threading.engine.as_ref(), &run).await;
                }
                // It goes by itself a minute later if this fails, or does not come to pass.
                let _ = threading.archive.delete(run.thread).await;
            }
        };
        self.tracker.spawn(async move {
            stopping.run_until_cancelled(cleaning).await;
        });
    }
}
