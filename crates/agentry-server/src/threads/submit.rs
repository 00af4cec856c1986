//! From what a caller wants run to a run that is durable.

use std::time::Duration;

use agentry_core::thread::{Absent, NewThread, Priority, Run};
use agentry_core::threads::{Created, Submitted};
use agentry_core::{RunId, ThreadId};
use http::StatusCode;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::engine::Submission;
use super::modes::Modes;
use super::webhook::{self, Promise, Then};
use super::wish::{Completed, Wish};
use super::{Face, no_run, no_thread, show};
use crate::Refusal;
use crate::assistants::{self, Chosen};

/// Threads that are removed when somebody was told of their run go at the latest after this long without a change.
const UNTOLD_KEPT: Duration = Duration::from_secs(7 * 86_400);

/// A run that is under way, and how it is looked at.
pub(crate) struct Begun {
    pub(crate) run: Run,
    pub(crate) modes: Modes,
}

/// On a thread that the caller names.
pub(crate) async fn on_thread(
    face: &Face,
    thread: ThreadId,
    (wish, key): (&Wish, Option<&str>),
) -> Result<Begun, Refusal> {
    submit(face, (thread, wish.absent()?, Then::Keep), (wish, key)).await
}

/// On a thread of its own.
pub(crate) async fn alone(
    face: &Face,
    (wish, key): (&Wish, Option<&str>),
) -> Result<Begun, Refusal> {
    let now = face.clock().now();
    let deletes = wish.completed()? == Completed::Delete;
    let thread = match key {
        // The same key is the same run, on the same thread.
        Some(key) => {
            let name = format!("{}:{key}", face.who.tenant());
            ThreadId::derived(agentry_core::Timestamp::from_millis(0), &name)
        }
        None => ThreadId::new(now, face.app.random()),
    };
    // Whoever tells somebody of the end reads the thread first, and removes it then.
    if !deletes || wish.webhook.is_none() {
        let absent = if deletes { Absent::CreateForRun } else { Absent::Create };
        return submit(face, (thread, absent, Then::Keep), (wish, key)).await;
    }
    webhook::wanted(face, wish.webhook.as_deref()).await?;
    let new = NewThread {
        id: thread,
        tenant: face.who.tenant().to_owned(),
        metadata: Map::new(),
        created: now,
        keep_for: Some(UNTOLD_KEPT),
    };
    match face.threading.archive.create(new).await? {
        Created::New | Created::Existing(_) => {}
        Created::Foreign => return Err(no_thread()),
    }
    submit(face, (thread, Absent::Refuse, Then::Delete), (wish, key)).await
}

async fn submit(
    face: &Face,
    (thread, absent, then): (ThreadId, Absent, Then),
    (wish, key): (&Wish, Option<&str>),
) -> Result<Begun, Refusal> {
    let modes = wish.modes()?;
    wish.check_durability()?;
    let chosen = assistants::choose(face, wish.assistant()).await?;
    let hook = webhook::wanted(face, wish.webhook.as_deref()).await?;
    let run = RunId::new(face.clock().now(), face.app.random());
    let kept = wish.kept(&modes);
    let digest = digest(thread, &chosen, &kept);
    let request = json!({
        "assistant_id": chosen.id,
        "kwargs": kept,
        "digest": digest,
        "owner": face.who.kept(),
        "config": config(wish, &chosen),
    });
    let submission = submission(face, (thread, absent), (wish, key), (run, &chosen, request))?;
    if let (Some(url), Some(webhooks)) = (&hook, &face.threading.webhooks) {
        // First: a run that is there is one that somebody will hear of.
        let promise = Promise { run, url: url.clone(), then, at: face.clock().now() };
        webhooks.promise(promise).await?;
    }
    let run = match face.threading.engine.submit(submission).await? {
        Submitted::Created(run) => run,
        Submitted::Existing(run) => {
            let run = face.threading.archive.run(run).await?.ok_or_else(no_run)?;
            return same(run, &digest).map(|run| Begun { run, modes });
        }
        Submitted::Busy { active } => return Err(busy(active)),
        Submitted::NoThread | Submitted::Foreign => return Err(no_thread()),
        Submitted::AlreadyAnswered { interrupt, answer } => {
            let message =
                format!("{} was faster, at {}: `answer` says with what", answer.actor, answer.at);
            let conflict =
                Refusal::new(StatusCode::CONFLICT, "interrupt_already_answered", message);
            return Err(conflict.with(show::answer(&interrupt, &answer)));
        }
        Submitted::NoInterrupt { interrupt } => return Err(no_interrupt(&interrupt)),
    };
    let run = face.threading.archive.run(run).await?.ok_or_else(no_run)?;
    if hook.is_some() {
        webhook::hasten_after(face, &run);
    }
    Ok(Begun { run, modes })
}

