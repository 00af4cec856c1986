//! Starts the runs of crons when their time has come. Several instances may: each occurrence starts once.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::crons::{Claim, Due};
use serde_json::Value;
use tokio::time::sleep;
use tracing::{info, warn};

use super::OWNER;
use crate::threads::runs::Watch;
use crate::threads::submit::{self, Begun};
use crate::threads::who::Who;
use crate::threads::wish::Wish;
use crate::threads::{Face, Threading, thread_id};
use crate::{App, Refusal};

/// Occurrences that are taken at once.
const TAKEN_MAX: usize = 16;
/// Whoever takes one has so long to start its run; then another instance may.
const LEASE: Duration = Duration::from_secs(60);
/// Crons that others have made are seen at the latest after this long.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Until the server stops.
pub(crate) async fn run(app: Arc<App>, threading: Threading) {
    let stopping = app.stopping.clone();
    while !stopping.is_cancelled() {
        let pause = match start_due(&app, &threading).await {
            Ok(pause) => pause,
            Err(problem) => {
                warn!(problem = problem.told().message, "crons cannot be read at the moment");
                LOOK_EVERY
            }
        };
        let changed = app.crons_changed.notified();
        let waited = tokio::time::timeout(pause, changed);
        if stopping.run_until_cancelled(waited).await.is_none() {
            return;
        }
    }
}

/// How long nothing is due.
async fn start_due(app: &Arc<App>, threading: &Threading) -> Result<Duration, Refusal> {
    let now = app.clock.now();
    let claim = Claim { now, lease_until: now.plus(LEASE), max: TAKEN_MAX };
    let due = threading.crons.due(claim).await?;
    let full = due.len() == TAKEN_MAX;
    for due in due {
        start(app, threading, &due).await?;
    }
    if full {
        return Ok(Duration::ZERO);
    }
    let next: Option<Timestamp> = threading.crons.next_due().await?;
    let until = next.map_or(LOOK_EVERY, |next| next.since(app.clock.now()));
    // What is due and cannot be had is held by another instance.
    Ok(until.clamp(Duration::from_millis(50), LOOK_EVERY))
}

async fn start(app: &Arc<App>, threading: &Threading, due: &Due) -> Result<(), Refusal> {
    match submit(app, threading, due).await {
        Ok(begun) => info!(cron = due.cron.id, run_id = %begun.run.id, "a cron's run was started"),
        // It would be refused again.
        Err(refusal) if refusal.told().status < 500 => {
            let problem = refusal.told().message;
            warn!(cron = due.cron.id, problem, "a cron's run was refused and is left out");
        }
        Err(refusal) => {
            let problem = refusal.told().message;
            warn!(cron = due.cron.id, problem, "a cron's run cannot be started yet");
            sleep(Duration::from_millis(100)).await;
            return Ok(());
        }
    }
    threading.crons.fired(due, app.clock.now()).await?;
    Ok(())
}

async fn submit(app: &Arc<App>, threading: &Threading, due: &Due) -> Result<Begun, Refusal> {
    let definition = &due.cron.definition;
    let unreadable = || Refusal::bad_request("cron_invalid", "this version cannot read the cron");
    let who = definition.payload.get(OWNER).and_then(Who::read).ok_or_else(unreadable)?;
    let mut payload = definition.payload.clone();
    payload.insert("assistant_id".to_owned(), definition.assistant.as_str().into());
    let kept = match payload.get("on_run_completed").and_then(Value::as_str) {
        Some("keep") => "keep",
        Some(_) | None => "delete",
    };
    payload.insert("on_completion".to_owned(), kept.into());
    let mut wish: Wish =
        serde_json::from_value(Value::Object(payload)).map_err(|_| unreadable())?;
    let mut metadata = wish.metadata.take().unwrap_or_default();
    metadata.insert("cron_id".to_owned(), due.cron.id.as_str().into());
    wish.metadata = Some(metadata);
    let face = Face { app: Arc::clone(app), threading: threading.clone(), who };
    let key = due.key();
    match &definition.thread {
        Some(thread) => submit::on_thread(&face, thread_id(thread)?, (&wish, Some(&key))).await,
        None => {
            let begun = submit::alone(&face, (&wish, Some(&key))).await?;
            drop(Watch::of(&face, &begun.run).on_completion(wish.left_to_reader()?));
            Ok(begun)
        }
    }
}
