//! What happens, as server-sent events; a listener who comes back goes on where it was.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::time::Duration;

use agentry_alarm::within;
use agentry_core::RunId;
use agentry_core::thread::{EventId, Run, Thread};
use axum::body::Body;
use axum::extract::{Path, Query};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::header::{CACHE_CONTROL, CONTENT_LOCATION, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::engine::{Follow, Part, Parts, Wanted, What};
use super::frames::{self, Place, Writer};
use super::modes::Modes;
use super::runs::Watch;
use super::states::is_yes;
use super::wish::{Disconnected, invalid, unknown};
use super::{Face, Threading, show};
use crate::Refusal;

/// Silence before a comment shows that the stream is alive.
pub(crate) const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEP_ALIVE: &[u8] = b": heartbeat\n\n";

/// What comes after the `?`, names perhaps more than once.
type Asked = Query<Vec<(String, String)>>;

fn all<'a>(asked: &'a Asked, name: &'a str) -> impl Iterator<Item = &'a str> {
    asked.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Of a run that is under way or over: all of it, or what came after the event that the listener names.
pub(crate) async fn run(
    face: Face,
    Path((id, run)): Path<(String, String)>,
    headers: HeaderMap,
    asked: Asked,
) -> Result<Response, Refusal> {
    let run = face.run(&id, &run).await?;
    joined(&face, run, (&headers, &asked)).await
}

/// The same by the run's id alone.
pub(crate) async fn run_alone(
    face: Face,
    Path(run): Path<String>,
    headers: HeaderMap,
    asked: Asked,
) -> Result<Response, Refusal> {
    let run = face.any_run(&run).await?;
    joined(&face, run, (&headers, &asked)).await
}

async fn joined(
    face: &Face,
    run: Run,
    (headers, asked): (&HeaderMap, &Asked),
) -> Result<Response, Refusal> {
    let modes = modes(&run, asked)?;
    let disconnected = match all(asked, "cancel_on_disconnect").any(is_yes) {
        true => Disconnected::Cancel,
        false => Disconnected::Continue,
    };
    let after = last_seen(headers)?;
    let watch = Watch::of(face, &run).on_disconnect(disconnected);
    follow(face, (run, modes), (after, watch)).await
}

/// Those that are asked for, else those the run was begun with.
fn modes(run: &Run, asked: &Asked) -> Result<Modes, Refusal> {
    let names: Vec<&str> =
        all(asked, "stream_mode").filter(|names| !names.trim().is_empty()).collect();
    let kwargs = show::request(run).get("kwargs");
    let kept = |name| kwargs.and_then(|kwargs| kwargs.get(name));
    let modes = match names.as_slice() {
        [] => Modes::read(kept("stream_mode"))?,
        [names] => Modes::named(names)?,
        many => Modes::named(&many.join(","))?,
    };
    let subgraphs = kept("stream_subgraphs").and_then(Value::as_bool).unwrap_or(false);
    Ok(Modes { subgraphs, ..modes })
}

/// Nothing when the listener has seen nothing yet.
fn last_seen(headers: &HeaderMap) -> Result<Option<Place>, Refusal> {
    let Some(id) = headers.get("last-event-id") else { return Ok(None) };
    let place = id.to_str().ok().and_then(Place::read);
    let hint = "it is the `id` of an event of this stream, or -1 for all of it";
    place.map(Some).ok_or_else(|| invalid("last-event-id", hint))
}

/// Of a run.
pub(crate) async fn follow(
    face: &Face,
    (run, modes): (Run, Modes),
    (after, watch): (Option<Place>, Watch),
) -> Result<Response, Refusal> {
    let place = after.unwrap_or_default();
    let writer = Writer::new(run.thread, modes).after(&place);
    let is_first = place.at == EventId::default();
    let follow =
        Follow { thread: run.thread, run: Some(run.id), after: place.at, wanted: writer.wanted() };
    let parts = face.threading.engine.follow(follow).await?;
    let mut first = Vec::new();
    if is_first {
        let data = json!({ "run_id": run.id, "thread_id": run.thread, "attempt": 1 });
        frames::event("metadata", &data, None, &mut first);
    }
    let listening = Listening::Run { writer: Box::new(writer), watch };
    let mut response = respond(face, parts, (listening, first));
    locate(&mut response, &run, "stream");
    Ok(response)
}

/// Where the run is, and where to come back to.
pub(crate) fn locate(response: &mut Response, run: &Run, again: &str) {
    let place = format!("/threads/{}/runs/{}", run.thread, run.id);
    let again = format!("{place}/{again}");
    let headers = response.headers_mut();
    for (name, value) in [(CONTENT_LOCATION, place), (LOCATION, again)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}

/// Of all runs of a thread, from now on, or from the event that the listener names.
pub(crate) async fn thread(
    face: Face,
    Path(id): Path<String>,
    headers: HeaderMap,
    asked: Asked,
) -> Result<Response, Refusal> {
    let thread = face.thread(&id).await?;
    let names = all(&asked, "stream_mode").flat_map(|names| names.split(','));
    let mut kinds = Vec::new();
    for name in names.map(|name| name.trim_matches([' ', '"', '[', ']'])) {
        kinds.push(match name {
            "" | "run_modes" => Kind::Runs,
            "lifecycle" => Kind::Lifecycle,
            "state_update" => Kind::State,
            other => {
                return Err(unknown("stream_mode", other, "run_modes, lifecycle, state_update"));
            }
        });
    }
    if kinds.is_empty() {
        kinds.push(Kind::Runs);
    }
    let now = EventId { seq: thread.seq, index: u32::MAX };
    let everything = Wanted {
        values: true,
        updates: true,
        messages: true,
        custom: true,
        tasks: true,
        checkpoints: true,
        debug: true,
        subgraphs: true,
    };
    let wanted = match (kinds.contains(&Kind::Runs), kinds.contains(&Kind::State)) {
        (true, _) => everything,
        (false, state) => Wanted { values: state, ..Wanted::default() },
    };
    let place = last_seen(&headers)?.unwrap_or(Place { at: now, pieces: Vec::new() });
    let follow = Follow { thread: thread.id, run: None, after: place.at, wanted };
    let parts = face.threading.engine.follow(follow).await?;
    let threading = face.threading.clone();
    let listening = Listening::Thread { thread, kinds, place, runs: HashMap::new(), threading };
    Ok(respond(&face, parts, (listening, Vec::new())))
}

/// What a listener to a thread wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What listeners to each run see.
    Runs,
    /// Beginnings and ends.
    Lifecycle,
    /// The state whenever it changes.
    State,
}

enum Listening {
    Run {
        writer: Box<Writer>,
        watch: Watch,
    },
    Thread {
        thread: Thread,
        kinds: Vec<Kind>,
        /// Where the listener was.
        place: Place,
        /// One writer for each run that is under way.
        runs: HashMap<RunId, Writer>,
        threading: Threading,
    },
}

impl Listening {
    /// Says whether that was the last.
    async fn write(&mut self, part: &Part, out: &mut Vec<u8>) -> bool {
        let ends = matches!(part.what, What::Ended { .. });
        match self {
            Self::Run { writer, watch } => {
                // Who listens to a run has been told already.
                if part.what != What::Began {
                    writer.write(part, out);
                }
                if ends {
                    watch.is_over();
                }
                return ends;
            }
            Self::Thread { thread, kinds, place, runs, threading } => {
                if let (true, What::Values { values, .. }, "") =
                    (kinds.contains(&Kind::State), &part.what, part.ns.as_str())
                {
                    frames::event("state_update", &json!({ "values": values }), part.id, out);
                }
                let Some(run) = part.run else { return false };
                if ends {
                    runs.remove(&run);
                    done(part, out);
                    return false;
                }
                let writer = match runs.entry(run) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => {
                        let modes = modes_of(threading, kinds, run).await;
                        new.insert(Writer::new(thread.id, modes).after(place))
                    }
                };
                writer.write(part, out);
            }
        }
        false
    }
}

/// What listeners to the run itself see, unless only beginnings and ends are wanted.
async fn modes_of(threading: &Threading, kinds: &[Kind], run: RunId) -> Modes {
    if !kinds.contains(&Kind::Runs) {
        return Modes::none();
    }
    let known = threading.archive.run(run).await.ok().flatten();
    known.and_then(|run| modes(&run, &Query(Vec::new())).ok()).unwrap_or_else(Modes::usual)
}

fn done(part: &Part, out: &mut Vec<u8>) {
    if let What::Ended { status, reason } = &part.what {
        let data = json!({
            "run_id": part.run,
            "status": show::run_status(*status),
            "error": frames::failure(*status, reason.as_deref()),
        });
        frames::event("run_done", &data, part.id, out);
    }
}

fn respond(face: &Face, parts: Parts, (listening, first): (Listening, Vec<u8>)) -> Response {
    // When the server stops, listeners come back to another one.
    let parts: Parts = Box::pin(parts.take_until(face.app.stopping.clone().cancelled_owned()));
    let mut response = Response::new(Body::from_stream(events(parts, listening, first)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn events(
    parts: Parts,
    listening: Listening,
    first: Vec<u8>,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let begun = (!first.is_empty()).then(|| Ok(Bytes::from(first)));
    let rest = stream::unfold(Some((parts, listening)), |state| async {
        let (mut parts, mut listening) = state?;
        let mut out = Vec::new();
        while out.is_empty() {
            match within(Instant::now() + KEEP_ALIVE_EVERY, parts.next()).await {
                Err(_) => out.extend_from_slice(KEEP_ALIVE),
                Ok(Some(Ok(part))) => {
                    if listening.write(&part, &mut out).await {
                        return Some((Ok(out.into()), None));
                    }
                }
                Ok(Some(Err(refusal))) => {
                    let told = refusal.told();
                    let data = json!({ "error": told.code, "message": told.message });
                    frames::event("error", &data, None, &mut out);
                    return Some((Ok(out.into()), None));
                }
                Ok(None) => return None,
            }
        }
        Some((Ok(out.into()), Some((parts, listening))))
    });
    stream::iter(begun).chain(rest)
}
