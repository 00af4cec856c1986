//! Acts on keys, each with its entry in the audit log. The HTTP face and the command line both go through here.

use std::time::Duration;

use agentry_core::keys::{Change, Changed, Key, Terms};
use agentry_core::{Code, Failure, Fault, Retry, Timestamp, audit, store};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};

use crate::keyring::CONFIGURED;
use crate::secret::base62;
use crate::{BadWish, KeyRing, Scope, Scopes, Secret, Wish};

/// Who acts, and how far that reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// As the audit log names it.
    pub name: String,
    pub tenant: String,
    /// Whether every tenant is his affair.
    pub everywhere: bool,
}

/// A new key. Its secret is known nowhere else.
#[derive(Debug, Clone)]
pub struct Issued {
    pub key: Key,
    pub secret: Secret,
}

/// Why an act on keys was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Wish(#[from] BadWish),
    #[error("only an operator may do that in another tenant, or give the scope `operator`")]
    NotYours,
    #[error(
        "the tenant `{tenant}` has a key `{name}` already: revoke or rotate it, or take another name"
    )]
    NameTaken { tenant: String, name: String },
    #[error("there is no key `{0}`: `agentry keys list` shows what there is")]
    NotFound(String),
    #[error("the key `{0}` is revoked or replaced already")]
    Over(String),
    #[error("the key `{0}` comes from the configuration: change it there")]
    Configured(String),
    #[error("the system gives no random numbers")]
    NoRandom,
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Wish(_) => Code("key_request_invalid"),
            Self::NotYours => Code("scope_missing"),
            Self::NameTaken { .. } => Code("key_name_taken"),
            Self::NotFound(_) => Code("key_not_found"),
            Self::Over(_) => Code("key_over"),
            Self::Configured(_) => Code("key_configured"),
            Self::NoRandom => Code("internal"),
            Self::Store(error) => error.code(),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Wish(_)
            | Self::NotYours
            | Self::NameTaken { .. }
            | Self::NotFound(_)
            | Self::Over(_)
            | Self::Configured(_) => Fault::Caller,
            Self::NoRandom => Fault::Ours,
            Self::Store(error) => error.fault(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Store(error) => error.retry(),
            Self::Wish(_)
            | Self::NotYours
            | Self::NameTaken { .. }
            | Self::NotFound(_)
            | Self::Over(_)
            | Self::Configured(_)
            | Self::NoRandom => Retry::Never,
        }
    }
}

impl Actor {
    fn sees(&self, tenant: &str) -> bool {
        self.everywhere || self.tenant == tenant
    }

