//! One attempt to have one target converse.

use agentry_core::chat::{ChatRequest, ChatResponse, Event};
use agentry_core::model::{CallContext, ModelError};
use agentry_core::relay::{Frame, RawAnswer, RawWhole};

use crate::alias::Target;
use crate::dispatch::Question;
use crate::request::Request;
use crate::watch::{self, Opening};

/// What an attempt brought: the whole answer, or the beginning of a streamed one.
pub(crate) enum Asked {
    Whole(Box<ChatResponse>),
    WholeBytes(RawWhole),
    Streaming(Opening<Event>),
    StreamingBytes(Opening<Frame>),
}

impl Question for Request {
    type Answer = Asked;

    fn is_streamed(&self) -> bool {
        self.stream()
    }

    fn affinity(&self) -> Option<u64> {
        self.prefix()
    }

    async fn ask(&self, target: &Target, cx: &CallContext) -> Result<Asked, ModelError> {
        if let Self::Wire(wire) = self
            && wire.is_as_it_came()
            && target.upstream.speaks(wire.dialect)
        {
            return match target.upstream.relay(cx, wire.raw(&target.model)).await? {
                RawAnswer::Whole(whole) => Ok(Asked::WholeBytes(whole)),
                RawAnswer::Streamed(stream) => watch::open(stream).await.map(Asked::StreamingBytes),
            };
        }
        let value = self.value().map_err(|invalid| ModelError::Invalid {
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
}
