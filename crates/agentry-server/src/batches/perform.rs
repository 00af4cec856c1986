//! Makes the calls of batches, as if their callers had sent them, but each with a key of its own: what was paid for once
//! is not paid for again.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::Clock;
use agentry_core::batches::{Answer, Claimed};
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

use crate::idempotent::{Asking, Once};
use crate::question::{Answers, Endpoint, Question};
use crate::refusal::Because;
use crate::{Callers, Refusal};

/// Answers the items of batches through the gateway.
pub struct BatchCalls {
    answers: Answers,
    once: Once,
    callers: Callers,
}

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
        let callers = Callers::new(keys, Arc::clone(&clock));
        Self { answers: Answers { gateway, clock }, once, callers }
    }

    async fn answer(&self, item: &Claimed) -> Result<Response, Refusal> {
        let Claimed { lease, owner, url, body, tries: _ } = item;
        let endpoint = Endpoint::at(url).ok_or_else(|| {
            Refusal::bad_request("batch_invalid", "this version has no such endpoint")
        })?;
        let question = Question::read(endpoint, body.clone())?;
        let caller = self.callers.caller(owner, question.model())?;
        let call_id = format!("{}-{}", lease.batch, lease.number);
        let mut cx = CallContext::of(caller, call_id, endpoint.label());
        cx.priority = Priority::Low;
        let asking = Asking {
            tenant: owner.tenant.clone(),
            user: owner.user.clone(),
            key: format!("batch:{}:{}", lease.batch, lease.number),
            request: endpoint.digest(body),
            timeout: self.answers.timeout(question.model()),
        };
        let answers = self.answers.clone();
        let call = |complete| async move { answers.answer(&cx, question, Some(complete)).await };
        self.once.answer(asking, call).await
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
