//! From configured providers and models to what calls go to.

use std::sync::Arc;

use agentry_core::embed::Embedder;
use agentry_core::model::ChatModel;
use agentry_gateway::batch::{self, Embeddings};
use agentry_gateway::checks::{Check, Plan};
use agentry_gateway::{Alias, Gateway, Observer, Policies, Surroundings, Target};
use agentry_http::Client;
use agentry_llm::anthropic::Anthropic;
use agentry_llm::azure;
use agentry_llm::bedrock::Bedrock;
use agentry_llm::check::{Asked, Checker};
use agentry_llm::gemini::Gemini;
use agentry_llm::ollama::Ollama;
use agentry_llm::openai::OpenAi;
use agentry_llm::scripted::Scripted;
use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use tokio_util::task::TaskTracker;

use super::seed;
use crate::clock::SystemClock;
use crate::config::{self, Config, Kind, Model, Provider};

/// Everybody who can be asked.
#[derive(Clone)]
pub(crate) struct Upstreams {
    client: Client,
    embeddings: batch::Settings,
    /// Runs what callers share.
    tasks: TaskTracker,
    known: Vec<(Provider, Upstream)>,
}

impl Upstreams {
    pub(crate) fn open(config: &Config, tasks: &TaskTracker) -> anyhow::Result<Self> {
        let client = Client::new(&agentry_http::Settings::default());
        let (embeddings, tasks) = (config.embeddings, tasks.clone());
        Self { client, embeddings, tasks, known: Vec::new() }.of(config)
    }

    /// Those of another configuration. Who is asked as before is the same as before.
    pub(crate) fn of(&self, config: &Config) -> anyhow::Result<Self> {
        let mut known = Vec::new();
        for provider in &config.providers {
            let same = |(before, _): &&(Provider, Upstream)| {
                before.name == provider.name && before.kind.is_same(&provider.kind)
            };
            let upstream = match self.known.iter().find(same) {
                Some((_, upstream)) => upstream.clone(),
                None => Upstream::open(provider, &self.client)
                    .with_context(|| format!("set up the provider `{}`", provider.name))?
                    .together(self.embeddings, &self.tasks),
            };
            known.push((provider.clone(), upstream));
        }
        Ok(Self { known, ..self.clone() })
    }

    /// Whether each provider is asked as `other` asks it.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same = |(one, two): (&(Provider, Upstream), &(Provider, Upstream))| {
            one.0.name == two.0.name && Arc::ptr_eq(&one.1.chat, &two.1.chat)
        };
        self.known.len() == other.known.len() && self.known.iter().zip(&other.known).all(same)
    }

    pub(crate) fn aliases(&self, config: &Config) -> anyhow::Result<Vec<Alias>> {
        config.models.iter().map(|model| alias(model, &self.known)).collect()
    }

    /// All models over their providers; `observer` hears of every call.
    pub(crate) fn gateway(
        &self,
        config: &Config,
        observer: Arc<dyn Observer>,
        policies: Policies,
    ) -> anyhow::Result<Gateway> {
        let surroundings = Surroundings {
            policies,
            targets: config.targets,
            ..Surroundings::new(observer, Arc::new(SystemClock), seed())
        };
        Gateway::new(self.aliases(config)?, surroundings).context("set up the models")
    }

    /// What is looked at while nobody calls it.
    pub(crate) fn plans(&self, config: &Config) -> anyhow::Result<Vec<Plan>> {
        let mut plans = Vec::new();
        for provider in &config.providers {
            let Some(config::Check { path, settings }) = &provider.check else { continue };
            let settings = *settings;
            let of_models = config.models.iter().flat_map(|model| &model.targets);
            let mut models: Vec<&str> = of_models
                .filter(|target| target.provider == provider.name)
                .map(|target| target.model.as_str())
                .collect();
            models.sort_unstable();
            models.dedup();
            let name = |model: &str| -> Arc<str> { format!("{}/{model}", provider.name).into() };
            let paths: Vec<(String, Vec<Arc<str>>)> = match path.contains(config::MODEL) {
                false => vec![(path.clone(), models.into_iter().map(name).collect())],
                true => models
                    .into_iter()
                    .map(|model| (path.replace(config::MODEL, model), vec![name(model)]))
                    .collect(),
            };
            for (path, targets) in paths.into_iter().filter(|(_, targets)| !targets.is_empty()) {
                let asked = Asked { path: &path, timeout: settings.timeout };
                let checker = checker(&self.client, provider, asked)
                    .with_context(|| format!("set up the check of `{}`", provider.name))?;
                let check = Arc::new(Looking(checker));
                plans.push(Plan { targets, settings, check });
            }
        }
        Ok(plans)
    }
}

fn checker(client: &Client, provider: &Provider, asked: Asked<'_>) -> anyhow::Result<Checker> {
    let client = client.clone();
    Ok(match &provider.kind {
        Kind::OpenAi(settings) => Checker::openai(client, settings, asked)?,
        Kind::Azure(settings) => Checker::azure(client, settings, asked)?,
        Kind::Gemini(settings) => Checker::gemini(client, settings, asked)?,
        Kind::Ollama(settings) => Checker::ollama(client, settings, asked)?,
        Kind::Anthropic(settings) => Checker::anthropic(client, settings, asked)?,
        Kind::Bedrock(_) | Kind::Scripted { .. } => {
            return Err(anyhow!("a provider of this kind cannot be checked"));
        }
    })
}

struct Looking(Checker);

#[async_trait]
impl Check for Looking {
    async fn look(&self) -> Result<(), String> {
        self.0.look().await
    }
}

/// All models over their providers, for whoever changes nothing of them.
pub(crate) fn gateway(
    config: &Config,
    observer: Arc<dyn Observer>,
    policies: Policies,
    tasks: &TaskTracker,
) -> anyhow::Result<Gateway> {
    Upstreams::open(config, tasks)?.gateway(config, observer, policies)
}

/// What one provider answers.
#[derive(Clone)]
struct Upstream {
    chat: Arc<dyn ChatModel>,
    embedder: Option<Arc<dyn Embedder>>,
}

impl Upstream {
    fn open(provider: &Provider, client: &Client) -> anyhow::Result<Self> {
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

fn alias(model: &Model, upstreams: &[(Provider, Upstream)]) -> anyhow::Result<Alias> {
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
        let upstream = upstreams.iter().find(|(known, _)| known.name == *provider);
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
