//! Threads, runs, states and checkpoints as JSON.

use agentry_core::ThreadId;
use agentry_core::run::Answer;
use agentry_core::thread::{Multitask, Run, RunStatus, Source, Status, Thread};
use serde_json::{Map, Value, json};

use super::engine::{CheckpointRef, InterruptView, StateView, TaskView};

/// The member of a run's metadata that holds how it was asked for. Callers see its parts elsewhere.
pub(crate) const REQUEST: &str = "__request";

pub(crate) fn thread(thread: &Thread, state: Option<&StateView>) -> Value {
    let values = state.map_or(Value::Null, |state| json!(state.values));
    let mut shown = json!({
        "thread_id": thread.id,
        "created_at": thread.created,
        "updated_at": thread.updated,
        "state_updated_at": state.map_or(thread.updated, |state| state.created),
        "metadata": thread.metadata,
        "status": thread_status(thread.status),
        "config": {},
        "values": values,
        "interrupts": state.map(|state| by_task(&state.tasks)).unwrap_or_default(),
    });
    if let (Status::Failed, Some(error), Some(members)) =
        (thread.status, state.and_then(first_error), shown.as_object_mut())
    {
        members.insert("error".to_owned(), error.into());
    }
    shown
}

pub(crate) fn thread_status(status: Status) -> &'static str {
    match status {
        Status::Idle => "idle",
        Status::Ready | Status::Waiting => "busy",
        Status::Interrupted => "interrupted",
        Status::Failed => "error",
    }
}

fn first_error(state: &StateView) -> Option<String> {
    state.tasks.iter().find_map(|task| task.error.clone())
}

fn by_task(tasks: &[TaskView]) -> Map<String, Value> {
    let asking = tasks.iter().filter(|task| !task.interrupts.is_empty());
    asking.map(|task| (task.id.clone(), interrupts(&task.interrupts))).collect()
}

pub(crate) fn interrupts(asked: &[InterruptView]) -> Value {
    asked.iter().map(interrupt).collect()
}

fn interrupt(asked: &InterruptView) -> Value {
    let InterruptView { id, value, schema, deadline, escalations, to } = asked;
    let mut shown =
        Map::from_iter([("id".to_owned(), json!(id)), ("value".to_owned(), value.clone())]);
    let more = [
        ("response_schema", schema.clone()),
        ("deadline", deadline.map(|deadline| json!(deadline))),
        ("escalations", (*escalations > 0).then(|| json!(escalations))),
        ("escalated_to", to.as_ref().map(|to| json!(to))),
    ];
    shown.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    shown.into()
}

pub(crate) fn run(run: &Run) -> Value {
    let mut metadata = run.metadata.clone();
    let request = metadata.shift_remove(REQUEST).unwrap_or_default();
    let assistant = request.get("assistant_id").and_then(Value::as_str);
    let assistant = assistant.unwrap_or(&run.program.graph);
    let kwargs = request.get("kwargs").cloned().unwrap_or_else(|| json!({}));
    let mut shown = json!({
        "run_id": run.id,
        "thread_id": run.thread,
        "assistant_id": assistant,
        "agent_id": run.program.graph,
        "created_at": run.created,
        "updated_at": run.updated,
        "status": run_status(run.status),
        "metadata": metadata,
        "kwargs": kwargs,
        "multitask_strategy": multitask(run.multitask),
    });
    let why = run.reason.as_ref().or_else(|| run.cancel.as_ref().map(|cancel| &cancel.reason));
    if let (Some(why), Some(members)) = (why, shown.as_object_mut()) {
        let name = match run.status {
            RunStatus::Cancelled | RunStatus::RolledBack => "cancel_reason",
            RunStatus::Pending
            | RunStatus::Running
            | RunStatus::Interrupted
            | RunStatus::Success
            | RunStatus::Error
            | RunStatus::Timeout => "reason",
        };
        members.insert(name.to_owned(), why.as_str().into());
    }
    shown
}

/// How this run was asked for.
pub(crate) fn request(run: &Run) -> &Value {
    run.metadata.get(REQUEST).unwrap_or(&Value::Null)
}

pub(crate) fn run_status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Pending => "pending",
        RunStatus::Running => "running",
        RunStatus::Success => "success",
        RunStatus::Error => "error",
        RunStatus::Timeout => "timeout",
        RunStatus::Interrupted | RunStatus::Cancelled | RunStatus::RolledBack => "interrupted",
    }
}

fn multitask(strategy: Multitask) -> &'static str {
    match strategy {
        Multitask::Reject => "reject",
        Multitask::Enqueue => "enqueue",
        Multitask::Interrupt => "interrupt",
        Multitask::Rollback => "rollback",
    }
}

pub(crate) fn state(thread: ThreadId, state: &StateView) -> Value {
    let place = |place: &CheckpointRef| checkpoint(thread, place);
    let open: Vec<InterruptView> =
        state.tasks.iter().flat_map(|task| task.interrupts.iter().cloned()).collect();
    json!({
        "values": state.values,
        "next": state.next,
        "checkpoint": place(&state.checkpoint),
        "metadata": metadata(thread, state),
        "created_at": state.created,
        "parent_checkpoint": state.parent.as_ref().map(place),
        "tasks": state.tasks.iter().map(|each| task(thread, each)).collect::<Vec<_>>(),
        "interrupts": interrupts(&open),
    })
}

pub(crate) fn metadata(thread: ThreadId, state: &StateView) -> Map<String, Value> {
    let mut shown = state.metadata.clone();
    let known = [
        ("source", json!(source(state.source))),
        ("step", json!(state.step)),
        ("thread_id", json!(thread)),
        ("run_id", json!(state.run)),
    ];
    for (name, value) in known {
        if !value.is_null() {
            shown.insert(name.to_owned(), value);
        }
    }
    shown.entry("parents").or_insert_with(|| json!({}));
    shown
}

fn source(source: Source) -> &'static str {
    match source {
        Source::Input => "input",
        Source::Loop => "loop",
        Source::Update => "update",
        Source::Fork => "fork",
    }
}

pub(crate) fn checkpoint(thread: ThreadId, place: &CheckpointRef) -> Value {
    json!({
        "thread_id": thread,
        "checkpoint_ns": place.ns,
        "checkpoint_id": place.id,
        "checkpoint_map": Value::Null,
    })
}

fn task(thread: ThreadId, task: &TaskView) -> Value {
    let TaskView { id, name, error, result, interrupts: asked, checkpoint: place, state: inner } =
        task;
    json!({
        "id": id,
        "name": name,
        "path": ["__pregel_pull", name],
        "error": error,
        "interrupts": interrupts(asked),
        "checkpoint": place.as_ref().map(|place| checkpoint(thread, place)),
        "state": inner.as_deref().map(|inner| state(thread, inner)),
        "result": result,
    })
}

/// Who was faster, for whoever was not.
pub(crate) fn answer(interrupt: &str, answer: &Answer) -> Map<String, Value> {
    let Answer { value, actor, at } = answer;
    let winner = json!({ "value": value, "actor": actor, "at": at });
    Map::from_iter([("interrupt_id".to_owned(), interrupt.into()), ("answer".to_owned(), winner)])
}
