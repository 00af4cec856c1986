//! Reaches each vendor over HTTP: sends what the codecs of `agentry-wire` encode and feeds them what comes back.
//!
//! One driver per vendor. There is no policy here: no retries, no routing, no prices.

pub mod anthropic;
pub mod azure;
pub mod bedrock;
pub mod check;
mod drive;
pub mod gemini;
pub mod ollama;
pub mod openai;
pub mod scripted;

pub use drive::Misconfigured;

#[cfg(test)]
mod testing;
