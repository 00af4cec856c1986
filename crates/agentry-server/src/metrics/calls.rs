//! Model calls, under the names that operators know.
//!
//! This is on the way of every call: whatever has a label is looked up once for each model and face, and kept at hand.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use agentry_core::MicroUsd;
use agentry_gateway::{Found, Settled, Status};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::SECONDS;

type Seconds = Family<ModelLabels, Histogram, fn() -> Histogram>;
type Dollars = Counter<f64, AtomicU64>;

/// By endpoint and model.
type ByEndpoint = HashMap<&'static str, HashMap<Box<str>, Arc<Handles>>>;

pub(super) struct Calls {
    active: Gauge,
    families: Families,
    /// By face, then by model.
    handles: RwLock<ByEndpoint>,
}

/// Everything with a label.
struct Families {
    requests: Family<RequestLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    cost: Family<ModelLabels, Dollars>,
    estimated_cost: Family<ModelLabels, Dollars>,
    seconds: Seconds,
    first_token_seconds: Seconds,
    cache: Family<CacheLabels, Counter>,
    saved_cost: Family<ModelLabels, Dollars>,
    saved_seconds: Family<ModelLabels, Dollars>,
    retries: Family<ModelLabels, Counter>,
    fallbacks: Family<ModelLabels, Counter>,
    hedges: Family<ModelLabels, Counter>,
    limited: Family<LimitLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    model: String,
    endpoint: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    model: String,
    error_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    model: String,
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    model: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    which: &'static str,
}

/// Everything that a call of one model through one face counts.
struct Handles {
    labels: ModelLabels,
    success: Counter,
    cancelled: Counter,
    error: Counter,
    input: Counter,
    cached_input: Counter,
    output: Counter,
    seconds: Histogram,
    /// Shown once there is one.
    first_token_seconds: OnceLock<Histogram>,
    cost: OnceLock<Dollars>,
    estimated_cost: OnceLock<Dollars>,
    cache: OnceLock<Cached>,
    retries: Counter,
    fallbacks: Counter,
    hedges: Counter,
    /// Of answers that a target gave, to tell what others save.
    asked: AtomicU64,
    asked_micros: AtomicU64,
}

/// Of a model whose calls have come as far as the cache.
struct Cached {
    off: Counter,
    miss: Counter,
    hit: Counter,
    join: Counter,
    saved_cost: Dollars,
    saved_seconds: Dollars,
}

impl Calls {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let (active, families) = (Gauge::default(), Families::new());
        registry.register("llm_active_requests", "Model calls in flight", active.clone());
        families.register(registry);
        Self { active, families, handles: RwLock::default() }
    }

    pub(super) fn started(&self) {
        self.active.inc();
    }

    pub(super) fn settled(&self, settled: &Settled<'_>) {
        self.active.dec();
        let known = {
            let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
            let of_face = handles.get(settled.call.endpoint);
            of_face.and_then(|models| models.get(settled.call.model)).cloned()
        };
        let handles = known.unwrap_or_else(|| self.handles(settled));
        handles.settled(settled, &self.families);
    }

    #[cold]
    fn handles(&self, settled: &Settled<'_>) -> Arc<Handles> {
        let call = settled.call;
        let new = || Arc::new(Handles::new(&self.families, call.model, call.endpoint));
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        let of_face = handles.entry(call.endpoint).or_default();
        Arc::clone(of_face.entry(call.model.into()).or_insert_with(new))
    }
}

impl Families {
    fn new() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        Self {
            requests: Family::default(),
            errors: Family::default(),
            tokens: Family::default(),
            cost: Family::default(),
            estimated_cost: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            first_token_seconds: Family::new_with_constructor(histogram),
            cache: Family::default(),
            saved_cost: Family::default(),
            saved_seconds: Family::default(),
            retries: Family::default(),
            fallbacks: Family::default(),
            hedges: Family::default(),
            limited: Family::default(),
        }
    }

    fn register(&self, registry: &mut Registry) {
        let Self { requests, errors, tokens, cost, seconds, first_token_seconds, .. } = self;
        let Self { cache, saved_cost, saved_seconds, retries, fallbacks, hedges, limited, .. } =
            self;
        registry.register("llm_requests", "Model calls that have ended", requests.clone());
        registry.register("llm_errors", "Model calls that failed", errors.clone());
        registry.register("llm_tokens", "Tokens read and written", tokens.clone());
        registry.register(
            "llm_cost_usd",
            "What calls cost, where the price is known",
            cost.clone(),
        );
        registry.register(
            "llm_cost_estimated_usd",
            "The part of llm_cost_usd that no upstream has told",
            self.estimated_cost.clone(),
        );
        registry.register(
            "llm_request_duration_seconds",
            "From a call to the end of its answer",
            seconds.clone(),
        );
        registry.register(
            "llm_first_token_seconds",
            "From a streamed call to its first token",
            first_token_seconds.clone(),
        );
        registry.register("agentry_cache", "Lookups of answers, by what came of it", cache.clone());
        registry.register(
            "agentry_cache_saved_usd",
            "What answers that were there already did cost when they were made",
            saved_cost.clone(),
        );
        registry.register(
            "agentry_cache_saved_seconds",
            "How much longer calls would have taken on average without the cache",
            saved_seconds.clone(),
        );
        registry.register("agentry_retries", "Attempts after one that failed", retries.clone());
        registry.register(
            "agentry_hedges",
            "Attempts beside one that took long to begin",
            hedges.clone(),
        );
        registry.register(
            "agentry_fallbacks",
            "Times that it was the next model's turn",
            fallbacks.clone(),
        );
        registry.register(
            "agentry_limit_refusals",
            "Calls refused by a limit, by which",
            limited.clone(),
        );
    }
}

