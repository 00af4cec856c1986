//! On whose behalf something is done.

use std::sync::Arc;

use crate::keys::Terms;

/// Who makes a call, and what it may do. Made once for each key, shared by all of its calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Tenants never share anything: no key, cache, limit, bill or log.
    pub tenant: Arc<str>,
    /// The key's name, or the run's: what limits and budgets are counted under.
    pub name: Arc<str>,
    pub team: Option<Arc<str>>,
    pub user: Option<Arc<str>>,
    pub terms: Terms,
}

impl Caller {
    /// Of the tenant `main`, and without any limits.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            tenant: "main".into(),
            name: name.into(),
            team: None,
            user: None,
            terms: Terms::default(),
        }
    }
}
