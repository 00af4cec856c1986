//! The model of a store of answered requests.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use agentry_core::Timestamp;
use agentry_core::idempotency::{ANSWER_BYTES_MAX, Begin, Begun, Idempotency, Ticket};
use agentry_core::store::Error;
use async_trait::async_trait;
use bytes::Bytes;

use super::MemoryStore;

/// Of all answers together: here they are in memory, so older ones make room for newer ones.
const BYTES_MAX: usize = 64 << 20;

#[derive(Default)]
pub(super) struct Requests {
    known: HashMap<(String, String), Request>,
    /// Of all answers.
    bytes: usize,
}

struct Request {
    user: Option<String>,
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

impl Request {
    fn bytes(&self) -> usize {
        match &self.state {
            State::Answered(answer) => answer.len(),
            State::Busy { .. } | State::NotKept => 0,
        }
    }
}

impl Requests {
    fn insert(&mut self, name: (String, String), request: Request) {
        let before = self.known.insert(name, request);
        self.bytes -= before.map_or(0, |before| before.bytes());
    }

    /// What is no longer kept was paid for all the same.
    fn make_room(&mut self) {
        while self.bytes > BYTES_MAX {
            let answered = self.known.values_mut().filter(|request| request.bytes() > 0);
            let Some(oldest) = answered.min_by_key(|request| request.attempt) else { return };
            self.bytes -= oldest.bytes();
            oldest.state = State::NotKept;
        }
    }
}

impl MemoryStore {
    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Idempotency for MemoryStore {
    async fn begin(&self, begin: Begin) -> Result<Begun, Error> {
        let Begin { tenant, key, user, request, now, busy_until, keep_until } = begin;
        let mut requests = self.requests();
        let name = (tenant, key);
        let mut attempt = now.as_micros();
        if let Some(known) = requests.known.get(&name)
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
        let (digest, expires) = (request, keep_until);
        requests.insert(name, Request { user, digest, attempt, expires, state });
        Ok(Begun::New(ticket))
    }

    async fn finish(&self, ticket: &Ticket, answer: Bytes) -> Result<bool, Error> {
        let mut requests = self.requests();
        let name = (ticket.tenant.clone(), ticket.key.clone());
        let Some(request) = requests.known.get_mut(&name) else { return Ok(false) };
        if request.attempt != ticket.attempt || !matches!(request.state, State::Busy { .. }) {
            return Ok(false);
        }
        let fits = answer.len() <= ANSWER_BYTES_MAX;
        request.state = if fits { State::Answered(answer) } else { State::NotKept };
        requests.bytes += request.bytes();
        requests.make_room();
        Ok(true)
    }

    async fn abandon(&self, ticket: &Ticket) -> Result<(), Error> {
        let mut requests = self.requests();
        let name = (ticket.tenant.clone(), ticket.key.clone());
        let ours = requests.known.get(&name).is_some_and(|request| {
            request.attempt == ticket.attempt && matches!(request.state, State::Busy { .. })
        });
        if ours {
            requests.known.remove(&name);
        }
        Ok(())
    }

    async fn forget_expired(&self, now: Timestamp) -> Result<u64, Error> {
        let mut requests = self.requests();
        let before = requests.known.len();
        requests.known.retain(|_, request| request.expires > now);
        requests.bytes = requests.known.values().map(Request::bytes).sum();
        Ok((before - requests.known.len()) as u64)
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error> {
        let mut requests = self.requests();
        let before = requests.known.len();
        requests
            .known
            .retain(|(of, _), request| of != tenant || request.user.as_deref() != Some(user));
        requests.bytes = requests.known.values().map(Request::bytes).sum();
        Ok((before - requests.known.len()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn old_answers_make_room_and_are_not_paid_for_again() {
        let store = MemoryStore::new();
        let begin = |number: u32| Begin {
            tenant: "main".to_owned(),
            key: format!("k{number}"),
            user: None,
            request: [7; 32],
            now: Timestamp::from_micros(i64::from(number)),
            busy_until: Timestamp::from_seconds(10),
            keep_until: Timestamp::from_seconds(100),
        };
        let answer = Bytes::from(vec![b'x'; ANSWER_BYTES_MAX]);
        for number in 0..=16 {
            let begun = store.begin(begin(number)).await.unwrap();
            let Begun::New(ticket) = begun else { panic!("it is new: {begun:?}") };
            assert!(store.finish(&ticket, answer.clone()).await.unwrap());
        }
        assert_eq!(store.begin(begin(0)).await.unwrap(), Begun::NotKept);
        assert!(store.begin(begin(1)).await.unwrap() == Begun::Replay(answer));
    }
}
