//! One issuer: which of its tokens are believed, and what they make of whoever presents them.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::keys::Terms;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::jwks::{Algorithm, Jwks};
use super::parts::Parts;
use super::{Bad, Claims};
use crate::caller::Person;
use crate::wish::{is_name, is_user};
use crate::{Caller, Kind, Pseudonyms, Scopes};

/// Where an issuer publishes its keys, as a JSON Web Key Set.
#[async_trait]
pub trait KeySource: Send + Sync {
    async fn fetch(&self) -> Result<Bytes, String>;
}

/// What is demanded of an issuer's tokens, and what they give.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// As logs and the ids of callers name it.
    pub name: String,
    /// `iss` must be exactly this.
    pub issuer: String,
    /// One of these must be in `aud`.
    pub audiences: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    /// How far clocks may be apart; a minute at most.
    pub leeway: Duration,
    pub tenant: TenantOf,
    pub claimed: Claimed,
    /// The most that a token can give, and limits that hold for each of its subjects.
    pub terms: Terms,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantOf {
    Everyone(String),
    /// The claim that says it.
    Claim(String),
}

/// Names of claims, or paths to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    pub user: String,
    pub team: Option<String>,
    /// Which of the scopes in the terms a token gives. Without it, all of them.
    pub scopes: Option<String>,
}

impl Default for Claimed {
    fn default() -> Self {
        Self { user: "sub".to_owned(), team: None, scopes: None }
    }
}

pub struct Issuer {
    pub(super) policy: Policy,
    source: Arc<dyn KeySource>,
    pseudonyms: Option<Arc<Pseudonyms>>,
    keys: RwLock<Arc<Jwks>>,
    /// When the keys were last asked for. Who holds it fetches them.
    asked: Mutex<Option<Timestamp>>,
}

const LEEWAY_MAX: Duration = Duration::from_secs(60);
/// Unknown keys do not make us ask more often.
const ASK_AGAIN: Duration = Duration::from_secs(60);
const FETCH: Duration = Duration::from_secs(5);

impl Issuer {
    #[must_use]
    pub fn new(policy: Policy, source: Arc<dyn KeySource>) -> Self {
        let leeway = policy.leeway.min(LEEWAY_MAX);
        let policy = Policy { leeway, ..policy };
        Self { policy, source, pseudonyms: None, keys: RwLock::default(), asked: Mutex::default() }
    }

    #[must_use]
    pub fn with_pseudonyms(mut self, pseudonyms: Arc<Pseudonyms>) -> Self {
        self.pseudonyms = Some(pseudonyms);
        self
    }

    pub(super) async fn verify(&self, parts: &Parts<'_>, now: Timestamp) -> Result<Caller, Bad> {
        let algorithm = parts.header.algorithm.parse().ok();
        let algorithm = algorithm.filter(|known| self.policy.algorithms.contains(known));
        let algorithm = algorithm.ok_or(Bad::Refused("its algorithm is not accepted"))?;
        // What needs no signature to be refused is refused first.
        self.check(&parts.claims, now)?;
        let id = parts.header.key_id.as_deref();
        let mut keys = self.keys();
        if !keys.knows(id) {
            self.ask_again(now).await;
            keys = self.keys();
        }
        if !keys.knows(id) {
            return Err(Bad::Refused("the key that it is signed with is not known"));
        }
        if !keys.verifies((algorithm, id), parts.signed, &parts.signature) {
            return Err(Bad::Refused("its signature is wrong"));
        }
        self.caller(&parts.claims)
    }

    fn check(&self, claims: &Claims, now: Timestamp) -> Result<(), Bad> {
        let Policy { audiences, leeway, .. } = &self.policy;
        let moment = |name| {
            claims
                .moment(name)
                .map_err(|()| Bad::Refused("one of its times is not a number of seconds"))
        };
        let expires = moment("exp")?.ok_or(Bad::Refused("it does not say when it expires"))?;
        if expires.plus(*leeway) <= now {
            return Err(Bad::Expired);
        }
        if moment("nbf")?.is_some_and(|from| from > now.plus(*leeway)) {
            return Err(Bad::Refused("it is not valid yet"));
        }
        if moment("iat")?.is_some_and(|made| made > now.plus(*leeway)) {
            return Err(Bad::Refused("it was made in the future"));
        }
        let heard = match claims.get("aud") {
            Some(serde_json::Value::String(audience)) => vec![audience.as_str()],
            Some(serde_json::Value::Array(_)) => claims.words("aud"),
            _ => Vec::new(),
        };
        if !audiences.iter().any(|ours| heard.contains(&ours.as_str())) {
            return Err(Bad::Refused("it is meant for somebody else"));
        }
        Ok(())
    }

    fn caller(&self, claims: &Claims) -> Result<Caller, Bad> {
        let Policy { name, tenant, claimed, terms, .. } = &self.policy;
        let tenant = match tenant {
            TenantOf::Everyone(tenant) => tenant.as_str(),
            TenantOf::Claim(claim) => claims
                .text(claim)
                .filter(|tenant| is_name(tenant))
                .ok_or(Bad::Refused("it names no tenant"))?,
        };
        let user = claims.text(&claimed.user).filter(|user| is_user(user));
        let user = user.ok_or(Bad::Refused("it does not say whose it is"))?;
        let user = match &self.pseudonyms {
            Some(pseudonyms) => pseudonyms.of(tenant, user),
            None => user.to_owned(),
        };
        let team = claimed.team.as_deref().and_then(|claim| claims.text(claim));
        let person = Person {
            kind: Kind::Token,
            key_id: format!("token:{name}/{user}").into(),
            // A slash stands in no name of a key.
            name: format!("{name}/{user}").into(),
            tenant: tenant.into(),
            team: team.filter(|team| is_name(team)).map(Into::into),
            user: Some(user.as_str().into()),
        };
        let mut caller = Caller::under(person, terms);
        if let Some(claim) = &claimed.scopes {
            caller.scopes = caller.scopes.within(Scopes::known(claims.words(claim)));
        }
        Ok(caller)
    }

    /// Unless somebody did a moment ago.
    async fn ask_again(&self, now: Timestamp) {
        let mut asked = self.asked.lock().await;
        let lately = asked.is_some_and(|at| at <= now && now.since(at) < ASK_AGAIN);
        if !lately {
            *asked = Some(now);
            if let Err(problem) = self.fetch().await {
                let issuer = self.policy.name.as_str();
                tracing::warn!(issuer, %problem, "the keys of an issuer cannot be read");
            }
        }
    }

    /// Says how many keys there are.
    pub(super) async fn renew(&self, now: Timestamp) -> Result<usize, String> {
        let mut asked = self.asked.lock().await;
        *asked = Some(now);
        self.fetch().await
    }

    async fn fetch(&self) -> Result<usize, String> {
        let fetched = timeout(FETCH, self.source.fetch()).await;
        let json = fetched.map_err(|_| format!("no answer within {} s", FETCH.as_secs()))??;
        let keys = Jwks::read(&json)?;
        let count = keys.len();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(count)
    }

    fn keys(&self) -> Arc<Jwks> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}
