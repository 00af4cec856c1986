//! What callers name as `model`, and what stands behind it.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::MicroUsd;
use agentry_core::chat::Usage;
use agentry_core::model::ChatModel;

#[derive(Clone)]
pub struct Alias {
    pub name: String,
    /// In the order in which they are asked.
    pub targets: Vec<Target>,
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
    pub price: Option<Price>,
}

impl Target {
    /// `provider/model`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.provider, self.model)
    }
}

/// In micro-dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    pub input: MicroUsd,
    pub cached_input: MicroUsd,
    pub output: MicroUsd,
}

impl Price {
    /// Rounded up.
    #[must_use]
    pub fn of(&self, usage: &Usage) -> MicroUsd {
        let Self { input, cached_input, output } = *self;
        let cached = usage.cached_input_tokens.min(usage.input_tokens);
        MicroUsd::of_tokens(usage.input_tokens - cached, input)
            + MicroUsd::of_tokens(cached, cached_input)
            + MicroUsd::of_tokens(usage.output_tokens, output)
    }
}

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
    for Alias { name, targets, timeout, first_token_timeout, idle_timeout, retries: _ } in aliases {
        if name.is_empty() {
            problems.push("a model has an empty name".to_owned());
        }
        if !seen.insert(name) {
            problems.push(format!("the model `{name}` is there twice"));
        }
        if targets.is_empty() {
            problems.push(format!("the model `{name}` has no targets: add one `provider/model`"));
        }
        let bounds = [
            ("timeout", timeout),
            ("first_token_timeout", first_token_timeout),
            ("idle_timeout", idle_timeout),
        ];
        for (what, bound) in bounds {
            if bound.is_zero() {
                problems
                    .push(format!("the model `{name}`: {what} is zero, so nothing could answer"));
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Misconfigured { problems }) }
}
