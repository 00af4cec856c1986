//! `[models.ALIAS]`: what callers name as `model`.

use std::time::Duration;

use agentry_balance::{LimitSettings, Strategy};
use agentry_gateway::Price;
use agentry_gateway::money::catalogue::Catalogue;

use super::problem;
use super::providers::{Provider, Providers};
use super::reader::{At, Notes, Reader};
use super::tree::Value;
use super::value::{self, Unreadable};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) targets: Vec<Target>,
    pub(crate) strategy: Strategy,
    /// Other models that are asked when none of the targets can answer, in order.
    pub(crate) fallbacks: Vec<String>,
    /// Whether a second target may be asked when the first takes long.
    pub(crate) hedge: bool,
    pub(crate) retries: u32,
    pub(crate) timeout: Duration,
    pub(crate) first_token_timeout: Duration,
    pub(crate) idle_timeout: Duration,
}

/// One model of one provider, as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) weight: u32,
    pub(crate) price: Option<Price>,
    /// The most that it writes.
    pub(crate) output_tokens_max: Option<u64>,
    /// As the catalogue has it, if that knows the model.
    pub(crate) known: Option<agentry_gateway::money::catalogue::Model>,
    /// How much may be under way there at once.
    pub(crate) limit: Option<LimitSettings>,
}

/// Used by agents that name no other.
const DEFAULT: &str = "default";
const RETRIES_MAX: u32 = 20;
const WEIGHT_MAX: u32 = 1_000;

impl Model {
    fn new(name: &str, targets: Vec<Target>) -> Self {
        Self {
            name: name.to_owned(),
            targets,
            strategy: Strategy::default(),
            fallbacks: Vec::new(),
            hedge: false,
            retries: 2,
            timeout: Duration::from_secs(60),
            first_token_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(30),
        }
    }
}

impl Target {
    fn new(provider: &str, model: &str) -> Self {
        let (provider, model) = (provider.to_owned(), model.to_owned());
        Self {
            provider,
            model,
            weight: 1,
            price: None,
            output_tokens_max: None,
            known: None,
            limit: None,
        }
    }

    /// What nobody has said is taken from the catalogue.
    fn complete(&mut self, providers: &[Provider], catalogue: &Catalogue) {
        let vendor = providers.iter().find(|known| known.name == self.provider);
        let vendor = vendor.and_then(Provider::vendor);
        let names = [Some(self.provider.as_str()), vendor].into_iter().flatten();
        let known = names.into_iter().find_map(|name| catalogue.find(name, &self.model));
        if let Some(known) = known {
            let mut model = known.clone();
            // Whoever says what it costs says so for all requests.
            model.long = model.long.filter(|_| self.price.is_none());
            self.known = Some(model);
            self.price = self.price.or(Some(known.rates));
            // An embedder writes nothing.
            self.output_tokens_max = self.output_tokens_max.or(Some(known.output_tokens_max));
        }
    }
}

pub(super) fn read(
    table: Option<Reader<'_>>,
    providers: &Providers,
    catalogue: &Catalogue,
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
    let everyday = providers.good.first().and_then(|one| one.everyday_model().zip(Some(&one.name)));
    if let Some((model, provider)) = everyday
        && models.iter().all(|model| model.name != DEFAULT)
    {
        models.push(Model::new(DEFAULT, vec![Target::new(provider, model)]));
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
    for target in models.iter_mut().flat_map(|model| &mut model.targets) {
        target.complete(&providers.good, catalogue);
    }
    models
}

fn model(mut table: Reader<'_>, providers: &Providers, notes: &Notes<'_>) -> Model {
    let mut model = Model::new(table.key(), Vec::new());
    if !table.has("targets") {
        table.required("targets", "[\"openai/gpt-4o-mini\"]", value::text);
    }
    let targets = table.list_or_tables("targets", written, target);
    if let Some(At { place, value: targets }) = targets {
        if targets.is_empty() {
            let message = format!("`models.{}.targets` names nobody", model.name);
            notes.report(problem(&place, message).help("add one, as in \"openai/gpt-4o-mini\""));
        }
        for At { place, value: target } in targets {
            if !providers.has(&target.provider) {
                let known: Vec<_> =
                    providers.good.iter().map(|known| known.name.as_str()).collect();
                let message = format!("there is no provider `{}`", target.provider);
                notes.report(problem(&place, message).help(match known.as_slice() {
                    [] => format!("add a table [providers.{}]", target.provider),
                    known => format!("there are {}", known.join(", ")),
                }));
            }
            model.targets.push(target);
        }
    }
    model.strategy = table.or("strategy", model.strategy, |value| {
        let text = value::text(value)?;
        text.parse().map_err(|unknown| Unreadable::new(format!("is unknown: {unknown}")))
    });
    model.hedge = table.or("hedge", model.hedge, value::flag);
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
    let price = table.table("price").and_then(price);
    let output_tokens_max = table.read("output_tokens_max", tokens).map(|at| at.value);
    let limit = table.table("limit").map(limit);
    for target in &mut model.targets {
        target.price = target.price.or(price);
        target.output_tokens_max = target.output_tokens_max.or(output_tokens_max);
        target.limit = target.limit.or(limit);
    }
    table.finish();
    model
}

/// `"provider/model"`.
fn written(value: &Value) -> Result<Target, Unreadable> {
    let text = value::text(value)?;
    match text.split_once('/') {
        Some((provider, model)) if !provider.is_empty() && !model.is_empty() => {
            Ok(Target::new(provider, model))
        }
        _ => Err(Unreadable::new(format!("has \"{text}\", which is no target"))
            .help("write it as \"provider/model\", as in \"openai/gpt-4o-mini\"")),
    }
}

/// The same with what is special about it.
fn target(mut table: Reader<'_>) -> Option<Target> {
    let target = table.required("target", "\"openai/gpt-4o-mini\"", written);
    let weight = table.or("weight", 1, |value| match value::at_least_one(value)? {
        weight if weight > WEIGHT_MAX => {
            Err(Unreadable::new(format!("must be at most {WEIGHT_MAX}")))
        }
        weight => Ok(weight),
    });
    let price = table.table("price").and_then(price);
    let output_tokens_max = table.read("output_tokens_max", tokens).map(|at| at.value);
    let limit = table.table("limit").map(limit);
    table.finish();
    Some(Target { weight, price, output_tokens_max, limit, ..target?.value })
}

fn tokens(value: &Value) -> Result<u64, Unreadable> {
    value::at_least_one(value).map(u64::from)
}

fn price(mut table: Reader<'_>) -> Option<Price> {
    let input = table.required("input", "0.15", value::price);
    let output = table.required("output", "0.60", value::price);
    let cached = table.read("cached_input", value::price);
    let written = table.read("cache_write", value::price);
    table.finish();
    let (input, output) = (input?.value, output?.value);
    Some(Price {
        input,
        output,
        cached_input: cached.map_or(input, |at| at.value),
        cache_write: written.map_or(input, |at| at.value),
    })
}

fn limit(mut table: Reader<'_>) -> LimitSettings {
    let defaults = LimitSettings::default();
    let limit = LimitSettings {
        initial: table.or("initial", defaults.initial, value::at_least_one),
        min: table.or("min", defaults.min, value::at_least_one),
        max: table.or("max", defaults.max, value::at_least_one),
    };
    if limit.min > limit.initial || limit.initial > limit.max {
        let LimitSettings { initial, min, max } = limit;
        table.report(format!("the limit begins with {initial}, which is not from {min} to {max}"));
    }
    table.finish();
    limit
}
