//! A gateway at one moment: what calls that begin now go by, to their end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use agentry_balance::{Dice, Settings as TargetSettings};
use agentry_core::Clock;

use crate::alias::{self, Alias, Misconfigured};
use crate::error::Error;
use crate::observe::Observer;
use crate::policies::{Allowances, Policies};
use crate::route::{Before, Route, Targets};

pub(crate) struct Inner {
    /// As configured, for listings.
    pub(crate) aliases: Vec<Arc<Route>>,
    /// By alias, and by `provider/model` for each target.
    pub(crate) routes: HashMap<Arc<str>, Arc<Route>>,
    pub(crate) targets: Targets,
    pub(crate) policies: Policies,
    pub(crate) allowances: Allowances,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dice: Arc<Dice>,
    /// Memory is scarce: who can wait has to.
    pub(crate) refuses_low: Arc<AtomicBool>,
}

/// What stays the same whatever is configured.
pub(crate) struct Ground {
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dice: Arc<Dice>,
    pub(crate) refuses_low: Arc<AtomicBool>,
}

impl Inner {
    /// All that is wrong with `aliases` is reported at once.
    pub(crate) fn build(
        aliases: Vec<Alias>,
        (policies, settings): (Policies, &TargetSettings),
        ground: Ground,
        before: Option<&Self>,
    ) -> Result<Self, Misconfigured> {
        alias::check(&aliases)?;
        let now = tokio::time::Instant::now().into_std();
        let before = before.map(|Self { targets, routes, .. }| Before { targets, routes });
        let mut targets = Targets::default();
        let (mut routes, mut named, mut problems) = (HashMap::new(), Vec::new(), Vec::new());
        let mut add = |alias| targets.route(alias, before, (settings, now));
        for alias in &aliases {
            for target in &alias.targets {
                let only = Alias {
                    name: target.name(),
                    targets: vec![target.clone()],
                    fallbacks: Vec::new(),
                    ..alias.clone()
                };
                if let Ok(route) = add(only) {
                    routes.entry(Arc::clone(&route.name)).or_insert_with(|| Arc::new(route));
                }
            }
        }
        for alias in aliases {
            let name = alias.name.clone();
            match add(alias) {
                Ok(route) => named.push(Arc::new(route)),
                Err(unusable) => problems.push(format!("the model `{name}`: {unusable}")),
            }
        }
        if !problems.is_empty() {
            return Err(Misconfigured { problems });
        }
        routes.extend(named.iter().map(|route| (Arc::clone(&route.name), Arc::clone(route))));
        let Ground { observer, clock, dice, refuses_low } = ground;
        let allowances = Allowances::default();
        let aliases = named;
        Ok(Self {
            aliases,
            routes,
            targets,
            policies,
            allowances,
            observer,
            clock,
            dice,
            refuses_low,
        })
    }

    pub(crate) fn ground(&self) -> Ground {
        Ground {
            observer: Arc::clone(&self.observer),
            clock: Arc::clone(&self.clock),
            dice: Arc::clone(&self.dice),
            refuses_low: Arc::clone(&self.refuses_low),
        }
    }

    pub(crate) fn route(&self, model: &str) -> Result<&Arc<Route>, Error> {
        self.routes.get(model).ok_or_else(|| Error::UnknownModel {
            model: model.to_owned(),
            known: self.aliases.iter().map(|route| route.name.to_string()).collect(),
        })
    }

    /// Every `provider/model`, and how it is.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = (&Arc<str>, agentry_balance::Snapshot)> {
        let now: Instant = tokio::time::Instant::now().into_std();
        self.targets.iter().map(move |(name, vitals)| (name, vitals.snapshot(now)))
    }

    pub(crate) fn random(&self) -> [u8; 10] {
        let (one, other) = (self.dice.roll().to_le_bytes(), self.dice.roll().to_le_bytes());
        let mut random = [0; 10];
        let (head, tail) = random.split_at_mut(8);
        head.copy_from_slice(&one);
        for (to, from) in tail.iter_mut().zip(other) {
            *to = from;
        }
        random
    }
}
