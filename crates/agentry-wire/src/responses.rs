//! OpenAI's Responses, in all directions: what callers send and are sent, what upstreams are sent and answer, and what passes as
//! it is.
//!
//! The gateway keeps no responses. What a request can only mean with a response that was kept (`previous_response_id`,
//! `conversation`, `background`, stored prompts, references to items) is refused with the parameter's name; so are items
//! of tools that the vendor runs itself. What only tunes how a vendor works (`store`, `truncation`, `metadata`,
//! `max_tool_calls`, `reasoning.summary`) has no counterpart in chat completions and is not sent on; the answer repeats it
//! where clients expect that. A request that passes as it is keeps all of it.
//!
//! Thoughts that other vendors want back unchanged travel in `encrypted_content`, which clients send back unread;
//! [`own_thoughts`] removes them where OpenAI gets the caller's own bytes.

mod answer;
mod body;
mod decode;
mod items;
mod object;
mod request;
mod stream;
mod tap;
mod usage;

pub use answer::whole;
pub use body::body;
pub use decode::{Decoder, response};
pub use request::request;
pub use stream::Events;
pub use tap::{Reader, own_thoughts, whole_marks};

/// Begins an `encrypted_content` that holds `reasoning_details` of other vendors, as JSON.
const PACKED: &str = "agentry:";
