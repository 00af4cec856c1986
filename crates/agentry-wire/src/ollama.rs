//! Ollama's own API, as an upstream: `/api/chat` in lines of JSON, and `/api/embed`.
//!
//! Images are sent as data only, and a tool that must be called cannot be asked for: both are refused by their names, and so
//! are `n` above one, `logit_bias`, and what is no text and no image. `parallel_tool_calls`, `user` and `strict` are hints and
//! are left out. `options`, `keep_alive` and `think` pass as the caller wrote them.

mod decode;
mod embed;
mod request;

pub use decode::{Decoder, response};
pub use embed::{embed_body, embed_response};
pub use request::body;
