//! Names for people that say who it is only to those who know the person and the installation's key.

use std::fmt;

use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};

use crate::secret::base62;

/// Turns people's ids into names that are always the same and lead nowhere.
pub struct Pseudonyms(hmac::Key);

impl Pseudonyms {
    #[must_use]
    pub fn new(key: &SecretString) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose_secret().as_bytes()))
    }

    /// Another one in every tenant.
    #[must_use]
    pub fn of(&self, tenant: &str, user: &str) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(tenant.as_bytes());
        context.update(&[0]);
        context.update(user.as_bytes());
        let tag = context.sign();
        format!("u_{}", base62(tag.as_ref().get(..16).unwrap_or_default(), 22))
    }
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_depends_on_the_person_the_tenant_and_the_key() {
        let pseudonyms = Pseudonyms::new(&"one".into());
        let name = pseudonyms.of("main", "alice@example.com");
        assert_eq!(name, pseudonyms.of("main", "alice@example.com"));
        assert_eq!(name.len(), 24);
        assert!(!name.contains("alice"));
        assert_ne!(name, pseudonyms.of("other", "alice@example.com"));
        assert_ne!(name, pseudonyms.of("main", "bob@example.com"));
        assert_ne!(name, Pseudonyms::new(&"two".into()).of("main", "alice@example.com"));
        assert_ne!(pseudonyms.of("a", "bc"), pseudonyms.of("ab", "c"));
    }
}
