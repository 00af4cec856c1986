//! How everything is at one moment, for people and for whoever watches. It is put together when somebody asks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use agentry_balance::{Flow, Snapshot};

use crate::Gateway;
use crate::cache::{FarStats, FlightStats, Stats};
use crate::checks;
use crate::money::Standing;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overview {
    /// As configured.
    pub models: Vec<Model>,
    /// By name.
    pub targets: Vec<Target>,
    /// Nothing when answers are not kept.
    pub cache: Option<Kept>,
    /// By account.
    pub budgets: Vec<Standing>,
    /// Nothing when no books are kept.
    pub usage: Option<Queue>,
    /// Memory is scarce: calls of low priority are refused.
    pub refuses_low: bool,
}

/// A name that callers may use.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub name: Arc<str>,
    pub strategy: &'static str,
    pub targets: Vec<Arc<str>>,
    pub fallbacks: Vec<String>,
    /// Of all its targets together, also when other names lead to them.
    pub flow: Flow,
    pub in_flight: u32,
}

/// A `provider/model`.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub name: Arc<str>,
    pub is: Snapshot,
    /// What was seen of it; nothing when nobody looks.
    pub check: Option<checks::State>,
}

/// Answers that were given before, and those that are being given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    pub here: Stats,
    /// Nothing without a level that all instances share.
    pub shared: Option<FarStats>,
    pub flights: FlightStats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    pub waiting: usize,
    pub waiting_max: usize,
}

impl Gateway {
    /// How everything is now. Takes some microseconds for each target.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let inner = self.inner();
        let snapshots = inner.snapshots();
        let mut targets: Vec<Target> = snapshots
            .map(|(name, is)| Target { name: Arc::clone(name), is, check: self.checks.state(name) })
            .collect();
        targets.sort_by(|left, right| left.name.cmp(&right.name));
        let models = inner.aliases.iter().map(|route| {
            let names: Vec<_> = route.lanes.iter().map(|lane| Arc::clone(&lane.name)).collect();
            let of_model = targets.iter().filter(|target| names.contains(&target.name));
            Model {
                name: Arc::clone(&route.name),
                strategy: route.alias.strategy.as_str(),
                fallbacks: route.alias.fallbacks.clone(),
                flow: together(of_model.clone().map(|target| target.is.flow)),
                in_flight: of_model.map(|target| target.is.in_flight).sum(),
                targets: names,
            }
        });
        let models = models.collect();
        let books = inner.policies.books.as_ref();
        Overview {
            models,
            cache: inner.policies.cache.as_ref().map(|caching| Kept {
                here: caching.levels().cache().stats(),
                shared: caching.levels().shared_stats(),
                flights: caching.flights(),
            }),
            budgets: books.map(|books| books.budgets.standings()).unwrap_or_default(),
            usage: books.map(|books| Queue {
                waiting: books.usage.waiting(),
                waiting_max: books.usage.waiting_max(),
            }),
            refuses_low: inner.refuses_low.load(Ordering::Relaxed),
            targets,
        }
    }
}

/// Rates add up; times count as often as calls took them.
fn together(flows: impl Iterator<Item = Flow>) -> Flow {
    let (mut per_second, mut in_system) = (0.0, 0.0);
    for flow in flows {
        per_second += flow.per_second;
        in_system += flow.in_system();
    }
    if per_second <= 0.0 {
        return Flow::default();
    }
    Flow { per_second, mean: std::time::Duration::from_secs_f64(in_system / per_second) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn of_several_flows_the_calls_under_way_add_up() {
        let flow = |per_second, millis| Flow { per_second, mean: Duration::from_millis(millis) };
        let both = together([flow(3.0, 1_000), flow(1.0, 5_000), flow(0.0, 0)].into_iter());
        assert_eq!(both, flow(4.0, 2_000));
        assert_eq!(together(std::iter::empty()), Flow::default());
    }
}
