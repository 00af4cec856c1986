//! Another configuration for a gateway that runs: in force for calls that begin from now on.
//!
//! What is known of a target goes on as long as it is this target: the same upstream, with the same bounds. So do the retry
//! budget and the hedging of a model that keeps its name, what keys have used, what was spent, and what the cache keeps of models
//! that still mean the same.

use std::sync::{Arc, PoisonError};

use agentry_balance::Settings as TargetSettings;
use agentry_guards::Guards;
use futures_util::future::join_all;

use crate::Gateway;
use crate::alias::{Alias, Misconfigured, Target};
use crate::cache::Tag;
use crate::inner::Inner;
use crate::policies::{Books, Policies, Rule};

/// What can be replaced.
pub struct Replacement {
    pub aliases: Vec<Alias>,
    /// How targets are looked after.
    pub targets: TargetSettings,
    pub rules: Vec<Rule>,
    pub guards: Option<Guards>,
}

/// A replacement that was found to be good, and is not in force yet.
pub struct Prepared {
    inner: Inner,
    /// Models that are answered by others than before, or no more.
    changed: Vec<Arc<str>>,
}

impl Gateway {
    /// All that is wrong is reported at once. Nothing changes yet.
    pub fn prepare(&self, replacement: Replacement) -> Result<Prepared, Misconfigured> {
        let Replacement { aliases, targets, rules, guards } = replacement;
        let before = self.inner();
        let Policies { limits, books, guards: _, cache } = before.policies.clone();
        let books = books.map(|books| Books { rules, ..books });
        let policies = Policies { limits, books, guards, cache };
        let inner =
            Inner::build(aliases, (policies, &targets), before.ground(), Some(before.as_ref()))?;
        let changed = before.aliases.iter().filter(|route| {
            let now = inner.routes.get(&route.name);
            now.is_none_or(|now| !answer_alike(&route.alias, &now.alias))
        });
        let changed = changed.map(|route| Arc::clone(&route.name)).collect();
        Ok(Prepared { inner, changed })
    }

    /// From now on calls go by it. Those under way finish as they began. What is kept of models that mean something else now
    /// is forgotten; a store that instances share and that cannot be reached keeps it for its time to live.
    pub async fn replace(&self, prepared: Prepared) {
        let Prepared { inner, changed } = prepared;
        let levels = inner.policies.cache.as_ref().map(|caching| Arc::clone(caching.levels()));
        *self.inner.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(inner);
        self.checks.keep_only(|target| self.inner().targets.get(target).is_some());
        let Some(levels) = levels else { return };
        // All of them here at once, however long the shared store takes.
        let forgotten = join_all(changed.iter().map(|name| levels.invalidate(Tag::Alias(name))));
        for (name, forgotten) in changed.iter().zip(forgotten.await) {
            if let Err(problem) = forgotten {
                tracing::warn!(model = &**name, %problem, "answers of before stay in the shared cache for their time");
            }
        }
    }
}

/// Whether the same is asked of the same.
fn answer_alike(one: &Alias, other: &Alias) -> bool {
    let same = |one: &Target, other: &Target| {
        one.provider == other.provider
            && one.model == other.model
            && Arc::ptr_eq(&one.upstream, &other.upstream)
    };
    one.targets.len() == other.targets.len()
        && one.targets.iter().zip(&other.targets).all(|(one, other)| same(one, other))
}

#[cfg(test)]
mod tests;
