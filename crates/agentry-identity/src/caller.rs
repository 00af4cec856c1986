//! Who is calling, as everything behind the door knows it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use agentry_core::caller::Limits;
use agentry_core::keys::{Key, Terms};

use crate::{Denied, Network, Scope, Scopes};

/// Made once for each key and shared by all its requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    pub kind: Kind,
    /// Of the key; of a token, its issuer and subject.
    pub key_id: Arc<str>,
    /// What limits and budgets are counted under. A rotated key keeps it.
    pub name: Arc<str>,
    pub tenant: Arc<str>,
    pub team: Option<Arc<str>>,
    pub user: Option<Arc<str>>,
    pub scopes: Scopes,
    pub limits: Limits,
    pub metadata: BTreeMap<String, String>,
    models: Vec<String>,
    networks: Vec<Network>,
    /// One of its networks is not understood, so it may come from nowhere.
    shut: bool,
    /// As model calls know it: made with the first one.
    of_calls: OnceLock<Arc<agentry_core::Caller>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody on this machine, as long as there are no keys.
    Anonymous,
    Key,
    Token,
}

/// Who somebody is, before what he may do is added.
pub(crate) struct Person {
    pub(crate) kind: Kind,
    pub(crate) key_id: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) tenant: Arc<str>,
    pub(crate) team: Option<Arc<str>>,
    pub(crate) user: Option<Arc<str>>,
}

impl Caller {
    /// Somebody on this machine.
    #[must_use]
    pub fn anonymous() -> Self {
        let person = Person {
            kind: Kind::Anonymous,
            key_id: "anonymous".into(),
            name: "anonymous".into(),
            tenant: "main".into(),
            team: None,
            user: None,
        };
        Self { scopes: Scopes::ALL, ..Self::under(person, &Terms::default()) }
    }

    pub(crate) fn of(key: &Key, user: Option<Arc<str>>) -> Self {
        let person = Person {
            kind: Kind::Key,
            key_id: key.id.as_str().into(),
            name: key.name.as_str().into(),
            tenant: key.tenant.as_str().into(),
            team: key.team.as_deref().map(Into::into),
            user,
        };
        Self::under(person, &key.terms)
    }

    pub(crate) fn under(person: Person, terms: &Terms) -> Self {
        let Person { kind, key_id, name, tenant, team, user } = person;
        let Terms { scopes, models, addresses, rpm, tpm, concurrency, budgets, priority, metadata } =
            terms;
        let networks: Vec<Network> =
            addresses.iter().filter_map(|address| address.parse().ok()).collect();
        Self {
            kind,
            key_id,
            name,
            tenant,
            team,
            user,
            scopes: Scopes::known(scopes),
            limits: Limits {
                rpm: *rpm,
                tpm: *tpm,
                concurrency: *concurrency,
                budgets: budgets.clone(),
                priority: *priority,
            },
            metadata: metadata.clone(),
            models: models.clone(),
            shut: networks.len() < addresses.len(),
            networks,
            of_calls: OnceLock::new(),
        }
    }

    /// As model calls know it, always the same one.
    #[must_use]
    pub fn of_calls(&self) -> Arc<agentry_core::Caller> {
        let made = self.of_calls.get_or_init(|| {
            Arc::new(agentry_core::Caller {
                tenant: Arc::clone(&self.tenant),
                name: Arc::clone(&self.name),
                team: self.team.clone(),
                user: self.user.clone(),
                limits: self.limits.clone(),
            })
        });
        Arc::clone(made)
    }

    /// As the audit log names it.
    #[must_use]
    pub fn actor(&self) -> String {
        match self.kind {
            Kind::Anonymous => "person:local".to_owned(),
            Kind::Key => format!("key:{}", self.name),
            Kind::Token => format!("person:{}", self.name),
        }
    }

    /// Whether it may see `tenant`.
    #[must_use]
    pub fn sees(&self, tenant: &str) -> bool {
        *self.tenant == *tenant || self.scopes.has(Scope::Operator)
    }

    pub fn needs_any(&self, wanted: Scopes) -> Result<(), Denied> {
        match self.scopes.has_any(wanted) {
            true => Ok(()),
            false => Err(Denied::Scope { needs: wanted }),
        }
    }

    pub fn may_use(&self, model: &str) -> Result<(), Denied> {
        let fits = |allowed: &String| match allowed.strip_suffix('*') {
            Some(beginning) => model.starts_with(beginning),
            None => model == allowed,
        };
        if self.models.is_empty() || self.models.iter().any(fits) {
            return Ok(());
        }
        Err(Denied::Model { model: model.chars().take(100).collect() })
    }

    /// Whether there are models that it may not use.
    #[must_use]
    pub fn is_held_to_models(&self) -> bool {
        !self.models.is_empty()
    }

    pub(crate) fn may_come_from(&self, peer: IpAddr) -> Result<(), Denied> {
        let welcome = !self.shut
            && (self.networks.is_empty()
                || self.networks.iter().any(|network| network.contains(peer)));
        if welcome { Ok(()) } else { Err(Denied::Address) }
    }
}
