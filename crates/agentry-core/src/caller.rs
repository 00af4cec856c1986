//! On whose behalf something is done.

use std::sync::Arc;

use crate::keys::{Budget, Priority};

/// Who makes a call, and what it may do. Made once for each key, shared by all of its calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Tenants never share anything: no key, cache, limit, bill or log.
    pub tenant: Arc<str>,
    /// The key's name, or the run's: what limits and budgets are counted under.
    pub name: Arc<str>,
    pub team: Option<Arc<str>>,
    pub user: Option<Arc<str>>,
    pub limits: Limits,
}

/// What a caller may use up. `None` is without bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests and tokens in any minute.
    pub rpm: Option<u32>,
    pub tpm: Option<u32>,
    /// Calls at the same time.
    pub concurrency: Option<u32>,
    pub budgets: Vec<Budget>,
    pub priority: Priority,
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
            limits: Limits::default(),
        }
    }
}
