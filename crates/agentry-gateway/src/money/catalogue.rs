//! What models cost and can do, as data: what we know of the common ones, and over it what the operator says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use agentry_core::MicroUsd;
use serde::Deserialize;

use super::{Price, Size, input_tokens_max, worst_cost};

const KNOWN: &str = include_str!("catalogue.toml");

/// What a model does better than others; closed, so that a wish that cannot be met is a mistake that is told.
pub const STRENGTHS: [&str; 9] = [
    "agents",
    "coding",
    "cost",
    "embedding",
    "long_context",
    "multilingual",
    "reasoning",
    "speed",
    "writing",
];

/// Providers that serve other providers' models under the same names, at the same prices.
const SAME_AS: [(&str, &str); 4] =
    [("azure", "openai"), ("vertex", "gemini"), ("google", "gemini"), ("grok", "xai")];

/// The catalogue that holds now. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Current(Arc<RwLock<Arc<Catalogue>>>);

impl Current {
    #[must_use]
    pub fn new(catalogue: Catalogue) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(catalogue))))
    }

    #[must_use]
    pub fn get(&self) -> Arc<Catalogue> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn set(&self, catalogue: Catalogue) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalogue);
    }
}

/// One model of one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    pub rates: Price,
    /// For requests whose input is longer than so many tokens, all of it included.
    pub long: Option<(u64, Price)>,
    pub context_tokens: u64,
    /// Nothing: it writes nothing, as an embedder.
    pub output_tokens_max: u64,
    /// What it makes of one image at most.
    pub image_tokens_max: u64,
    pub can: Can,
    pub strengths: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Can {
    pub tools: bool,
    pub images: bool,
    pub json_schema: bool,
    pub reasoning: bool,
}

impl Model {
    /// The rates of a request with so much input.
    #[must_use]
    pub fn rates_for(&self, input_tokens: u64) -> &Price {
        match &self.long {
            Some((over, rates)) if input_tokens > *over => rates,
            Some(_) | None => &self.rates,
        }
    }

    /// The most that a request can cost: `max_tokens` of output, or all that the model can write.
    #[must_use]
    pub fn worst_cost(&self, size: Size, max_tokens: Option<u64>) -> MicroUsd {
        let input = input_tokens_max(size, self.image_tokens_max);
        let output = max_tokens.unwrap_or(u64::MAX).min(self.output_tokens_max);
        // A short request is not billed at the rates of long ones, but the bound is only a bound.
        let long = self.long.as_ref().filter(|(over, _)| input > *over);
        let rates = long.map_or(&self.rates, |(_, rates)| rates);
        worst_cost(rates, input, output).max(worst_cost(&self.rates, input, output))
    }
}

/// Why a catalogue cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the catalogue of models is not usable: {0}")]
pub struct Misread(String);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// When its prices were last compared with the providers'.
    pub as_of: String,
    /// By provider, then by model.
    models: BTreeMap<String, BTreeMap<String, Model>>,
}

impl Catalogue {
    /// What comes with this version.
    pub fn embedded() -> Result<Self, Misread> {
        Self::parse(KNOWN)
    }

    /// `as_of` and one table `[provider."model"]` for each model, with prices in USD per million tokens.
    pub fn parse(text: &str) -> Result<Self, Misread> {
        let file: File = toml::from_str(text).map_err(|problem| Misread(problem.to_string()))?;
        let mut catalogue = Self { as_of: file.as_of, models: BTreeMap::new() };
        for (provider, entries) in file.providers {
            for (name, entry) in entries {
                let model = entry.read();
                let model = model.map_err(|what| Misread(format!("{provider}/{name}: {what}")))?;
                catalogue.set(&provider, &name, model);
            }
        }
        Ok(catalogue)
    }

    /// What `other` says of a model counts from now on.
    pub fn merge(&mut self, other: Self) {
        for (provider, models) in other.models {
            self.models.entry(provider).or_default().extend(models);
        }
    }

    pub fn set(&mut self, provider: &str, name: &str, model: Model) {
        self.models.entry(provider.to_owned()).or_default().insert(name.to_owned(), model);
    }

    /// `provider/model` and what is known of it.
    pub fn models(&self) -> impl Iterator<Item = (String, &Model)> {
        self.models.iter().flat_map(|(provider, models)| {
            models.iter().map(move |(name, model)| (format!("{provider}/{name}"), model))
        })
    }

