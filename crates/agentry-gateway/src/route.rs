//! A name that callers may use, ready to be asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use agentry_balance::{Hedge, Member, Pool, RetryBudget, Settings, Unusable, Vitals, affinity};

use crate::alias::{Alias, Target};
use crate::cache::{Tag, Tags};

pub(crate) struct Route {
    pub(crate) alias: Alias,
    pub(crate) name: Arc<str>,
    /// In the order of the pool.
    pub(crate) lanes: Vec<Arc<Lane>>,
    pub(crate) pool: Pool,
    pub(crate) retries: RetryBudget,
    pub(crate) hedge: Option<Hedge>,
}

/// A target, as everything that counts by targets names it.
pub(crate) struct Lane {
    pub(crate) target: Target,
    /// `provider/model`.
    pub(crate) name: Arc<str>,
}

impl Route {
    pub(crate) fn lane(&self, at: usize) -> Option<&Arc<Lane>> {
        self.lanes.get(at)
    }

    /// Under what its answers to a tenant are forgotten.
    pub(crate) fn tags(&self, tenant: &str) -> Tags {
        Tags::new([Tag::Tenant(tenant), Tag::Alias(&self.name)])
    }
}

/// What is known of targets, whichever names lead to them. It outlives a reload of the configuration.
#[derive(Default)]
pub(crate) struct Targets(HashMap<Arc<str>, Arc<Vitals>>);

impl Targets {
    pub(crate) fn route(
        &mut self,
        alias: Alias,
        settings: &Settings,
        now: Instant,
    ) -> Result<Route, Unusable> {
        let lanes: Vec<_> = alias
            .targets
            .iter()
            .map(|target| Arc::new(Lane { name: target.name().into(), target: target.clone() }))
            .collect();
        let members = lanes.iter().map(|lane| Member {
            vitals: self.vitals(lane, settings, now),
            weight: lane.target.weight,
            id: affinity(lane.name.as_bytes()),
            model: affinity(lane.target.model.as_bytes()),
        });
        let members: Vec<_> = members.collect();
        Ok(Route {
            name: alias.name.as_str().into(),
            pool: Pool::new(alias.strategy, members)?,
            lanes,
            retries: RetryBudget::new(now),
            hedge: alias.hedge.then(|| Hedge::new(now)),
            alias,
        })
    }

    fn vitals(&mut self, lane: &Lane, settings: &Settings, now: Instant) -> Arc<Vitals> {
        let limit = lane.target.limit.or(settings.limit);
        let new = || Arc::new(Vitals::new(Settings { limit, ..*settings }, now));
        Arc::clone(self.0.entry(Arc::clone(&lane.name)).or_insert_with(new))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Vitals>)> {
        self.0.iter()
    }
}
