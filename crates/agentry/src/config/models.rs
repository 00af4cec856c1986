//! `[models.ALIAS]`: what callers name as `model`.

use std::time::Duration;

use agentry_gateway::Price;

use super::problem;
use super::providers::Provider;
use super::reader::{At, Notes, Reader};
use super::tree::Value;
use super::value::{self, Unreadable};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) name: String,
    /// Provider and its model, in the order in which they are asked.
    pub(crate) targets: Vec<(String, String)>,
    /// Other models that are asked when none of the targets can answer, in order.
    pub(crate) fallbacks: Vec<String>,
    pub(crate) price: Option<Price>,
    pub(crate) retries: u32,
    pub(crate) timeout: Duration,
    pub(crate) first_token_timeout: Duration,
    pub(crate) idle_timeout: Duration,
}

/// Used by agents that name no other.
const DEFAULT: &str = "default";
const RETRIES_MAX: u32 = 20;

impl Model {
    fn new(name: &str, targets: Vec<(String, String)>) -> Self {
        Self {
            name: name.to_owned(),
            targets,
            fallbacks: Vec::new(),
            price: None,
            retries: 2,
            timeout: Duration::from_secs(60),
            first_token_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(30),
        }
    }
}

pub(super) fn read(
    table: Option<Reader<'_>>,
    providers: &[Provider],
    notes: &Notes<'_>,
) -> Vec<Model> {
    let tables = table.map(Reader::tables).unwrap_or_default();
    let mut fallbacks = Vec::new();
    let mut models: Vec<Model> = tables
        .into_iter()
        .map(|mut table| {
            let named = table.list("fallbacks", value::text).map(|list| list.value);
            let named = named.unwrap_or_default();
            let mut model = model(table, providers, notes);
            model.fallbacks = named.iter().map(|at| at.value.clone()).collect();
            fallbacks.push((model.name.clone(), named));
            model
        })
        .collect();
    if let Some(provider) = providers.first()
        && models.iter().all(|model| model.name != DEFAULT)
    {
        let target = (provider.name.clone(), provider.everyday_model().to_owned());
        models.push(Model::new(DEFAULT, vec![target]));
    }
    for (name, fallbacks) in fallbacks {
        for At { place, value: fallback } in fallbacks {
            let message = match models.iter().any(|known| known.name == fallback) {
                true if fallback != name => continue,
                true => format!("the model `{name}` is its own fallback"),
                false => format!("there is no model `{fallback}` to fall back to"),
            };
            let known: Vec<_> = models.iter().map(|known| known.name.as_str()).collect();
            notes.report(problem(&place, message).help(format!("there are {}", known.join(", "))));
        }
    }
    models
}

fn model(mut table: Reader<'_>, providers: &[Provider], notes: &Notes<'_>) -> Model {
    let mut model = Model::new(table.key(), Vec::new());
    if !table.has("targets") {
        table.required("targets", "[\"openai/gpt-4o-mini\"]", value::text);
    }
    let targets = table.list("targets", target).map(|at| (at.place, at.value));
    if let Some((place, targets)) = targets {
        if targets.is_empty() {
            let message = format!("`models.{}.targets` names nobody", model.name);
            notes.report(problem(&place, message).help("add one, as in \"openai/gpt-4o-mini\""));
        }
        for At { place, value: (provider, name) } in targets {
            if providers.iter().all(|known| known.name != provider) {
                let known: Vec<_> = providers.iter().map(|known| known.name.as_str()).collect();
                let message = format!("there is no provider `{provider}`");
                notes.report(problem(&place, message).help(match known.as_slice() {
                    [] => format!("add a table [providers.{provider}]"),
                    known => format!("there are {}", known.join(", ")),
                }));
            }
            model.targets.push((provider, name));
        }
    }
    model.retries = table.or("retries", model.retries, |value| match value::count(value)? {
        retries if retries > RETRIES_MAX => {
            Err(Unreadable::new(format!("must be at most {RETRIES_MAX}")))
        }
        retries => Ok(retries),
    });
    model.timeout = table.or("timeout", model.timeout, value::duration);
    model.first_token_timeout =
        table.or("first_token_timeout", model.first_token_timeout, value::duration);
    model.idle_timeout = table.or("idle_timeout", model.idle_timeout, value::duration);
    model.price = table.table("price").and_then(price);
    table.not_yet(&["strategy"], "remove it: the target that is likely to answer first is asked");
    table.finish();
    model
}

/// `"provider/model"`, or a table with that as `target`.
fn target(value: &Value) -> Result<(String, String), Unreadable> {
    let text = match value {
        Value::Table(table) => {
            if let Some(other) = table.entries.keys().find(|key| *key != "target") {
                return Err(Unreadable::new(format!(
                    "has a target with `{other}`, which is not available yet in this version"
                ))
                .help("write it as \"provider/model\""));
            }
            let target = table.entries.get("target").map(|entry| &entry.node.value);
            value::text(target.ok_or_else(|| Unreadable::new("has a table without `target`"))?)?
        }
        other => value::text(other)?,
    };
    match text.split_once('/') {
        Some((provider, model)) if !provider.is_empty() && !model.is_empty() => {
            Ok((provider.to_owned(), model.to_owned()))
        }
        _ => Err(Unreadable::new(format!("has \"{text}\", which is no target"))
            .help("write it as \"provider/model\", as in \"openai/gpt-4o-mini\"")),
    }
}

fn price(mut table: Reader<'_>) -> Option<Price> {
    let input = table.required("input", "0.15", value::price);
    let output = table.required("output", "0.60", value::price);
    let cached = table.read("cached_input", value::price);
    table.finish();
    let (input, output) = (input?.value, output?.value);
    Some(Price { input, output, cached_input: cached.map_or(input, |cached| cached.value) })
}
