//! How targets, cache, budgets and queues are, read from the gateway when somebody asks.

use std::fmt::Error;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use agentry_balance::{Circuit, Condition, Quantiles};
use agentry_gateway::Gateway;
use agentry_gateway::checks::Found;
use agentry_gateway::status::{Kept, Overview, Target};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// The gateway of now. It knows us, so we must not keep it alive.
#[derive(Clone, Default)]
pub(super) struct State(Arc<RwLock<Weak<Gateway>>>);

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("State")
    }
}

impl State {
    pub(super) fn of(&self, gateway: &Arc<Gateway>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(gateway);
    }
}

impl Collector for State {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let gateway = self.0.read().unwrap_or_else(PoisonError::into_inner).upgrade();
        let Some(gateway) = gateway else { return Ok(()) };
        let overview = gateway.overview();
        let mut page = Page { encoder };
        page.targets(&overview)?;
        page.limits(&overview)?;
        page.flows(&overview)?;
        if let Some(cache) = &overview.cache {
            page.cache(cache)?;
        }
        page.books(&overview)
    }
}

struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

/// Labels and a value.
type Row<'a, const N: usize> = ([(&'static str, &'a str); N], f64);

impl Page<'_> {
    fn gauges<'a, const N: usize>(
        &mut self,
        (name, help): (&str, &str),
        rows: impl IntoIterator<Item = Row<'a, N>>,
    ) -> Result<(), Error> {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            if N == 0 {
                return ConstGauge::new(value).encode(metric);
            }
            ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn counters<'a, const N: usize>(
        &mut self,
        (name, help): (&str, &str),
        rows: impl IntoIterator<Item = ([(&'static str, &'a str); N], u64)>,
    ) -> Result<(), Error> {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in rows {
            if N == 0 {
                return ConstCounter::new(value).encode(metric);
            }
            ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn targets(&mut self, overview: &Overview) -> Result<(), Error> {
        let targets = &overview.targets;
        const CONDITIONS: [Condition; 3] =
            [Condition::Healthy, Condition::Degraded, Condition::Unhealthy];
        let conditions = targets.iter().flat_map(|Target { name, is, check: _ }| {
            CONDITIONS.map(|one| {
                let labels = [("target", &**name), ("condition", one.as_str())];
                (labels, flag(is.condition == one))
            })
        });
        self.gauges(("agentry_target_condition", "1 for the condition that it is in"), conditions)?;
        const CIRCUITS: [&str; 3] = ["closed", "half_open", "open"];
        let circuits = targets.iter().flat_map(|Target { name, is, check: _ }| {
            CIRCUITS.map(|one| {
                ([("target", &**name), ("state", one)], flag(is.circuit.as_str() == one))
            })
        });
        self.gauges(
            ("agentry_target_circuit", "1 for the state that its circuit is in"),
            circuits,
        )?;
        let open = targets.iter().filter(|target| target.is.circuit != Circuit::Closed);
        let open = open.filter_map(|target| {
            Some(([("target", &*target.name)], target.is.open_since?.as_secs_f64()))
        });
        self.gauges(
            ("agentry_target_circuit_open_seconds", "For how long it has not been closed"),
            open,
        )?;
        let one = |value: fn(&Target) -> f64| {
            targets.iter().map(move |target| ([("target", &*target.name)], value(target)))
        };
        self.gauges(
            ("agentry_target_in_flight", "Calls under way"),
            one(|target| f64::from(target.is.in_flight)),
        )?;
        self.gauges(
            ("agentry_target_success_ratio", "Of the calls of the last half a minute"),
            one(|target| target.is.success_rate),
        )?;
        let checked = || targets.iter().filter_map(|one| Some((&*one.name, one.check.as_ref()?)));
        self.gauges(
            ("agentry_target_check_up", "Whether it passes its active check"),
            checked().map(|(name, check)| ([("target", name)], flag(check.found == Found::Up))),
        )?;
        let counts = checked().flat_map(|(name, check)| {
            [("passed", check.passed), ("failed", check.failed)]
                .map(|(result, count)| ([("target", name), ("result", result)], count))
        });
        self.counters(("agentry_target_checks", "Active checks that were made"), counts)?;
        self.gauges(
            ("agentry_target_first_token_seconds", "Of streamed calls in the last 5 to 10 minutes"),
            targets.iter().flat_map(|target| percentiles(&target.name, target.is.first_token)),
        )?;
        self.gauges(
            ("agentry_target_response_seconds", "Of answered calls in the last 5 to 10 minutes"),
            targets.iter().flat_map(|target| percentiles(&target.name, target.is.total)),
        )
    }

    fn limits(&mut self, overview: &Overview) -> Result<(), Error> {
        let limits: Vec<_> = overview
            .targets
            .iter()
            .filter_map(|target| Some((&*target.name, target.is.limit?)))
            .collect();
        self.gauges(
            ("agentry_target_limit", "How many calls may be under way there at once"),
            limits.iter().map(|(name, limit)| ([("target", *name)], f64::from(limit.limit))),
        )?;
        self.gauges(
            ("agentry_target_queue_length", "Calls that wait for their turn there"),
            limits.iter().map(|(name, limit)| ([("target", *name)], limit.waiting as f64)),
        )?;
        self.counters(
            ("agentry_target_shed", "Calls turned away because too many were under way there"),
            limits.iter().map(|(name, limit)| ([("target", *name)], limit.shed)),
        )
    }

    /// Little's law.
    fn flows(&mut self, overview: &Overview) -> Result<(), Error> {
        let models = || overview.models.iter();
        self.gauges(
            ("agentry_model_calls_per_second", "λ: calls that its targets answered per second"),
            models().map(|model| ([("model", &*model.name)], model.flow.per_second)),
        )?;
        self.gauges(
            ("agentry_model_response_seconds", "W: how long they took on average"),
            models().map(|model| ([("model", &*model.name)], model.flow.mean.as_secs_f64())),
        )?;
        self.gauges(
            ("agentry_model_calls_in_system", "L = λW: how many were under way on average"),
            models().map(|model| ([("model", &*model.name)], model.flow.in_system())),
        )
    }

    fn cache(&mut self, cache: &Kept) -> Result<(), Error> {
        let Kept { here, shared, flights } = cache;
        let gauge = |value: u64| [([], value as f64)];
        self.gauges(("agentry_cache_bytes", "What kept answers take"), gauge(here.bytes))?;
        self.gauges(("agentry_cache_max_bytes", "What they may take"), gauge(here.bytes_max))?;
        self.gauges(("agentry_cache_entries", "Answers that are kept"), gauge(here.entries))?;
        self.gauges(
            ("agentry_cache_ttl_seconds", "How long a new answer is kept"),
            [([], here.ttl.as_secs_f64())],
        )?;
        self.counters(
            ("agentry_cache_evictions", "Answers displaced for want of room"),
            [([], here.evictions)],
        )?;
        self.gauges(
            ("agentry_cache_flights", "Answers under way that others may join"),
            gauge(flights.flights),
        )?;
        if let Some(shared) = shared {
            let rows =
                [("hit", shared.hits), ("miss", shared.misses), ("failure", shared.failures)];
            self.counters(
                ("agentry_shared_cache_lookups", "Lookups at the store that instances share"),
                rows.map(|(result, count)| ([("result", result)], count)),
            )?;
            let rows = [("written", shared.written), ("unwritten", shared.unwritten)];
            self.counters(
                ("agentry_shared_cache_writes", "Answers for the store that instances share"),
                rows.map(|(result, count)| ([("result", result)], count)),
            )?;
        }
        Ok(())
    }

    /// Accounts are named by users: what is shown is the fullest one of each kind.
    fn books(&mut self, overview: &Overview) -> Result<(), Error> {
        const KINDS: [&str; 6] = ["tenant", "team", "key", "user", "session", "run"];
        let fullest = KINDS.iter().filter_map(|kind| {
            let of_kind = overview
                .budgets
                .iter()
                .filter(|budget| budget.account.split_once(':').is_some_and(|(is, _)| is == *kind));
            let used = of_kind.map(|budget| budget.used_percent() / 100.0);
            Some(([("scope", *kind)], used.reduce(f64::max)?))
        });
        self.gauges(
            ("agentry_budget_used_ratio", "Of the budget that is used most, of each kind"),
            fullest,
        )?;
        let Some(usage) = overview.usage else { return Ok(()) };
        self.gauges(
            ("agentry_usage_queue_length", "Usage records that wait to be stored"),
            [([], usage.waiting as f64)],
        )?;
        self.gauges(
            ("agentry_usage_queue_max_length", "As many may wait"),
            [([], usage.waiting_max as f64)],
        )
    }
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn percentiles(target: &str, quantiles: Quantiles) -> Vec<Row<'_, 2>> {
    let Quantiles { calls, p50, p95, p99 } = quantiles;
    if calls == 0 {
        return Vec::new();
    }
    let row =
        |name, value: Duration| ([("target", target), ("percentile", name)], value.as_secs_f64());
    vec![row("50", p50), row("95", p95), row("99", p99)]
}
