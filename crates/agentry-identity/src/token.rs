//! Tokens (JWT) that others issue: whose they are is believed because of a signature, within what the operator allows.
//!
//! Only asymmetric algorithms: whoever may check a token must not be able to make one. What a token says about where its
//! keys are (`jku`, `x5u`, `jwk`) is not read.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use agentry_core::{Clock, Timestamp};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Caller;

mod claims;
mod issuer;
mod jwks;
mod parts;

pub use claims::Claims;
pub use issuer::{Claimed, Issuer, KeySource, Policy, TenantOf};
pub use jwks::{Algorithm, UnknownAlgorithm};

use parts::Parts;

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    Expired,
    Refused(&'static str),
}

/// How long a token is believed before its signature is checked again.
const BELIEVED: Duration = Duration::from_secs(60);
const REMEMBERED_MAX: usize = 10_000;
/// How often the issuers' keys are fetched, so that a withdrawn one stops.
const RENEW: Duration = Duration::from_secs(600);

/// Whether it has the form of a token.
pub(crate) fn is_token(credential: &[u8]) -> bool {
    credential.iter().filter(|byte| **byte == b'.').count() == 2
}

pub(crate) struct Tokens {
    issuers: Vec<Issuer>,
    /// By the digest of the whole token: two that begin alike are not the same.
    remembered: RwLock<HashMap<[u8; 32], Remembered>>,
}

struct Remembered {
    caller: Arc<Caller>,
    from: Timestamp,
    until: Timestamp,
}

impl Tokens {
    pub(crate) fn new(issuers: Vec<Issuer>) -> Self {
        Self { issuers, remembered: RwLock::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    pub(crate) fn remembered(&self, digest: &[u8; 32], now: Timestamp) -> Option<Arc<Caller>> {
        let remembered = self.remembered.read().unwrap_or_else(PoisonError::into_inner);
        let found = remembered.get(digest)?;
        (found.from <= now && now < found.until).then(|| Arc::clone(&found.caller))
    }

    pub(crate) async fn verify(
        &self,
        token: &[u8],
        digest: [u8; 32],
        now: Timestamp,
    ) -> Result<Arc<Caller>, Bad> {
        let parts = Parts::read(token)?;
        let issuer =
            parts.claims.text("iss").ok_or(Bad::Refused("it does not say who issued it"))?;
        let issuer = self.issuers.iter().find(|known| known.policy.issuer == issuer);
        let issuer = issuer.ok_or(Bad::Refused("its issuer is not known here"))?;
        let caller = Arc::new(issuer.verify(&parts, now).await?);
        let until = parts.claims.expires().map_or(now, |expires| expires.min(now.plus(BELIEVED)));
        if until > now {
            self.remember(digest, Remembered { caller: Arc::clone(&caller), from: now, until });
        }
        Ok(caller)
    }

    fn remember(&self, digest: [u8; 32], found: Remembered) {
        let mut remembered = self.remembered.write().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            let now = found.from;
            remembered.retain(|_, other| other.until > now);
            if remembered.len() >= REMEMBERED_MAX {
                remembered.clear();
            }
        }
        remembered.insert(digest, found);
    }

    pub(crate) async fn run(&self, clock: &dyn Clock, shutdown: CancellationToken) {
        let mut renew = interval(RENEW);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = renew.tick() => {}
            }
            for issuer in &self.issuers {
                let fetched = tokio::select! {
                    () = shutdown.cancelled() => return,
                    fetched = issuer.renew(clock.now()) => fetched,
                };
                let issuer = issuer.policy.name.as_str();
                match fetched {
                    Ok(keys) => info!(issuer, keys, "the keys of an issuer were read"),
                    Err(problem) => {
                        warn!(issuer, %problem, "the keys of an issuer cannot be read: those known stay in force");
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
