//! From a checked configuration to the parts it describes: the only place that names concrete providers.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

use agentry_core::embed::Embedder;
use agentry_core::model::ChatModel;
use agentry_gateway::batch::{self, Embeddings};
use agentry_gateway::{Alias, Gateway, Observer, Policies, Surroundings, Target};
use agentry_llm::anthropic::Anthropic;
use agentry_llm::azure;
use agentry_llm::bedrock::Bedrock;
use agentry_llm::gemini::Gemini;
use agentry_llm::ollama::Ollama;
use agentry_llm::openai::OpenAi;
use agentry_llm::scripted::Scripted;
use anyhow::{Context as _, anyhow};
use tokio_util::task::TaskTracker;

use crate::clock::SystemClock;
use crate::config::{self, Config, Kind, Model, Provider, Source};

pub(crate) mod batches;
pub(crate) mod counting;
pub(crate) mod graphs;
pub(crate) mod identity;
pub(crate) mod incident;
pub(crate) mod policies;
pub(crate) mod pressure;
pub(crate) mod storage;
pub(crate) mod threads;
pub(crate) mod watching;

/// All models over their providers; `observer` hears of every call, and what callers share runs on `tasks`.
pub(crate) fn gateway(
    config: &Config,
    observer: Arc<dyn Observer>,
    policies: Policies,
    tasks: &TaskTracker,
) -> anyhow::Result<Gateway> {
    let client = agentry_http::Client::new(&agentry_http::Settings::default());
    let mut upstreams = Vec::new();
    for provider in &config.providers {
        let upstream = Upstream::open(provider, &client)
            .with_context(|| format!("set up the provider `{}`", provider.name))?
            .together(config.embeddings, tasks);
        upstreams.push((provider.name.as_str(), upstream));
    }
    let aliases = config.models.iter().map(|model| alias(model, &upstreams));
    let aliases = aliases.collect::<anyhow::Result<Vec<_>>>()?;
    let surroundings = Surroundings {
        policies,
        targets: config.targets,
        ..Surroundings::new(observer, Arc::new(SystemClock), seed())
    };
    Gateway::new(aliases, surroundings).context("set up the models")
}

/// What one provider answers.
struct Upstream {
    chat: Arc<dyn ChatModel>,
    embedder: Option<Arc<dyn Embedder>>,
}

impl Upstream {
    fn open(provider: &Provider, client: &agentry_http::Client) -> anyhow::Result<Self> {
        let client = client.clone();
        Ok(match &provider.kind {
            Kind::OpenAi(settings) => Self::both(OpenAi::new(client, settings.clone())?),
            Kind::Azure(settings) => Self::both(azure::azure(client, settings.clone())?),
            Kind::Gemini(settings) => Self::both(Gemini::new(client, settings.clone())?),
            Kind::Ollama(settings) => Self::both(Ollama::new(client, settings.clone())?),
            Kind::Anthropic(settings) => Self::chat(Anthropic::new(client, settings.clone())?),
            Kind::Bedrock(settings) => {
                Self::chat(Bedrock::new(client, Arc::new(SystemClock), settings.clone())?)
            }
            Kind::Scripted { script } => Self::chat(Scripted::new(script.as_ref().clone())),
        })
    }

    /// With calls for vectors that come at the same time put together.
    fn together(self, settings: batch::Settings, tasks: &TaskTracker) -> Self {
        let Self { chat, embedder } = self;
        let together = |embedder| Arc::new(Embeddings::new(embedder, settings, tasks.clone()));
        Self { chat, embedder: embedder.map(|embedder| together(embedder) as Arc<dyn Embedder>) }
    }

    fn chat(model: impl ChatModel + 'static) -> Self {
        Self { chat: Arc::new(model), embedder: None }
    }

    fn both(model: impl ChatModel + Embedder + 'static) -> Self {
        let model = Arc::new(model);
        Self { chat: Arc::clone(&model) as Arc<_>, embedder: Some(model) }
    }
}

fn alias(model: &Model, upstreams: &[(&str, Upstream)]) -> anyhow::Result<Alias> {
    let Model {
        name,
        targets,
        strategy,
        fallbacks,
        hedge,
        retries,
        timeout,
        first_token_timeout,
        idle_timeout,
    } = model;
    let target = |target: &config::Target| {
        let config::Target { provider, model, weight, price, output_tokens_max, known, limit } =
            target;
        let upstream = upstreams.iter().find(|(name, _)| name == provider);
        let (_, upstream) = upstream.ok_or_else(|| anyhow!("there is no provider `{provider}`"))?;
        let chat = Arc::clone(&upstream.chat);
        let target = Target {
            embedder: upstream.embedder.clone(),
            price: *price,
            weight: *weight,
            output_tokens_max: *output_tokens_max,
            limit: *limit,
            ..Target::new(provider.clone(), model.clone(), chat)
        };
        Ok(match known {
            None => target,
            Some(known) => Target {
                long: known.long,
                image_tokens_max: known.image_tokens_max,
                context_tokens: known.context_tokens,
                ..target
            },
        })
    };
    let targets = targets.iter().map(target).collect::<anyhow::Result<_>>()?;
    Ok(Alias {
        name: name.clone(),
        targets,
        strategy: *strategy,
        fallbacks: fallbacks.clone(),
        hedge: *hedge,
        retries: *retries,
        timeout: *timeout,
        first_token_timeout: *first_token_timeout,
        idle_timeout: *idle_timeout,
    })
}

/// A name that nobody else has.
pub(crate) fn random_id() -> String {
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