    /// The model of that name, or the one that it is a dated or regional version of.
    #[must_use]
    pub fn find(&self, provider: &str, model: &str) -> Option<&Model> {
        let same = SAME_AS.iter().find(|(name, _)| *name == provider).map(|(_, same)| *same);
        let tables = [Some(provider), same].into_iter().flatten();
        for models in tables.filter_map(|provider| self.models.get(provider)) {
            if let Some(found) = lookup(models, model) {
                return Some(found);
            }
        }
        // A provider that passes others' models on names them whole: `openrouter/openai/gpt-4o`.
        let (provider, model) = model.split_once('/')?;
        self.models.get(provider).and_then(|models| lookup(models, model))
    }
}

/// Takes away what names a version, one after the other, until something is found.
fn lookup<'a>(models: &'a BTreeMap<String, Model>, name: &str) -> Option<&'a Model> {
    const REGIONS: [&str; 5] = ["us.", "eu.", "apac.", "global.", "models/"];
    let regional = REGIONS.iter().find_map(|prefix| name.strip_prefix(prefix));
    let mut name = regional.unwrap_or(name);
    loop {
        if let Some(model) = models.get(name) {
            return Some(model);
        }
        name = without_version(name)?;
    }
}

fn without_version(name: &str) -> Option<&str> {
    const WORDS: [&str; 4] = ["-latest", "-preview", "-exp", ":free"];
    if let Some(short) = WORDS.iter().find_map(|word| name.strip_suffix(word)) {
        return Some(short);
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // `-v1:0`
    if let Some((short, version)) = name.rsplit_once("-v")
        && version.split(':').all(digits)
    {
        return Some(short);
    }
    // `@20241022`
    if let Some((short, date)) = name.rsplit_once('@')
        && digits(date)
    {
        return Some(short);
    }
    let (short, last) = name.rsplit_once('-')?;
    if !digits(last) {
        return None;
    }
    match last.len() {
        // `-20241022`, `-0613`, `-001`
        8 | 4 | 3 => Some(short),
        2 => {
            // `-2024-08-06`, `-05-20`
            let (short, month) = short.rsplit_once('-')?;
            if month.len() != 2 || !digits(month) {
                return None;
            }
            match short.rsplit_once('-') {
                Some((short, year)) if year.len() == 4 && digits(year) => Some(short),
                Some(_) | None => Some(short),
            }
        }
        _ => None,
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    as_of: String,
    #[serde(flatten)]
    providers: BTreeMap<String, BTreeMap<String, Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    input: f64,
    cached_input: Option<f64>,
    cache_write: Option<f64>,
    #[serde(default)]
    output: f64,
    long: Option<Long>,
    context: u64,
    #[serde(default)]
    output_max: u64,
    #[serde(default = "image_tokens")]
    image_max: u64,
    #[serde(default)]
    can: Can,
    #[serde(default)]
    strengths: BTreeSet<String>,
}

fn image_tokens() -> u64 {
    5_000
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    over: u64,
    input: f64,
    cached_input: Option<f64>,
    cache_write: Option<f64>,
    output: f64,
}

/// In USD per million tokens.
struct Prices {
    input: f64,
    cached_input: Option<f64>,
    cache_write: Option<f64>,
    output: f64,
}

impl Prices {
    fn read(&self) -> Result<Price, String> {
        let micros = |name: &str, usd: f64| {
            if !(0.0..=1_000_000.0).contains(&usd) {
                return Err(format!("{name} = {usd} is no price in USD per million tokens"));
            }
            // In range, so nothing is cut off.
            Ok(MicroUsd((usd * 1e6).round() as i64))
        };
        let input = micros("input", self.input)?;
        let or_input =
            |name: &str, usd: Option<f64>| usd.map_or(Ok(input), |usd| micros(name, usd));
        Ok(Price {
            input,
            cached_input: or_input("cached_input", self.cached_input)?,
            cache_write: or_input("cache_write", self.cache_write)?,
            output: micros("output", self.output)?,
        })
    }
}

impl Entry {
    fn read(self) -> Result<Model, String> {
        if let Some(unknown) = self.strengths.iter().find(|it| !STRENGTHS.contains(&it.as_str())) {
            return Err(format!("`{unknown}` is no strength; use {}", STRENGTHS.join(", ")));
        }
        if self.context == 0 {
            return Err("`context` is zero tokens".to_owned());
        }
        let Self { input, cached_input, cache_write, output, .. } = self;
        let rates = Prices { input, cached_input, cache_write, output }.read()?;
        let long = self.long.map(|long| {
            let Long { over, input, cached_input, cache_write, output } = long;
            Ok::<_, String>((over, Prices { input, cached_input, cache_write, output }.read()?))
        });
        Ok(Model {
            rates,
            long: long.transpose()?,
            context_tokens: self.context,
            output_tokens_max: self.output_max,
            image_tokens_max: self.image_max,
            can: self.can,
            strengths: self.strengths,
        })
    }
}

#[cfg(test)]
mod tests;