fn submission(
    face: &Face,
    (thread, absent): (ThreadId, Absent),
    (wish, key): (&Wish, Option<&str>),
    (run, chosen, request): (RunId, &Chosen, Value),
) -> Result<Submission, Refusal> {
    let now = face.clock().now();
    let (interrupt_before, interrupt_after) = wish.breakpoints()?;
    let mut metadata = chosen.metadata.clone();
    metadata.extend(wish.metadata.clone().unwrap_or_default());
    metadata.insert("assistant_id".to_owned(), chosen.id.as_str().into());
    metadata.insert("graph_id".to_owned(), chosen.graph.as_str().into());
    metadata.insert(show::REQUEST.to_owned(), request);
    Ok(Submission {
        thread,
        run,
        tenant: face.who.tenant().to_owned(),
        actor: face.who.actor.clone(),
        key: key.map(|key| format!("run:{key}")),
        graph: chosen.graph.clone(),
        work: wish.work()?,
        from: wish.from()?,
        steps_max: wish.steps_max()?,
        interrupt_before,
        interrupt_after,
        multitask: wish.multitask()?,
        priority: Priority::Normal,
        absent,
        metadata,
        created: now,
        not_before: wish.after()?.map(|after| now.plus(after)),
        deadline: None,
    })
}

/// What the assistant is to work with, and over it what the caller says.
fn config(wish: &Wish, chosen: &Chosen) -> Map<String, Value> {
    let mut config = chosen.config.clone();
    for (name, value) in wish.config.iter().flatten() {
        match (name.as_str(), config.get_mut(name), value) {
            ("configurable" | "metadata", Some(Value::Object(known)), Value::Object(more)) => {
                known.extend(more.clone());
            }
            (_, _, value) => {
                config.insert(name.clone(), value.clone());
            }
        }
    }
    let mut context = chosen.context.clone();
    if let Some(more) = &wish.context {
        context.extend(more.clone());
    }
    if !context.is_empty() {
        config.insert("context".to_owned(), Value::Object(context));
    }
    config
}

fn digest(thread: ThreadId, chosen: &Chosen, kept: &Value) -> String {
    let digest = Sha256::new()
        .chain_update(thread.to_string())
        .chain_update(&chosen.id)
        .chain_update(kept.to_string())
        .finalize();
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// A key names one request: another one under it is a mistake.
fn same(run: Run, digest: &str) -> Result<Run, Refusal> {
    let known = show::request(&run).get("digest").and_then(Value::as_str);
    match known.is_none_or(|known| known == digest) {
        true => Ok(run),
        false => {
            let message =
                "another run was submitted with this idempotency-key: each needs a key of its own";
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            Err(Refusal::new(status, "idempotency_conflict", message).param("idempotency-key"))
        }
    }
}

fn busy(active: RunId) -> Refusal {
    let message = format!(
        "the thread is busy with run {active}: wait for it, or choose another multitask_strategy than reject"
    );
    let beside = Map::from_iter([("active_run_id".to_owned(), json!(active))]);
    Refusal::new(StatusCode::CONFLICT, "thread_busy", message).with(beside)
}

fn no_interrupt(interrupt: &str) -> Refusal {
    let message = match interrupt {
        "" => "the thread has no open question: GET its state shows what it asks".to_owned(),
        id => format!(
            "the thread has no open question `{id}`, or nobody answered it in time: GET its state shows what it asks"
        ),
    };
    Refusal::bad_request("interrupt_not_found", message).param("command.resume")
}
