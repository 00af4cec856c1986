//! From a checked configuration to the parts it describes: the only place that names concrete providers.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

use agentry_core::model::ChatModel;
use agentry_gateway::{Alias, Gateway, Policies, Surroundings, Target};
use agentry_llm::openai::{self, OpenAi};
use agentry_llm::scripted::Scripted;
use agentry_server::Metrics;
use anyhow::{Context as _, anyhow};

use crate::clock::SystemClock;
use crate::config::{Config, Kind, Model, Provider, Source};

pub(crate) mod identity;
pub(crate) mod incident;
pub(crate) mod policies;

/// All models over their providers; `metrics` hears of every call.
pub(crate) fn gateway(
    config: &Config,
    metrics: Arc<Metrics>,
    policies: Policies,
) -> anyhow::Result<Gateway> {
    let client = agentry_http::Client::new(&agentry_http::Settings::default());
    let mut upstreams = Vec::new();
    for provider in &config.providers {
        let upstream = upstream(provider, &client)
            .with_context(|| format!("set up the provider `{}`", provider.name))?;
        upstreams.push((provider.name.as_str(), upstream));
    }
    let aliases = config.models.iter().map(|model| alias(model, &upstreams));
    let aliases = aliases.collect::<anyhow::Result<Vec<_>>>()?;
    let surroundings = Surroundings {
        policies,
        targets: config.targets,
        ..Surroundings::new(metrics, Arc::new(SystemClock), seed())
    };
    Gateway::new(aliases, surroundings).context("set up the models")
}

fn upstream(
    provider: &Provider,
    client: &agentry_http::Client,
) -> anyhow::Result<Arc<dyn ChatModel>> {
    Ok(match &provider.kind {
        Kind::OpenAi { base_url, api_key } => {
            let settings = openai::Settings {
                api_key: api_key.clone(),
                ..openai::Settings::new(base_url.as_str())
            };
            Arc::new(OpenAi::new(client.clone(), settings)?)
        }
        Kind::Scripted { script } => Arc::new(Scripted::new(script.as_ref().clone())),
    })
}

fn alias(model: &Model, upstreams: &[(&str, Arc<dyn ChatModel>)]) -> anyhow::Result<Alias> {
    let Model {
        name,
        targets,
        fallbacks,
        price,
        retries,
        timeout,
        first_token_timeout,
        idle_timeout,
    } = model;
    let target = |(provider, model): &(String, String)| {
        let upstream = upstreams.iter().find(|(name, _)| name == provider);
        let (_, upstream) = upstream.ok_or_else(|| anyhow!("there is no provider `{provider}`"))?;
        let (provider, model) = (provider.clone(), model.clone());
        Ok(Target { price: *price, ..Target::new(provider, model, Arc::clone(upstream)) })
    };
    let targets = targets.iter().map(target).collect::<anyhow::Result<_>>()?;
    Ok(Alias {
        fallbacks: fallbacks.clone(),
        timeout: *timeout,
        first_token_timeout: *first_token_timeout,
        idle_timeout: *idle_timeout,
        retries: *retries,
        ..Alias::new(name, targets)
    })
}

/// A name that nobody else has.
fn random_id() -> String {
    uuid::Uuid::from_u64_pair(seed(), seed()).simple().to_string()
}

/// The standard library seeds every hasher from the system's randomness.
fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// What the incident agent reads, by kind.
pub(crate) fn sources(config: &Config) -> impl Iterator<Item = (&'static str, &Source)> {
    let incident = &config.incident;
    let all = [
        ("metrics", &incident.metrics),
        ("logs", &incident.logs),
        ("traces", &incident.traces),
        ("changes", &incident.changes),
    ];
    all.into_iter().filter_map(|(kind, source)| source.as_ref().map(|source| (kind, source)))
}
