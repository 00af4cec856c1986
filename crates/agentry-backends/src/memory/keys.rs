//! The model of a store of API keys.

use std::sync::{MutexGuard, PoisonError};

use agentry_core::keys::{Change, Changed, Key, KeyStore, Keys};
use agentry_core::store::{Error, Log as _};
use agentry_core::{Timestamp, audit};
use async_trait::async_trait;

use super::MemoryStore;

impl MemoryStore {
    fn held(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl KeyStore for MemoryStore {
    async fn version(&self) -> Result<u64, Error> {
        Ok(self.held().version)
    }

    async fn keys(&self) -> Result<Keys, Error> {
        Ok(self.held().clone())
    }

    async fn change(&self, change: Change, audit: Vec<audit::Entry>) -> Result<Changed, Error> {
        let mut held = self.held();
        let mut keys = held.keys.clone();
        let changed = apply(&mut keys, change)?;
        if let Changed::Done(_) = changed {
            self.world().log.note(&audit)?;
            *held = Keys { version: held.version + 1, keys };
        }
        Ok(changed)
    }

    async fn used(&self, uses: Vec<(String, Timestamp)>) -> Result<(), Error> {
        let mut held = self.held();
        for (id, at) in uses {
            for key in held.keys.iter_mut().filter(|key| key.id == id) {
                key.used = key.used.max(Some(at));
            }
        }
        Ok(())
    }

    async fn key_audit(&self, after: u64, max: usize) -> Result<Vec<audit::Record>, Error> {
        self.audit(after, max).await
    }
}

fn has_its_name(key: &Key) -> bool {
    key.revoked.is_none() && key.replaced_by.is_none()
}

fn apply(keys: &mut Vec<Key>, change: Change) -> Result<Changed, Error> {
    match change {
        Change::Create { key } => {
            let same = |known: &&Key| known.tenant == key.tenant && known.name == key.name;
            if keys.iter().filter(same).any(has_its_name) {
                return Ok(Changed::NameTaken);
            }
            add(keys, *key)?;
            Ok(Changed::Done(1))
        }
        Change::Revoke { tenant, id, at } => {
            let Some(key) = find(keys, &tenant, &id) else { return Ok(Changed::NotFound) };
            if key.revoked.is_some() {
                return Ok(Changed::Over);
            }
            key.revoked = Some(at);
            Ok(Changed::Done(1))
        }
        Change::Rotate { tenant, id, key, until } => {
            let Some(old) = find(keys, &tenant, &id) else { return Ok(Changed::NotFound) };
            if !has_its_name(old) {
                return Ok(Changed::Over);
            }
            old.replaced_by = Some(key.id.clone());
            old.expires = Some(old.expires.map_or(until, |end| end.min(until)));
            add(keys, *key)?;
            Ok(Changed::Done(2))
        }
        Change::ForgetUser { tenant, user, at } => {
            let theirs = |key: &&mut Key| key.tenant == tenant && key.user.as_ref() == Some(&user);
            let mut count = 0;
            for key in keys.iter_mut().filter(theirs) {
                key.user = None;
                key.terms.metadata.clear();
                key.revoked = key.revoked.or(Some(at));
                count += 1;
            }
            Ok(Changed::Done(count))
        }
    }
}

fn find<'a>(keys: &'a mut [Key], tenant: &str, id: &str) -> Option<&'a mut Key> {
    keys.iter_mut().find(|key| key.tenant == tenant && key.id == id)
}

fn add(keys: &mut Vec<Key>, key: Key) -> Result<(), Error> {
    if keys.iter().any(|known| known.id == key.id || known.digest == key.digest) {
        return Err(Error::Refused("there is a key with that id or secret".to_owned()));
    }
    keys.push(key);
    Ok(())
}
