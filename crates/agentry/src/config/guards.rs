//! `[guards]`: what may not pass.

use std::collections::BTreeMap;

use agentry_guards::{Action, Guards, Settings};

use super::problem::{Place, Problem};
use super::reader::{At, Notes, Reader};
use super::tree::Value;
use super::value::{self, Unreadable};

/// Nothing when nothing is looked for.
pub(super) fn read(table: Option<Reader<'_>>, notes: &Notes<'_>) -> Option<Guards> {
    let mut table = table?;
    let mut places = BTreeMap::new();
    let mut chosen = |table: &mut Reader<'_>, key: &'static str| {
        let At { place, value } = table.read(key, action)?;
        places.insert(key.to_owned(), place);
        Some(value)
    };
    let mut settings = Settings {
        pii: chosen(&mut table, "pii").unwrap_or_default(),
        secrets: chosen(&mut table, "secrets").unwrap_or_default(),
        deny_action: chosen(&mut table, "deny_action").unwrap_or_default(),
        injection: chosen(&mut table, "injection").unwrap_or_default(),
        bytes_max: table.read("bytes_max", bytes).map(|at| at.value),
        messages_max: table.read("messages_max", count).map(|at| at.value),
        ..Settings::default()
    };
    let deny = table.list("deny", value::text).map(|list| list.value).unwrap_or_default();
    for (number, At { place, value }) in deny.into_iter().enumerate() {
        places.insert(format!("deny[{number}]"), place);
        settings.deny.push(value);
    }
    if let Some(types) = table.table("types") {
        for (name, At { place, value }) in types.all(action) {
            places.insert(format!("types.{name}"), place);
            settings.types.insert(name, value);
        }
    }
    settings.hash_key = table.secret("hash_key").map(|at| at.value);
    table.finish();
    match Guards::new(&settings) {
        Ok(guards) => (!guards.is_idle()).then_some(guards),
        Err(problems) => {
            for problem in problems {
                let place = places.get(&problem.key).cloned().unwrap_or(Place::Nowhere);
                let message = format!("`guards.{}`: {}", problem.key, problem.message);
                notes.report(Problem::new(place, message));
            }
            None
        }
    }
}

fn action(value: &Value) -> Result<Action, Unreadable> {
    const ALL: [Action; 5] =
        [Action::Off, Action::Report, Action::Redact, Action::Hash, Action::Block];
    let text = value::text(value)?;
    let found = ALL.into_iter().find(|action| action.as_str() == text);
    found.ok_or_else(|| {
        Unreadable::new(format!("is no action: \"{text}\""))
            .help(format!("there are {}", ALL.map(Action::as_str).join(", ")))
    })
}

/// A number of bytes, or a size.
fn bytes(value: &Value) -> Result<usize, Unreadable> {
    match value {
        Value::Integer(_) => count(value),
        value => value::size(value),
    }
}

fn count(value: &Value) -> Result<usize, Unreadable> {
    let count = value::at_least_one(value)?;
    usize::try_from(count).map_err(|_| Unreadable::new("is too large"))
}
