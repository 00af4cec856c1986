//! The port of idempotency keys: what was answered.

use agentry_core::Timestamp;
use agentry_core::idempotency::{ANSWER_BYTES_MAX, Begin, Begun, Idempotency, Ticket};
use agentry_core::store::Error;
use async_trait::async_trait;
use bytes::Bytes;

use super::Sealed;
use super::keyring::{Keyring, SEAL_BYTES, Safe};

const ANSWER: &str = "answer";

impl Keyring {
    fn answered(&self, tenant: &str, key: &str) -> Result<Safe<'_>, Error> {
        self.safe(format!("answer\0{tenant}\0{key}").into_bytes())
    }
}

#[async_trait]
impl<S: Idempotency + ?Sized> Idempotency for Sealed<S> {
    async fn begin(&self, begin: Begin) -> Result<Begun, Error> {
        let (tenant, key) = (begin.tenant.clone(), begin.key.clone());
        Ok(match self.inner.begin(begin).await? {
            Begun::Replay(sealed) => {
                Begun::Replay(self.keys.answered(&tenant, &key)?.bytes_of(ANSWER, sealed)?)
            }
            other @ (Begun::New(_) | Begun::InProgress | Begun::NotKept | Begun::Conflict) => other,
        })
    }

    /// What would be too large once it is sealed is not sealed: the store says so.
    async fn finish(&self, ticket: &Ticket, answer: Bytes) -> Result<bool, Error> {
        if answer.len() + SEAL_BYTES > ANSWER_BYTES_MAX {
            return self.inner.finish(ticket, Bytes::from(vec![0; ANSWER_BYTES_MAX + 1])).await;
        }
        let safe = self.keys.answered(&ticket.tenant, &ticket.key)?;
        self.inner.finish(ticket, safe.bytes(ANSWER, &answer)?).await
    }

    async fn abandon(&self, ticket: &Ticket) -> Result<(), Error> {
        self.inner.abandon(ticket).await
    }

    async fn forget_expired(&self, now: Timestamp) -> Result<u64, Error> {
        self.inner.forget_expired(now).await
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error> {
        self.inner.forget_user(tenant, user).await
    }
}
