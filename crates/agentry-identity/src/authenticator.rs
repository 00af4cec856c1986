//! From what a request presents to who that is.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use agentry_core::Timestamp;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::attempts::Attempts;
use crate::secret::{digest, is_mistyped};
use crate::token::{self, Bad, Issuer, Tokens};
use crate::{Caller, Denied, KeyRing};

/// Asked by every request. With no key and no issuer it lets in whoever comes from this machine.
pub struct Authenticator {
    keys: Option<Arc<KeyRing>>,
    tokens: Tokens,
    attempts: Attempts,
    anonymous: Arc<Caller>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Refused secrets and tokens that an address may present in a minute.
    pub failures_per_minute: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { failures_per_minute: 20 }
    }
}

/// Beyond this nothing is looked at.
const CREDENTIAL_BYTES_MAX: usize = 16 * 1024;
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");

impl Authenticator {
    /// For an instance without keys: this machine only.
    #[must_use]
    pub fn open() -> Self {
        Self {
            keys: None,
            tokens: Tokens::new(Vec::new()),
            attempts: Attempts::new(Settings::default().failures_per_minute),
            anonymous: Arc::new(Caller::anonymous()),
        }
    }

    #[must_use]
    pub fn new(keys: Arc<KeyRing>, issuers: Vec<Issuer>, settings: Settings) -> Self {
        Self {
            keys: Some(keys),
            tokens: Tokens::new(issuers),
            attempts: Attempts::new(settings.failures_per_minute),
            ..Self::open()
        }
    }

    /// Whether everybody on this machine may do everything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty() && self.keys.as_ref().is_none_or(|keys| keys.is_empty())
    }

    /// Waits for nothing, unless a token is signed with a key that is not known yet.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<Arc<Caller>, Denied> {
        if self.is_open() {
            return match peer.to_canonical().is_loopback() {
                true => Ok(Arc::clone(&self.anonymous)),
                false => Err(Denied::Missing),
            };
        }
        let credential = presented(headers)?;
        let caller = self.recognise(credential, peer, now).await;
        let caller = caller.map_err(|denied| self.count(denied, peer, now))?;
        caller.may_come_from(peer)?;
        Ok(caller)
    }

    /// Follows what issuers publish, until `shutdown`.
    pub async fn run(
        &self,
        clock: &dyn agentry_core::Clock,
        shutdown: tokio_util::sync::CancellationToken,
    ) {
        self.tokens.run(clock, shutdown).await;
    }

    async fn recognise(
        &self,
        credential: &[u8],
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<Arc<Caller>, Denied> {
        let digest = digest(credential);
        let key = self.keys.as_ref().and_then(|keys| keys.find(&digest, now));
        if let Some(found) = key {
            return found;
        }
        if self.tokens.is_empty() || !token::is_token(credential) {
            let reason = match is_mistyped(credential) {
                true => "it was cut or mistyped, for its checksum is wrong",
                false => "nobody has it",
            };
            return Err(Denied::Invalid { reason });
        }
        if let Some(caller) = self.tokens.remembered(&digest, now) {
            return Ok(caller);
        }
        // Signatures cost a thousand times more than look-ups.
        if let Some(after) = self.attempts.blocked(peer, now) {
            return Err(Denied::TooMany { after });
        }
        self.tokens.verify(credential, digest, now).await.map_err(|bad| match bad {
            Bad::Expired => Denied::Expired,
            Bad::Refused(reason) => Denied::Invalid { reason },
        })
    }

    /// Guesses are counted; what its owner knows to be over is none.
    fn count(&self, denied: Denied, peer: IpAddr, now: Timestamp) -> Denied {
        match denied {
            Denied::Invalid { .. } => match self.attempts.refuse(peer, now) {
                Some(after) => Denied::TooMany { after },
                None => denied,
            },
            Denied::Missing
            | Denied::Expired
            | Denied::Revoked
            | Denied::Scope { .. }
            | Denied::Model { .. }
            | Denied::Address
            | Denied::TooMany { .. } => denied,
        }
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("open", &self.is_open()).finish_non_exhaustive()
    }
}

/// `authorization: Bearer` counts first, then `x-api-key`, then `api-key`.
fn presented(headers: &HeaderMap) -> Result<&[u8], Denied> {
    let bearer = once(headers, AUTHORIZATION)?.map(|value| {
        let (scheme, credential) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| credential.trim_ascii())
    });
    let credential = match bearer {
        Some(None) => {
            let reason = "the authorization header is not `Bearer KEY`";
            return Err(Denied::Invalid { reason });
        }
        Some(Some(credential)) => Some(credential),
        None => {
            let plain = match once(headers, X_API_KEY)? {
                None => once(headers, API_KEY)?,
                given => given,
            };
            plain.map(|value| value.as_bytes().trim_ascii())
        }
    };
    match credential {
        None | Some(b"") => Err(Denied::Missing),
        Some(long) if long.len() > CREDENTIAL_BYTES_MAX => {
            Err(Denied::Invalid { reason: "it is longer than any key or token" })
        }
        Some(credential) => Ok(credential),
    }
}

/// Of two, a proxy before us may have looked at the other one.
fn once(headers: &HeaderMap, name: HeaderName) -> Result<Option<&HeaderValue>, Denied> {
    let mut given = headers.get_all(name).iter();
    let first = given.next();
    match given.next() {
        None => Ok(first),
        Some(_) => Err(Denied::Invalid { reason: "its header stands twice: send one" }),
    }
}

#[cfg(test)]
mod tests;
