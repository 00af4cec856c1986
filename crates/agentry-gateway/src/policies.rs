//! What holds for calls beside where they go. What is not configured costs one look.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use agentry_core::Caller;
use agentry_core::ledger::Scope;
use agentry_core::model::CallContext;
use agentry_guards::Guards;

use crate::cache::{Flights, Levels};
use crate::error::Error;
use crate::limit::{KeyLimits, Limits, Rates};
use crate::money::{Account, Budgets, Limit, UsageSink};
use crate::piece::Piece;

/// Everything that is decided about a call but who answers it.
#[derive(Clone, Default)]
pub struct Policies {
    pub limits: Option<Arc<Limits>>,
    pub books: Option<Books>,
    pub guards: Option<Guards>,
    pub cache: Option<Caching>,
}

/// Who keeps account of money.
#[derive(Clone)]
pub struct Books {
    pub budgets: Budgets,
    pub usage: UsageSink,
    /// Budgets that are not a key's own.
    pub rules: Vec<Rule>,
}

/// A budget for everybody to whom it applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub tenant: String,
    pub whose: Whose,
    pub limits: Vec<Limit>,
}

/// `None` stands for each one that no other rule names, with a budget of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    Tenant,
    Team(Option<String>),
    User(Option<String>),
    Session,
    Run,
}

/// Answers that were given before, and those that are under way. Cheap to clone.
#[derive(Clone)]
pub struct Caching {
    pub(crate) levels: Arc<Levels>,
    pub(crate) flights: Arc<Flights<Piece, Error>>,
}

impl Caching {
    #[must_use]
    pub fn new(levels: Arc<Levels>) -> Self {
        Self { levels, flights: Arc::new(Flights::new(crate::cache::Bounds::default())) }
    }

    #[must_use]
    pub fn levels(&self) -> &Arc<Levels> {
        &self.levels
    }

    #[must_use]
    pub fn flights(&self) -> crate::cache::FlightStats {
        self.flights.stats()
    }
}

/// What one caller may use up, looked up once.
pub(crate) struct Allowance {
    /// Keeps the address by which it is found.
    _caller: Arc<Caller>,
    pub(crate) limits: Option<Arc<KeyLimits>>,
    accounts: Vec<Arc<Account>>,
}

/// Callers are found by where they are: each is made once.
#[derive(Default)]
pub(crate) struct Allowances(RwLock<HashMap<usize, Arc<Allowance>>>);

/// Callers that were made anew by a reload or for a token are forgotten with all others.
const ALLOWANCES_MAX: usize = 10_000;

impl Allowances {
    pub(crate) fn of(&self, policies: &Policies, caller: &Arc<Caller>) -> Arc<Allowance> {
        let place = Arc::as_ptr(caller).addr();
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&place).cloned();
        known.unwrap_or_else(|| {
            let allowance = Arc::new(Allowance::new(policies, caller));
            let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if all.len() >= ALLOWANCES_MAX {
                all.clear();
            }
            Arc::clone(all.entry(place).or_insert(allowance))
        })
    }
}

impl Allowance {
    fn new(policies: &Policies, caller: &Arc<Caller>) -> Self {
        let Caller { tenant, name, team, user, limits } = caller.as_ref();
        let rates = Rates::from(limits);
        let is_limited = rates != Rates::default();
        let key = || format!("{}:{tenant}:{name}", tenant.len());
        let keys = policies.limits.as_ref().filter(|_| is_limited);
        let mut accounts = Vec::new();
        if let Some(books) = &policies.books {
            if !limits.budgets.is_empty() {
                let caps: Vec<Limit> = limits
                    .budgets
                    .iter()
                    .map(|budget| Limit { per: budget.per, cap: budget.cap })
                    .collect();
                accounts.push(books.budgets.account(Scope::Key { tenant, key: name }, &caps));
            }
            let people = (team.as_deref(), user.as_deref());
            let of_tenant = |rule: &&Rule| *rule.tenant == **tenant;
            let named: Vec<_> = books.rules.iter().filter(of_tenant).collect();
            let rules = named.iter().filter(|rule| !rule.is_overridden(&named, people));
            accounts.extend(rules.filter_map(|rule| rule.lasting(&books.budgets, people)));
        }
        let limits = keys.map(|limits| limits.key(&key(), rates));
        Self { _caller: Arc::clone(caller), limits, accounts }
    }

    /// All that a call counts against.
    pub(crate) fn accounts(&self, books: &Books, cx: &CallContext) -> Vec<Arc<Account>> {
        let mut accounts = self.accounts.clone();
        let rules = books.rules.iter().filter(|rule| *rule.tenant == *cx.caller.tenant);
        accounts.extend(rules.filter_map(|rule| rule.passing(&books.budgets, cx)));
        accounts
    }
}

impl Rule {
    /// Whether it is for each one, and another of `rules` is for this one.
    fn is_overridden(&self, rules: &[&Self], (team, user): (Option<&str>, Option<&str>)) -> bool {
        match &self.whose {
            Whose::Team(None) => rules.iter().any(
                |rule| matches!(&rule.whose, Whose::Team(Some(one)) if Some(one.as_str()) == team),
            ),
            Whose::User(None) => rules.iter().any(
                |rule| matches!(&rule.whose, Whose::User(Some(one)) if Some(one.as_str()) == user),
            ),
            Whose::Team(Some(_))
            | Whose::User(Some(_))
            | Whose::Tenant
            | Whose::Session
            | Whose::Run => false,
        }
    }

    /// Of what is known of a caller.
    fn lasting(
        &self,
        budgets: &Budgets,
        (team, user): (Option<&str>, Option<&str>),
    ) -> Option<Arc<Account>> {
        let Self { tenant, whose, limits } = self;
        let fits =
            |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|one| one == is);
        let scope = match whose {
            Whose::Tenant => Scope::Tenant { tenant },
            Whose::Team(wanted) => {
                Scope::Team { tenant, team: team.filter(|team| fits(wanted, team))? }
            }
            Whose::User(wanted) => {
                Scope::User { tenant, user: user.filter(|user| fits(wanted, user))? }
            }
            Whose::Session | Whose::Run => return None,
        };
        Some(budgets.account(scope, limits))
    }

    /// Of what each call says anew.
    fn passing(&self, budgets: &Budgets, cx: &CallContext) -> Option<Arc<Account>> {
        let Self { tenant, whose, limits } = self;
        let scope = match whose {
            Whose::Tenant | Whose::Team(_) | Whose::User(_) => return None,
            Whose::Session => Scope::Session { tenant, session: cx.session.as_deref()? },
            Whose::Run => Scope::Run { tenant, run: cx.run.as_deref()? },
        };
        Some(budgets.account(scope, limits))
    }
}

#[cfg(test)]
mod tests;
