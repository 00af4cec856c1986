//! Model calls, under the names that operators know.

use std::sync::atomic::AtomicU64;

use agentry_gateway::{Settled, Status};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::SECONDS;

type Seconds = Family<ModelLabels, Histogram, fn() -> Histogram>;
type Dollars = Counter<f64, AtomicU64>;

pub(super) struct Calls {
    active: Gauge,
    requests: Family<RequestLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    cost: Family<ModelLabels, Dollars>,
    seconds: Seconds,
    first_token_seconds: Seconds,
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

impl Calls {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        let calls = Self {
            active: Gauge::default(),
            requests: Family::default(),
            errors: Family::default(),
            tokens: Family::default(),
            cost: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            first_token_seconds: Family::new_with_constructor(histogram),
        };
        let Self { active, requests, errors, tokens, cost, seconds, first_token_seconds } = &calls;
        registry.register("llm_active_requests", "Model calls in flight", active.clone());
        registry.register("llm_requests", "Model calls that have ended", requests.clone());
        registry.register("llm_errors", "Model calls that failed", errors.clone());
        registry.register("llm_tokens", "Tokens read and written", tokens.clone());
        registry.register(
            "llm_cost_usd",
            "What calls cost, where the price is known",
            cost.clone(),
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
        calls
    }

    pub(super) fn started(&self) {
        self.active.inc();
    }

    pub(super) fn settled(&self, settled: &Settled<'_>) {
        let Settled {
            call,
            status,
            target: _,
            attempts: _,
            usage,
            cost,
            latency,
            first_token,
            source: _,
        } = settled;
        let labels = ModelLabels { model: call.model.to_owned() };
        self.active.dec();
        self.requests
            .get_or_create(&RequestLabels {
                model: labels.model.clone(),
                endpoint: call.endpoint,
                status: status.as_str(),
            })
            .inc();
        if let Status::Failed(code) = status {
            let labels = ErrorLabels { model: labels.model.clone(), error_type: code.0 };
            self.errors.get_or_create(&labels).inc();
        }
        if let Some(usage) = usage {
            for (kind, tokens) in [
                ("input", usage.input_tokens),
                ("cached_input", usage.cached_input_tokens),
                ("output", usage.output_tokens),
            ] {
                let labels = TokenLabels { model: labels.model.clone(), r#type: kind };
                self.tokens.get_or_create(&labels).inc_by(tokens);
            }
        }
        if let Some(cost) = cost {
            self.cost.get_or_create(&labels).inc_by(cost.0.max(0) as f64 / 1e6);
        }
        self.seconds.get_or_create(&labels).observe(latency.as_secs_f64());
        if let Some(first_token) = first_token {
            self.first_token_seconds.get_or_create(&labels).observe(first_token.as_secs_f64());
        }
    }
}