impl Handles {
    fn new(families: &Families, model: &str, endpoint: &'static str) -> Self {
        let labels = ModelLabels { model: model.to_owned() };
        let requests = |status: Status| {
            let (model, status) = (labels.model.clone(), status.as_str());
            families.requests.get_or_create(&RequestLabels { model, endpoint, status }).clone()
        };
        let tokens = |kind| {
            let labels = TokenLabels { model: labels.model.clone(), r#type: kind };
            families.tokens.get_or_create(&labels).clone()
        };
        Self {
            success: requests(Status::Answered),
            cancelled: requests(Status::Cancelled),
            error: requests(Status::Failed(agentry_core::Code(""))),
            input: tokens("input"),
            cached_input: tokens("cached_input"),
            output: tokens("output"),
            seconds: families.seconds.get_or_create(&labels).clone(),
            first_token_seconds: OnceLock::new(),
            cost: OnceLock::new(),
            estimated_cost: OnceLock::new(),
            cache: OnceLock::new(),
            retries: families.retries.get_or_create(&labels).clone(),
            fallbacks: families.fallbacks.get_or_create(&labels).clone(),
            hedges: families.hedges.get_or_create(&labels).clone(),
            asked: AtomicU64::new(0),
            asked_micros: AtomicU64::new(0),
            labels,
        }
    }

    fn settled(&self, settled: &Settled<'_>, families: &Families) {
        let Settled { status, attempts, usage, cost, estimated, latency, .. } = settled;
        let Settled { first_token, found, .. } = settled;
        match status {
            Status::Answered => self.success.inc(),
            Status::Cancelled => self.cancelled.inc(),
            Status::Failed(code) => {
                self.failed(code.0, families);
                self.error.inc()
            }
        };
        if let Some(usage) = usage {
            self.input.inc_by(usage.input_tokens);
            self.cached_input.inc_by(usage.cached_input_tokens);
            self.output.inc_by(usage.output_tokens);
        }
        if let Some(cost) = cost {
            let new = || families.cost.get_or_create(&self.labels).clone();
            self.cost.get_or_init(new).inc_by(dollars(*cost));
        }
        if estimated.0 > 0 {
            let new = || families.estimated_cost.get_or_create(&self.labels).clone();
            self.estimated_cost.get_or_init(new).inc_by(dollars(*estimated));
        }
        self.seconds.observe(latency.as_secs_f64());
        if let Some(first_token) = first_token {
            let new = || families.first_token_seconds.get_or_create(&self.labels).clone();
            self.first_token_seconds.get_or_init(new).observe(first_token.as_secs_f64());
        }
        if *attempts > 1 {
            self.retries.inc_by(u64::from(attempts - 1).saturating_sub(u64::from(settled.hedges)));
            self.hedges.inc_by(u64::from(settled.hedges));
        }
        if settled.fallbacks > 0 {
            self.fallbacks.inc_by(u64::from(settled.fallbacks));
        }
        if let Some(found) = found {
            self.found(*found, settled, families);
        }
    }

    #[cold]
    fn failed(&self, code: &'static str, families: &Families) {
        let labels = ErrorLabels { model: self.labels.model.clone(), error_type: code };
        families.errors.get_or_create(&labels).inc();
        let which = match code {
            "requests_limited" => "requests",
            "tokens_limited" | "tokens_over_limit" => "tokens",
            "concurrency_limited" => "concurrency",
            "budget_exceeded" => "budget",
            "overloaded" => "queue",
            _ => return,
        };
        families.limited.get_or_create(&LimitLabels { which }).inc();
    }

    fn found(&self, found: Found, settled: &Settled<'_>, families: &Families) {
        let cache = self.cache.get_or_init(|| Cached::new(families, &self.labels));
        let micros = u64::try_from(settled.latency.as_micros()).unwrap_or(u64::MAX);
        match found {
            Found::Off | Found::Miss => {
                if settled.status == Status::Answered {
                    self.asked.fetch_add(1, Ordering::Relaxed);
                    self.asked_micros.fetch_add(micros, Ordering::Relaxed);
                }
            }
            Found::Hit | Found::Join => {
                let asked = self.asked.load(Ordering::Relaxed);
                let usual = self.asked_micros.load(Ordering::Relaxed).checked_div(asked);
                let saved = usual.unwrap_or(0).saturating_sub(micros);
                cache.saved_seconds.inc_by(saved as f64 / 1e6);
                if let Some(saved) = settled.saved {
                    cache.saved_cost.inc_by(dollars(saved));
                }
            }
        }
        match found {
            Found::Off => cache.off.inc(),
            Found::Miss => cache.miss.inc(),
            Found::Hit => cache.hit.inc(),
            Found::Join => cache.join.inc(),
        };
    }
}

impl Cached {
    fn new(families: &Families, labels: &ModelLabels) -> Self {
        let cache = |found: Found| {
            let (model, result) = (labels.model.clone(), found.as_str());
            families.cache.get_or_create(&CacheLabels { model, result }).clone()
        };
        Self {
            off: cache(Found::Off),
            miss: cache(Found::Miss),
            hit: cache(Found::Hit),
            join: cache(Found::Join),
            saved_cost: families.saved_cost.get_or_create(labels).clone(),
            saved_seconds: families.saved_seconds.get_or_create(labels).clone(),
        }
    }
}

fn dollars(cost: MicroUsd) -> f64 {
    cost.0.max(0) as f64 / 1e6
}