    /// An entry about something of `tenant`.
    #[must_use]
    pub fn entry(&self, at: Timestamp, action: &str, subject: &str, detail: Value) -> audit::Entry {
        audit::Entry {
            at,
            actor: self.name.clone(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            detail,
        }
    }
}

pub async fn create(
    ring: &KeyRing,
    actor: &Actor,
    wish: &Wish,
    now: Timestamp,
) -> Result<Issued, Error> {
    let terms = wish.terms(now)?;
    let tenant = wish.tenant.clone().unwrap_or_else(|| actor.tenant.clone());
    if !actor.sees(&tenant) || (reaches_everywhere(&terms) && !actor.everywhere) {
        return Err(Error::NotYours);
    }
    let taken =
        |key: &Key| key.id.starts_with(CONFIGURED) && key.tenant == tenant && key.name == wish.name;
    let name_taken = || Error::NameTaken { tenant: tenant.clone(), name: wish.name.clone() };
    if ring.keys().iter().any(taken) {
        return Err(name_taken());
    }
    let secret = secret()?;
    let key = Key {
        id: new_id()?,
        digest: secret.digest(),
        hint: secret.hint(),
        tenant: tenant.clone(),
        name: wish.name.clone(),
        team: wish.team.clone(),
        user: wish.user.clone(),
        terms,
        created: now,
        expires: wish.expires,
        revoked: None,
        replaced_by: None,
        used: None,
    };
    let detail = json!({
        "tenant": tenant,
        "name": key.name,
        "scopes": key.terms.scopes,
        "expires": key.expires,
    });
    let entry = actor.entry(now, "key.created", &key.id, detail);
    match ring.change(Change::Create { key: Box::new(key.clone()) }, vec![entry]).await? {
        Changed::Done(_) => Ok(Issued { key, secret }),
        Changed::NameTaken | Changed::NotFound | Changed::Over => Err(name_taken()),
    }
}

/// `which` is an id, or the name of a key that is in use.
pub async fn revoke(
    ring: &KeyRing,
    actor: &Actor,
    which: &str,
    now: Timestamp,
) -> Result<Key, Error> {
    let key = find(ring, actor, which)?;
    let detail = json!({ "tenant": key.tenant, "name": key.name });
    let entry = actor.entry(now, "key.revoked", &key.id, detail);
    let change = Change::Revoke { tenant: key.tenant.clone(), id: key.id.clone(), at: now };
    match ring.change(change, vec![entry]).await? {
        Changed::Done(_) => Ok(Key { revoked: Some(now), ..key }),
        Changed::Over => Err(Error::Over(which.to_owned())),
        Changed::NotFound | Changed::NameTaken => Err(Error::NotFound(which.to_owned())),
    }
}

/// A new secret under the same name and terms. The old one is good for `overlap` more.
pub async fn rotate(
    ring: &KeyRing,
    actor: &Actor,
    (which, overlap): (&str, Duration),
    now: Timestamp,
) -> Result<Issued, Error> {
    let old = find(ring, actor, which)?;
    if reaches_everywhere(&old.terms) && !actor.everywhere {
        return Err(Error::NotYours);
    }
    let secret = secret()?;
    let until = now.plus(overlap);
    let key = Key {
        id: new_id()?,
        digest: secret.digest(),
        hint: secret.hint(),
        created: now,
        // As long a life as the old one had.
        expires: old.expires.map(|end| now.plus(end.since(old.created))),
        used: None,
        ..old.clone()
    };
    let detail = json!({ "tenant": old.tenant, "name": old.name, "by": key.id, "until": until });
    let entry = actor.entry(now, "key.rotated", &old.id, detail);
    let change = Change::Rotate {
        tenant: old.tenant.clone(),
        id: old.id.clone(),
        key: Box::new(key.clone()),
        until,
    };
    match ring.change(change, vec![entry]).await? {
        Changed::Done(_) => Ok(Issued { key, secret }),
        Changed::Over => Err(Error::Over(which.to_owned())),
        Changed::NotFound | Changed::NameTaken => Err(Error::NotFound(which.to_owned())),
    }
}

/// What the actor may see, those of the configuration first.
#[must_use]
pub fn list(ring: &KeyRing, actor: &Actor) -> Vec<Key> {
    ring.keys().into_iter().filter(|key| actor.sees(&key.tenant)).collect()
}

/// As the API and `--json` show it: never the digest.
#[must_use]
pub fn shown(key: &Key, now: Timestamp) -> Value {
    let status = match key {
        Key { revoked: Some(_), .. } => "revoked",
        Key { expires: Some(expires), .. } if *expires <= now => "expired",
        Key { replaced_by: Some(_), .. } => "replaced",
        Key { .. } => "active",
    };
    json!({
        "object": "api_key",
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "team": key.team,
        "user": key.user,
        "hint": format!("...{}", key.hint),
        "status": status,
        "terms": key.terms,
        "created": key.created,
        "expires": key.expires,
        "revoked": key.revoked,
        "replaced_by": key.replaced_by,
        "last_used": key.used,
    })
}

fn reaches_everywhere(terms: &Terms) -> bool {
    Scopes::known(&terms.scopes).has(Scope::Operator)
}

/// A key of a tenant that the actor does not see is not there.
fn find(ring: &KeyRing, actor: &Actor, which: &str) -> Result<Key, Error> {
    let keys = list(ring, actor);
    let named = |key: &&Key| {
        key.name == which
            && key.tenant == actor.tenant
            && key.revoked.is_none()
            && key.replaced_by.is_none()
    };
    let found = keys.iter().find(|key| key.id == which).or_else(|| keys.iter().find(named));
    match found {
        None => Err(Error::NotFound(which.chars().take(100).collect())),
        Some(key) if key.id.starts_with(CONFIGURED) => Err(Error::Configured(key.name.clone())),
        Some(key) => Ok(key.clone()),
    }
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES], Error> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::NoRandom)?;
    Ok(bytes)
}

fn secret() -> Result<Secret, Error> {
    random().map(Secret::of)
}

fn new_id() -> Result<String, Error> {
    Ok(format!("key_{}", base62(&random::<12>()?, 17)))
}

#[cfg(test)]
mod tests;
