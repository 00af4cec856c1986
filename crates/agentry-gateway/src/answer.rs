//! What comes of a call.

use std::sync::Arc;

use agentry_core::MicroUsd;
use agentry_core::chat::ChatResponse;
use agentry_core::model::{ChatStream, ModelError};
use agentry_core::relay::FrameStream;
use bytes::Bytes;

/// An answer, whole or as it is written; as a value, or as bytes in the dialect of the request.
pub enum Answer {
    Whole(Box<ChatResponse>),
    /// The call is settled when this ends or is dropped.
    Streamed(ChatStream),
    WholeBytes(Bytes),
    /// The call is settled when this ends or is dropped.
    StreamedBytes(FrameStream),
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The cache was not asked.
    Off,
    Miss,
    Hit,
    /// Another caller had asked the same, and was still being answered.
    Join,
}

impl Found {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Miss => "miss",
            Self::Hit => "hit",
            Self::Join => "join",
        }
    }
}

pub struct Outcome {
    pub answer: Answer,
    /// `provider/model` that answered.
    pub target: Arc<str>,
    /// How often a target was asked.
    pub attempts: u32,
    /// Of whole answers; nothing when the price or the usage is not known.
    pub cost: Option<MicroUsd>,
    pub found: Found,
}

impl Answer {
    /// The whole answer as a value, if that is what it is.
    pub(crate) fn into_whole(self) -> Result<ChatResponse, ModelError> {
        match self {
            Self::Whole(response) => Ok(*response),
            Self::Streamed(_) | Self::WholeBytes(_) | Self::StreamedBytes(_) => Err(unexpected()),
        }
    }

    pub(crate) fn into_stream(self) -> Result<ChatStream, ModelError> {
        match self {
            Self::Streamed(stream) => Ok(stream),
            Self::Whole(_) | Self::WholeBytes(_) | Self::StreamedBytes(_) => Err(unexpected()),
        }
    }
}

fn unexpected() -> ModelError {
    ModelError::Internal { reason: "an answer has another form than was asked for".to_owned() }
}
