//! What happens while a graph runs, one line each.

use std::collections::HashMap;

use agentry_core::thread::{EventId, RunStatus};
use agentry_core::{RunId, Timestamp};
use agentry_server::Refusal;
use agentry_server::engine::{Engine as _, Follow, Subject, Wanted, What};
use futures_util::StreamExt as _;
use serde_json::Value;

use super::Desk;
use crate::terminal::{Terminal, harmless};

/// What became of a run.
pub(super) struct Followed {
    pub(super) status: RunStatus,
    pub(super) reason: Option<String>,
    /// Whether what it came to was told while it came.
    pub(super) spoke: bool,
}

/// Until nothing more comes of the run, unless somebody answers.
pub(super) async fn follow(desk: &Desk, run: RunId) -> Result<Followed, Refusal> {
    // Of a graph its output is the answer, whatever its agents say on the way.
    let messages = !desk.terminal.json && desk.graphs.get(&desk.graph).is_none();
    let wanted = Wanted { tasks: true, messages, ..Wanted::default() };
    let after = EventId::default();
    let follow = Follow { thread: desk.thread, run: Some(run), after, wanted };
    let mut parts = desk.durable.follow(follow).await?;
    let mut begun = HashMap::new();
    let mut spoke = false;
    while let Some(part) = parts.next().await {
        let part = part?;
        match part.what {
            What::Ended { status, reason } => return Ok(Followed { status, reason, spoke }),
            What::Message { message, metadata: _ } => {
                if let Some(text) = message.get("content").and_then(Value::as_str) {
                    desk.terminal.piece(text);
                    spoke = true;
                }
            }
            What::Told { subject: Subject::Tasks, data } => {
                tell(desk.terminal, &mut begun, (&data, part.at));
            }
            What::Began | What::Values { .. } | What::Told { .. } => {}
        }
    }
    let reason = Some("the thread is gone".to_owned());
    Ok(Followed { status: RunStatus::Error, reason, spoke })
}

fn tell(
    terminal: Terminal,
    begun: &mut HashMap<String, Timestamp>,
    (task, at): (&Value, Timestamp),
) {
    let text = |name: &str| task.get(name).and_then(Value::as_str).unwrap_or_default();
    let (id, name) = (text("id"), text("name"));
    if task.get("input").is_some() {
        begun.insert(id.to_owned(), at);
        return terminal.note(format_args!("{name}: begun"));
    }
    let span = begun.remove(id).map(|begun| format!(" after {} ms", at.since(begun).as_millis()));
    let span = span.unwrap_or_default();
    let asks = task.get("interrupts").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
    match task.get("error").and_then(Value::as_str) {
        Some(error) => {
            terminal.note(format_args!("{name}: failed{span}: {}", harmless(error)));
        }
        None if asks => terminal.note(format_args!("{name}: asks{span}")),
        None => terminal.note(format_args!("{name}: done{span}")),
    }
}
