//! What a caller asks of a model, on any of the faces that models are called through: read, and answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentry_core::Clock;
use agentry_core::chat::Head;
use agentry_core::embed::EmbeddingRequest;
use agentry_core::model::CallContext;
use agentry_core::relay::Dialect;
use agentry_gateway::{Embedded, Gateway, Wire};
use agentry_wire::{Asked, embeddings, head};
use axum::response::Response;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::{Refusal, answering, body};

/// A path under which models are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Chat(Dialect),
    Embeddings,
}

impl Endpoint {
    pub(crate) const ALL: [Self; 4] = [
        Self::Chat(Dialect::ChatCompletions),
        Self::Chat(Dialect::Responses),
        Self::Chat(Dialect::Messages),
        Self::Embeddings,
    ];

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Chat(Dialect::ChatCompletions) => "/v1/chat/completions",
            Self::Chat(Dialect::Responses) => "/v1/responses",
            Self::Chat(Dialect::Messages) => "/v1/messages",
            Self::Embeddings => "/v1/embeddings",
        }
    }

    pub(crate) fn at(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.path() == path)
    }

    /// As metrics and usage name it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Chat(dialect) => dialect.as_str(),
            Self::Embeddings => "embeddings",
        }
    }

    /// In which callers read what is wrong.
    pub(crate) fn dialect(self) -> Dialect {
        match self {
            Self::Chat(dialect) => dialect,
            Self::Embeddings => Dialect::ChatCompletions,
        }
    }

    /// Of everything that makes a request this one.
    pub(crate) fn digest(self, body: &[u8]) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.path());
        digest.update([0]);
        digest.update(body);
        digest.finalize().into()
    }
}

/// A request that can be read.
pub(crate) enum Question {
    Chat { dialect: Dialect, head: Box<head::Head>, body: Bytes },
    Embed(Box<EmbeddingRequest>),
}

impl Question {
    pub(crate) fn read(endpoint: Endpoint, body: Bytes) -> Result<Self, Refusal> {
        match endpoint {
            Endpoint::Chat(dialect) => {
                let head = head::Head::read(dialect, &body);
                let head = head.map_err(|refused| body::no_request(&body, refused))?;
                Ok(Self::Chat { dialect, head: Box::new(head), body })
            }
            Endpoint::Embeddings => {
                let request = embeddings::request(body::parse(&body)?).map_err(body::parameter)?;
                Ok(Self::Embed(Box::new(request)))
            }
        }
    }

    pub(crate) fn model(&self) -> &str {
        match self {
            Self::Chat { head, .. } => &head.model,
            Self::Embed(request) => &request.model,
        }
    }

    pub(crate) fn is_streamed(&self) -> bool {
        match self {
            Self::Chat { head, .. } => head.stream,
            Self::Embed(_) => false,
        }
    }
}

/// Told when an answer has come to its end, and not merely to an end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Complete(Arc<AtomicBool>);

impl Complete {
    pub(crate) fn mark(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_marked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Answers questions.
#[derive(Clone)]
pub(crate) struct Answers {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Answers {
    /// `complete` is for whoever must know whether all of it was answered.
    pub(crate) async fn answer(
        &self,
        cx: &CallContext,
        question: Question,
        complete: Option<Complete>,
    ) -> Response {
        match question {
            Question::Chat { dialect, head, body } => {
                let fallback = self.fallback(cx, dialect, &head.model);
                let wants_usage = head.wants_usage;
                let asked = Asked { fallback, body: body.clone(), wants_usage };
                match self.gateway.call(cx, Wire::new(dialect, *head, body)).await {
                    Ok(outcome) => {
                        let mut response = answering::response(outcome, dialect, &asked, complete);
                        let standings = self.gateway.standings(&cx.caller);
                        answering::tell_limits(response.headers_mut(), standings);
                        response
                    }
                    Err(error) => answering::refuse(&self.gateway, cx, &error, dialect),
                }
            }
            Question::Embed(request) => self.embed(cx, *request, complete).await,
        }
    }

    async fn embed(
        &self,
        cx: &CallContext,
        request: EmbeddingRequest,
        complete: Option<Complete>,
    ) -> Response {
        let encoding = request.encoding_format.clone();
        match self.gateway.embed(cx, request).await {
            Ok(Embedded { response, target, attempts, cost }) => {
                let vectors = embeddings::whole(&response, encoding.as_deref());
                let mut answer = answering::json_bytes(vectors.into());
                answering::attribute(answer.headers_mut(), &target, (attempts, cost));
                let standings = self.gateway.standings(&cx.caller);
                answering::tell_limits(answer.headers_mut(), standings);
                if let Some(complete) = complete {
                    complete.mark();
                }
                answer
            }
            Err(error) => {
                answering::refuse(&self.gateway, cx, &error, Endpoint::Embeddings.dialect())
            }
        }
    }

    /// Until when a call for `model` is over, whatever happens.
    pub(crate) fn timeout(&self, model: &str) -> Duration {
        self.gateway.timeout(model).unwrap_or_default()
    }

    /// Stands in for what an upstream leaves out.
    fn fallback(&self, cx: &CallContext, dialect: Dialect, model: &str) -> Head {
        let prefix = match dialect {
            Dialect::ChatCompletions => "chatcmpl-",
            Dialect::Responses => "resp_",
            Dialect::Messages => "msg_",
        };
        Head {
            id: format!("{prefix}{}", cx.call_id),
            model: model.to_owned(),
            created: self.clock.now().as_millis() / 1000,
            ..Head::default()
        }
    }
}
