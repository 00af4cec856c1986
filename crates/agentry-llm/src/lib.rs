//! Speaks each vendor's wire: encodes a request, decodes the answer as its bytes arrive, and names what went wrong.
//!
//! Encoders and decoders are pure; one driver per vendor sends what they made and feeds them what comes back. There is no
//! policy here: no retries, no routing, no prices.

mod sse;

pub mod openai;
pub mod scripted;
