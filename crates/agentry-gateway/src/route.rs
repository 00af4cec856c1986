//! A name that callers may use, ready to be asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use agentry_balance::{Hedge, Member, Pool, RetryBudget, Settings, Unusable, Vitals, affinity};
use agentry_core::model::ChatModel;

use crate::alias::{Alias, Target};
use crate::cache::{Tag, Tags};

pub(crate) struct Route {
    pub(crate) alias: Arc<Alias>,
    pub(crate) name: Arc<str>,
    /// In the order of the pool.
    pub(crate) lanes: Vec<Arc<Lane>>,
    pub(crate) pool: Pool,
    pub(crate) retries: Arc<RetryBudget>,
    pub(crate) hedge: Option<Arc<Hedge>>,
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

/// What is known of targets, whichever names lead to them.
#[derive(Default)]
pub(crate) struct Targets(HashMap<Arc<str>, Known>);

/// What is known of a target holds for as long as it is this target.
struct Known {
    vitals: Arc<Vitals>,
    upstream: Arc<dyn ChatModel>,
    settings: Settings,
}

/// What there was before, whose state goes on where nothing has changed.
#[derive(Clone, Copy)]
pub(crate) struct Before<'a> {
    pub(crate) targets: &'a Targets,
    pub(crate) routes: &'a HashMap<Arc<str>, Arc<Route>>,
}

impl Targets {
    pub(crate) fn route(
        &mut self,
        alias: Alias,
        before: Option<Before<'_>>,
        (settings, now): (&Settings, Instant),
    ) -> Result<Route, Unusable> {
        let lanes: Vec<_> = alias
            .targets
            .iter()
            .map(|target| Arc::new(Lane { name: target.name().into(), target: target.clone() }))
            .collect();
        let known = before.map(|before| before.targets);
        let members = lanes.iter().map(|lane| Member {
            vitals: self.vitals(lane, known, (settings, now)),
            weight: lane.target.weight,
            id: affinity(lane.name.as_bytes()),
            model: affinity(lane.target.model.as_bytes()),
        });
        let members: Vec<_> = members.collect();
        let same = before.and_then(|before| before.routes.get(alias.name.as_str()));
        let retries = same.map(|same| Arc::clone(&same.retries));
        let hedge = same.and_then(|same| same.hedge.clone());
        Ok(Route {
            name: alias.name.as_str().into(),
            pool: Pool::new(alias.strategy, members)?,
            lanes,
            retries: retries.unwrap_or_else(|| Arc::new(RetryBudget::new(now))),
            hedge: alias.hedge.then(|| hedge.unwrap_or_else(|| Arc::new(Hedge::new(now)))),
            alias: Arc::new(alias),
        })
    }

    fn vitals(
        &mut self,
        lane: &Lane,
        before: Option<&Self>,
        (settings, now): (&Settings, Instant),
    ) -> Arc<Vitals> {
        let limit = lane.target.limit.or(settings.limit);
        let settings = Settings { limit, ..*settings };
        let upstream = &lane.target.upstream;
        let known = self.0.entry(Arc::clone(&lane.name)).or_insert_with(|| {
            let same = before.and_then(|before| before.0.get(&lane.name)).filter(|known| {
                known.settings == settings && Arc::ptr_eq(&known.upstream, upstream)
            });
            let vitals = same.map(|known| Arc::clone(&known.vitals));
            let vitals = vitals.unwrap_or_else(|| Arc::new(Vitals::new(settings, now)));
            Known { vitals, upstream: Arc::clone(upstream), settings }
        });
        Arc::clone(&known.vitals)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Vitals>> {
        self.0.get(name).map(|known| &known.vitals)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Vitals>)> {
        self.0.iter().map(|(name, known)| (name, &known.vitals))
    }
}
