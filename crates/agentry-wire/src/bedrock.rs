//! Amazon Bedrock's Converse: one shape for the models of many vendors, signed, and streamed in binary frames.
//!
//! Requests become Converse by the rule of [`crate::messages`], for both are made of turns and blocks. What differs:
//! images and documents are sent along, never fetched; a choice of no tool is only possible while no tool was called;
//! `parallel_tool_calls: false` and `top_k` are asked of Anthropic's models alone; and what a caller puts under
//! Converse's own names (`guardrailConfig`, `additionalModelRequestFields`, …) is sent on as it is.
//!
//! Answers have no id: whoever hands them on gives them one.

mod crc;
mod decode;
mod encode;
mod error;
mod eventstream;
mod sigv4;

pub use decode::{Decoder, response};
pub use encode::{body, path};
pub use error::failed;
pub use sigv4::{Credentials, Signed, Signing, sign};
