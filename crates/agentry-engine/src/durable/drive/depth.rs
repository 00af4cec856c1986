//! How deep what is stored may be nested: deeper values could be written, and never be read again.

use agentry_core::run::{Delta, Effect};
use agentry_core::thread::{Commit, Interrupt, NewRun};
use serde_json::Value;

/// Readers give up at 127 levels, and what is stored stands within a few of its own.
pub(crate) const LEVELS_MAX: usize = 112;

/// What is stored around the values of an entry.
const AROUND: usize = 8;

/// What cannot be stored of a decision.
pub(super) fn of_commit(commit: &Commit) -> Option<String> {
    let Commit { entry, opened, events, .. } = commit;
    let write = entry.writes.iter().find(|write| match &write.delta {
        Delta::Set(value) => !fits(value, LEVELS_MAX),
        Delta::Append(items) => !items.iter().all(|item| fits(item, LEVELS_MAX - 1)),
        Delta::Merge(members) => !members.values().all(|value| fits(value, LEVELS_MAX - 1)),
    });
    if let Some(write) = write {
        return Some(too_deep(&format!("what is written to `{}`", write.channel)));
    }
    let asks = |it: &Interrupt| {
        let parts = [it.question.as_ref(), it.schema.as_ref(), Some(&it.on_timeout)];
        parts.into_iter().flatten().all(|value| fits(value, LEVELS_MAX))
    };
    if !opened.iter().all(asks) {
        return Some(too_deep("a question"));
    }
    let told = events.iter().all(|event| fits(&event.detail, LEVELS_MAX + AROUND));
    let body = fits(&entry.body, LEVELS_MAX + AROUND);
    (!(told && body)).then(|| too_deep("what a node tells, writes or sends"))
}

/// What cannot be stored of a run that is submitted.
pub(crate) fn of_run(run: &NewRun) -> Option<String> {
    let NewRun { input, answers, metadata, .. } = run;
    let answers = answers.iter().all(|(_, answer)| fits(&answer.value, LEVELS_MAX));
    let metadata = metadata.values().all(|value| fits(value, LEVELS_MAX));
    (!(answers && metadata && fits(input, LEVELS_MAX))).then(|| too_deep("what the run is given"))
}

/// What cannot be remembered of an effect.
pub(crate) fn of_effect(effect: &Effect) -> Option<String> {
    match effect {
        Effect::Intended => None,
        Effect::Done { value } => {
            (!fits(value, LEVELS_MAX)).then(|| too_deep("what came of an effect"))
        }
    }
}

pub(crate) fn too_deep(what: &str) -> String {
    format!("{what} is nested deeper than {LEVELS_MAX} levels, and could not be read again")
}

pub(crate) fn fits(value: &Value, levels: usize) -> bool {
    let inner = |value: &Value| levels > 1 && fits(value, levels - 1);
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        Value::Array(items) => levels > 0 && items.iter().all(|it| is_flat(it) || inner(it)),
        Value::Object(members) => levels > 0 && members.values().all(|it| is_flat(it) || inner(it)),
    }
}

fn is_flat(value: &Value) -> bool {
    !matches!(value, Value::Array(_) | Value::Object(_))
}
