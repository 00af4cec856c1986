//! Bytes that pass as they came, when a caller and an upstream speak the same dialect.

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;

use crate::Pieces;
use crate::chat::{FinishReason, Usage};
use crate::model::ModelError;

/// A shape in which requests and answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's `/chat/completions`.
    ChatCompletions,
    /// OpenAI's `/responses`.
    Responses,
    /// Anthropic's `/messages`.
    Messages,
}

impl Dialect {
    /// Fit for a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Responses => "responses",
            Self::Messages => "messages",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request that is sent on as it is. Its `model` is already the upstream's own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    pub dialect: Dialect,
    pub body: Pieces,
    /// Whether the body asks for a stream.
    pub stream: bool,
    /// For errors: the model that the body names.
    pub model: String,
    /// The body asks for usage in the stream, but the caller did not: what reports nothing else is not passed on.
    pub withhold_usage: bool,
    /// How many choices the body asks for; none is as good as one.
    pub choices_max: usize,
}

/// What the upstream answered, in the dialect of the request.
pub enum RawAnswer {
    Whole(RawWhole),
    Streamed(FrameStream),
}

/// A whole answer and what was read off it in passing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RawWhole {
    pub body: Bytes,
    pub usage: Option<Usage>,
    /// Of the choice that ended least well.
    pub finish: Option<FinishReason>,
}

/// It ends after a frame that is marked as done, or after the first error.
pub type FrameStream = Pin<Box<dyn Stream<Item = Result<Frame, ModelError>> + Send>>;

/// One or more whole server-sent events, and what was read off them in passing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Frame {
    pub bytes: Bytes,
    pub marks: Marks,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Marks {
    /// Something of the answer itself is in it: from here on nobody else can be asked.
    pub says: bool,
    /// As far as it is known here; of several the last one counts.
    pub usage: Option<Box<Usage>>,
    /// Of the choice that ended least well.
    pub finish: Option<FinishReason>,
    /// The answer is complete. A stream that ends without this was cut.
    pub done: bool,
}
