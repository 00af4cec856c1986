//! The port to everything that talks: a vendor, the gateway itself, a scripted answer.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::{Stream, StreamExt as _};

use crate::chat::{Assembly, ChatRequest, ChatResponse, Event};
use crate::keys::Priority;
use crate::meter::Meter;
use crate::relay::{Dialect, Raw, RawAnswer};
use crate::{Caller, Code, Failure, Fault, Retry, Trace};

/// For whom a call is made, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallContext {
    /// Follows the call through logs and spans.
    pub call_id: Arc<str>,
    pub caller: Arc<Caller>,
    /// The face it came through, as a metric label: `chat_completions`, `agent`.
    pub endpoint: &'static str,
    /// Monotonic: a wall clock that jumps cuts no call.
    pub deadline: Option<Instant>,
    /// Calls of one session share their budget, and go to one target where that helps.
    pub session: Option<Arc<str>>,
    /// The run that pays for it.
    pub run: Option<Arc<str>>,
    pub priority: Priority,
    pub caching: Caching,
    /// The call's own span, when calls are traced. Whoever is asked is told of it.
    pub trace: Option<Trace>,
    /// Hears what the call came to, when it is over.
    pub meter: Option<Meter>,
}

/// Whether an answer may come from, and go to, the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Caching {
    #[default]
    Allowed,
    Off,
}

impl CallContext {
    /// For somebody without a name.
    #[must_use]
    pub fn new(call_id: impl Into<Arc<str>>, endpoint: &'static str) -> Self {
        static ANONYMOUS: LazyLock<Arc<Caller>> =
            LazyLock::new(|| Arc::new(Caller::named("anonymous")));
        Self::of(Arc::clone(&ANONYMOUS), call_id, endpoint)
    }

    #[must_use]
    pub fn of(caller: Arc<Caller>, call_id: impl Into<Arc<str>>, endpoint: &'static str) -> Self {
        Self {
            call_id: call_id.into(),
            priority: caller.limits.priority,
            caller,
            endpoint,
            deadline: None,
            session: None,
            run: None,
            caching: Caching::Allowed,
            trace: None,
            meter: None,
        }
    }
}

/// What a model can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub tools: bool,
    pub images: bool,
    /// Follows a JSON Schema in `response_format`.
    pub json_schema: bool,
}

/// An answer as it arrives. It ends after [`Event::Done`] or after the first error.
pub type ChatStream = Pin<Box<dyn Stream<Item = Result<Event, ModelError>> + Send>>;

#[async_trait]
pub trait ChatModel: Send + Sync {
    fn capabilities(&self) -> Capabilities;

    /// Fails before the first event, or not at all: later failures are items. Dropping the stream cancels the call.
    async fn stream(
        &self,
        cx: &CallContext,
        request: ChatRequest,
    ) -> Result<ChatStream, ModelError>;

    /// The whole answer. A stream that ends before [`Event::Done`] is [`ModelError::Truncated`].
    async fn complete(
        &self,
        cx: &CallContext,
        request: ChatRequest,
    ) -> Result<ChatResponse, ModelError> {
        let stream = self.stream(cx, request).await?;
        collect(stream).await
    }

    /// Whether requests of `dialect` can be sent on as they are, with [`ChatModel::relay`].
    fn speaks(&self, dialect: Dialect) -> bool {
        let _ = dialect;
        false
    }

    /// Sends a request on as it is and hands its answer back as it comes. The contract is that of [`ChatModel::stream`].
    async fn relay(&self, cx: &CallContext, raw: Raw) -> Result<RawAnswer, ModelError> {
        let _ = cx;
        Err(ModelError::Internal { reason: format!("this model does not speak {}", raw.dialect) })
    }
}

/// Reads a stream to its end.
pub async fn collect(mut stream: ChatStream) -> Result<ChatResponse, ModelError> {
    let mut assembly = Assembly::default();
    while let Some(event) = stream.next().await {
        assembly.push(event?);
        if assembly.is_done() {
            return Ok(assembly.into_response());
        }
    }
    Err(ModelError::Truncated)
}

/// What a call was waiting for when its time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    Connect,
    FirstEvent,
    NextEvent,
    /// The call as a whole.
    End,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "a connection",
            Self::FirstEvent => "the first token",
            Self::NextEvent => "the next token",
            Self::End => "the end of the answer",
        })
    }
}

/// Why a model call failed. The text of an upstream is kept, for only it knows what was wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    #[error("the request is not acceptable: {message}")]
    Invalid {
        message: String,
        /// The parameter that the upstream names.
        param: Option<String>,
        /// The upstream's own code, such as `context_length_exceeded`.
        upstream_code: Option<String>,
    },
    #[error("there is no model `{model}`: {message}")]
    UnknownModel { model: String, message: String },
    #[error("the upstream refuses our credentials: {message}")]
    Unauthorized { message: String },
    #[error("the upstream's rate limit is reached: {message}")]
    RateLimited { message: String, after: Option<Duration> },
    #[error("the account at the upstream has no credit left: {message}")]
    QuotaExhausted { message: String },
    #[error("the upstream cannot answer now: {message}")]
    Unavailable { message: String, after: Option<Duration> },
    #[error("no answer in time: gave up waiting for {waiting} after {} ms", after.as_millis())]
    TimedOut { waiting: Waiting, after: Duration },
    /// Something was said already, then the upstream reported an error.
    #[error("the upstream broke off: {message}")]
    BrokeOff { message: String },
    /// The connection ended before the answer did.
    #[error("the answer was cut off before its end")]
    Truncated,
    #[error("the upstream's answer is unreadable: {reason}")]
    Malformed { reason: String },
    #[error("the gateway is at fault: {reason}")]
    Internal { reason: String },
}

impl Failure for ModelError {
    fn code(&self) -> Code {
        Code(match self {
            Self::Invalid { .. } => "model_request_invalid",
            Self::UnknownModel { .. } => "model_not_found",
            Self::Unauthorized { .. } => "model_unauthorized",
            Self::RateLimited { .. } => "model_rate_limited",
            Self::QuotaExhausted { .. } => "model_quota_exhausted",
            Self::Unavailable { .. } => "model_unavailable",
            Self::TimedOut { .. } => "model_timed_out",
            Self::BrokeOff { .. } => "model_broke_off",
            Self::Truncated => "model_truncated",
            Self::Malformed { .. } => "model_malformed",
            Self::Internal { .. } => "model_internal",
        })
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Invalid { .. } | Self::UnknownModel { .. } => Fault::Caller,
            Self::Unauthorized { .. } | Self::QuotaExhausted { .. } | Self::Internal { .. } => {
                Fault::Ours
            }
            Self::RateLimited { .. }
            | Self::Unavailable { .. }
            | Self::TimedOut { .. }
            | Self::BrokeOff { .. }
            | Self::Truncated
            | Self::Malformed { .. } => Fault::Upstream,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Invalid { .. }
            | Self::UnknownModel { .. }
            | Self::Unauthorized { .. }
            | Self::QuotaExhausted { .. }
            | Self::Internal { .. } => Retry::Never,
            Self::RateLimited { after, .. } | Self::Unavailable { after, .. } => {
                after.map_or(Retry::Now, Retry::After)
            }
            Self::TimedOut { .. }
            | Self::BrokeOff { .. }
            | Self::Truncated
            | Self::Malformed { .. } => Retry::Now,
        }
    }
}

#[cfg(test)]
mod tests;
