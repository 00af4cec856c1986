//! Makes the calls of batches, as if their callers had sent them, but each with a key of its own: what was paid for once
//! is not paid for again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentry_core::Clock;
use agentry_core::batches::{Answer, Claimed, Owner};
use agentry_core::idempotency::Idempotency;
use agentry_core::keys::Priority;
use agentry_core::model::CallContext;
use agentry_gateway::Gateway;
use agentry_gateway::batches::{Perform, Performed};
use agentry_identity::KeyRing;
use async_trait::async_trait;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::header::RETRY_AFTER;
use http_body_util::BodyExt as _;
use tokio_util::task::TaskTracker;

use crate::Refusal;
use crate::idempotent::{Asking, Once};
use crate::question::{Answers, Endpoint, Question};
use crate::refusal::Because;

/// Answers the items of batches through the gateway.
pub struct BatchCalls {
    answers: Answers,
    once: Once,
    keys: Option<Arc<KeyRing>>,
    /// Of owners that have no key, by tenant and id: limits know callers by where they are.
    callers: Mutex<HashMap<(String, String), Arc<agentry_core::Caller>>>,
}

/// More are forgotten together.
const CALLERS_MAX: usize = 1_000;

impl BatchCalls {
    /// `requests` keeps answers until they are stored with their batch; `keys` says what owners may do now.
    #[must_use]
    pub fn new(
        gateway: Arc<Gateway>,
        clock: Arc<dyn Clock>,
        requests: Arc<dyn Idempotency>,
        keys: Option<Arc<KeyRing>>,
    ) -> Self {
        let once = Once { store: requests, clock: Arc::clone(&clock), tracker: TaskTracker::new() };
        Self { answers: Answers { gateway, clock }, once, keys, callers: Mutex::default() }
    }

    async fn answer(&self, item: &Claimed) -> Result<Response, Refusal> {
        let Claimed { lease, owner, url, body, tries: _ } = item;
        let endpoint = Endpoint::at(url).ok_or_else(|| {
            Refusal::bad_request("batch_invalid", "this version has no such endpoint")
        })?;
        let question = Question::read(endpoint, body.clone())?;
        let caller = self.caller(owner, question.model())?;
        let call_id = format!("{}-{}", lease.batch, lease.number);
        let mut cx = CallContext::of(caller, call_id, endpoint.label());
        cx.priority = Priority::Low;
        let asking = Asking {
            tenant: owner.tenant.clone(),
            key: format!("batch:{}:{}", lease.batch, lease.number),
            request: endpoint.digest(body),
            timeout: self.answers.timeout(question.model()),
        };
        let answers = self.answers.clone();
        let call = |complete| async move { answers.answer(&cx, question, Some(complete)).await };
        self.once.answer(asking, call).await
    }

    /// A key counts as it is now; an owner without one as it was.
    fn caller(&self, owner: &Owner, model: &str) -> Result<Arc<agentry_core::Caller>, Refusal> {
        let now = self.answers.clock.now();
        let known = self.keys.as_ref().and_then(|keys| keys.caller(&owner.key_id, now));
        if let Some(known) = known {
            let caller = known?;
            caller.may_use(model)?;
            return Ok(caller.of_calls());
        }
        let caller = owner.caller();
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (owner.tenant.clone(), owner.key_id.clone());
        if let Some(same) = callers.get(&name).filter(|known| ***known == caller) {
            return Ok(Arc::clone(same));
        }
        if callers.len() >= CALLERS_MAX {
            callers.clear();
        }
        let caller = Arc::new(caller);
        callers.insert(name, Arc::clone(&caller));
        Ok(caller)
    }
}

#[async_trait]
impl Perform for BatchCalls {
    async fn perform(&self, item: &Claimed) -> Performed {
        let answered = self.answer(item).await;
        let call_id = format!("{}-{}", item.lease.batch, item.lease.number);
        let dialect = Endpoint::at(&item.url).unwrap_or(Endpoint::Embeddings).dialect();
        let refused = |refusal: Refusal| refusal.into_response_in(dialect, &call_id);
        let response = answered.unwrap_or_else(refused);
        let (parts, body) = response.into_parts();
        let seconds = parts.headers.get(RETRY_AFTER).and_then(|after| after.to_str().ok());
        let retry_after = seconds.and_then(|after| after.parse().ok()).map(Duration::from_secs);
        let code = parts.extensions.get::<Because>().map(|because| because.0.to_string());
        let (status, body) = match body.collect().await {
            Ok(body) => (parts.status, body.to_bytes()),
            // Answers that are not streamed are in memory already.
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Bytes::from_static(b"null")),
        };
        Performed { answer: Answer { status: status.as_u16(), body }, code, retry_after }
    }
}
