//! One attempt at one target.

use agentry_core::chat::{ChatRequest, ChatResponse, Event};
use agentry_core::model::{CallContext, ModelError, Waiting};
use agentry_core::relay::{Frame, RawAnswer, RawWhole};
use tokio::time::{Instant, timeout_at};

use crate::alias::Target;
use crate::dispatch::Patience;
use crate::request::Request;
use crate::watch::{self, Opening};

/// What an attempt brought: the whole answer, or the beginning of a streamed one.
pub(crate) enum Asked {
    Whole(Box<ChatResponse>),
    WholeBytes(RawWhole),
    Streaming(Opening<Event>),
    StreamingBytes(Opening<Frame>),
}

/// It is over when the whole answer is there, or the first token of a streamed one.
pub(crate) async fn ask(
    target: &Target,
    cx: &CallContext,
    request: &Request,
    patience: Patience,
) -> Result<Asked, ModelError> {
    let start = Instant::now();
    let Patience { until, is_first_token } = patience;
    match timeout_at(until, attempt(target, cx, request)).await {
        Ok(asked) => asked,
        Err(_) => {
            let waiting = if is_first_token { Waiting::FirstEvent } else { Waiting::End };
            Err(ModelError::TimedOut { waiting, after: start.elapsed() })
        }
    }
}

async fn attempt(
    target: &Target,
    cx: &CallContext,
    request: &Request,
) -> Result<Asked, ModelError> {
    if let Request::Wire(wire) = request
        && wire.is_as_it_came()
        && target.upstream.speaks(wire.dialect)
    {
        return match target.upstream.relay(cx, wire.raw(&target.model)).await? {
            RawAnswer::Whole(whole) => Ok(Asked::WholeBytes(whole)),
            RawAnswer::Streamed(stream) => watch::open(stream).await.map(Asked::StreamingBytes),
        };
    }
    let value = request.value().map_err(|invalid| ModelError::Invalid {
        message: invalid.to_string(),
        param: Some(invalid.param),
        upstream_code: None,
    })?;
    let value = ChatRequest { model: target.model.clone(), ..value.clone() };
    if value.stream {
        let stream = target.upstream.stream(cx, value).await?;
        watch::open(stream).await.map(Asked::Streaming)
    } else {
        let whole = target.upstream.complete(cx, value).await?;
        Ok(Asked::Whole(Box::new(whole)))
    }
}
