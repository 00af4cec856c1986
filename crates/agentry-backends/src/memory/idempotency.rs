//! The model of a store of answered requests.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use agentry_core::Timestamp;
use agentry_core::idempotency::{ANSWER_BYTES_MAX, Begin, Begun, Idempotency, Ticket};
use agentry_core::store::Error;
use async_trait::async_trait;
use bytes::Bytes;

use super::MemoryStore;

pub(super) type Requests = HashMap<(String, String), Request>;

pub(super) struct Request {
    digest: [u8; 32],
    attempt: i64,
    expires: Timestamp,
    state: State,
}

enum State {
    Busy { until: Timestamp },
    Answered(Bytes),
    NotKept,
}

impl MemoryStore {
    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Idempotency for MemoryStore {
    async fn begin(&self, begin: Begin) -> Result<Begun, Error> {
        let Begin { tenant, key, request, now, busy_until, keep_until } = begin;
        let mut requests = self.requests();
        let name = (tenant, key);
        let mut attempt = now.as_micros();
        if let Some(known) = requests.get(&name)
            && known.expires > now
        {
            if known.digest != request {
                return Ok(Begun::Conflict);
            }
            match &known.state {
                State::Answered(answer) => return Ok(Begun::Replay(answer.clone())),
                State::NotKept => return Ok(Begun::NotKept),
                State::Busy { until } if *until > now => return Ok(Begun::InProgress),
                State::Busy { .. } => attempt = attempt.max(known.attempt + 1),
            }
        }
        let state = State::Busy { until: busy_until };
        let ticket = Ticket { tenant: name.0.clone(), key: name.1.clone(), attempt };
        requests.insert(name, Request { digest: request, attempt, expires: keep_until, state });
        Ok(Begun::New(ticket))
    }

    async fn finish(&self, ticket: &Ticket, answer: Bytes) -> Result<bool, Error> {
        let mut requests = self.requests();
        let Some(request) = requests.get_mut(&(ticket.tenant.clone(), ticket.key.clone())) else {
            return Ok(false);
        };
        if request.attempt != ticket.attempt || !matches!(request.state, State::Busy { .. }) {
            return Ok(false);
        }
        let fits = answer.len() <= ANSWER_BYTES_MAX;
        request.state = if fits { State::Answered(answer) } else { State::NotKept };
        Ok(true)
    }

    async fn abandon(&self, ticket: &Ticket) -> Result<(), Error> {
        let mut requests = self.requests();
        let name = (ticket.tenant.clone(), ticket.key.clone());
        let ours = requests.get(&name).is_some_and(|request| {
            request.attempt == ticket.attempt && matches!(request.state, State::Busy { .. })
        });
        if ours {
            requests.remove(&name);
        }
        Ok(())
    }

    async fn forget_expired(&self, now: Timestamp) -> Result<u64, Error> {
        let mut requests = self.requests();
        let before = requests.len();
        requests.retain(|_, request| request.expires > now);
        Ok((before - requests.len()) as u64)
    }
}
