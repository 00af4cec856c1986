//! `model_list`: entries of one name become the targets of one alias.

use super::Notes;
use super::vendor::{self, Provider};
use super::yaml::Table;

#[derive(Debug, Default)]
pub(super) struct Models {
    pub(super) providers: Vec<Provider>,
    pub(super) list: Vec<Model>,
}

#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) name: String,
    /// It is another name for this one.
    pub(super) same_as: Option<String>,
    pub(super) targets: Vec<Target>,
    pub(super) strategy: Option<&'static str>,
    pub(super) fallbacks: Vec<String>,
    pub(super) retries: Option<u32>,
    /// In seconds.
    pub(super) timeout: Option<f64>,
    pub(super) first_token_timeout: Option<f64>,
}

#[derive(Debug, Clone)]
pub(super) struct Target {
    /// `provider/model`.
    pub(super) name: String,
    pub(super) weight: Option<u32>,
    pub(super) price: Option<Price>,
    pub(super) output_tokens_max: Option<u32>,
}

/// In USD per million tokens.
#[derive(Debug, Clone)]
pub(super) struct Price {
    pub(super) input: f64,
    pub(super) output: f64,
    pub(super) cached_input: Option<f64>,
    pub(super) cache_write: Option<f64>,
}

const RETRIES_MAX: u32 = 20;
const WEIGHT_MAX: u32 = 1_000;

pub(super) fn read(entries: Vec<Table>, notes: &mut Notes) -> Models {
    let mut models = Models::default();
    for mut entry in entries {
        let path = entry.path().to_owned();
        let Some(name) = entry.text("model_name") else {
            notes.push(path, "left out: it has no `model_name`");
            continue;
        };
        if name.contains('*') {
            notes.push(path, "left out: names with `*` have no counterpart, name each model");
            continue;
        }
        let mut params = entry.table("litellm_params");
        let (provider, model) = match vendor::understand(&mut params, notes) {
            Ok(found) => found,
            Err(why) => {
                notes.push(path, &format!("`{name}` is left out: {why}"));
                continue;
            }
        };
        let provider = models.provider(provider);
        let mut info = entry.table("model_info");
        let target = target(format!("{provider}/{model}"), &mut params, &mut info);
        let Some(alias) = models.alias(&name) else { continue };
        alias.targets.push(target);
        if let Some(retries) = params.take("num_retries").or_else(|| params.take("max_retries")) {
            alias.retries = retries.count(RETRIES_MAX).or(alias.retries);
        }
        let seconds = |node: Option<super::yaml::Node>| node.and_then(|node| node.number());
        if let Some(timeout) = seconds(params.take("timeout")) {
            alias.timeout = Some(alias.timeout.unwrap_or(0.0).max(timeout));
        }
        if let Some(timeout) = seconds(params.take("stream_timeout")) {
            alias.first_token_timeout = Some(alias.first_token_timeout.unwrap_or(0.0).max(timeout));
        }
        for table in [params, info, entry] {
            notes.rest(table);
        }
    }
    models
}

fn target(name: String, params: &mut Table, info: &mut Table) -> Target {
    let mut price = |key: &str| {
        let told = params.take(key).or_else(|| info.take(key))?.number()?;
        // Prices of tokens are tiny: what is left after the sixth place is how they were written.
        Some((told * 1e12).round() / 1e6)
    };
    let input = price("input_cost_per_token");
    let output = price("output_cost_per_token");
    let cached_input = price("cache_read_input_token_cost");
    let cache_write = price("cache_creation_input_token_cost");
    let price =
        input.zip(output).map(|(input, output)| Price { input, output, cached_input, cache_write });
    // They say what is taken for granted here.
    for key in ["id", "mode", "base_model", "max_input_tokens"] {
        drop(info.take(key));
    }
    let tokens = info.take("max_output_tokens").or_else(|| info.take("max_tokens"));
    Target {
        name,
        weight: params.take("weight").and_then(|weight| weight.count(WEIGHT_MAX)),
        price,
        output_tokens_max: tokens.and_then(|tokens| tokens.count(u32::MAX)),
    }
}

impl Models {
    /// The name of a provider like this one.
    fn provider(&mut self, wanted: Provider) -> String {
        let same = |known: &&Provider| known.kind == wanted.kind && known.fields == wanted.fields;
        if let Some(known) = self.providers.iter().find(same) {
            return known.name.clone();
        }
        let mut name = wanted.name.clone();
        let mut number = 2;
        while self.providers.iter().any(|known| known.name == name) {
            name = format!("{}-{number}", wanted.name);
            number += 1;
        }
        self.providers.push(Provider { name: name.clone(), ..wanted });
        name
    }

    fn alias(&mut self, name: &str) -> Option<&mut Model> {
        if !self.has(name) {
            self.list.push(Model {
                name: name.to_owned(),
                same_as: None,
                targets: Vec::new(),
                strategy: None,
                fallbacks: Vec::new(),
                retries: None,
                timeout: None,
                first_token_timeout: None,
            });
        }
        self.list.iter_mut().find(|model| model.name == name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.list.iter().any(|model| model.name == name)
    }
}
