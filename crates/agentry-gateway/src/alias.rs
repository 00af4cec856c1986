//! What callers name as `model`, and what stands behind it.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentry_balance::{LimitSettings, Strategy};
use agentry_core::embed::Embedder;
use agentry_core::model::ChatModel;

use crate::money::Price;

#[derive(Clone)]
pub struct Alias {
    pub name: String,
    pub targets: Vec<Target>,
    /// Which of them is asked.
    pub strategy: Strategy,
    /// Other names that are asked when none of the targets can answer, in order.
    pub fallbacks: Vec<String>,
    /// Whether a second target may be asked when the first one takes long to begin. Both may bill it.
    pub hedge: bool,
    /// On the whole call, all attempts included.
    pub timeout: Duration,
    /// On each attempt at a streamed call.
    pub first_token_timeout: Duration,
    /// Between two events of a streamed answer.
    pub idle_timeout: Duration,
    /// How many attempts may follow the first. Every target is asked at least once, however few these are.
    pub retries: u32,
}

impl Alias {
    /// With the usual bounds.
    #[must_use]
    pub fn new(name: impl Into<String>, targets: Vec<Target>) -> Self {
        Self {
            name: name.into(),
            targets,
            strategy: Strategy::default(),
            fallbacks: Vec::new(),
            hedge: false,
            timeout: Duration::from_secs(60),
            first_token_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(30),
            retries: 2,
        }
    }
}

/// One model of one provider.
#[derive(Clone)]
pub struct Target {
    pub provider: String,
    /// As the provider names it.
    pub model: String,
    pub upstream: Arc<dyn ChatModel>,
    /// Nothing when it makes no vectors.
    pub embedder: Option<Arc<dyn Embedder>>,
    pub price: Option<Price>,
    /// The price of requests whose input is longer than so many tokens, all of it included.
    pub long: Option<(u64, Price)>,
    /// What it makes of one picture at most.
    pub image_tokens_max: u64,
    /// How much it can read.
    pub context_tokens: u64,
    /// One of weight 2 gets twice as many calls as one of weight 1.
    pub weight: u32,
    /// The most that the model writes, where it is known.
    pub output_tokens_max: Option<u64>,
    /// How much may be under way there at once, for all names that lead to it: that of the first one counts.
    pub limit: Option<LimitSettings>,
}

impl Target {
    /// Of weight 1, and without a price.
    #[must_use]
    pub fn new(
        provider: impl Into<String>,
        model: impl Into<String>,
        upstream: Arc<dyn ChatModel>,
    ) -> Self {
        Self {
            provider: provider.into(),
            model: model.into(),
            upstream,
            embedder: None,
            price: None,
            long: None,
            image_tokens_max: IMAGE_TOKENS_MAX,
            context_tokens: CONTEXT_TOKENS,
            weight: 1,
            output_tokens_max: None,
            limit: None,
        }
    }

    /// `provider/model`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.provider, self.model)
    }

    /// Of a request with so much input.
    #[must_use]
    pub fn price_of(&self, input_tokens: u64) -> Option<Price> {
        let long = self.long.filter(|(over, _)| input_tokens > *over);
        long.map(|(_, price)| price).or(self.price)
    }
}

/// Of the models whose figures are known, none makes more of a picture, or reads more.
const IMAGE_TOKENS_MAX: u64 = 50_000;
const CONTEXT_TOKENS: u64 = 2_000_000;

/// Everything that keeps a gateway from being built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misconfigured {
    pub problems: Vec<String>,
}

impl fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("; "))
    }
}

impl std::error::Error for Misconfigured {}

pub(crate) fn check(aliases: &[Alias]) -> Result<(), Misconfigured> {
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    for alias in aliases {
        if alias.name.is_empty() {
            problems.push("a model has an empty name".to_owned());
        }
        if !seen.insert(alias.name.as_str()) {
            problems.push(format!("the model `{}` is there twice", alias.name));
        }
        check_one(alias, aliases, &mut problems);
    }
    if problems.is_empty() { Ok(()) } else { Err(Misconfigured { problems }) }
}

fn check_one(alias: &Alias, all: &[Alias], problems: &mut Vec<String>) {
    let Alias { name, targets, fallbacks, timeout, first_token_timeout, idle_timeout, .. } = alias;
    if targets.is_empty() {
        problems.push(format!("the model `{name}` has no targets: add one `provider/model`"));
    }
    for fallback in fallbacks {
        if fallback == name {
            problems.push(format!("the model `{name}` is its own fallback"));
        } else if !all.iter().any(|other| other.name == *fallback) {
            problems
                .push(format!("the model `{name}` falls back to `{fallback}`, which is no model"));
        }
    }
    let bounds = [
        ("timeout", timeout),
        ("first_token_timeout", first_token_timeout),
        ("idle_timeout", idle_timeout),
    ];
    for (what, bound) in bounds {
        if bound.is_zero() {
            problems.push(format!("the model `{name}`: {what} is zero, so nothing could answer"));
        }
    }
}
