//! Questions that wait for a person, and the audit log that answers for what was decided.

use std::sync::Arc;

use agentry_core::run::Answer;
use agentry_core::store::Log;
use agentry_core::thread::Interrupt;
use agentry_core::threads::{Signal, Signalled, ThreadStore, Threads};
use agentry_core::{Clock, RunId, audit};
use agentry_identity::{Caller, Kind, Scope};
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Extension, Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::parameters::Parameters;
use crate::{App, Body, Refusal, identity};

/// What this face works on.
pub struct Approvals {
    pub store: Arc<dyn ThreadStore>,
    pub archive: Arc<dyn Threads>,
    pub log: Arc<dyn Log>,
    pub clock: Arc<dyn Clock>,
    /// Called after an answer, so that workers look at once.
    pub nudge: Arc<dyn Fn() + Send + Sync>,
}

const QUESTIONS_MAX: usize = 500;
const AUDIT_MAX: usize = 1_000;
const TEXT_BYTES_MAX: usize = 4_000;
/// What is nested deeper could be stored and not be read again.
const REMEDY_LEVELS_MAX: usize = 8;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/approvals", get(list))
        .route("/v1/approvals/{id}", get(show).post(decide))
        .route("/v1/audit", get(read_audit))
}

pub(crate) const PATHS: &[&str] = &["/v1/approvals", "/v1/audit"];

fn face(app: &App) -> Result<&Approvals, Refusal> {
    app.approvals
        .as_ref()
        .ok_or_else(|| Refusal::not_found("runs_off", "this instance does not handle runs"))
}

/// A decision. Nothing unknown is accepted: a misspelt `digest` must not approve something else.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    decision: String,
    #[serde(default)]
    comment: Option<String>,
    /// The digest of the order that was looked at; a stale one is refused.
    #[serde(default)]
    digest: Option<String>,
    /// With `modify`: the order that is wanted instead.
    #[serde(default)]
    remedy: Option<Value>,
    #[serde(default)]
    actor: Option<String>,
}

async fn list(State(app): State<Arc<App>>) -> Result<Json<Value>, Refusal> {
    let questions = face(&app)?.archive.questions(None, QUESTIONS_MAX).await?;
    let waiting: Vec<Value> =
        questions.iter().filter(|question| question.answer.is_none()).map(view).collect();
    Ok(Json(json!({ "object": "list", "data": waiting })))
}

async fn show(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    find(face(&app)?, &id).await.map(|question| Json(view(&question)))
}

async fn decide(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Extension(caller): Extension<Arc<Caller>>,
    Body(decision): Body<Decision>,
) -> Result<Json<Value>, Refusal> {
    let face = face(&app)?;
    let question = find(face, &id).await?;
    check(&question, &decision)?;
    let actor = match (caller.kind, decision.actor.as_deref()) {
        (Kind::Anonymous, Some(name)) => format!("person:{name}"),
        // Whoever has a key cannot claim to be somebody else.
        (Kind::Anonymous, None) | (Kind::Key | Kind::Token, _) => caller.actor(),
    };
    let at = face.clock.now();
    let value = json!({
        "decision": decision.decision,
        "comment": decision.comment,
        "digest": decision.digest,
        "remedy": decision.remedy,
        "on_behalf_of": decision.actor.filter(|_| caller.kind != Kind::Anonymous),
    });
    fits(&question, &value)?;
    let entry = audit::Entry {
        at,
        actor: actor.clone(),
        action: "approval.answered".into(),
        subject: id.clone(),
        detail: value.clone(),
    };
    let answer = Answer { value: value.clone(), actor: actor.clone(), at };
    let signal = Signal::Answer { interrupt: question.id.clone(), answer, audit: vec![entry] };
    match face.store.signal(question.thread, signal).await? {
        Signalled::Accepted | Signalled::Duplicate => {
            (face.nudge)();
            Ok(Json(
                json!({ "id": id, "accepted": true, "actor": actor, "at": at, "answer": value }),
            ))
        }
        Signalled::AlreadyAnswered(winner) => Err(decided(&winner)),
        Signalled::Expired => Err(conflict(
            "approval_expired",
            "nobody answered in time, which counts as a rejection".to_owned(),
        )),
        Signalled::Finished(_) => {
            Err(conflict("approval_expired", "the run that asked is over".to_owned()))
        }
        Signalled::NotFound => Err(unknown()),
    }
}

fn check(question: &Interrupt, decision: &Decision) -> Result<(), Refusal> {
    if let Some(winner) = &question.answer {
        return Err(decided(winner));
    }
    let asked = question.question.as_ref();
    let offered = asked.and_then(|asked| asked.get("decisions")).and_then(Value::as_array);
    let fits =
        offered.is_none_or(|words| words.iter().any(|word| *word == decision.decision.as_str()));
    if !fits {
        let words: Vec<&str> = offered.into_iter().flatten().filter_map(Value::as_str).collect();
        let message = format!("`{}` is not one of: {}", decision.decision, words.join(", "));
        return Err(Refusal::bad_request("decision_unknown", message).param("decision"));
    }
    let shown = asked.and_then(|asked| asked.get("digest")).and_then(Value::as_str);
    if let (Some(shown), Some(given)) = (shown, decision.digest.as_deref())
        && shown != given
    {
        return Err(conflict(
            "approval_stale",
            format!("the order has changed since it was shown: it is {shown} now, look again"),
        )
        .param("digest"));
    }
    if decision.decision == "modify" && decision.remedy.is_none() {
        return Err(Refusal::bad_request(
            "remedy_missing",
            "`modify` needs the `remedy` that is wanted",
        )
        .param("remedy"));
    }
    check_sizes(decision)
}

