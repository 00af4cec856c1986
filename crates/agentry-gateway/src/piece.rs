//! What an answer is made of on its way from a target to everybody who reads it.

use std::sync::Arc;

use agentry_core::MicroUsd;
use agentry_core::chat::{ChatResponse, Event};
use agentry_core::relay::{Frame, RawWhole};

use crate::cache;

/// Cheap to clone: several callers may read the same answer.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    /// Once, before everything else.
    Begun(Begun),
    Event(Arc<Event>),
    Frame(Frame),
    Whole(Arc<ChatResponse>),
    WholeBytes(Arc<RawWhole>),
}

/// Who answers.
#[derive(Debug, Clone)]
pub(crate) struct Begun {
    pub(crate) target: Arc<str>,
    pub(crate) attempts: u32,
    /// Of whole answers.
    pub(crate) cost: Option<MicroUsd>,
}

impl Piece {
    /// Whether the answer is complete with it.
    pub(crate) fn is_end(&self) -> bool {
        match self {
            Self::Begun(_) => false,
            Self::Event(event) => **event == Event::Done,
            Self::Frame(frame) => frame.marks.done,
            Self::Whole(_) | Self::WholeBytes(_) => true,
        }
    }
}

impl cache::Piece for Piece {
    fn bytes(&self) -> usize {
        let content = match self {
            Self::Begun(_) => 0,
            Self::Event(event) => size_of::<Event>() + text_bytes(event),
            Self::Frame(frame) => frame.bytes.len(),
            // Only what is long counts here.
            Self::Whole(response) => response.text().len(),
            Self::WholeBytes(whole) => whole.body.len(),
        };
        size_of::<Self>() + content
    }
}

fn text_bytes(event: &Event) -> usize {
    match event {
        Event::Text { text, .. } | Event::Reasoning { text, .. } | Event::Refusal { text, .. } => {
            text.len()
        }
        Event::ToolArguments { fragment, .. } => fragment.len(),
        Event::ToolCall { id, name, .. } => id.len() + name.len(),
        Event::Extra { fields, .. } => 64 * fields.len(),
        Event::Started(_)
        | Event::Logprobs { .. }
        | Event::Finished { .. }
        | Event::Usage(_)
        | Event::Done => 0,
    }
}
