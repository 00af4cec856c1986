//! Pure codecs for the dialects that models and their callers speak: requests, whole answers, streams, errors.
//!
//! Each dialect has one module, with the directions that are needed: what callers send us is decoded and their answers are
//! encoded; what upstreams are sent is encoded and their answers are decoded. Nothing here performs I/O, keeps time, or
//! decides anything: no retries, no routing, no prices.

use agentry_core::chat::{Event, Head};
use agentry_core::model::ModelError;
use bytes::Bytes;

pub mod bedrock;
pub mod chat;
pub mod embeddings;
pub mod error;
pub mod gemini;
pub mod head;
pub mod ingress;
pub mod messages;
pub mod ollama;
pub mod reach;
pub mod reasoning;
pub mod responses;
mod skip;
pub mod sse;
pub mod tap;

/// A step of an answer: its next event, or why it has none.
pub type Step = Result<Event, ModelError>;

/// Reads a streamed answer as its bytes arrive. Any split of the same bytes gives the same steps.
pub trait Decode: Send {
    fn push(&mut self, bytes: &[u8]) -> Vec<Step>;

    /// The bytes have ended, by themselves or by `error`.
    fn end(&mut self, error: Option<ModelError>) -> Vec<Step>;

    /// Whether the last event, or the error that ends everything, was told.
    fn is_over(&self) -> bool;

    /// Whether nothing is missing any more but the upstream's last word: every choice has ended.
    fn is_complete(&self) -> bool {
        false
    }
}

/// Writes a streamed answer for a caller.
pub trait Encode: Send {
    /// Adds what `event` is in this dialect to `out`; perhaps nothing.
    fn encode(&mut self, event: Event, out: &mut Vec<u8>);

    /// The answer broke after it had begun: the caller is told in the stream, and nothing that means its end follows.
    fn fail(&mut self, refused: &error::Refused<'_>, out: &mut Vec<u8>);
}

/// What an answer has to repeat of its request, and what stands in for what the upstream leaves out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    pub fallback: Head,
    /// The caller's own body.
    pub body: Bytes,
    /// Whether a stream ends with its bill, where that is for the caller to say.
    pub wants_usage: bool,
}

/// Keeps proxies and clients from giving up while a model thinks.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

#[cfg(test)]
mod matrix;
#[cfg(test)]
mod testing;
