//! The labelled texts that the tests carry. Names and numbers in them are invented.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use agentry_guards::{Action, Guards, Kind, Settings};
use serde_json::Value;

/// A text and what is to be found in it, by the name of the kind.
pub(crate) struct Labelled {
    pub(crate) text: String,
    pub(crate) find: BTreeMap<String, Vec<String>>,
}

pub(crate) fn personal() -> Vec<Labelled> {
    lines(include_str!("../corpus/personal.jsonl"))
        .map(|line| {
            let find = line["find"].as_object().unwrap().iter();
            let values = |value: &Value| {
                value
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|one| one.as_str().unwrap().to_owned())
                    .collect()
            };
            Labelled {
                text: line["text"].as_str().unwrap().to_owned(),
                find: find.map(|(kind, value)| (kind.clone(), values(value))).collect(),
            }
        })
        .collect()
}

/// Texts, and whether they try to give a model other instructions.
pub(crate) fn injection() -> Vec<(String, bool)> {
    lines(include_str!("../corpus/injection.jsonl"))
        .map(|line| {
            (line["text"].as_str().unwrap().to_owned(), line["injection"].as_bool().unwrap())
        })
        .collect()
}

fn lines(text: &str) -> impl Iterator<Item = Value> + '_ {
    text.lines().map(|line| serde_json::from_str(line).unwrap())
}

/// The usual personal data, and these kinds too.
pub(crate) fn guards(action: Action, more: &[Kind]) -> Guards {
    let settings = Settings {
        pii: action,
        types: more.iter().map(|kind| (kind.name().to_owned(), action)).collect(),
        ..Settings::default()
    };
    Guards::new(&settings).unwrap()
}

/// A policy with everything on that changes text.
pub(crate) fn everything() -> &'static Guards {
    static EVERYTHING: LazyLock<Guards> = LazyLock::new(|| {
        let personal = Kind::ALL.into_iter().filter(|kind| kind.is_personal());
        let settings = Settings {
            pii: Action::Redact,
            types: personal.map(|kind| (kind.name().to_owned(), Action::Redact)).collect(),
            secrets: Action::Redact,
            deny: vec![r"(?i)project\s+falcon".to_owned(), r"\bzebra-\d+\b".to_owned()],
            deny_action: Action::Redact,
            ..Settings::default()
        };
        Guards::new(&settings).unwrap()
    });
    &EVERYTHING
}