fn check_sizes(decision: &Decision) -> Result<(), Refusal> {
    let Decision { decision: _, comment, digest: _, remedy, actor } = decision;
    let long =
        |text: &Option<String>| text.as_ref().is_some_and(|text| text.len() > TEXT_BYTES_MAX);
    if long(comment) || long(actor) {
        let message = format!("a text is longer than {TEXT_BYTES_MAX} bytes");
        return Err(Refusal::bad_request("text_too_long", message).param("comment"));
    }
    let unwieldy = |remedy: &Value| {
        levels(remedy) > REMEDY_LEVELS_MAX || remedy.to_string().len() > TEXT_BYTES_MAX
    };
    if remedy.as_ref().is_some_and(unwieldy) {
        let message = format!(
            "a remedy has at most {TEXT_BYTES_MAX} bytes and {REMEDY_LEVELS_MAX} levels of nesting"
        );
        return Err(Refusal::bad_request("text_too_long", message).param("remedy"));
    }
    Ok(())
}

/// How deep arrays and objects are nested.
fn levels(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(levels).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn decided(winner: &Answer) -> Refusal {
    let word = winner.value.get("decision").and_then(Value::as_str).unwrap_or("an answer");
    conflict(
        "approval_already_decided",
        format!("{} was faster: {word} at {}", winner.actor, winner.at),
    )
}

/// What was not said is not held to anything.
fn fits(question: &Interrupt, answer: &Value) -> Result<(), Refusal> {
    let mut said = answer.clone();
    if let Value::Object(members) = &mut said {
        members.retain(|_, value| !value.is_null());
    }
    let complaints = question.complaints(&said);
    if complaints.is_empty() {
        return Ok(());
    }
    let message = format!("the answer does not fit what was asked for: {}", complaints.join("; "));
    Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "answer_unfit", message))
}

fn conflict(code: &'static str, message: String) -> Refusal {
    Refusal::new(StatusCode::CONFLICT, code, message)
}

fn unknown() -> Refusal {
    Refusal::not_found(
        "approval_not_found",
        "no open question has that id: `GET /v1/approvals` lists them",
    )
    .param("id")
}

/// `RUN.INTERRUPT`
async fn find(face: &Approvals, id: &str) -> Result<Interrupt, Refusal> {
    let (run, interrupt) = id.split_once('.').ok_or_else(unknown)?;
    let run: RunId = run.parse().map_err(|_| unknown())?;
    let asked = face.archive.run(run).await?.ok_or_else(unknown)?;
    let loaded = face.store.load(asked.thread).await?.ok_or_else(unknown)?;
    let found = loaded.interrupts.into_iter().find(|open| open.id == interrupt);
    found.filter(|open| open.question.is_some()).ok_or_else(unknown)
}

fn view(question: &Interrupt) -> Value {
    json!({
        "id": format!("{}.{}", question.run, question.id),
        "run": question.run,
        "opened": question.opened,
        "deadline": question.deadline,
        "on_timeout": question.on_timeout,
        "escalations": question.escalations,
        "question": question.question,
        "answer": question.answer,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Span {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
    #[serde(default)]
    of: Of,
}

/// Keys that several instances share have a log of their own.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Of {
    #[default]
    Runs,
    Keys,
}

async fn read_audit(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Parameters(span): Parameters<Span>,
) -> Result<Json<Value>, Refusal> {
    let face = face(&app)?;
    app.identity.accessed(&caller, "audit.read", face.clock.now()).await?;
    let max = span.limit.unwrap_or(AUDIT_MAX).clamp(1, AUDIT_MAX);
    let mut after = span.after;
    loop {
        // By large steps: most of it may be of other tenants.
        let records = match span.of {
            Of::Runs => face.log.audit(after, AUDIT_MAX).await?,
            Of::Keys => identity::ring(&app)?.audit(after, AUDIT_MAX).await?,
        };
        let Some(last) = records.last() else { break };
        after = last.number;
        let seen = records.into_iter().filter(|record| is_seen(&caller, record));
        let seen: Vec<_> = seen.take(max).collect();
        // An empty page would say that the log ends here.
        if !seen.is_empty() {
            return Ok(Json(json!({ "object": "list", "data": seen })));
        }
    }
    Ok(Json(json!({ "object": "list", "data": [] })))
}

/// The chain is one for all tenants: whoever sees one of them only sees it with gaps.
fn is_seen(caller: &Caller, record: &audit::Record) -> bool {
    let entry = serde_json::from_str::<audit::Entry>(&record.entry);
    entry.map_or_else(|_| caller.scopes.has(Scope::Operator), |entry| caller.sees(entry.tenant()))
}

#[cfg(test)]
mod tests;
